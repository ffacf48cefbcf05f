//! `skiff logs`: what a service, a family's one-off tasks, or one task wrote.

use crate::args::LogsArgs;
use crate::context::Context;
use crate::{human, output, tasks};
use futures::StreamExt;
use skiff_api::{Client, ClientError, ErrorCode, LogLine, LogQuery, LogStream};
use skiff_types::{Name, TaskId};

pub(crate) async fn run(context: &Context, args: &LogsArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let base = LogQuery {
        since_ms: args.since.map(|since| human::now_ms().saturating_sub(since.ms())),
        tail: args.tail,
        follow: Some(args.follow),
        ..LogQuery::default()
    };
    let owner: Option<Name> = args.source.parse().ok();
    let Some(owner) = owner else {
        let task = tasks::resolve(context, &client, &args.source).await?;
        return print(context, args, &client, &LogQuery { task: Some(task), ..base }).await;
    };
    match print(context, args, &client, &LogQuery { owner: Some(owner), ..base.clone() }).await {
        // The last digits of a task's id may look like a name.
        Err(error) if is_not_found(&error) && tasks::looks_like_id(&args.source) => {
            let Ok(task) = tasks::resolve(context, &client, &args.source).await else { return Err(error) };
            print(context, args, &client, &LogQuery { task: Some(task), ..base }).await
        }
        result => result,
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref().and_then(ClientError::code) == Some(ErrorCode::NotFound)
}

async fn print(context: &Context, args: &LogsArgs, client: &Client, query: &LogQuery) -> anyhow::Result<()> {
    let mut lines = client.read_logs(&context.namespace, query).await?;
    let of_many = query.task.is_none();
    while let Some(line) = lines.next().await {
        let line = line?;
        match context.output.is_json() {
            true => output::line(&serde_json::to_string(&line)?)?,
            false => output::line(&text(&line, of_many, args.timestamps))?,
        }
    }
    match args.follow && of_many {
        true => Err(ClientError::StreamEnded { url: client.url().to_owned(), source: None }.into()),
        // Those of one task end with it.
        false => Ok(()),
    }
}

fn text(line: &LogLine, of_many: bool, timestamps: bool) -> String {
    let mut text = String::new();
    if timestamps {
        text.push_str(&human::timestamp(line.at_ms));
        text.push(' ');
    }
    if of_many {
        text.push_str(&TaskId::short(&line.task));
        text.push_str(" | ");
    }
    if line.stream == LogStream::Skiff {
        text.push_str("skiff: ");
    }
    text.push_str(&line.text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_tasks_are_told_apart() {
        let task = "0193f0c5c0007000800000005e8f01b2".parse().unwrap();
        let line = LogLine { at_ms: 0, task, stream: LogStream::Stderr, text: "hi".to_owned() };
        assert_eq!(text(&line, false, false), "hi");
        assert_eq!(text(&line, true, false), "5e8f01b2 | hi");
        let remark = LogLine { stream: LogStream::Skiff, ..line };
        assert_eq!(text(&remark, true, true), "1970-01-01T00:00:00.000Z 5e8f01b2 | skiff: hi");
    }
}
