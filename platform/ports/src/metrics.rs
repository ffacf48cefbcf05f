//! Metrics of guests: values that a component puts itself, on their way from its sandbox to the series.
//!
//! A point has the values that came of one series within a moment, so what crosses is bounded by how many series there are, not
//! by how often guests count. It deliberately has a shape of its own and not that of the domain, since it comes from a process
//! that guests run in: what is made of it again ([`GuestPoint::values`]) has been checked.

use serde::{Deserialize, Serialize};
use skiff_types::{Datum, Dimensions, MetricName, MetricOf, Namespace, SeriesId, Sketch, TaskId};

/// Who takes values, in a worker.
pub trait MetricSink {
    /// Takes a value in that a task's guest put, as of now. It is never waited for.
    ///
    /// # Errors
    /// [`TooManyPoints`]; the value is counted as dropped then.
    fn put(&self, task: TaskId, put: GuestValue) -> Result<(), TooManyPoints>;
}

/// The task has put values of so many series, or so many different ones, within this second that there is no room for one more, or
/// all tasks of the worker have within this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("values of too many series came at once")]
pub struct TooManyPoints;

/// One value of a guest's.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestValue {
    /// In which namespace.
    pub namespace: Namespace,
    /// What it is of.
    pub metric: MetricName,
    /// What the guest said, and whose the value is.
    pub dimensions: Dimensions,
    /// Itself: neither infinite nor not a number.
    pub value: f64,
}

/// What came of one series within a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestPoint {
    namespace: Namespace,
    metric: MetricName,
    dimensions: Dimensions,
    at_ms: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    /// Those of the values' sketch; none where they are all the same.
    buckets: Vec<(i16, u64)>,
}

impl GuestPoint {
    /// Values of a custom metric that came at `at_ms`, in milliseconds since 1970; none of any other metric.
    pub fn new(series: SeriesId, at_ms: u64, datum: &Datum) -> Option<Self> {
        let SeriesId { of: MetricOf::Custom(namespace), metric, dimensions } = series else { return None };
        let Datum { count, sum, min, max, sketch } = datum;
        let buckets = sketch.as_ref().map(|sketch| sketch.buckets().to_vec()).unwrap_or_default();
        Some(Self {
            namespace,
            metric,
            dimensions,
            at_ms,
            count: *count,
            sum: *sum,
            min: *min,
            max: *max,
            buckets,
        })
    }

    /// How many values it is of.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let dimensions = self.dimensions.iter().map(|(name, value)| name.as_str().len() + value.len());
        size_of::<Self>()
            + self.metric.as_str().len()
            + dimensions.sum::<usize>()
            + self.buckets.len() * size_of::<(i16, u64)>()
    }

    /// Its series, when it came, and the values; none where no values are such.
    pub fn values(self) -> Option<(SeriesId, u64, Datum)> {
        let Self { namespace, metric, dimensions, at_ms, count, sum, min, max, buckets } = self;
        let datum = if buckets.is_empty() {
            Datum::of_set(count, sum, min, max)?
        } else {
            Datum::of_sketch(sum, min, max, Sketch::from_buckets(buckets)?)?
        };
        Some((SeriesId { of: MetricOf::Custom(namespace), metric, dimensions }, at_ms, datum))
    }
}

/// What guests put, as it reaches the control plane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GuestMetrics {
    /// What came.
    pub points: Vec<GuestPoint>,
    /// Values that were dropped on the way since the last, for want of room.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::Measure;

    fn series() -> SeriesId {
        SeriesId {
            of: MetricOf::Custom(Namespace::default()),
            metric: "orders".parse().unwrap(),
            dimensions: "service=shop".parse().unwrap(),
        }
    }

    fn datum(values: &[f64]) -> Datum {
        let mut data = values.iter().map(|value| Datum::of_value(*value).unwrap());
        let mut datum = data.next().unwrap();
        data.for_each(|more| datum.merge(&more));
        datum
    }

    #[test]
    fn a_point_tells_its_values_again() {
        for values in [&[7.5][..], &[2.0, 2.0, 2.0], &[-1.0, 0.0, 1e6, 3.25]] {
            let point = GuestPoint::new(series(), 5_000, &datum(values)).unwrap();
            assert_eq!(point.count(), values.len() as u64);
            assert_eq!(point.values(), Some((series(), 5_000, datum(values))));
        }
    }

    #[test]
    fn a_point_takes_no_more_than_its_names_and_a_full_sketch() {
        let one = GuestPoint::new(series(), 1, &datum(&[1.0])).unwrap();
        let values: Vec<f64> =
            (-300..=300).flat_map(|power| [10_f64.powi(power), -(10_f64.powi(power))]).collect();
        let spread = GuestPoint::new(series(), 1, &datum(&values)).unwrap();
        assert!((100..400).contains(&one.bytes()), "{} bytes", one.bytes());
        assert_eq!(spread.bytes(), one.bytes() + Sketch::BUCKETS_MAX * 16);
    }

    #[test]
    fn what_skiff_measures_is_no_point_of_a_guest() {
        let measured = SeriesId::of_service("default/shop".parse().unwrap(), Measure::RequestCount);
        assert_eq!(GuestPoint::new(measured, 1, &datum(&[1.0])), None);
    }

    #[test]
    fn what_no_values_can_be_is_not_taken_from_a_worker() {
        let sound = GuestPoint::new(series(), 1, &datum(&[1.0, 2.0])).unwrap();
        let unordered = GuestPoint { buckets: vec![(2, 1), (1, 1)], ..sound.clone() };
        let infinite = GuestPoint { sum: f64::INFINITY, ..sound.clone() };
        let upside_down = GuestPoint { min: 3.0, ..sound.clone() };
        let none = GuestPoint { count: 0, buckets: Vec::new(), ..sound };
        for point in [unordered, infinite, upside_down, none] {
            assert_eq!(point.clone().values(), None, "{point:?}");
        }
    }
}
