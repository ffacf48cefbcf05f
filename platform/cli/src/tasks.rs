//! `skiff ps` and `skiff task …`.

use crate::args::{PsArgs, TaskListArgs, TaskStopArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::output::{self, or_none};
use crate::{human, network, progress};
use anyhow::bail;
use serde::Serialize;
use skiff_api::{Client, PageQuery, StopTask, Task, TaskHealth, TaskListQuery, TaskNetwork};
use skiff_types::{Group, Name, StopCode, TaskId, TaskStatus};

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
    let network =
        if task.status == TaskStatus::Stopped { None } else { interface(context, &client, id).await };
    let shown = Shown { task: &task, network: network.as_ref() };
    context.output.print(&shown, || details(&task, network.as_ref(), human::now_ms()))?;
    Ok(())
}

/// What goes on at a task's network interface, if the platform can say at present.
async fn interface(context: &Context, client: &Client, task: TaskId) -> Option<TaskNetwork> {
    match client.task_network(&context.namespace, task).await {
        Ok(network) => Some(network),
        Err(error) => {
            progress::note(format!("what goes on at its network interface is not known: {error}"));
            None
        }
    }
}

/// A task, and what goes on at its network interface.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    task: &'a Task,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a TaskNetwork>,
}

pub(crate) async fn stop(context: &Context, args: &TaskStopArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let id = resolve(context, &client, &args.task).await?;
    let body = StopTask { reason: args.reason.clone(), now: args.now };
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
            or_none((task.health != TaskHealth::Unknown).then_some(task.health)),
            task.restarts.to_string(),
            human::cpu(task.usage.cpu_seconds),
            human::bytes(task.usage.memory_bytes),
            task.usage.requests.to_string(),
            human::age(task.created_at_ms, now_ms),
            reason.join(", ").chars().take(REASON_CHARS_MAX).collect(),
        ]
    };
    let header = [
        "TASK",
        "NAME",
        "DEFINITION",
        "STATUS",
        "HEALTH",
        "RESTARTS",
        "CPU",
        "MEMORY",
        "REQUESTS",
        "AGE",
        "REASON",
    ];
    output::columns(header, tasks.iter().map(row))
}

fn details(task: &Task, network: Option<&TaskNetwork>, now_ms: u64) -> String {
    let usage = &task.usage;
    let at = |at_ms: Option<u64>| or_none(at_ms.map(human::timestamp));
    let joined = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join("\n") };
    let addresses = [task.ipv4.map(|v4| v4.to_string()), task.ipv6.map(|v6| v6.to_string())];
    let properties = [
        ("Task", task.id.to_string()),
        ("Group", task.group.to_string()),
        ("Definition", task.definition.to_string()),
        ("Kind", task.kind.to_string()),
        ("Node", or_none(task.node.as_ref())),
        ("Status", task.status.to_string()),
        ("Health", with_reason(task.health, task.health_reason.as_deref())),
        ("Reason", stopped(task.stop_code, task.stopped_reason.as_deref())),
        ("Exit code", or_none(task.exit_code)),
        ("Restarts", task.restarts.to_string()),
        ("Last end", stopped(task.last_stop_code, task.last_stopped_reason.as_deref())),
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
        ("Addresses", joined(addresses.into_iter().flatten().collect())),
        ("Security groups", joined(task.security_groups.iter().map(Name::to_string).collect())),
        ("Created", human::timestamp(task.created_at_ms)),
        ("Started", at(task.started_at_ms)),
        ("Stopped", at(task.stopped_at_ms)),
    ];
    let interface = network.map(network::properties).into_iter().flatten();
    let mut parts = vec![output::properties(properties.into_iter().chain(interface))];
    parts.extend(
        network.map(|network| network::connections(network, now_ms)).filter(|table| !table.is_empty()),
    );
    parts.join("\n\n")
}

fn stopped(code: Option<StopCode>, reason: Option<&str>) -> String {
    code.map_or_else(|| "-".to_owned(), |code| with_reason(code, reason))
}

fn with_reason(what: impl std::fmt::Display, reason: Option<&str>) -> String {
    reason.map_or_else(|| what.to_string(), |reason| format!("{what}: {reason}"))
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
        let sick = serde_json::json!({ "health": "UNHEALTHY", "restarts": 2 });
        let tasks = [
            task("0193f0c5c0007000800000005e8f01b2", sick),
            task("0193f0c5c0007000800000000000000a", stopped),
        ];
        insta::assert_snapshot!(table(&tasks, 61_000));
    }

    #[test]
    fn a_task_in_detail() {
        let stop = serde_json::json!({
            "stop_code": "OutOfMemory", "stopped_reason": "it wanted 2MiB more", "health": "UNHEALTHY",
            "health_reason": "nothing listens at port 6379", "restarts": 2, "last_stop_code": "Exited",
            "last_stopped_reason": "the program exited with code 3",
        });
        insta::assert_snapshot!(details(&task("0193f0c5c0007000800000005e8f01b2", stop), None, 61_000));
    }

    #[test]
    fn a_task_in_detail_with_its_network_interface() {
        let id = "0193f0c5c0007000800000005e8f01b2";
        let addresses = serde_json::json!({
            "ipv4": "10.64.0.16", "ipv6": "fd73:6b69:6666::10", "security_groups": ["api", "web"],
        });
        let network = serde_json::from_value(serde_json::json!({
            "security_groups": ["api", "web"], "listening": [{ "transport": "tcp", "port": 8080 }],
            "connections": [{
                "began_at_ms": 1_000, "at_ms": 2_000, "task": id, "owner": "default/hello",
                "direction": "ingress", "transport": "tcp", "local": "10.64.0.16:8080",
                "remote": "10.64.0.17:49152", "peer": "default/front", "sent_bytes": 1_024,
                "received_bytes": 10, "verdict": "ACCEPT", "open": true, "note": "", "count": 1,
            }],
            "connection_count": 1,
        }));
        insta::assert_snapshot!(details(&task(id, addresses), Some(&network.unwrap()), 61_000));
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
