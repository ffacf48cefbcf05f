//! What was put is said once, wherever it lies by then: in memory, on the disk, or on its way there.

use super::*;
use async_trait::async_trait;
use skiff_plan::series::{
    BYTES_OF_NAMESPACE_MAX, BYTES_OF_SOURCE_MAX, MINUTES_KEPT_MS, SECONDS_KEPT_MS, SERIES_OF_GUESTS_MAX,
    SERIES_OF_SOURCE_MAX,
};
use skiff_ports::metrics::GuestPoint;
use skiff_ports::series::KnownSeries;
use skiff_store::SqliteSeries;
use skiff_types::Measure;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tempfile::TempDir;

const MINUTE_MS: u64 = Resolution::Minute.span_ms();
/// A day at midnight.
const START_MS: u64 = 20_000 * 86_400_000;

/// A log whose disk fails when it is told to.
struct Disk {
    inner: SqliteSeries,
    is_full: AtomicBool,
}

#[async_trait]
impl SeriesLog for Disk {
    async fn append(&self, points: Vec<SeriesPoint>) -> Result<(), StoreError> {
        match self.is_full.load(SeqCst) {
            true => Err(StoreError::Storage("no space left".into())),
            false => self.inner.append(points).await,
        }
    }

    async fn read(&self, query: SeriesQuery) -> Result<Vec<(u64, Datum)>, StoreError> {
        self.inner.read(query).await
    }

    async fn seconds(&self, from_ms: u64) -> Result<Vec<SeriesPoint>, StoreError> {
        self.inner.seconds(from_ms).await
    }

    async fn list(&self) -> Result<Vec<KnownSeries>, StoreError> {
        self.inner.list().await
    }

    async fn forget(&self, resolution: Resolution, before_ms: u64) -> Result<(), StoreError> {
        self.inner.forget(resolution, before_ms).await
    }

    async fn remove(&self, series: Vec<SeriesId>) -> Result<(), StoreError> {
        self.inner.remove(series).await
    }
}

struct World {
    log: Arc<Disk>,
    series: Series,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inner = SqliteSeries::open(&folder.path().join("metrics.db")).unwrap();
        let log = Arc::new(Disk { inner, is_full: AtomicBool::new(false) });
        let series = Series::new(log.clone());
        series.take_up(START_MS).await.unwrap();
        Self { log, series, _folder: folder }
    }

    /// The process ends as by `kill -9`, and another one begins.
    async fn again(self, now_ms: u64) -> Self {
        let series = Series::new(self.log.clone());
        series.take_up(now_ms).await.unwrap();
        Self { series, ..self }
    }

    fn put(&self, at_ms: u64, value: f64) {
        self.series.put(at_ms, &[(service(), Datum::of_value(value).unwrap())]);
    }

    /// What the reconciler does each minute.
    async fn turn(&self, now_ms: u64) {
        self.series.write(now_ms).await.unwrap();
        self.series.forget(now_ms, |_| false).await.unwrap();
    }

    async fn sums(&self, period_ms: u64, from_ms: u64, to_ms: u64) -> Vec<(u64, Option<f64>)> {
        self.series.values(&service(), Statistic::Sum, period_ms, from_ms, to_ms).await.unwrap()
    }

    async fn sum(&self, to_ms: u64) -> Option<f64> {
        let sums = self.sums(MINUTE_MS, START_MS, to_ms).await;
        sums.into_iter().filter_map(|(_, sum)| sum).reduce(|sum, more| sum + more)
    }
}

#[tokio::test]
async fn what_was_measured_before_the_clock_was_put_back_is_not_said_when_its_time_comes() {
    let world = World::new().await;
    (0..100).for_each(|second| world.put(START_MS + second * 1_000, 1.0));
    let back_ms = START_MS + 40_000;
    world.put(back_ms, 1.0);
    let later = world.sums(1_000, back_ms + 1_000, START_MS + 100_000).await;
    assert!(later.iter().all(|(_, sum)| sum.is_none()), "{later:?}");
    // Where it comes a little late, it was not.
    world.put(back_ms - 1_000, 1.0);
    assert_eq!(world.sums(1_000, back_ms, back_ms + 1_000).await, [(back_ms, Some(2.0))]);
}

fn service() -> SeriesId {
    SeriesId::of_service("default/web".parse().unwrap(), Measure::RequestCount)
}

fn custom(number: usize) -> SeriesId {
    SeriesId {
        of: MetricOf::Custom("default".parse().unwrap()),
        metric: format!("m{number}").parse().unwrap(),
        dimensions: Default::default(),
    }
}

#[tokio::test]
async fn an_hour_of_seconds_is_said_once_however_much_of_it_is_forgotten() {
    let mut world = World::new().await;
    let second_ms = |second: u64| START_MS + second * 1_000;
    for second in 0..3_600 {
        world.put(second_ms(second), 1.0);
        if second % 60 == 59 {
            world.turn(second_ms(second + 1)).await;
        }
        if second % 1_000 == 999 {
            // What came since the last minute was written is lost with the process.
            world.series.write(second_ms(second)).await.unwrap();
            world = world.again(second_ms(second)).await;
        }
    }
    let end_ms = second_ms(3_600);
    assert_eq!(world.sum(end_ms).await, Some(3_600.0));
    let minutes = world.sums(MINUTE_MS, START_MS, end_ms).await;
    assert!(minutes.iter().all(|(_, sum)| *sum == Some(60.0)), "{minutes:?}");
    let newest = world.sums(1_000, end_ms - SECONDS_KEPT_MS, end_ms).await;
    assert!(newest.iter().all(|(_, sum)| *sum == Some(1.0)), "{newest:?}");
    let older = world.sums(1_000, START_MS, START_MS + 10_000).await;
    assert!(older.iter().all(|(_, sum)| sum.is_none()), "seconds of long ago: {older:?}");
}

#[tokio::test]
async fn what_a_full_disk_did_not_take_is_written_later() {
    let world = World::new().await;
    world.log.is_full.store(true, SeqCst);
    world.put(START_MS, 1.0);
    assert!(world.series.write(START_MS + 2 * MINUTE_MS).await.is_err());
    world.log.is_full.store(false, SeqCst);
    world.put(START_MS, 2.0);
    world.series.write(START_MS + 2 * MINUTE_MS).await.unwrap();
    let world = world.again(START_MS + 2 * MINUTE_MS).await;
    assert_eq!(world.sum(START_MS + 2 * MINUTE_MS).await, Some(3.0));
    world.turn(START_MS + 60 * MINUTE_MS).await;
    assert_eq!(world.sum(START_MS + 60 * MINUTE_MS).await, Some(3.0), "the minute has it too");
}

#[tokio::test]
async fn what_comes_late_is_in_its_minute() {
    let world = World::new().await;
    world.put(START_MS, 1.0);
    world.turn(START_MS + 2 * MINUTE_MS).await;
    world.put(START_MS + 1_000, 5.0);
    world.turn(START_MS + 3 * MINUTE_MS).await;
    world.turn(START_MS + 60 * MINUTE_MS).await;
    assert_eq!(world.sum(START_MS + 60 * MINUTE_MS).await, Some(6.0));
    world.put(START_MS + 2_000, 7.0);
    assert_eq!(world.sum(START_MS + 60 * MINUTE_MS).await, Some(6.0), "too late");

    let world = world.again(START_MS + 60 * MINUTE_MS).await;
    world.put(START_MS + 50 * MINUTE_MS, 1.0);
    assert_eq!(world.sum(START_MS + 60 * MINUTE_MS).await, Some(7.0), "a restart is no reason to refuse it");
}

#[tokio::test]
async fn minutes_that_a_dead_process_left_undone_are_made_by_the_next() {
    let world = World::new().await;
    world.put(START_MS + 30_000, 1.0);
    world.series.write(START_MS + 31_000).await.unwrap();
    let day_later_ms = START_MS + 86_400_000;
    let world = world.again(day_later_ms).await;
    world.turn(day_later_ms).await;
    assert_eq!(world.sum(day_later_ms).await, Some(1.0));
    assert!(world.log.seconds(0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_series_without_values_is_forgotten_and_makes_room() {
    let world = World::new().await;
    let datum = || Datum::of_value(1.0).unwrap();
    let points = |numbers: std::ops::Range<usize>| -> Vec<_> {
        numbers.map(|number| (custom(number), START_MS, datum())).collect()
    };
    world.series.put_custom(&points(0..SERIES_MAX)).unwrap();
    let refused = world.series.put_custom(&points(SERIES_MAX - 1..SERIES_MAX + 2));
    assert_eq!(refused, Err(NoRoom::Series { there: SERIES_MAX, more: 2 }));
    world.turn(START_MS + 2 * MINUTE_MS).await;
    assert_eq!(world.series.list(is_custom).len(), SERIES_MAX);
    world.turn(START_MS + MINUTES_KEPT_MS + 2 * MINUTE_MS).await;
    assert!(world.series.list(|_| true).is_empty());
    assert!(world.log.list().await.unwrap().is_empty());
    let now_ms = START_MS + MINUTES_KEPT_MS + 2 * MINUTE_MS;
    world.series.put_custom(&[(custom(SERIES_MAX), now_ms, datum())]).unwrap();
}

/// Guests of a service put values of as many series as it may have; how many values were dropped.
fn flood(world: &World, namespace: &str, service: usize) -> u64 {
    let point = |number: usize| {
        let of = MetricOf::Custom(namespace.parse().unwrap());
        let dimensions = format!("service=s{service}").parse().unwrap();
        let series = SeriesId { of, dimensions, ..custom(number) };
        GuestPoint::new(series, START_MS, &Datum::of_value(1.0).unwrap()).unwrap()
    };
    let points = (0..SERIES_OF_SOURCE_MAX).map(point).collect();
    world.series.put_of_guests(GuestMetrics { points, dropped: 0 }, START_MS).values
}

/// Values as far apart as a sketch tells any apart, and then some; of both signs.
fn spread() -> Datum {
    let powers = (-300..=300).flat_map(|power| [10_f64.powi(power), -(10_f64.powi(power))]);
    let mut data = powers.filter_map(Datum::of_value);
    let first = data.next().unwrap();
    data.fold(first, |mut datum, more| {
        datum.merge(&more);
        datum
    })
}

/// Guests of `service` put such in 60 seconds from `at_ms` on, in so many series; how many points were dropped, and of what there
/// was too much.
fn flood_spread(world: &World, service: &str, at_ms: u64, series: usize) -> (u64, Option<&'static str>) {
    let (datum, mut dropped, mut why) = (spread(), 0, None);
    for second in 0..60 {
        let point = |number: usize| {
            let series =
                SeriesId { dimensions: format!("service={service}").parse().unwrap(), ..custom(number) };
            GuestPoint::new(series, at_ms + second * 1_000, &datum).unwrap()
        };
        let points = (0..series).map(point).collect();
        let lost = world.series.put_of_guests(GuestMetrics { points, dropped: 0 }, at_ms + 60_000);
        dropped += lost.values / datum.count;
        why = why.or(lost.why.map(|(_, what)| what));
    }
    (dropped, why)
}

#[tokio::test]
async fn guests_whose_values_are_far_apart_take_so_much_memory_and_no_other_feels_it() {
    let world = World::new().await;
    let at_ms = |minute: u64| START_MS + minute * MINUTE_MS;
    let (dropped, why) = flood_spread(&world, "flood", at_ms(0), SERIES_OF_SOURCE_MAX);
    assert!(dropped > 0 && why == Some("different values"), "{dropped} {why:?}");
    let taken = 60 * SERIES_OF_SOURCE_MAX - dropped as usize;
    let most = BYTES_OF_SOURCE_MAX + Datum::BYTES_MAX;
    assert!(taken > 4_000 && taken * 2_600 <= most, "{taken} points");
    let held: usize = world.series.kept().series.values().map(|one| one.ring.bytes()).sum();
    assert!(held > BYTES_OF_SOURCE_MAX && held <= most, "{held} bytes");
    assert_eq!(world.series.values_dropped(), dropped * spread().count);
    assert_eq!(flood_spread(&world, "quiet", at_ms(0), 1), (0, None));
    world.series.put_custom(&[(custom(0), at_ms(0), spread())]).unwrap();

    // What is forgotten makes room, down to nothing.
    world.turn(at_ms(17)).await;
    assert_eq!(flood_spread(&world, "flood", at_ms(17), 1), (0, None));
    world.turn(at_ms(40)).await;
    let held: usize = world.series.kept().series.values().map(|one| one.ring.bytes()).sum();
    assert_eq!(held, 0);
    assert!(
        world.series.kept().sources.check_bytes(&"default".parse().unwrap(), BYTES_OF_NAMESPACE_MAX).is_ok()
    );
}

#[tokio::test]
async fn who_calls_the_api_takes_so_much_memory_and_is_told() {
    let world = World::new().await;
    let datum = spread();
    let call = |second: u64| -> Vec<_> {
        (0..1_000).map(|number| (custom(number), START_MS + second * 1_000, datum.clone())).collect()
    };
    let refused = (0..60).find_map(|second| world.series.put_custom(&call(second)).err()).unwrap();
    assert!(matches!(refused, NoRoom::Bytes(_)), "{refused:?}");
    assert!(refused.to_string().contains("in the namespace default"), "{refused}");
    let held: usize = world.series.kept().series.values().map(|one| one.ring.bytes()).sum();
    assert!(held <= BYTES_OF_NAMESPACE_MAX, "{held} bytes");
    // What Skiff counts of queues and rules, and what guests of others put, goes on.
    world.series.put_counted(&[(custom(7), START_MS, Datum::of_value(1.0).unwrap())]).unwrap();
    let elsewhere = SeriesId { of: MetricOf::Custom("other".parse().unwrap()), ..custom(0) };
    world.series.put_custom(&[(elsewhere, START_MS, datum)]).unwrap();
}

#[tokio::test]
async fn guests_of_one_namespace_leave_room_for_those_of_others_and_for_users() {
    let world = World::new().await;
    for service in 0..SERIES_OF_GUESTS_MAX / SERIES_OF_SOURCE_MAX {
        assert_eq!(flood(&world, "default", service), 0, "{service}");
    }
    let another = SERIES_OF_GUESTS_MAX;
    let all = SERIES_OF_SOURCE_MAX as u64;
    assert_eq!(flood(&world, "default", another), all, "there is no room for one more service");
    assert_eq!(flood(&world, "default", 0), 0, "what there is goes on");
    assert_eq!(flood(&world, "other", another), 0);
    world.series.put_custom(&[(custom(0), START_MS, Datum::of_value(1.0).unwrap())]).unwrap();
    assert_eq!(world.series.values_dropped(), all);

    world.series.write(START_MS + 1_000).await.unwrap();
    let world = world.again(START_MS + 1_000).await;
    assert_eq!(flood(&world, "default", another), all, "a restart makes no room");
}

#[tokio::test]
async fn a_task_that_is_gone_is_forgotten_with_its_seconds() {
    let world = World::new().await;
    let [there, gone] = [1, 2].map(|number| TaskId::from_parts(number, [0; 10]));
    for task in [there, gone] {
        let series = SeriesId::of_task(task, Measure::CpuUtilization);
        world.series.put(START_MS, &[(series, Datum::of_value(1.0).unwrap())]);
    }
    for (minutes, expected) in [(2, vec![there, gone]), (20, vec![there])] {
        let now_ms = START_MS + minutes * MINUTE_MS;
        world.series.write(now_ms).await.unwrap();
        world.series.forget(now_ms, |task| task == there).await.unwrap();
        let expected: Vec<MetricOf> = expected.into_iter().map(MetricOf::Task).collect();
        let listed = world.series.list(|_| true).into_iter().map(|(series, _)| series.of);
        assert_eq!(listed.collect::<Vec<_>>(), expected);
        let on_disk: BTreeSet<MetricOf> =
            world.log.list().await.unwrap().into_iter().map(|known| known.series.of).collect();
        assert_eq!(on_disk, expected.into_iter().collect::<BTreeSet<_>>());
    }
}

#[tokio::test]
async fn a_clock_that_is_put_back_loses_nothing_that_comes_then() {
    let world = World::new().await;
    world.turn(START_MS + 86_400_000).await;
    world.turn(START_MS + MINUTE_MS).await;
    world.put(START_MS + MINUTE_MS, 1.0);
    assert_eq!(world.sum(START_MS + 2 * MINUTE_MS).await, Some(1.0));
}

#[tokio::test]
async fn who_asks_is_remembered_for_a_while() {
    let world = World::new().await;
    assert!(!world.series.is_wanted(&service()));
    world.sums(1_000, START_MS - 1_000, START_MS).await;
    world.series.values(&custom(1), Statistic::Sum, 1_000, START_MS - 1_000, START_MS).await.unwrap();
    assert!(world.series.is_wanted(&service()));
    assert_eq!(world.series.asked(START_MS + 1_000), BTreeSet::from([service().of]));
    // Of long ago.
    world.sums(1_000, START_MS - 600_000, START_MS - 599_000).await;
    assert_eq!(world.series.asked(START_MS + ASKED_MS - 1), BTreeSet::from([service().of]));
    assert!(world.series.asked(START_MS + ASKED_MS).is_empty());
    assert!(!world.series.is_wanted(&service()));
}

#[tokio::test]
async fn periods_that_can_not_be_had_are_refused() {
    let world = World::new().await;
    for (period_ms, from_ms) in [(0, START_MS), (1_500, START_MS), (1_000, 0)] {
        let values =
            world.series.values(&service(), Statistic::Sum, period_ms, from_ms, START_MS + 1_000).await;
        assert!(matches!(values, Err(ValuesError::Periods)), "{period_ms} {from_ms}: {values:?}");
    }
}
