//! `skiff ps` and `skiff task …`.

use crate::args::{PsArgs, TaskListArgs, TaskStopArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::output::{self, or_none};
use crate::{human, progress};
use anyhow::bail;
use skiff_api::{Client, PageQuery, StopTask, Task, TaskListQuery};
use skiff_types::{Group, TaskId};

pub(crate) async fn ps(context: &Context, args: &PsArgs) -> anyhow::Result<()> {
    let stopped = if args.all { None } else { Some(false) };
    print(context, TaskListQuery { stopped, ..TaskListQuery::default() }).await
}

pub(crate) async fn list(context: &Context, args: &TaskListArgs) -> anyhow::Result<()> {
    let (service, status) = (args.service.clone(), args.status);
    print(context, TaskListQuery { service, status, ..TaskListQuery::default() }).await
}

async fn print(context: &Context, query: TaskListQuery) -> anyhow::Result<()> {
    let tasks = all(context, &context.client()?, query).await?;
    context.output.print(&tasks, || table(&tasks, human::now_ms()))?;
    Ok(())
}

async fn all(context: &Context, client: &Client, query: TaskListQuery) -> anyhow::Result<Vec<Task>> {
    all_pages(|cursor| {
        let query = TaskListQuery { limit: Some(PageQuery::LIMIT_MAX), cursor, ..query.clone() };
        async move { client.list_tasks(&context.namespace, &query).await }
    })
    .await
}

pub(crate) async fn show(context: &Context, task: &str) -> anyhow::Result<()> {
    let client = context.client()?;
    let id = resolve(context, &client, task).await?;
    let task = client.get_task(&context.namespace, id).await?;
    context.output.print(&task, || details(&task))?;
    Ok(())
}

pub(crate) async fn stop(context: &Context, args: &TaskStopArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let id = resolve(context, &client, &args.task).await?;
    let body = StopTask { reason: args.reason.clone() };
    let task = client.stop_task(&context.namespace, id, &body).await?;
    progress::note(format!("stopping {}", id.short()));
    if context.output.is_json() {
        context.output.print(&task, String::new)?;
    }
    Ok(())
}

/// Fewest last digits of an id that name a task.
const DIGITS_MIN: usize = 4;

/// Whether a text may be the last digits of a task's id.
pub(crate) fn looks_like_id(text: &str) -> bool {
    (DIGITS_MIN..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The task that a whole id, or the last digits of one, name.
pub(crate) async fn resolve(context: &Context, client: &Client, text: &str) -> anyhow::Result<TaskId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if !looks_like_id(text) {
        return Err(usage(format!(
            "{text:?} is not a task's id: 32 hexadecimal digits, or its last 4 or more"
        )));
    }
    let tasks = all(context, client, TaskListQuery::default()).await?;
    pick(tasks.iter().map(|task| task.id), text)
}

fn pick(ids: impl Iterator<Item = TaskId>, digits: &str) -> anyhow::Result<TaskId> {
    let digits = digits.to_ascii_lowercase();
    let found: Vec<TaskId> = ids.filter(|id| id.to_string().ends_with(&digits)).collect();
    match found.as_slice() {
        [id] => Ok(*id),
        [] => bail!("there is no task whose id ends with {digits}; `skiff ps --all` lists them"),
        many => bail!("the ids of {} tasks end with {digits}; give more of its digits", many.len()),
    }
}

pub(crate) fn owner(group: &Group) -> String {
    match group {
        Group::Service(name) | Group::Family(name) => name.to_string(),
    }
}

/// One task to a row; a reason stays on its row.
pub(crate) fn table(tasks: &[Task], now_ms: u64) -> String {
    const REASON_CHARS_MAX: usize = 60;
    let row = |task: &Task| {
        let reason =
            task.stopped_reason.as_deref().and_then(|reason| reason.lines().next()).unwrap_or_default();
        let exit = task.exit_code.map(|code| format!("exit {code}")).unwrap_or_default();
        let reason = [exit.as_str(), reason].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        [
            task.id.short(),
            owner(&task.group),
            task.definition.to_string(),
            task.status.to_string(),
            human::cpu(task.usage.cpu_seconds),
            human::bytes(task.usage.memory_bytes),
            task.usage.requests.to_string(),
            human::age(task.created_at_ms, now_ms),
            reason.join(", ").chars().take(REASON_CHARS_MAX).collect(),
        ]
    };
    let header = ["TASK", "NAME", "DEFINITION", "STATUS", "CPU", "MEMORY", "REQUESTS", "AGE", "REASON"];
    output::columns(header, tasks.iter().map(row))
}

fn details(task: &Task) -> String {
    let usage = &task.usage;
    let at = |at_ms: Option<u64>| or_none(at_ms.map(human::timestamp));
    let reason = match (&task.stop_code, &task.stopped_reason) {
        (Some(code), Some(reason)) => format!("{code}: {reason}"),
        (Some(code), None) => code.to_string(),
        (None, _) => "-".to_owned(),
    };
    output::properties([
        ("Task", task.id.to_string()),
        ("Group", task.group.to_string()),
        ("Definition", task.definition.to_string()),
        ("Kind", task.kind.to_string()),
        ("Status", task.status.to_string()),
        ("Reason", reason),
        ("Exit code", or_none(task.exit_code)),
        ("Failures before", task.attempt.to_string()),
        (
            "CPU",
            format!("{}, held back {}", human::cpu(usage.cpu_seconds), human::cpu(usage.throttled_seconds)),
        ),
        (
            "Memory",
            format!(
                "{}, {} at most",
                human::bytes(usage.memory_bytes),
                human::bytes(usage.memory_peak_bytes)
            ),
        ),
        ("Sandboxes", usage.sandboxes.to_string()),
        (
            "Requests",
            format!("{}, {} failed, {} in flight", usage.requests, usage.requests_failed, usage.in_flight),
        ),
        ("Created", human::timestamp(task.created_at_ms)),
        ("Started", at(task.started_at_ms)),
        ("Stopped", at(task.stopped_at_ms)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, more: serde_json::Value) -> Task {
        let mut task = serde_json::json!({
            "id": id, "namespace": "default", "revision": 1, "definition": "hello:3", "kind": "http",
            "group": "service:hello", "status": "RUNNING", "attempt": 0, "usage": {
                "cpu_seconds": 1.5, "throttled_seconds": 0.25, "memory_bytes": 1_048_576,
                "memory_peak_bytes": 2_097_152, "sandboxes": 2, "in_flight": 1, "requests": 1_000,
                "requests_failed": 3,
            },
            "created_at_ms": 1_000, "updated_at_ms": 1_000,
        });
        task.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn tasks_in_a_table() {
        let stopped = serde_json::json!({
            "status": "STOPPED", "stop_code": "Exited", "stopped_reason": "the program failed\nat length",
            "exit_code": 3,
        });
        let tasks = [
            task("0193f0c5c0007000800000005e8f01b2", serde_json::json!({})),
            task("0193f0c5c0007000800000000000000a", stopped),
        ];
        insta::assert_snapshot!(table(&tasks, 61_000));
    }

    #[test]
    fn a_task_in_detail() {
        let stop = serde_json::json!({ "stop_code": "OutOfMemory", "stopped_reason": "it wanted 2MiB more" });
        insta::assert_snapshot!(details(&task("0193f0c5c0007000800000005e8f01b2", stop)));
    }

    #[test]
    fn last_digits_name_one_task_or_none() {
        let ids: Vec<TaskId> = ["0193f0c5c0007000800000005e8f01b2", "0193f0c5c000700080000000aaaa01b2"]
            .map(|id| id.parse().unwrap())
            .into();
        assert_eq!(pick(ids.iter().copied(), "5E8F01B2").unwrap(), ids[0]);
        assert!(pick(ids.iter().copied(), "01b2").unwrap_err().to_string().starts_with("the ids of 2 tasks"));
        assert!(pick(ids.iter().copied(), "ffff").unwrap_err().to_string().starts_with("there is no task"));
        assert!(looks_like_id("01b2") && !looks_like_id("1b2") && !looks_like_id("hello"));
    }
}
