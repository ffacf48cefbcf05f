//! One node: its books, its workers, and what programs do in them.

use super::{Behaviour, Cluster, End, Happening, Marks, Seat, State, WORKERS};
use crate::options::Sabotage;
use skiff_ledger::Ledger;
use skiff_node::Desk;
use skiff_ports::runtime::{DesiredChange, TaskEvent};
use skiff_ports::snapshot::{Route, Version};
use skiff_types::{Kind, NodeId, NodeSpec, QualifiedName, StopCode, StoppedReason, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// From an applied change to its acknowledgement, and from a program's start to the word of it, in milliseconds at most.
const SPEAK_MOST_MS: u64 = 5;
/// Until a daemon that is never healthy is found to be so, in milliseconds.
const SICK_AFTER_MS: u64 = 800;
/// Until a worker that died is there again, in milliseconds.
const REVIVE_MS: u64 = 80;
/// Where responses are counted that are good, and such with a status of 500 and above.
const CLASS_GOOD: usize = 0;
const CLASS_ERROR: usize = 3;

/// A node.
pub(super) struct Node {
    pub(super) spec: NodeSpec,
    pub(super) zone: u32,
    pub(super) desk: Desk,
    /// Changes that were not acknowledged.
    pub(super) marks: Marks,
    pub(super) workers: [Worker; WORKERS],
    /// Until when nothing gets through to it or from it, in milliseconds.
    pub(super) cut_off_until_ms: u64,
    /// Tasks whose programs ended by themselves: requests to them fail by a fault.
    pub(super) crashed: BTreeSet<TaskId>,
}

/// A worker.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) incarnation: u32,
    pub(super) is_dead: bool,
    is_told: bool,
    /// What it says that it acts on; 0 for nothing yet.
    acts_on: Version,
    pub(super) tasks: BTreeMap<TaskId, Running>,
    pub(super) routes: BTreeMap<QualifiedName, Arc<Route>>,
    /// Requests that it has sent on and that were not answered, by task.
    pub(super) open: BTreeMap<TaskId, u64>,
}

/// A task in a worker.
pub(super) struct Running {
    life: u32,
    behaviour: Behaviour,
    pub(super) is_http: bool,
    pub(super) runs: bool,
    /// Its program ended by itself; the worker has not been told yet to let go of it.
    has_ended: bool,
}

impl Node {
    pub(super) fn new(spec: NodeSpec, zone: u32) -> Self {
        let (ledger, _) = Ledger::create(WORKERS).expect("the machine has memory for a ledger");
        Self {
            spec,
            zone,
            desk: Desk::new(ledger),
            marks: Marks::new(),
            workers: Default::default(),
            cut_off_until_ms: 0,
            crashed: BTreeSet::new(),
        }
    }

    /// The worker at this seat, unless it has died since, or is dead.
    fn worker(&mut self, seat: &Seat) -> Option<&mut Worker> {
        let worker = self.workers.get_mut(seat.worker)?;
        (worker.incarnation == seat.incarnation && !worker.is_dead).then_some(worker)
    }

    /// The version that every living worker acts on.
    fn acknowledged(&self) -> Option<Version> {
        self.workers.iter().filter(|worker| !worker.is_dead).map(|worker| worker.acts_on).min()
    }

    /// A request of a worker to a task was answered.
    pub(super) fn answered(&mut self, worker: usize, incarnation: u32, task: TaskId, counts: bool) {
        let sender = &mut self.workers[worker];
        let errs = sender.tasks.get(&task).is_some_and(|running| running.behaviour.end == End::Errs);
        let Some(open) = sender.open.get_mut(&task).filter(|_| sender.incarnation == incarnation) else {
            return;
        };
        *open -= 1;
        if *open == 0 {
            sender.open.remove(&task);
        }
        if let Some(slot) = self.desk.slot(task) {
            let slot = self.desk.ledger().task(slot);
            let row = slot.row(worker);
            row.in_flight.subtract(1);
            if counts {
                row.responses[if errs { CLASS_ERROR } else { CLASS_GOOD }].add(1);
            }
        }
    }

    /// The tasks that run here, by what its workers do.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.workers.iter().flat_map(|worker| worker.tasks.keys().copied())
    }
}

impl Cluster {
    /// Takes a change into a node's books, as part of a version of the cluster.
    pub(super) fn assign_to(&self, state: &mut State, id: &NodeId, change: DesiredChange, now_ms: u64) {
        let version = state.version;
        let Some(node) = state.nodes.get_mut(id) else { return };
        let (local, refused) = node.desk.assign(change);
        node.marks.push_back((local, version));
        refused.into_iter().for_each(|event| self.hear(state, event));
        (0..WORKERS).for_each(|worker| self.tell_soon(state, id, worker, now_ms));
    }

    /// Has a worker hear of what there is, unless that is under way.
    fn tell_soon(&self, state: &mut State, node: &NodeId, worker: usize, now_ms: u64) {
        let (life, most_ms) = (state.life, state.tell_most_ms);
        let Some(found) = state.nodes.get_mut(node) else { return };
        let told = &mut found.workers[worker];
        if told.is_dead || std::mem::replace(&mut told.is_told, true) {
            return;
        }
        let seat = Seat { life, node: node.clone(), worker, incarnation: told.incarnation };
        let after_ms = self.dice.number(1..=most_ms);
        self.later(state, now_ms, after_ms, Happening::Tell(seat));
    }

    /// Whether a node can't be heard of now: then what happened there is heard of once it can.
    fn is_cut_off(&self, state: &mut State, happening: Happening, seat: &Seat, now_ms: u64) -> bool {
        let until_ms = state.nodes.get(&seat.node).map_or(0, |node| node.cut_off_until_ms);
        let is_cut_off = until_ms > now_ms;
        if is_cut_off {
            self.later(state, now_ms, until_ms - now_ms, happening);
        }
        is_cut_off
    }

    pub(super) fn tell(&self, state: &mut State, seat: Seat, now_ms: u64) {
        if seat.life != state.life || self.is_cut_off(state, Happening::Tell(seat.clone()), &seat, now_ms) {
            return;
        }
        let Some(node) = state.nodes.get_mut(&seat.node) else { return };
        let Some(worker) = node.worker(&seat) else { return };
        worker.is_told = false;
        let difference = node.desk.difference(seat.worker);
        let version = difference.version;
        let mut starting = Vec::new();
        let mut assignments = difference.assignments;
        assignments.sort_by_key(|assignment| assignment.task);
        let Some(worker) = node.workers.get_mut(seat.worker) else { return };
        for assignment in assignments {
            let Some(behaviour) = state.behaviours.get(&assignment.spec.program).copied() else { continue };
            let is_http = assignment.spec.kind == Kind::Http;
            let running =
                Running { life: assignment.life, behaviour, is_http, runs: is_http, has_ended: false };
            if worker.tasks.insert(assignment.task, running).is_none() && !is_http {
                starting.push((assignment.task, behaviour.start_ms));
            }
        }
        for route in difference.routes {
            worker.routes.insert(route.service.clone(), route);
        }
        for service in &difference.withdrawn {
            worker.routes.remove(service);
        }
        let mut cut = Vec::new();
        for task in difference.ended {
            if self.sabotage == Some(Sabotage::Undead) {
                continue;
            }
            worker.tasks.remove(&task);
            let is_cut =
                worker.open.contains_key(&task) && !node.crashed.contains(&task) && !self.clock.hurries();
            cut.extend(is_cut.then_some(task));
        }
        for task in cut {
            self.checker.violated(format_args!("requests to {task} were cut on {}", seat.node));
        }
        for (task, start_ms) in starting {
            self.later(state, now_ms, start_ms, Happening::Starts(seat.clone(), task));
        }
        let after_ms = self.dice.number(0..=SPEAK_MOST_MS);
        self.later(state, now_ms, after_ms, Happening::Acknowledge(seat, version));
    }

    pub(super) fn acknowledge(&self, state: &mut State, seat: Seat, version: Version, now_ms: u64) {
        let again = Happening::Acknowledge(seat.clone(), version);
        if seat.life != state.life || self.is_cut_off(state, again, &seat, now_ms) {
            return;
        }
        let Some(node) = state.nodes.get_mut(&seat.node) else { return };
        let Some(worker) = node.worker(&seat) else { return };
        worker.acts_on = worker.acts_on.max(version);
        self.acknowledged_by(state, &seat.node);
        // Something may have changed since it was told.
        let behind = state.nodes.get(&seat.node).is_some_and(|node| node.desk.version() > version);
        if behind {
            self.tell_soon(state, &seat.node, seat.worker, now_ms);
        }
    }

    /// A worker of a node acknowledged something, or died.
    pub(super) fn acknowledged_by(&self, state: &mut State, node: &NodeId) {
        let Some(node) = state.nodes.get_mut(node) else { return };
        if let Some(version) = node.acknowledged() {
            node.desk.acknowledged(version);
            while node.marks.front().is_some_and(|(local, _)| *local <= version) {
                node.marks.pop_front();
            }
        }
        self.acknowledged.rise();
    }

    pub(super) fn start(&self, state: &mut State, seat: Seat, task: TaskId, now_ms: u64) {
        let again = Happening::Starts(seat.clone(), task);
        if seat.life != state.life || self.is_cut_off(state, again, &seat, now_ms) {
            return;
        }
        let Some(node) = state.nodes.get_mut(&seat.node) else { return };
        let Some(running) = node.worker(&seat).and_then(|worker| worker.tasks.get_mut(&task)) else { return };
        if std::mem::replace(&mut running.runs, true) {
            return;
        }
        let (behaviour, life) = (running.behaviour, running.life);
        let is_job = matches!(behaviour.end, End::Exits { .. });
        if self.sabotage == Some(Sabotage::Twins) && is_job {
            let twin = Running { life, behaviour, is_http: false, runs: true, has_ended: false };
            node.workers[WORKERS - 1 - seat.worker].tasks.insert(task, twin);
        }
        self.check_alone(state, task);
        self.hear(state, TaskEvent::Started { task, life });
        let next = match behaviour.end {
            End::AtOnce => Some((1, Happening::Crashes(seat, task))),
            End::NeverHealthy => Some((SICK_AFTER_MS, Happening::Checked(seat, task, false))),
            End::Exits { .. } => Some((behaviour.healthy_ms, Happening::Exits(seat, task, life))),
            End::None | End::Errs if self.sabotage == Some(Sabotage::NoHealth) => None,
            End::None | End::Errs => Some((behaviour.healthy_ms, Happening::Checked(seat, task, true))),
        };
        if let Some((after_ms, happening)) = next {
            self.later(state, now_ms, after_ms, happening);
        }
    }

    pub(super) fn check(&self, state: &mut State, seat: Seat, task: TaskId, healthy: bool, now_ms: u64) {
        let again = Happening::Checked(seat.clone(), task, healthy);
        if seat.life != state.life || self.is_cut_off(state, again, &seat, now_ms) {
            return;
        }
        let Some(node) = state.nodes.get_mut(&seat.node) else { return };
        let Some(running) = node.worker(&seat).and_then(|worker| worker.tasks.get_mut(&task)) else { return };
        let life = running.life;
        let reason = if healthy { String::new() } else { "nobody listens at its port".to_owned() };
        self.hear(state, TaskEvent::Health { task, life, healthy, reason });
        if self.sabotage == Some(Sabotage::Flapping) {
            let after_ms = if healthy { 7_000 } else { 50 };
            self.later(state, now_ms, after_ms, Happening::Checked(seat, task, !healthy));
        }
    }

    /// A program ends by itself.
    pub(super) fn crash(&self, state: &mut State, seat: &Seat, task: TaskId, now_ms: u64) {
        let again = Happening::Crashes(seat.clone(), task);
        if seat.life != state.life || self.is_cut_off(state, again, seat, now_ms) {
            return;
        }
        let reason = StoppedReason { code: StopCode::Trapped, message: "it trapped".to_owned() };
        self.end_program(state, seat, task, (1, reason), now_ms);
    }

    /// A program has run to its end, in this life of its task.
    pub(super) fn exit(&self, state: &mut State, seat: &Seat, task: TaskId, life: u32, now_ms: u64) {
        let again = Happening::Exits(seat.clone(), task, life);
        if seat.life != state.life || self.is_cut_off(state, again, seat, now_ms) {
            return;
        }
        let Some(node) = state.nodes.get_mut(&seat.node) else { return };
        let Some(running) = node.worker(seat).and_then(|worker| worker.tasks.get(&task)) else { return };
        // It may have ended another way, and have begun anew.
        if running.life != life {
            return;
        }
        let has_failed = matches!(running.behaviour.end, End::Exits { in_life } if life < in_life);
        let exit_code = i32::from(has_failed);
        let message = format!("its program exited with {exit_code}");
        let reason = StoppedReason { code: StopCode::Exited, message };
        self.end_program(state, seat, task, (exit_code, reason), now_ms);
    }

    /// A program ended by itself: its node says so, if it was to run still.
    fn end_program(
        &self,
        state: &mut State,
        seat: &Seat,
        task: TaskId,
        (exit_code, reason): (i32, StoppedReason),
        now_ms: u64,
    ) {
        let Some(node) = state.nodes.get_mut(&seat.node) else { return };
        let Some(running) = node.worker(seat).and_then(|worker| worker.tasks.get_mut(&task)) else { return };
        running.has_ended = true;
        let life = running.life;
        if !node.desk.has_ended(task, life) {
            return;
        }
        node.crashed.insert(task);
        self.hear(state, TaskEvent::Ended { task, life, exit_code: Some(exit_code), reason });
        (0..WORKERS).for_each(|worker| self.tell_soon(state, &seat.node, worker, now_ms));
    }

    /// No program of a task runs twice at once, be it in two of its lives.
    fn check_alone(&self, state: &State, task: TaskId) {
        let is_its = |running: &Running| running.runs && !running.is_http && !running.has_ended;
        let workers = state.nodes.values().flat_map(|node| &node.workers);
        let count = workers.filter(|worker| worker.tasks.get(&task).is_some_and(is_its)).count();
        if count > 1 {
            self.checker.violated(format_args!("the program of {task} runs {count} times at once"));
        }
    }

    /// A worker dies with all that lives there alone; another takes its place.
    pub(super) fn kill_worker(&self, state: &mut State, id: &NodeId, worker: usize, now_ms: u64) {
        let life = state.life;
        let Some(node) = state.nodes.get_mut(id).filter(|node| !node.workers[worker].is_dead) else { return };
        let incarnation = node.workers[worker].incarnation + 1;
        node.workers[worker] = Worker { incarnation, is_dead: true, ..Worker::default() };
        let mut residents = node.desk.worker_died(worker);
        residents.sort_unstable();
        residents.retain(|(task, life)| node.desk.has_ended(*task, *life));
        node.crashed.extend(residents.iter().map(|(task, _)| *task));
        for (task, life) in residents {
            let message = format!("worker {worker}, the process it ran in, died");
            let reason = StoppedReason { code: StopCode::WorkerLost, message };
            self.hear(state, TaskEvent::Ended { task, life, exit_code: None, reason });
        }
        self.acknowledged_by(state, id);
        let seat = Seat { life, node: id.clone(), worker, incarnation };
        self.later(state, now_ms, REVIVE_MS, Happening::Revives(seat));
        (0..WORKERS).for_each(|worker| self.tell_soon(state, id, worker, now_ms));
    }

    pub(super) fn revive(&self, state: &mut State, seat: Seat, now_ms: u64) {
        if seat.life != state.life {
            return;
        }
        if let Some(node) = state.nodes.get_mut(&seat.node) {
            node.workers[seat.worker].is_dead = false;
        }
        self.tell_soon(state, &seat.node, seat.worker, now_ms);
    }
}
