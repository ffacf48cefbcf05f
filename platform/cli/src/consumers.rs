//! `skiff consumer …`, and the consumer of a manifest.

use crate::args::{ConsumerCommand, ConsumerPutArgs};
use crate::artifact::Artifact;
use crate::context::{Context, all_pages};
use crate::output::or_none;
use crate::{human, output, progress};
use skiff_api::{Client, Consumer, ConsumerState, PageQuery, PutConsumer};
use skiff_types::Name;

pub(crate) async fn run(context: &Context, command: &ConsumerCommand) -> anyhow::Result<()> {
    match command {
        ConsumerCommand::Put(args) => put(context, args).await,
        ConsumerCommand::Ls => list(context).await,
        ConsumerCommand::Show { name } => {
            let consumer = context.client()?.get_consumer(&context.namespace, name).await?;
            context.output.print(&consumer, || details(&consumer))?;
            Ok(())
        }
        ConsumerCommand::Rm { names } => remove(context, names).await,
    }
}

async fn put(context: &Context, args: &ConsumerPutArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let consumer = client.put_consumer(&context.namespace, &args.name, &args.body(), None).await?;
    note_if_blocked(&consumer);
    context.output.print(&consumer, || details(&consumer))?;
    Ok(())
}

/// What a project's manifest says that its service consumes, if anything.
fn of_manifest(artifact: &Artifact) -> Option<PutConsumer> {
    let section = artifact.manifest.as_ref()?.consume.as_ref()?;
    Some(PutConsumer {
        queue: section.queue.clone(),
        // It may have another name than its manifest says.
        service: artifact.name.clone(),
        batch: section.batch,
        concurrency: section.concurrency,
    })
}

/// Refuses a manifest whose service is to consume a queue that is not there, before anything is done.
pub(crate) async fn check_of_manifest(
    context: &Context,
    client: &Client,
    artifact: &Artifact,
) -> anyhow::Result<()> {
    if let Some(body) = of_manifest(artifact) {
        client.get_queue(&context.namespace, &body.queue).await?;
    }
    Ok(())
}

/// Puts the consumer that a project's manifest has, under the name of its service, which is there by now.
pub(crate) async fn put_of_manifest(
    context: &Context,
    client: &Client,
    artifact: &Artifact,
) -> anyhow::Result<()> {
    if let Some(body) = of_manifest(artifact) {
        let consumer = client.put_consumer(&context.namespace, &artifact.name, &body, None).await?;
        progress::note(format!("it is given the messages of the queue {}", consumer.queue));
        note_if_blocked(&consumer);
    }
    Ok(())
}

fn note_if_blocked(consumer: &Consumer) {
    if consumer.status.state == ConsumerState::Blocked
        && let Some(reason) = &consumer.status.reason
    {
        progress::note(format!("no messages are taken yet: {reason}"));
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let consumers = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_consumers(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&consumers, || table(&consumers))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_consumer(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

fn table(consumers: &[Consumer]) -> String {
    let row = |consumer: &Consumer| {
        let status = &consumer.status;
        [
            consumer.name.to_string(),
            consumer.queue.to_string(),
            consumer.service.to_string(),
            word(status.state).to_owned(),
            status.tasks.to_string(),
            status.in_flight.to_string(),
            status.done.to_string(),
        ]
    };
    let header = ["NAME", "QUEUE", "SERVICE", "STATE", "TASKS", "BATCHES", "DONE"];
    output::columns(header, consumers.iter().map(row))
}

fn word(state: ConsumerState) -> &'static str {
    match state {
        ConsumerState::Active => "ACTIVE",
        ConsumerState::Asleep => "ASLEEP",
        ConsumerState::Waiting => "WAITING",
        ConsumerState::Blocked => "BLOCKED",
    }
}

fn details(consumer: &Consumer) -> String {
    let status = &consumer.status;
    let failure = status.last_failure.as_ref().map(|failure| match status.last_failure_at_ms {
        Some(at_ms) => format!("{}: {failure}", human::timestamp(at_ms)),
        None => failure.clone(),
    });
    output::properties([
        ("Name", consumer.name.to_string()),
        ("Namespace", consumer.namespace.to_string()),
        ("Queue", consumer.queue.to_string()),
        ("Service", consumer.service.to_string()),
        ("Messages of a batch", consumer.batch.to_string()),
        ("Batches of a task", consumer.concurrency.to_string()),
        ("State", word(status.state).to_owned()),
        ("Reason", or_none(status.reason.as_ref())),
        ("Tasks", status.tasks.to_string()),
        ("Batches in flight", status.in_flight.to_string()),
        ("Messages done", status.done.to_string()),
        ("Messages retried", status.retried.to_string()),
        ("Messages rejected", status.rejected.to_string()),
        ("Batches failed", status.failed_batches.to_string()),
        ("Last failure", or_none(failure)),
        ("Revision", consumer.revision.to_string()),
        ("Created", human::timestamp(consumer.created_at_ms)),
        ("Changed", human::timestamp(consumer.updated_at_ms)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn consumers_in_a_table_and_in_detail() {
        let consumer: Consumer = serde_json::from_value(json!({
            "name": "orders", "namespace": "default", "revision": 7, "queue": "orders", "service": "fulfil", "batch": 10,
            "concurrency": 2, "created_at_ms": 1_000, "updated_at_ms": 2_000,
            "status": {
                "state": "BLOCKED", "reason": "there is no queue orders", "tasks": 0, "in_flight": 1, "done": 12, "retried": 3,
                "rejected": 1, "failed_batches": 0, "last_failure": "a message was rejected: no", "last_failure_at_ms": 1_500,
            },
        }))
        .unwrap();
        assert_eq!(
            table(std::slice::from_ref(&consumer)),
            "NAME     QUEUE    SERVICE   STATE     TASKS   BATCHES   DONE\n\
             orders   orders   fulfil    BLOCKED   0       1         12"
        );
        let details = details(&consumer);
        assert!(details.contains("there is no queue orders"), "{details}");
        assert!(details.contains("1970-01-01T00:00:01.500Z: a message was rejected: no"), "{details}");
    }
}
