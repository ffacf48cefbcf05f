//! The world against what workers make of the differences that they are told.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use skiff_ports::balancer::{BalancerParts, Metered};
use skiff_ports::snapshot::{HostMatch, Target, TaskSpec};
use skiff_ports::tls::{CertificateTold, KeyForm};
use skiff_types::{
    Action, Command, Digest, FixedResponse, HealthCheck, Limits, Listen, ListenerProtocol, ListenerSpec,
    Name, Outside, RuleSpec, Scheme, TargetGroupSpec, Targets, TaskAddress, WasiGeneration,
};
use std::collections::BTreeMap;

const WORKERS: usize = 2;

fn id(number: u8) -> TaskId {
    TaskId::from_parts(0, [number; 10])
}

fn service(number: u8) -> QualifiedName {
    format!("default/s{number}").parse().unwrap()
}

fn assignment(number: u8, kind: Kind, units: &str) -> Assignment {
    let spec = TaskSpec {
        definition: "a:1".parse().unwrap(),
        kind,
        generation: WasiGeneration::P2,
        program: Digest::from_bytes([0; 32]),
        limits: Limits { cpu: units.parse().unwrap(), ..Limits::default() },
        command: Command::default(),
        port: (kind == Kind::Command).then_some(6379),
        health_check: HealthCheck::default(),
    };
    let (owner, slot) = (service(number), u32::from(number));
    Assignment { task: id(number), owner, in_service: true, spec: Arc::new(spec), slot, life: 0 }
}

fn route(number: u8, targets: &[u8]) -> Route {
    let target = |&number: &u8| Target { task: id(number), slot: u32::from(number), port: None };
    Route {
        service: service(number),
        hosts: vec![HostMatch::Any],
        paths: vec![format!("/{number}").parse().unwrap()],
        listen: vec![Listen::Tcp(6379)],
        targets: targets.iter().map(target).collect(),
        split: None,
        wakes: false,
    }
}

fn listener_name(number: u8) -> Name {
    format!("l{number}").parse().unwrap()
}

fn certificate_name(number: u8) -> Name {
    format!("c{number}").parse().unwrap()
}

/// A target group, a certificate, a listener and a rule, each of another content for another port.
fn balancer(number: u8, port: u16) -> BalancerChange {
    let default_action = Action::FixedResponse(FixedResponse::status(404));
    let group = TargetGroupSpec::of_service(service(number));
    let addresses = [port, port + 1].map(|port| Outside { host: "a.example".into(), port: 1 + port });
    let targets = Targets::Outside(addresses.into());
    let group = TargetGroupSpec { targets, ..group };
    let listener = ListenerSpec {
        name: listener_name(number),
        protocol: ListenerProtocol::Http,
        port: 1 + port,
        scheme: Scheme::Public,
        certificates: vec![certificate_name(number)],
        services: false,
        default_action: default_action.clone(),
        client_limit: None,
    };
    let certificate = CertificateTold {
        name: certificate_name(number),
        domains: vec![format!("{port}.example.com").into()],
        chain: vec![Bytes::from_static(b"a certificate")],
        key: Bytes::from_static(b"its key"),
        key_form: KeyForm::Pkcs8,
    };
    let rule = RuleSpec {
        name: service(number),
        listener: listener_name(number),
        priority: (1 + u32::from(port)).try_into().unwrap(),
        conditions: vec!["path=/api/*".parse().unwrap()],
        action: default_action,
        limit: None,
    };
    // Each keeps its meter for as long as it is there, whatever changes.
    let slot = |metered: &Metered| match metered {
        Metered::Listener(_) => 0,
        Metered::Rule(_) => 1,
        Metered::Group(_) => 2,
        Metered::Target { target, .. } => 3 + target.bytes().map(u32::from).sum::<u32>(),
    };
    let others = [Metered::Listener(listener_name(number)), Metered::Rule(service(number))];
    let metered = Metered::all_of(&group).chain(others);
    let meters = metered.map(|metered| (metered.clone(), 10_000 * u32::from(number) + slot(&metered)));
    BalancerChange {
        meters: meters.collect(),
        groups: vec![Arc::new(group)],
        certificates: vec![Arc::new(certificate)],
        listeners: vec![Arc::new(listener)],
        rules: vec![Arc::new(rule)],
        ..BalancerChange::default()
    }
}

/// The end of the same.
fn no_balancer(number: u8) -> BalancerChange {
    BalancerChange {
        dissolved: vec![service(number)],
        revoked: vec![certificate_name(number)],
        closed: vec![listener_name(number)],
        dropped: vec![service(number)],
        ..BalancerChange::default()
    }
}

fn group(number: u8, port: u16) -> GroupRules {
    GroupRules { group: service(number), rules: vec![format!("tcp:{port} from self").parse().unwrap()] }
}

fn interface(number: u8, ready: bool) -> DesiredInterface {
    let address = TaskAddress { v4: u32::from(number).into(), v6: u128::from(number).into() };
    DesiredInterface { task: id(number), address, groups: ["web".parse().unwrap()].into(), ready }
}

fn interfaces(interfaces: impl IntoIterator<Item = DesiredInterface>) -> NetworkDesired {
    NetworkDesired { interfaces: interfaces.into_iter().collect(), ..NetworkDesired::default() }
}

#[test]
fn every_worker_knows_every_interface_and_where_its_task_lives() {
    let mut world = World::new(WORKERS);
    world.run(assignment(1, Kind::Command, "256"));
    world.run(assignment(2, Kind::Command, "256"));
    world.run(assignment(3, Kind::Http, "256"));
    world.connect(interfaces([1, 2, 3, 4].map(|number| interface(number, true))));
    world.version = 1;
    let told = [0, 1].map(|worker| world.difference(worker).network.interfaces);
    for mut told in told {
        told.sort_by_key(|interface| interface.task);
        let homes: Vec<_> = told.iter().map(|interface| (interface.task, interface.home)).collect();
        assert_eq!(
            homes,
            [(id(1), Some(0)), (id(2), Some(1)), (id(3), None)],
            "and none of a task that is not here"
        );
        assert_eq!((told[0].slot, told[0].memory_bytes), (1, Limits::default().memory.bytes()));
    }
    // It ends by itself, or is told to: its interface goes either way, and everybody is told.
    assert!(world.has_ended(id(1)));
    world.end(id(2));
    world.connect(interfaces([interface(3, false)]));
    for worker in 0..WORKERS {
        let network = world.difference(worker).network;
        assert_eq!(network.left, [id(1), id(2)]);
        assert_eq!(network.interfaces.iter().map(|interface| interface.ready).collect::<Vec<_>>(), [false]);
    }
    world.connect(interfaces([interface(1, true)]));
    assert_eq!(world.difference(0).network.interfaces, [], "what has ended has none again");
}

#[test]
fn commands_spread_by_their_cpu_units() {
    let mut world = World::new(WORKERS);
    let mut settle = |number: u8, units: &str| {
        world.run(assignment(number, Kind::Command, units));
        (0..WORKERS).find(|worker| world.residents(*worker).contains(&id(number)))
    };
    assert_eq!(settle(1, "1024"), Some(0));
    let next = [(2, "256"), (3, "512"), (4, "128")].map(|(number, units)| settle(number, units));
    assert_eq!(next, [Some(1); 3]);
    assert_eq!(settle(5, "512"), Some(1));
    assert_eq!(settle(6, "512"), Some(0));
    // One that has ended takes nothing any more.
    assert!(world.has_ended(id(1)));
    assert!(!world.has_ended(id(1)), "it ends once");
    world.run(assignment(7, Kind::Command, "1024"));
    assert!(world.residents(0).contains(&id(7)));
    // Nor does one that is gone, and what had ended goes but once.
    [1, 6, 7].into_iter().for_each(|number| world.end(id(number)));
    assert_eq!(world.units, [0, 256 + 512 + 128 + 512]);
    [2, 3, 4, 5].into_iter().for_each(|number| world.end(id(number)));
    assert_eq!(world.units, [0, 0]);
}

#[test]
fn of_what_changed_often_only_the_newest_is_told() {
    let mut world = World::new(WORKERS);
    world.version = 1;
    world.difference(0);
    for round in 0..100 {
        world.run(assignment(1, Kind::Http, "256"));
        world.route(route(1, &[1]));
        world.run(assignment(round, Kind::Http, "256"));
        world.end(id(round));
        let groups = vec![group(1, round.into())];
        world.connect(NetworkDesired { groups, ..interfaces([interface(1, round == 99)]) });
        world.balance(balancer(1, round.into()));
        world.balance(balancer(2, round.into()));
        world.version += 1;
    }
    world.route(route(1, &[]));
    world.balance(no_balancer(2));
    let told = &world.told[0];
    assert!(told.tasks.len() <= 100 && told.routes.len() == 1, "{told:?}");
    assert!(told.interfaces.len() == 1 && told.groups.len() == 1, "{told:?}");
    let Named { groups, certificates, listeners, rules } = &told.balancer;
    assert!(groups.len() == 2 && listeners.len() == 2 && rules.len() == 2, "{told:?}");
    assert!(certificates.len() == 2, "{told:?}");
    let difference = world.difference(0);
    assert_eq!((difference.base, difference.version), (1, 101));
    assert_eq!(difference.routes, [Arc::new(route(1, &[]))]);
    assert_eq!(difference.network.groups, [group(1, 99)]);
    let BalancerChange { dissolved, revoked, closed, dropped, .. } = no_balancer(2);
    let expected = BalancerChange { dissolved, revoked, closed, dropped, ..balancer(1, 99) };
    assert_eq!(difference.balancer, expected);
    assert!(matches!(&difference.network.interfaces[..], [interface] if interface.ready));
    assert_eq!(world.difference(0), Difference { base: 101, version: 101, ..Difference::default() });
    let told = &world.told[1];
    let is_empty = told.tasks.is_empty() && told.balancer.rules.is_empty();
    assert!(is_empty, "nothing is kept for a worker that was told nothing");
}

#[test]
fn a_worker_that_starts_is_told_all_meters_and_one_that_goes_on_those_of_what_changed() {
    let mut world = World::new(WORKERS);
    let built_in = BalancerChange { meters: vec![(Metered::built_in_listener(), 0)], ..Default::default() };
    world.balance(built_in.clone());
    world.balance(balancer(1, 1));
    world.version = 1;
    let told = |change: BalancerChange| change.meters.into_iter().collect::<BTreeMap<_, _>>();
    let all = told(BalancerChange {
        meters: [built_in.meters, balancer(1, 1).meters].concat(),
        ..BalancerChange::default()
    });
    assert_eq!(told(world.difference(0).balancer), all);
    world.balance(balancer(2, 1));
    world.balance(no_balancer(1));
    world.balance(BalancerChange { closed: vec!["http".parse().unwrap()], ..BalancerChange::default() });
    world.version = 2;
    assert_eq!(told(world.difference(0).balancer), told(balancer(2, 1)));
    let left = told(world.difference(1).balancer);
    assert_eq!(left.len(), 1 + balancer(2, 1).meters.len(), "nobody keeps those of what is gone: {left:?}");
    assert_eq!(left[&Metered::built_in_listener()], 0);
}

/// A worker, as far as it knows what it was told.
#[derive(Debug, Default, PartialEq)]
struct Worker {
    version: Version,
    tasks: BTreeMap<TaskId, Assignment>,
    routes: BTreeMap<QualifiedName, Arc<Route>>,
    meters: BTreeMap<Metered, u32>,
    balancer: BalancerParts,
    groups: BTreeMap<QualifiedName, Vec<Rule>>,
    interfaces: BTreeMap<TaskId, NetworkInterface>,
}

impl Worker {
    fn carry_out(&mut self, difference: Difference) {
        assert_eq!(difference.base, self.version, "told what it can't know the base of");
        self.version = difference.version;
        let NetworkChange { groups, dissolved, interfaces, left } = difference.network;
        self.groups.extend(groups.into_iter().map(|group| (group.group, group.rules)));
        dissolved.iter().for_each(|group| drop(self.groups.remove(group)));
        self.interfaces.extend(interfaces.into_iter().map(|interface| (interface.task, interface)));
        left.iter().for_each(|task| drop(self.interfaces.remove(task)));
        self.tasks.extend(difference.assignments.into_iter().map(|assignment| (assignment.task, assignment)));
        self.routes.extend(difference.routes.into_iter().map(|route| (route.service.clone(), route)));
        self.balance(difference.balancer);
        difference.withdrawn.iter().for_each(|service| drop(self.routes.remove(service)));
        difference.ended.iter().for_each(|task| drop(self.tasks.remove(task)));
    }

    fn balance(&mut self, mut change: BalancerChange) {
        for group in &change.groups {
            let stay: Vec<_> = Metered::all_of(group).collect();
            let is_of_it =
                |metered: &Metered| matches!(metered, Metered::Target { group: of, .. } if *of == group.name);
            self.meters.retain(|metered, _| !is_of_it(metered) || stay.contains(metered));
        }
        self.meters.extend(std::mem::take(&mut change.meters));
        self.meters.retain(|metered, _| match metered {
            Metered::Listener(name) => !change.closed.contains(name),
            Metered::Rule(name) => !change.dropped.contains(name),
            Metered::Group(group) | Metered::Target { group, .. } => !change.dissolved.contains(group),
        });
        self.balancer.take_in(change);
    }
}

#[derive(Debug, Clone)]
enum Event {
    Run(u8, bool),
    End(u8),
    EndedByItself(u8),
    Route(u8, Vec<u8>),
    Withdraw(u8),
    Connect(u8, bool),
    Allow(u8, u16),
    Dissolve(u8),
    Balance(u8, u16),
    BalanceNoMore(u8),
    Tell(usize),
    Die(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let number = 0..6_u8;
    let event = prop_oneof![
        4 => (number.clone(), any::<bool>()).prop_map(|(number, http)| Event::Run(number, http)),
        2 => number.clone().prop_map(Event::End),
        1 => number.clone().prop_map(Event::EndedByItself),
        3 => (number.clone(), prop::collection::vec(0..6_u8, 0..3)).prop_map(|(number, to)| Event::Route(number, to)),
        1 => number.clone().prop_map(Event::Withdraw),
        3 => (number.clone(), any::<bool>()).prop_map(|(number, ready)| Event::Connect(number, ready)),
        2 => (number.clone(), 0..3_u16).prop_map(|(number, port)| Event::Allow(number, port)),
        1 => number.clone().prop_map(Event::Dissolve),
        2 => (number.clone(), 0..3_u16).prop_map(|(number, port)| Event::Balance(number, port)),
        1 => number.prop_map(Event::BalanceNoMore),
        3 => (0..WORKERS).prop_map(Event::Tell),
        1 => (0..WORKERS).prop_map(Event::Die),
    ];
    prop::collection::vec(event, 0..60)
}

proptest! {
    /// However its changes are cut into differences, and whoever dies between two of them: a worker knows what a worker
    /// that starts now would be told.
    #[test]
    fn what_is_told_by_differences_is_what_is_told_at_once(events in events()) {
        let mut world = World::new(WORKERS);
        let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::default()).collect();
        for event in events {
            match event {
                Event::Run(number, http) if !world.has(id(number)) => {
                    let kind = if http { Kind::Http } else { Kind::Command };
                    world.run(assignment(number, kind, "256"));
                }
                Event::Run(..) => {}
                Event::End(number) => world.end(id(number)),
                Event::EndedByItself(number) => drop(world.has_ended(id(number))),
                Event::Route(number, to) => world.route(route(number, &to)),
                Event::Withdraw(number) => world.withdraw(&service(number)),
                Event::Connect(number, ready) => world.connect(interfaces([interface(number, ready)])),
                Event::Allow(number, port) => {
                    let groups = vec![group(number, port)];
                    world.connect(NetworkDesired { groups, ..NetworkDesired::default() });
                }
                Event::Dissolve(number) => {
                    let dissolved = vec![service(number)];
                    world.connect(NetworkDesired { dissolved, ..NetworkDesired::default() });
                }
                Event::Balance(number, port) => world.balance(balancer(number, port)),
                Event::BalanceNoMore(number) => world.balance(no_balancer(number)),
                Event::Tell(worker) => workers[worker].carry_out(world.difference(worker)),
                Event::Die(worker) => {
                    world.forget(worker);
                    workers[worker] = Worker::default();
                }
            }
            world.version += 1;
        }
        for worker in 0..WORKERS {
            prop_assert_eq!(world.units[worker], 256 * world.residents(worker).len() as u64);
        }
        let mut interfaces_known = Vec::new();
        for (worker, mut known) in workers.into_iter().enumerate() {
            known.carry_out(world.difference(worker));
            world.forget(worker);
            let mut newborn = Worker::default();
            newborn.carry_out(world.difference(worker));
            interfaces_known.push(newborn.interfaces.clone());
            prop_assert_eq!(known, newborn);
        }
        prop_assert!(interfaces_known.windows(2).all(|pair| pair[0] == pair[1]), "every worker knows all");
    }
}
