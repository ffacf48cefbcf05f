//! A difference on its way to a worker: in pieces, each of which fits a frame many times over, so that neither end holds
//! more than one of them, and the worker's event loop goes on between two.
//!
//! A piece is carried out at once, but for what it says of the network: that is gathered until it is whole, because no
//! flow is to be judged by half a change. What many tasks share is sent once in a piece, and shared again at the other end.

mod balancer;

use balancer::Unsent;
use serde::{Deserialize, Serialize};
use skiff_ports::balancer::BalancerChange;
use skiff_ports::network::{GroupRules, NetworkChange, NetworkInterface};
use skiff_ports::snapshot::{Assignment, Difference, Route, TaskSpec, Version};
use skiff_types::{Peer, QualifiedName, TaskId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A piece takes no more once it has about so many bytes.
const PIECE_BYTES: usize = 128 << 10;
/// What anything takes beside its texts, in bytes, roughly.
const ITEM_BYTES: usize = 64;
/// Specifications that are kept in any case, whether a task runs them or not.
const SPECS_KEPT: usize = 64;

/// A part of a [`Difference`]. Pieces come in the order in which they are to be carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Piece {
    base: Version,
    version: Version,
    /// Whether there is more to come of the same difference.
    more: bool,
    groups: Vec<GroupRules>,
    dissolved: Vec<QualifiedName>,
    interfaces: Vec<NetworkInterface>,
    /// Whether there is more to come of the three above.
    network_more: bool,
    /// What the tasks of this piece run, each once.
    specs: Vec<TaskSpec>,
    tasks: Vec<TaskOnWire>,
    routes: Vec<Route>,
    balancer: BalancerChange,
    withdrawn: Vec<QualifiedName>,
    ended: Vec<TaskId>,
    left: Vec<TaskId>,
}

/// An [`Assignment`], with the place of its specification among those of its piece.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TaskOnWire {
    task: TaskId,
    owner: QualifiedName,
    in_service: bool,
    spec: u32,
    slot: u32,
    life: u32,
}

/// Cuts a difference into its pieces, at least one, as they are asked for.
pub fn pieces(difference: Difference) -> impl Iterator<Item = Piece> {
    let Difference { base, version, network, assignments, routes, balancer, withdrawn, ended } = difference;
    let NetworkChange { groups, dissolved, interfaces, left } = network;
    let (mut groups, mut dissolved) = (groups.into_iter().peekable(), dissolved.into_iter().peekable());
    let mut interfaces = interfaces.into_iter().peekable();
    let (mut assignments, mut routes) = (assignments.into_iter().peekable(), routes.into_iter().peekable());
    let (mut withdrawn, mut ended) = (withdrawn.into_iter().peekable(), ended.into_iter().peekable());
    let (mut balancer, mut left) = (Unsent::new(balancer), left.into_iter().peekable());
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut room = Room(PIECE_BYTES);
        let mut piece = Piece::empty(base, version);
        piece.groups.extend(std::iter::from_fn(|| room.take(&mut groups, group_bytes)));
        piece.dissolved.extend(std::iter::from_fn(|| room.take(&mut dissolved, |_| 0)));
        piece.interfaces.extend(std::iter::from_fn(|| room.take(&mut interfaces, interface_bytes)));
        piece.network_more =
            groups.peek().is_some() || dissolved.peek().is_some() || interfaces.peek().is_some();
        let mut places = HashMap::new();
        while let Some(assignment) = room.take(&mut assignments, |_| 0) {
            let place = *places.entry(Arc::as_ptr(&assignment.spec)).or_insert_with(|| {
                room.spend(spec_bytes(&assignment.spec));
                piece.specs.push(TaskSpec::clone(&assignment.spec));
                piece.specs.len() as u32 - 1
            });
            let Assignment { task, owner, in_service, slot, life, spec: _ } = assignment;
            piece.tasks.push(TaskOnWire { task, owner, in_service, spec: place, slot, life });
        }
        while let Some(route) = room.take(&mut routes, |route| route_bytes(route)) {
            piece.routes.push(Arc::unwrap_or_clone(route));
        }
        balancer.take_what_comes(&mut room, &mut piece.balancer);
        // Who leads to a service leaves no later than it: others may be answered between two pieces.
        balancer.take_what_leaves(&mut room, &mut piece.balancer);
        piece.withdrawn.extend(std::iter::from_fn(|| room.take(&mut withdrawn, |_| 0)));
        piece.ended.extend(std::iter::from_fn(|| room.take(&mut ended, |_| 0)));
        piece.left.extend(std::iter::from_fn(|| room.take(&mut left, |_| 0)));
        piece.more = piece.network_more
            || assignments.peek().is_some()
            || routes.peek().is_some()
            || !balancer.is_empty()
            || withdrawn.peek().is_some()
            || ended.peek().is_some()
            || left.peek().is_some();
        done = !piece.more;
        Some(piece)
    })
}

impl Piece {
    fn empty(base: Version, version: Version) -> Self {
        Self {
            base,
            version,
            more: true,
            groups: Vec::new(),
            dissolved: Vec::new(),
            interfaces: Vec::new(),
            network_more: true,
            specs: Vec::new(),
            tasks: Vec::new(),
            routes: Vec::new(),
            balancer: BalancerChange::default(),
            withdrawn: Vec::new(),
            ended: Vec::new(),
            left: Vec::new(),
        }
    }
}

/// What a piece has room for, in bytes. One thing always fits in what is left, however large it is.
struct Room(usize);

impl Room {
    fn take<T>(&mut self, items: &mut impl Iterator<Item = T>, bytes: impl FnOnce(&T) -> usize) -> Option<T> {
        let item = if self.0 > 0 { items.next()? } else { return None };
        self.spend(ITEM_BYTES + bytes(&item));
        Some(item)
    }

    fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }
}

fn spec_bytes(spec: &TaskSpec) -> usize {
    let arguments = spec.command.arguments.iter().map(String::len);
    let environment = spec.command.environment.iter().map(|(name, value)| name.len() + value.len());
    let stdin = spec.command.stdin.as_ref().map_or(0, String::len);
    4 * ITEM_BYTES + stdin + arguments.chain(environment).map(|bytes| ITEM_BYTES + bytes).sum::<usize>()
}

fn group_bytes(group: &GroupRules) -> usize {
    let host_bytes = |peer: &Peer| match peer {
        Peer::Host(host) => host.as_str().len(),
        Peer::LoadBalancer | Peer::Itself | Peer::Group(_) | Peer::Platform | Peer::Network(_) => 0,
    };
    group.rules.iter().map(|rule| ITEM_BYTES + host_bytes(&rule.peer)).sum()
}

fn interface_bytes(interface: &NetworkInterface) -> usize {
    ITEM_BYTES + interface.groups.iter().map(|group| group.as_str().len()).sum::<usize>()
}

fn route_bytes(route: &Route) -> usize {
    let paths = route.paths.iter().map(|path| path.as_str().len()).sum::<usize>();
    let split = route.split.as_ref().map_or(0, |split| split.green.len() + split.test_hosts.len());
    let items = route.hosts.len() + route.paths.len() + route.listen.len() + route.targets.len() + split;
    paths + ITEM_BYTES * items
}

/// A piece as the worker takes it.
#[derive(Debug)]
pub struct Received {
    /// What is to be carried out. Its network is all that the pieces so far said of it, or nothing as long as more is to
    /// come.
    pub difference: Difference,
    /// Whether there is more to come of the same difference: only then is its version reached.
    pub more: bool,
}

/// The worker's end: what it keeps from one piece to the next.
#[derive(Debug, Default)]
pub struct Gatherer {
    specs: Specs,
    /// What was said of the network and is not whole yet; holds no more than what there is to know of it.
    network: NetworkChange,
}

impl Gatherer {
    /// Takes a piece in; `None` if it names a specification that it has not.
    pub fn receive(&mut self, piece: Piece) -> Option<Received> {
        let Piece { base, version, more, groups, dissolved, interfaces, network_more, .. } = piece;
        let Piece { specs, tasks, routes, balancer, withdrawn, ended, left, .. } = piece;
        self.network.groups.extend(groups);
        self.network.dissolved.extend(dissolved);
        self.network.interfaces.extend(interfaces);
        let network = match network_more {
            true => NetworkChange { left, ..NetworkChange::default() },
            false => NetworkChange { left, ..std::mem::take(&mut self.network) },
        };
        self.specs.forget_some();
        let specs: Vec<Arc<TaskSpec>> = specs.into_iter().map(|spec| self.specs.share(spec)).collect();
        let assignment = |TaskOnWire { task, owner, in_service, spec, slot, life }| {
            let spec = specs.get(spec as usize)?.clone();
            Some(Assignment { task, owner, in_service, spec, slot, life })
        };
        let assignments = tasks.into_iter().map(assignment).collect::<Option<_>>()?;
        let routes = routes.into_iter().map(Arc::new).collect();
        let difference =
            Difference { base, version, network, assignments, routes, balancer, withdrawn, ended };
        Some(Received { difference, more })
    }
}

/// Specifications that tasks of a worker run, each once; and for a while some that none runs any more.
#[derive(Debug, Default)]
struct Specs {
    known: HashSet<Arc<TaskSpec>>,
    /// How many there were, when those that no task runs were last forgotten.
    run_lately: usize,
}

impl Specs {
    /// Only once they have doubled, so that a piece costs what it brings, and not what there is.
    fn forget_some(&mut self) {
        if self.known.len() > (2 * self.run_lately).max(SPECS_KEPT) {
            self.known.retain(|spec| Arc::strong_count(spec) > 1);
            self.run_lately = self.known.len();
        }
    }

    fn share(&mut self, spec: TaskSpec) -> Arc<TaskSpec> {
        if let Some(known) = self.known.get(&spec) {
            return known.clone();
        }
        let spec = Arc::new(spec);
        self.known.insert(spec.clone());
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ports::balancer::Metered;
    use skiff_ports::snapshot::{HostMatch, Target};
    use skiff_ports::tls::{CertificateTold, KeyForm};
    use skiff_types::{
        Action, Command, Digest, FixedResponse, Forward, HealthCheck, Kind, Limits, Listen, ListenerProtocol,
        ListenerSpec, Name, RuleSpec, Scheme, Split, TargetGroupSpec, Targets, TaskAddress, WasiGeneration,
    };

    fn spec(number: u8, environment_bytes: usize) -> Arc<TaskSpec> {
        let environment = [("TEXT".to_owned(), "x".repeat(environment_bytes))].into();
        Arc::new(TaskSpec {
            definition: "a:1".parse().unwrap(),
            kind: Kind::Http,
            generation: WasiGeneration::P2,
            program: Digest::from_bytes([number; 32]),
            limits: Limits::default(),
            command: Command { arguments: vec![], environment, stdin: None },
            port: Some(6379),
            health_check: HealthCheck::default(),
        })
    }

    fn id(number: u32) -> TaskId {
        TaskId::from_parts(u64::from(number), [0; 10])
    }

    fn name(number: u32) -> QualifiedName {
        format!("default/s{number}").parse().unwrap()
    }

    fn difference(tasks: u32, specs: &[Arc<TaskSpec>]) -> Difference {
        let assignment = |number: u32| Assignment {
            task: id(number),
            owner: name(number),
            in_service: true,
            spec: specs[number as usize % specs.len()].clone(),
            slot: number,
            life: number % 3,
        };
        let route = |number: u32| {
            Arc::new(Route {
                service: name(number),
                hosts: vec![HostMatch::Any],
                paths: vec!["/".parse().unwrap()],
                listen: vec![Listen::Tcp(1 + number as u16)],
                targets: vec![Target { task: id(number), slot: number, port: Some(6379) }],
                split: (number % 3 == 1).then(|| Split {
                    percent: 10,
                    green: vec![id(number)],
                    test_hosts: vec!["green.example".parse().unwrap()],
                }),
                wakes: number % 2 == 1,
            })
        };
        Difference {
            base: 3,
            version: 9,
            network: network(tasks),
            assignments: (0..tasks).map(assignment).collect(),
            routes: (0..tasks).map(route).collect(),
            balancer: balancer(tasks.div_ceil(10)),
            withdrawn: (0..tasks).map(|number| name(tasks + number)).collect(),
            ended: (0..tasks).map(|number| id(tasks + number)).collect(),
        }
    }

    fn listener_name(number: u32) -> Name {
        format!("l{number}").parse().unwrap()
    }

    fn balancer(count: u32) -> BalancerChange {
        let group = |number: u32| {
            let hosts = vec!["192.0.2.7:80".parse().unwrap(), "example.org:443".parse().unwrap()];
            let targets = Targets::Outside(hosts);
            Arc::new(TargetGroupSpec { targets, ..TargetGroupSpec::of_service(name(number)) })
        };
        let listener = |number: u32| {
            Arc::new(ListenerSpec {
                name: listener_name(number),
                protocol: ListenerProtocol::Http,
                port: 1 + number as u16,
                scheme: Scheme::Public,
                certificates: Vec::new(),
                services: false,
                default_action: Action::FixedResponse(FixedResponse::status(404)),
                client_limit: None,
            })
        };
        let certificate = |number: u32| {
            Arc::new(CertificateTold {
                name: listener_name(number),
                domains: vec![format!("s{number}.example.com").into(), "*.example.org".into()],
                chain: vec![vec![number as u8; 1_000].into(), vec![0; 800].into()],
                key: vec![1; 138].into(),
                key_form: KeyForm::Pkcs8,
            })
        };
        let rule = |number: u32| {
            Arc::new(RuleSpec {
                name: name(number),
                listener: listener_name(number),
                priority: (1 + number).try_into().unwrap(),
                conditions: vec!["path=/api/*,/v?".parse().unwrap()],
                action: Action::Forward(Forward::to(name(number))),
                limit: None,
            })
        };
        let meters = |number: u32| {
            let target = Metered::Target { group: name(number), target: "192.0.2.7:80".into() };
            [Metered::Listener(listener_name(number)), Metered::Rule(name(number)), target]
        };
        BalancerChange {
            meters: (0..count).flat_map(meters).zip(0..).collect(),
            groups: (0..count).map(group).collect(),
            dissolved: (0..count).map(|number| name(count + number)).collect(),
            certificates: (0..count).map(certificate).collect(),
            revoked: (0..count).map(|number| listener_name(count + number)).collect(),
            listeners: (0..count).map(listener).collect(),
            closed: (0..count).map(|number| listener_name(count + number)).collect(),
            rules: (0..count).map(rule).collect(),
            dropped: (0..count).map(|number| name(count + number)).collect(),
        }
    }

    fn network(tasks: u32) -> NetworkChange {
        let group = |number: u32| GroupRules {
            group: name(number),
            rules: vec!["tcp:443 to *.example.com".parse().unwrap(), "all from self".parse().unwrap()],
        };
        let interface = |number: u32| NetworkInterface {
            task: id(number),
            owner: name(number),
            in_service: true,
            kind: Kind::Command,
            address: TaskAddress { v4: number.into(), v6: u128::from(number).into() },
            groups: ["default".parse().unwrap(), "web".parse().unwrap()].into(),
            home: Some(1),
            ready: number.is_multiple_of(2),
            slot: number,
            memory_bytes: 1 << 27,
        };
        NetworkChange {
            groups: (0..tasks).map(group).collect(),
            dissolved: (0..tasks).map(|number| name(tasks + number)).collect(),
            interfaces: (0..tasks).map(interface).collect(),
            left: (0..tasks).map(|number| id(tasks + number)).collect(),
        }
    }

    /// Sends a difference and puts together what comes out: the difference, the pieces, the largest in bytes.
    fn sent(difference: Difference, gatherer: &mut Gatherer) -> (Difference, usize, usize) {
        let (mut whole, mut count, mut largest, mut more) = (Difference::default(), 0, 0, true);
        for piece in pieces(difference) {
            assert!(more, "a piece came after the last");
            let bytes = postcard::to_stdvec(&piece).unwrap();
            let received = gatherer.receive(postcard::from_bytes(&bytes).unwrap()).unwrap();
            let Difference { base, version, network, assignments, routes, balancer, withdrawn, ended } =
                received.difference;
            let NetworkChange { left, .. } = network;
            let network = NetworkChange { left: Vec::new(), ..network };
            if !network.is_empty() {
                assert!(whole.network.is_empty(), "the network's change in two halves");
                assert!(whole.assignments.is_empty(), "an interface after a task");
                whole.network = network;
            }
            assert!(assignments.is_empty() || whole.routes.is_empty(), "a task after routes");
            assert!(routes.is_empty() || whole.balancer.is_empty(), "a route after who leads to it");
            assert!(balancer.is_empty() || whole.withdrawn.is_empty(), "a service before who leads to it");
            assert!(withdrawn.is_empty() || whole.ended.is_empty(), "a way after an end");
            gather(&mut whole.balancer, balancer);
            assert!(ended.is_empty() || whole.network.left.is_empty(), "an end after an interface left");
            whole.network.left.extend(left);
            (whole.base, whole.version) = (base, version);
            whole.assignments.extend(assignments);
            whole.routes.extend(routes);
            whole.withdrawn.extend(withdrawn);
            whole.ended.extend(ended);
            (count, largest, more) = (count + 1, bytes.len().max(largest), received.more);
        }
        assert!(!more, "the last piece says that more is to come");
        (whole, count, largest)
    }

    /// Puts together what the pieces said of the load balancer.
    fn gather(whole: &mut BalancerChange, piece: BalancerChange) {
        let first = whole.groups.is_empty() && whole.listeners.is_empty() && whole.rules.is_empty();
        assert!(piece.meters.is_empty() || first, "a meter after what it belongs to");
        assert!(piece.groups.is_empty() || whole.listeners.is_empty(), "a group after who leads to it");
        let certificates = &piece.certificates;
        assert!(certificates.is_empty() || whole.listeners.is_empty(), "a certificate after who names it");
        assert!(piece.listeners.is_empty() || whole.rules.is_empty(), "a listener after its rules");
        assert!(piece.rules.is_empty() || whole.dropped.is_empty(), "what comes after what leaves");
        assert!(piece.dropped.is_empty() || whole.closed.is_empty(), "a rule leaves after its listener");
        let after = whole.dissolved.is_empty() && whole.revoked.is_empty();
        assert!(piece.closed.is_empty() || after, "a listener leaves after what it names");
        whole.meters.extend(piece.meters);
        whole.groups.extend(piece.groups);
        whole.dissolved.extend(piece.dissolved);
        whole.certificates.extend(piece.certificates);
        whole.revoked.extend(piece.revoked);
        whole.listeners.extend(piece.listeners);
        whole.closed.extend(piece.closed);
        whole.rules.extend(piece.rules);
        whole.dropped.extend(piece.dropped);
    }

    #[test]
    fn what_is_cut_into_pieces_is_whole_again() {
        let mut gatherer = Gatherer::default();
        let specs = [spec(1, 10), spec(2, 10), spec(3, 0)];
        for tasks in [0, 1, 700, 20_000] {
            let difference = difference(tasks, &specs);
            let (received, count, largest) = sent(difference.clone(), &mut gatherer);
            assert_eq!(received, difference);
            assert!((count == 1) == (tasks < 2), "{tasks} tasks in {count} pieces");
            assert!(largest < 2 * PIECE_BYTES, "{tasks} tasks: a piece of {largest} bytes");
        }
    }

    #[test]
    fn what_tasks_share_is_sent_once_and_shared_again() {
        let mut gatherer = Gatherer::default();
        let specs = [spec(1, 50_000)];
        let (received, count, _) = sent(difference(50, &specs), &mut gatherer);
        assert_eq!(count, 1);
        let one = received.assignments[0].spec.clone();
        assert!(received.assignments.iter().all(|assignment| Arc::ptr_eq(&assignment.spec, &one)));
        let (later, ..) = sent(difference(1, &specs), &mut gatherer);
        assert!(Arc::ptr_eq(&later.assignments[0].spec, &one), "a later difference shares it too");
    }

    #[test]
    fn what_no_task_runs_is_forgotten() {
        let mut gatherer = Gatherer::default();
        let of_round =
            |round: u8| (0..50).map(move |number| spec(5 * round + number % 5, 1 + number as usize));
        for round in 0..50 {
            let specs: Vec<_> = of_round(round).collect();
            sent(difference(50, &specs), &mut gatherer);
            assert!(
                gatherer.specs.known.len() <= SPECS_KEPT + 50,
                "{} after round {round}",
                gatherer.specs.known.len()
            );
        }
        let specs: Vec<_> = (0..200).map(|number| spec(number, 0)).collect();
        let (held, ..) = sent(difference(200, &specs), &mut gatherer);
        let again = sent(difference(200, &specs), &mut gatherer).0;
        assert!(Arc::ptr_eq(&held.assignments[7].spec, &again.assignments[7].spec), "what one runs stays");
    }

    #[test]
    fn what_is_large_gets_pieces_of_its_own() {
        let specs: Vec<_> = (0..10).map(|number| spec(number, 3 * PIECE_BYTES)).collect();
        let difference = difference(10, &specs);
        let (received, count, largest) = sent(difference.clone(), &mut Gatherer::default());
        assert_eq!(received, difference);
        assert!(count >= 10 && largest < 4 * PIECE_BYTES, "{count} pieces, the largest of {largest} bytes");
    }

    #[test]
    fn a_piece_that_names_what_it_has_not_is_refused() {
        let mut piece = pieces(difference(1, &[spec(1, 0)])).next().unwrap();
        piece.specs.clear();
        assert!(Gatherer::default().receive(piece).is_none());
    }
}
