//! What the node was told of the load balancer: listeners, their rules, target groups, certificates.
//!
//! Pure bookkeeping, like its parent's, and under the same law. The built-in listener is told from the first, whether
//! somebody changed it or not; a rule is told as long as its listener is there; a certificate, as long as a listener names it.

use crate::meters::Owner;
use crate::model::{built_in_name, groups_of};
use crate::view::{ToTell, View};
use skiff_ports::balancer::BalancerChange;
use skiff_ports::tls::CertificateTold;
use skiff_types::{ListenerSpec, Name, QualifiedName, RuleSpec, TargetGroupSpec};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// What the node was told of the load balancer.
#[derive(Debug, Default)]
pub(super) struct ToldBalancer {
    target_groups: HashMap<QualifiedName, Arc<TargetGroupSpec>>,
    /// Empty only as long as nothing was told at all.
    listeners: HashMap<Name, Arc<ListenerSpec>>,
    rules: HashMap<QualifiedName, Arc<RuleSpec>>,
    certificates: HashMap<Name, Arc<CertificateTold>>,
    /// What may be otherwise than it was told.
    doubtful: ToTell,
}

impl ToldBalancer {
    /// Has these be looked at.
    pub(super) fn look_at(&mut self, changed: ToTell) {
        self.doubtful.append(changed);
    }

    /// Has all be looked at that is not as it was told.
    pub(super) fn look_at_all(&mut self, view: &View) {
        let ToTell { listeners, rules, target_groups, certificates } = &mut self.doubtful;
        let objects = view.balancer.target_groups.all().map(|held| &held.value.spec);
        doubt(target_groups, &self.target_groups, objects.map(|spec| (&spec.name, spec)));
        let objects = view.balancer.rules.all().map(|held| &held.value.spec);
        doubt(rules, &self.rules, objects.map(|spec| (&spec.name, spec)));
        // Few enough to look at each.
        listeners.extend(view.other_listeners().map(|spec| spec.name.clone()));
        listeners.extend(self.listeners.keys().cloned());
        certificates.extend(view.other_listeners().flat_map(|spec| spec.certificates.iter().cloned()));
        certificates.extend(self.certificates.keys().cloned());
    }

    /// Tells what is otherwise than it was told.
    pub(super) fn tell(&mut self, view: &View, change: &mut BalancerChange) {
        if self.listeners.is_empty() {
            self.doubtful.listeners.insert(built_in_name());
        }
        let ToTell { listeners, rules, target_groups, certificates } = std::mem::take(&mut self.doubtful);
        let group = |name: &QualifiedName| view.target_group(name).map(|held| held.value.spec.clone());
        tell(&mut self.target_groups, target_groups, group, &mut change.groups, &mut change.dissolved);
        let certificate = |name: &Name| {
            let told = &view.certificate(name)?.value.spec.told;
            view.listeners_of_certificate(name).next().is_some().then(|| told.clone())
        };
        let revoked = &mut change.revoked;
        tell(&mut self.certificates, certificates, certificate, &mut change.certificates, revoked);
        let listener = |name: &Name| view.listener(name);
        tell(&mut self.listeners, listeners, listener, &mut change.listeners, &mut change.closed);
        let rule = |name: &QualifiedName| {
            let spec = &view.rule(name)?.value.spec;
            view.has_listener(&spec.listener).then(|| spec.clone())
        };
        tell(&mut self.rules, rules, rule, &mut change.rules, &mut change.dropped);
    }
}

/// The services that a change newly leads to: they are to be told of no later than it.
pub(super) fn services_led_to(view: &View, change: &BalancerChange) -> BTreeSet<Owner> {
    let default_actions = change.listeners.iter().map(|listener| &listener.default_action);
    let actions = change.rules.iter().map(|rule| &rule.action).chain(default_actions);
    let named = actions.flat_map(groups_of).map(|weighted| &weighted.group);
    let changed = change.groups.iter().map(|group| &group.name).chain(&change.dissolved);
    let services = named.chain(changed).filter_map(|group| view.service_of_group(group));
    services.map(|name| Owner { name, in_service: true }).collect()
}

/// Notes which of the objects that there are are not the very ones that were told, and which were told and are gone.
fn doubt<'a, S: 'a>(
    doubtful: &mut BTreeSet<QualifiedName>,
    told: &HashMap<QualifiedName, Arc<S>>,
    objects: impl Iterator<Item = (&'a QualifiedName, &'a Arc<S>)>,
) {
    let mut present = HashSet::new();
    for (name, spec) in objects {
        present.insert(name);
        if !told.get(name).is_some_and(|told| Arc::ptr_eq(told, spec)) {
            doubtful.insert(name.clone());
        }
    }
    doubtful.extend(told.keys().filter(|name| !present.contains(name)).cloned());
}

/// Tells of each of these what it is now, or that it is gone, if that was not told.
fn tell<N: Clone + Eq + Hash, S: Eq>(
    told: &mut HashMap<N, Arc<S>>,
    names: BTreeSet<N>,
    now: impl Fn(&N) -> Option<Arc<S>>,
    changed: &mut Vec<Arc<S>>,
    gone: &mut Vec<N>,
) {
    for name in names {
        match now(&name) {
            Some(spec) if told.get(&name) == Some(&spec) => {}
            Some(spec) => {
                changed.push(spec.clone());
                told.insert(name, spec);
            }
            None if told.remove(&name).is_some() => gone.push(name),
            None => {}
        }
    }
}
