//! Metrics with a memory: taking in somebody's own values, and telling what is kept.

use super::Entrance;
use super::page::page;
use super::tasks::no_task;
use crate::error::ApiError;
use crate::objects::ObjectError;
use crate::series::{NoRoom, ValuesError};
use skiff_api::{
    ErrorCode, Metric, MetricDatum, MetricListQuery, MetricPoint, MetricQuery, MetricSeries, Page,
    PutMetricData,
};
use skiff_plan::series::{PERIODS_MAX, SECONDS_KEPT_MS, kept_from_ms};
use skiff_types::{
    Datum, Dimensions, Measure, MetricName, MetricOf, Name, Namespace, QualifiedName, Resolution, SeriesId,
    Span, Statistic, TaskId,
};

/// The oldest values that are taken, in milliseconds before now: what they would be added to must be kept yet.
const PUT_BEFORE_MAX_MS: u64 = SECONDS_KEPT_MS - 60_000;
/// How far ahead of the platform's clock values may be, in milliseconds; such count as of now.
const PUT_AHEAD_MAX_MS: u64 = 60_000;
/// The most periods where nobody says how long they are to be.
const PERIODS_USUAL: u64 = 180;

impl Entrance {
    /// Takes in values of custom metrics.
    pub(crate) fn put_metric_data(
        &self,
        namespace: &Namespace,
        request: PutMetricData,
    ) -> Result<(), ApiError> {
        if request.data.is_empty() || request.data.len() > PutMetricData::DATA_MAX {
            return Err(ApiError::invalid(format!(
                "data has {} items; the least is 1, the most is {}: make more calls",
                request.data.len(),
                PutMetricData::DATA_MAX
            )));
        }
        let now_ms = self.context.now_ms();
        let point = |(place, datum): (usize, MetricDatum)| point(namespace, place, datum, now_ms);
        let points = request.data.into_iter().enumerate().map(point).collect::<Result<Vec<_>, _>>()?;
        Ok(self.context.series.put_custom(&points)?)
    }

    /// Lists the series that have values, by whose they are and by name.
    pub(crate) fn list_metrics(
        &self,
        namespace: &Namespace,
        query: &MetricListQuery,
    ) -> Result<Page<Metric>, ApiError> {
        if let Some(task) = query.task {
            self.check_task(namespace, task)?;
        }
        let is_asked_for = |series: &SeriesId| match &series.of {
            MetricOf::Service(name) => {
                let is_named = query.service.as_ref().is_none_or(|service| *service == name.name);
                name.namespace == *namespace && is_named && query.task.is_none()
            }
            MetricOf::Task(task) => query.task == Some(*task) && query.service.is_none(),
            MetricOf::Custom(of) => {
                // What a service's guests put says so.
                let is_of = |service: &Name| series.dimensions.get("service") == Some(service.as_str());
                of == namespace && query.service.as_ref().is_none_or(is_of) && query.task.is_none()
            }
        };
        let series = self.context.series.list(is_asked_for).into_iter();
        let place = |series: &SeriesId| format!("{} {} {}", series.of, series.metric, series.dimensions);
        let placed = series.map(|(series, last_ms)| (place(&series), (series, last_ms))).collect();
        page(placed, query.limit, query.cursor.as_deref(), |(series, last_ms)| metric(series, last_ms))
    }

    /// What a statistic makes of a series.
    pub(crate) async fn get_metric(
        &self,
        namespace: &Namespace,
        metric: MetricName,
        query: &MetricQuery,
    ) -> Result<MetricSeries, ApiError> {
        let series = self.series_asked_for(namespace, metric, query)?;
        let now_ms = self.context.now_ms();
        let to_ms = query.until_ms.unwrap_or(now_ms).min(now_ms);
        let from_ms = query.since_ms.unwrap_or_else(|| to_ms.saturating_sub(SECONDS_KEPT_MS));
        if from_ms > to_ms {
            return Err(ApiError::invalid("since_ms is after until_ms, or in the future: let it be earlier"));
        }
        let measure = series.metric.measure().filter(|_| !matches!(series.of, MetricOf::Custom(_)));
        let usual = || measure.map_or(Statistic::Average, Measure::usual_statistic);
        let statistic = query.statistic.unwrap_or_else(usual);
        let period = query.period.unwrap_or_else(|| usual_period(from_ms, to_ms, now_ms));
        let values = self.context.series.values(&series, statistic, period.ms(), from_ms, to_ms).await;
        let points = values.map_err(|error| no_values(error, period))?.into_iter();
        Ok(MetricSeries {
            metric: series.metric,
            statistic,
            unit: measure.map(|measure| measure.unit().to_owned()),
            period,
            points: points.map(|(at_ms, value)| MetricPoint { at_ms, value }).collect(),
        })
    }

    fn series_asked_for(
        &self,
        namespace: &Namespace,
        metric: MetricName,
        query: &MetricQuery,
    ) -> Result<SeriesId, ApiError> {
        let of = match (&query.service, query.task) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid("give a service or a task, not both"));
            }
            (Some(service), None) => MetricOf::Service(self.known_service(namespace, service)?),
            (None, Some(task)) => {
                self.check_task(namespace, task)?;
                MetricOf::Task(task)
            }
            (None, None) => MetricOf::Custom(namespace.clone()),
        };
        check_is_measured(&of, &metric, &query.dimensions)?;
        Ok(SeriesId { of, metric, dimensions: query.dimensions.clone() })
    }

    fn known_service(&self, namespace: &Namespace, service: &Name) -> Result<QualifiedName, ApiError> {
        let name = QualifiedName::new(namespace.clone(), service.clone());
        let is_there = self.context.objects.read(|view| view.service(&name).is_some());
        let error =
            || ApiError::not_found(format!("there is no service {service} in the namespace {namespace}"));
        is_there.then_some(name).ok_or_else(error)
    }

    fn check_task(&self, namespace: &Namespace, task: TaskId) -> Result<(), ApiError> {
        let is_there = self.context.objects.read(|view| view.task(namespace, task).is_some());
        is_there.then_some(()).ok_or_else(|| no_task(namespace, task))
    }
}

impl From<NoRoom> for ApiError {
    fn from(error: NoRoom) -> Self {
        Self::new(ErrorCode::ResourceExhausted, error.to_string())
    }
}

/// One of the data of a call.
fn point(
    namespace: &Namespace,
    place: usize,
    datum: MetricDatum,
    now_ms: u64,
) -> Result<(SeriesId, u64, Datum), ApiError> {
    let at_ms = datum.at_ms.unwrap_or(now_ms);
    if at_ms < now_ms.saturating_sub(PUT_BEFORE_MAX_MS) || at_ms > now_ms.saturating_add(PUT_AHEAD_MAX_MS) {
        return Err(ApiError::invalid(format!(
            "data[{place}] is of {at_ms} ms since 1970; give a time of the last {} minutes, or none for now",
            PUT_BEFORE_MAX_MS / 60_000
        )));
    }
    let values = datum
        .to_domain()
        .map_err(|error| ApiError::invalid(format!("data[{place}] can't be taken: {error}")))?;
    let of = MetricOf::Custom(namespace.clone());
    let series = SeriesId { of, metric: datum.metric, dimensions: datum.dimensions };
    if let Some(dimension) = series.own_dimension() {
        return Err(ApiError::invalid(format!(
            "data[{place}]: with the dimension {dimension}, {} is what Skiff itself measures; take another name",
            series.metric
        )));
    }
    Ok((series, at_ms.min(now_ms), values))
}

/// Refuses what Skiff does not measure of services or tasks.
pub(super) fn check_is_measured(
    of: &MetricOf,
    metric: &MetricName,
    dimensions: &Dimensions,
) -> Result<(), ApiError> {
    let is_there: fn(Measure) -> bool = match of {
        MetricOf::Custom(_) => return Ok(()),
        MetricOf::Service(_) => |_| true,
        MetricOf::Task(_) => Measure::is_of_tasks,
    };
    if !dimensions.is_empty() {
        return Err(ApiError::invalid("what Skiff measures has no dimensions: leave them out"));
    }
    if metric.measure().is_some_and(is_there) {
        return Ok(());
    }
    let names = Measure::ALL.into_iter().filter(|measure| is_there(*measure)).map(Measure::as_str);
    Err(ApiError::not_found(format!(
        "{metric} is not measured of it; there are {}. A metric of your own is asked for without service and task",
        names.collect::<Vec<_>>().join(", ")
    )))
}

fn metric(series: SeriesId, updated_at_ms: u64) -> Metric {
    let SeriesId { of, metric, dimensions } = series;
    let (service, task, is_custom) = match of {
        MetricOf::Service(name) => (Some(name.name), None, false),
        MetricOf::Task(task) => (None, Some(task), false),
        MetricOf::Custom(_) => (None, None, true),
    };
    let unit = metric.measure().filter(|_| !is_custom).map(|measure| measure.unit().to_owned());
    Metric { metric, service, task, dimensions, unit, updated_at_ms }
}

/// The shortest period that makes few enough, of whole minutes where seconds are no longer kept.
fn usual_period(from_ms: u64, to_ms: u64, now_ms: u64) -> Span {
    const LENGTHS_MS: [u64; 11] =
        [1_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000];
    let is_recent = from_ms >= kept_from_ms(Resolution::Second, now_ms);
    let fits = |period_ms: &u64| {
        let is_kept = is_recent || period_ms.is_multiple_of(Resolution::Minute.span_ms());
        is_kept && to_ms.saturating_sub(from_ms) / period_ms <= PERIODS_USUAL
    };
    Span::from_ms(LENGTHS_MS.into_iter().find(fits).unwrap_or(86_400_000))
}

fn no_values(error: ValuesError, period: Span) -> ApiError {
    match error {
        ValuesError::Periods => ApiError::invalid(format!(
            "a period of {period} can't be had for that time: give one of whole seconds, of which at most \
             {PERIODS_MAX} come between since_ms and until_ms"
        )),
        ValuesError::Store(error) => ObjectError::Store(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    #[track_caller]
    fn check(ago_ms: u64, expected: &str) {
        let now_ms = 100 * 86_400_000;
        assert_eq!(usual_period(now_ms - ago_ms, now_ms, now_ms).to_string(), expected);
    }

    #[test]
    fn a_period_that_nobody_chose_makes_a_chart_of_some_width() {
        check(MINUTE_MS, "1s");
        check(15 * MINUTE_MS, "5s");
        check(16 * MINUTE_MS, "1m");
        check(24 * 60 * MINUTE_MS, "15m");
        check(15 * 24 * 60 * MINUTE_MS, "2h");
        check(90 * 24 * 60 * MINUTE_MS, "1d");
    }

    #[test]
    fn values_of_long_ago_or_of_tomorrow_are_refused() {
        let now_ms = 100 * 86_400_000;
        let put = |at_ms| {
            let datum = MetricDatum {
                metric: "jobs".parse().unwrap(),
                dimensions: Dimensions::default(),
                at_ms: Some(at_ms),
                value: Some(1.0),
                values: None,
                counts: None,
                statistics: None,
            };
            point(&Namespace::default(), 7, datum, now_ms).map(|(_, at_ms, _)| at_ms)
        };
        assert_eq!(put(now_ms - PUT_BEFORE_MAX_MS).unwrap(), now_ms - PUT_BEFORE_MAX_MS);
        assert_eq!(put(now_ms + PUT_AHEAD_MAX_MS).unwrap(), now_ms);
        for bad in [0, now_ms - PUT_BEFORE_MAX_MS - 1, now_ms + PUT_AHEAD_MAX_MS + 1] {
            assert!(put(bad).unwrap_err().message.starts_with("data[7] is of "));
        }
    }
}
