//! Services as targets: a running task of one is given the event, by its event export if it has one, else by HTTP.
//!
//! The one with the fewest calls under way is asked, of the revision whose turn it is where requests are divided between two. A
//! service without a task that runs is waited for, and woken if it sleeps; one that has none for longer is busy.

use super::shown_event;
use crate::context::Context;
use crate::view::View;
use skiff_events::envelope;
use skiff_ports::buses::{Attempt, AttemptError};
use skiff_ports::guest_deliveries::{DeliverError, GuestDelivery, GuestOutcome, takes_events};
use skiff_types::{Group, Kind, Name, QualifiedName, TaskDefinitionId, TaskId};
use std::time::Duration;

/// The longest wait for a task that runs.
const TASK_WAIT: Duration = Duration::from_secs(10);
/// How often it is said again that a service is waited for.
const SAY_INTERVAL: Duration = Duration::from_millis(500);

/// A task that could have the event, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    task: TaskId,
    definition: TaskDefinitionId,
    by: Door,
}

/// By which of its exports a component has an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Handler,
    Http,
}

/// Why no task has it.
enum NoTask {
    /// None runs at present.
    Yet,
    /// None ever will as things are.
    Ever(String),
}

/// Gives the event to a task of a service.
pub(super) async fn call(
    context: &Context,
    service: &Name,
    path: &str,
    attempt: &Attempt,
) -> Result<(), AttemptError> {
    let name = QualifiedName::new(attempt.event.namespace.clone(), service.clone());
    let candidate = tokio::time::timeout(TASK_WAIT, candidate(context, &name))
        .await
        .unwrap_or_else(|_| Err(AttemptError::Busy(format!("the service {name} has no task that runs"))))?;
    let delivery = match candidate.by {
        Door::Handler => GuestDelivery::Event(envelope::cloudevent(&shown_event(attempt)).into()),
        Door::Http => {
            let (headers, body) = envelope::binary(&shown_event(attempt));
            GuestDelivery::Http { path: path.to_owned(), headers, body }
        }
    };
    outcome(context.runtime.deliver(candidate.task, delivery).await)
}

/// A task that takes the event; waits for one, and has the service woken.
async fn candidate(context: &Context, service: &QualifiedName) -> Result<Candidate, AttemptError> {
    loop {
        let (generation, found) =
            context.objects.read(|view| (view.generation, candidates(view, service, context)));
        match found {
            Ok(candidates) => return Ok(least_busy(context, candidates)),
            Err(NoTask::Ever(why)) => return Err(AttemptError::Refused(why)),
            Err(NoTask::Yet) => context.wanted.say(service),
        }
        // Until anything is otherwise; now and then it is said again.
        let changed = context.objects.generation().reached(generation + 1);
        let _ = tokio::time::timeout(SAY_INTERVAL, changed).await;
    }
}

/// The tasks of a service that could have an event; never none.
fn candidates(view: &View, name: &QualifiedName, context: &Context) -> Result<Vec<Candidate>, NoTask> {
    let service = view.service(name).filter(|held| !held.value.removed);
    let Some(service) = service else { return Err(NoTask::Ever(format!("there is no service {name}"))) };
    let mut candidates = Vec::new();
    for held in view.tasks_of(&name.namespace, &Group::Service(name.name.clone())) {
        let task = &held.value.task;
        if !task.is_ready() || task.stop.is_some() {
            continue;
        }
        let Some(definition) = view.definition(&task.namespace, &task.definition) else { continue };
        let by = match takes_events(&definition.value.report.exports) {
            true => Door::Handler,
            false if definition.value.definition.kind == Kind::Http => Door::Http,
            false => continue,
        };
        candidates.push(Candidate { task: task.id, definition: task.definition.clone(), by });
    }
    if candidates.is_empty() {
        return Err(why_none(view, name, view.revision_of(&service.value)));
    }
    if let Some(shift) = view.shift_of(&service.value) {
        let draw = u64::from_le_bytes(context.random.bytes()) % 100;
        let turn = if draw < u64::from(shift.percent) { &shift.green } else { &shift.blue };
        if candidates.iter().any(|candidate| candidate.definition == *turn) {
            candidates.retain(|candidate| candidate.definition == *turn);
        }
    }
    Ok(candidates)
}

/// Whether a service may come to have a task that takes events.
fn why_none(view: &View, name: &QualifiedName, definition: &TaskDefinitionId) -> NoTask {
    let Some(held) = view.definition(&name.namespace, definition) else { return NoTask::Yet };
    match takes_events(&held.value.report.exports) || held.value.definition.kind == Kind::Http {
        true => NoTask::Yet,
        false => NoTask::Ever(format!(
            "the service {name} takes no events: {definition} exports neither skiff:events/handler nor wasi:http"
        )),
    }
}

/// The one with the fewest calls under way; by chance where there are several.
fn least_busy(context: &Context, candidates: Vec<Candidate>) -> Candidate {
    let first = u64::from_le_bytes(context.random.bytes()) as usize % candidates.len();
    let (before, from) = candidates.split_at(first);
    let in_turn = from.iter().chain(before);
    let least = in_turn.min_by_key(|candidate| context.runtime.outstanding(candidate.task));
    least.cloned().expect("there is one at least")
}

fn outcome(outcome: Result<GuestOutcome, DeliverError>) -> Result<(), AttemptError> {
    match outcome {
        Ok(GuestOutcome::Event(taken)) => taken.map_err(AttemptError::Failed),
        Ok(GuestOutcome::Http(status)) => of_status(status),
        Ok(GuestOutcome::Batch(_)) => {
            Err(AttemptError::Failed("the guest answered as if it had been given messages".to_owned()))
        }
        Err(DeliverError::NoExport(why)) => Err(AttemptError::Refused(why)),
        Err(DeliverError::Busy(why)) => Err(AttemptError::Busy(why)),
        Err(DeliverError::Failed(why)) => Err(AttemptError::Failed(why)),
    }
}

/// What a status says of a delivery: what a client can be blamed for would be so another time, too, but for what says that it has
/// to do with the time.
fn of_status(status: u16) -> Result<(), AttemptError> {
    let message = || format!("the service answered with the status {status}");
    match status {
        200..=299 => Ok(()),
        408 | 409 | 425 | 429 => Err(AttemptError::Failed(message())),
        400..=499 => Err(AttemptError::Refused(message())),
        _ => Err(AttemptError::Failed(message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_another_time_would_do() {
        for status in [200, 202, 204, 299] {
            assert_eq!(of_status(status), Ok(()), "{status}");
        }
        for status in [408, 409, 425, 429, 500, 503, 302, 100] {
            assert!(matches!(of_status(status), Err(AttemptError::Failed(_))), "{status}");
        }
        for status in [400, 401, 404, 410, 422] {
            assert!(matches!(of_status(status), Err(AttemptError::Refused(_))), "{status}");
        }
    }

    #[test]
    fn what_a_guest_says_is_what_comes_of_it() {
        assert_eq!(outcome(Ok(GuestOutcome::Event(Ok(())))), Ok(()));
        let failed = outcome(Ok(GuestOutcome::Event(Err("no".to_owned()))));
        assert_eq!(failed, Err(AttemptError::Failed("no".to_owned())));
        let busy = outcome(Err(DeliverError::Busy("later".to_owned())));
        assert_eq!(busy, Err(AttemptError::Busy("later".to_owned())));
        let refused = outcome(Err(DeliverError::NoExport("none".to_owned())));
        assert_eq!(refused, Err(AttemptError::Refused("none".to_owned())));
    }
}
