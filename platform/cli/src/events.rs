//! `skiff events`: what happened to tasks, services and alarms.

use crate::args::EventsArgs;
use crate::context::Context;
use crate::{human, output, tasks};
use futures::StreamExt;
use skiff_api::{ClientError, Event, EventQuery};

pub(crate) async fn run(context: &Context, args: &EventsArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let task = match &args.task {
        Some(task) => Some(tasks::resolve(context, &client, task).await?),
        None => None,
    };
    let query = EventQuery {
        services: args.services.clone(),
        task,
        types: args.types.clone(),
        since_ms: args.since.map(|since| human::now_ms().saturating_sub(since.ms())),
        tail: args.tail,
        follow: Some(args.follow),
    };
    let mut events = client.read_events(&context.namespace, &query).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        match context.output.is_json() {
            true => output::line(&serde_json::to_string(&event)?)?,
            false => output::line(&line(&event))?,
        }
    }
    match args.follow {
        true => Err(ClientError::StreamEnded { url: client.url().to_owned(), source: None }.into()),
        false => Ok(()),
    }
}

/// An event as one line: when, where it comes from, whom it happened to, and what happened.
fn line(event: &Event) -> String {
    let resource = output::or_none(event.resources.first());
    format!("{} {} {resource} {}", event.time, event.source, event.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "id": "0193f0c5c0007000bfffffffffffffff",
            "time": "2026-11-29T10:23:40.000Z",
            "source": "skiff.ecs",
            "namespace": "default",
            "resources": ["service/default/web", "task/default/0193f0c5c0007000800000005e8f01b2"],
            "message": "task 5e8f01b2 ended: it trapped",
            "detail-type": "ECS Service Action",
            "detail": {
                "eventType": "INFO", "eventName": "TASKS_STOPPED", "createdAt": "2026-11-29T10:23:40.000Z",
                "of a newer version": true,
            },
        }))
        .unwrap();
        assert_eq!(
            line(&event),
            "2026-11-29T10:23:40.000Z skiff.ecs service/default/web task 5e8f01b2 ended: it trapped"
        );
    }
}
