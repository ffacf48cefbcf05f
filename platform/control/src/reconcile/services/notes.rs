//! What is noted of a service beside what its user said: to which revision it goes, and what happened to it.
//!
//! It deliberately decides nothing: `plan` does, and is asked here with what the view has. All that is noted at a time is
//! one write.

use super::{Observed, idle};
use crate::context::Context;
use crate::model::{Service, ServiceEvent, ServiceNotes, TaskObject};
use crate::objects::ObjectError;
use crate::view::Held;
use skiff_plan::rollout::{self, Asked, Rollout, Seen};
use skiff_plan::service;
use skiff_plan::shift::{Shift, Stage};
use skiff_ports::store::Expect;
use skiff_types::{
    AlarmState, DeploymentEventName, Name, QualifiedName, RolloutState, ServiceActionName, ServiceEventName,
    StopCode, Task, TaskDefinitionId, TaskStatus,
};

/// Those alarms of a service's deployments that are in `ALARM`, as is noted of them: after a restart they are in the state that
/// they were in, until they are evaluated again.
pub(super) fn raised(context: &Context, service: &Service) -> Vec<Name> {
    let is_raised = |alarm: &&Name| {
        let alarm = QualifiedName::new(service.namespace.clone(), Name::clone(alarm));
        context.objects.read(|view| view.state_of_alarm(&alarm)) == Some(AlarmState::Alarm)
    };
    service.spec.deployment.alarms.iter().filter(is_raised).cloned().collect()
}

/// To which revision a service goes from here on, and how far it is. `desired` is how many tasks it is to have at present,
/// `raised` are those alarms of its deployments that are in `ALARM`.
pub(super) fn next_rollout(
    context: &Context,
    service: &Service,
    observed: &Observed,
    desired: u32,
    raised: &[Name],
) -> Rollout {
    let before = observed.kept_notes(service).and_then(|notes| noted_rollout(service, notes));
    let now_ms = context.now_ms();
    let tasks: Vec<&Task> = observed.tasks.iter().map(|held| &held.value.task).collect();
    let present = before.as_ref().filter(|rollout| rollout.for_ == service.deployment);
    // What this one would go back to; of one that begins now, what the one before leaves it.
    let completed = match present {
        Some(rollout) => rollout.completed.as_ref(),
        None => before.as_ref().and_then(Rollout::last_completed),
    };
    let is_proven = |definition: &TaskDefinitionId| {
        let known = observed.known(definition);
        let mut current = tasks.iter().filter(|task| task.definition == *definition && !task.is_stopping());
        current.all(|task| known.is_proven(task, now_ms))
    };
    let is_done = |definition: &TaskDefinitionId| {
        is_complete(context, definition, desired, &observed.tasks) && is_proven(definition)
    };
    let is_whole = |definition: &TaskDefinitionId| {
        is_whole(context, definition, desired, &observed.tasks) && is_proven(definition)
    };
    let seen = Seen {
        tasks: &tasks,
        known: &observed.known(present.map_or(&service.spec.definition, |rollout| &rollout.definition)),
        is_complete: &is_done,
        is_whole: &is_whole,
        can_go_back: completed.is_some_and(|completed| observed.is_registered(completed)),
        now_ms,
        new_id: context.new_deployment_id(),
    };
    rollout::next(before.as_ref(), &asked(service, raised), &seen)
}

/// What a service's user asked for, while these of its alarms are in `ALARM`.
fn asked<'a>(service: &'a Service, raised: &'a [Name]) -> Asked<'a> {
    Asked {
        deployment: service.deployment,
        definition: &service.spec.definition,
        desired: service.spec.desired,
        circuit_breaker: service.spec.deployment.circuit_breaker,
        is_paused: service.is_paused,
        is_aborted: service.aborted == Some(service.deployment),
        strategy: service.spec.deployment.strategy,
        raised,
    }
}

/// What was noted last; where an older version noted only that the deployment was complete, that.
fn noted_rollout(service: &Service, notes: &ServiceNotes) -> Option<Rollout> {
    let was_complete = notes.completed && notes.definition.as_ref() == Some(&service.spec.definition);
    let complete = || Rollout {
        state: RolloutState::Completed,
        ..Rollout::begin(None, &asked(service, &[]), service.deployed_at_ms)
    };
    notes.rollout.clone().or_else(|| was_complete.then(complete))
}

/// Notes what happened since the last notes, and to which revision the service goes.
pub(super) async fn take(
    context: &Context,
    service: &Service,
    observed: &Observed,
    rollout: Rollout,
) -> Result<(), ObjectError> {
    let before = observed.kept_notes(service);
    let mut notes = match before {
        Some(notes) => notes.clone(),
        None => ServiceNotes::new(service.name(), service.created_at_ms),
    };
    let now_ms = context.now_ms();
    let why_scaled =
        context.objects.read(|view| view.why_scaled_to(service, service.spec.desired).map(str::to_owned));
    note_rollout(&mut notes, service, rollout, why_scaled.as_deref(), now_ms);
    note_ended_tasks(&mut notes, observed, now_ms);
    idle::note_waking(&mut notes, service, &observed.tasks, now_ms);
    note_completion(&mut notes, context, service, observed, now_ms);
    if before == Some(&notes) {
        return Ok(());
    }
    let expect = match &observed.notes {
        Some(held) => Expect::Revision(held.revision),
        None => Expect::Absent,
    };
    context.objects.put(notes, expect).await.map(drop)
}

/// `why_scaled` is why the service has another count, where nobody set it by hand.
fn note_rollout(
    notes: &mut ServiceNotes,
    service: &Service,
    rollout: Rollout,
    why_scaled: Option<&str>,
    now_ms: u64,
) {
    let before = noted_rollout(service, notes).filter(|before| before.id == rollout.id);
    let (definition, desired) = (&rollout.definition, service.spec.desired);
    let mut events: Vec<(ServiceEventName, String)> = Vec::new();
    if before.is_none() {
        match &rollout.rolled_back_from {
            Some(from) => {
                let failed = format!("the deployment of {from} failed: {}", rollout.reason);
                events.push((DeploymentEventName::Failed.into(), failed));
                let back = format!("rolling back from {from} to {definition}, desired count {desired}");
                events.push((DeploymentEventName::InProgress.into(), back));
            }
            None => {
                let message = format!("deploying {definition}, desired count {desired}");
                events.push((DeploymentEventName::InProgress.into(), message));
            }
        }
        notes.completed = false;
    } else if notes.desired != desired {
        let why = why_scaled.map(|why| format!(": {why}")).unwrap_or_default();
        let message = format!("scaling from {} to a desired count of {desired}{why}", notes.desired);
        events.push((ServiceActionName::DesiredCountUpdated.into(), message));
        notes.completed = false;
    }
    events.extend(halting(before.as_ref(), &rollout));
    events.extend(step(before.as_ref().and_then(|before| before.shift.as_ref()), &rollout));
    let (state, reason) =
        before.map_or((RolloutState::InProgress, String::new()), |before| (before.state, before.reason));
    match rollout.state {
        RolloutState::Completed if state != RolloutState::Completed => {
            let message = format!("the deployment of {definition} is complete");
            events.push((DeploymentEventName::Completed.into(), message));
        }
        RolloutState::Failed if state != RolloutState::Failed => {
            let message = format!("the deployment of {definition} failed: {}", rollout.reason);
            events.push((DeploymentEventName::Failed.into(), message));
        }
        RolloutState::InProgress
            if rollout.rolled_back_from.is_none()
                && !rollout.reason.is_empty()
                && rollout.reason != reason =>
        {
            events.push((ServiceActionName::TaskStartImpaired.into(), rollout.reason.clone()));
        }
        RolloutState::InProgress | RolloutState::Completed | RolloutState::Failed => {}
    }
    events.into_iter().for_each(|(name, message)| notes.note(ServiceEvent::new(now_ms, name, message)));
    notes.definition = Some(definition.clone());
    notes.desired = desired;
    notes.rollout = Some(rollout);
}

/// What is said of a rollout that was halted since, or goes on.
fn halting(before: Option<&Rollout>, rollout: &Rollout) -> Option<(ServiceEventName, String)> {
    let definition = &rollout.definition;
    let message = match (before.is_some_and(|before| before.is_paused), rollout.is_paused) {
        (false, true) => format!("the deployment of {definition} is paused"),
        (true, false) if rollout.state == RolloutState::InProgress => {
            format!("the deployment of {definition} goes on")
        }
        (true, false) | (true, true) | (false, false) => return None,
    };
    Some((DeploymentEventName::InProgress.into(), message))
}

/// What is said of the step that a rollout took since its weight was `before`.
fn step(before: Option<&Shift>, rollout: &Rollout) -> Option<(ServiceEventName, String)> {
    let shift = rollout.shift.as_ref().filter(|shift| before != Some(*shift))?;
    let Shift { blue, green, percent, .. } = shift;
    let has_stepped = before.is_none_or(|before| (before.stage, before.percent) != (shift.stage, *percent));
    let message = match shift.stage {
        Stage::Forward if *percent == 0 => {
            format!("{green} comes up beside {blue}, which all requests go to until it serves")
        }
        Stage::Forward => format!("{percent}% of all requests go to {green}"),
        Stage::CleanUp => format!("all requests stay with {green}; {blue} goes"),
        Stage::Back => format!("all requests go to {blue}"),
    };
    has_stepped.then(|| (DeploymentEventName::InProgress.into(), message))
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
            name: Some(name_of_end(stop.code).into()),
            message: format!("task {} {what}: {}", task.id.short(), stop.message),
            task: Some(task.id),
            stop_code: Some(stop.code),
        });
    }
    notes.counted = ended.into_iter().map(|(task, _)| task.id).collect();
}

/// What it is to a service that a task of it ended by itself.
fn name_of_end(code: StopCode) -> ServiceActionName {
    match code {
        StopCode::TaskFailedToStart => ServiceActionName::TaskStartImpaired,
        StopCode::Exited
        | StopCode::Trapped
        | StopCode::OutOfMemory
        | StopCode::UserInitiated
        | StopCode::ServiceSchedulerInitiated
        | StopCode::WorkerLost
        | StopCode::NodeLost
        | StopCode::PlatformStopped
        | StopCode::Unhealthy => ServiceActionName::TasksStopped,
    }
}

fn note_completion(
    notes: &mut ServiceNotes,
    context: &Context,
    service: &Service,
    observed: &Observed,
    now_ms: u64,
) {
    let rollout = notes.rollout.as_ref().filter(|rollout| rollout.state == RolloutState::Completed);
    let Some(rollout) = rollout.filter(|_| !notes.completed) else { return };
    let desired = idle::desired(service, Some(notes), &observed.tasks);
    if !is_complete(context, &rollout.definition, desired, &observed.tasks) {
        return;
    }
    let message = match desired {
        0 => "no task runs any more".to_owned(),
        desired => format!("{} runs, running count {desired}", rollout.definition),
    };
    notes.completed = true;
    notes.note(ServiceEvent::new(now_ms, ServiceActionName::SteadyState, message));
}

/// Whether so many tasks of a revision are ready and reached by requests, and none of another runs.
pub(crate) fn is_complete(
    context: &Context,
    definition: &TaskDefinitionId,
    desired: u32,
    tasks: &[Held<TaskObject>],
) -> bool {
    let running = tasks.iter().filter(|held| {
        let task = &held.value.task;
        task.status == TaskStatus::Running && task.stop.is_none()
    });
    let (current, other): (Vec<_>, Vec<_>) =
        running.partition(|held| held.value.task.definition == *definition);
    other.is_empty() && all_serve(context, desired, &current)
}

/// The same whatever else runs.
fn is_whole(
    context: &Context,
    definition: &TaskDefinitionId,
    desired: u32,
    tasks: &[Held<TaskObject>],
) -> bool {
    let is_current = |held: &&Held<TaskObject>| {
        let task = &held.value.task;
        task.definition == *definition && task.status == TaskStatus::Running && task.stop.is_none()
    };
    all_serve(context, desired, &tasks.iter().filter(is_current).collect::<Vec<_>>())
}

fn all_serve(context: &Context, desired: u32, running: &[&Held<TaskObject>]) -> bool {
    running.len() == desired as usize
        && running.iter().all(|held| held.value.task.is_ready() && context.is_acknowledged(held.generation))
}
