//! Brings about that each service has the tasks it is to have, and that a removed one goes when its tasks are gone.
//!
//! What happened to a service is noted beside it, never in what its user said; notes are written after deeds.

use super::{LOOK_INTERVAL, RETRY_INTERVAL, WRITES_AT_ONCE};
use crate::addresses::{NoAddress, create_task};
use crate::context::Context;
use crate::keys;
use crate::model::{Service, ServiceEvent, ServiceNotes, TaskObject};
use crate::objects::ObjectError;
use crate::records::Stored;
use crate::view::{Held, View};
use futures::{StreamExt, TryStreamExt, stream};
use skiff_plan::service::{self, Action, Known};
use skiff_ports::store::Expect;
use skiff_types::{
    Group, Health, Kind, QualifiedName, ServiceSpec, StopCode, StoppedReason, TargetHealthCheck, Task,
    TaskId, TaskStatus,
};
use std::sync::Arc;
use tracing::{info, warn};

/// Services that are looked at at a time.
const SERVICES_AT_ONCE: usize = 16;

/// A service and all that concerns it, as of one generation of the view.
struct Observed {
    service: Option<Held<Service>>,
    /// The service's object is there but can't be read: nothing is decided about it.
    unreadable: bool,
    kind: Option<Kind>,
    /// How its tasks are checked by the target group that it is.
    check: Option<TargetHealthCheck>,
    notes: Option<Held<ServiceNotes>>,
    /// Its notes are there but can't be read: none are taken.
    notes_unreadable: bool,
    tasks: Vec<Held<TaskObject>>,
}

impl Observed {
    /// What the plan is made by, beside the tasks.
    fn known(&self) -> Known {
        let check = self.check.as_ref().filter(|_| self.kind == Some(Kind::Http));
        Known { kind: self.kind, checked_within_ms: check.map_or(0, TargetHealthCheck::notice_ms) }
    }
}

pub(super) async fn run(context: Arc<Context>) {
    let mut all = tokio::time::interval(LOOK_INTERVAL);
    context.objects.read_mut(View::look_at_all_services);
    loop {
        let names = context.objects.read_mut(|view| std::mem::take(&mut view.services_to_look_at));
        let failed: Vec<QualifiedName> = stream::iter(names)
            .map(|name| look(&context, name))
            .buffer_unordered(SERVICES_AT_ONCE)
            .filter_map(|failed| async { failed })
            .collect()
            .await;
        tokio::select! {
            () = context.drain.begun() => return,
            () = context.objects.wakes.services.notified() => {}
            _ = all.tick() => context.objects.read_mut(View::look_at_all_services),
            () = tokio::time::sleep(RETRY_INTERVAL), if !failed.is_empty() => {}
        }
        context.objects.read_mut(|view| view.services_to_look_at.extend(failed));
    }
}

/// Looks at one service and does what is due; its name if that failed.
async fn look(context: &Arc<Context>, name: QualifiedName) -> Option<QualifiedName> {
    let observed = context.objects.read(|view| observe(view, &name));
    let done = match &observed.service {
        _ if observed.unreadable => Ok(()),
        Some(held) if held.value.removed => remove(context, held, &observed).await,
        Some(held) => keep(context, &held.value, &observed).await,
        None => remove_orphans(context, &name, &observed).await,
    };
    match done {
        // Somebody else changed what we would have: the change wakes us.
        Err(error) if error.is_conflict() => Some(name),
        Err(error) => {
            warn!(service = %name, %error, "the service could not be brought to what it is to be");
            Some(name)
        }
        Ok(()) => None,
    }
}

fn observe(view: &View, name: &QualifiedName) -> Observed {
    let service = view.service(name).cloned();
    let kind = service.as_ref().and_then(|held| {
        let definition = view.definition(&name.namespace, &held.value.spec.definition)?;
        Some(definition.value.definition.kind)
    });
    let tasks = view.tasks_of(&name.namespace, &Group::Service(name.name.clone())).cloned().collect();
    Observed {
        service,
        unreadable: view.unreadable.contains(&keys::service(name)),
        kind,
        check: view.check_of_service(name).cloned(),
        notes: view.notes.get(&keys::service_status(name)).cloned(),
        notes_unreadable: view.unreadable.contains(&keys::service_status(name)),
        tasks,
    }
}

/// Brings a service to what it is to be.
async fn keep(context: &Arc<Context>, service: &Service, observed: &Observed) -> Result<(), ObjectError> {
    act(context, service, &service.spec, observed).await?;
    if observed.notes_unreadable { Ok(()) } else { take_notes(context, service, observed).await }
}

/// Carries out what `plan` answers for `spec`.
async fn act(
    context: &Arc<Context>,
    service: &Service,
    spec: &ServiceSpec,
    observed: &Observed,
) -> Result<(), ObjectError> {
    let tasks: Vec<&Task> = observed.tasks.iter().map(|held| &held.value.task).collect();
    let now_ms = context.now_ms();
    stream::iter(service::plan(spec, &observed.known(), &tasks, now_ms))
        .map(|action| async move {
            match action {
                // What has not begun by now begins with the next platform.
                Action::Start { .. } if context.is_winding_down() => Ok(()),
                Action::Start { attempt, start_after_ms } => {
                    let Some(kind) = observed.kind else { return Ok(()) };
                    let task = new_task(context, service, attempt, start_after_ms, now_ms);
                    let object = TaskObject { task, kind, updated_at_ms: now_ms };
                    info!(task = %object.task.id, service = %service.name(), attempt, "starting a task");
                    start(context, object).await
                }
                Action::Stop { task, reason } => stop(context, service, task, reason).await,
            }
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// Writes a new task's object. One for which there is no address has failed before it began: so its service says why, and
/// it is tried again as after any failure.
async fn start(context: &Arc<Context>, mut object: TaskObject) -> Result<(), ObjectError> {
    match create_task(context, object.clone()).await {
        Ok(_) => Ok(()),
        Err(NoAddress::Object(error)) => Err(error),
        Err(NoAddress::None(error)) => {
            let (code, message) = (StopCode::TaskFailedToStart, error.to_string());
            object.task.stop = Some(StoppedReason { code, message });
            context.objects.put(object, Expect::Absent).await.map(drop)
        }
    }
}

fn new_task(context: &Context, service: &Service, attempt: u32, start_after_ms: u64, now_ms: u64) -> Task {
    Task {
        id: context.new_task_id(),
        namespace: service.namespace.clone(),
        definition: service.spec.definition.clone(),
        group: service.group(),
        overrides: None,
        address: None,
        status: TaskStatus::Provisioning,
        stop: None,
        exit_code: None,
        health: Health::Unchecked,
        health_reason: None,
        restarts: 0,
        last_stop: None,
        attempt,
        created_at_ms: now_ms,
        start_after_ms,
        started_at_ms: None,
        ready_at_ms: None,
        stopped_at_ms: None,
    }
}

async fn stop(
    context: &Context,
    service: &Service,
    task: TaskId,
    reason: StoppedReason,
) -> Result<(), ObjectError> {
    let now_ms = context.now_ms();
    let apply = |object: &mut TaskObject| {
        let first = object.task.stop.is_none();
        if first {
            object.task.stop = Some(reason.clone());
            object.updated_at_ms = now_ms;
        }
        first
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
    let nothing = ServiceSpec { desired: 0, ..service.spec.clone() };
    act(context, service, &nothing, observed).await?;
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

/// Notes what happened since the last notes.
async fn take_notes(context: &Context, service: &Service, observed: &Observed) -> Result<(), ObjectError> {
    let before =
        observed.notes.as_ref().filter(|held| held.value.service_created_at_ms == service.created_at_ms);
    let mut notes = match before {
        Some(held) => ServiceNotes::clone(&held.value),
        None => ServiceNotes::new(service.name(), service.created_at_ms),
    };
    let now_ms = context.now_ms();
    note_changes(&mut notes, service, now_ms);
    note_ended_tasks(&mut notes, observed, now_ms);
    note_completion(&mut notes, context, service, observed, now_ms);
    if before.is_some_and(|held| *held.value == notes) {
        return Ok(());
    }
    let expect = match &observed.notes {
        Some(held) => Expect::Revision(held.revision),
        None => Expect::Absent,
    };
    context.objects.put(notes, expect).await.map(drop)
}

fn note_changes(notes: &mut ServiceNotes, service: &Service, now_ms: u64) {
    let mut note = |message| {
        notes.events.insert(0, ServiceEvent { at_ms: now_ms, message, task: None, stop_code: None });
    };
    let definition = &service.spec.definition;
    if notes.definition.as_ref() != Some(definition) {
        note(format!("deploying {definition}, desired count {}", service.spec.desired));
        notes.completed = false;
    } else if notes.desired != service.spec.desired {
        note(format!("scaling from {} to a desired count of {}", notes.desired, service.spec.desired));
        notes.completed = false;
    }
    notes.events.truncate(ServiceNotes::EVENTS_MAX);
    notes.definition = Some(definition.clone());
    notes.desired = service.spec.desired;
}

fn note_ended_tasks(notes: &mut ServiceNotes, observed: &Observed, now_ms: u64) {
    let ended: Vec<_> = observed
        .tasks
        .iter()
        .filter_map(|held| held.value.task.stop.as_ref().map(|stop| (&held.value.task, stop)))
        .filter(|(_, stop)| service::ended_by_itself(stop.code))
        .collect();
    for (task, stop) in &ended {
        if notes.counted.contains(&task.id) {
            continue;
        }
        notes.restarts += 1;
        let what = if stop.code == StopCode::Unhealthy { "is unhealthy" } else { "ended" };
        notes.note(ServiceEvent {
            at_ms: task.stopped_at_ms.unwrap_or(now_ms),
            message: format!("task {} {what}: {}", task.id.short(), stop.message),
            task: Some(task.id),
            stop_code: Some(stop.code),
        });
    }
    notes.counted = ended.into_iter().map(|(task, _)| task.id).collect();
}

fn note_completion(
    notes: &mut ServiceNotes,
    context: &Context,
    service: &Service,
    observed: &Observed,
    now_ms: u64,
) {
    if notes.completed || !is_complete(context, service, &observed.tasks) {
        return;
    }
    notes.completed = true;
    let message = match service.spec.desired {
        0 => "no task runs any more".to_owned(),
        desired => format!("{} runs, running count {desired}", service.spec.definition),
    };
    notes.note(ServiceEvent { at_ms: now_ms, message, task: None, stop_code: None });
}

/// Whether all desired tasks of a service's revision are ready and reached by requests, and none of another runs.
pub(crate) fn is_complete(context: &Context, service: &Service, tasks: &[Held<TaskObject>]) -> bool {
    let running = tasks.iter().filter(|held| {
        let task = &held.value.task;
        task.status == TaskStatus::Running && task.stop.is_none()
    });
    let (current, other): (Vec<_>, Vec<_>) =
        running.partition(|held| held.value.task.definition == service.spec.definition);
    other.is_empty()
        && current.len() == service.spec.desired as usize
        && current.iter().all(|held| held.value.task.is_ready() && context.is_acknowledged(held.generation))
}
