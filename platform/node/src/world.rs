//! What the node is to run, and what each of its workers was told of it.
//!
//! Pure bookkeeping: no process, no socket.
//!
//! A worker is told differences. What changed since it was told last is kept as names alone, so that of a thing that
//! changed often only the newest is told, and a slow worker makes nothing grow beyond what there is to name.

use skiff_ports::snapshot::{Assignment, Difference, Route, Version};
use skiff_types::{CpuUnits, Kind, QualifiedName, TaskId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// One version of what the node is to run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) version: Version,
    assignments: HashMap<TaskId, Assignment>,
    routes: HashMap<QualifiedName, Arc<Route>>,
    /// Where each `command` task lives.
    homes: HashMap<TaskId, Home>,
    /// CPU units of the `command` tasks that live in each worker and have not ended.
    units: Vec<u64>,
    /// Assigned tasks that have ended by themselves: they are never started again.
    ended: HashSet<TaskId>,
    /// By worker.
    told: Vec<Told>,
}

/// The one worker that a `command` task lives in.
#[derive(Debug, Clone, Copy)]
struct Home {
    worker: usize,
    cpu: CpuUnits,
}

/// What a worker knows.
#[derive(Debug, Default)]
struct Told {
    /// The newest version that it was told; 0 if nothing yet.
    version: Version,
    /// Tasks that came or went since then.
    tasks: BTreeSet<TaskId>,
    /// Services whose routes changed since then.
    routes: BTreeSet<QualifiedName>,
}

impl World {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            version: 0,
            assignments: HashMap::new(),
            routes: HashMap::new(),
            homes: HashMap::new(),
            units: vec![0; workers],
            ended: HashSet::new(),
            told: (0..workers).map(|_| Told::default()).collect(),
        }
    }

    /// Whether a task runs already.
    pub(crate) fn has(&self, task: TaskId) -> bool {
        self.assignments.contains_key(&task)
    }

    /// Runs a task; a `command` task in the worker that has the least to do.
    pub(crate) fn run(&mut self, assignment: Assignment) {
        let task = assignment.task;
        if assignment.spec.kind == Kind::Command {
            let home = Home { worker: self.emptiest(), cpu: assignment.spec.limits.cpu };
            self.units[home.worker] += u64::from(home.cpu.get());
            self.homes.insert(task, home);
        }
        self.assignments.insert(task, assignment);
        self.note_task(task);
    }

    /// Runs a task no more.
    pub(crate) fn end(&mut self, task: TaskId) {
        self.note_task(task);
        self.assignments.remove(&task);
        let had_ended = self.ended.remove(&task);
        if let Some(home) = self.homes.remove(&task)
            && !had_ended
        {
            self.units[home.worker] -= u64::from(home.cpu.get());
        }
    }

    /// A task ended by itself; false if that was known.
    pub(crate) fn has_ended(&mut self, task: TaskId) -> bool {
        if !self.has(task) {
            return true;
        }
        self.note_task(task);
        let is_news = self.ended.insert(task);
        if let Some(home) = self.homes.get(&task)
            && is_news
        {
            self.units[home.worker] -= u64::from(home.cpu.get());
        }
        is_news
    }

    /// Sends requests where the route says.
    pub(crate) fn route(&mut self, route: Route) {
        self.note_route(&route.service);
        self.routes.insert(route.service.clone(), Arc::new(route));
    }

    /// Sends a service no more requests.
    pub(crate) fn withdraw(&mut self, service: &QualifiedName) {
        self.note_route(service);
        self.routes.remove(service);
    }

    /// What a worker must know beyond what it was told before, which from now on it counts as told.
    pub(crate) fn difference(&mut self, worker: usize) -> Difference {
        let before = std::mem::take(&mut self.told[worker]);
        self.told[worker].version = self.version;
        let mut difference =
            Difference { base: before.version, version: self.version, ..Difference::default() };
        if before.version == 0 {
            let concerns = |assignment: &&Assignment| self.concerns(assignment, worker);
            difference.assignments = self.assignments.values().filter(concerns).cloned().collect();
            difference.routes = self.routes.values().cloned().collect();
            return difference;
        }
        for task in before.tasks {
            match self.assignments.get(&task).filter(|assignment| self.concerns(assignment, worker)) {
                Some(assignment) => difference.assignments.push(assignment.clone()),
                None => difference.ended.push(task),
            }
        }
        for service in before.routes {
            match self.routes.get(&service) {
                Some(route) => difference.routes.push(route.clone()),
                None => difference.withdrawn.push(service),
            }
        }
        difference
    }

    /// The worker that was told is gone; its successor knows nothing.
    pub(crate) fn forget(&mut self, worker: usize) {
        self.told[worker] = Told::default();
    }

    /// The `command` tasks that live in a worker and have not ended.
    pub(crate) fn residents(&self, worker: usize) -> Vec<TaskId> {
        let here = |(task, home): (&TaskId, &Home)| {
            (home.worker == worker && !self.ended.contains(task)).then_some(*task)
        };
        self.homes.iter().filter_map(here).collect()
    }

    /// Whether a worker is to run it.
    fn concerns(&self, assignment: &Assignment, worker: usize) -> bool {
        match self.homes.get(&assignment.task) {
            None => true,
            Some(home) => home.worker == worker && !self.ended.contains(&assignment.task),
        }
    }

    /// The worker whose `command` tasks have the fewest CPU units.
    fn emptiest(&self) -> usize {
        let fewest = self.units.iter().enumerate().min_by_key(|(_, units)| **units);
        fewest.map_or(0, |(worker, _)| worker)
    }

    /// Whoever runs the task is to be told what became of it.
    fn note_task(&mut self, task: TaskId) {
        let home = self.homes.get(&task).map(|home| home.worker);
        let runs = |worker: usize| home.is_none_or(|home| home == worker);
        let told = self.told.iter_mut().enumerate();
        for (_, told) in told.filter(|(worker, told)| told.version > 0 && runs(*worker)) {
            told.tasks.insert(task);
        }
    }

    fn note_route(&mut self, service: &QualifiedName) {
        for told in self.told.iter_mut().filter(|told| told.version > 0) {
            told.routes.insert(service.clone());
        }
    }
}

#[cfg(test)]
mod tests;
