//! Metrics with a memory: what may be put, what there is, and what is said of a series.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Datum, Dimensions, MetricName, Name, Span, Statistic, TaskId};

/// Values of somebody's own. All of them are taken, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutMetricData {
    /// The values; 1 to 1000 times.
    pub data: Vec<MetricDatum>,
}

impl PutMetricData {
    /// The most data of a call.
    pub const DATA_MAX: usize = 1_000;
}

/// Values of one series that belong to one moment: `value`, or `values` with or without `counts`, or `statistics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricDatum {
    /// What they are of.
    #[schemars(with = "text::MetricName")]
    pub metric: MetricName,
    /// Tells series of the metric apart.
    #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
    #[schemars(with = "text::Dimensions")]
    pub dimensions: Dimensions,
    /// When they were measured, in milliseconds since 1970; now where left out. Of the last 14 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// One value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Several; 150 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<f64>>,
    /// How often each of `values` came; once where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Vec<u64>>,
    /// What is known of values that are not told one by one. Such have no percentiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<StatisticSet>,
}

/// What is known of values that are not told one by one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatisticSet {
    /// How many they are; 1 at least.
    pub sample_count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub minimum: f64,
    /// The largest.
    pub maximum: f64,
}

/// Values that can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetricDatum {
    /// None of the ways to give values, or more than one.
    #[error("it has no values, or has them twice; give one of value, values and statistics")]
    Ways,
    /// Counts without values, or not one for each.
    #[error("counts say how often each of values came; give as many of them as of values, or none")]
    Counts,
    /// Too many values, or none.
    #[error("values has {0} of them; the least is 1, the most is {max}", max = MetricDatum::VALUES_MAX)]
    Values(usize),
    /// A number that nothing can be made of.
    #[error("a value or a sum of values is too large, or a count is 0; give numbers that can be added up")]
    Number,
    /// Statistics that no values have.
    #[error(
        "no values have these statistics; sample_count is 1 at least, and minimum <= sum / sample_count <= maximum"
    )]
    Statistics,
}

impl MetricDatum {
    /// The most values.
    pub const VALUES_MAX: usize = 150;

    /// The values, as the domain has them.
    pub fn to_domain(&self) -> Result<Datum, InvalidMetricDatum> {
        if self.counts.is_some() && self.values.is_none() {
            return Err(InvalidMetricDatum::Counts);
        }
        match (self.value, &self.values, self.statistics) {
            (Some(value), None, None) => Datum::of_value(value).ok_or(InvalidMetricDatum::Number),
            (None, Some(values), None) => self.several(values),
            (None, None, Some(StatisticSet { sample_count, sum, minimum, maximum })) => {
                Datum::of_set(sample_count, sum, minimum, maximum).ok_or(InvalidMetricDatum::Statistics)
            }
            _ => Err(InvalidMetricDatum::Ways),
        }
    }

    fn several(&self, values: &[f64]) -> Result<Datum, InvalidMetricDatum> {
        if values.is_empty() || values.len() > Self::VALUES_MAX {
            return Err(InvalidMetricDatum::Values(values.len()));
        }
        if self.counts.as_ref().is_some_and(|counts| counts.len() != values.len()) {
            return Err(InvalidMetricDatum::Counts);
        }
        let count = |index: usize| self.counts.as_ref().map_or(1, |counts| counts[index]);
        let each = |(index, value): (usize, &f64)| Datum::of_same(*value, count(index));
        let mut data = values.iter().enumerate().map(each);
        let first = data.next().flatten().ok_or(InvalidMetricDatum::Number)?;
        let sum = data.try_fold(first, |mut sum, datum| {
            sum.merge(&datum?);
            Some(sum)
        });
        sum.ok_or(InvalidMetricDatum::Number)
    }
}

/// Query parameters of the list of metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricListQuery {
    /// Only this service's: what is measured of it, and what its guests put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub service: Option<Name>,
    /// Only this task's. Without it those of tasks are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// Most items to answer with: 1 to 1000; 100 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A series that has values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// What is measured.
    #[schemars(with = "text::MetricName")]
    pub metric: MetricName,
    /// Of which service, if it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub service: Option<Name>,
    /// Of which task, if it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// What tells series of a custom metric apart.
    #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
    #[schemars(with = "text::Dimensions")]
    pub dimensions: Dimensions,
    /// What its values are: Percent, Seconds, Count; absent for custom metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// When its newest values came, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// Query parameters of a metric. Without `service` and `task` it is a custom one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricQuery {
    /// This service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub service: Option<Name>,
    /// This task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// The series of a custom metric that has exactly these.
    #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
    #[schemars(with = "text::Dimensions")]
    pub dimensions: Dimensions,
    /// What to make of the values of each period; where left out, `Sum` of what is counted and `Average` of all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Statistic>")]
    pub statistic: Option<Statistic>,
    /// How long each period is, in whole seconds; periods begin at multiples of it. Values of more than 15 minutes ago are kept by
    /// the minute: periods that are no whole minutes have none. Where left out, the shortest with 180 periods at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub period: Option<Span>,
    /// From the period on that this time is in, in milliseconds since 1970; 15 minutes ago where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Until this time, in milliseconds since 1970; now where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// What a statistic says of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSeries {
    /// What is measured.
    #[schemars(with = "text::MetricName")]
    pub metric: MetricName,
    /// What was made of the values of each period.
    #[schemars(with = "text::Statistic")]
    pub statistic: Statistic,
    /// What the values are: Percent, Seconds, Count; absent for custom metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How long each period is.
    #[schemars(with = "text::Span")]
    pub period: Span,
    /// The periods, oldest first, those without values among them.
    pub points: Vec<MetricPoint>,
}

/// A period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricPoint {
    /// When it begins, in milliseconds since 1970.
    pub at_ms: u64,
    /// What the statistic says of it; absent where nothing came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(datum: serde_json::Value) -> Result<Datum, InvalidMetricDatum> {
        serde_json::from_value::<MetricDatum>(datum).unwrap().to_domain()
    }

    #[test]
    fn values_are_given_in_one_of_three_ways() {
        assert_eq!(read(json!({ "metric": "a", "value": 2.5 })).unwrap().sum, 2.5);
        let several = read(json!({ "metric": "a", "values": [1.0, 2.0], "counts": [3, 1] })).unwrap();
        assert_eq!((several.count, several.sum, several.min, several.max), (4, 5.0, 1.0, 2.0));
        let set = json!({ "sample_count": 2, "sum": 3.0, "minimum": 1.0, "maximum": 2.0 });
        assert_eq!(read(json!({ "metric": "a", "statistics": set })).unwrap().count, 2);
    }

    #[test]
    fn what_can_not_be_taken_is_refused_with_a_reason() {
        let set = json!({ "sample_count": 0, "sum": 0.0, "minimum": 0.0, "maximum": 0.0 });
        for (datum, expected) in [
            (json!({ "metric": "a" }), InvalidMetricDatum::Ways),
            (json!({ "metric": "a", "value": 1.0, "values": [1.0] }), InvalidMetricDatum::Ways),
            (json!({ "metric": "a", "value": 1.0, "counts": [1] }), InvalidMetricDatum::Counts),
            (json!({ "metric": "a", "values": [1.0], "counts": [1, 2] }), InvalidMetricDatum::Counts),
            (json!({ "metric": "a", "values": [] }), InvalidMetricDatum::Values(0)),
            (json!({ "metric": "a", "values": vec![1.0; 151] }), InvalidMetricDatum::Values(151)),
            (json!({ "metric": "a", "values": [1.0], "counts": [0] }), InvalidMetricDatum::Number),
            (json!({ "metric": "a", "values": [1.0, 1e308], "counts": [1, 9] }), InvalidMetricDatum::Number),
            (json!({ "metric": "a", "statistics": set }), InvalidMetricDatum::Statistics),
        ] {
            assert_eq!(read(datum.clone()), Err(expected), "{datum}");
        }
    }
}
