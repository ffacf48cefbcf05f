//! Values that guests put for metrics of their own, on their way out of the worker: gathered for a moment, and those of one
//! series and second made one point, so that what leaves is bounded by how many series there are and not by how often guests
//! count.
//!
//! It deliberately does not check what guests say; `host-metrics` has. Nor does it charge a task's memory with what is gathered,
//! since values of several tasks lie in one point: each has room of its own instead.
//!
//! What always holds: what was gathered is handed over within [`gathering::GATHERING_TIME`]; a task makes no more than
//! [`POINTS_PER_SECOND_MAX`] points in a second, and has those and others grow by no more than [`BYTES_PER_SECOND_MAX`], so that none
//! takes the room of the others; and a value that is not taken is counted.

use crate::gathering;
use crate::link::{Link, METRIC_BATCH_POINTS};
use skiff_kit::clock;
use skiff_ports::metrics::{GuestPoint, GuestValue, MetricSink, TooManyPoints};
use skiff_types::{Datum, MetricOf, Resolution, SeriesId, TaskId};
use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::rc::Rc;
use tokio::sync::Notify;

/// Points that a task makes in a second at most: those of 50 series that it puts values of all the time.
const POINTS_PER_SECOND_MAX: u32 = 250;
/// Bytes by which a task has points grow in a second at most: those of [`POINTS_PER_SECOND_MAX`] series whose values lie within a
/// factor of ten, or of 40 whose values are as far apart as can be.
const BYTES_PER_SECOND_MAX: usize = 192 << 10;
/// Points that are gathered at once at most, of all tasks.
const POINTS_MAX: usize = 8_192;
/// Bytes that they take at most, but for their names.
const BYTES_MAX: usize = 8 << 20;

/// Takes values for the supervisor.
pub(crate) struct Metrics {
    link: Rc<Link>,
    gathered: RefCell<Gathered>,
    /// Told of the first that is gathered.
    begun: Notify,
}

/// What waits to be handed over.
#[derive(Default)]
struct Gathered {
    /// By series, and by when the second begins that the values came in.
    points: BTreeMap<(SeriesId, u64), Datum>,
    /// When the present second begins.
    second_ms: u64,
    /// What each task made in it.
    made: HashMap<TaskId, Made>,
    /// What the points take.
    bytes: usize,
    /// Values that there was no room for.
    dropped: u64,
}

/// What a task made in a second.
#[derive(Debug, Default)]
struct Made {
    points: u32,
    /// By how much it had points grow.
    bytes: usize,
}

impl Metrics {
    /// Starts the task that hands over in time.
    pub(crate) fn start(link: Rc<Link>) -> Rc<Self> {
        let metrics = Rc::new(Self { link, gathered: RefCell::default(), begun: Notify::new() });
        gathering::keep(metrics.clone(), |metrics| &metrics.begun, Self::hand_over);
        metrics
    }

    /// Gives the link what was gathered.
    pub(crate) fn hand_over(&self) {
        let (points, mut dropped) = {
            let mut gathered = self.gathered.borrow_mut();
            gathered.bytes = 0;
            (mem::take(&mut gathered.points), mem::take(&mut gathered.dropped))
        };
        let points = points.into_iter();
        let mut points =
            points.filter_map(|((series, at_ms), datum)| GuestPoint::new(series, at_ms, &datum)).peekable();
        while points.peek().is_some() || dropped > 0 {
            self.link.metrics(points.by_ref().take(METRIC_BATCH_POINTS).collect(), mem::take(&mut dropped));
        }
    }

    fn put_at(&self, now_ms: u64, task: TaskId, put: GuestValue) -> Result<(), TooManyPoints> {
        let mut gathered = self.gathered.borrow_mut();
        if gathered.is_empty() {
            self.begun.notify_one();
        }
        gathered.put(now_ms, task, put)
    }
}

impl MetricSink for Metrics {
    fn put(&self, task: TaskId, put: GuestValue) -> Result<(), TooManyPoints> {
        self.put_at(clock::unix_ms(), task, put)
    }
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.points.is_empty() && self.dropped == 0
    }

    fn put(&mut self, now_ms: u64, task: TaskId, put: GuestValue) -> Result<(), TooManyPoints> {
        let second_ms = Resolution::Second.start_ms(now_ms);
        if second_ms != self.second_ms {
            self.second_ms = second_ms;
            self.made.clear();
        }
        let GuestValue { namespace, metric, dimensions, value } = put;
        // It is a finite number: who puts it has seen to that.
        let Some(datum) = Datum::of_value(value) else { return Ok(()) };
        let key = (SeriesId { of: MetricOf::Custom(namespace), metric, dimensions }, second_ms);
        let made = self.made.entry(task).or_default();
        let has_bytes = made.bytes < BYTES_PER_SECOND_MAX && self.bytes < BYTES_MAX;
        let has_point = made.points < POINTS_PER_SECOND_MAX && self.points.len() < POINTS_MAX;
        if !has_bytes || !(has_point || self.points.contains_key(&key)) {
            self.dropped += 1;
            return Err(TooManyPoints);
        }
        let grown = match self.points.entry(key) {
            Entry::Occupied(mut gathered) => {
                let before = gathered.get().bytes();
                gathered.get_mut().merge(&datum);
                gathered.get().bytes().saturating_sub(before)
            }
            Entry::Vacant(vacant) => {
                made.points += 1;
                vacant.insert(datum).bytes()
            }
        };
        made.bytes += grown;
        self.bytes += grown;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{METRIC_BYTES_MAX, METRIC_POINTS_MAX};
    use skiff_node::wire::{FrameReader, FromWorker, frames};

    const NOW_MS: u64 = 1_700_000_000_000;

    /// Runs a test on a paused clock, with what comes out of a link.
    fn run(test: impl AsyncFnOnce(Rc<Metrics>, FrameReader)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            let ((_ours, writer), (reader, _theirs)) = (frames(ours), frames(theirs));
            test(Metrics::start(Link::start(writer)), reader).await;
        });
    }

    fn task(number: u8) -> TaskId {
        TaskId::from_parts(1, [number; 10])
    }

    fn value(metric: &str, value: f64) -> GuestValue {
        GuestValue {
            namespace: "default".parse().unwrap(),
            metric: metric.parse().unwrap(),
            dimensions: "service=shop".parse().unwrap(),
            value,
        }
    }

    /// The points of the next message as name, second after [`NOW_MS`], count and sum; and what was dropped before.
    async fn next(reader: &mut FrameReader) -> (Vec<(String, u64, u64, f64)>, u64) {
        match reader.next().await.unwrap() {
            Some((FromWorker::Metrics { points, dropped }, _)) => {
                let told = |point: GuestPoint| {
                    let (series, at_ms, datum) = point.values().unwrap();
                    (series.metric.to_string(), (at_ms - NOW_MS) / 1_000, datum.count, datum.sum)
                };
                (points.into_iter().map(told).collect(), dropped)
            }
            message => panic!("{message:?}"),
        }
    }

    #[test]
    fn values_of_a_series_and_second_are_one_point() {
        run(async |metrics, mut reader| {
            for (task_number, metric, amount) in [(1, "orders", 2.0), (2, "orders", 3.0), (1, "visits", 1.0)]
            {
                metrics.put_at(NOW_MS + 40, task(task_number), value(metric, amount)).unwrap();
            }
            metrics.put_at(NOW_MS + 1_001, task(1), value("orders", 7.0)).unwrap();
            let (points, dropped) = next(&mut reader).await;
            let told: Vec<_> =
                points.iter().map(|(name, second, count, sum)| (&**name, *second, *count, *sum)).collect();
            assert_eq!(told, [("orders", 0, 2, 5.0), ("orders", 1, 1, 7.0), ("visits", 0, 1, 1.0)]);
            assert_eq!(dropped, 0);
            metrics.put_at(NOW_MS + 1_002, task(1), value("orders", 1.0)).unwrap();
            assert_eq!(next(&mut reader).await.0.len(), 1, "what comes later goes later");
        });
    }

    #[test]
    fn a_task_makes_so_many_points_in_a_second_and_no_other_feels_it() {
        run(async |metrics, mut reader| {
            let put = |number: u32, task_number: u8, at_ms| {
                metrics.put_at(at_ms, task(task_number), value(&format!("m{number}"), 1.0))
            };
            for number in 0..POINTS_PER_SECOND_MAX {
                put(number, 1, NOW_MS).unwrap();
            }
            let too_many = POINTS_PER_SECOND_MAX + 1;
            assert_eq!(put(too_many, 1, NOW_MS), Err(TooManyPoints));
            put(0, 1, NOW_MS).expect("there is a point for it already");
            put(too_many, 2, NOW_MS).expect("another task's");
            let (mut points, mut dropped) = (0, 0);
            while points < POINTS_PER_SECOND_MAX as usize + 1 {
                let (more, lost) = next(&mut reader).await;
                (points, dropped) = (points + more.len(), dropped + lost);
            }
            assert_eq!((points, dropped), (POINTS_PER_SECOND_MAX as usize + 1, 1));
            assert_eq!(put(too_many, 1, NOW_MS + 999), Err(TooManyPoints), "also once they are handed over");
            assert_eq!(next(&mut reader).await, (Vec::new(), 1));
            put(too_many, 1, NOW_MS + 1_000).expect("another second");
        });
    }

    /// Of both signs, and of all magnitudes: more than a sketch tells apart.
    fn far_apart() -> impl Iterator<Item = f64> {
        (-300..=300).flat_map(|power| [10_f64.powi(power), -(10_f64.powi(power))])
    }

    #[test]
    fn a_task_whose_values_are_far_apart_takes_so_much_room_and_no_other_feels_it() {
        run(async |metrics, _reader| {
            let mut refused = 0;
            for number in 0..60 {
                for amount in far_apart() {
                    let put = value(&format!("m{number}"), amount);
                    refused += u64::from(metrics.put_at(NOW_MS, task(1), put).is_err());
                }
            }
            {
                let gathered = metrics.gathered.borrow();
                assert_eq!(gathered.dropped, refused);
                assert!(
                    refused > 0 && gathered.bytes <= BYTES_PER_SECOND_MAX + Datum::BYTES_MAX,
                    "{}",
                    gathered.bytes
                );
                let counted: usize = gathered.points.values().map(Datum::bytes).sum();
                assert_eq!(gathered.bytes, counted);
            }
            metrics.put_at(NOW_MS, task(2), value("m0", 7.0)).expect("another task's");
            assert_eq!(metrics.put_at(NOW_MS, task(1), value("m0", 7.0)), Err(TooManyPoints));
            metrics.hand_over();
            assert_eq!(metrics.put_at(NOW_MS + 999, task(1), value("m0", 7.0)), Err(TooManyPoints));
            metrics.put_at(NOW_MS + 1_000, task(1), value("m0", 7.0)).expect("another second");
        });
    }

    #[test]
    fn the_link_holds_so_many_bytes_of_points() {
        run(async |metrics, mut reader| {
            let mut spread = Datum::of_value(0.0).unwrap();
            far_apart().for_each(|amount| spread.merge(&Datum::of_value(amount).unwrap()));
            let put = value("m", 1.0);
            let of = MetricOf::Custom(put.namespace);
            let series = SeriesId { of, metric: put.metric, dimensions: put.dimensions };
            let point = GuestPoint::new(series, NOW_MS, &spread).unwrap();
            let room = METRIC_BYTES_MAX / point.bytes();
            assert!(room < METRIC_POINTS_MAX / 2, "{room}");
            metrics.link.metrics(vec![point.clone(); room], 0);
            metrics.link.metrics(vec![point.clone()], 0);
            assert_eq!(next(&mut reader).await.0.len(), room);
            assert_eq!(next(&mut reader).await, (Vec::new(), spread.count));
            metrics.link.metrics(vec![point], 0);
            assert_eq!(next(&mut reader).await.0.len(), 1, "there is room again");
        });
    }

    #[test]
    fn what_the_link_has_no_room_for_is_counted() {
        run(async |metrics, mut reader| {
            let points = |count: usize| {
                let point = |number: usize| {
                    let put = value(&format!("m{number}"), 1.0);
                    let of = MetricOf::Custom(put.namespace);
                    let series = SeriesId { of, metric: put.metric, dimensions: put.dimensions };
                    GuestPoint::new(series, NOW_MS, &Datum::of_same(1.0, 2).unwrap()).unwrap()
                };
                (0..count).map(point).collect::<Vec<_>>()
            };
            metrics.link.metrics(points(METRIC_POINTS_MAX), 0);
            metrics.link.metrics(points(3), 4);
            assert_eq!(next(&mut reader).await.0.len(), METRIC_POINTS_MAX);
            assert_eq!(next(&mut reader).await, (Vec::new(), 3 * 2 + 4));
            metrics.link.metrics(points(1), 0);
            assert_eq!(next(&mut reader).await.0.len(), 1, "there is room again");
        });
    }
}
