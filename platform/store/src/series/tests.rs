//! What was kept is there again, whatever the process did in between, until it is forgotten.

use super::*;
use skiff_types::{Measure, TaskId};
use tempfile::TempDir;

const MINUTE_MS: u64 = Resolution::Minute.span_ms();

struct World {
    folder: TempDir,
    log: SqliteSeries,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteSeries::open(&folder.path().join("metrics.db")).unwrap();
        Self { folder, log }
    }

    /// The same file, opened anew.
    fn again(self) -> Self {
        let Self { folder, log } = self;
        drop(log);
        let log = SqliteSeries::open(&folder.path().join("metrics.db")).unwrap();
        Self { folder, log }
    }

    /// All points of a second, as they are read minute by minute.
    async fn seconds(&self) -> Vec<Vec<SeriesPoint>> {
        let (mut minutes, mut from_ms) = (Vec::new(), 0);
        loop {
            let minute = self.log.seconds(from_ms).await.unwrap();
            let Some(last) = minute.last() else { return minutes };
            from_ms = last.at_ms + 1;
            minutes.push(minute);
        }
    }

    async fn read(
        &self,
        series: SeriesId,
        resolution: Resolution,
        from_ms: u64,
        to_ms: u64,
    ) -> Vec<(u64, Datum)> {
        self.log.read(SeriesQuery { series, resolution, from_ms, to_ms }).await.unwrap()
    }
}

fn service() -> SeriesId {
    SeriesId::of_service("default/web".parse().unwrap(), Measure::TargetResponseTime)
}

fn task() -> SeriesId {
    SeriesId::of_task(TaskId::from_parts(1, [1; 10]), Measure::CpuUtilization)
}

fn custom(value: &str) -> SeriesId {
    SeriesId {
        of: MetricOf::Custom("team".parse().unwrap()),
        metric: "queue/depth".parse().unwrap(),
        dimensions: format!("queue={value},zone=a=b").parse().unwrap(),
    }
}

fn datum(values: &[f64]) -> Datum {
    let mut data = values.iter().map(|value| Datum::of_value(*value).unwrap());
    let mut sum = data.next().unwrap();
    data.for_each(|datum| sum.merge(&datum));
    sum
}

fn point(series: SeriesId, resolution: Resolution, at_ms: u64, datum: Datum) -> SeriesPoint {
    SeriesPoint { series, resolution, at_ms, datum }
}

#[tokio::test]
async fn points_of_all_kinds_of_series_are_there_over_a_restart() {
    let world = World::new();
    let points: Vec<SeriesPoint> = [service(), task(), custom("mails"), custom("ein Brief")]
        .into_iter()
        .flat_map(|series| {
            let many = datum(&[-3.5, 0.0, 7.25, 1e9]);
            [
                point(series.clone(), Resolution::Second, 61_000, many.clone()),
                point(series.clone(), Resolution::Second, 62_000, datum(&[4.0])),
                point(series, Resolution::Minute, MINUTE_MS, many),
            ]
        })
        .collect();
    world.log.append(points.clone()).await.unwrap();
    let world = world.again();
    let mut seconds = world.seconds().await.concat();
    let mut expected: Vec<_> =
        points.iter().filter(|point| point.resolution == Resolution::Second).cloned().collect();
    let by_series = |point: &SeriesPoint| (point.series.clone(), point.at_ms);
    seconds.sort_by_key(by_series);
    expected.sort_by_key(by_series);
    assert_eq!(seconds, expected);
    for series in [service(), task(), custom("mails"), custom("ein Brief")] {
        let minutes = world.read(series, Resolution::Minute, 0, u64::MAX).await;
        assert_eq!(minutes, [(MINUTE_MS, datum(&[-3.5, 0.0, 7.25, 1e9]))]);
    }
    let known = world.log.list().await.unwrap();
    assert_eq!(known.len(), 4);
    assert!(known.iter().all(|known| known.last_second_ms == 62_000 && known.last_minute_ms == MINUTE_MS));
}

#[tokio::test]
async fn a_point_is_replaced_by_a_later_one_of_its_time() {
    let world = World::new();
    for value in [1.0, 2.0] {
        let points = vec![point(service(), Resolution::Second, 5_000, datum(&[value]))];
        world.log.append(points).await.unwrap();
    }
    assert_eq!(world.read(service(), Resolution::Second, 0, 10_000).await, [(5_000, datum(&[2.0]))]);
}

#[tokio::test]
async fn what_is_read_begins_within_the_times_asked_for() {
    let world = World::new();
    let points = (0..5).map(|at| point(task(), Resolution::Second, at * 1_000, datum(&[1.0]))).collect();
    world.log.append(points).await.unwrap();
    let read = async |from_ms, to_ms| {
        let points = world.read(task(), Resolution::Second, from_ms, to_ms).await;
        points.into_iter().map(|(at_ms, _)| at_ms).collect::<Vec<_>>()
    };
    assert_eq!(read(1_000, 3_000).await, [1_000, 2_000]);
    assert_eq!(read(1_001, 3_001).await, [2_000, 3_000]);
    assert!(world.read(service(), Resolution::Second, 0, u64::MAX).await.is_empty(), "nobody knows it");
}

#[tokio::test]
async fn seconds_are_read_minute_by_minute_however_far_they_are_apart() {
    let world = World::new();
    let [first_ms, later_ms] = [7_000, 86_400_000];
    let times = [first_ms, first_ms + MINUTE_MS - 1_000, first_ms + MINUTE_MS, later_ms];
    for series in [task(), service()] {
        let points = times.map(|at_ms| point(series.clone(), Resolution::Second, at_ms, datum(&[1.0])));
        world.log.append(points.to_vec()).await.unwrap();
    }
    let minutes = world.seconds().await;
    let told: Vec<Vec<u64>> =
        minutes.iter().map(|minute| minute.iter().map(|point| point.at_ms).collect()).collect();
    let [one, two, three, four] = times;
    assert_eq!(told, [vec![one, one, two, two], vec![three, three], vec![four, four]]);
}

#[tokio::test]
async fn a_series_without_points_is_forgotten() {
    let world = World::new();
    let points = vec![
        point(service(), Resolution::Second, 59_000, datum(&[1.0])),
        point(service(), Resolution::Second, 61_000, datum(&[1.0])),
        point(service(), Resolution::Minute, 0, datum(&[1.0])),
        point(task(), Resolution::Minute, 0, datum(&[1.0])),
    ];
    world.log.append(points).await.unwrap();
    world.log.forget(Resolution::Second, MINUTE_MS).await.unwrap();
    assert_eq!(world.seconds().await.concat().len(), 1);
    world.log.forget(Resolution::Minute, MINUTE_MS).await.unwrap();
    let known = world.log.list().await.unwrap();
    assert_eq!(known, [KnownSeries { series: service(), last_second_ms: 61_000, last_minute_ms: 0 }]);
    world.log.forget(Resolution::Second, 2 * MINUTE_MS).await.unwrap();
    assert!(world.log.list().await.unwrap().is_empty());
}

#[test]
fn bytes_that_are_no_sketch_are_none() {
    for bad in [&[0_u8; 9][..], &[0; 10], &[255; 11]] {
        assert_eq!(unpacked(bad), None);
    }
    assert_eq!(unpacked(&[]), Some(Sketch::default()));
}
