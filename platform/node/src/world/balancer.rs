//! The load balancer's part of the world: target groups, certificates, listeners and rules, the slots of their meters, and
//! which of them a worker has yet to be told.
//!
//! It deliberately does not look into them, but for the addresses of a target group, each of which has a meter: what a rule
//! means is known where it is carried out. What always holds: whoever is told of a thing is told its meters with it, as far
//! as it has any, and nobody keeps a meter of what is gone.

use skiff_ports::balancer::{BalancerChange, BalancerParts, Metered};
use skiff_types::{Name, QualifiedName, TargetGroupSpec};
use std::collections::{BTreeSet, HashMap};

/// All that there is of them.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    meters: HashMap<Metered, u32>,
    parts: BalancerParts,
}

/// The names of some of them.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) groups: BTreeSet<QualifiedName>,
    pub(super) certificates: BTreeSet<Name>,
    pub(super) listeners: BTreeSet<Name>,
    pub(super) rules: BTreeSet<QualifiedName>,
}

impl Balancer {
    /// Takes a change in.
    pub(super) fn take_in(&mut self, mut change: BalancerChange) {
        // Those of what leaves, and of what addresses leave a group that stays.
        let names = change.groups.iter().map(|group| &group.name).chain(&change.dissolved);
        let groups = names.filter_map(|name| self.parts.groups.get(name));
        let mut unmetered: Vec<Metered> = groups.flat_map(|group| Metered::all_of(group)).collect();
        unmetered.extend(change.dropped.iter().cloned().map(Metered::Rule));
        unmetered.extend(change.closed.iter().cloned().map(Metered::Listener));
        unmetered.retain(|metered| *metered != Metered::built_in_listener());
        for metered in unmetered {
            self.meters.remove(&metered);
        }
        self.meters.extend(std::mem::take(&mut change.meters));
        self.parts.take_in(change);
    }

    /// What who knows nothing is to be told.
    pub(super) fn whole(&self) -> BalancerChange {
        BalancerChange {
            meters: self.meters.iter().map(|(metered, slot)| (metered.clone(), *slot)).collect(),
            groups: self.parts.groups.values().cloned().collect(),
            certificates: self.parts.certificates.values().cloned().collect(),
            listeners: self.parts.listeners.values().cloned().collect(),
            rules: self.parts.rules.values().cloned().collect(),
            ..BalancerChange::default()
        }
    }

    /// What became of these.
    pub(super) fn difference(&self, named: Named) -> BalancerChange {
        let mut change = BalancerChange::default();
        for group in named.groups {
            match self.parts.groups.get(&group) {
                Some(group) => {
                    change.meters.extend(Metered::all_of(group).filter_map(|metered| self.meter(metered)));
                    change.groups.push(group.clone());
                }
                None => change.dissolved.push(group),
            }
        }
        for certificate in named.certificates {
            match self.parts.certificates.get(&certificate) {
                Some(told) => change.certificates.push(told.clone()),
                None => change.revoked.push(certificate),
            }
        }
        for listener in named.listeners {
            match self.parts.listeners.get(&listener) {
                Some(spec) => {
                    change.meters.extend(self.meter(Metered::Listener(listener)));
                    change.listeners.push(spec.clone());
                }
                None => change.closed.push(listener),
            }
        }
        for rule in named.rules {
            match self.parts.rules.get(&rule) {
                Some(spec) => {
                    change.meters.extend(self.meter(Metered::Rule(rule)));
                    change.rules.push(spec.clone());
                }
                None => change.dropped.push(rule),
            }
        }
        change
    }

    /// The target group of this name, if one was made.
    pub(super) fn group(&self, name: &QualifiedName) -> Option<&TargetGroupSpec> {
        self.parts.groups.get(name).map(|spec| &**spec)
    }

    /// The slot of a meter, if it has one.
    pub(super) fn meter_slot(&self, metered: &Metered) -> Option<u32> {
        self.meters.get(metered).copied()
    }

    /// With its slot, if it has one: a node may have more than there are meters for.
    fn meter(&self, metered: Metered) -> Option<(Metered, u32)> {
        let slot = *self.meters.get(&metered)?;
        Some((metered, slot))
    }
}

impl Named {
    /// Those that a change is about, too.
    pub(super) fn note(&mut self, change: &BalancerChange) {
        let groups = change.groups.iter().map(|group| &group.name);
        self.groups.extend(groups.chain(&change.dissolved).cloned());
        let certificates = change.certificates.iter().map(|told| &told.name);
        self.certificates.extend(certificates.chain(&change.revoked).cloned());
        let listeners = change.listeners.iter().map(|listener| &listener.name);
        self.listeners.extend(listeners.chain(&change.closed).cloned());
        let rules = change.rules.iter().map(|rule| &rule.name);
        self.rules.extend(rules.chain(&change.dropped).cloned());
    }
}
