//! What the node was told, change by change, against what it would be told at once.

mod certificates;
mod samples;

use super::*;
use crate::model::{
    Certificate, Declared, Definition, Imported, Listener, ListenerRule, SecurityGroup, ServiceNotes,
    TargetGroup, built_in_name,
};
use crate::records::Stored;
use crate::view::Viewed;
use proptest::prelude::*;
use samples::*;
use skiff_api::LimitsSpec;
use skiff_plan::rollout::{Asked, Rollout};
use skiff_plan::shift::Shift;
use skiff_ports::balancer::BalancerChange;
use skiff_ports::runtime::{ComponentReport, DesiredInterface};
use skiff_ports::tls::CertificateTold;
use skiff_types::{
    Action, CertificateSpec, Command, DEFAULT_STOP_TIMEOUT, DeploymentConfiguration, DeploymentId, Forward,
    Group, HealthCheck, Limits, Listen, ListenerProtocol, ListenerSpec, Name, Placement, Restart, Rule,
    RuleSpec, ScaleToZero, Scheme, ServiceSpec, StopCode, StoppedReason, TargetGroupSpec, Task, TaskAddress,
    TaskDefinition, TaskStatus, WasiGeneration, default_group,
};
use std::collections::BTreeMap;

const SERVICES: u8 = 5;
const DEFINITIONS: u8 = 4;

/// What a node knows that was told these changes.
#[derive(Debug, Default, PartialEq)]
struct Node {
    tasks: BTreeMap<TaskId, DesiredTask>,
    routes: BTreeMap<QualifiedName, DesiredRoute>,
    interfaces: BTreeMap<TaskId, DesiredInterface>,
    groups: BTreeMap<QualifiedName, Vec<Rule>>,
    target_groups: BTreeMap<QualifiedName, Arc<TargetGroupSpec>>,
    listeners: BTreeMap<Name, Arc<ListenerSpec>>,
    rules: BTreeMap<QualifiedName, Arc<RuleSpec>>,
    certificates: BTreeMap<Name, Arc<CertificateTold>>,
}

/// Takes in what is new and what is gone of one kind.
fn take_in<N: Ord, S: PartialEq>(
    known: &mut BTreeMap<N, Arc<S>>,
    changed: Vec<Arc<S>>,
    gone: &[N],
    name: impl Fn(&S) -> N,
) {
    for spec in changed {
        let before = known.insert(name(&spec), spec.clone());
        assert!(before.is_none_or(|before| before != spec), "told of the same again");
    }
    gone.iter().for_each(|name| assert!(known.remove(name).is_some(), "told that what is not there is gone"));
}

impl Node {
    fn balance(&mut self, change: BalancerChange) {
        assert!(change.meters.is_empty(), "those are the node's");
        take_in(&mut self.target_groups, change.groups, &change.dissolved, |spec| spec.name.clone());
        take_in(&mut self.certificates, change.certificates, &change.revoked, |told| told.name.clone());
        take_in(&mut self.listeners, change.listeners, &change.closed, |spec| spec.name.clone());
        take_in(&mut self.rules, change.rules, &change.dropped, |spec| spec.name.clone());
        assert!(self.listeners.contains_key(&built_in_name()), "it is always there");
        for rule in self.rules.values() {
            assert!(self.listeners.contains_key(&rule.listener), "{} is a rule of no listener", rule.name);
        }
        for name in self.certificates.keys() {
            let is_named = self.listeners.values().any(|listener| listener.certificates.contains(name));
            assert!(is_named, "told of {name}, which no listener names");
        }
    }

    fn take_in(&mut self, change: DesiredChange) {
        for task in change.tasks {
            assert!(self.tasks.insert(task.id, task).is_none(), "told to run what runs");
        }
        self.routes.extend(change.routes.into_iter().map(|route| (route.service.clone(), route)));
        for service in change.withdrawn {
            assert!(self.routes.remove(&service).is_some(), "told to withdraw what is not routed");
        }
        self.balance(change.balancer);
        let network = change.network;
        for task in change.ended {
            assert!(self.tasks.remove(&task).is_some(), "told to end what does not run");
            assert!(self.interfaces.remove(&task).is_some(), "it ran without an interface");
        }
        for rules in network.groups {
            let before = self.groups.insert(rules.group, rules.rules.clone());
            assert_ne!(before.as_ref(), Some(&rules.rules), "told of a group again");
        }
        for group in network.dissolved {
            assert!(self.groups.remove(&group).is_some(), "told to dissolve what is not there");
        }
        for interface in network.interfaces {
            assert!(self.tasks.contains_key(&interface.task), "an interface of what does not run");
            let before = self.interfaces.insert(interface.task, interface.clone());
            assert_ne!(before, Some(interface), "told of an interface again");
        }
        assert!(self.tasks.keys().eq(self.interfaces.keys()), "a task runs without an interface");
        for route in self.routes.values() {
            assert!(route.targets.iter().all(|task| self.tasks.contains_key(task)), "routed to nowhere");
        }
    }

    /// That a host and path leads to one service, and so does a listener.
    fn check(&self) {
        let (mut taken, mut listened) = (BTreeSet::new(), BTreeSet::new());
        for route in self.routes.values() {
            let pairs = route.hosts.iter().flat_map(|host| route.paths.iter().map(move |path| (host, path)));
            pairs.for_each(|pair| assert!(taken.insert(pair), "{pair:?} leads to two services"));
            route
                .listen
                .iter()
                .for_each(|listen| assert!(listened.insert(*listen), "{listen} leads to two services"));
        }
    }
}

/// The view, changed as the store would change it.
#[derive(Default)]
struct World {
    view: View,
    revision: u64,
    prepared: BTreeSet<Digest>,
}

impl World {
    fn put<T: Viewed>(&mut self, object: T) {
        self.revision += 1;
        self.view.apply(&object.key(), self.revision, Some(Arc::new(object)));
    }

    fn delete<T: Viewed>(&mut self, object: &T) {
        self.revision += 1;
        self.view.apply::<T>(&object.key(), self.revision, None);
    }

    fn tell(&mut self, told: &mut Told, node: &mut Node) {
        let prepared = self.prepared.clone();
        let prepared = |component: &Digest| prepared.contains(component);
        for owner in told.owners_to_look_at(&mut self.view, &prepared) {
            // One at a time, which is the hardest.
            node.take_in(told.look(&self.view, &[owner], &prepared));
        }
        node.take_in(told.look(&self.view, &[], &prepared));
        node.check();
    }
}

#[derive(Debug, Clone)]
enum Event {
    Service(u8, u8, Vec<u8>, Vec<u8>),
    NoService(u8),
    Task(u8, TaskStatus, u8, bool, Health),
    NoTask(u8),
    Definition(u8),
    NoDefinition(u8),
    Prepared(u8),
    Group(u8, u16),
    NoGroup(u8),
    Listener(u8, bool),
    NoListener(u8),
    UnreadableListener(u8),
    Rule(u8, u8, u8),
    NoRule(u8),
    TargetGroup(u8, u8),
    NoTargetGroup(u8),
    Doubt,
    Tell,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    use TaskStatus::{Activating, Deactivating, Deprovisioning, Pending, Running};
    // Each host and path once, as the API sees to.
    let few = || prop::sample::subsequence(vec![0_u8, 1, 2], 0..3);
    let status =
        prop::sample::select(vec![Pending, Activating, Running, Running, Deactivating, Deprovisioning]);
    let defined = || 0..DEFINITIONS;
    let health = || prop::sample::select(vec![Health::Starting, Health::Healthy, Health::Unhealthy]);
    let event = prop_oneof![
        4 => (0..SERVICES, defined(), few(), few()).prop_map(|(n, d, hosts, paths)| Event::Service(n, d, hosts, paths)),
        1 => (0..SERVICES).prop_map(Event::NoService),
        // A task keeps its definition.
        6 => (0..9_u8, status, any::<bool>(), health()).prop_map(|(n, status, stops, health)| {
            Event::Task(n, status, (n / 2) % DEFINITIONS, stops, health)
        }),
        1 => (0..9_u8).prop_map(Event::NoTask),
        3 => defined().prop_map(Event::Definition),
        1 => defined().prop_map(Event::NoDefinition),
        2 => defined().prop_map(Event::Prepared),
        2 => (0..3_u8, 1..3_u16).prop_map(|(n, ports)| Event::Group(n, ports)),
        1 => (0..3_u8).prop_map(Event::NoGroup),
        2 => (0..3_u8, any::<bool>()).prop_map(|(n, services)| Event::Listener(n, services)),
        1 => (0..3_u8).prop_map(Event::NoListener),
        1 => (0..3_u8).prop_map(Event::UnreadableListener),
        3 => (0..4_u8, 0..3_u8, 0..SERVICES).prop_map(|(n, of, to)| Event::Rule(n, of, to)),
        1 => (0..4_u8).prop_map(Event::NoRule),
        2 => (0..SERVICES, 0..2_u8).prop_map(|(n, delay)| Event::TargetGroup(n, delay)),
        1 => (0..SERVICES).prop_map(Event::NoTargetGroup),
        1 => Just(Event::Doubt),
        4 => Just(Event::Tell),
    ];
    prop::collection::vec(event, 0..80)
}

proptest! {
    #[test]
    fn what_is_told_change_by_change_is_what_is_told_at_once(events in events()) {
        let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
        for event in events {
            match event {
                Event::Service(n, d, hosts, paths) => world.put(service(n, d, &hosts, &paths)),
                Event::NoService(n) => world.delete(&service(n, 0, &[], &[])),
                Event::Task(n, status, d, stops, health) => {
                    world.put(task_of_health(n, status, d, stops, health));
                }
                Event::NoTask(n) => world.delete(&task(n, TaskStatus::Running, 0, false)),
                Event::Definition(n) => world.put(definition(n)),
                Event::NoDefinition(n) => world.delete(&definition(n)),
                Event::Prepared(n) => drop(world.prepared.insert(component(n))),
                Event::Group(n, ports) => world.put(group(n, ports)),
                Event::NoGroup(n) => world.delete(&group(n, 1)),
                Event::Listener(n, services) => world.put(listener(n, services)),
                Event::NoListener(n) => world.delete(&listener(n, true)),
                Event::UnreadableListener(n) => {
                    world.view.apply_unreadable::<Listener>(&listener(n, true).key());
                }
                Event::Rule(n, of, to) => world.put(listener_rule(n, of, to)),
                Event::NoRule(n) => world.delete(&listener_rule(n, 0, 0)),
                Event::TargetGroup(n, delay) => world.put(target_group(n, delay)),
                Event::NoTargetGroup(n) => world.delete(&target_group(n, 0)),
                Event::Doubt => told.doubt_all(),
                Event::Tell => world.tell(&mut told, &mut node),
            }
        }
        world.tell(&mut told, &mut node);
        let (mut afresh, mut at_once) = (Told::default(), Node::default());
        afresh.doubt_all();
        world.tell(&mut afresh, &mut at_once);
        prop_assert_eq!(node, at_once);
    }
}

#[test]
fn a_change_is_told_once_and_tells_of_nothing_else() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    world.put(definition(0));
    world.prepared.insert(component(0));
    for number in 0..4 {
        world.put(service(number + 1, 0, &[], &[]));
    }
    world.put(task(1, TaskStatus::Running, 0, false));
    world.put(task(2, TaskStatus::Running, 0, false));
    world.tell(&mut told, &mut node);
    assert_eq!((node.tasks.len(), node.routes.len()), (2, 4));
    let specs: Vec<_> = node.tasks.values().map(|task| task.spec.clone()).collect();
    assert!(Arc::ptr_eq(&specs[0], &specs[1]), "tasks that run the same share it");

    world.put(task(1, TaskStatus::Running, 0, true));
    let prepared = |_: &Digest| true;
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert_eq!(owners.len(), 1);
    let change = told.look(&world.view, &owners, &prepared);
    assert_eq!((change.tasks.len(), change.ended.len(), change.routes.len()), (0, 0, 1));
    assert!(change.routes[0].targets.is_empty());
    assert!(told.owners_to_look_at(&mut world.view, &prepared).is_empty());
    told.doubt_all();
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert!(told.look(&world.view, &owners, &prepared).is_empty(), "a look at everything finds nothing new");
}

#[test]
fn only_a_healthy_daemon_is_led_to() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    let daemon = DEFINITIONS - 2;
    world.put(definition(daemon));
    world.prepared.insert(component(daemon));
    world.put(service(4, daemon, &[], &[0]));
    for (health, is_led_to) in [
        (Health::Starting, false),
        (Health::Healthy, true),
        (Health::Unhealthy, false),
        (Health::Healthy, true),
    ] {
        world.put(task_of_health(4, TaskStatus::Running, daemon, false, health));
        world.tell(&mut told, &mut node);
        let routes: Vec<&DesiredRoute> = node.routes.values().collect();
        let [route] = routes[..] else { panic!("{routes:?}") };
        assert_eq!(route.targets.len(), usize::from(is_led_to), "{health:?}");
        assert_eq!((route.hosts.len(), route.listen.as_slice()), (0, &[Listen::Tcp(6_000)][..]));
        let interface = node.interfaces.values().next().expect("it runs");
        assert_eq!(interface.ready, is_led_to, "{health:?}");
        let spec = &node.tasks.values().next().expect("it runs").spec;
        assert_eq!(spec.port, Some(6379));
    }
}

#[test]
fn an_http_task_is_led_to_as_soon_as_it_is_told_unless_another_revision_serves() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    for number in 0..2 {
        world.put(definition(number));
        world.prepared.insert(component(number));
    }
    world.put(service(1, 0, &[], &[]));
    let mut led_to = |world: &mut World, tasks: Vec<TaskObject>| {
        tasks.into_iter().for_each(|task| world.put(task));
        world.tell(&mut told, &mut node);
        let route = &node.routes[&service_name(1)];
        let is_ready = |id: &TaskId| node.interfaces[id].ready;
        assert!(route.targets.iter().all(is_ready), "names lead there as well");
        route.targets.len()
    };
    assert_eq!(led_to(&mut world, vec![]), 0);
    assert_eq!(led_to(&mut world, vec![task(1, TaskStatus::Activating, 0, false)]), 1);
    assert_eq!(led_to(&mut world, vec![task(1, TaskStatus::Running, 0, false)]), 1);
    let same = task(6, TaskStatus::Activating, 0, false);
    assert_eq!(led_to(&mut world, vec![same]), 2, "of the same revision");
    let next = || task(16, TaskStatus::Activating, 1, false);
    assert_eq!(led_to(&mut world, vec![next()]), 2, "not before all workers run it");
    let old = [1, 6].map(|number| task(number, TaskStatus::Running, 0, true));
    assert_eq!(led_to(&mut world, old.into()), 1, "in nobody's stead");
}

#[test]
fn until_another_deployment_has_begun_requests_are_divided_as_by_the_one_before() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    for number in 0..2 {
        world.put(definition(number));
        world.prepared.insert(component(number));
    }
    world.put(task(2, TaskStatus::Running, 0, false));
    world.put(task(12, TaskStatus::Running, 1, false));
    let service = service(2, 1, &[], &[]);
    let asked = Asked {
        deployment: service.deployment,
        definition: &service.spec.definition,
        desired: 1,
        circuit_breaker: Default::default(),
        is_paused: false,
        is_aborted: false,
        strategy: Default::default(),
        raised: &[],
    };
    let shift = Shift { percent: 10, ..Shift::begin(definition_id(0), definition_id(1), 0) };
    let rollout = Rollout { shift: Some(shift), ..Rollout::begin(None, &asked, 0) };
    let notes = ServiceNotes::new(service_name(2), service.created_at_ms);
    world.put(ServiceNotes { rollout: Some(rollout), ..notes });
    let mut divided = |service: Service| {
        world.put(service);
        world.tell(&mut told, &mut node);
        node.routes[&service_name(2)].split.as_ref().map(|split| (split.percent, split.green.len()))
    };
    assert_eq!(divided(service.clone()), Some((10, 1)));
    let next = Service { deployment: DeploymentId::from_parts(1, [0; 10]), ..service };
    assert_eq!(divided(next.clone()), Some((10, 1)), "what has few requests does not have its share of all");
    assert_eq!(divided(Service { created_at_ms: 9, ..next }), None, "another of the same name");
}

#[test]
fn a_change_of_a_group_is_told_alone_and_to_nobody_twice() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    world.put(definition(1));
    world.prepared.insert(component(1));
    for number in 0..SERVICES {
        world.put(service(number, 1, &[], &[]));
        world.put(task(number, TaskStatus::Running, 1, false));
    }
    world.tell(&mut told, &mut node);
    let default = group(0, 80).qualified();
    assert_eq!(node.groups, [(default.clone(), Rule::defaults())].into());
    assert!(node.interfaces.values().all(|interface| *interface.groups == [group_name(0)]));

    world.put(group(0, 80));
    let prepared = |_: &Digest| true;
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert!(owners.is_empty(), "no task is looked at");
    let change = told.look(&world.view, &owners, &prepared);
    assert_eq!((change.network.groups.len(), change.network.interfaces.len()), (1, 0));
    assert!(told.look(&world.view, &owners, &prepared).is_empty());

    // Everybody leaves: nobody is in the group any more, but it is somebody's own now.
    node.take_in(change);
    for number in 0..SERVICES {
        world.put(task(number, TaskStatus::Stopped, 1, true));
    }
    world.tell(&mut told, &mut node);
    assert_eq!((node.interfaces.len(), node.groups.len()), (0, 1));
    world.delete(&group(0, 80));
    world.tell(&mut told, &mut node);
    assert!(node.groups.is_empty());
}

#[test]
fn a_rule_is_told_once_and_as_long_as_its_listener_is_there() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    world.tell(&mut told, &mut node);
    assert_eq!(node.listeners.keys().cloned().collect::<Vec<_>>(), [built_in_name()]);
    world.put(listener(1, true));
    for number in 0..3 {
        world.put(listener_rule(number, number % 2, 0));
    }
    world.tell(&mut told, &mut node);
    assert_eq!((node.listeners.len(), node.rules.len()), (2, 3));

    world.put(listener_rule(1, 1, 2));
    let prepared = |_: &Digest| true;
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert!(owners.is_empty(), "no task is looked at");
    let change = told.look(&world.view, &owners, &prepared);
    assert_eq!((change.balancer.rules.len(), change.balancer.listeners.len()), (1, 0));
    node.take_in(change);
    // The same again is no news.
    world.put(listener_rule(1, 1, 2));
    told.doubt_all();
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert!(told.look(&world.view, &owners, &prepared).is_empty());

    assert!(world.view.apply_unreadable::<Listener>(&listener(1, true).key()));
    world.tell(&mut told, &mut node);
    assert_eq!((node.listeners.len(), node.rules.len()), (1, 2));
    world.put(listener(1, true));
    world.tell(&mut told, &mut node);
    assert_eq!((node.listeners.len(), node.rules.len()), (2, 3));
}

#[test]
fn a_rule_is_told_with_whom_it_leads_to_and_leaves_with_them() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    world.put(definition(0));
    world.prepared.insert(component(0));
    world.put(service(1, 0, &[], &[]));
    world.tell(&mut told, &mut node);
    let prepared = |_: &Digest| true;
    world.put(task(1, TaskStatus::Running, 0, false));
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert_eq!(owners.len(), 1);
    // By now there is another service, which nobody is to look at yet, and a rule that leads to it.
    world.put(service(2, 0, &[], &[]));
    world.put(task(2, TaskStatus::Running, 0, false));
    world.put(listener_rule(0, 0, 2));
    let change = told.look(&world.view, &owners, &prepared);
    let route = change.routes.iter().find(|route| route.service == service_name(2));
    assert_eq!((change.balancer.rules.len(), route.map(|route| route.targets.len())), (1, Some(1)));
    node.take_in(change);

    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert_eq!(owners.len(), 1);
    // And by now both are gone again.
    world.delete(&listener_rule(0, 0, 2));
    world.delete(&service(2, 0, &[], &[]));
    world.put(task(2, TaskStatus::Running, 0, true));
    let change = told.look(&world.view, &owners, &prepared);
    assert_eq!((change.balancer.dropped.len(), change.withdrawn.as_slice()), (1, &[service_name(2)][..]));
}
