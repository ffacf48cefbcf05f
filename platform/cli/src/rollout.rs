//! `skiff rollout …`, and how a deployment that is under way is shown and waited for.

use crate::args::RolloutCommand;
use crate::context::Context;
use crate::output::{self, or_none};
use crate::{human, progress};
use anyhow::bail;
use skiff_api::{
    ChangeRollout, Client, Deployment, DeploymentShift, DeploymentState, RolloutAction, Service,
};
use skiff_types::{Name, StrategyName};
use std::time::{Duration, Instant};

/// How long a deployment is waited for that takes no step of its weight, and waits for none.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// How long it is waited until a deployment that its user gave up is seen to be.
const ABORT_MAX: Duration = Duration::from_secs(5);
/// How often it is looked at.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);
/// Attempts that may fail in a row before what no circuit breaker ends is given up waiting for.
const FAILURES_MAX: u32 = 5;

pub(crate) async fn run(context: &Context, command: &RolloutCommand) -> anyhow::Result<()> {
    match command {
        RolloutCommand::Status { name } => status(context, name).await,
        RolloutCommand::Pause { name } => change(context, name, RolloutAction::Pause).await,
        RolloutCommand::Resume { name } => change(context, name, RolloutAction::Resume).await,
        RolloutCommand::Abort { name } => change(context, name, RolloutAction::Abort).await,
    }
}

async fn status(context: &Context, name: &Name) -> anyhow::Result<()> {
    let deployment = context.client()?.get_rollout(&context.namespace, name).await?;
    context.output.print(&deployment, || details(&deployment))?;
    Ok(())
}

async fn change(context: &Context, name: &Name, action: RolloutAction) -> anyhow::Result<()> {
    let body = ChangeRollout { action };
    let client = context.client()?;
    let service = client.change_rollout(&context.namespace, name, &body).await?;
    let definition = &service.spec.definition;
    progress::note(match action {
        RolloutAction::Pause => format!("{name}: the deployment of {definition} is halted"),
        RolloutAction::Resume => format!("{name}: the deployment of {definition} goes on"),
        RolloutAction::Abort => format!("{name}: the deployment of {definition} is given up"),
    });
    let deployment = match action {
        RolloutAction::Pause | RolloutAction::Resume => service.status.deployment,
        RolloutAction::Abort => given_up(context, &client, name).await?,
    };
    context.output.print(&deployment, || details(&deployment))?;
    Ok(())
}

/// A deployment whose user gave it up, once it is: what the call itself answers is how it was at that moment.
async fn given_up(context: &Context, client: &Client, name: &Name) -> anyhow::Result<Deployment> {
    let started = Instant::now();
    loop {
        let deployment = client.get_rollout(&context.namespace, name).await?;
        let is_over = deployment.rolled_back_from.is_some() || deployment.state == DeploymentState::Failed;
        if is_over || started.elapsed() > ABORT_MAX {
            return Ok(deployment);
        }
        tokio::time::sleep(WAIT_INTERVAL).await;
    }
}

fn details(deployment: &Deployment) -> String {
    output::properties([
        ("Deployment", deployment.id.to_string()),
        ("Definition", deployment.definition.to_string()),
        ("Rolled back from", or_none(deployment.rolled_back_from.as_ref())),
        ("State", state(deployment)),
        ("Requests", or_none(deployment.shift.as_ref().map(weight))),
        ("Tasks", tasks(deployment)),
        ("Failed tasks", deployment.failed_tasks.to_string()),
        ("Reason", or_none(deployment.message.as_ref())),
        ("Began", human::timestamp(deployment.created_at_ms)),
    ])
}

/// How far a deployment is, in ECS's word.
pub(crate) fn state_word(state: DeploymentState) -> &'static str {
    match state {
        DeploymentState::InProgress => "IN_PROGRESS",
        DeploymentState::Completed => "COMPLETED",
        DeploymentState::Failed => "FAILED",
    }
}

/// The same of one that may be halted.
pub(crate) fn state(deployment: &Deployment) -> String {
    let halted = if deployment.paused { " (paused)" } else { "" };
    format!("{}{halted}", state_word(deployment.state))
}

/// Which part of all requests goes to which revision, and what comes next.
pub(crate) fn weight(shift: &DeploymentShift) -> String {
    let DeploymentShift { strategy, blue, green, percent, step, steps, next_at_ms } = shift;
    let divided = format!("{percent}% to {green}, {}% to {blue}", 100 - (*percent).min(100));
    let next = next_at_ms.map(human::timestamp);
    let next = match (next, percent) {
        (Some(at), 100) => format!("; {blue} goes at {at}"),
        (Some(at), _) => format!("; next step at {at}"),
        (None, _) => String::new(),
    };
    match strategy {
        // One that goes back after its user took the strategy away.
        StrategyName::Rolling => divided,
        StrategyName::BlueGreen | StrategyName::Canary | StrategyName::Linear => {
            format!("{divided} (step {step} of {steps}){next}")
        }
    }
}

fn tasks(deployment: &Deployment) -> String {
    let Deployment { desired, running, pending, replaced, .. } = deployment;
    format!("{desired} desired, {running} running, {pending} pending, {replaced} of other revisions running")
}

/// Waits until a service that was just given something is what it is to be.
pub(crate) async fn wait(context: &Context, client: &Client, asked: &Service) -> anyhow::Result<Service> {
    let step = progress::step(format!("waiting for {}", asked.name));
    let (mut since, mut was_at) = (Instant::now(), None);
    let mut said = None;
    loop {
        let service = client.get_service(&context.namespace, &asked.name).await?;
        if is_done(asked, &service)? {
            step.done(completed(&service));
            return Ok(service);
        }
        let message = &service.status.deployment.message;
        if let Some(message) = message.as_ref().filter(|message| said.as_ref() != Some(*message)) {
            step.note(format!("{}: {message}", asked.name));
            said = Some(message.clone());
        }
        let shift = service.status.deployment.shift.clone();
        if has_time(shift.as_ref(), human::now_ms()) || shift != was_at {
            (since, was_at) = (Instant::now(), shift);
        }
        if since.elapsed() > WAIT_MAX {
            bail!(stuck(&service, &format!("it is not done after {}", human::elapsed(WAIT_MAX))));
        }
        step.message(line(&service));
        tokio::time::sleep(WAIT_INTERVAL).await;
    }
}

/// Whether the next step of a weight that moves is still to come, when its user said. One that is due waits for tasks.
fn has_time(shift: Option<&DeploymentShift>, now_ms: u64) -> bool {
    shift.and_then(|shift| shift.next_at_ms).is_some_and(|at_ms| now_ms < at_ms)
}

/// Whether a service is what was asked for; an error if it will not be.
fn is_done(asked: &Service, service: &Service) -> anyhow::Result<bool> {
    let (name, wanted, deployment) = (&service.name, &asked.spec.definition, &service.status.deployment);
    if service.spec.definition != *wanted {
        bail!("{name} was given to {} meanwhile; this deployment is over", service.spec.definition);
    }
    let message = deployment.message.as_deref().unwrap_or("no reason is known");
    // Who changes something else of a service that was rolled back before waits for what it runs.
    let was_back = asked.status.deployment.rolled_back_from.is_some();
    let is_back = deployment.rolled_back_from.is_some() && !was_back;
    match deployment.state {
        DeploymentState::Failed => {
            bail!("the deployment of {wanted} failed: {message}; see `skiff logs {name}`")
        }
        DeploymentState::Completed if is_back => bail!(
            "the deployment of {wanted} failed, and {name} is back at {}: {message}; see `skiff logs {name}`",
            deployment.definition
        ),
        DeploymentState::Completed => Ok(true),
        DeploymentState::InProgress if deployment.failures >= FAILURES_MAX && !is_back => {
            bail!(stuck(service, &format!("{} attempts failed", deployment.failures)))
        }
        DeploymentState::InProgress => Ok(false),
    }
}

/// A deployment that is under way, in a line.
fn line(service: &Service) -> String {
    let deployment = &service.status.deployment;
    let Deployment { definition, desired, running, .. } = deployment;
    let does = match (&deployment.rolled_back_from, deployment.paused) {
        (Some(from), _) => format!("going back from {from} to {definition}"),
        (None, true) => format!("halted on the way to {definition}"),
        (None, false) => format!("waiting for {definition}"),
    };
    let mut parts = vec![format!("{running} of {} running", human::count((*desired).into(), "task"))];
    parts.extend(deployment.shift.as_ref().map(|shift| format!("{}% of requests", shift.percent)));
    for (count, what) in [
        (deployment.pending, "pending"),
        (deployment.replaced, "of other revisions"),
        (deployment.failed_tasks, "failed"),
    ] {
        parts.extend((count > 0).then(|| format!("{count} {what}")));
    }
    format!("{does}: {}", parts.join(", "))
}

fn completed(service: &Service) -> String {
    let tasks = human::count(service.status.running.into(), "task");
    format!("{} runs {tasks} of {}", service.name, service.status.deployment.definition)
}

fn stuck(service: &Service, what: &str) -> String {
    let (name, deployment) = (&service.name, &service.status.deployment);
    let reason = deployment.message.as_deref().unwrap_or("no reason is known");
    let definition = &deployment.definition;
    format!("{name} does not come up with {definition}: {what}: {reason}; see `skiff logs {name}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A service that is to run `hello:2`, whose deployment is as it ever is but for this.
    fn service(more: Value) -> Service {
        let mut deployment = json!({
            "id": "0193f0c5c00070008000000000000002", "definition": "hello:2", "state": "IN_PROGRESS", "desired": 4,
            "running": 2, "pending": 1, "replaced": 3, "failures": 0, "created_at_ms": 1_000,
        });
        deployment.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "name": "hello", "namespace": "default", "revision": 17, "created_at_ms": 1_000, "updated_at_ms": 2_000,
            "spec": { "definition": "hello:2", "desired": 4, "hosts": [], "paths": [] },
            "status": {
                "state": "ACTIVE", "kind": "http", "running": 5, "pending": 1, "stopping": 0, "urls": [],
                "deployment": deployment, "restarts": 0, "cpu_seconds": 0.0, "memory_bytes": 0, "requests": 0,
                "events": [],
            },
        }))
        .unwrap()
    }

    #[test]
    fn it_is_shown_how_far_it_is() {
        assert_eq!(
            line(&service(json!({ "failed_tasks": 2 }))),
            "waiting for hello:2: 2 of 4 tasks running, 1 pending, 3 of other revisions, 2 failed"
        );
        let back = json!({
            "definition": "hello:1", "rolled_back_from": "hello:2", "pending": 0, "replaced": 0,
        });
        assert_eq!(line(&service(back)), "going back from hello:2 to hello:1: 2 of 4 tasks running");
        assert_eq!(state(&service(json!({ "paused": true })).status.deployment), "IN_PROGRESS (paused)");
        let shift = json!({
            "strategy": "CANARY", "blue": "hello:1", "green": "hello:2", "percent": 10, "step": 1, "steps": 2,
        });
        let canary = service(json!({ "shift": shift }));
        assert!(
            line(&canary)
                .starts_with("waiting for hello:2: 2 of 4 tasks running, 10% of requests, 1 pending")
        );
        let shown = weight(canary.status.deployment.shift.as_ref().unwrap());
        assert_eq!(shown, "10% to hello:2, 90% to hello:1 (step 1 of 2)");
    }

    #[test]
    fn it_is_waited_for_while_a_step_has_its_time_and_no_longer_than_others_after() {
        let shift = json!({
            "strategy": "CANARY", "blue": "hello:1", "green": "hello:2", "percent": 10, "step": 1, "steps": 2,
            "next_at_ms": 5_000,
        });
        let shift: DeploymentShift = serde_json::from_value(shift).unwrap();
        assert!(has_time(Some(&shift), 4_999) && !has_time(Some(&shift), 5_000));
        assert!(!has_time(None, 0));
    }

    #[test]
    fn what_fails_is_an_error_with_its_reason() {
        let asked = service(json!({}));
        let outcome = |more: Value| is_done(&asked, &service(more)).map_err(|error| error.to_string());
        assert_eq!(outcome(json!({})), Ok(false));
        assert_eq!(outcome(json!({ "state": "COMPLETED" })), Ok(true));
        let failed = outcome(json!({ "state": "FAILED", "message": "3 of its tasks failed" })).unwrap_err();
        assert_eq!(failed, "the deployment of hello:2 failed: 3 of its tasks failed; see `skiff logs hello`");
        let back = json!({ "definition": "hello:1", "rolled_back_from": "hello:2", "message": "no" });
        assert_eq!(outcome(back.clone()), Ok(false), "it is not back yet");
        let mut done = back;
        done["state"] = "COMPLETED".into();
        assert_eq!(
            outcome(done.clone()).unwrap_err(),
            "the deployment of hello:2 failed, and hello is back at hello:1: no; see `skiff logs hello`"
        );
        let scaled = service(done.clone());
        assert!(is_done(&scaled, &service(done)).unwrap(), "it was rolled back before it was scaled");
        let given_up = outcome(json!({ "failures": 5, "message": "no" })).unwrap_err();
        assert!(given_up.contains("5 attempts failed"), "{given_up}");
    }
}
