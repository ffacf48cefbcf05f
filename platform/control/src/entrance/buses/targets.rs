//! What a target of a rule or a schedule may lead to: what is there when it is said, and can have events at all.
//!
//! It may go later, but for queues and buses: then deliveries are refused, and go to the dead-letter queue.

use super::super::data::check_queue;
use super::check_bus;
use crate::error::ApiError;
use crate::keys;
use crate::view::View;
use skiff_events::input;
use skiff_ports::guest_deliveries::takes_events;
use skiff_types::{
    Destination, EventTarget, Kind, Name, Namespace, QualifiedName, TaskDefinitionId, TaskTarget,
};

/// Refuses a target that could not be delivered to.
pub(super) fn check_target(view: &View, namespace: &Namespace, target: &EventTarget) -> Result<(), ApiError> {
    let here = |name: &Name| QualifiedName::new(namespace.clone(), name.clone());
    let in_target =
        |error: ApiError| ApiError { message: format!("target {}: {}", target.id, error.message), ..error };
    input::check(&target.input).map_err(|error| in_target(ApiError::invalid(error)))?;
    if let Some(queue) = &target.dead_letter {
        check_queue(view, &here(queue)).map_err(in_target)?;
    }
    let checked = match &target.to {
        Destination::Task(task) => check_task(view, namespace, task),
        Destination::Service { service, .. } => check_service(view, &here(service)),
        Destination::Queue { queue, group } => check_queue(view, &here(queue)).and_then(|()| {
            group.iter().try_for_each(|group| input::check_substitution(group).map_err(ApiError::invalid))
        }),
        Destination::Bus { bus } => check_bus(view, &here(bus)),
        Destination::Webhook { .. } => Ok(()),
    };
    checked.map_err(in_target)
}

fn check_task(view: &View, namespace: &Namespace, task: &TaskTarget) -> Result<(), ApiError> {
    let mut texts = task.arguments.iter().flatten().chain(task.environment.values());
    texts.try_for_each(|text| input::check_substitution(text).map_err(ApiError::invalid))?;
    let TaskTarget { family, revision, .. } = task;
    let found = match revision {
        Some(revision) => {
            view.definition(namespace, &TaskDefinitionId { family: family.clone(), revision: *revision })
        }
        None => view
            .definitions
            .under(&keys::family(namespace, family))
            .rev()
            .find(|held| !held.value.deregistered),
    };
    let Some(held) = found.filter(|held| !held.value.deregistered) else {
        return Err(ApiError::not_found(format!(
            "there is no task definition {family} in the namespace {namespace}; `skiff taskdef ls` lists those that there are"
        )));
    };
    let definition = &held.value.definition;
    match definition.kind {
        Kind::Command => Ok(()),
        Kind::Http | Kind::Event => Err(ApiError::not_now(format!(
            "{} is of kind {}, and has nothing to run to its end: deploy it as a service, and have the service for the target",
            definition.id, definition.kind
        ))),
    }
}

fn check_service(view: &View, name: &QualifiedName) -> Result<(), ApiError> {
    let service = view.service(name).filter(|held| !held.value.removed);
    let Some(service) = service else {
        return Err(ApiError::not_found(format!(
            "there is no service {} in the namespace {}; `skiff service ls` lists those that there are",
            name.name, name.namespace
        )));
    };
    // Where the definition can't be read, nobody knows better.
    let Some(held) = view.definition(&name.namespace, &service.value.spec.definition) else { return Ok(()) };
    let definition = &held.value.definition;
    match takes_events(&held.value.report.exports) || definition.kind == Kind::Http {
        true => Ok(()),
        false => Err(ApiError::not_now(format!(
            "the service {} takes no events: {} exports neither skiff:events/handler nor wasi:http",
            name.name, definition.id
        ))),
    }
}
