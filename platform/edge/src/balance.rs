//! What the load balancer is told while it runs, carried out; and the target groups by their names, with the choice among
//! those of an action.
//!
//! It judges nothing of what it is told. What always holds: no request fails by a change, since it goes on with the group
//! that it found; and who names a group that is not there means the service of that name.

use crate::chance::Chance;
use crate::edge::Edge;
use crate::group::{Aim, Group, Settings};
use crate::key::key_of;
use crate::listener::Listener;
use crate::meters::Meters;
use crate::refusal::Refusal;
use http::HeaderMap;
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::connect::Destination;
use skiff_types::{
    Forward, ListenerSpec, Name, Outside, QualifiedName, Scheme, TargetGroupSpec, Targets, VirtualAddress,
    WeightedGroup,
};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// The target groups that this worker was told of.
#[derive(Debug, Default)]
pub(crate) struct Groups(HashMap<QualifiedName, Named>);

/// A target group.
#[derive(Debug)]
enum Named {
    /// The tasks that a service has at present.
    Service {
        service: QualifiedName,
        settings: Rc<Settings>,
        /// The group's own name, `NAMESPACE/NAME`.
        label: Rc<str>,
    },
    Addresses(Rc<Group>),
}

impl Groups {
    /// A group is new, or has changed.
    fn set(&mut self, spec: &TargetGroupSpec, settings: &Rc<Settings>, meters: &Meters, worker: usize) {
        let TargetGroupSpec { name, targets, .. } = spec;
        let before = self.take(name);
        let of = |addresses: Vec<(Box<str>, Destination)>| {
            let metered = |(label, destination): (Box<str>, Destination)| {
                let target = Metered::Target { group: name.clone(), target: Arc::from(&*label) };
                (label, destination, meters.get(&target))
            };
            let addresses = addresses.into_iter().map(metered);
            let group = Group::of_addresses(name, addresses, settings, worker, before.as_deref());
            Named::Addresses(Rc::new(group))
        };
        let named = match targets {
            Targets::Service(service) => {
                close(before.as_deref(), worker);
                let (service, settings) = (service.clone(), settings.clone());
                Named::Service { service, settings, label: name.to_string().into() }
            }
            Targets::Virtual(addresses) => {
                let address = |VirtualAddress(at): &VirtualAddress| {
                    (at.to_string().into_boxed_str(), Destination::Virtual(*at))
                };
                of(addresses.iter().map(address).collect())
            }
            Targets::Outside(hosts) => {
                let host =
                    |host: &Outside| (host.to_string().into_boxed_str(), Destination::Outside(host.clone()));
                of(hosts.iter().map(host).collect())
            }
        };
        self.0.insert(name.clone(), named);
    }

    /// A group is gone.
    fn remove(&mut self, name: &QualifiedName, worker: usize) {
        close(self.take(name).as_deref(), worker);
    }

    /// The group of this name, if its targets are addresses.
    pub(crate) fn addresses(&self, name: &QualifiedName) -> Option<Rc<Group>> {
        match self.0.get(name)? {
            Named::Addresses(group) => Some(group.clone()),
            Named::Service { .. } => None,
        }
    }

    /// Takes a group out; gives its targets, if they are addresses.
    fn take(&mut self, name: &QualifiedName) -> Option<Rc<Group>> {
        match self.0.remove(name)? {
            Named::Addresses(group) => Some(group),
            Named::Service { .. } => None,
        }
    }
}

fn close(group: Option<&Group>, worker: usize) {
    if let Some(group) = group {
        group.close(worker);
    }
}

impl Edge {
    /// Listeners, certificates, rules and target groups are from now on as it is told here; what is not named stays as it is.
    /// Requests that found their target group go on with it. Connections to a listener that is gone, or speaks another
    /// protocol now, or is reached by others, end after what is in flight.
    pub fn balance(&self, change: &BalancerChange) {
        self.learn_meters(change);
        change.groups.iter().for_each(|spec| self.set_group(spec));
        self.learn_certificates(&change.certificates);
        self.set_listeners(&change.listeners);
        for rule in &change.rules {
            let meter = self.meters().get(&Metered::Rule(rule.name.clone()));
            self.listeners().set_rule(rule, meter);
        }
        change.dropped.iter().for_each(|name| self.listeners().drop_rule(name));
        for listener in change.closed.iter().filter_map(|name| self.listeners().close(name)) {
            self.finish_all_of(&listener);
        }
        self.forget_certificates(&change.revoked);
        for name in &change.dissolved {
            self.groups().remove(name, self.worker());
            self.table().settle(name, None);
        }
        self.forget_meters(change);
        self.to_check().note(change);
    }

    fn set_listeners(&self, listeners: &[Arc<ListenerSpec>]) {
        for spec in listeners {
            let is_another = |listener: &Rc<Listener>| {
                let is_internal = spec.scheme == Scheme::Internal;
                (listener.protocol(), listener.is_internal()) != (spec.protocol, is_internal)
            };
            let before = self.listeners().get(&spec.name).filter(is_another);
            let meter = self.meters().get(&Metered::Listener(spec.name.clone()));
            self.listeners().set(spec, meter);
            // Else a target would be told that what came in clear came by TLS, or what came from outside would go on where
            // tasks alone may come.
            before.iter().for_each(|listener| self.finish_all_of(listener));
        }
        let names: HashSet<&Name> = listeners.iter().map(|spec| &spec.name).collect();
        self.prepare_tls(|spec| names.contains(&spec.name));
    }

    fn set_group(&self, spec: &TargetGroupSpec) {
        let meter = self.meters().get(&Metered::Group(spec.name.clone()));
        let settings = Rc::new(Settings::of(spec, meter));
        self.groups().set(spec, &settings, &self.meters(), self.worker());
        self.table().settle(&spec.name, spec.is_of_own_service().then_some(settings));
    }

    /// The target group that a request or a connection is forwarded to this time; `headers` are a request's. A client that is
    /// to stay with a group or a target comes to that.
    pub(crate) fn aim(&self, forward: &Forward, headers: Option<&HeaderMap>) -> Result<Aim, Refusal> {
        let stays = self.stays_among(headers, forward);
        let name = stays.or_else(|| choose(&forward.groups, self.chance())).ok_or(Refusal::NoWeight)?;
        let aim = self.aim_at_group(name)?;
        let among = forward.stickiness.map(|lasts| (lasts, key_of(name)));
        Ok(Aim { stuck_to: self.stuck_to(headers, aim.stickiness, aim.label()), among, ..aim })
    }

    /// The same where a service's own host and path, or its port, lead.
    pub(crate) fn aim_at_service(&self, service: Rc<Group>, headers: Option<&HeaderMap>) -> Aim {
        let aim = Aim::at(service);
        Aim { stuck_to: self.stuck_to(headers, aim.stickiness, aim.label()), ..aim }
    }

    /// The same, where it falls to one of two revisions by their weight; `host` is a request's, normalised.
    pub(crate) fn divide(&self, aim: Aim, host: Option<&str>) -> Aim {
        let side = aim.group.side(host, self.chance());
        Aim { side, ..aim }
    }

    fn aim_at_group(&self, name: &QualifiedName) -> Result<Aim, Refusal> {
        let find = |service: &QualifiedName| {
            self.service(service).ok_or_else(|| Refusal::NoGroup { name: service.to_string() })
        };
        match self.groups().0.get(name) {
            Some(Named::Addresses(group)) => Ok(Aim::at(group.clone())),
            // The service's own group says that of the service.
            Some(Named::Service { service, .. }) if service == name => find(service).map(Aim::at),
            Some(Named::Service { service, settings, label }) => {
                let group = find(service)?.speaking(settings.speaks, self.worker());
                Ok(Aim {
                    algorithm: settings.algorithm,
                    named: Some(label.clone()),
                    stickiness: settings.stickiness,
                    meter: settings.meter.clone(),
                    limit: settings.limit,
                    ..Aim::at(group)
                })
            }
            None => find(name).map(Aim::at),
        }
    }
}

/// One of these groups, as often as its weight says; none where no weight is above 0.
fn choose<'a>(groups: &'a [WeightedGroup], chance: &Chance) -> Option<&'a QualifiedName> {
    let total: u64 = groups.iter().map(|group| u64::from(group.weight)).sum();
    let mut left = match groups {
        [_] => 0,
        _ => chance.below(total),
    };
    let is_it = |group: &&WeightedGroup| match left.checked_sub(u64::from(group.weight)) {
        Some(behind) => {
            left = behind;
            false
        }
        None => true,
    };
    groups.iter().find(is_it).map(|group| &group.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(groups: &[&str], times: usize) -> Vec<usize> {
        let groups: Vec<WeightedGroup> = groups.iter().map(|text| text.parse().unwrap()).collect();
        let chance = Chance::new(3);
        let picked: Vec<_> = (0..times).map(|_| choose(&groups, &chance)).collect();
        let count = |group: &WeightedGroup| picked.iter().filter(|name| **name == Some(&group.group)).count();
        groups.iter().map(count).collect()
    }

    #[test]
    fn a_group_is_chosen_as_often_as_its_weight_says() {
        assert_eq!(counts(&["a/one=5"], 3), [3]);
        assert_eq!(counts(&["a/one=0"], 3), [0]);
        assert_eq!(counts(&["a/one=0", "a/two=0"], 9), [0, 0]);
        assert_eq!(counts(&["a/one=0", "a/two=1", "a/three=0"], 9), [0, 9, 0]);
        let [one, two, three] = counts(&["a/one=90", "a/two=0", "a/three=10"], 10_000)[..] else { panic!() };
        assert!((8_800..9_200).contains(&one) && two == 0 && one + three == 10_000, "{one}, {three}");
    }
}
