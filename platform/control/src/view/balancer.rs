//! Listeners, rules, target groups and certificates, with what is looked up of them by more than a key: who has a priority,
//! who leads to a target group or to a service, which listeners name a certificate.
//!
//! It deliberately decides nothing. What always holds: the built-in listener is there, whether it has an object or not.

use super::{Held, Table, View, Viewed};
use crate::keys;
use crate::model::{
    Certificate, Listener, ListenerRule, Service, TargetGroup, built_in_listener, groups_of, is_built_in,
};
use skiff_ports::store::Key;
use skiff_types::{
    Action, ListenerProtocol, ListenerSpec, Name, Priority, QualifiedName, RuleSpec, Span, TargetGroupSpec,
    TargetHealthCheck, Targets,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// The load balancer's objects.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    pub(crate) listeners: Table<Listener>,
    pub(crate) rules: Table<ListenerRule>,
    pub(crate) target_groups: Table<TargetGroup>,
    pub(crate) certificates: Table<Certificate>,
    /// What changed since the node was last told what to do.
    pub(crate) to_tell: ToTell,
    /// The built-in listener's port.
    http_port: u16,
    rules_of: HashMap<Name, RulesOf>,
    /// Who leads to each target group.
    users_of: HashMap<QualifiedName, BTreeSet<User>>,
    /// The target groups of each service's tasks.
    groups_of: HashMap<QualifiedName, BTreeSet<QualifiedName>>,
    /// The listeners that name each certificate.
    listeners_of: HashMap<Name, BTreeSet<Name>>,
}

/// The rules of one listener.
#[derive(Debug, Default)]
struct RulesOf {
    /// Two of the same priority are kept apart by name, should there be any.
    by_priority: BTreeMap<Priority, BTreeSet<QualifiedName>>,
    count: usize,
}

impl RulesOf {
    fn add(&mut self, spec: &RuleSpec) {
        let is_new = self.by_priority.entry(spec.priority).or_default().insert(spec.name.clone());
        self.count += usize::from(is_new);
    }

    fn remove(&mut self, spec: &RuleSpec) {
        let Some(names) = self.by_priority.get_mut(&spec.priority) else { return };
        self.count -= usize::from(names.remove(&spec.name));
        if names.is_empty() {
            self.by_priority.remove(&spec.priority);
        }
    }
}

/// Of which objects something changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ToTell {
    pub(crate) listeners: BTreeSet<Name>,
    pub(crate) rules: BTreeSet<QualifiedName>,
    pub(crate) target_groups: BTreeSet<QualifiedName>,
    pub(crate) certificates: BTreeSet<Name>,
}

impl ToTell {
    /// Adds what changed later.
    pub(crate) fn append(&mut self, mut later: Self) {
        self.listeners.append(&mut later.listeners);
        self.rules.append(&mut later.rules);
        self.target_groups.append(&mut later.target_groups);
        self.certificates.append(&mut later.certificates);
    }
}

/// Who leads to a target group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum User {
    /// A listener, with its default action.
    Listener(Name),
    /// A rule.
    Rule(QualifiedName),
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(name) => write!(f, "the default action of the listener {name}"),
            Self::Rule(name) => write!(f, "the rule {name}"),
        }
    }
}

impl Balancer {
    /// Says at which port the built-in listener is.
    pub(crate) fn set_http_port(&mut self, port: u16) {
        self.http_port = port;
    }

    fn add_user(&mut self, user: &User, action: &Action) {
        for weighted in groups_of(action) {
            self.users_of.entry(weighted.group.clone()).or_default().insert(user.clone());
        }
    }

    fn remove_user(&mut self, user: &User, action: &Action) {
        groups_of(action).iter().for_each(|weighted| take_out(&mut self.users_of, &weighted.group, user));
    }

    fn add_rule(&mut self, spec: &RuleSpec) {
        self.rules_of.entry(spec.listener.clone()).or_default().add(spec);
        self.add_user(&User::Rule(spec.name.clone()), &spec.action);
    }

    fn remove_rule(&mut self, spec: &RuleSpec) {
        self.remove_user(&User::Rule(spec.name.clone()), &spec.action);
        let Some(rules) = self.rules_of.get_mut(&spec.listener) else { return };
        rules.remove(spec);
        if rules.count == 0 {
            self.rules_of.remove(&spec.listener);
        }
    }
}

/// Takes a value out of an index, and the key with its last.
fn take_out<K: Eq + Hash, V: Ord>(index: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V) {
    let Some(values) = index.get_mut(key) else { return };
    values.remove(value);
    if values.is_empty() {
        index.remove(key);
    }
}

impl View {
    /// A listener as it is; the built-in one is there before anybody changes it.
    pub(crate) fn listener(&self, name: &Name) -> Option<Arc<ListenerSpec>> {
        let declared = self.balancer.listeners.get(&keys::listener(name)).map(|held| &held.value.spec);
        match is_built_in(name) {
            true => Some(self.built_in(declared)),
            false => declared.cloned(),
        }
    }

    fn built_in(&self, declared: Option<&Arc<ListenerSpec>>) -> Arc<ListenerSpec> {
        let as_ever = built_in_listener(self.balancer.http_port);
        Arc::new(match declared {
            Some(spec) => ListenerSpec {
                services: spec.services,
                default_action: spec.default_action.clone(),
                client_limit: spec.client_limit,
                ..as_ever
            },
            None => as_ever,
        })
    }

    /// Whether there is such a listener.
    pub(crate) fn has_listener(&self, name: &Name) -> bool {
        is_built_in(name) || self.balancer.listeners.get(&keys::listener(name)).is_some()
    }

    /// Every listener but the built-in one.
    pub(crate) fn other_listeners(&self) -> impl Iterator<Item = &Arc<ListenerSpec>> {
        let specs = self.balancer.listeners.all().map(|held| &held.value.spec);
        specs.filter(|spec| !is_built_in(&spec.name))
    }

    /// A rule.
    pub(crate) fn rule(&self, name: &QualifiedName) -> Option<&Held<ListenerRule>> {
        self.balancer.rules.get(&keys::rule(name))
    }

    /// The names of a listener's rules in the order in which they are asked.
    pub(crate) fn rules_of_listener(&self, listener: &Name) -> impl Iterator<Item = &QualifiedName> {
        let rules = self.balancer.rules_of.get(listener).into_iter();
        rules.flat_map(|rules| rules.by_priority.values()).flatten()
    }

    /// How many rules a listener has.
    pub(crate) fn rules_count(&self, listener: &Name) -> usize {
        self.balancer.rules_of.get(listener).map_or(0, |rules| rules.count)
    }

    /// The rules of a listener with this priority; one at most, as long as nobody but the entrance writes.
    pub(crate) fn rules_at(
        &self,
        listener: &Name,
        priority: Priority,
    ) -> impl Iterator<Item = &QualifiedName> {
        let rules = self.balancer.rules_of.get(listener);
        rules.and_then(|rules| rules.by_priority.get(&priority)).into_iter().flatten()
    }

    /// A target group that somebody made.
    pub(crate) fn target_group(&self, name: &QualifiedName) -> Option<&Held<TargetGroup>> {
        self.balancer.target_groups.get(&keys::target_group(name))
    }

    /// How the tasks of a service are checked by the target group that it is.
    pub(crate) fn check_of_service(&self, service: &QualifiedName) -> Option<&TargetHealthCheck> {
        self.own_group(service)?.health_check.as_ref()
    }

    /// How long what a service's task has may go on once that is to stop, where the target group that the service is says it.
    pub(crate) fn drain_of_service(&self, service: &QualifiedName) -> Option<Span> {
        self.own_group(service)?.deregistration_delay
    }

    /// What was said of the target group that a service is.
    fn own_group(&self, service: &QualifiedName) -> Option<&TargetGroupSpec> {
        let spec: &TargetGroupSpec = &self.target_group(service)?.value.spec;
        spec.is_of_own_service().then_some(spec)
    }

    /// Who leads to a target group, or to the service of its name.
    pub(crate) fn users_of_group(&self, group: &QualifiedName) -> impl Iterator<Item = &User> {
        self.balancer.users_of.get(group).into_iter().flatten()
    }

    /// A certificate.
    pub(crate) fn certificate(&self, name: &Name) -> Option<&Held<Certificate>> {
        self.balancer.certificates.get(&keys::certificate(name))
    }

    /// The listeners that name a certificate, whether there is one of that name or not.
    pub(crate) fn listeners_of_certificate(&self, name: &Name) -> impl Iterator<Item = &Name> {
        self.balancer.listeners_of.get(name).into_iter().flatten()
    }

    /// All who lead to a service, by its own name or by a target group of its tasks; some may be named again.
    pub(crate) fn users_of_service(&self, service: &QualifiedName) -> impl Iterator<Item = &User> {
        let by_name = self.target_group(service).is_none().then_some(service);
        let groups = self.balancer.groups_of.get(service).into_iter().flatten();
        let own_users = by_name.into_iter().flat_map(move |name| self.balancer.users_of.get(name)).flatten();
        own_users.chain(groups.flat_map(move |group| self.users_of_group(group)))
    }

    /// The service that a target group of this name is of, whether there is such a group or not.
    pub(crate) fn service_of_group(&self, group: &QualifiedName) -> Option<QualifiedName> {
        match self.target_group(group).map(|held| &held.value.spec.targets) {
            Some(Targets::Service(service)) => Some(service.clone()),
            Some(Targets::Virtual(_) | Targets::Outside(_)) => None,
            None => Some(group.clone()),
        }
    }

    /// What is spoken at the listener that one who leads to a target group is of.
    pub(crate) fn protocol_of(&self, user: &User) -> Option<ListenerProtocol> {
        let listener = match user {
            User::Listener(name) => name,
            User::Rule(name) => &self.rule(name)?.value.spec.listener,
        };
        Some(self.listener(listener)?.protocol)
    }

    /// A record that may name listeners or target groups, and can't be read.
    pub(crate) fn unreadable_of_balancer(&self) -> Option<&Key> {
        let places = ["listener", "rule"].map(keys::prefix);
        self.unreadable.iter().find(|key| places.iter().any(|place| key.is_under(place)))
    }

    /// Whether a service's tasks take requests or connections; not where its definition can't be read.
    pub(crate) fn is_balanced(&self, service: &Service) -> bool {
        let definition = self.definition(&service.namespace, self.revision_of(service));
        definition.is_some_and(|held| held.value.definition.is_balanced())
    }
}

impl Viewed for Listener {
    const WHILE_UNREADABLE: &'static str =
        "nobody listens there; the built-in listener is as if nobody had changed it";

    table_at!(balancer.listeners);

    fn index(view: &mut View, key: &Key, before: Option<&Self>, after: Option<&Self>) {
        let Some(name) = keys::platform_name_of(key) else { return };
        if before.is_some() != after.is_some() {
            // Whether they are told hangs on it.
            let rules: Vec<QualifiedName> = view.rules_of_listener(&name).cloned().collect();
            view.balancer.to_tell.rules.extend(rules);
        }
        let (balancer, user) = (&mut view.balancer, User::Listener(name.clone()));
        before.into_iter().for_each(|listener| balancer.remove_user(&user, &listener.spec.default_action));
        after.into_iter().for_each(|listener| balancer.add_user(&user, &listener.spec.default_action));
        for certificate in before.into_iter().flat_map(|listener| &listener.spec.certificates) {
            take_out(&mut balancer.listeners_of, certificate, &name);
            balancer.to_tell.certificates.insert(certificate.clone());
        }
        for certificate in after.into_iter().flat_map(|listener| &listener.spec.certificates) {
            balancer.listeners_of.entry(certificate.clone()).or_default().insert(name.clone());
            balancer.to_tell.certificates.insert(certificate.clone());
        }
        balancer.to_tell.listeners.insert(name);
    }
}

impl Viewed for ListenerRule {
    const WHILE_UNREADABLE: &'static str = "requests pass it over";
    table_at!(balancer.rules);

    fn index(view: &mut View, key: &Key, before: Option<&Self>, after: Option<&Self>) {
        let balancer = &mut view.balancer;
        before.into_iter().for_each(|rule| balancer.remove_rule(&rule.spec));
        after.into_iter().for_each(|rule| balancer.add_rule(&rule.spec));
        balancer.to_tell.rules.extend(keys::name_of(key));
    }
}

impl Viewed for TargetGroup {
    const WHILE_UNREADABLE: &'static str = "what leads to it leads to the service of its name, or to nobody";
    table_at!(balancer.target_groups);

    fn index(view: &mut View, key: &Key, before: Option<&Self>, after: Option<&Self>) {
        let Some(name) = keys::name_of(key) else { return };
        let balancer = &mut view.balancer;
        if let Some(Targets::Service(service)) = before.map(|group| &group.spec.targets) {
            take_out(&mut balancer.groups_of, service, &name);
        }
        if let Some(Targets::Service(service)) = after.map(|group| &group.spec.targets) {
            balancer.groups_of.entry(service.clone()).or_default().insert(name.clone());
        }
        balancer.to_tell.target_groups.insert(name);
    }
}

impl Viewed for Certificate {
    const WHILE_UNREADABLE: &'static str = "listeners that name it show their others";
    table_at!(balancer.certificates);

    fn index(view: &mut View, key: &Key, _: Option<&Self>, _: Option<&Self>) {
        view.balancer.to_tell.certificates.extend(keys::platform_name_of(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Declared;
    use crate::records::Stored;
    use skiff_types::Forward;

    fn name(text: &str) -> QualifiedName {
        text.parse().unwrap()
    }

    fn put<S>(view: &mut View, spec: S)
    where
        Declared<S>: Viewed,
    {
        let object = Declared { spec: Arc::new(spec), created_at_ms: 0, updated_at_ms: 0 };
        let revision = view.generation + 1;
        view.apply(&object.key(), revision, Some(Arc::new(object)));
    }

    fn rule(rule: &str, priority: u32, group: &str) -> RuleSpec {
        RuleSpec {
            name: name(rule),
            listener: "http".parse().unwrap(),
            priority: priority.try_into().unwrap(),
            conditions: vec!["path=/".parse().unwrap()],
            action: Action::Forward(Forward::to(name(group))),
            limit: None,
        }
    }

    #[test]
    fn who_leads_to_a_service_is_found_by_its_name_and_by_its_groups() {
        let (mut view, web) = (View::default(), name("default/web"));
        put(&mut view, rule("default/a", 1, "default/web"));
        let users = |view: &View, service: &str| {
            view.users_of_service(&name(service)).map(User::to_string).collect::<Vec<_>>()
        };
        assert_eq!(users(&view, "default/web"), ["the rule default/a"]);
        assert_eq!(view.service_of_group(&web), Some(web.clone()));
        let other = Targets::Service(name("default/other"));
        put(&mut view, TargetGroupSpec { targets: other, ..TargetGroupSpec::of_service(web.clone()) });
        assert_eq!(users(&view, "default/web"), [""; 0], "a group has its name");
        assert_eq!(users(&view, "default/other"), ["the rule default/a"]);
        assert_eq!(view.service_of_group(&web), Some(name("default/other")));
        put(&mut view, rule("default/a", 1, "default/third"));
        assert_eq!(users(&view, "default/other"), [""; 0]);
        assert_eq!(view.users_of_group(&web).count(), 0);
    }

    #[test]
    fn how_long_tasks_drain_is_said_by_the_group_of_their_services_own_name() {
        let (mut view, web) = (View::default(), name("default/web"));
        assert_eq!(view.drain_of_service(&web), None);
        put(&mut view, TargetGroupSpec::of_service(web.clone()));
        assert_eq!(view.drain_of_service(&web), None, "it says nothing");
        let says = |delay| TargetGroupSpec {
            deregistration_delay: Some(delay),
            ..TargetGroupSpec::of_service(web.clone())
        };
        for delay in [Span::from_ms(7_000), TargetGroupSpec::DEREGISTRATION_DELAY] {
            put(&mut view, says(delay));
            assert_eq!(view.drain_of_service(&web), Some(delay), "what is said counts, whatever it is");
        }
        let others = Targets::Service(name("default/other"));
        put(&mut view, TargetGroupSpec { targets: others, ..says(Span::from_ms(7_000)) });
        assert_eq!(
            (view.drain_of_service(&web), view.drain_of_service(&name("default/other"))),
            (None, None)
        );
    }

    #[test]
    fn rules_are_in_the_order_of_their_priorities() {
        let (mut view, http) = (View::default(), "http".parse().unwrap());
        for (name, priority) in [("default/a", 3), ("default/b", 2), ("default/a", 1)] {
            put(&mut view, rule(name, priority, "default/web"));
        }
        let names: Vec<String> = view.rules_of_listener(&http).map(ToString::to_string).collect();
        assert_eq!(names, ["default/a", "default/b"]);
        assert_eq!(
            (view.rules_count(&http), view.rules_at(&http, 3_u32.try_into().unwrap()).count()),
            (2, 0)
        );
        let key = keys::rule(&name("default/b"));
        assert!(view.apply_unreadable::<ListenerRule>(&key));
        assert_eq!((view.rules_count(&http), view.unreadable_of_balancer()), (1, Some(&key)));
        let moved = RuleSpec { listener: "second".parse().unwrap(), ..rule("default/a", 1, "default/web") };
        put(&mut view, moved);
        assert_eq!(["http", "second"].map(|listener| view.rules_count(&listener.parse().unwrap())), [0, 1]);
    }

    #[test]
    fn the_listeners_of_a_certificate_are_those_that_name_it_now() {
        let (mut view, name) = (View::default(), |text: &str| text.parse::<Name>().unwrap());
        let listener = |listener: &str, certificates: &[&str]| ListenerSpec {
            name: name(listener),
            certificates: certificates.iter().map(|certificate| name(certificate)).collect(),
            ..built_in_listener(8443)
        };
        let of = |view: &View, certificate: &str| {
            view.listeners_of_certificate(&name(certificate)).map(Name::to_string).collect::<Vec<_>>()
        };
        put(&mut view, listener("b", &["one", "two"]));
        put(&mut view, listener("a", &["one"]));
        assert_eq!(of(&view, "one"), ["a", "b"]);
        assert_eq!(of(&view, "two"), ["b"]);
        view.balancer.to_tell = ToTell::default();
        put(&mut view, listener("b", &["two"]));
        assert_eq!(of(&view, "one"), ["a"]);
        assert_eq!(of(&view, "two"), ["b"]);
        assert_eq!(view.balancer.to_tell.certificates, [name("one"), name("two")].into());
    }

    #[test]
    fn the_built_in_listener_is_there_and_keeps_its_port() {
        let (mut view, http) = (View::default(), "http".parse().unwrap());
        view.balancer.set_http_port(8080);
        assert_eq!(*view.listener(&http).unwrap(), built_in_listener(8080));
        put(&mut view, ListenerSpec { services: false, ..built_in_listener(80) });
        let spec = view.listener(&http).unwrap();
        assert_eq!((spec.port, spec.services), (8080, false));
        assert_eq!(view.other_listeners().count(), 0);
    }
}
