//! `skiff metrics`: a series drawn in the terminal or as SVG, the list of them, and values of one's own.

use crate::args::{MetricsArgs, MetricsCommand, MetricsListArgs, MetricsPutArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::{human, output, tasks};
use anyhow::Context as _;
use skiff_api::{
    Client, ErrorCode, Metric, MetricDatum, MetricListQuery, MetricQuery, MetricSeries, PageQuery,
    PutMetricData,
};
use skiff_plot::{in_letters, number, over_time};
use skiff_types::{Dimensions, MetricName, Name, TaskId};
use std::collections::BTreeMap;

/// How wide and how high a drawing in the terminal is, in letters.
const COLUMNS: usize = 100;
const ROWS: usize = 12;
/// What is drawn over less than this has moments to the second, in milliseconds.
const DAY_MS: u64 = 86_400_000;

pub(crate) async fn run(context: &Context, args: &MetricsArgs) -> anyhow::Result<()> {
    match &args.command {
        Some(MetricsCommand::Ls(args)) => list(context, args).await,
        Some(MetricsCommand::Put(args)) => put(context, args).await,
        None => show(context, args).await,
    }
}

async fn show(context: &Context, args: &MetricsArgs) -> anyhow::Result<()> {
    let subject = args.subject.as_deref().unwrap_or_default();
    let client = context.client()?;
    if !args.is_of_a_metric()
        && let Some((service, task)) = service_or_task(context, &client, subject).await?
    {
        let metrics = listed(context, &client, service.as_ref(), task).await?;
        context.output.print(&metrics, || match metrics.is_empty() {
            true => unmeasured(subject),
            false => table(&metrics, human::now_ms()),
        })?;
        return Ok(());
    }
    let now_ms = human::now_ms();
    let base = MetricQuery {
        dimensions: dimensions(&args.dimensions)?,
        statistic: args.statistic,
        period: args.period,
        since_ms: Some(now_ms.saturating_sub(args.since.ms())),
        ..MetricQuery::default()
    };
    let series = match &args.metric {
        None => {
            let metric = subject.parse::<MetricName>().map_err(|error| usage(error.to_string()))?;
            client.get_metric(&context.namespace, &metric, &base).await?
        }
        Some(metric) => of_service_or_task(context, &client, subject, metric, base).await?,
    };
    if let Some(path) = &args.svg {
        let points = moments(&series);
        let drawing = over_time(&axis(&series), &points, |at_ms| moment(at_ms, &points))?;
        std::fs::write(path, drawing.as_str())
            .with_context(|| format!("{} can't be written", path.display()))?;
        return Ok(());
    }
    context.output.print(&series, || text(subject, &series))?;
    Ok(())
}

/// The service of this name, else the task of this id, if there is one.
async fn service_or_task(
    context: &Context,
    client: &Client,
    subject: &str,
) -> anyhow::Result<Option<(Option<Name>, Option<TaskId>)>> {
    if let Ok(service) = subject.parse::<Name>() {
        match client.get_service(&context.namespace, &service).await {
            Ok(_) => return Ok(Some((Some(service), None))),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !tasks::looks_like_id(subject) {
        return Ok(None);
    }
    match tasks::resolve(context, client, subject).await {
        Ok(task) => Ok(Some((None, Some(task)))),
        // It may be a metric that looks like the last digits of a task's id.
        Err(_) if subject.parse::<MetricName>().is_ok() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn of_service_or_task(
    context: &Context,
    client: &Client,
    subject: &str,
    metric: &MetricName,
    base: MetricQuery,
) -> anyhow::Result<MetricSeries> {
    let service: Option<Name> = subject.parse().ok();
    if service.is_some() {
        let query = MetricQuery { service, ..base.clone() };
        match client.get_metric(&context.namespace, metric, &query).await {
            // The last digits of a task's id may look like a name.
            Err(error) if error.code() == Some(ErrorCode::NotFound) && tasks::looks_like_id(subject) => {
                let Ok(task) = tasks::resolve(context, client, subject).await else {
                    return Err(error.into());
                };
                let query = MetricQuery { task: Some(task), ..base };
                return Ok(client.get_metric(&context.namespace, metric, &query).await?);
            }
            answer => return answer.map_err(anyhow::Error::from),
        }
    }
    let task = tasks::resolve(context, client, subject).await?;
    let query = MetricQuery { task: Some(task), ..base };
    Ok(client.get_metric(&context.namespace, metric, &query).await?)
}

async fn list(context: &Context, args: &MetricsListArgs) -> anyhow::Result<()> {
    let client = &context.client()?;
    let task = match &args.task {
        Some(task) => Some(tasks::resolve(context, client, task).await?),
        None => None,
    };
    let metrics = listed(context, client, args.service.as_ref(), task).await?;
    context.output.print(&metrics, || table(&metrics, human::now_ms()))?;
    Ok(())
}

async fn listed(
    context: &Context,
    client: &Client,
    service: Option<&Name>,
    task: Option<TaskId>,
) -> anyhow::Result<Vec<Metric>> {
    all_pages(|cursor| async move {
        let (service, limit) = (service.cloned(), Some(PageQuery::LIMIT_MAX));
        client.list_metrics(&context.namespace, &MetricListQuery { service, task, limit, cursor }).await
    })
    .await
}

fn unmeasured(subject: &str) -> String {
    format!(
        "nothing was measured of {subject}, since nobody called it: ask for a metric, like `skiff metrics {subject} \
         CPUUtilization`, and it is measured for the next 15 minutes"
    )
}

async fn put(context: &Context, args: &MetricsPutArgs) -> anyhow::Result<()> {
    let datum = MetricDatum {
        metric: args.metric.clone(),
        dimensions: dimensions(&args.dimensions)?,
        at_ms: None,
        value: Some(args.value),
        values: None,
        counts: None,
        statistics: None,
    };
    context.client()?.put_metric_data(&context.namespace, &PutMetricData { data: vec![datum] }).await?;
    Ok(())
}

pub(crate) fn dimensions(given: &[(Name, String)]) -> anyhow::Result<Dimensions> {
    let mut dimensions = BTreeMap::new();
    for (name, value) in given {
        if dimensions.insert(name.clone(), value.clone()).is_some() {
            return Err(usage(format!("the dimension {name} is given twice; give it once")));
        }
    }
    Dimensions::new(dimensions).map_err(|error| usage(error.to_string()))
}

fn moments(series: &MetricSeries) -> Vec<(u64, Option<f64>)> {
    series.points.iter().map(|point| (point.at_ms, point.value)).collect()
}

/// `CPUUtilization, Average, Percent, each 5s`.
fn axis(series: &MetricSeries) -> String {
    let unit = series.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
    format!("{}, {}{unit}, each {}", series.metric, series.statistic, series.period)
}

/// A moment, in UTC: the day too where what is drawn is longer than one.
fn moment(at_ms: u64, points: &[(u64, Option<f64>)]) -> String {
    let length_ms = match points {
        [(first, _), .., (last, _)] => last - first,
        _ => 0,
    };
    // As in `2023-11-14T22:13:20.123Z`.
    let timestamp = human::timestamp(at_ms);
    let part = if length_ms < DAY_MS { 11..19 } else { 5..16 };
    timestamp.get(part).map_or_else(|| timestamp.clone(), |part| part.replace('T', " "))
}

fn text(subject: &str, series: &MetricSeries) -> String {
    let points = moments(series);
    let drawing = in_letters(&points, COLUMNS, ROWS, |at_ms| moment(at_ms, &points));
    if drawing.is_empty() {
        return format!("{subject}: {}: no values in that time", axis(series));
    }
    let last = points.iter().rev().find_map(|(_, value)| *value);
    let last = last.map(|value| format!(", last {}", number(value)));
    format!("{subject}: {}{}\n{drawing}", axis(series), last.unwrap_or_default())
}

fn table(metrics: &[Metric], now_ms: u64) -> String {
    let of = |metric: &Metric| match (&metric.service, &metric.task) {
        (Some(service), _) => format!("service:{service}"),
        (None, Some(task)) => format!("task:{}", task.short()),
        (None, None) => "-".to_owned(),
    };
    let row = |metric: &Metric| {
        let dimensions = (!metric.dimensions.is_empty()).then_some(&metric.dimensions);
        [
            of(metric),
            metric.metric.to_string(),
            output::or_none(dimensions),
            output::or_none(metric.unit.as_ref()),
            human::age(metric.updated_at_ms, now_ms),
        ]
    };
    output::columns(["OF", "METRIC", "DIMENSIONS", "UNIT", "UPDATED"], metrics.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn series(values: &[Option<f64>]) -> MetricSeries {
        let point = |(index, value): (usize, &Option<f64>)| {
            let at_ms = 1_700_000_000_000 + index as u64 * 60_000;
            json!({ "at_ms": at_ms, "value": value })
        };
        let points: Vec<_> = values.iter().enumerate().map(point).collect();
        serde_json::from_value(json!({
            "metric": "CPUUtilization", "statistic": "p99", "unit": "Percent", "period": "1m", "points": points,
        }))
        .unwrap()
    }

    #[test]
    fn a_series_is_drawn_under_what_it_is() {
        let text = text("hello", &series(&[Some(10.0), None, Some(20.0)]));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("hello: CPUUtilization, p99, Percent, each 1m, last 20.0"));
        assert_eq!((lines.clone().count(), lines.next()), (ROWS + 2, Some("20.0 ┤        ████")));
        assert!(text.ends_with("22:13:20 22:15:20"), "{text}");
    }

    #[test]
    fn what_took_less_than_a_millisecond_is_not_nothing() {
        let text = text("hello", &series(&[Some(0.000_412)]));
        assert!(text.lines().next().unwrap().ends_with("last 0.000412"), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("0.000412 ┤"), "{text}");
    }

    #[test]
    fn a_series_without_values_says_so() {
        let text = text("hello", &series(&[None, None]));
        assert!(text.starts_with("hello: CPUUtilization, p99, Percent, each 1m: no values"), "{text}");
    }

    #[test]
    fn moments_of_a_long_time_have_their_day() {
        let points = [(0, None), (2 * DAY_MS, None)];
        assert_eq!(moment(1_700_000_000_000, &points), "11-14 22:13");
    }

    #[test]
    fn metrics_in_a_table() {
        let metrics: Vec<Metric> = serde_json::from_value(json!([
            { "metric": "RequestCount", "service": "hello", "unit": "Count", "updated_at_ms": 60_000 },
            { "metric": "queue/depth", "dimensions": "queue=mails", "updated_at_ms": 0 },
        ]))
        .unwrap();
        let expected = "OF              METRIC         DIMENSIONS    UNIT    UPDATED\n\
             service:hello   RequestCount   -             Count   60s\n\
             -               queue/depth    queue=mails   -       2m";
        assert_eq!(table(&metrics, 120_000), expected);
    }

    #[test]
    fn a_dimension_is_given_once() {
        let name: Name = "queue".parse().unwrap();
        let given = [(name.clone(), "a".to_owned()), (name, "b".to_owned())];
        assert_eq!(dimensions(&given[..1]).unwrap().to_string(), "queue=a");
        assert!(dimensions(&given).is_err());
    }
}
