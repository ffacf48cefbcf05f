//! `skiff service …`.

use crate::context::{Context, all_pages};
use crate::output::{self, or_none};
use crate::{human, rollout, scaling, tasks};
use skiff_api::{
    DeploymentConfiguration, PageQuery, Placement, Service, ServiceState, ServiceStatus, Task, TaskListQuery,
};
use skiff_types::{Name, ScaleToZero, SchedulingStrategy};

/// How many of a service's tasks are shown with it.
const TASKS_SHOWN_MAX: u32 = 20;

pub(crate) async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let services = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_services(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&services, || table(&services, human::now_ms()))?;
    Ok(())
}

pub(crate) async fn show(context: &Context, name: &Name) -> anyhow::Result<()> {
    let client = context.client()?;
    let service = client.get_service(&context.namespace, name).await?;
    if context.output.is_json() {
        context.output.print(&service, String::new)?;
        return Ok(());
    }
    let query =
        TaskListQuery { service: Some(name.clone()), limit: Some(TASKS_SHOWN_MAX), ..Default::default() };
    let tasks = client.list_tasks(&context.namespace, &query).await?.items;
    output::line(&details(&service, &tasks, human::now_ms()))?;
    Ok(())
}

fn table(services: &[Service], now_ms: u64) -> String {
    let header = [
        "NAME",
        "STATE",
        "DEFINITION",
        "RUNNING",
        "PENDING",
        "DEPLOYMENT",
        "CPU",
        "MEMORY",
        "RESTARTS",
        "AGE",
        "URL",
    ];
    let row = |service: &Service| {
        let status = &service.status;
        [
            service.name.to_string(),
            state(status).to_owned(),
            service.spec.definition.to_string(),
            format!("{}/{}", status.running, service.spec.desired),
            status.pending.to_string(),
            rollout::state_word(status.deployment.state).to_owned(),
            human::cpu(status.cpu_seconds),
            human::bytes(status.memory_bytes),
            status.restarts.to_string(),
            human::age(service.created_at_ms, now_ms),
            or_none(status.urls.first().or(listeners(service).first())),
        ]
    };
    output::columns(header, services.iter().map(row))
}

fn state(status: &ServiceStatus) -> &'static str {
    match status.state {
        ServiceState::Active if status.asleep => "ASLEEP",
        ServiceState::Active => "ACTIVE",
        ServiceState::Draining => "DRAINING",
    }
}

fn details(service: &Service, tasks: &[Task], now_ms: u64) -> String {
    let (spec, status) = (&service.spec, &service.status);
    let deployment = &status.deployment;
    let joined = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join("\n") };
    let reason = deployment.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let weight = deployment.shift.as_ref().map(|shift| format!("\n{}", rollout::weight(shift)));
    let weight = weight.unwrap_or_default();
    let properties = output::properties([
        ("Name", service.name.to_string()),
        ("Namespace", service.namespace.to_string()),
        ("State", state(status).to_owned()),
        ("Definition", spec.definition.to_string()),
        ("Kind", status.kind.to_string()),
        (
            "Tasks",
            format!(
                "{} desired, {} running, {} ready, {} pending, {} stopping",
                spec.desired, status.running, status.ready, status.pending, status.stopping
            ),
        ),
        ("Deployment", format!("{} {}{reason}{weight}", deployment.definition, rollout::state(deployment))),
        ("Rolling updates", rolling_updates(&spec.deployment)),
        ("Strategy", strategy(&spec.deployment)),
        ("URLs", joined(status.urls.clone())),
        ("Hosts", joined(spec.hosts.iter().map(ToString::to_string).collect())),
        ("Paths", joined(spec.paths.iter().map(ToString::to_string).collect())),
        ("Listeners", joined(listeners(service))),
        ("Security groups", security_groups(spec.security_groups.as_deref())),
        ("Placement", placement(&spec.placement)),
        ("Scale to zero", scale_to_zero(spec.scale_to_zero, status.asleep)),
        ("Scaling", scaling::summary(status.scaling.as_ref())),
        ("CPU", human::cpu(status.cpu_seconds)),
        ("Memory", human::bytes(status.memory_bytes)),
        ("Requests", status.requests.to_string()),
        ("Restarts", status.restarts.to_string()),
        ("Revision", service.revision.to_string()),
        ("Created", human::timestamp(service.created_at_ms)),
        ("Updated", human::timestamp(service.updated_at_ms)),
    ]);
    let mut parts = vec![properties];
    if !tasks.is_empty() {
        parts.push(tasks::table(tasks, now_ms));
    }
    if !status.events.is_empty() {
        let rows = status.events.iter().map(|event| {
            [
                human::timestamp(event.at_ms),
                or_none(event.task.map(|task| task.short())),
                event.message.clone(),
            ]
        });
        parts.push(output::columns(["TIME", "TASK", "EVENT"], rows));
    }
    parts.join("\n\n")
}

/// Where a service is reached beside HTTP, and to which port of its tasks that leads.
pub(crate) fn listeners(service: &Service) -> Vec<String> {
    let port = service.status.port.map(|port| format!(" -> port {port}")).unwrap_or_default();
    service.spec.listen.iter().map(|listen| format!("{listen}{port}")).collect()
}

/// Within which bounds it goes from one revision to the next, and what becomes of one that fails.
fn rolling_updates(configuration: &DeploymentConfiguration) -> String {
    let DeploymentConfiguration { min_healthy_percent, max_percent, circuit_breaker, grace, .. } =
        configuration;
    let grace = grace.map(|grace| format!(", checks count after {grace}")).unwrap_or_default();
    format!("{min_healthy_percent}% to {max_percent}%, circuit breaker: {circuit_breaker}{grace}")
}

/// How requests come to the next revision, what gives that up, and where the revision is tried.
fn strategy(configuration: &DeploymentConfiguration) -> String {
    let DeploymentConfiguration {
        strategy, bake, canary_percent, canary_bake, step_percent, step_bake, ..
    } = configuration;
    let percents = [("first", canary_percent), ("a step", step_percent)];
    let percents =
        percents.into_iter().filter_map(|(what, percent)| Some(format!("{}% {what}", (*percent)?)));
    let bakes = [("it stays there for", canary_bake), ("a step is", step_bake), ("then bakes for", bake)];
    let bakes = bakes.into_iter().filter_map(|(what, bake)| Some(format!("{what} {}", (*bake)?)));
    let mut parts: Vec<String> = vec![strategy.to_string()];
    parts.extend(percents.chain(bakes));
    let mut lines = vec![parts.join(", ")];
    for (what, names) in [
        ("alarms", configuration.alarms.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ("test hosts", configuration.test_hosts.iter().map(ToString::to_string).collect()),
    ] {
        lines.extend((!names.is_empty()).then(|| format!("{what}: {}", names.join(", "))));
    }
    lines.join("\n")
}

/// On which nodes its tasks may run, which of these are taken, and whether it has one on each.
fn placement(placement: &Placement) -> String {
    let scheduled = match placement.scheduling {
        SchedulingStrategy::Replica => None,
        SchedulingStrategy::Daemon => Some("DAEMON: one on each node".to_owned()),
    };
    let constraints = placement.constraints.iter().map(ToString::to_string);
    let strategies = placement.strategies.iter().map(ToString::to_string);
    let said: Vec<String> = scheduled.into_iter().chain(constraints).chain(strategies).collect();
    if said.is_empty() { "any node".to_owned() } else { said.join("\n") }
}

/// After how long without a request it sleeps, and whether it does.
fn scale_to_zero(said: ScaleToZero, asleep: bool) -> String {
    match (said, asleep) {
        (ScaleToZero::Never, _) => "never".to_owned(),
        (ScaleToZero::After(span), false) => format!("after {span} without a request"),
        (ScaleToZero::After(span), true) => format!("after {span} without a request; it is asleep"),
    }
}

fn security_groups(groups: Option<&[Name]>) -> String {
    match groups {
        Some(groups) => groups.iter().map(Name::to_string).collect::<Vec<_>>().join("\n"),
        None => "those of its definition".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        serde_json::from_value(serde_json::json!({
            "name": "hello", "namespace": "default", "revision": 17, "created_at_ms": 1_000, "updated_at_ms": 2_000,
            "spec": {
                "definition": "hello:3", "desired": 2, "hosts": [], "paths": ["/api", "/v2"], "listen": ["tcp:6379"],
            },
            "status": {
                "state": "ACTIVE", "kind": "http", "running": 1, "ready": 1, "port": 6380, "pending": 1, "stopping": 0, "urls": ["http://hello.localhost:8080"],
                "deployment": {
                    "id": "0193f0c5c00070008000000000000002", "definition": "hello:3", "state": "IN_PROGRESS", "running": 1, "failures": 1,
                    "message": "a task trapped", "created_at_ms": 2_000,
                },
                "restarts": 4, "cpu_seconds": 12.25, "memory_bytes": 5_000_000, "requests": 123,
                "events": [
                    { "at_ms": 3_000, "message": "a task trapped", "task": "0193f0c5c0007000800000005e8f01b2" },
                    { "at_ms": 2_000, "message": "deploys hello:3" },
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn services_in_a_table() {
        insta::assert_snapshot!(table(&[service()], 3_601_000));
    }

    #[test]
    fn a_service_that_sleeps_says_so_wherever_its_state_is_shown() {
        let mut asleep = service();
        asleep.status.asleep = true;
        assert!(table(&[asleep.clone()], 0).contains("ASLEEP"));
        assert!(details(&asleep, &[], 0).contains("State             ASLEEP\n"));
        asleep.status.state = ServiceState::Draining;
        assert!(details(&asleep, &[], 0).contains("State             DRAINING\n"));
    }

    #[test]
    fn a_service_in_detail() {
        insta::assert_snapshot!(details(&service(), &[], 3_601_000));
    }
}
