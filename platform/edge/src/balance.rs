//! What the load balancer is told while it runs, carried out; and the target groups by their names, with the choice among
//! those of an action.
//!
//! It judges nothing of what it is told. What always holds: no request fails by a change, since it goes on with the group
//! that it found; and who names a group that is not there means the service of that name.

use crate::chance::Chance;
use crate::edge::Edge;
use crate::group::{Aim, Group};
use crate::listener::Listener;
use crate::refusal::Refusal;
use skiff_ports::balancer::BalancerChange;
use skiff_ports::connect::Destination;
use skiff_types::{
    Algorithm, Forward, ListenerSpec, Name, Outside, QualifiedName, TargetGroupSpec, Targets, VirtualAddress,
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
        algorithm: Algorithm,
        /// The group's own name, `NAMESPACE/NAME`.
        label: Rc<str>,
    },
    Addresses(Rc<Group>),
}

impl Groups {
    /// A group is new, or has changed.
    fn set(&mut self, spec: &TargetGroupSpec) {
        let TargetGroupSpec { name, targets, algorithm, .. } = spec;
        let before = self.take(name);
        let of = |addresses: Vec<(String, Destination)>| {
            let group = Group::of_addresses(name, addresses.into_iter(), *algorithm, before.as_deref());
            Named::Addresses(Rc::new(group))
        };
        let named = match targets {
            Targets::Service(service) => {
                close(before.as_deref());
                let label = name.to_string().into();
                Named::Service { service: service.clone(), algorithm: *algorithm, label }
            }
            Targets::Virtual(addresses) => {
                let address =
                    |VirtualAddress(at): &VirtualAddress| (at.to_string(), Destination::Virtual(*at));
                of(addresses.iter().map(address).collect())
            }
            Targets::Outside(hosts) => {
                let host = |host: &Outside| (host.to_string(), Destination::Outside(host.clone()));
                of(hosts.iter().map(host).collect())
            }
        };
        self.0.insert(name.clone(), named);
    }

    /// A group is gone.
    fn remove(&mut self, name: &QualifiedName) {
        close(self.take(name).as_deref());
    }

    /// Takes a group out; gives its targets, if they are addresses.
    fn take(&mut self, name: &QualifiedName) -> Option<Rc<Group>> {
        match self.0.remove(name)? {
            Named::Addresses(group) => Some(group),
            Named::Service { .. } => None,
        }
    }
}

fn close(group: Option<&Group>) {
    if let Some(group) = group {
        group.close();
    }
}

impl Edge {
    /// Listeners, certificates, rules and target groups are from now on as it is told here; what is not named stays as it is.
    /// Requests that found their target group go on with it. Connections to a listener that is gone, or speaks another
    /// protocol now, end after what is in flight.
    pub fn balance(&self, change: &BalancerChange) {
        let BalancerChange { groups, dissolved, certificates, revoked, listeners, closed, rules, dropped } =
            change;
        groups.iter().for_each(|spec| self.set_group(spec));
        self.learn_certificates(certificates);
        self.set_listeners(listeners);
        rules.iter().for_each(|rule| self.listeners().set_rule(rule));
        dropped.iter().for_each(|name| self.listeners().drop_rule(name));
        for listener in closed.iter().filter_map(|name| self.listeners().close(name)) {
            self.finish_all_of(&listener);
        }
        self.forget_certificates(revoked);
        for name in dissolved {
            self.groups().remove(name);
            self.table().choose_by(name, Algorithm::default());
        }
    }

    fn set_listeners(&self, listeners: &[Arc<ListenerSpec>]) {
        for spec in listeners {
            let speaks_otherwise = |listener: &Rc<Listener>| listener.protocol() != spec.protocol;
            let before = self.listeners().get(&spec.name).filter(speaks_otherwise);
            self.listeners().set(spec);
            // Else a target would be told that what came in clear came by TLS.
            before.iter().for_each(|listener| self.finish_all_of(listener));
        }
        let names: HashSet<&Name> = listeners.iter().map(|spec| &spec.name).collect();
        self.prepare_tls(|spec| names.contains(&spec.name));
    }

    fn set_group(&self, spec: &TargetGroupSpec) {
        self.groups().set(spec);
        let is_of_itself = matches!(&spec.targets, Targets::Service(service) if *service == spec.name);
        let algorithm = if is_of_itself { spec.algorithm } else { Algorithm::default() };
        self.table().choose_by(&spec.name, algorithm);
    }

    /// The target group that a request or a connection is forwarded to this time.
    pub(crate) fn aim(&self, forward: &Forward) -> Result<Aim, Refusal> {
        let name = choose(&forward.groups, self.chance()).ok_or(Refusal::NoWeight)?;
        let groups = self.groups();
        let (service, algorithm, named) = match groups.0.get(name) {
            Some(Named::Addresses(group)) => {
                return Ok(Aim { group: group.clone(), algorithm: group.algorithm(), named: None });
            }
            Some(Named::Service { service, algorithm, label }) => {
                (service, Some(*algorithm), (service != name).then(|| label.clone()))
            }
            None => (name, None, None),
        };
        let group = self.service(service).ok_or_else(|| Refusal::NoGroup { name: service.to_string() })?;
        Ok(Aim { algorithm: algorithm.unwrap_or(group.algorithm()), group, named })
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
