//! Task definitions: what is registered has been compiled and fits its limits, so that it is refused here and not at
//! the first request.

mod daemon;

use super::page::page;
use super::{Entrance, WRITE_ATTEMPTS, check_command, views};
use crate::error::ApiError;
use crate::keys;
use crate::model::{Definition, sandboxes_max};
use crate::view::Held;
use daemon::Daemon;
use skiff_api::{
    ErrorCode, LimitsSpec, Page, RegisterTaskDefinition, TaskDefinitionListQuery, TaskDefinitionQuery,
    TaskDefinitionReference,
};
use skiff_ports::runtime::ComponentReport;
use skiff_ports::store::Expect;
use skiff_types::{
    Command, Digest, Kind, Limits, MemorySize, Namespace, Program, Reuse, TaskDefinition, TaskDefinitionId,
    TaskStatus, WasiGeneration,
};
use std::collections::BTreeSet;
use tracing::info;

impl Entrance {
    /// Checks, initialises (where it is to start from a snapshot) and compiles a component, and registers the next
    /// revision; or finds the newest that says the same.
    pub(crate) async fn register_definition(
        &self,
        namespace: &Namespace,
        request: RegisterTaskDefinition,
    ) -> Result<skiff_api::TaskDefinition, ApiError> {
        check_command(&request.arguments, &request.environment)?;
        let limits = limits(&request.limits)?;
        let daemon = Daemon::of(&request)?;
        self.check_role(namespace, request.role.as_ref())?;
        let request = RegisterTaskDefinition {
            security_groups: self.check_groups(namespace, &request.security_groups)?,
            ..request
        };
        // Until the definition names it, only this keeps the component.
        let _kept = self.context.keeping.read().await;
        let image = self.resolve_image(namespace, &request.image).await?;
        let command = Command {
            arguments: request.arguments.clone(),
            environment: request.environment.clone(),
            stdin: None,
        };
        let program = match request.snapshot {
            true => Program::snapshot(image.component, request.environment.clone()),
            false => Program::as_pushed(image.component),
        };
        let report = self.context.runtime.prepare(&program).await?;
        self.context.set_prepared(program.key());
        check_memory(&limits, &report)?;
        check_reuse(limits.reuse, &report)?;
        daemon.check_kind(report.kind)?;
        // So that the role does not go at the same time.
        let _alone = match &request.role {
            Some(_) => Some(self.context.routing.lock().await),
            None => None,
        };
        self.check_role(namespace, request.role.as_ref())?;
        for _ in 0..WRITE_ATTEMPTS {
            let prefix = keys::family(namespace, &request.family);
            let revisions = self.context.objects.load_all::<Definition>(&prefix).await?;
            let same = |held: &&Held<Definition>| {
                says_the_same(&held.value, &request, image.component, &limits, &command, &daemon)
            };
            if let Some(held) = revisions.iter().rev().find(same) {
                return Ok(views::definition(&held.value, &BTreeSet::new()));
            }
            let revision = next_revision(revisions.last())?;
            let definition = Definition {
                namespace: namespace.clone(),
                definition: TaskDefinition {
                    id: TaskDefinitionId { family: request.family.clone(), revision },
                    image: request.image.clone(),
                    component: image.component,
                    kind: report.kind,
                    generation: report.generation,
                    limits: limits.clone(),
                    command: command.clone(),
                    snapshot: request.snapshot,
                    security_groups: request.security_groups.clone(),
                    port: daemon.port,
                    health_check: daemon.health_check,
                    stop_timeout: daemon.stop_timeout,
                    restart: daemon.restart,
                    role: request.role.clone(),
                    created_at_ms: self.context.now_ms(),
                },
                requested: request.limits.clone(),
                report: report.clone(),
                deregistered: false,
            };
            match self.context.objects.put(definition, Expect::Absent).await {
                Err(error) if error.is_conflict() => {}
                result => {
                    let held = result?;
                    let id = &held.value.definition.id;
                    info!(%namespace, definition = %id, manifest = %image.manifest, "registered");
                    return Ok(views::definition(&held.value, &BTreeSet::new()));
                }
            }
        }
        let message = format!("others keep registering revisions of {}; try again", request.family);
        Err(ApiError::new(ErrorCode::Unavailable, message))
    }

    /// Lists revisions by family, newest first.
    pub(crate) fn list_definitions(
        &self,
        namespace: &Namespace,
        query: &TaskDefinitionListQuery,
    ) -> Result<Page<skiff_api::TaskDefinition>, ApiError> {
        let prefix = match &query.family {
            Some(family) => keys::family(namespace, family),
            None => keys::in_namespace("taskdef", namespace),
        };
        let place = |definition: &Definition| {
            let id = &definition.definition.id;
            format!("{} {:010}", id.family, u32::MAX - id.revision)
        };
        let definitions: Vec<(String, Held<Definition>)> = self.context.objects.read(|view| {
            let registered = view.definitions.under(&prefix).filter(|held| !held.value.deregistered);
            registered.map(|held| (place(&held.value), held.clone())).collect()
        });
        page(definitions, query.limit, query.cursor.as_deref(), |held| {
            views::definition(&held.value, &BTreeSet::new())
        })
    }

    /// Shows a revision, with the values of those environment variables that are asked for by name.
    pub(crate) fn get_definition(
        &self,
        namespace: &Namespace,
        reference: &TaskDefinitionReference,
        query: &TaskDefinitionQuery,
    ) -> Result<skiff_api::TaskDefinition, ApiError> {
        let definition = self.resolve(namespace, reference)?;
        let names = query.reveal.as_deref().unwrap_or_default();
        let reveal: BTreeSet<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
        let variables = &definition.definition.command.environment;
        if let Some(unknown) = reveal.iter().find(|name| !variables.contains_key(**name)) {
            return Err(ApiError::invalid(format!(
                "{} has no environment variable {unknown:?}",
                definition.definition.id
            )));
        }
        Ok(views::definition(&definition, &reveal))
    }

    /// Takes a revision back that nothing uses.
    pub(crate) async fn deregister_definition(
        &self,
        namespace: &Namespace,
        reference: &TaskDefinitionReference,
    ) -> Result<(), ApiError> {
        if reference.revision.is_none() {
            return Err(ApiError::invalid(format!(
                "name the revision that is to go, like \"{}:1\"",
                reference.family
            )));
        }
        // So that no service is put on it at the same time.
        let _alone = self.context.routing.lock().await;
        let id = self.resolve(namespace, reference)?.definition.id.clone();
        let user = self.context.objects.read(|view| {
            let mut services = view.services.all().map(|held| &held.value);
            let service = services
                .find(|service| {
                    let is_gone_to = || view.rollout_of(service).is_some_and(|rollout| rollout.needs(&id));
                    service.namespace == *namespace
                        && !service.removed
                        && (service.spec.definition == id || is_gone_to())
                })
                .map(|service| {
                    format!("the service {}; deploy another revision there, or remove it", service.spec.name)
                });
            let mut tasks = view.tasks.all().map(|held| &held.value.task);
            let task = || {
                tasks
                    .find(|task| {
                        task.namespace == *namespace
                            && task.definition == id
                            && task.status != TaskStatus::Stopped
                    })
                    .map(|task| format!("the task {}; stop it, or wait for its end", task.id))
            };
            service.or_else(task)
        });
        if let Some(user) = user {
            return Err(ApiError::not_now(format!("{id} is in use by {user}")));
        }
        let take_back = |definition: &mut Definition| !std::mem::replace(&mut definition.deregistered, true);
        self.context.objects.update(&keys::definition(namespace, &id), take_back).await?;
        self.context.objects.wakes.collector.notify_one();
        Ok(())
    }
}

fn next_revision(newest: Option<&Held<Definition>>) -> Result<u32, ApiError> {
    let newest = newest.map_or(0, |held| held.value.definition.id.revision);
    newest.checked_add(1).ok_or_else(|| {
        ApiError::new(ErrorCode::ResourceExhausted, "the family has as many revisions as there can be")
    })
}

fn says_the_same(
    known: &Definition,
    request: &RegisterTaskDefinition,
    component: Digest,
    limits: &Limits,
    command: &Command,
    daemon: &Daemon,
) -> bool {
    !known.deregistered
        && known.definition.component == component
        && known.definition.image == request.image
        && known.definition.limits == *limits
        && known.definition.command == *command
        && known.definition.snapshot == request.snapshot
        && known.definition.security_groups == request.security_groups
        && known.definition.role == request.role
        && Daemon::said_by(&known.definition) == *daemon
        && known.requested == request.limits
}

/// The bounds that hold: those stated, defaults for the others, each checked.
fn limits(requested: &LimitsSpec) -> Result<Limits, ApiError> {
    let defaults = Limits::default();
    let concurrency = requested.concurrency.unwrap_or(defaults.concurrency);
    let limits = Limits {
        cpu: requested.cpu.unwrap_or(defaults.cpu),
        memory: requested.memory.unwrap_or(defaults.memory),
        timeout: requested.timeout.unwrap_or(defaults.timeout),
        concurrency,
        queue: requested.queue.unwrap_or(defaults.queue),
        request_body: requested.request_body.unwrap_or(defaults.request_body),
        response_body: requested.response_body.unwrap_or(defaults.response_body),
        log_rate: requested.log_rate.unwrap_or(defaults.log_rate),
        reuse: requested.reuse.unwrap_or(defaults.reuse),
    };
    let within = |name: &str, size: MemorySize, least: MemorySize| {
        let most = Limits::MEMORY_MAX;
        match (least..=most).contains(&size) {
            true => Ok(()),
            false => Err(ApiError::invalid(format!("{name} is {size}; it must be {least} to {most}"))),
        }
    };
    within("memory", limits.memory, Limits::MEMORY_MIN)?;
    within("request_body", limits.request_body, MemorySize::from_bytes(0))?;
    within("response_body", limits.response_body, MemorySize::from_bytes(0))?;
    within("log_rate", limits.log_rate, MemorySize::from_bytes(0))?;
    if !(1..=Limits::TIMEOUT_MS_MAX).contains(&limits.timeout.ms()) {
        let most = skiff_types::Span::from_ms(Limits::TIMEOUT_MS_MAX);
        return Err(ApiError::invalid(format!("timeout is {}; it must be 1ms to {most}", limits.timeout)));
    }
    let most = Limits::CONCURRENCY_MAX;
    if !(1..=most).contains(&concurrency) {
        return Err(ApiError::invalid(format!("concurrency is {concurrency}; it must be 1 to {most}")));
    }
    if !limits.reuse.is_valid() {
        let Reuse { requests, concurrent } = limits.reuse;
        return Err(ApiError::invalid(format!(
            "reuse is {requests} requests, {concurrent} at once; it must be 1 to {}, and 1 to {} at once",
            Reuse::REQUESTS_MAX,
            Reuse::CONCURRENT_MAX
        )));
    }
    if limits.queue > most {
        return Err(ApiError::invalid(format!("queue is {}; it must be 0 to {most}", limits.queue)));
    }
    Ok(limits)
}

/// Refuses a reuse that the component can't have.
fn check_reuse(reuse: Reuse, report: &ComponentReport) -> Result<(), ApiError> {
    if reuse == Reuse::default() {
        return Ok(());
    }
    if report.kind == Kind::Command {
        return Err(ApiError::not_now(
            "reuse is for http and event tasks: a command's sandbox runs its program once".to_owned(),
        ));
    }
    if reuse.concurrent > 1 && report.kind == Kind::Event {
        return Err(ApiError::not_now(format!(
            "reuse asks for {} calls at once in one sandbox, and a sandbox takes one event or batch at a time: ask for 1 at \
             once",
            reuse.concurrent
        )));
    }
    if reuse.concurrent > 1 && report.generation == WasiGeneration::P2 {
        return Err(ApiError::not_now(format!(
            "reuse asks for {} requests at once in one sandbox, and the component speaks WASI 0.2, whose instances serve \
             one after the other: ask for 1 at once, or build it for WASI 0.3",
            reuse.concurrent
        )));
    }
    Ok(())
}

/// Refuses a memory limit in which not even one sandbox fits.
fn check_memory(limits: &Limits, report: &ComponentReport) -> Result<(), ApiError> {
    if sandboxes_max(limits, report) > 0 {
        return Ok(());
    }
    let least = MemorySize::from_mib(report.minimum_memory_bytes.div_ceil(1 << 20));
    Err(ApiError::not_now(format!(
        "memory is {}, and one sandbox of the component takes {} bytes as soon as it is made: give the task at least \
         {least}",
        limits.memory, report.minimum_memory_bytes
    )))
}
