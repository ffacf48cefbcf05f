//! Rollouts: which revision a service goes to, how far it is, and when it is given up. ECS's deployment circuit breaker.
//!
//! It deliberately starts and stops nothing: `service` plans the tasks of the revision that is said here. A rollout is
//! kept with what else is noted of the service, and written before anything is done by it: so whoever comes after a crash
//! decides on from there. How weight moves between the revisions, where it does, is [`crate::shift`]'s.
//!
//! What always holds: what was decided and noted decides nothing more; a failure counts once; a rollout that rolls back is
//! not itself given up, since there is nothing better, nor halted; and each other one ends, if its circuit breaker is on, its
//! tasks serve or fail, and its user does not halt it.

use crate::service::{Known, Stuck, ended_by_itself, ran_well};
use crate::shift::{self, Shift, Stage};
use skiff_types::{
    CircuitBreaker, DeploymentId, Kind, Name, RolloutState, StopCode, StoppedReason, Task, TaskDefinitionId,
    TaskId,
};
use std::collections::BTreeSet;

/// The fewest failures at which a rollout is given up.
pub const THRESHOLD_LEAST: u32 = 3;
/// The failures at which any rollout is given up.
pub const THRESHOLD_MOST: u32 = 200;

/// How many tasks must fail, without one that serves between them, until a rollout to so many tasks is given up: half of
/// them, rounded up, within bounds. As in ECS.
pub fn threshold(desired: u32) -> u32 {
    desired.div_ceil(2).clamp(THRESHOLD_LEAST, THRESHOLD_MOST)
}

/// How a service goes to a revision: what is noted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Names it: as the deployment that its user asked for, or, where it rolls that back, a name of its own.
    pub id: DeploymentId,
    /// The deployment that its user asked for, for which it is.
    pub for_: DeploymentId,
    /// The revision that the service goes to.
    pub definition: TaskDefinitionId,
    /// How far it is.
    pub state: RolloutState,
    /// Why it is so, or what holds it up, for people; empty where there is nothing to say.
    pub reason: String,
    /// Tasks that failed since the last success.
    pub failed_tasks: u32,
    /// Those that were counted and are still kept, in order of their ids.
    pub counted: Vec<TaskId>,
    /// When a failure was counted last, in milliseconds since 1970.
    pub failed_at_ms: u64,
    /// The last revision beside this one that completed.
    pub completed: Option<TaskDefinitionId>,
    /// When it began, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// When its state was last another, in milliseconds since 1970.
    pub changed_at_ms: u64,
    /// The revision that failed, where this one rolls back from it.
    pub rolled_back_from: Option<TaskDefinitionId>,
    /// Its user halted it, and it is under way.
    pub is_paused: bool,
    /// Alarms that were in `ALARM` when it began: nothing is decided by them.
    pub unwatched: Vec<Name>,
    /// How its weight moves, where it does: while it is under way, and of one that failed.
    pub shift: Option<Shift>,
}

/// What a service's user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The revision that it is to.
    pub definition: &'a TaskDefinitionId,
    /// How many tasks.
    pub desired: u32,
    /// What becomes of it when its tasks fail.
    pub circuit_breaker: CircuitBreaker,
    /// It is to take no step; no failed task gives it up meanwhile, but an alarm does.
    pub is_paused: bool,
    /// It is to be given up now.
    pub is_aborted: bool,
    /// How requests come to its revision.
    pub strategy: skiff_types::Strategy,
    /// Those of its alarms that are in `ALARM` now.
    pub raised: &'a [Name],
}

/// What there is of a service.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Its tasks, stopped ones too.
    pub tasks: &'a [&'a Task],
    /// What else is known of it.
    pub known: &'a Known,
    /// Whether all tasks that there are to be are of this revision and serve, and none of another runs.
    pub is_complete: &'a dyn Fn(&TaskDefinitionId) -> bool,
    /// Whether all tasks that there are to be are of this revision and serve, whatever else runs.
    pub is_whole: &'a dyn Fn(&TaskDefinitionId) -> bool,
    /// Whether the revision to roll back to is still registered.
    pub can_go_back: bool,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// The name of a rollout that would roll back now.
    pub new_id: DeploymentId,
}

/// What is to become of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing else.
    GoOn,
    /// It has completed.
    Complete,
    /// It is given up, and the service goes back to the last revision that completed.
    RollBack {
        /// Why.
        reason: String,
    },
    /// It is given up.
    Fail {
        /// Why.
        reason: String,
    },
}

impl Rollout {
    /// The one that begins with a deployment; what completed before it is remembered of the one `before`.
    pub fn begin(before: Option<&Self>, asked: &Asked<'_>, now_ms: u64) -> Self {
        let completed = before.and_then(Self::last_completed);
        Self {
            id: asked.deployment,
            for_: asked.deployment,
            definition: asked.definition.clone(),
            state: RolloutState::InProgress,
            reason: String::new(),
            failed_tasks: 0,
            counted: vec![],
            failed_at_ms: 0,
            completed: completed.filter(|completed| *completed != asked.definition).cloned(),
            began_at_ms: now_ms,
            changed_at_ms: now_ms,
            rolled_back_from: None,
            is_paused: false,
            unwatched: asked.raised.to_vec(),
            shift: None,
        }
    }

    /// The last revision that completed, this one included; one that is rolled back to did before, and one that all requests
    /// went to for as long as it was to be looked at has but to see the one before it off.
    pub fn last_completed(&self) -> Option<&TaskDefinitionId> {
        match self.state {
            RolloutState::Completed => Some(&self.definition),
            RolloutState::InProgress | RolloutState::Failed
                if self.rolled_back_from.is_some() || self.stage() == Some(Stage::CleanUp) =>
            {
                Some(&self.definition)
            }
            RolloutState::InProgress | RolloutState::Failed => self.completed.as_ref(),
        }
    }

    /// The revision that is to be whole beside its own: as long as requests may go to either.
    pub fn blue(&self) -> Option<&TaskDefinitionId> {
        let shift = self.shift.as_ref()?;
        let is_kept = match self.state {
            RolloutState::InProgress => shift.stage == Stage::Forward,
            RolloutState::Failed => true,
            RolloutState::Completed => false,
        };
        is_kept.then_some(&shift.blue)
    }

    fn stage(&self) -> Option<Stage> {
        self.shift.as_ref().map(|shift| shift.stage)
    }

    /// When it is to be looked at again although nothing has changed, in milliseconds since 1970.
    pub fn again_at_ms(&self, strategy: &skiff_types::Strategy) -> Option<u64> {
        let shift = self.shift.as_ref().filter(|_| self.state == RolloutState::InProgress)?;
        shift.next_at_ms(strategy)
    }

    /// Says what holds it up, or that nothing does any more. Why it rolls back stays said.
    pub fn hold_up(&mut self, stuck: Option<&Stuck>) {
        if self.state == RolloutState::InProgress && self.rolled_back_from.is_none() {
            self.reason = stuck.map(|stuck| stuck.message.clone()).unwrap_or_default();
        }
    }

    /// Whether what its user asked for was given up.
    pub fn was_given_up(&self) -> bool {
        self.state == RolloutState::Failed || self.rolled_back_from.is_some()
    }

    /// Whether its revision, or the one that it would roll back to, must stay registered.
    pub fn needs(&self, definition: &TaskDefinitionId) -> bool {
        let goes_back = self.state != RolloutState::Completed && self.completed.as_ref() == Some(definition);
        self.definition == *definition || goes_back
    }

    fn back(&self, to: TaskDefinitionId, reason: String, seen: &Seen<'_>) -> Self {
        Self {
            id: seen.new_id,
            for_: self.for_,
            definition: to,
            state: RolloutState::InProgress,
            reason,
            failed_tasks: 0,
            counted: vec![],
            failed_at_ms: 0,
            completed: None,
            began_at_ms: seen.now_ms,
            changed_at_ms: seen.now_ms,
            rolled_back_from: Some(self.definition.clone()),
            is_paused: false,
            unwatched: vec![],
            shift: self.shift.clone().and_then(Shift::back),
        }
    }

    /// The shift by which one begins that is to move weight: where a revision that completed serves.
    fn shift_that_begins(&self, asked: &Asked<'_>, seen: &Seen<'_>) -> Option<Shift> {
        let blue = self.completed.as_ref().filter(|_| seen.can_go_back && asked.desired > 0)?;
        let serves = |task: &&Task| task.definition == *blue && !task.is_stopping();
        let is_rolling = asked.strategy == skiff_types::Strategy::Rolling;
        let moves = !is_rolling && seen.tasks.iter().any(serves);
        moves.then(|| Shift::begin(blue.clone(), self.definition.clone(), seen.now_ms))
    }

    /// Has its weight move on, if it is time.
    fn advance(&mut self, asked: &Asked<'_>, seen: &Seen<'_>) {
        if let Some(shift) = self.shift.as_mut().filter(|_| self.state == RolloutState::InProgress) {
            let is_whole = (seen.is_whole)(&shift.green);
            let (strategy, is_paused) = (asked.strategy, asked.is_paused);
            shift.advance(&shift::Seen { strategy, is_whole, is_paused, now_ms: seen.now_ms });
        }
    }

    /// The first of its alarms that is in `ALARM` and was not when it began.
    fn raised<'a>(&self, asked: &Asked<'a>) -> Option<&'a Name> {
        asked.raised.iter().find(|alarm| !self.unwatched.contains(alarm))
    }

    /// Counts the tasks of its revision that failed and were not counted yet; a task that succeeded after all of them makes
    /// them forgotten.
    fn count(&mut self, seen: &Seen<'_>) {
        // Where the clock was put back, what it starts from now on is of it all the same.
        self.began_at_ms = self.began_at_ms.min(seen.now_ms);
        self.failed_at_ms = self.failed_at_ms.min(seen.now_ms);
        let known: BTreeSet<TaskId> = self.counted.iter().copied().collect();
        let failed = seen.tasks.iter().copied().filter(|task| self.has_failed(task, seen.now_ms));
        let failed: Vec<&Task> = failed.collect();
        let news = failed.iter().filter(|task| !known.contains(&task.id)).count();
        if seen.tasks.iter().any(|task| self.has_succeeded(task, seen)) {
            self.failed_tasks = 0;
        }
        if news > 0 {
            self.failed_tasks = self.failed_tasks.saturating_add(u32::try_from(news).unwrap_or(u32::MAX));
            self.failed_at_ms = seen.now_ms;
        }
        self.counted = failed.into_iter().map(|task| task.id).collect();
        self.counted.sort_unstable();
    }

    /// Whether a task's end speaks against its revision: not if it ran well first, nor if it was lost with its worker or its
    /// node.
    fn has_failed(&self, task: &Task, now_ms: u64) -> bool {
        let is_lost = |code: StopCode| matches!(code, StopCode::WorkerLost | StopCode::NodeLost);
        let failed = |stop: &StoppedReason| ended_by_itself(stop.code) && !is_lost(stop.code);
        let ran_well = ran_well(task, task.stopped_at_ms.unwrap_or(now_ms));
        self.is_of(task) && task.stop.as_ref().is_some_and(failed) && !ran_well
    }

    /// Whether a task speaks for its revision, since the last failure: it serves. A program that runs may still end at
    /// once, so it must have run well.
    fn has_succeeded(&self, task: &Task, seen: &Seen<'_>) -> bool {
        let serves = self.is_of(task) && task.stop.is_none() && seen.known.is_proven(task, seen.now_ms);
        let since_failure = task.ready_at_ms.is_some_and(|at_ms| at_ms > self.failed_at_ms);
        let is_lasting = seen.known.kind.is_some_and(Kind::is_called) || ran_well(task, seen.now_ms);
        serves && since_failure && is_lasting
    }

    /// Whether a task was started by it, as far as can be told.
    fn is_of(&self, task: &Task) -> bool {
        task.definition == self.definition && task.created_at_ms >= self.began_at_ms
    }

    fn settle(&mut self, state: RolloutState, reason: String, now_ms: u64) {
        self.state = state;
        self.reason = reason;
        self.changed_at_ms = now_ms;
        self.is_paused = false;
        self.shift = match state {
            // Its tasks stay as they are, and no request goes there.
            RolloutState::Failed => self.shift.take().and_then(Shift::back),
            RolloutState::InProgress | RolloutState::Completed => None,
        };
    }
}

/// The rollout of a service from here on, given what was noted of it before.
pub fn next(before: Option<&Rollout>, asked: &Asked<'_>, seen: &Seen<'_>) -> Rollout {
    match before {
        Some(rollout) if rollout.for_ == asked.deployment => judged(rollout.clone(), asked, seen),
        before => {
            let mut rollout = Rollout::begin(before, asked, seen.now_ms);
            rollout.shift = rollout.shift_that_begins(asked, seen);
            judged(rollout, asked, seen)
        }
    }
}

fn judged(mut rollout: Rollout, asked: &Asked<'_>, seen: &Seen<'_>) -> Rollout {
    if rollout.state == RolloutState::InProgress {
        rollout.count(seen);
        rollout.is_paused = asked.is_paused && rollout.rolled_back_from.is_none();
    }
    match verdict(&rollout, asked, seen) {
        Verdict::GoOn => {
            let stage = rollout.stage();
            rollout.advance(asked, seen);
            if rollout.stage() != stage {
                // Where nothing of the revision before runs any more, there is nothing to see off.
                return judged(rollout, asked, seen);
            }
        }
        Verdict::Complete => {
            let says_why = rollout.rolled_back_from.is_some();
            let reason = if says_why { rollout.reason.clone() } else { String::new() };
            rollout.settle(RolloutState::Completed, reason, seen.now_ms);
        }
        Verdict::RollBack { reason } => {
            if let Some(to) = rollout.completed.clone() {
                // Where all of it runs, it has nothing to do.
                return judged(rollout.back(to, reason, seen), asked, seen);
            }
        }
        Verdict::Fail { reason } => rollout.settle(RolloutState::Failed, reason, seen.now_ms),
    }
    rollout
}

/// What is to become of a rollout whose failures are counted.
pub fn verdict(rollout: &Rollout, asked: &Asked<'_>, seen: &Seen<'_>) -> Verdict {
    // One that rolls back has nothing to go back to.
    let is_judged = rollout.rolled_back_from.is_none();
    let in_progress = rollout.state == RolloutState::InProgress;
    let can_go_back = seen.can_go_back && rollout.completed.is_some();
    let threshold = threshold(asked.desired);
    if rollout.state == RolloutState::Completed {
        Verdict::GoOn
    } else if is_judged && asked.is_aborted {
        match (can_go_back, in_progress) {
            (true, _) => Verdict::RollBack { reason: "its user aborted it".to_owned() },
            (false, true) => Verdict::Fail { reason: format!("its user aborted it; {NOTHING_BEFORE}") },
            (false, false) => Verdict::GoOn,
        }
    } else if is_judged
        && in_progress
        && rollout.stage() != Some(Stage::CleanUp)
        && let Some(alarm) = rollout.raised(asked)
    {
        let reason = format!("the alarm {alarm} is in ALARM");
        match asked.circuit_breaker {
            CircuitBreaker::Stop => Verdict::Fail { reason },
            CircuitBreaker::Off | CircuitBreaker::RollBack if can_go_back => Verdict::RollBack { reason },
            CircuitBreaker::Off | CircuitBreaker::RollBack => {
                Verdict::Fail { reason: format!("{reason}; {NOTHING_BEFORE}") }
            }
        }
    } else if in_progress
        && rollout.stage() != Some(Stage::Forward)
        && (seen.is_complete)(&rollout.definition)
    {
        Verdict::Complete
    } else if is_judged && in_progress && !asked.is_paused && rollout.failed_tasks >= threshold {
        let reason = tripped(rollout, seen);
        match asked.circuit_breaker {
            CircuitBreaker::Off => Verdict::GoOn,
            CircuitBreaker::Stop => Verdict::Fail { reason },
            CircuitBreaker::RollBack if can_go_back => Verdict::RollBack { reason },
            CircuitBreaker::RollBack => Verdict::Fail { reason: format!("{reason}; {NOTHING_BEFORE}") },
        }
    } else {
        Verdict::GoOn
    }
}

/// The end of the reason of a rollout that is given up without another in its stead.
const NOTHING_BEFORE: &str = "there is no revision to roll back to that completed before";

/// Why the circuit breaker gave a rollout up, by the failure that came last.
fn tripped(rollout: &Rollout, seen: &Seen<'_>) -> String {
    let failed = seen.tasks.iter().filter(|task| rollout.has_failed(task, seen.now_ms));
    let last = failed.max_by_key(|task| (task.stopped_at_ms.unwrap_or(seen.now_ms), task.id));
    let last = last.and_then(|task| Some((task, task.stop.as_ref()?)));
    let why = last.map(|(task, stop)| format!(", the last of them {} ({stop})", task.id.short()));
    format!("{} of its tasks failed{}", rollout.failed_tasks, why.unwrap_or_default())
}

#[cfg(test)]
mod tests;
