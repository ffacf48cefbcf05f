//! `skiff queue …`: queues, and their messages.

use crate::args::{QueueCommand, QueueReceiveArgs, QueueSendArgs};
use crate::context::{Context, all_pages};
use crate::output::or_none;
use crate::{human, input, output, progress};
use anyhow::{Context as _, bail};
use skiff_api::{
    Client, DeleteMessages, Message, NewMessage, PageQuery, Queue, ReceiveMessages, RedriveQueue,
    SendMessages, SentMessage,
};
use skiff_types::{Name, QueueSpec};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

pub(crate) async fn run(context: &Context, command: &QueueCommand) -> anyhow::Result<()> {
    let namespace = &context.namespace;
    match command {
        QueueCommand::Create(args) => {
            let queue = context.client()?.put_queue(namespace, &args.name, &args.body(), None).await?;
            context.output.print(&queue, || details(&queue))?;
        }
        QueueCommand::Ls => list(context).await?,
        QueueCommand::Show { name } => {
            let queue = context.client()?.get_queue(namespace, name).await?;
            context.output.print(&queue, || details(&queue))?;
        }
        QueueCommand::Rm { names } => remove(context, names).await?,
        QueueCommand::Send(args) => send(context, args).await?,
        QueueCommand::Receive(args) => receive(context, args).await?,
        QueueCommand::Delete { queue, receipts } => delete(context, queue, receipts).await?,
        QueueCommand::Purge { queue } => {
            let count = context.client()?.purge_queue(namespace, queue).await?;
            context.output.print(&count, || format!("forgot {}", human::count(count.messages, "message")))?;
        }
        QueueCommand::Redrive { queue, to, max } => {
            let body = RedriveQueue { to: to.clone(), max: *max };
            let driven = context.client()?.redrive_queue(namespace, queue, &body).await?;
            if let Some(why) = &driven.stopped {
                progress::note(why);
            }
            let moved = || format!("moved {}", human::count(driven.messages, "message"));
            context.output.print(&driven, moved)?;
        }
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let queues = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_queues(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&queues, || table(&queues))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_queue(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

async fn send(context: &Context, args: &QueueSendArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    if let Some(batch) = &args.batch {
        return send_batch(context, &client, &args.queue, batch).await;
    }
    let body = match (&args.body, &args.file) {
        (Some(body), _) => body.as_bytes().to_vec(),
        (None, Some(path)) => input::file(path)?,
        (None, None) => input::standard()?,
    };
    let message = NewMessage {
        attributes: args.attributes.iter().cloned().collect(),
        delay: args.delay,
        group: args.group.clone(),
        deduplication_id: args.deduplication_id.clone(),
        ..NewMessage::new(&body)
    };
    let sent = send_some(context, &client, &args.queue, vec![message]).await?;
    let Some(sent) = sent.into_iter().next() else { bail!("the platform answered for no message") };
    if let Some(error) = &sent.error {
        bail!("the message was not sent: {error}");
    }
    context.output.print(&sent, || {
        let id = sent.id.clone().unwrap_or_default();
        if sent.is_duplicate { format!("{id} (sent before)") } else { id }
    })?;
    Ok(())
}

/// Sends the messages of a file, as many in a call as one may have; says what was not sent.
async fn send_batch(context: &Context, client: &Client, queue: &Name, batch: &Path) -> anyhow::Result<()> {
    let (mut waiting, mut sent, mut failed) = (Vec::new(), 0_u64, 0_u64);
    let mut tell = |outcomes: Vec<SentMessage>| {
        for outcome in outcomes {
            match outcome.error {
                None => sent += 1,
                Some(error) => {
                    failed += 1;
                    progress::note(format!("a message was not sent: {error}"));
                }
            }
        }
    };
    for (index, line) in lines(batch)?.enumerate() {
        let place = || format!("line {} of {}", index + 1, batch.display());
        let line = line.with_context(|| format!("{} can't be read", place()))?;
        if line.trim().is_empty() {
            continue;
        }
        waiting.push(
            serde_json::from_str::<NewMessage>(&line)
                .with_context(|| format!("{} is no message", place()))?,
        );
        if waiting.len() == QueueSpec::BATCH_MAX {
            tell(send_some(context, client, queue, std::mem::take(&mut waiting)).await?);
        }
    }
    if !waiting.is_empty() {
        tell(send_some(context, client, queue, waiting).await?);
    }
    context.output.print(&serde_json::json!({ "sent": sent, "failed": failed }), || {
        format!("sent {}", human::count(sent, "message"))
    })?;
    match failed {
        0 => Ok(()),
        failed => {
            bail!("{} not sent", human::count(failed, "message") + if failed == 1 { " was" } else { " were" })
        }
    }
}

fn lines(path: &Path) -> anyhow::Result<Box<dyn Iterator<Item = io::Result<String>>>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lines()));
    }
    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(Box::new(BufReader::new(file).lines()))
}

async fn send_some(
    context: &Context,
    client: &Client,
    queue: &Name,
    messages: Vec<NewMessage>,
) -> anyhow::Result<Vec<SentMessage>> {
    let body = SendMessages { messages };
    Ok(client.send_messages(&context.namespace, queue, &body).await?.messages)
}

async fn receive(context: &Context, args: &QueueReceiveArgs) -> anyhow::Result<()> {
    let body = ReceiveMessages {
        max: Some(args.max),
        wait: args.wait,
        visibility_timeout: args.visibility_timeout,
        delete: args.delete,
        handled: args.handled.clone(),
    };
    let received = context.client()?.receive_messages(&context.namespace, &args.queue, &body).await?;
    for error in received.handled.iter().filter_map(|outcome| outcome.error.as_ref()) {
        progress::note(format!("a message was not deleted: {error}"));
    }
    if received.messages.is_empty() && !context.output.is_json() {
        progress::note("no message came");
    }
    context.output.print(&received.messages, || {
        let shown: Vec<String> = received.messages.iter().map(shown).collect();
        shown.join("\n\n")
    })?;
    Ok(())
}

async fn delete(context: &Context, queue: &Name, receipts: &[String]) -> anyhow::Result<()> {
    let client = context.client()?;
    let mut failed = 0;
    for receipts in receipts.chunks(QueueSpec::BATCH_MAX) {
        let body = DeleteMessages { receipts: receipts.to_vec() };
        let outcomes = client.delete_messages(&context.namespace, queue, &body).await?.outcomes;
        for error in outcomes.into_iter().filter_map(|outcome| outcome.error) {
            failed += 1;
            progress::note(format!("a message was not deleted: {error}"));
        }
    }
    if failed > 0 {
        bail!("{} not deleted", human::count(failed, "message") + if failed == 1 { " was" } else { " were" });
    }
    context.output.print(receipts, String::new)?;
    Ok(())
}

fn table(queues: &[Queue]) -> String {
    let row = |queue: &Queue| {
        [
            queue.name.to_string(),
            kind(queue).to_owned(),
            queue.status.visible.to_string(),
            queue.status.in_flight.to_string(),
            queue.status.delayed.to_string(),
            or_none(queue.status.oldest_age_ms.map(|age_ms| human::age(0, age_ms))),
            or_none(queue.dead_letter.as_ref().map(|dead_letter| &dead_letter.queue)),
        ]
    };
    let header = ["NAME", "TYPE", "VISIBLE", "IN FLIGHT", "DELAYED", "OLDEST", "DEAD LETTERS"];
    output::columns(header, queues.iter().map(row))
}

fn kind(queue: &Queue) -> &'static str {
    if queue.fifo { "fifo" } else { "standard" }
}

fn details(queue: &Queue) -> String {
    let dead_letter = queue.dead_letter.as_ref();
    let dead_letter = dead_letter
        .map(|to| format!("{} after {}", to.queue, human::count(to.receives_max.into(), "receive")));
    output::properties([
        ("Name", queue.name.to_string()),
        ("Namespace", queue.namespace.to_string()),
        ("Type", kind(queue).to_owned()),
        ("Deduplication by content", if queue.content_based_deduplication { "yes" } else { "no" }.to_owned()),
        ("Visible", queue.status.visible.to_string()),
        ("In flight", queue.status.in_flight.to_string()),
        ("Delayed", queue.status.delayed.to_string()),
        ("Oldest", or_none(queue.status.oldest_age_ms.map(|age_ms| human::age(0, age_ms)))),
        ("Visibility timeout", queue.visibility_timeout.to_string()),
        ("Delay", queue.delay.to_string()),
        ("Retention", queue.retention.to_string()),
        ("Receive wait", queue.receive_wait.to_string()),
        ("Largest message", queue.message_max.to_string()),
        ("Messages at most", queue.messages_max.to_string()),
        ("Dead letters", or_none(dead_letter)),
        ("Revision", queue.revision.to_string()),
        ("Created", human::timestamp(queue.created_at_ms)),
        ("Changed", human::timestamp(queue.updated_at_ms)),
    ])
}

fn shown(message: &Message) -> String {
    let attributes = message.attributes.iter().map(|(name, value)| format!("{name}={value}"));
    let attributes = human::harmless(&attributes.collect::<Vec<_>>().join("\n"));
    let body =
        message.body.clone().or_else(|| message.body_base64.clone().map(|body| format!("base64:{body}")));
    output::properties([
        ("Message", message.id.clone()),
        ("Receipt", or_none(message.receipt.as_ref())),
        ("Sent", human::timestamp(message.sent_at_ms)),
        ("Receives", message.receives.to_string()),
        ("Group", or_none(message.group.as_deref().map(human::harmless))),
        ("Dead letter of", or_none(message.dead_letter_source.as_ref())),
        ("Attributes", or_none(Some(attributes).filter(|attributes| !attributes.is_empty()))),
        ("Body", human::harmless(&body.unwrap_or_default())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn queues_in_a_table_and_in_detail() {
        let queue: Queue = serde_json::from_value(json!({
            "name": "orders", "namespace": "default", "revision": 7, "fifo": false, "content_based_deduplication": false,
            "visibility_timeout": "30s", "delay": "0ms", "retention": "4d", "receive_wait": "0ms", "message_max": "1MiB",
            "messages_max": 1_000_000, "dead_letter": { "queue": "dead", "receives_max": 5 },
            "status": { "visible": 12, "in_flight": 3, "delayed": 0, "oldest_age_ms": 90_000 },
            "created_at_ms": 1_000, "updated_at_ms": 2_000,
        }))
        .unwrap();
        let expected = format!(
            "NAME     TYPE       VISIBLE   IN FLIGHT   DELAYED   OLDEST   DEAD LETTERS\n\
             orders   standard   12        3           0         {:<6}   dead",
            human::age(0, 90_000)
        );
        assert_eq!(table(std::slice::from_ref(&queue)), expected);
        assert!(details(&queue).contains("dead after 5 receives"), "{}", details(&queue));
    }

    #[test]
    fn a_message_in_detail() {
        let message: Message = serde_json::from_value(json!({
            "id": "ab", "sequence": 1, "receipt": "r-1", "body": "two\nlines", "attributes": { "kind": "order" },
            "sent_at_ms": 1_000, "receives": 2,
        }))
        .unwrap();
        let shown = shown(&message);
        for row in [
            "Receipt          r-1",
            "Attributes       kind=order",
            "Body             two",
            "                 lines",
        ] {
            assert!(shown.lines().any(|line| line == row), "{row:?} is not in\n{shown}");
        }
    }
}
