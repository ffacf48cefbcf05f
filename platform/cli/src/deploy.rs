//! `skiff deploy`: build, push, register, put the service, wait until it serves.

use crate::args::DeployArgs;
use crate::artifact::{Artifact, Source};
use crate::context::Context;
use crate::{alarms, consumers, human, output, progress, rollout, services};
use serde::Serialize;
use skiff_api::{PutService, Service, TaskDefinition, TaskDefinitionReference};
use skiff_types::Kind;

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
    settings.role = args.role.clone().or(settings.role);
    let newest = TaskDefinitionReference { family: artifact.name.clone(), revision: None };
    let body = put_body(args, &artifact, newest);
    // What will be refused leaves no revision behind.
    client.check_service(&context.namespace, &artifact.name, &body).await?;
    consumers::check_of_manifest(context, &client, &artifact).await?;
    let definition = artifact.register(context, &client, settings).await?;
    progress::note(memory_note(&definition));
    if definition.component.kind == Kind::Command && definition.port.is_none() {
        let source = &args.source;
        progress::note(format!(
            "a service starts it again whenever it ends; to run it once: `skiff run {source}`"
        ));
    }

    let body = PutService { definition: definition.id.clone().into(), ..body };
    alarms::put_of_manifest(context, &client, &artifact).await?;
    let mut service = client.put_service(&context.namespace, &artifact.name, &body, None).await?;
    if let Some(scaling) = artifact.manifest.as_ref().and_then(|manifest| manifest.scaling.as_ref()) {
        client.put_scaling(&context.namespace, &artifact.name, scaling, None).await?;
    }
    consumers::put_of_manifest(context, &client, &artifact).await?;
    if !args.no_wait {
        service = rollout::wait(context, &client, &service).await?;
    }
    let deployed = Deployed { service: &service, definition: &definition };
    context.output.print(&deployed, || {
        let listeners = services::listeners(&service);
        service.status.urls.iter().cloned().chain(listeners).collect::<Vec<_>>().join("\n")
    })?;
    Ok(())
}

/// With a manifest, its routes and listeners are the service's; without one, a service that is there keeps those it has. It
/// keeps its count, its security groups, how it is deployed, where it runs and when it sleeps wherever neither the command line nor the
/// manifest says any: so a deploy does not undo `skiff scale`.
fn put_body(args: &DeployArgs, artifact: &Artifact, definition: TaskDefinitionReference) -> PutService {
    let section = artifact.manifest.as_ref().map(|manifest| &manifest.service);
    let hosts = (!args.hosts.is_empty()).then(|| args.hosts.clone());
    let paths = (!args.paths.is_empty()).then(|| args.paths.clone());
    let listen = (!args.listen.is_empty()).then(|| args.listen.clone());
    PutService {
        definition,
        desired: args.desired.or(section.and_then(|section| section.desired)),
        hosts: hosts.or_else(|| section.map(|section| section.hosts.clone())),
        paths: paths.or_else(|| section.map(|section| section.paths.clone())),
        security_groups: artifact.security_groups(&args.security_groups),
        listen: listen.or_else(|| section.map(|section| section.listen.clone())),
        deployment: args.deployment.asked(section.map(|section| &section.deployment)),
        scale_to_zero: args.scale_to_zero.or(section.and_then(|section| section.scale_to_zero)),
        placement: args
            .placement
            .asked(args.scheduling.scheduling, section.map(|section| &section.placement)),
    }
}

fn memory_note(definition: &TaskDefinition) -> String {
    let memory = definition.limits.memory;
    let each = human::bytes(definition.component.minimum_memory_bytes);
    match definition.component.kind {
        Kind::Http | Kind::Event => format!(
            "{memory} of memory allow each task {} at once ({each} each at least)",
            human::count(definition.sandboxes_max.into(), "sandbox"),
        ),
        Kind::Command => format!("{memory} of memory for each task (it takes {each} at least)"),
    }
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
