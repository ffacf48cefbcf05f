//! What must hold at each step, checked by what is written to the store and by what nodes do. It deliberately does not know how
//! anything is decided: what a service's user said, and which tasks there are, is all that it goes by.
//!
//! A fault may take a service below its minimum. So the promise that is checked is the scheduler's own: it stops no task that
//! serves by which fewer than the minimum would; and for a moment after a task of the service was lost it is not held to that,
//! since it may not have heard of it. What is above the maximum may be so for a moment, too: the end of one task and the start
//! of another are two writes, which may come to the store in any order.

mod runs;
mod services;
mod stream;

use crate::clock::SimClock;
use crate::options::Seen;
use crate::trace::Trace;
use runs::Runs;
use services::{OfService, Progress};
use skiff_control::{Recorded, recorded};
use skiff_plan::rollout::Rollout;
use skiff_ports::store::Key;
use skiff_types::{
    DeploymentConfiguration, Group, Health, QualifiedName, RolloutState, StopCode, Task, TaskAddress, TaskId,
    TaskStatus,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stream::Stream;

/// For how long after a loss, or after its user said something else, a service is not held to its bounds, in milliseconds.
const GRACE_MS: u64 = 5_000;
/// For how long there may be more tasks than the maximum: until what ends and what starts has been written, in milliseconds.
const OVER_MS: u64 = 1_500;
/// Violations that are kept: the first say all.
const VIOLATIONS_MAX: usize = 20;

/// The checks of one simulation.
pub(crate) struct Checker {
    clock: Arc<SimClock>,
    trace: Trace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<TaskId, Task>,
    /// Who has which address.
    addresses: BTreeMap<TaskAddress, TaskId>,
    services: BTreeMap<QualifiedName, OfService>,
    /// What users asked for where that is not what the control plane was told.
    asked: BTreeMap<QualifiedName, DeploymentConfiguration>,
    /// One-off tasks, whether they are kept still or not.
    runs: Runs,
    /// What the stream of events tells of tasks.
    stream: Stream,
    /// Messages that a task said it is done with.
    worked_off: BTreeSet<String>,
    violations: Vec<String>,
    /// Nothing is to be written any more, but by design.
    is_quiet: bool,
    /// Services of which ended tasks were forgotten since all came to rest; what is noted of them forgets those as well.
    forgetful: BTreeSet<QualifiedName>,
    /// Writes that are not by design where nothing changes.
    moves: u64,
    seen: Seen,
}

impl Checker {
    pub(crate) fn new(clock: Arc<SimClock>, trace: Trace) -> Self {
        Self { clock, trace, state: Mutex::default() }
    }

    /// A promise was broken.
    pub(crate) fn violated(&self, what: Arguments<'_>) {
        self.state().violate(&self.trace, self.clock.elapsed_ms(), what);
    }

    /// What was broken.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Whether anything was broken.
    pub(crate) fn is_content(&self) -> bool {
        self.state().violations.is_empty()
    }

    /// How much there was.
    pub(crate) fn seen(&self) -> Seen {
        Seen { elapsed_ms: self.clock.elapsed_ms(), ..self.state().seen }
    }

    /// A service's deployments are held to this, whatever the control plane was told.
    pub(crate) fn hold_to(&self, service: &QualifiedName, configuration: DeploymentConfiguration) {
        self.state().asked.insert(service.clone(), configuration);
    }

    /// A fault may have taken tasks of every service.
    pub(crate) fn disturbed(&self) {
        self.disturbed_for(GRACE_MS);
    }

    /// For so many milliseconds nobody can be held to their bounds, since what they write may come late.
    pub(crate) fn disturbed_for(&self, ms: u64) {
        let until_ms = self.clock.elapsed_ms() + ms;
        self.state().services.values_mut().for_each(|service| service.disturb_until(until_ms));
    }

    /// The control plane died.
    pub(crate) fn died(&self) {
        self.state().seen.deaths += 1;
        self.disturbed();
    }

    /// From now on nothing is to be written but by design; or it may be again.
    pub(crate) fn set_quiet(&self, is_quiet: bool) {
        self.state().is_quiet = is_quiet;
    }

    /// How often something was written that is not by design where nothing changes.
    pub(crate) fn moves(&self) -> u64 {
        self.state().moves
    }

    /// A request was sent to a task.
    pub(crate) fn requested(&self, task: TaskId) {
        let mut state = self.state();
        state.seen.requests += 1;
        let status = state.tasks.get(&task).map(|task| task.status);
        if status.is_none_or(|status| status == TaskStatus::Stopped) {
            let status = status.map_or("gone", TaskStatus::as_str);
            let now_ms = self.clock.elapsed_ms();
            state.violate(&self.trace, now_ms, format_args!("a request to {task}, which is {status}"));
        }
    }

    /// Looks at what must not last.
    pub(crate) fn look(&self) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        let over: Vec<String> = state
            .services
            .iter()
            .filter_map(|(name, service)| Some(format!("{name} {}", service.over_for_too_long(now_ms)?)))
            .collect();
        over.into_iter().for_each(|over| state.violate(&self.trace, now_ms, format_args!("{over}")));
    }

    /// What is not yet as it is to be in the end, of all services: empty once everything has settled.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let state = self.state();
        let mut unsettled = Vec::new();
        for (name, service) in &state.services {
            let tasks: Vec<&Task> = service.tasks.iter().filter_map(|task| state.tasks.get(task)).collect();
            match service.progress(&tasks) {
                Progress::Settled => {}
                Progress::Unsettled(why) => unsettled.push(format!("{name}: {why}")),
            }
        }
        unsettled.extend(state.stream.untold());
        unsettled
    }

    /// The tasks that nodes are to run, by what the store says.
    pub(crate) fn to_run(&self) -> Vec<TaskId> {
        let state = self.state();
        let runs = |task: &&Task| (TaskStatus::Activating..TaskStatus::Deprovisioning).contains(&task.status);
        state.tasks.values().filter(runs).map(|task| task.id).collect()
    }

    /// A key was written, or deleted.
    pub(crate) fn wrote(&self, key: &Key, value: Option<&[u8]>) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        state.seen.writes += 1;
        let was = state.kind_of(key);
        let object = value.map(|value| recorded(key, value));
        if !is_by_design(was, value.is_some()) {
            state.moves += 1;
            if state.is_quiet {
                state.violate(
                    &self.trace,
                    now_ms,
                    format_args!("{key} was written although nothing had changed"),
                );
            }
        }
        self.wrote_what_is_told(&mut state, key, object.as_ref(), now_ms);
        match object {
            None => state.deleted(key),
            Some(None) => {
                state.violate(&self.trace, now_ms, format_args!("what was written to {key} can't be read"));
            }
            Some(Some(Recorded::Task(task))) => self.wrote_task(&mut state, *task, now_ms),
            Some(Some(Recorded::Service(service))) => {
                let configuration = state.asked.get(&service.name).cloned();
                let of_service = state.services.entry(service.name.clone()).or_default();
                of_service.said(*service, configuration, now_ms);
            }
            Some(Some(Recorded::Rollout { service, rollout })) => {
                self.wrote_rollout(&mut state, service, rollout.map(|rollout| *rollout), now_ms);
            }
            Some(Some(Recorded::Other)) => {}
        }
    }

    fn wrote_rollout(
        &self,
        state: &mut State,
        service: QualifiedName,
        rollout: Option<Rollout>,
        now_ms: u64,
    ) {
        let of_service = state.services.entry(service.clone()).or_default();
        let before = std::mem::replace(&mut of_service.rollout, rollout.clone());
        let apart_from_counted = |rollout: &Rollout| Rollout { counted: vec![], ..rollout.clone() };
        if state.is_quiet
            && before.as_ref().map(apart_from_counted) != rollout.as_ref().map(apart_from_counted)
        {
            state.violate(
                &self.trace,
                now_ms,
                format_args!(
                    "{service}: its rollout moved although nothing had changed: {before:?} to {rollout:?}"
                ),
            );
        }
        let word = |rollout: &Rollout| (rollout.id, rollout.state);
        let is_news = before.as_ref().map(word) != rollout.as_ref().map(word);
        let Some(rollout) = rollout else { return };
        let begins = before.as_ref().is_none_or(|before| before.id != rollout.id);
        if is_news {
            match rollout.state {
                RolloutState::Completed => state.seen.completed += 1,
                RolloutState::Failed => state.seen.failed += 1,
                RolloutState::InProgress => {
                    state.seen.failed += u64::from(begins && rollout.rolled_back_from.is_some());
                }
            }
        }
        let same = before.filter(|before| before.for_ == rollout.for_);
        let shift_before = same.and_then(|before| before.shift);
        if let Some(wrong) = services::wrong_shift(shift_before.as_ref(), rollout.shift.as_ref()) {
            state.violate(&self.trace, now_ms, format_args!("{service}: {wrong}"));
        }
    }

    fn wrote_task(&self, state: &mut State, task: Task, now_ms: u64) {
        let before = state.tasks.get(&task.id).cloned();
        if let Some(wrong) = runs::wrong_life(before.as_ref(), &task) {
            state.violate(&self.trace, now_ms, format_args!("{} {wrong}", task.id));
        }
        let name = match &task.group {
            Group::Service(name) => name,
            Group::Family(_) => return self.wrote_run(state, task, now_ms),
        };
        let name = QualifiedName::new(task.namespace.clone(), name.clone());
        self.trace.note(format_args!(
            "task {} of {name}: {} {:?} {:?}",
            task.id,
            task.status,
            task.health,
            task.stop.as_ref().map(|stop| stop.code)
        ));
        self.check_address(state, &task, now_ms);
        let (id, is_new) = (task.id, before.is_none());
        let stops = before.as_ref().is_some_and(|before| before.stop.is_none()) && task.stop.is_some();
        let by_scheduler =
            task.stop.as_ref().is_some_and(|stop| stop.code == StopCode::ServiceSchedulerInitiated);
        let served = before.as_ref().is_some_and(|before| before.is_ready() && before.stop.is_none());
        let is_lost = served && (stops || !task.is_ready()) && !(stops && by_scheduler);
        state.tasks.insert(id, task);
        let State { tasks, services, seen, .. } = state;
        seen.tasks += u64::from(is_new);
        let service = services.entry(name.clone()).or_default();
        service.tasks.insert(id);
        let all: Vec<&Task> = service.tasks.iter().filter_map(|task| tasks.get(task)).collect();
        let is_living = |task: &&&Task| !task.is_stopping() && task.health != Health::Unhealthy;
        let living = all.iter().filter(is_living).count();
        let serving = all.iter().filter(|task| task.is_ready() && task.stop.is_none()).count();
        service.counted(living, now_ms);
        if is_lost {
            service.disturb_until(now_ms + GRACE_MS);
        }
        let least = service.least(now_ms).filter(|least| serving < *least);
        if let Some(least) = least.filter(|_| stops && by_scheduler && served) {
            state.violate(
                &self.trace,
                now_ms,
                format_args!("{name} stopped {id}, and {serving} serve where {least} were to"),
            );
        }
    }

    fn check_address(&self, state: &mut State, task: &Task, now_ms: u64) {
        // One that begins anew elsewhere has another from now on.
        let before = state.tasks.get(&task.id).and_then(|before| before.address);
        if let Some(before) = before.filter(|before| task.address != Some(*before))
            && state.addresses.get(&before) == Some(&task.id)
        {
            state.addresses.remove(&before);
        }
        let Some(address) = task.address else { return };
        if task.status == TaskStatus::Stopped {
            if state.addresses.get(&address) == Some(&task.id) {
                state.addresses.remove(&address);
            }
            return;
        }
        let other = state.addresses.insert(address, task.id).filter(|other| *other != task.id);
        if let Some(other) = other {
            state.violate(
                &self.trace,
                now_ms,
                format_args!("{} has the address {} of {other}", task.id, address.v4),
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies under a key, as far as it matters to what may be written while all is quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// A task that has ended.
    EndedTask,
    /// When addresses came back.
    Released,
    /// What is noted of a service that forgot ended tasks.
    NotesOfForgetful,
    Other,
}

/// What is written although nothing changed: ended tasks are forgotten after a while, in the notes of their services too, and
/// when their addresses came back is noted for as long as that matters.
fn is_by_design(kept: Kept, is_put: bool) -> bool {
    match kept {
        Kept::EndedTask => !is_put,
        Kept::NotesOfForgetful => is_put,
        Kept::Released => true,
        Kept::Other => false,
    }
}

impl State {
    fn violate(&mut self, trace: &Trace, now_ms: u64, what: Arguments<'_>) {
        trace.note(format_args!("VIOLATION: {what}"));
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(format!("at {now_ms} ms: {what}"));
        }
    }

    fn kind_of(&self, key: &Key) -> Kept {
        let is_ended = |task: &Task| task.status == TaskStatus::Stopped;
        let has_ended = |task: TaskId| self.tasks.get(&task).is_some_and(is_ended);
        match key.tokens().next() {
            Some("released") => Kept::Released,
            Some("status") if service_of(key).is_some_and(|service| self.forgetful.contains(&service)) => {
                Kept::NotesOfForgetful
            }
            Some("task") if task_of(key).is_some_and(has_ended) => Kept::EndedTask,
            Some(_) | None => Kept::Other,
        }
    }

    fn deleted(&mut self, key: &Key) {
        if let Some(task) = task_of(key).and_then(|task| self.tasks.remove(&task)) {
            if let Some(address) = task.address
                && self.addresses.get(&address) == Some(&task.id)
            {
                self.addresses.remove(&address);
            }
            for (name, service) in &mut self.services {
                if service.tasks.remove(&task.id) {
                    self.forgetful.insert(name.clone());
                }
            }
        }
        if key.tokens().next() == Some("service")
            && let Some(service) = service_of(key)
        {
            self.services.remove(&service);
        }
    }
}

/// The service that a key is of.
fn service_of(key: &Key) -> Option<QualifiedName> {
    let mut tokens = key.tokens().skip(1);
    let (namespace, name) = tokens.next().zip(tokens.next())?;
    Some(QualifiedName::new(namespace.parse().ok()?, name.parse().ok()?))
}

/// The task that lies under a key.
fn task_of(key: &Key) -> Option<TaskId> {
    let mut tokens = key.tokens();
    let is_task = tokens.next() == Some("task");
    tokens.nth(1).filter(|_| is_task)?.parse().ok()
}
