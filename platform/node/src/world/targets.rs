//! Which targets a target group has, and what leads to it: for whoever asks how they are.
//!
//! A task is a target while it is in its service's route, and is leaving from then on until it is ended here. Which addresses
//! are leaving is known by their meters ([`crate::meters`]). It deliberately does not know how any of them is, which is in
//! the ledger.

use super::World;
use skiff_plan::target_use::{User, Uses};
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::snapshot::{Route, Target};
use skiff_types::{QualifiedName, TargetGroupSpec, TaskId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What leads to whom, and who is on its way out.
#[derive(Debug, Default)]
pub(super) struct Leading {
    uses: Uses,
    /// By service, the tasks that were in its route and are not ended yet.
    leaving: HashMap<QualifiedName, BTreeSet<TaskId>>,
}

/// The targets of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Whether they are checked.
    pub(crate) are_checked: bool,
    /// Whether anything leads to the group.
    pub(crate) are_used: bool,
    pub(crate) present: Vec<Place>,
    /// Those that only finish what they have.
    pub(crate) leaving: Vec<Place>,
}

/// A target, and where in the ledger it is spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Task {
        task: TaskId,
        slot: u32,
    },
    Address {
        address: Arc<str>,
        /// None if the node has more to account for than there are meters.
        meter: Option<u32>,
    },
}

impl Targets {
    /// With these addresses, which have left, each with its meter; but who is there again is not leaving.
    pub(crate) fn and_leaving(mut self, mut addresses: BTreeMap<Arc<str>, u32>) -> Self {
        for place in &self.present {
            if let Place::Address { address, .. } = place {
                addresses.remove(address);
            }
        }
        let place = |(address, meter)| Place::Address { address, meter: Some(meter) };
        self.leaving.extend(addresses.into_iter().map(place));
        self
    }
}

impl Leading {
    /// Somebody leads elsewhere, or a group is another one.
    pub(super) fn note(&mut self, change: &BalancerChange) {
        for group in &change.groups {
            self.uses.set_group(group);
        }
        for group in &change.dissolved {
            self.uses.remove_group(group);
        }
        for listener in &change.listeners {
            self.uses.set_user(User::Listener(listener.name.clone()), Some(&listener.default_action));
        }
        for rule in &change.rules {
            self.uses.set_user(User::Rule(rule.name.clone()), Some(&rule.action));
        }
        for rule in &change.dropped {
            self.uses.set_user(User::Rule(rule.clone()), None);
        }
        for listener in &change.closed {
            self.uses.set_user(User::Listener(listener.clone()), None);
        }
    }

    /// A task is ended.
    pub(super) fn end(&mut self, owner: &QualifiedName, task: TaskId) {
        if let Some(leaving) = self.leaving.get_mut(owner) {
            leaving.remove(&task);
            if leaving.is_empty() {
                self.leaving.remove(owner);
            }
        }
    }
}

impl World {
    /// The targets of a group, or of the one that a service is; none if there is neither.
    pub(crate) fn targets(&self, name: &QualifiedName) -> Targets {
        let spec = self.balancer.group(name);
        let service = match spec.map(|spec| &spec.targets) {
            None => name,
            Some(skiff_types::Targets::Service(service)) => service,
            Some(skiff_types::Targets::Virtual(addresses)) => {
                return self.addresses(spec, name, addresses.iter().map(|at| at.to_string().into()));
            }
            Some(skiff_types::Targets::Outside(hosts)) => {
                return self.addresses(spec, name, hosts.iter().map(|host| host.to_string().into()));
            }
        };
        let own = self.balancer.group(service).filter(|spec| spec.is_of_own_service());
        let route = self.routes.get(service);
        let is_routed = route.is_some_and(|route| !route.hosts.is_empty() || !route.listen.is_empty());
        let targets = route.into_iter().flat_map(|route| &route.targets);
        let leaving = self.leading.leaving.get(service).into_iter().flatten();
        let still_runs = |task: &&TaskId| !self.ended.contains(*task);
        Targets {
            are_checked: own.is_some_and(|spec| spec.health_check.is_some()),
            are_used: self.leading.uses.is_used(name, is_routed),
            present: targets.map(|target| Place::Task { task: target.task, slot: target.slot }).collect(),
            leaving: leaving.filter(still_runs).filter_map(|task| self.place_of(*task)).collect(),
        }
    }

    fn addresses(
        &self,
        spec: Option<&TargetGroupSpec>,
        name: &QualifiedName,
        addresses: impl Iterator<Item = Arc<str>>,
    ) -> Targets {
        let place = |address: Arc<str>| {
            let metered = Metered::Target { group: name.clone(), target: address.clone() };
            Place::Address { address, meter: self.balancer.meter_slot(&metered) }
        };
        Targets {
            are_checked: spec.is_some_and(|spec| spec.health_check.is_some()),
            are_used: self.leading.uses.is_used(name, false),
            present: addresses.map(place).collect(),
            leaving: Vec::new(),
        }
    }

    fn place_of(&self, task: TaskId) -> Option<Place> {
        self.assignments.get(&task).map(|assignment| Place::Task { task, slot: assignment.slot })
    }

    /// A service has these targets now, after those of another route.
    pub(super) fn note_leaving(&mut self, service: &QualifiedName, before: Option<&Route>, now: &[Target]) {
        let stays: BTreeSet<TaskId> = now.iter().map(|target| target.task).collect();
        let left = before.into_iter().flat_map(|route| &route.targets).map(|target| target.task);
        let left: Vec<TaskId> = left.filter(|task| !stays.contains(task) && self.has(*task)).collect();
        if left.is_empty() && !self.leading.leaving.contains_key(service) {
            return;
        }
        let leaving = self.leading.leaving.entry(service.clone()).or_default();
        leaving.extend(left);
        leaving.retain(|task| !stays.contains(task));
        if leaving.is_empty() {
            self.leading.leaving.remove(service);
        }
    }
}
