//! Tasks as targets: one is run for each event, with the event's input on its standard input.
//!
//! The delivery is on the drive already, so the task begins before its object is written: that is done meanwhile, and synced
//! before the delivery counts as done. What always holds: a task's id follows from its attempt's, so a try that is
//! made again finds the task that the first one made, as long as that is kept.

use crate::addresses::{Effect, NoAddress};
use crate::context::Context;
use crate::entrance::check_command;
use crate::model::{Definition, TaskObject};
use crate::objects::ObjectError;
use crate::placement::{NotMade, make_task};
use crate::view::View;
use sha2::{Digest as _, Sha256};
use skiff_events::input::{self, InputError};
use skiff_ports::buses::{Attempt, AttemptError};
use skiff_ports::store::StoreError;
use skiff_types::{
    BusEvent, Command, Group, Kind, Namespace, Placement, Task, TaskDefinitionId, TaskId, TaskStatus,
    TaskTarget,
};
use std::sync::Arc;
use tracing::debug;

/// Runs a task for an event.
pub(super) async fn run(
    context: &Arc<Context>,
    target: &TaskTarget,
    attempt: &Attempt,
) -> Result<(), AttemptError> {
    let namespace = &attempt.event.namespace;
    let id = task_id(attempt);
    let (is_made, definition) = context
        .objects
        .read(|view| (view.task(namespace, id).is_some(), definition(view, namespace, target)));
    if !is_made {
        let definition = definition?;
        let overrides = overrides(target, &definition, attempt)?;
        let object = object(context, attempt, &definition, id, overrides);
        match make_task(context, object, &Placement::default(), Effect::AtOnce).await {
            Ok(_) => debug!(task = %id, origin = %attempt.origin, "running a task for an event"),
            Err(error) => settle(context, namespace, id, error).await?,
        }
    }
    // The task may run already: this is not on its way.
    context.objects.sync().await.map_err(|error| AttemptError::Failed(error.to_string()))
}

/// What a target runs: a revision that is registered.
fn definition(
    view: &View,
    namespace: &Namespace,
    target: &TaskTarget,
) -> Result<Arc<Definition>, AttemptError> {
    let found = match target.revision {
        Some(revision) => {
            let id = TaskDefinitionId { family: target.family.clone(), revision };
            view.definition(namespace, &id).map(|held| held.value.clone())
        }
        None => {
            let family = crate::keys::family(namespace, &target.family);
            let mut registered = view.definitions.under(&family).rev();
            registered.find(|held| !held.value.deregistered).map(|held| held.value.clone())
        }
    };
    let found = found.filter(|definition| !definition.deregistered);
    let definition = found.ok_or_else(|| {
        AttemptError::Refused(format!(
            "there is no task definition of the family {} in {namespace}",
            target.family
        ))
    })?;
    match definition.definition.kind {
        Kind::Command => Ok(definition),
        Kind::Http | Kind::Event => Err(AttemptError::Refused(format!(
            "{} has nothing to run to its end: have it in a service, and the service for the target",
            definition.definition.id
        ))),
    }
}

/// With what it is run.
fn overrides(
    target: &TaskTarget,
    definition: &Definition,
    attempt: &Attempt,
) -> Result<Command, AttemptError> {
    let event = &attempt.event;
    let own = &definition.definition.command;
    let arguments = match &target.arguments {
        Some(arguments) => substituted(arguments.iter().map(String::as_str), event)?,
        None => own.arguments.clone(),
    };
    let values = substituted(target.environment.values().map(String::as_str), event)?;
    let environment = target.environment.keys().cloned().zip(values).collect();
    check_command(&arguments, &environment).map_err(|error| AttemptError::Refused(error.message))?;
    if attempt.payload.len() > Command::STDIN_BYTES_MAX {
        let bytes = attempt.payload.len();
        return Err(AttemptError::Refused(format!(
            "the input has {bytes} bytes, and a task's standard input can have {}",
            Command::STDIN_BYTES_MAX
        )));
    }
    let stdin = Some(String::from_utf8_lossy(&attempt.payload).into_owned());
    Ok(Command { arguments, environment, stdin })
}

fn substituted<'a>(
    texts: impl Iterator<Item = &'a str>,
    event: &BusEvent,
) -> Result<Vec<String>, AttemptError> {
    let substituted =
        texts.map(|text| input::substitute(text, event)).collect::<Result<Vec<_>, InputError>>();
    substituted.map_err(|error| AttemptError::Refused(error.to_string()))
}

fn object(
    context: &Context,
    attempt: &Attempt,
    definition: &Definition,
    id: TaskId,
    overrides: Command,
) -> TaskObject {
    let now_ms = context.now_ms();
    let definition_id = definition.definition.id.clone();
    let task = Task {
        overrides: Some(overrides),
        ..Task::new(
            id,
            attempt.event.namespace.clone(),
            Group::Family(definition_id.family.clone()),
            definition_id,
            now_ms,
        )
    };
    let mut object =
        TaskObject { task, kind: Kind::Command, placement: Placement::default(), updated_at_ms: now_ms };
    // No step of its own between it and its worker where its native code is ready.
    if context.prepared_since(&object.program(&definition.definition).key()).is_some() {
        object.task.status = TaskStatus::Activating;
    }
    object
}

/// What it means that no task was made; nothing where another try made it at the same time. That is looked up: what was not as
/// expected may also be what the node has of addresses.
async fn settle(
    context: &Context,
    namespace: &Namespace,
    id: TaskId,
    error: NotMade,
) -> Result<(), AttemptError> {
    match error {
        NotMade::NoAddress(NoAddress::Object(error)) if error.is_conflict() => {
            match context.objects.load::<TaskObject>(&crate::keys::task(namespace, id)).await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(AttemptError::Failed(error.to_string())),
                Err(error) => Err(AttemptError::Failed(error.to_string())),
            }
        }
        NotMade::NoAddress(NoAddress::Object(ObjectError::Store(StoreError::TooLarge { .. }))) => {
            Err(AttemptError::Refused(
                "what the task is to be given is too large to be kept: make its input smaller".to_owned(),
            ))
        }
        NotMade::NoAddress(NoAddress::Object(error)) => Err(AttemptError::Failed(error.to_string())),
        error @ (NotMade::NoPlace(_) | NotMade::NoAddress(NoAddress::None(_))) => {
            Err(AttemptError::Busy(error.to_string()))
        }
    }
}

/// The id of the task of an attempt, the same at each try of it.
fn task_id(attempt: &Attempt) -> TaskId {
    let digest: [u8; 32] = Sha256::digest(attempt.id.as_bytes()).into();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    TaskId::from_parts(attempt.event.time_ms, random)
}

#[cfg(test)]
mod tests {
    use super::super::tests::attempt;
    use super::*;
    use skiff_types::{Destination, Input};
    use std::collections::BTreeMap;

    fn target(arguments: &[&str]) -> TaskTarget {
        TaskTarget {
            family: "thumbs".parse().unwrap(),
            revision: None,
            arguments: Some(arguments.iter().map(|text| (*text).to_owned()).collect()),
            environment: BTreeMap::new(),
        }
    }

    #[test]
    fn a_try_that_is_made_again_is_of_the_same_task() {
        let of = |id: &str| task_id(&attempt(id, Destination::Task(target(&[])), Input::Event, b"{}"));
        assert_eq!(of("1-0"), of("1-0"));
        assert_ne!(of("1-0"), of("1-1"));
    }

    #[test]
    fn paths_in_arguments_are_replaced_by_what_lies_there() {
        let attempt = attempt("1", Destination::Task(target(&[])), Input::Event, b"{}");
        let texts = ["$.detail.order", "plain $.detail", "$.detail.nothing"].into_iter();
        assert_eq!(substituted(texts, &attempt.event).unwrap(), ["17", "plain $.detail", ""]);
        let bad = substituted(["$.detail["].into_iter(), &attempt.event).unwrap_err();
        assert!(matches!(bad, AttemptError::Refused(_)), "{bad}");
    }
}
