//! The load balancer's part of the world: target groups, certificates, listeners and rules, the slots of their meters, and
//! which of them a worker has yet to be told.
//!
//! It deliberately does not look into them, but for the addresses of a target group, each of which has a meter: what a rule
//! means is known where it is carried out. What always holds: whoever is told of a thing is told its meters with it, as far
//! as it has any, and nobody keeps a meter of what is gone.

use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::tls::CertificateTold;
use skiff_types::{ListenerSpec, Name, QualifiedName, RuleSpec, TargetGroupSpec};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// All that there is of them.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    meters: HashMap<Metered, u32>,
    groups: HashMap<QualifiedName, Arc<TargetGroupSpec>>,
    certificates: HashMap<Name, Arc<CertificateTold>>,
    listeners: HashMap<Name, Arc<ListenerSpec>>,
    rules: HashMap<QualifiedName, Arc<RuleSpec>>,
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
    pub(super) fn take_in(&mut self, change: BalancerChange) {
        let BalancerChange {
            meters,
            groups,
            dissolved,
            certificates,
            revoked,
            listeners,
            closed,
            rules,
            dropped,
        } = change;
        // Those of what leaves, and of what addresses leave a group that stays.
        let names = groups.iter().map(|group| &group.name).chain(&dissolved);
        let mut unmetered: Vec<Metered> =
            names.filter_map(|name| self.groups.get(name)).flat_map(|group| Metered::all_of(group)).collect();
        unmetered.extend(dropped.iter().cloned().map(Metered::Rule));
        unmetered.extend(closed.iter().cloned().map(Metered::Listener));
        unmetered.retain(|metered| *metered != Metered::built_in_listener());
        for metered in unmetered {
            self.meters.remove(&metered);
        }
        self.meters.extend(meters);
        self.groups.extend(groups.into_iter().map(|group| (group.name.clone(), group)));
        self.certificates.extend(certificates.into_iter().map(|told| (told.name.clone(), told)));
        self.listeners.extend(listeners.into_iter().map(|listener| (listener.name.clone(), listener)));
        self.rules.extend(rules.into_iter().map(|rule| (rule.name.clone(), rule)));
        dropped.iter().for_each(|rule| drop(self.rules.remove(rule)));
        closed.iter().for_each(|listener| drop(self.listeners.remove(listener)));
        revoked.iter().for_each(|certificate| drop(self.certificates.remove(certificate)));
        dissolved.iter().for_each(|group| drop(self.groups.remove(group)));
    }

    /// What who knows nothing is to be told.
    pub(super) fn whole(&self) -> BalancerChange {
        BalancerChange {
            meters: self.meters.iter().map(|(metered, slot)| (metered.clone(), *slot)).collect(),
            groups: self.groups.values().cloned().collect(),
            certificates: self.certificates.values().cloned().collect(),
            listeners: self.listeners.values().cloned().collect(),
            rules: self.rules.values().cloned().collect(),
            ..BalancerChange::default()
        }
    }

    /// What became of these.
    pub(super) fn difference(&self, named: Named) -> BalancerChange {
        let mut change = BalancerChange::default();
        for group in named.groups {
            match self.groups.get(&group) {
                Some(group) => {
                    change.meters.extend(Metered::all_of(group).filter_map(|metered| self.meter(metered)));
                    change.groups.push(group.clone());
                }
                None => change.dissolved.push(group),
            }
        }
        for certificate in named.certificates {
            match self.certificates.get(&certificate) {
                Some(told) => change.certificates.push(told.clone()),
                None => change.revoked.push(certificate),
            }
        }
        for listener in named.listeners {
            match self.listeners.get(&listener) {
                Some(spec) => {
                    change.meters.extend(self.meter(Metered::Listener(listener)));
                    change.listeners.push(spec.clone());
                }
                None => change.closed.push(listener),
            }
        }
        for rule in named.rules {
            match self.rules.get(&rule) {
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
        self.groups.get(name).map(|spec| &**spec)
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
        let BalancerChange {
            meters: _,
            groups,
            dissolved,
            certificates,
            revoked,
            listeners,
            closed,
            rules,
            dropped,
        } = change;
        self.groups.extend(groups.iter().map(|group| &group.name).chain(dissolved).cloned());
        self.certificates.extend(certificates.iter().map(|told| &told.name).chain(revoked).cloned());
        self.listeners.extend(listeners.iter().map(|listener| &listener.name).chain(closed).cloned());
        self.rules.extend(rules.iter().map(|rule| &rule.name).chain(dropped).cloned());
    }
}
