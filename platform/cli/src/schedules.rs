//! `skiff schedule …`: what happens when it is time.

use crate::args::{ScheduleCommand, SchedulePutArgs};
use crate::context::{Context, all_pages};
use crate::event_rules::{destination, sent};
use crate::failure::usage;
use crate::output::or_none;
use crate::{human, output, progress};
use skiff_api::{EventSchedule, PageQuery, PutEventSchedule};
use skiff_types::Name;

pub(crate) async fn run(context: &Context, command: &ScheduleCommand) -> anyhow::Result<()> {
    match command {
        ScheduleCommand::Put(args) => put(context, args).await,
        ScheduleCommand::Ls => list(context).await,
        ScheduleCommand::Show { name } => {
            let schedule = context.client()?.get_event_schedule(&context.namespace, name).await?;
            context.output.print(&schedule, || details(&schedule))?;
            Ok(())
        }
        ScheduleCommand::Rm { names } => remove(context, names).await,
    }
}

async fn put(context: &Context, args: &SchedulePutArgs) -> anyhow::Result<()> {
    let body = PutEventSchedule {
        schedule: args.when.clone(),
        zone: args.zone.clone().unwrap_or_default(),
        start: args.start,
        end: args.end,
        missed: args.missed.unwrap_or_default(),
        enabled: Some(!args.disabled),
        target: args.target.target(None).map_err(usage)?,
    };
    let schedule = context.client()?.put_event_schedule(&context.namespace, &args.name, &body, None).await?;
    context.output.print(&schedule, || details(&schedule))?;
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let schedules = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_event_schedules(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&schedules, || table(&schedules))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_event_schedule(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

fn table(schedules: &[EventSchedule]) -> String {
    let row = |schedule: &EventSchedule| {
        let next = schedule.status.next_ms.first().copied().map(human::timestamp);
        [
            schedule.name.to_string(),
            schedule.schedule.to_string(),
            schedule.zone.to_string(),
            if schedule.enabled { "enabled" } else { "disabled" }.to_owned(),
            or_none(next),
            destination(&schedule.target.to),
        ]
    };
    output::columns(["NAME", "WHEN", "ZONE", "STATE", "NEXT", "TO"], schedules.iter().map(row))
}

fn details(schedule: &EventSchedule) -> String {
    let target = &schedule.target;
    let next: Vec<String> = schedule.status.next_ms.iter().copied().map(human::timestamp).collect();
    output::properties([
        ("Name", schedule.name.to_string()),
        ("Namespace", schedule.namespace.to_string()),
        ("When", schedule.schedule.to_string()),
        ("Zone", schedule.zone.to_string()),
        ("Start", or_none(schedule.start)),
        ("End", or_none(schedule.end)),
        ("Missed", schedule.missed.to_string()),
        ("Enabled", if schedule.enabled { "yes" } else { "no" }.to_owned()),
        ("To", destination(&target.to)),
        ("Sends", sent(target.input.as_ref())),
        ("Retries", or_none(target.retries_max)),
        ("Age", or_none(target.age_max)),
        ("Dead letters", or_none(target.dead_letter.as_ref())),
        ("Timeout", or_none(target.timeout)),
        ("Last", or_none(schedule.status.last_ms.map(human::timestamp))),
        ("Next", or_none((!next.is_empty()).then(|| next.join("\n")))),
        ("Revision", schedule.revision.to_string()),
        ("Created", human::timestamp(schedule.created_at_ms)),
        ("Changed", human::timestamp(schedule.updated_at_ms)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> EventSchedule {
        serde_json::from_value(serde_json::json!({
            "name": "sweep", "namespace": "default", "revision": 7, "schedule": "rate(5 minutes)", "zone": "UTC", "missed": "once",
            "enabled": true, "target": { "to": { "task": { "definition": "sweep" } }, "retries_max": 185, "age_max": "1d" },
            "status": { "next_ms": [300_000, 600_000, 900_000] }, "created_at_ms": 1_000, "updated_at_ms": 2_000,
        }))
        .unwrap()
    }

    #[test]
    fn schedules_in_a_table() {
        let expected = "NAME    WHEN              ZONE   STATE     NEXT                       TO\n\
                        sweep   rate(5 minutes)   UTC    enabled   1970-01-01T00:05:00.000Z   task:sweep";
        assert_eq!(table(&[schedule()]), expected);
    }

    #[test]
    fn a_schedule_in_detail_has_its_next_times() {
        let shown = details(&schedule());
        let next = "Next           1970-01-01T00:05:00.000Z\n               1970-01-01T00:10:00.000Z\n               1970-01-01T00:15:00.000Z\n";
        assert!(shown.contains(next), "{shown}");
        assert!(
            shown.contains("Last           -\n") && shown.contains("To             task:sweep\n"),
            "{shown}"
        );
    }
}
