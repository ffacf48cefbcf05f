//! `skiff scaling …`.

pub(crate) mod words;

use crate::args::{ScalingCommand, ScalingPutArgs};
use crate::context::{Context, all_pages};
use crate::{human, output, progress};
use skiff_api::{
    Client, PageQuery, PutScaling, Scaling, ScalingChange, ScalingPolicy, ScalingStatus, ScheduledScaling,
    StepScaling, TargetTracking,
};
use skiff_types::Name;

/// How many changes are shown with what makes them.
const SHOWN_MAX: u32 = 10;

pub(crate) async fn run(context: &Context, command: &ScalingCommand) -> anyhow::Result<()> {
    match command {
        ScalingCommand::Put(args) => put(context, args).await,
        ScalingCommand::Ls => list(context).await,
        ScalingCommand::Show { name } => show(context, name).await,
        ScalingCommand::History { name } => history(context, name).await,
        ScalingCommand::Rm { names } => remove(context, names).await,
    }
}

async fn put(context: &Context, args: &ScalingPutArgs) -> anyhow::Result<()> {
    let ScalingPutArgs { name, min, max, targets, steps, schedules, scale_in_protected } = args;
    let body = body((*min, *max), targets, steps, schedules, *scale_in_protected);
    let scaling = context.client()?.put_scaling(&context.namespace, name, &body, None).await?;
    context.output.print(&scaling, || details(&scaling))?;
    Ok(())
}

/// What the platform is told.
pub(crate) fn body(
    (min, max): (u32, u32),
    targets: &[TargetTracking],
    steps: &[StepScaling],
    schedules: &[ScheduledScaling],
    scale_in_protected: bool,
) -> PutScaling {
    let targets = targets.iter().cloned().map(ScalingPolicy::TargetTracking);
    let policies = targets.chain(steps.iter().cloned().map(ScalingPolicy::Step)).collect();
    PutScaling { min, max, policies, schedules: schedules.to_vec(), scale_in_protected }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let all = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_scaling(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&all, || table(&all, human::now_ms()))?;
    Ok(())
}

async fn show(context: &Context, name: &Name) -> anyhow::Result<()> {
    let client = context.client()?;
    let scaling = client.get_scaling(&context.namespace, name).await?;
    if context.output.is_json() {
        context.output.print(&scaling, String::new)?;
        return Ok(());
    }
    let changes = changes(context, &client, name, SHOWN_MAX).await?;
    let parts = [Some(details(&scaling)), (!changes.is_empty()).then(|| changes_table(&changes))];
    output::line(&parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n"))?;
    Ok(())
}

async fn history(context: &Context, name: &Name) -> anyhow::Result<()> {
    // There are no more than a page of them.
    let changes = changes(context, &context.client()?, name, PageQuery::LIMIT_MAX).await?;
    context.output.print(&changes, || changes_table(&changes))?;
    Ok(())
}

/// The newest changes of a service's count, so many at most.
async fn changes(
    context: &Context,
    client: &Client,
    name: &Name,
    most: u32,
) -> anyhow::Result<Vec<ScalingChange>> {
    let query = PageQuery { limit: Some(most), cursor: None };
    Ok(client.list_scaling_activities(&context.namespace, name, &query).await?.items)
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_scaling(&context.namespace, name, None).await?;
        progress::note(format!("{name} stays at the count that it has"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

fn table(all: &[Scaling], now_ms: u64) -> String {
    let row = |scaling: &Scaling| {
        let last = scaling.status.last.as_ref();
        [
            scaling.service.to_string(),
            scaling.status.desired.to_string(),
            scaling.status.min.to_string(),
            scaling.status.max.to_string(),
            output::or_none(few(scaling.policies.iter().map(|policy| policy.name().to_string()))),
            output::or_none(few(scaling.schedules.iter().map(|scheduled| scheduled.name.to_string()))),
            output::or_none(last.map(|change| format!("{} to {}", change.before, change.after))),
            output::or_none(last.map(|change| human::age(change.ended_at_ms, now_ms))),
        ]
    };
    let header = ["SERVICE", "TASKS", "MIN", "MAX", "POLICIES", "SCHEDULES", "LAST", "AGE"];
    output::columns(header, all.iter().map(row))
}

/// Names with commas between them; `None` where there are none.
fn few(names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn details(scaling: &Scaling) -> String {
    let lines = |lines: Vec<String>| if lines.is_empty() { "-".to_owned() } else { lines.join("\n") };
    let targets = scaling.policies.iter().filter_map(|policy| match policy {
        ScalingPolicy::TargetTracking(tracking) => Some(words::target_text(tracking)),
        ScalingPolicy::Step(_) => None,
    });
    let steps = scaling.policies.iter().filter_map(|policy| match policy {
        ScalingPolicy::TargetTracking(_) => None,
        ScalingPolicy::Step(step) => Some(words::step_text(step)),
    });
    let Scaling { min, max, status, .. } = scaling;
    let bounds = match (status.min, status.max) == (*min, *max) {
        true => format!("{min} to {max} tasks"),
        false => format!("{} to {} tasks, by a schedule; else {min} to {max}", status.min, status.max),
    };
    output::properties([
        ("Service", scaling.service.to_string()),
        ("Namespace", scaling.namespace.to_string()),
        ("Tasks", status.desired.to_string()),
        ("Bounds", bounds),
        ("Targets", lines(targets.collect())),
        ("Steps", lines(steps.collect())),
        ("Schedules", lines(scaling.schedules.iter().map(words::schedule_text).collect())),
        ("Scale-in protected", if scaling.scale_in_protected { "yes" } else { "no" }.to_owned()),
        ("Revision", scaling.revision.to_string()),
        ("Created", human::timestamp(scaling.created_at_ms)),
        ("Changed", human::timestamp(scaling.updated_at_ms)),
    ])
}

fn changes_table(changes: &[ScalingChange]) -> String {
    let row = |change: &ScalingChange| {
        [
            human::timestamp(change.ended_at_ms),
            change.before.to_string(),
            change.after.to_string(),
            change.cause.clone(),
        ]
    };
    output::columns(["TIME", "FROM", "TO", "CAUSE"], changes.iter().map(row))
}

/// Within which bounds a service's count moves, and what moved it last, in a line.
pub(crate) fn summary(status: Option<&ScalingStatus>) -> String {
    let Some(ScalingStatus { min, max, last, .. }) = status else { return "by hand".to_owned() };
    let last = last.as_ref().map(|change| {
        let ScalingChange { before, after, cause, ended_at_ms, .. } = change;
        format!("; from {before} to {after} at {}: {cause}", human::timestamp(*ended_at_ms))
    });
    format!("{min} to {max} tasks{}", last.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scaling() -> Scaling {
        let last = json!({
            "began_at_ms": 1_000, "ended_at_ms": 2_000, "before": 2, "after": 5, "min": 2, "max": 40,
            "cause": "RequestCountPerTarget takes 4.4 tasks at its target of 6000 (policy load)",
        });
        serde_json::from_value(json!({
            "service": "web", "namespace": "default", "revision": 17, "min": 2, "max": 40,
            "policies": [
                { "target_tracking": { "name": "load", "metric": "RequestCountPerTarget", "target": 6000.0 } },
                { "step": { "name": "busy", "alarm": "busy", "steps": [{ "lower": 0, "change": 2 }] } },
            ],
            "schedules": [{ "name": "day", "schedule": "cron(0 8 ? * MON-FRI *)", "min": 10 }],
            "scale_in_protected": false, "created_at_ms": 1_000, "updated_at_ms": 2_000,
            "status": { "desired": 5, "min": 10, "max": 40, "last": last },
        }))
        .unwrap()
    }

    #[test]
    fn services_that_are_scaled_in_a_table() {
        let expected = "SERVICE   TASKS   MIN   MAX   POLICIES     SCHEDULES   LAST     AGE\n\
                        web       5       10    40    load, busy   day         2 to 5   60s";
        assert_eq!(table(&[scaling()], 62_000), expected);
    }

    #[test]
    fn what_moves_a_count_in_detail() {
        let expected = "Service              web\n\
                        Namespace            default\n\
                        Tasks                5\n\
                        Bounds               10 to 40 tasks, by a schedule; else 2 to 40\n\
                        Targets              load:RequestCountPerTarget=6000\n\
                        Steps                busy:busy=0..:+2\n\
                        Schedules            day=cron(0 8 ? * MON-FRI *),min=10\n\
                        Scale-in protected   no\n\
                        Revision             17\n\
                        Created              1970-01-01T00:00:01.000Z\n\
                        Changed              1970-01-01T00:00:02.000Z";
        assert_eq!(details(&scaling()), expected);
    }

    #[test]
    fn a_service_says_within_which_bounds_and_why() {
        let status = scaling().status;
        assert_eq!(
            summary(Some(&status)),
            "10 to 40 tasks; from 2 to 5 at 1970-01-01T00:00:02.000Z: RequestCountPerTarget takes 4.4 tasks at its target of \
             6000 (policy load)"
        );
        assert_eq!(summary(Some(&ScalingStatus { last: None, ..status })), "10 to 40 tasks");
        assert_eq!(summary(None), "by hand");
    }
}
