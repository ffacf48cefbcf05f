//! `skiff alarm …`, and the alarms of a manifest.

use crate::args::{AlarmCommand, AlarmPutArgs};
use crate::artifact::Artifact;
use crate::context::{Context, all_pages};
use crate::output::or_none;
use crate::{human, metrics, output, progress};
use skiff_api::{Alarm, AlarmTransition, Client, ErrorCode, PageQuery, PutAlarm};
use skiff_plot::number;
use skiff_types::{Name, WebhookUrl};

pub(crate) async fn run(context: &Context, command: &AlarmCommand) -> anyhow::Result<()> {
    match command {
        AlarmCommand::Put(args) => put(context, args).await,
        AlarmCommand::Ls => list(context).await,
        AlarmCommand::Show { name } => show(context, name).await,
        AlarmCommand::History { name } => history(context, name).await,
        AlarmCommand::Rm { names } => remove(context, names).await,
    }
}

async fn put(context: &Context, args: &AlarmPutArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let body = args.body(metrics::dimensions(&args.dimensions)?);
    let alarm = client.put_alarm(&context.namespace, &args.name, &body, None).await?;
    // It may come later, but may be a slip of the pen as well.
    if let Some(service) = &args.service {
        match client.get_service(&context.namespace, service).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                progress::note(format!("there is no service {service} yet: the alarm waits for it"));
            }
            found => drop(found?),
        }
    }
    context.output.print(&alarm, || details(&alarm))?;
    Ok(())
}

/// Puts the alarms that a project's manifest has, before its service, whose deployments may name them.
pub(crate) async fn put_of_manifest(
    context: &Context,
    client: &Client,
    artifact: &Artifact,
) -> anyhow::Result<()> {
    let sections = artifact.manifest.iter().flat_map(|manifest| &manifest.alarms);
    for section in sections {
        // What Skiff measures is the service's, which may have another name than its manifest says.
        let service = section.body.metric.measure().is_some().then(|| artifact.name.clone());
        let body = PutAlarm { service, ..section.body.clone() };
        client.put_alarm(&context.namespace, &section.name, &body, None).await?;
        progress::note(format!("the alarm {} is {}", section.name, condition_of(&body)));
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let alarms = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_alarms(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&alarms, || table(&alarms, human::now_ms()))?;
    Ok(())
}

async fn show(context: &Context, name: &Name) -> anyhow::Result<()> {
    let alarm = context.client()?.get_alarm(&context.namespace, name).await?;
    context.output.print(&alarm, || details(&alarm))?;
    Ok(())
}

async fn history(context: &Context, name: &Name) -> anyhow::Result<()> {
    let client = &context.client()?;
    let transitions = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_alarm_history(&context.namespace, name, &query).await
    })
    .await?;
    context.output.print(&transitions, || past(&transitions))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_alarm(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

fn table(alarms: &[Alarm], now_ms: u64) -> String {
    let row = |alarm: &Alarm| {
        [
            alarm.name.to_string(),
            alarm.status.state.to_string(),
            human::age(alarm.status.since_ms, now_ms),
            watched(alarm),
            condition(alarm),
        ]
    };
    output::columns(["NAME", "STATE", "SINCE", "METRIC", "ALARM IF"], alarms.iter().map(row))
}

fn details(alarm: &Alarm) -> String {
    let status = &alarm.status;
    let addresses = |addresses: &[WebhookUrl]| {
        let lines: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        or_none((!lines.is_empty()).then(|| lines.join("\n")))
    };
    output::properties([
        ("Name", alarm.name.to_string()),
        ("Namespace", alarm.namespace.to_string()),
        ("State", status.state.to_string()),
        ("Since", human::timestamp(status.since_ms)),
        ("Reason", status.reason.clone()),
        ("Latest datapoint", or_none(status.value.map(number))),
        ("Evaluated", or_none(status.evaluated_at_ms.map(human::timestamp))),
        ("Metric", watched(alarm)),
        ("Alarm if", condition(alarm)),
        ("Missing data is", alarm.treat_missing_data.to_string()),
        ("Posted at ALARM", addresses(&alarm.alarm_actions)),
        ("Posted at OK", addresses(&alarm.ok_actions)),
        ("Posted at INSUFFICIENT_DATA", addresses(&alarm.insufficient_data_actions)),
        ("Not posted yet", status.undelivered.to_string()),
        ("Revision", alarm.revision.to_string()),
        ("Created", human::timestamp(alarm.created_at_ms)),
        ("Changed", human::timestamp(alarm.updated_at_ms)),
    ])
}

fn past(transitions: &[AlarmTransition]) -> String {
    let row = |transition: &AlarmTransition| {
        [
            human::timestamp(transition.at_ms),
            transition.before.to_string(),
            transition.after.to_string(),
            or_none(transition.value.map(number)),
            transition.reason.clone(),
        ]
    };
    output::columns(["TIME", "FROM", "TO", "DATAPOINT", "REASON"], transitions.iter().map(row))
}

/// What is watched, and whose it is.
fn watched(alarm: &Alarm) -> String {
    match &alarm.service {
        Some(service) => format!("{} of {service}", alarm.metric),
        None if alarm.dimensions.is_empty() => alarm.metric.to_string(),
        None => format!("{} of {}", alarm.metric, alarm.dimensions),
    }
}

/// `p99 > 0.5 in 3 of 5 periods of 10s`.
fn condition(alarm: &Alarm) -> String {
    let Alarm { statistic, comparison, threshold, period, .. } = alarm;
    let (datapoints, periods) = (alarm.datapoints_to_alarm, alarm.evaluation_periods);
    let sign = comparison.sign();
    match periods {
        1 => format!("{statistic} {sign} {threshold} in {period}"),
        _ => format!("{statistic} {sign} {threshold} in {datapoints} of {periods} periods of {period}"),
    }
}

/// The same of what was asked for, as far as it was said: `on CPUUtilization of web, > 80`.
fn condition_of(body: &PutAlarm) -> String {
    let of = body.service.as_ref().map(|service| format!(" of {service}")).unwrap_or_default();
    let sign = body.comparison.map_or(">", |comparison| comparison.sign());
    format!("on {}{of}, {sign} {}", body.metric, body.threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn alarm(more: Value) -> Alarm {
        let mut shown = json!({
            "name": "busy", "namespace": "default", "revision": 7, "metric": "CPUUtilization", "service": "web",
            "statistic": "Average", "period": "1m", "threshold": 80.0, "comparison": "GreaterThanThreshold",
            "evaluation_periods": 1, "datapoints_to_alarm": 1, "treat_missing_data": "missing",
            "status": { "state": "OK", "reason": "calm", "since_ms": 1_000, "undelivered": 0 },
            "created_at_ms": 1_000, "updated_at_ms": 2_000,
        });
        shown.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(shown).unwrap()
    }

    fn own() -> Alarm {
        alarm(json!({
            "name": "full", "metric": "queue/depth", "service": null, "dimensions": "queue=mails", "statistic": "p99",
            "period": "10s", "threshold": 0.5, "comparison": "LessThanOrEqualToThreshold", "evaluation_periods": 5,
            "datapoints_to_alarm": 3, "alarm_actions": ["http://a/", "http://b/"],
            "status": {
                "state": "INSUFFICIENT_DATA", "reason": "new", "since_ms": 1_000, "undelivered": 2, "value": 0.25,
                "evaluated_at_ms": 3_000,
            },
        }))
    }

    #[test]
    fn alarms_in_a_table() {
        let expected = "NAME   STATE               SINCE   METRIC                       ALARM IF\n\
             busy   OK                  60s     CPUUtilization of web        Average > 80 in 1m\n\
             full   INSUFFICIENT_DATA   60s     queue/depth of queue=mails   p99 <= 0.5 in 3 of 5 periods of 10s";
        assert_eq!(table(&[alarm(json!({})), own()], 61_000), expected);
    }

    #[test]
    fn an_alarm_in_detail() {
        let shown = details(&own());
        for row in [
            "State                         INSUFFICIENT_DATA",
            "Latest datapoint              0.250",
            "Evaluated                     1970-01-01T00:00:03.000Z",
            "Posted at ALARM               http://a/",
            "                              http://b/",
            "Posted at OK                  -",
            "Not posted yet                2",
        ] {
            assert!(shown.lines().any(|line| line == row), "{row:?} is not in\n{shown}");
        }
    }

    #[test]
    fn the_past_of_an_alarm() {
        let transition = json!({
            "at_ms": 1_000, "before": "OK", "after": "ALARM", "reason": "1 of the last 1", "value": 90.0,
        });
        let expected = "TIME                       FROM   TO      DATAPOINT   REASON\n\
             1970-01-01T00:00:01.000Z   OK     ALARM   90.0        1 of the last 1";
        assert_eq!(past(&[serde_json::from_value(transition).unwrap()]), expected);
    }
}
