//! Brings about that each service has the tasks it is to have, and that a removed one goes when its tasks are gone.
//!
//! What happened to a service, and to which revision it goes, is noted beside it (`notes`), never in what its user said. It
//! is written before anything is done by it: whoever comes after a crash decides on from there, and so comes to the same.

mod notes;

pub(crate) use notes::is_complete;

use super::{LOOK_INTERVAL, RETRY_INTERVAL, WRITES_AT_ONCE, idle};
use crate::addresses::{Effect, NoAddress, create_task};
use crate::context::Context;
use crate::keys;
use crate::model::{Definition, Service, ServiceNotes, TaskObject};
use crate::objects::ObjectError;
use crate::placement;
use crate::records::Stored;
use crate::view::{Held, View};
use futures::{StreamExt, stream};
use skiff_plan::service::{self, Action, Known, Wanted};
use skiff_ports::store::Expect;
use skiff_types::{
    DeploymentConfiguration, Group, Kind, Placement, QualifiedName, RolloutState, StopCode, StoppedReason,
    TargetHealthCheck, Task, TaskDefinitionId, TaskId, TaskStatus,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How often a deployment with alarms is looked at, in milliseconds: they are kept in memory, and wake nobody.
const ALARMS_INTERVAL_MS: u64 = 1_000;
/// How soon a deployment whose next step is due is looked at again, in milliseconds: it may have to wait for its tasks.
const STEP_INTERVAL_MS: u64 = 100;
/// Services that are looked at at a time.
const SERVICES_AT_ONCE: usize = 16;

/// A service and all that concerns it, as of one generation of the view.
struct Observed {
    service: Option<Held<Service>>,
    /// The service's object is there but can't be read: nothing is decided about it.
    unreadable: bool,
    /// The revisions that it may go to, as far as they are there.
    definitions: Vec<Held<Definition>>,
    /// How its tasks are checked by the target group that it is.
    check: Option<TargetHealthCheck>,
    notes: Option<Held<ServiceNotes>>,
    /// Its notes are there but can't be read: none are taken.
    notes_unreadable: bool,
    tasks: Vec<Held<TaskObject>>,
}

impl Observed {
    fn definition(&self, id: &TaskDefinitionId) -> Option<&Definition> {
        self.definitions.iter().map(|held| &*held.value).find(|definition| definition.definition.id == *id)
    }

    fn kind(&self, id: &TaskDefinitionId) -> Option<Kind> {
        self.definition(id).map(|definition| definition.definition.kind)
    }

    /// Whether a revision can be gone back to.
    fn is_registered(&self, id: &TaskDefinitionId) -> bool {
        self.definition(id).is_some_and(|definition| !definition.deregistered)
    }

    /// What is decided by beside the tasks, of tasks of this revision.
    fn known(&self, id: &TaskDefinitionId) -> Known {
        let kind = self.kind(id);
        let check = self.check.as_ref().filter(|_| kind == Some(Kind::Http));
        Known { kind, checked_within_ms: check.map_or(0, TargetHealthCheck::notice_ms) }
    }

    /// What was noted of this service, not of one that had its name before.
    fn kept_notes(&self, service: &Service) -> Option<&ServiceNotes> {
        let notes = self.notes.as_ref().map(|held| &*held.value);
        notes.filter(|notes| notes.service_created_at_ms == service.created_at_ms)
    }
}

/// What came of a look at a service.
enum Looked {
    /// All was done; and when to look again although nothing has changed, in milliseconds since 1970.
    Done(QualifiedName, Option<u64>),
    /// Not all was done.
    Failed(QualifiedName),
}

pub(super) async fn run(context: Arc<Context>) {
    let mut all = tokio::time::interval(LOOK_INTERVAL);
    let mut due: BTreeMap<QualifiedName, u64> = BTreeMap::new();
    context.objects.read_mut(View::look_at_all_services);
    loop {
        let names = context.objects.read_mut(|view| std::mem::take(&mut view.services_to_look_at));
        let looked: Vec<Looked> = stream::iter(names)
            .map(|name| look(&context, name))
            .buffer_unordered(SERVICES_AT_ONCE)
            .collect()
            .await;
        let mut failed = Vec::new();
        for looked in looked {
            match looked {
                Looked::Done(name, Some(at_ms)) => {
                    due.insert(name, at_ms);
                }
                Looked::Done(name, None) => {
                    due.remove(&name);
                }
                Looked::Failed(name) => {
                    due.remove(&name);
                    failed.push(name);
                }
            }
        }
        let now_ms = context.now_ms();
        let wait_ms = due.values().min().map(|at_ms| at_ms.saturating_sub(now_ms));
        // By the tick all are looked at, whatever the clock says.
        let wait = wait_ms.map_or(LOOK_INTERVAL, Duration::from_millis).min(LOOK_INTERVAL);
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            _ = all.tick() => context.objects.read_mut(View::look_at_all_services),
            () = context.objects.wakes.services.notified() => {}
            () = tokio::time::sleep(RETRY_INTERVAL), if !failed.is_empty() => {}
            () = tokio::time::sleep(wait), if wait_ms.is_some() => {}
        }
        let now_ms = context.now_ms();
        let is_due = due.iter().filter(|(_, at_ms)| **at_ms <= now_ms).map(|(name, _)| name.clone());
        let again: Vec<QualifiedName> = is_due.chain(failed).collect();
        context.objects.read_mut(|view| view.services_to_look_at.extend(again));
    }
}

/// Looks at one service and does what is due.
async fn look(context: &Arc<Context>, name: QualifiedName) -> Looked {
    let observed = context.objects.read(|view| observe(view, &name));
    let done = match &observed.service {
        _ if observed.unreadable => Ok(None),
        Some(held) if held.value.removed => remove(context, held, &observed).await.map(|()| None),
        Some(held) => keep(context, &held.value, &observed).await,
        None => remove_orphans(context, &name, &observed).await.map(|()| None),
    };
    match done {
        Ok(again_at_ms) => Looked::Done(name, again_at_ms),
        Err(error) => {
            // Where somebody else changed what we would have, that is no news.
            if !error.is_conflict() {
                warn!(service = %name, %error, "the service could not be brought to what it is to be");
            }
            Looked::Failed(name)
        }
    }
}

fn observe(view: &View, name: &QualifiedName) -> Observed {
    let service = view.service(name).cloned();
    let notes = view.notes.get(&keys::service_status(name)).cloned();
    let rollout = notes.as_ref().and_then(|held| held.value.rollout.as_ref());
    let mut revisions: Vec<&TaskDefinitionId> =
        service.iter().map(|held| &held.value.spec.definition).collect();
    revisions.extend(rollout.map(|rollout| &rollout.definition));
    revisions.extend(rollout.and_then(|rollout| rollout.completed.as_ref()));
    revisions.sort_unstable();
    revisions.dedup();
    let definitions = revisions.into_iter().filter_map(|id| view.definition(&name.namespace, id));
    let definitions = definitions.cloned().collect();
    let tasks = view.tasks_of(&name.namespace, &Group::Service(name.name.clone())).cloned().collect();
    Observed {
        service,
        unreadable: view.unreadable.contains(&keys::service(name)),
        definitions,
        check: view.check_of_service(name).cloned(),
        notes,
        notes_unreadable: view.unreadable.contains(&keys::service_status(name)),
        tasks,
    }
}

/// Brings a service to what it is to be; says when to look again.
async fn keep(
    context: &Arc<Context>,
    service: &Service,
    observed: &Observed,
) -> Result<Option<u64>, ObjectError> {
    let desired = idle::desired(service, observed.kept_notes(service), &observed.tasks);
    let raised = notes::raised(context, service);
    let mut rollout = notes::next_rollout(context, service, observed, desired, &raised);
    // Nobody knows what was decided before: what runs stays, and what is lost is replaced by what the user asked for.
    let is_unknown = observed.notes_unreadable;
    let completed = if is_unknown { Some(&rollout.definition) } else { rollout.last_completed() };
    let wanted = Wanted {
        name: &service.spec.name,
        definition: &rollout.definition,
        completed: completed.filter(|completed| observed.is_registered(completed)),
        blue: rollout.blue().filter(|_| !is_unknown),
        desired,
        configuration: &service.spec.deployment,
        is_paused: is_unknown || rollout.is_paused,
        is_failed: rollout.state == RolloutState::Failed,
    };
    let plan = plan(context, &wanted, observed);
    rollout.hold_up(plan.stuck.as_ref());
    let watches = rollout.state == RolloutState::InProgress && !service.spec.deployment.alarms.is_empty();
    let now_ms = context.now_ms();
    let alarms_at_ms = watches.then(|| now_ms.saturating_add(ALARMS_INTERVAL_MS));
    let shift_at_ms = rollout.again_at_ms(&service.spec.deployment.strategy);
    let shift_at_ms = shift_at_ms.map(|at_ms| at_ms.max(now_ms.saturating_add(STEP_INTERVAL_MS)));
    if !is_unknown {
        notes::take(context, service, observed, rollout).await?;
    }
    act(context, service, plan.actions, observed).await?;
    Ok([plan.again_at_ms, alarms_at_ms, shift_at_ms].into_iter().flatten().min())
}

fn plan(context: &Context, wanted: &Wanted<'_>, observed: &Observed) -> service::Plan {
    let tasks: Vec<&Task> = observed.tasks.iter().map(|held| &held.value.task).collect();
    service::plan(wanted, &observed.known(wanted.definition), &tasks, context.now_ms())
}

/// Carries out what `plan` answered: first what is to stop, since what is to start may take its room, and would be one too many
/// for as long as a write takes.
async fn act(
    context: &Arc<Context>,
    service: &Service,
    actions: Vec<Action>,
    observed: &Observed,
) -> Result<(), ObjectError> {
    let now_ms = context.now_ms();
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for action in actions {
        match action {
            // What has not begun by now begins with the next platform.
            Action::Start { .. } if context.is_winding_down() => {}
            Action::Start { definition, attempt, start_after_ms } => {
                let Some(kind) = observed.kind(&definition) else { continue };
                let task = new_task(context, service, definition, (attempt, start_after_ms), now_ms);
                let placement = Placement::default();
                starts.push(TaskObject { task, kind, placement, updated_at_ms: now_ms });
            }
            Action::Stop { task, reason } => stops.push((task, reason)),
        }
    }
    let ready = observed.tasks.iter().filter(|held| held.value.task.is_ready());
    let ready: BTreeSet<TaskId> = ready.map(|held| held.value.task.id).collect();
    stream::iter(stops)
        .map(|(task, reason)| stop(context, service, (task, ready.contains(&task)), reason))
        .buffer_unordered(WRITES_AT_ONCE)
        .fold(Ok(()), |stopped, this| async move { stopped.and(this) })
        .await?;
    start_all(context, service, starts).await
}

/// Makes new tasks of a service, as far as there is a place for them. What was begun of that is finished.
pub(super) async fn start_all(
    context: &Arc<Context>,
    service: &Service,
    objects: Vec<TaskObject>,
) -> Result<(), ObjectError> {
    let placed = placement::place_tasks(context, service, objects).await?;
    stream::iter(placed)
        .map(|object| start(context, object))
        .buffer_unordered(WRITES_AT_ONCE)
        .fold(Ok(()), |started, this| async move { started.and(this) })
        .await
}

/// Writes a new task's object. One for which there is no address has failed before it began: so its service says why, and
/// it is tried again as after any failure.
async fn start(context: &Arc<Context>, mut object: TaskObject) -> Result<(), ObjectError> {
    let (id, owner, attempt) = (object.task.id, object.owner(), object.task.attempt);
    info!(task = %id, service = %owner, node = ?object.task.node, attempt, "starting a task");
    match create_task(context, object.clone(), Effect::Written).await {
        Ok(_) => Ok(()),
        Err(NoAddress::Object(error)) => Err(error),
        Err(NoAddress::None(error)) => {
            let (code, message) = (StopCode::TaskFailedToStart, error.to_string());
            object.task.status = TaskStatus::Provisioning;
            object.task.node = None;
            object.task.stop = Some(StoppedReason { code, message });
            context.objects.put(object, Expect::Absent).await.map(drop)
        }
    }
}

/// A new task of a service: of this revision, as this attempt, not to be started before this time.
pub(super) fn new_task(
    context: &Context,
    service: &Service,
    definition: TaskDefinitionId,
    (attempt, start_after_ms): (u32, u64),
    now_ms: u64,
) -> Task {
    Task {
        attempt,
        start_after_ms,
        ..Task::new(context.new_task_id(), service.namespace.clone(), service.group(), definition, now_ms)
    }
}

/// Says that a task is to end. One that was not ready when that was decided, and is now, may be among the fewest that are to
/// serve: what becomes of it is decided anew.
async fn stop(
    context: &Context,
    service: &Service,
    (task, was_ready): (TaskId, bool),
    reason: StoppedReason,
) -> Result<(), ObjectError> {
    let now_ms = context.now_ms();
    let apply = |object: &mut TaskObject| {
        let is_due = object.task.stop.is_none() && (was_ready || !object.task.is_ready());
        if is_due {
            object.task.stop = Some(reason.clone());
            object.updated_at_ms = now_ms;
        }
        is_due
    };
    context.objects.update(&keys::task(&service.namespace, task), apply).await.map(drop)
}

/// Ends the tasks of a removed service; once all have ended removes them, what they wrote, and the service, in this
/// order: the service is the last to go, so that a removal that was cut short goes on.
async fn remove(
    context: &Arc<Context>,
    held: &Held<Service>,
    observed: &Observed,
) -> Result<(), ObjectError> {
    let service = &held.value;
    let nothing = Wanted {
        name: &service.spec.name,
        definition: &service.spec.definition,
        completed: None,
        blue: None,
        desired: 0,
        configuration: &DeploymentConfiguration::default(),
        is_paused: false,
        is_failed: false,
    };
    act(context, service, plan(context, &nothing, observed).actions, observed).await?;
    if observed.tasks.iter().any(|held| held.value.task.status != TaskStatus::Stopped) {
        return Ok(());
    }
    forget_tasks(context, observed).await?;
    context.logs.remove(&service.name());
    context.objects.delete::<ServiceNotes>(&keys::service_status(&service.name()), Expect::Any).await?;
    // Whoever created the service anew meanwhile keeps it.
    context.objects.delete::<Service>(&service.key(), Expect::Revision(held.revision)).await?;
    info!(service = %service.name(), "the service is gone");
    context.objects.wakes.collector.notify_one();
    Ok(())
}

/// Ends tasks whose service is gone.
async fn remove_orphans(
    context: &Context,
    name: &QualifiedName,
    observed: &Observed,
) -> Result<(), ObjectError> {
    let now_ms = context.now_ms();
    for held in observed.tasks.iter().filter(|held| !held.value.task.is_stopping()) {
        let apply = |object: &mut TaskObject| {
            let first = object.task.stop.is_none();
            let message = format!("the service {name} is gone");
            object
                .task
                .stop
                .get_or_insert(StoppedReason { code: StopCode::ServiceSchedulerInitiated, message });
            object.updated_at_ms = now_ms;
            first
        };
        context.objects.update(&held.value.key(), apply).await?;
    }
    forget_tasks(context, observed).await
}

/// Deletes the objects of tasks that have ended.
async fn forget_tasks(context: &Context, observed: &Observed) -> Result<(), ObjectError> {
    let ended = observed.tasks.iter().filter(|held| held.value.task.status == TaskStatus::Stopped);
    let ended: Vec<Held<TaskObject>> = ended.cloned().collect();
    context.addresses.note(&ended, context.now_ms()).await?;
    context.objects.delete_all::<TaskObject>(ended.iter().map(|held| held.value.key()).collect()).await
}
