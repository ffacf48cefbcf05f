//! Values that guests put for metrics of their own, on their way to the control plane: what workers hand over waits here, in
//! memory alone.
//!
//! It deliberately does not look into them. What always holds: no more than [`POINTS_MAX`] points wait, and they take no more than
//! [`BYTES_MAX`]; what there is no room for is dropped and counted, as is what a worker had no room for, and whoever takes the next
//! is told how much that was.

use skiff_ports::metrics::{GuestMetrics, GuestPoint};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Points that may wait.
const POINTS_MAX: usize = 32_768;
/// Bytes that they may take: as many points of a single value, or some 6,000 whose values are as far apart as can be.
const BYTES_MAX: usize = 16 << 20;

/// Where points wait.
#[derive(Debug, Default)]
pub(crate) struct GuestMetricQueue {
    waiting: Mutex<Waiting>,
    /// Told whenever there are more.
    more: Notify,
}

/// What waits.
#[derive(Debug, Default)]
struct Waiting {
    metrics: GuestMetrics,
    /// What the points take.
    bytes: usize,
}

impl GuestMetricQueue {
    /// Takes what guests of a worker put, and how many values before these it had no room for.
    pub(crate) fn write(&self, points: Vec<GuestPoint>, dropped: u64) {
        let mut waiting = self.lock();
        let Waiting { metrics, bytes } = &mut *waiting;
        // A worker's figures are only what it says.
        metrics.dropped = metrics.dropped.saturating_add(dropped);
        for point in points {
            let with_it = *bytes + point.bytes();
            if metrics.points.len() >= POINTS_MAX || with_it > BYTES_MAX {
                metrics.dropped = metrics.dropped.saturating_add(point.count());
                continue;
            }
            *bytes = with_it;
            metrics.points.push(point);
        }
        drop(waiting);
        self.more.notify_one();
    }

    /// All that waits, once there is something. Only one may ask at a time.
    pub(crate) async fn next(&self) -> GuestMetrics {
        loop {
            let waiting = mem::take(&mut *self.lock()).metrics;
            if waiting != GuestMetrics::default() {
                return waiting;
            }
            self.more.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
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

    #[tokio::test]
    async fn points_whose_values_are_far_apart_take_more_room() {
        let queue = GuestMetricQueue::default();
        let mut spread = Datum::of_value(0.0).unwrap();
        (-300..=300).for_each(|power| spread.merge(&Datum::of_value(10_f64.powi(power)).unwrap()));
        let (series, ..) = points(1).remove(0).values().unwrap();
        let point = GuestPoint::new(series, 1_000, &spread).unwrap();
        let room = BYTES_MAX / point.bytes();
        assert!(room < POINTS_MAX / 4, "{room}");
        queue.write(vec![point; room + 2], 0);
        let taken = queue.next().await;
        assert_eq!((taken.points.len(), taken.dropped), (room, 2 * spread.count));
        queue.write(points(3), 0);
        assert_eq!(queue.next().await.points.len(), 3, "there is room again");
    }
}
