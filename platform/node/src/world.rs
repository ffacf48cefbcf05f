//! What the node is to run, and what each of its workers was told of it.
//!
//! Pure bookkeeping: no process, no socket.
//!
//! A worker runs what concerns it, but every worker knows every route, every listener, certificate, rule and target group,
//! every security group and every network interface, and in which worker the task of each lives.
//!
//! A worker is told differences. What changed since it was told last is kept as names alone, so that of a thing that
//! changed often only the newest is told, and a slow worker makes nothing grow beyond what there is to name.

mod balancer;
mod targets;

pub(crate) use targets::{Place, Targets};

use balancer::{Balancer, Named};
use skiff_ports::balancer::BalancerChange;
use skiff_ports::network::{GroupRules, NetworkChange, NetworkInterface};
use skiff_ports::runtime::{DesiredInterface, NetworkDesired};
use skiff_ports::snapshot::{Assignment, Difference, Route, Version};
use skiff_types::{CpuUnits, Kind, Namespace, QualifiedName, Rule, TaskAddress, TaskId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use targets::Leading;

/// One version of what the node is to run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) version: Version,
    assignments: HashMap<TaskId, Assignment>,
    routes: HashMap<QualifiedName, Arc<Route>>,
    balancer: Balancer,
    /// What leads to whom, and who is on its way out.
    leading: Leading,
    /// What each security group allows.
    groups: HashMap<QualifiedName, Vec<Rule>>,
    /// The network interfaces of assigned tasks, as far as they don't follow from their assignments.
    interfaces: HashMap<TaskId, DesiredInterface>,
    /// Where each `command` task lives.
    homes: HashMap<TaskId, Home>,
    /// CPU units of the `command` tasks that live in each worker and have not ended.
    units: Vec<u64>,
    /// Assigned tasks that have ended by themselves: none is started again before it ended here and is assigned anew.
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
    /// Listeners, certificates, rules and target groups that changed since then.
    balancer: Named,
    /// Security groups that changed since then.
    groups: BTreeSet<QualifiedName>,
    /// Tasks whose network interfaces changed since then.
    interfaces: BTreeSet<TaskId>,
}

impl World {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            version: 0,
            assignments: HashMap::new(),
            routes: HashMap::new(),
            balancer: Balancer::default(),
            leading: Leading::default(),
            groups: HashMap::new(),
            interfaces: HashMap::new(),
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

    /// Of which namespace a task is that is here.
    pub(crate) fn namespace(&self, task: TaskId) -> Option<&Namespace> {
        self.assignments.get(&task).map(|assignment| &assignment.owner.namespace)
    }

    /// Which of its lives a task that is here is in.
    pub(crate) fn life(&self, task: TaskId) -> Option<u32> {
        self.assignments.get(&task).map(|assignment| assignment.life)
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

    /// Runs a task no more; its network interface goes with it.
    pub(crate) fn end(&mut self, task: TaskId) {
        self.note_task(task);
        self.leave(task);
        if let Some(assignment) = self.assignments.remove(&task) {
            self.leading.end(&assignment.owner, task);
        }
        let had_ended = self.ended.remove(&task);
        if let Some(home) = self.homes.remove(&task)
            && !had_ended
        {
            self.units[home.worker] -= u64::from(home.cpu.get());
        }
    }

    /// A task ended by itself, and its network interface is gone; false if that was known.
    pub(crate) fn has_ended(&mut self, task: TaskId) -> bool {
        if !self.has(task) {
            return true;
        }
        self.note_task(task);
        if self.interfaces.contains_key(&task) {
            self.note_interface(task);
        }
        let is_news = self.ended.insert(task);
        if let Some(home) = self.homes.get(&task)
            && is_news
        {
            self.units[home.worker] -= u64::from(home.cpu.get());
        }
        is_news
    }

    /// A task ended by itself in one of its lives, as a version of its own if it is here; false if that was known, or it lives
    /// anew since.
    pub(crate) fn take_in_end(&mut self, task: TaskId, life: u32) -> bool {
        let here = self.life(task);
        if here.is_some_and(|here| here != life) || !self.has_ended(task) {
            return false;
        }
        self.version += Version::from(here.is_some());
        true
    }

    /// Sends requests where the route says.
    pub(crate) fn route(&mut self, route: Route) {
        self.note_route(&route.service);
        let (service, route) = (route.service.clone(), Arc::new(route));
        let before = self.routes.insert(service.clone(), route.clone());
        self.note_leaving(&service, before.as_deref(), &route.targets);
    }

    /// Sends a service no more requests.
    pub(crate) fn withdraw(&mut self, service: &QualifiedName) {
        self.note_route(service);
        let before = self.routes.remove(service);
        self.note_leaving(service, before.as_deref(), &[]);
    }

    /// Changes listeners, certificates, rules and target groups.
    pub(crate) fn balance(&mut self, change: BalancerChange) {
        for told in self.told.iter_mut().filter(|told| told.version > 0) {
            told.balancer.note(&change);
        }
        self.leading.note(&change);
        self.balancer.take_in(change);
    }

    /// Changes groups and interfaces. One of a task that is not here is left out.
    pub(crate) fn connect(&mut self, network: NetworkDesired) {
        let NetworkDesired { groups, dissolved, interfaces } = network;
        for GroupRules { group, rules } in groups {
            self.note_group(&group);
            self.groups.insert(group, rules);
        }
        for group in dissolved {
            self.note_group(&group);
            self.groups.remove(&group);
        }
        for interface in interfaces {
            if self.has(interface.task) {
                self.note_interface(interface.task);
                self.interfaces.insert(interface.task, interface);
            }
        }
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
            difference.balancer = self.balancer.whole();
            difference.network.groups = self.groups.keys().filter_map(|group| self.group(group)).collect();
            difference.network.interfaces =
                self.interfaces.keys().filter_map(|task| self.interface(*task)).collect();
            return difference;
        }
        difference.network = self.network_difference(before.groups, before.interfaces);
        difference.balancer = self.balancer.difference(before.balancer);
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

    fn network_difference(
        &self,
        groups: BTreeSet<QualifiedName>,
        interfaces: BTreeSet<TaskId>,
    ) -> NetworkChange {
        let mut change = NetworkChange::default();
        for group in groups {
            match self.group(&group) {
                Some(group) => change.groups.push(group),
                None => change.dissolved.push(group),
            }
        }
        for task in interfaces {
            match self.interface(task) {
                Some(interface) => change.interfaces.push(interface),
                None => change.left.push(task),
            }
        }
        change
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

    /// The addresses of a task that has a network interface.
    pub(crate) fn address(&self, task: TaskId) -> Option<TaskAddress> {
        self.interfaces.get(&task).map(|interface| interface.address)
    }

    /// The port of a daemon that is here.
    pub(crate) fn daemon_port(&self, task: TaskId) -> Option<u16> {
        self.assignments.get(&task)?.spec.port
    }

    /// Which worker a task lives in; `None` if in every one, or if it is not here.
    pub(crate) fn home(&self, task: TaskId) -> Option<usize> {
        self.homes.get(&task).map(|home| home.worker)
    }

    fn group(&self, group: &QualifiedName) -> Option<GroupRules> {
        let rules = self.groups.get(group)?.clone();
        Some(GroupRules { group: group.clone(), rules })
    }

    /// A task's network interface, if it has one and has not ended.
    fn interface(&self, task: TaskId) -> Option<NetworkInterface> {
        let DesiredInterface { address, groups, ready, .. } = self.interfaces.get(&task)?;
        let Assignment { owner, in_service, spec, slot, .. } = self.assignments.get(&task)?;
        (!self.ended.contains(&task)).then(|| NetworkInterface {
            task,
            owner: owner.clone(),
            in_service: *in_service,
            kind: spec.kind,
            address: *address,
            groups: groups.clone(),
            home: self.home(task).map(|worker| worker as u32),
            ready: *ready,
            slot: *slot,
            memory_bytes: spec.limits.memory.bytes(),
        })
    }

    /// A task's network interface is gone.
    fn leave(&mut self, task: TaskId) {
        if self.interfaces.remove(&task).is_some() {
            self.note_interface(task);
        }
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

    /// Everybody is to be told what became of a task's interface.
    fn note_interface(&mut self, task: TaskId) {
        for told in self.told.iter_mut().filter(|told| told.version > 0) {
            told.interfaces.insert(task);
        }
    }

    fn note_group(&mut self, group: &QualifiedName) {
        for told in self.told.iter_mut().filter(|told| told.version > 0) {
            told.groups.insert(group.clone());
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
