//! The life of a task: which step comes next, given what is known.
//!
//! It deliberately does not know how a step is carried out, nor that a task may be assigned to one node or another.
//!
//! What always holds: a task only moves forward ([`TaskStatus`] is ordered), but for [`restart`], by which a one-off task
//! that has ended begins anew, and for [`resume`], which a platform that starts again applies once to what it had promised.

use crate::service::{backoff_ms, ended_by_itself, ran_well, unhealthy};
use skiff_types::{Group, Health, Kind, Restart, StopCode, StoppedReason, Task, TaskStatus};

/// What is known of a task beside its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What its component's exports make of it.
    pub kind: Kind,
    /// It is a daemon: a `command` that has a port.
    pub daemon: bool,
    /// What becomes of it once its program has ended, if it is a one-off task.
    pub restart: Restart,
    /// Its native code is ready.
    pub prepared: bool,
    /// Every living worker acts on the status that the task has now.
    pub acknowledged: bool,
    /// Requests that it still has, or connections.
    pub outstanding: u64,
    /// Until when it may finish what it has, in milliseconds since 1970.
    pub drain_until_ms: u64,
}

/// What comes next for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its status is to become this one.
    Advance(TaskStatus),
    /// It is to begin anew: see [`restart`].
    Restart,
    /// Its native code is to be made ready.
    Prepare,
    /// Nothing before this time, in milliseconds since 1970.
    WaitUntil(u64),
    /// Nothing until the workers acknowledge what they were told.
    WaitForWorkers,
    /// Nothing until it has no more requests or connections, or until this time, in milliseconds since 1970.
    Drain(u64),
    /// Nothing until somebody or something ends it.
    Rest,
}

/// The step that a task is to take next.
pub fn next(task: &Task, known: &Known, now_ms: u64) -> Step {
    let stop = task.stop.is_some();
    match task.status {
        TaskStatus::Provisioning | TaskStatus::Pending if stop => ended(task, known),
        // It has nothing to finish; one that is called may have calls as soon as a worker has it.
        TaskStatus::Activating if stop && !known.kind.is_called() => {
            Step::Advance(TaskStatus::Deprovisioning)
        }
        TaskStatus::Activating | TaskStatus::Running if stop => Step::Advance(match finishes(task, known) {
            true => TaskStatus::Deactivating,
            false => TaskStatus::Deprovisioning,
        }),
        TaskStatus::Provisioning if now_ms < task.start_after_ms => Step::WaitUntil(task.start_after_ms),
        TaskStatus::Provisioning => Step::Advance(TaskStatus::Pending),
        TaskStatus::Pending | TaskStatus::Activating if !known.prepared => Step::Prepare,
        TaskStatus::Pending => Step::Advance(TaskStatus::Activating),
        TaskStatus::Activating => match known.kind {
            Kind::Http | Kind::Event => once_acknowledged(known, TaskStatus::Running),
            // Its worker says when its program runs.
            Kind::Command => Step::Rest,
        },
        TaskStatus::Running => Step::Rest,
        TaskStatus::Deactivating => once_acknowledged(known, TaskStatus::Stopping),
        TaskStatus::Stopping
            if known.outstanding > 0 && now_ms < known.drain_until_ms && task.exit_code.is_none() =>
        {
            Step::Drain(known.drain_until_ms)
        }
        TaskStatus::Stopping => Step::Advance(TaskStatus::Deprovisioning),
        TaskStatus::Deprovisioning if known.acknowledged => ended(task, known),
        TaskStatus::Deprovisioning => Step::WaitForWorkers,
        TaskStatus::Stopped => Step::Rest,
    }
}

/// Whether a task that is to stop has something to finish before: one that is called its calls, a daemon its connections,
/// unless its program is gone. What was on a node that is gone finishes nothing.
fn finishes(task: &Task, known: &Known) -> bool {
    let runs = task.stop.as_ref().is_some_and(|stop| match stop.code {
        StopCode::UserInitiated | StopCode::ServiceSchedulerInitiated | StopCode::Unhealthy => {
            task.exit_code.is_none()
        }
        StopCode::TaskFailedToStart
        | StopCode::Exited
        | StopCode::Trapped
        | StopCode::OutOfMemory
        | StopCode::WorkerLost
        | StopCode::NodeLost
        | StopCode::PlatformStopped => false,
    });
    let is_lost = task.stop.as_ref().is_some_and(|stop| stop.code == StopCode::NodeLost);
    !is_lost && (known.kind.is_called() || (known.daemon && runs))
}

/// What becomes of a task that no worker has any more.
fn ended(task: &Task, known: &Known) -> Step {
    if is_restarted(task, known.restart) { Step::Restart } else { Step::Advance(TaskStatus::Stopped) }
}

/// Whether a task that ends begins anew, by what was said of it.
pub fn is_restarted(task: &Task, restart: Restart) -> bool {
    task.stop.as_ref().is_some_and(|stop| begins_anew(task, stop.code, restart))
}

/// Whether a task that ends for this reason begins anew. One of a service never does: the service starts another.
fn begins_anew(task: &Task, code: StopCode, restart: Restart) -> bool {
    match (restart, code) {
        _ if matches!(task.group, Group::Service(_)) => false,
        (Restart::Never, _) | (_, StopCode::UserInitiated | StopCode::ServiceSchedulerInitiated) => false,
        (Restart::OnFailure, StopCode::Exited) => task.exit_code != Some(0),
        (
            Restart::OnFailure,
            StopCode::TaskFailedToStart
            | StopCode::Trapped
            | StopCode::OutOfMemory
            | StopCode::WorkerLost
            | StopCode::NodeLost
            | StopCode::PlatformStopped
            | StopCode::Unhealthy,
        )
        | (Restart::Always, _) => true,
    }
}

/// Whether a task may go from one status to another: only forward.
pub fn is_legal(from: TaskStatus, to: TaskStatus) -> bool {
    from < to
}

/// Whether a task in this status is among those that its node runs, once its code is ready.
pub fn is_assigned(status: TaskStatus) -> bool {
    (TaskStatus::Activating..TaskStatus::Deprovisioning).contains(&status)
}

/// Has a task begin anew under its id, with its address: no worker has it any more. It waits as long as a service would
/// before it started another in its place; the platform's own end is no failure of the task.
pub fn restart(task: &mut Task, now_ms: u64) {
    let by_itself = task.stop.as_ref().is_some_and(|stop| ended_by_itself(stop.code));
    let before = if ran_well(task, now_ms) { 0 } else { task.attempt };
    task.attempt = before.saturating_add(u32::from(by_itself));
    task.start_after_ms = now_ms.saturating_add(backoff_ms(task.attempt));
    task.restarts = task.restarts.saturating_add(1);
    task.last_stop = task.stop.take();
    task.status = TaskStatus::Provisioning;
    (task.exit_code, task.health, task.health_reason) = (None, Health::Unchecked, None);
    (task.started_at_ms, task.ready_at_ms, task.stopped_at_ms) = (None, None, None);
}

/// Asks for a task's end as [`stop`] does, and cuts what it has not finished; false if it ends at once already, or has
/// ended.
pub fn stop_now(task: &mut Task, reason: StoppedReason, restart: Restart, now_ms: u64) -> bool {
    let is_news = stop(task, reason, restart);
    let may_finish = (TaskStatus::Activating..TaskStatus::Deprovisioning).contains(&task.status);
    if may_finish {
        advance(task, TaskStatus::Deprovisioning, now_ms);
    }
    is_news || may_finish
}

/// Asks for a task's end; false if it ends already, or has ended. A user's word also ends one that ended by itself and is
/// about to begin anew.
pub fn stop(task: &mut Task, reason: StoppedReason, restart: Restart) -> bool {
    if task.stop.is_some() && (task.status == TaskStatus::Stopped || !is_restarted(task, restart)) {
        return false;
    }
    task.last_stop = task.stop.replace(reason).or(task.last_stop.take());
    true
}

/// A `command` task's program runs; `checked` says whether its health is. False if that is no news.
pub fn started(task: &mut Task, checked: bool, now_ms: u64) -> bool {
    let starts = task.status == TaskStatus::Activating;
    if starts {
        task.health = if checked { Health::Starting } else { Health::Unchecked };
        advance(task, TaskStatus::Running, now_ms);
    }
    starts
}

/// A daemon is reached at its port, or a task passes its group's checks; or it has not for at most `notice_ms` milliseconds,
/// and why. False if that is no news.
/// A one-off task that begins anew when it fails is stopped for that; of a service's task its service decides.
pub fn checked(
    task: &mut Task,
    healthy: bool,
    reason: &str,
    restart: Restart,
    notice_ms: u64,
    now_ms: u64,
) -> bool {
    let health = if healthy { Health::Healthy } else { Health::Unhealthy };
    // An `http` task is checked as soon as a worker has it.
    let is_served = matches!(task.status, TaskStatus::Activating | TaskStatus::Running);
    if !is_served || task.stop.is_some() || task.health == health {
        return false;
    }
    task.health = health;
    task.health_reason = (!healthy).then(|| reason.to_owned());
    if healthy {
        task.ready_at_ms.get_or_insert(now_ms);
        return true;
    }
    was_ready_until(task, now_ms.saturating_sub(notice_ms));
    if begins_anew(task, StopCode::Unhealthy, restart) {
        task.stop = Some(unhealthy(task));
    }
    true
}

/// A task was ready until this time and no longer: what comes after, until that is noticed and its connections have ended,
/// is not to count as having run well.
fn was_ready_until(task: &mut Task, until_ms: u64) {
    if task.health != Health::Unchecked && !ran_well(task, until_ms) {
        task.ready_at_ms = None;
    }
}

/// Moves a task to a status and writes the times down.
///
/// # Panics
/// If the move is not legal.
pub fn advance(task: &mut Task, to: TaskStatus, now_ms: u64) {
    assert!(is_legal(task.status, to), "{} to {to}", task.status);
    if task.status == TaskStatus::Running {
        was_ready_until(task, now_ms);
    }
    task.status = to;
    if to == TaskStatus::Running {
        task.started_at_ms.get_or_insert(now_ms);
        if task.is_ready() {
            task.ready_at_ms.get_or_insert(now_ms);
        }
    }
    if to == TaskStatus::Stopped {
        task.stopped_at_ms = Some(now_ms);
    }
}

/// What becomes of a task that lived when the platform ended, now that it starts again; false if it stays as it is.
///
/// One that is called is brought back under its id. A `command` task may have run, and nobody knows how far: it has ended, and
/// begins anew if that was said of it. Where it is not known what was said (`None`) and that matters, it is left on the
/// threshold, for [`next`] to decide.
pub fn resume(task: &mut Task, kind: Kind, restart: Option<Restart>, now_ms: u64) -> bool {
    match (kind, task.status) {
        (_, TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Stopped) => false,
        (Kind::Http | Kind::Event, TaskStatus::Running) if task.stop.is_none() => {
            task.status = TaskStatus::Activating;
            true
        }
        (Kind::Http | Kind::Event, TaskStatus::Activating) if task.stop.is_none() => false,
        _ => {
            task.stop.get_or_insert_with(|| StoppedReason {
                code: StopCode::PlatformStopped,
                message: "the platform stopped while the task ran".to_owned(),
            });
            match restart {
                None if is_restarted(task, Restart::Always) => {
                    if task.status == TaskStatus::Deprovisioning {
                        return false;
                    }
                    advance(task, TaskStatus::Deprovisioning, now_ms);
                }
                Some(restart) if is_restarted(task, restart) => self::restart(task, now_ms),
                None | Some(_) => advance(task, TaskStatus::Stopped, now_ms),
            }
            true
        }
    }
}

fn once_acknowledged(known: &Known, to: TaskStatus) -> Step {
    if known.acknowledged { Step::Advance(to) } else { Step::WaitForWorkers }
}

#[cfg(test)]
mod tests;
