//! How a service keeps its desired count of tasks: start what is missing, replace what is old, stop what is too much.
//!
//! It deliberately does not place tasks, nor check their health: a task that is `RUNNING`, and not known to be unhealthy or
//! yet to be reached, serves; in the stead of another only once its first check is over, where it is checked. One that is
//! unhealthy is stopped, and counts as one that ended by itself; but while no other serves, an unhealthy `http` task stays
//! until one does, since the load balancer rather sends requests to it than to nobody.
//!
//! What always holds: a task that serves is only stopped for a newer revision once another one serves in its stead;
//! what was planned and carried out plans nothing more.

use skiff_types::{Health, Kind, ServiceSpec, StopCode, StoppedReason, Task, TaskId, TaskStatus};

/// The wait before a task that ended by itself is started again for the first time, in milliseconds.
pub const BACKOFF_FIRST_MS: u64 = 100;
/// The longest wait before a task is started again, in milliseconds.
pub const BACKOFF_MOST_MS: u64 = 300_000;
/// A task that was ready this long ago had started well: the wait after it is the first one again; in milliseconds.
pub const RAN_WELL_MS: u64 = 30_000;

/// What is to be done for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a task of the service's definition.
    Start {
        /// How many tasks in a row failed before it; [`Task::attempt`].
        attempt: u32,
        /// Not before this time, in milliseconds since 1970; [`Task::start_after_ms`].
        start_after_ms: u64,
    },
    /// Stop a task.
    Stop {
        /// Which.
        task: TaskId,
        /// What it is told.
        reason: StoppedReason,
    },
}

/// What is known of a service beside its tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// What its tasks are, where that is known.
    pub kind: Option<Kind>,
    /// Of `http` tasks that are checked: how long it takes at most until it is known of a new one whether it is healthy, in
    /// milliseconds; else 0.
    pub checked_within_ms: u64,
}

impl Known {
    fn is_http(&self) -> bool {
        self.kind == Some(Kind::Http)
    }

    /// Whether a task may serve in the stead of others: it is ready, and nobody is yet to find out whether it is healthy.
    fn is_proven(&self, task: &Task, now_ms: u64) -> bool {
        let known_at_ms = task.started_at_ms.unwrap_or(now_ms).saturating_add(self.checked_within_ms);
        task.is_ready() && (task.health == Health::Healthy || known_at_ms <= now_ms)
    }
}

/// What is to be done so that `spec` holds, given all tasks of the service, stopped ones too.
///
/// A service that is to go is planned with a desired count of 0.
pub fn plan(spec: &ServiceSpec, known: &Known, tasks: &[&Task], now_ms: u64) -> Vec<Action> {
    let living = tasks.iter().copied().filter(|task| !task.is_stopping());
    let (unhealthy, living): (Vec<&Task>, Vec<&Task>) = living.partition(|task| is_unhealthy(task));
    let is_served = living.iter().any(|task| known.is_proven(task, now_ms));
    let spared_max = if known.is_http() && !is_served { spec.desired as usize } else { 0 };
    let unhealthy = all_but_newest(unhealthy, spared_max);
    let (current, old): (Vec<&Task>, Vec<&Task>) =
        living.into_iter().partition(|task| task.definition == spec.definition);
    let desired = spec.desired as usize;
    let mut actions: Vec<Action> = unhealthy.into_iter().map(stop_unhealthy).collect();
    if current.len() < desired {
        let (attempt, start_after_ms) = next_start(spec, known, tasks, now_ms);
        let start = Action::Start { attempt, start_after_ms };
        actions.extend(std::iter::repeat_n(start, desired - current.len()));
    }
    let surplus = current.len().saturating_sub(desired);
    let scaled_in = format!("the service {} was scaled in to {desired}", spec.name);
    actions.extend(first_to_go(current.clone()).take(surplus).map(|task| stop(task, &scaled_in)));

    let serving = current.iter().filter(|task| known.is_proven(task, now_ms)).count();
    let still_needed = desired.saturating_sub(serving);
    let replaced = match desired {
        0 => scaled_in,
        _ => format!("the service {} now runs {}", spec.name, spec.definition),
    };
    let leaving = old.len().saturating_sub(still_needed);
    actions.extend(first_to_go(old).take(leaving).map(|task| stop(task, &replaced)));
    actions
}

/// The wait before a task that follows `attempt` failures, in milliseconds; none after none.
pub fn backoff_ms(attempt: u32) -> u64 {
    match attempt.checked_sub(1) {
        None => 0,
        Some(doublings) => BACKOFF_FIRST_MS.saturating_mul(1 << doublings.min(32)).min(BACKOFF_MOST_MS),
    }
}

/// The newest of these tasks are left out, so many.
fn all_but_newest(mut tasks: Vec<&Task>, count: usize) -> Vec<&Task> {
    tasks.sort_by_key(|task| std::cmp::Reverse(task.id));
    tasks.split_off(count.min(tasks.len()))
}

/// The attempt and the earliest time of the next start, by how the latest task of the definition ended.
fn next_start(spec: &ServiceSpec, known: &Known, tasks: &[&Task], now_ms: u64) -> (u32, u64) {
    let ended_at_ms = |task: &Task| task.stopped_at_ms.unwrap_or(now_ms);
    // When one that finishes what it has began to end is not known, only that it had started. Taken for one that ends
    // now, it would hide every failure of those in its place for as long as it finishes. An unhealthy `http` task ends
    // only after the one in its place has started, and would hide that one's failure.
    let may_stay = |task: &Task| known.is_http() && stop_code(task) == Some(StopCode::Unhealthy);
    let began_to_end_ms = |task: &Task| match is_finishing(task) || may_stay(task) {
        true => task.started_at_ms.unwrap_or(task.created_at_ms),
        false => ended_at_ms(task),
    };
    let latest = tasks
        .iter()
        .filter(|task| task.definition == spec.definition)
        .filter_map(|task| Some((*task, ended_by_itself(stop_code(task)?))))
        .max_by_key(|(task, _)| (began_to_end_ms(task), task.attempt, task.id));
    let Some((task, by_itself)) = latest else { return (0, now_ms) };
    let ran_well = ran_well(task, ended_at_ms(task));
    let before = if ran_well { 0 } else { task.attempt };
    if by_itself {
        let attempt = before.saturating_add(1);
        // No longer than the wait itself, whatever the clock was when the task ended.
        let wait_ms = backoff_ms(attempt);
        let due_ms = ended_at_ms(task).saturating_add(wait_ms).min(now_ms.saturating_add(wait_ms));
        (attempt, now_ms.max(due_ms))
    } else if ran_well {
        (0, now_ms)
    } else {
        (before, now_ms.max(task.start_after_ms))
    }
}

/// Whether a task that ended at this time, in milliseconds since 1970, had started well.
pub(crate) fn ran_well(task: &Task, ended_at_ms: u64) -> bool {
    task.ready_at_ms.is_some_and(|ready| ended_at_ms.saturating_sub(ready) >= RAN_WELL_MS)
}

/// Why a task ends or has ended; of an unhealthy one, why it is about to.
fn stop_code(task: &Task) -> Option<StopCode> {
    let unhealthy = || is_unhealthy(task).then_some(StopCode::Unhealthy);
    task.stop.as_ref().map(|stop| stop.code).or_else(unhealthy)
}

fn is_unhealthy(task: &Task) -> bool {
    task.health == Health::Unhealthy
}

fn is_finishing(task: &Task) -> bool {
    matches!(task.status, TaskStatus::Deactivating | TaskStatus::Stopping)
}

/// Whether nobody asked for the end of a task that stopped with this code.
pub fn ended_by_itself(code: StopCode) -> bool {
    match code {
        StopCode::TaskFailedToStart
        | StopCode::Exited
        | StopCode::Trapped
        | StopCode::OutOfMemory
        | StopCode::WorkerLost
        | StopCode::Unhealthy => true,
        StopCode::UserInitiated | StopCode::ServiceSchedulerInitiated | StopCode::PlatformStopped => false,
    }
}

/// Tasks in the order in which they can best be spared: those that don't serve yet, then the newest.
fn first_to_go(mut tasks: Vec<&Task>) -> impl Iterator<Item = &Task> {
    tasks.sort_by_key(|task| (task.is_ready(), std::cmp::Reverse(task.id)));
    tasks.into_iter()
}

fn stop(task: &Task, message: &str) -> Action {
    let reason = StoppedReason { code: StopCode::ServiceSchedulerInitiated, message: message.to_owned() };
    Action::Stop { task: task.id, reason }
}

fn stop_unhealthy(task: &Task) -> Action {
    Action::Stop { task: task.id, reason: unhealthy(task) }
}

/// What an unhealthy task is told that is to stop for that.
pub(crate) fn unhealthy(task: &Task) -> StoppedReason {
    let message = task.health_reason.clone().unwrap_or_else(|| "it was not reached at its port".to_owned());
    StoppedReason { code: StopCode::Unhealthy, message }
}

#[cfg(test)]
mod tests;
