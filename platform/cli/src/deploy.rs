//! `skiff deploy`: build, push, register, put the service, wait until it serves.

use crate::args::DeployArgs;
use crate::artifact::{Artifact, Source};
use crate::context::Context;
use crate::{human, output, progress, services};
use anyhow::bail;
use serde::Serialize;
use skiff_api::{Client, DeploymentState, PutService, Service, TaskDefinition, TaskDefinitionReference};
use skiff_types::{Kind, Name};
use std::time::{Duration, Instant};

/// How long a deployment is waited for.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// How often it is looked at.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);
/// Attempts that may fail in a row before it is given up waiting for.
const FAILURES_MAX: u32 = 3;

#[derive(Serialize)]
struct Deployed<'a> {
    service: &'a Service,
    definition: &'a TaskDefinition,
}

pub(crate) async fn run(context: &Context, args: &DeployArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let artifact = Artifact::prepare(&Source::find(&args.source)?, args.name.as_ref())?;
    // The groups are the service's own, so that they change without a new revision.
    let mut settings = artifact.settings(&args.limits, &args.daemon);
    let limits = &mut settings.limits;
    limits.timeout = args.timeout.or(limits.timeout);
    limits.concurrency = args.concurrency.or(limits.concurrency);
    limits.reuse = args.reuse.or(limits.reuse);
    settings.snapshot = args.snapshot.unwrap_or(settings.snapshot);
    let definition = artifact.register(context, &client, settings).await?;
    progress::note(memory_note(&definition));
    if definition.component.kind == Kind::Command && definition.port.is_none() {
        let source = &args.source;
        progress::note(format!(
            "a service starts it again whenever it ends; to run it once: `skiff run {source}`"
        ));
    }

    let body = put_body(args, &artifact, &definition);
    let mut service = client.put_service(&context.namespace, &artifact.name, &body, None).await?;
    if !args.no_wait {
        service = wait(context, &client, &service).await?;
    }
    let deployed = Deployed { service: &service, definition: &definition };
    context.output.print(&deployed, || {
        let listeners = services::listeners(&service);
        service.status.urls.iter().cloned().chain(listeners).collect::<Vec<_>>().join("\n")
    })?;
    Ok(())
}

/// With a manifest, its routes and listeners are the service's; without one, a service that is there keeps those it has. It
/// keeps its count and its security groups wherever neither the command line nor the manifest says any: so a deploy does
/// not undo `skiff scale`.
fn put_body(args: &DeployArgs, artifact: &Artifact, definition: &TaskDefinition) -> PutService {
    let section = artifact.manifest.as_ref().map(|manifest| &manifest.service);
    let hosts = (!args.hosts.is_empty()).then(|| args.hosts.clone());
    let paths = (!args.paths.is_empty()).then(|| args.paths.clone());
    let listen = (!args.listen.is_empty()).then(|| args.listen.clone());
    PutService {
        definition: TaskDefinitionReference::from(definition.id.clone()),
        desired: args.desired.or(section.and_then(|section| section.desired)),
        hosts: hosts.or_else(|| section.map(|section| section.hosts.clone())),
        paths: paths.or_else(|| section.map(|section| section.paths.clone())),
        security_groups: artifact.security_groups(&args.security_groups),
        listen: listen.or_else(|| section.map(|section| section.listen.clone())),
    }
}

fn memory_note(definition: &TaskDefinition) -> String {
    let memory = definition.limits.memory;
    let each = human::bytes(definition.component.minimum_memory_bytes);
    match definition.component.kind {
        Kind::Http => format!(
            "{memory} of memory allow each task {} at once ({each} each at least)",
            human::count(definition.sandboxes_max.into(), "sandbox"),
        ),
        Kind::Command => format!("{memory} of memory for each task (it takes {each} at least)"),
    }
}

/// Waits until the service is what it is to be.
pub(crate) async fn wait(context: &Context, client: &Client, asked: &Service) -> anyhow::Result<Service> {
    let name = &asked.name;
    let step = progress::step(format!("waiting for {name}"));
    let started = Instant::now();
    loop {
        let service = client.get_service(&context.namespace, name).await?;
        let status = &service.status;
        if service.spec.definition != asked.spec.definition {
            bail!("{name} was given to {} meanwhile; this deployment is over", service.spec.definition);
        }
        if status.deployment.definition == asked.spec.definition {
            if status.deployment.state == DeploymentState::Completed {
                step.done(completed(&service));
                return Ok(service);
            }
            if status.deployment.failures >= FAILURES_MAX {
                bail!(stuck(&service, &format!("{} attempts failed", status.deployment.failures)));
            }
        }
        if started.elapsed() > WAIT_MAX {
            bail!(stuck(&service, &format!("it is not done after {}", human::elapsed(WAIT_MAX))));
        }
        let (running, desired) = (status.deployment.running, service.spec.desired);
        step.message(format!(
            "waiting for {name}: {running} of {} running",
            human::count(desired.into(), "task")
        ));
        tokio::time::sleep(WAIT_INTERVAL).await;
    }
}

fn completed(service: &Service) -> String {
    let tasks = human::count(service.status.running.into(), "task");
    format!("{} runs {tasks} of {}", service.name, service.spec.definition)
}

fn stuck(service: &Service, what: &str) -> String {
    let name: &Name = &service.name;
    let reason = service.status.deployment.message.as_deref().unwrap_or("no reason is known");
    format!(
        "{name} does not come up with {}: {what}: {reason}; see `skiff logs {name}`",
        service.spec.definition
    )
}

/// The service as one line of text each time its change was asked for.
pub(crate) fn line(service: &Service) -> String {
    output::columns(
        ["NAME", "DEFINITION", "DESIRED", "RUNNING"],
        [[
            service.name.to_string(),
            service.spec.definition.to_string(),
            service.spec.desired.to_string(),
            service.status.running.to_string(),
        ]],
    )
}
