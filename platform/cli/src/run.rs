//! `skiff run`: a one-off task. What it writes is written here, and its exit code becomes ours.

use crate::args::RunArgs;
use crate::artifact::{Artifact, Source};
use crate::context::Context;
use crate::failure::usage;
use crate::{output, progress};
use futures::StreamExt;
use skiff_api::{
    Client, ClientError, LogLine, LogQuery, LogStream, PutPlacement, RunTask, StopTask, Task,
    TaskDefinitionReference,
};
use skiff_types::{Kind, StopCode, TaskId, TaskStatus};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the task is looked at once its log has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// What a program that SIGINT ended exits with, by the convention of shells.
const INTERRUPTED_CODE: u8 = 130;

pub(crate) async fn run(context: &Context, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let artifact = Artifact::prepare(&Source::find(&args.source)?, None)?;
    if let Some(kind) = artifact.kind().filter(|kind| kind.is_called()) {
        let source = &args.source;
        let does = if kind == Kind::Http { "answers HTTP requests" } else { "is given events" };
        return Err(usage(format!(
            "{source} {does} and has no end to run to; deploy it: `skiff deploy {source}`"
        )));
    }
    // Arguments and environment are the task's own, so that runs that differ in them share one revision. But a snapshot
    // is of one environment: there it is the revision's.
    let mut settings = artifact.settings(&args.limits, &args.daemon);
    let environment = match settings.snapshot {
        true => Default::default(),
        false => std::mem::take(&mut settings.environment),
    };
    settings.security_groups = artifact.security_groups(&args.security_groups).unwrap_or_default();
    settings.restart = args.restart.unwrap_or(settings.restart);
    settings.role = args.role.clone().or(settings.role);
    // How many tasks a service has is no matter of one that is run by itself.
    let placement = artifact
        .manifest
        .as_ref()
        .map(|manifest| PutPlacement { scheduling: None, ..manifest.service.placement.clone() });
    let definition = artifact.register(context, &client, settings).await?;
    let body = RunTask {
        definition: TaskDefinitionReference::from(definition.id),
        arguments: Some(args.arguments.clone()),
        environment,
        placement: args.placement.asked(None, placement.as_ref()),
    };
    let task = client.run_task(&context.namespace, &body).await?;
    if args.detach {
        context.output.print(&task, || task.id.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let (task, interrupted) = attend(context, &client, task.id).await?;
    if context.output.is_json() {
        context.output.print(&task, String::new)?;
    }
    if interrupted {
        return Ok(ExitCode::from(INTERRUPTED_CODE));
    }
    Ok(exit_code(&task))
}

/// Writes what the task writes until it has ended; stops it when we are told to stop.
async fn attend(context: &Context, client: &Client, id: TaskId) -> anyhow::Result<(Task, bool)> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let following = async {
        let query = LogQuery { task: Some(id), follow: Some(true), ..LogQuery::default() };
        if let Err(error) = follow(context, client, &query).await? {
            progress::note(format!("the task goes on, but its output can't be followed: {error}"));
        }
        wait(context, client, id).await
    };
    tokio::pin!(following);
    let mut interrupted = false;
    loop {
        tokio::select! {
            ended = &mut following => return Ok((ended?, interrupted)),
            () = told_to_stop(&mut interrupt, &mut terminate) => {
                let again = std::mem::replace(&mut interrupted, true);
                let reason = Some("`skiff run` was interrupted".to_owned());
                let body = StopTask { reason, ..StopTask::default() };
                let task = client.stop_task(&context.namespace, id, &body).await?;
                if again {
                    return Ok((task, true));
                }
                progress::note(format!("stopping {}; once more leaves it to itself", id.short()));
            }
        }
    }
}

async fn told_to_stop(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The outer error is that of our own output; the inner one that of the log.
async fn follow(context: &Context, client: &Client, query: &LogQuery) -> io::Result<Result<(), ClientError>> {
    let mut lines = match client.read_logs(&context.namespace, query).await {
        Ok(lines) => lines,
        Err(error) => return Ok(Err(error)),
    };
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => write(&line, context.output.is_json())?,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// With `--output json` standard output is for the task's end alone.
fn write(line: &LogLine, json: bool) -> io::Result<()> {
    match line.stream {
        LogStream::Stdout if !json => writeln!(io::stdout(), "{}", line.text),
        LogStream::Stdout | LogStream::Stderr => writeln!(io::stderr(), "{}", line.text),
        LogStream::Skiff => writeln!(io::stderr(), "skiff: {}", line.text),
    }
}

async fn wait(context: &Context, client: &Client, id: TaskId) -> anyhow::Result<Task> {
    loop {
        let task = client.get_task(&context.namespace, id).await?;
        if task.status == TaskStatus::Stopped {
            return Ok(task);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The task's exit code as a process can have it; 1, and the reason, where it did not end by itself.
fn exit_code(task: &Task) -> ExitCode {
    ExitCode::from(code(task).unwrap_or_else(|| {
        let reason = output::or_none(task.stopped_reason.as_ref());
        progress::note(format!("error: the task ended: {}: {reason}", output::or_none(task.stop_code)));
        1
    }))
}

/// The low eight bits, as `exit` does; never 0 for a code that is not.
fn code(task: &Task) -> Option<u8> {
    let code = task.exit_code.filter(|_| task.stop_code.is_none_or(|code| code == StopCode::Exited))?;
    let low = (code & 0xff) as u8;
    Some(if low == 0 && code != 0 { 1 } else { low })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: Option<i32>, stop_code: StopCode) -> Task {
        let task = serde_json::json!({
            "id": "0193f0c5c00070008000000000000001", "namespace": "default", "revision": 1, "definition": "job:1",
            "kind": "command", "group": "family:job", "status": "STOPPED", "attempt": 0, "usage": {
                "cpu_seconds": 0.0, "throttled_seconds": 0.0, "memory_bytes": 0, "memory_peak_bytes": 0,
                "sandboxes": 0, "in_flight": 0, "requests": 0, "requests_failed": 0,
            },
            "created_at_ms": 1, "updated_at_ms": 1, "exit_code": exit_code, "stop_code": stop_code,
        });
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn a_programs_exit_code_is_ours() {
        for (theirs, ours) in [(0, 0), (3, 3), (255, 255), (-1, 255), (256, 1)] {
            assert_eq!(code(&ended(Some(theirs), StopCode::Exited)), Some(ours));
        }
    }

    #[test]
    fn a_program_that_did_not_end_by_itself_failed() {
        assert_eq!(code(&ended(None, StopCode::Trapped)), None);
        assert_eq!(code(&ended(Some(0), StopCode::OutOfMemory)), None);
    }
}
