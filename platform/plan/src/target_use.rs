//! Which target groups are in use: who names them in an action, and which of them are of the same service's tasks.
//!
//! It deliberately does not know the hosts, paths and ports by which a service is reached without anybody's naming it; who
//! asks says whether there are any. A change costs what it names, and a question as much as there are groups of one service.
//!
//! What always holds: who names a group that is not there means the service of that name.

use skiff_types::{Action, Name, QualifiedName, TargetGroupSpec, Targets};
use std::collections::{BTreeSet, HashMap};

/// Who leads to target groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum User {
    /// A listener, with its default action.
    Listener(Name),
    /// A rule.
    Rule(QualifiedName),
}

/// What leads where.
#[derive(Debug, Default)]
pub struct Uses {
    /// The groups that each names.
    named_by: HashMap<User, Box<[QualifiedName]>>,
    /// How often each name is named.
    counts: HashMap<QualifiedName, usize>,
    /// What the groups are that there are: of the tasks of this service, or of addresses.
    groups: HashMap<QualifiedName, Option<QualifiedName>>,
    /// The groups of each service's tasks that have another name than it.
    others: HashMap<QualifiedName, BTreeSet<QualifiedName>>,
}

impl Uses {
    /// Somebody leads to what this action names, and to nothing else; nobody leads anywhere without an action. Gives the
    /// names of all groups that may be used now and were not, or the other way round.
    pub fn set_user(&mut self, user: User, action: Option<&Action>) -> BTreeSet<QualifiedName> {
        let named: Box<[QualifiedName]> = match action {
            Some(Action::Forward(forward)) => {
                forward.groups.iter().map(|weighted| weighted.group.clone()).collect()
            }
            Some(Action::Redirect(_) | Action::FixedResponse(_)) | None => Box::default(),
        };
        for name in &named {
            *self.counts.entry(name.clone()).or_default() += 1;
        }
        let mut touched: BTreeSet<QualifiedName> = named.iter().cloned().collect();
        let before = match named.is_empty() {
            true => self.named_by.remove(&user),
            false => self.named_by.insert(user, named),
        };
        for name in before.into_iter().flatten() {
            if let Some(count) = self.counts.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&name);
                }
            }
            touched.insert(name);
        }
        let services: Vec<QualifiedName> =
            touched.iter().filter_map(|name| self.groups.get(name)?.clone()).collect();
        touched.extend(services);
        touched
    }

    /// A group is new, or has changed. Gives the names of all groups that this may concern.
    pub fn set_group(&mut self, spec: &TargetGroupSpec) -> BTreeSet<QualifiedName> {
        let mut touched = self.remove_group(&spec.name);
        let service = match &spec.targets {
            Targets::Service(service) => Some(service.clone()),
            Targets::Virtual(_) | Targets::Outside(_) => None,
        };
        if let Some(service) = service.clone().filter(|service| *service != spec.name) {
            self.others.entry(service.clone()).or_default().insert(spec.name.clone());
            touched.insert(service);
        }
        self.groups.insert(spec.name.clone(), service);
        touched
    }

    /// A group is gone. Gives the names of all groups that this may concern.
    pub fn remove_group(&mut self, name: &QualifiedName) -> BTreeSet<QualifiedName> {
        let mut touched = BTreeSet::from([name.clone()]);
        if let Some(service) = self.groups.remove(name).flatten()
            && let Some(others) = self.others.get_mut(&service)
        {
            others.remove(name);
            if others.is_empty() {
                self.others.remove(&service);
            }
            touched.insert(service);
        }
        touched
    }

    /// Whether requests or connections may come to a group; `is_routed` says whether the service of its name is reached
    /// without being named.
    pub fn is_used(&self, name: &QualifiedName, is_routed: bool) -> bool {
        let is_named = |name: &QualifiedName| self.counts.contains_key(name);
        let is_of_itself = match self.groups.get(name) {
            // There is no such group, so it is the service.
            None => true,
            Some(service) => service.as_ref() == Some(name),
        };
        let by_others = || self.others.get(name).is_some_and(|others| others.iter().any(is_named));
        is_named(name) || (is_of_itself && (is_routed || by_others()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{FixedResponse, Forward};

    fn name(text: &str) -> QualifiedName {
        format!("default/{text}").parse().unwrap()
    }

    fn forward(group: &str) -> Action {
        Action::Forward(Forward::to(name(group)))
    }

    fn rule(text: &str) -> User {
        User::Rule(name(text))
    }

    /// A group of a service's tasks.
    fn group(of: &str, service: &str) -> TargetGroupSpec {
        TargetGroupSpec { targets: Targets::Service(name(service)), ..TargetGroupSpec::of_service(name(of)) }
    }

    fn addresses(of: &str) -> TargetGroupSpec {
        let targets = Targets::Outside(vec!["192.0.2.7:80".parse().unwrap()]);
        TargetGroupSpec { targets, ..TargetGroupSpec::of_service(name(of)) }
    }

    #[test]
    fn a_group_is_used_as_long_as_somebody_names_it() {
        let mut uses = Uses::default();
        uses.set_group(&addresses("out"));
        assert!(!uses.is_used(&name("out"), false));
        assert!(!uses.is_used(&name("out"), true), "what leads to a service leads to no addresses");
        assert_eq!(uses.set_user(rule("a"), Some(&forward("out"))), [name("out")].into());
        uses.set_user(User::Listener("web".parse().unwrap()), Some(&forward("out")));
        uses.set_user(rule("a"), None);
        assert!(uses.is_used(&name("out"), false));
        let closed = Action::FixedResponse(FixedResponse::status(404));
        let touched = uses.set_user(User::Listener("web".parse().unwrap()), Some(&closed));
        assert_eq!(touched, [name("out")].into());
        assert!(!uses.is_used(&name("out"), false) && uses.counts.is_empty() && uses.named_by.is_empty());
    }

    #[test]
    fn a_service_is_used_through_every_group_of_its_tasks() {
        let mut uses = Uses::default();
        assert!(uses.is_used(&name("shop"), true) && !uses.is_used(&name("shop"), false));
        assert_eq!(uses.set_group(&group("canary", "shop")), [name("canary"), name("shop")].into());
        uses.set_group(&group("shop", "shop"));
        assert!(!uses.is_used(&name("shop"), false));
        let touched = uses.set_user(rule("a"), Some(&forward("canary")));
        assert_eq!(touched, [name("canary"), name("shop")].into());
        assert!(uses.is_used(&name("shop"), false) && uses.is_used(&name("canary"), false));
        assert_eq!(uses.set_group(&group("canary", "other")).len(), 3, "itself, and both services");
        assert!(!uses.is_used(&name("shop"), false) && uses.is_used(&name("other"), false));
        uses.remove_group(&name("canary"));
        assert!(!uses.is_used(&name("other"), false) && uses.others.is_empty());
        assert!(uses.is_used(&name("canary"), false), "the service of that name is meant");
    }

    #[test]
    fn where_a_group_of_addresses_has_a_services_name_that_one_is_not_meant() {
        let mut uses = Uses::default();
        uses.set_group(&addresses("shop"));
        assert!(!uses.is_used(&name("shop"), true));
        uses.set_user(rule("a"), Some(&forward("shop")));
        assert!(uses.is_used(&name("shop"), false));
    }
}
