//! `skiff taskdef …`.

use crate::args::{TaskDefinitionListArgs, TaskDefinitionShowArgs};
use crate::context::{Context, all_pages};
use crate::output::{self, or_none};
use crate::{human, progress};
use skiff_api::{HealthCheck, PageQuery, TaskDefinition, TaskDefinitionListQuery, TaskDefinitionQuery};
use skiff_types::{DEFAULT_GROUP, Name, Reuse, TaskDefinitionId};

pub(crate) async fn list(context: &Context, args: &TaskDefinitionListArgs) -> anyhow::Result<()> {
    let client = &context.client()?;
    let definitions = all_pages(|cursor| async move {
        let (family, limit) = (args.family.clone(), Some(PageQuery::LIMIT_MAX));
        let query = TaskDefinitionListQuery { family, limit, cursor };
        client.list_task_definitions(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&definitions, || table(&definitions, human::now_ms()))?;
    Ok(())
}

pub(crate) async fn show(context: &Context, args: &TaskDefinitionShowArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let query = TaskDefinitionQuery { reveal: (!args.reveal.is_empty()).then(|| args.reveal.join(",")) };
    let definition = client.get_task_definition(&context.namespace, &args.definition, &query).await?;
    context.output.print(&definition, || details(&definition))?;
    Ok(())
}

pub(crate) async fn remove(context: &Context, definitions: &[TaskDefinitionId]) -> anyhow::Result<()> {
    let client = context.client()?;
    for definition in definitions {
        client.deregister_task_definition(&context.namespace, definition).await?;
        progress::note(format!("deregistered {definition}"));
    }
    context.output.print(definitions, String::new)?;
    Ok(())
}

fn table(definitions: &[TaskDefinition], now_ms: u64) -> String {
    let row = |definition: &TaskDefinition| {
        [
            definition.id.to_string(),
            definition.image.to_string(),
            format!("{} (WASI {})", definition.component.kind, definition.component.generation),
            definition.limits.cpu.to_string(),
            definition.limits.memory.to_string(),
            definition.sandboxes_max.to_string(),
            human::age(definition.created_at_ms, now_ms),
        ]
    };
    let header = ["DEFINITION", "IMAGE", "KIND", "CPU", "MEMORY", "SANDBOXES", "AGE"];
    output::columns(header, definitions.iter().map(row))
}

fn details(definition: &TaskDefinition) -> String {
    let (limits, component) = (&definition.limits, &definition.component);
    let environment = definition.environment.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name} (hidden; --reveal {name} shows it)"),
    });
    let environment: Vec<String> = environment.collect();
    let joined = |items: &[String]| if items.is_empty() { "-".to_owned() } else { items.join("\n") };
    output::properties([
        ("Definition", definition.id.to_string()),
        ("Image", definition.image.to_string()),
        ("Component", component.digest.to_string()),
        ("Kind", format!("{} (WASI {})", component.kind, component.generation)),
        ("CPU", format!("{} units", limits.cpu)),
        ("Memory", format!("{}, for {} sandboxes at most", limits.memory, definition.sandboxes_max)),
        ("Memory of a sandbox", format!("{} at least", human::bytes(component.minimum_memory_bytes))),
        ("Snapshot", snapshot(definition)),
        ("Security groups", security_groups(&definition.security_groups)),
        ("Role", or_none(definition.role.as_ref())),
        ("Port", or_none(definition.port)),
        ("Health check", or_none(definition.health_check.as_ref().map(health_check))),
        ("Stop timeout", or_none(definition.stop_timeout)),
        ("Restart", definition.restart.to_string()),
        ("Timeout", limits.timeout.to_string()),
        ("Concurrency", format!("{}, and {} waiting", limits.concurrency, limits.queue)),
        ("Reuse", reuse(limits.reuse)),
        ("Request body", format!("{} at most", limits.request_body)),
        ("Response body", format!("{} at most", limits.response_body)),
        ("Logs", format!("{} a second at most", limits.log_rate)),
        (
            "Size",
            format!(
                "{}, native {}",
                human::bytes(component.component_bytes),
                human::bytes(component.native_bytes)
            ),
        ),
        ("Arguments", joined(&definition.arguments)),
        ("Environment", joined(&environment)),
        ("Imports", joined(&component.imports)),
        ("Exports", joined(&component.exports)),
        ("Created", human::timestamp(definition.created_at_ms)),
    ])
}

fn health_check(check: &HealthCheck) -> String {
    let HealthCheck { interval, timeout, healthy, unhealthy, start_period } = check;
    format!(
        "every {interval}, each within {timeout}; {unhealthy} failures make it unhealthy, {healthy} successes healthy; \
         the first {start_period} after its start don't count"
    )
}

fn reuse(reuse: Reuse) -> String {
    match reuse {
        Reuse { requests: 1, .. } => "a fresh sandbox for each request".to_owned(),
        Reuse { requests, concurrent: 1 } => format!("{requests} requests of a sandbox, one after the other"),
        Reuse { requests, concurrent } => format!("{requests} requests of a sandbox, {concurrent} at once"),
    }
}

fn security_groups(groups: &[Name]) -> String {
    match groups {
        [] => DEFAULT_GROUP.to_owned(),
        groups => groups.iter().map(Name::to_string).collect::<Vec<_>>().join("\n"),
    }
}

fn snapshot(definition: &TaskDefinition) -> String {
    match &definition.initialization {
        Some(initialization) => {
            let took = human::nanoseconds(initialization.took_ms * 1_000_000);
            format!("yes; its initialisation took {took}")
        }
        None => "no".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> TaskDefinition {
        let digest = format!("sha256:{}", "ab".repeat(32));
        serde_json::from_value(serde_json::json!({
            "id": "hello:3", "namespace": "default", "image": "hello:latest", "requested_limits": { "cpu": "512" },
            "arguments": [], "environment": { "LOG": null, "MODE": "fast" },
            "limits": {
                "cpu": "512", "memory": "128MiB", "timeout": "30s", "concurrency": 100, "queue": 100,
                "request_body": "10MiB", "response_body": "100MiB", "log_rate": "1MiB",
            },
            "component": {
                "digest": digest, "kind": "http", "generation": "0.2", "imports": ["wasi:io/streams@0.2.6"],
                "exports": ["wasi:http/incoming-handler@0.2.6"], "minimum_memory_bytes": 1_200_000,
                "component_bytes": 74_000, "native_bytes": 237_000, "compile_ms": 80,
            },
            "port": 6379, "stop_timeout": "30s", "restart": "on-failure",
            "health_check": {
                "interval": "10s", "timeout": "2s", "healthy": 2, "unhealthy": 3, "start_period": "30s",
            },
            "sandboxes_max": 100, "created_at_ms": 1_000,
        }))
        .unwrap()
    }

    #[test]
    fn definitions_in_a_table() {
        insta::assert_snapshot!(table(&[definition()], 3_601_000));
    }

    #[test]
    fn values_of_the_environment_are_hidden_unless_asked_for() {
        let details = details(&definition());
        assert!(details.contains("LOG (hidden; --reveal LOG shows it)") && details.contains("MODE=fast"));
        insta::assert_snapshot!(details);
    }
}
