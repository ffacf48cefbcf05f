//! Values that guests put for metrics of their own, on their way to the control plane: what workers hand over waits here, in
//! memory alone.
//!
//! It deliberately does not look into them. What always holds: no more than [`POINTS_MAX`] points wait; what there is no room for
//! is dropped and counted, as is what a worker had no room for, and whoever takes the next is told how much that was.

use skiff_ports::metrics::{GuestMetrics, GuestPoint};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Points that may wait.
const POINTS_MAX: usize = 32_768;

/// Where points wait.
#[derive(Debug, Default)]
pub(crate) struct GuestMetricQueue {
    waiting: Mutex<GuestMetrics>,
    /// Told whenever there are more.
    more: Notify,
}

impl GuestMetricQueue {
    /// Takes what guests of a worker put, and how many values before these it had no room for.
    pub(crate) fn write(&self, points: Vec<GuestPoint>, dropped: u64) {
        let mut waiting = self.lock();
        let room = POINTS_MAX - waiting.points.len();
        let too_many = points.iter().skip(room).map(GuestPoint::count);
        // A worker's figures are only what it says.
        waiting.dropped = too_many.fold(waiting.dropped.saturating_add(dropped), u64::saturating_add);
        waiting.points.extend(points.into_iter().take(room));
        drop(waiting);
        self.more.notify_one();
    }

    /// All that waits, once there is something. Only one may ask at a time.
    pub(crate) async fn next(&self) -> GuestMetrics {
        loop {
            let waiting = mem::take(&mut *self.lock());
            if waiting != GuestMetrics::default() {
                return waiting;
            }
            self.more.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, GuestMetrics> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{Datum, MetricOf, SeriesId};

    fn points(count: usize) -> Vec<GuestPoint> {
        let series = SeriesId {
            of: MetricOf::Custom("default".parse().unwrap()),
            metric: "orders".parse().unwrap(),
            dimensions: "service=shop".parse().unwrap(),
        };
        let point = GuestPoint::new(series, 1_000, &Datum::of_same(1.0, 3).unwrap()).unwrap();
        vec![point; count]
    }

    #[tokio::test]
    async fn all_that_came_is_taken_at_once() {
        let queue = GuestMetricQueue::default();
        queue.write(points(2), 0);
        queue.write(points(3), 4);
        assert_eq!(queue.next().await, GuestMetrics { points: points(5), dropped: 4 });
        let (asked, ()) = tokio::join!(queue.next(), async { queue.write(points(1), 0) });
        assert_eq!(asked, GuestMetrics { points: points(1), dropped: 0 });
        queue.write(Vec::new(), 7);
        assert_eq!(queue.next().await, GuestMetrics { points: Vec::new(), dropped: 7 });
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_counted() {
        let queue = GuestMetricQueue::default();
        queue.write(points(POINTS_MAX - 1), 0);
        queue.write(points(3), 5);
        let taken = queue.next().await;
        assert_eq!((taken.points.len(), taken.dropped), (POINTS_MAX, 2 * 3 + 5));
    }
}
