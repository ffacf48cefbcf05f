//! The network of one worker: what it was told of tasks and groups, and the way from one to the other.
//!
//! A change is taken in whole, and then every open flow that it concerns is judged again. What a worker can't know yet,
//! because another heard of a new task sooner, it waits for, a little.
//!
//! It deliberately decides nothing itself (`policy` does), and keeps nothing over the end of the process.
//!
//! What always holds: no flow is judged by half of a change; nothing is called while something is borrowed that it might
//! want.

use crate::addresses::{AddressError, Subnet};
use crate::calls::Pairs;
use crate::config::{Config, Deps, FlowLog, Limits};
use crate::error::NetError;
use crate::flow::{Ends, Remote};
use crate::interface::Interface;
use crate::member::{GroupNames, Home, Member, Members};
use crate::names::{Directory, ServiceTask};
use crate::outside::{Class, Guard};
use crate::policy::{Decision, Groups, Identity, Missing, Party, decide, may_lead_into, missing_for_look_up};
use crate::ports::{EPHEMERAL_FIRST, Share};
use crate::resolve::Resolve;
use crate::wires::{Caller, Datagram, Opener, Opening, Receiver, Wires};
use futures::future::LocalBoxFuture;
use skiff_ledger::{Ledger, SLOTS, WORKERS_MAX};
use skiff_ports::flows::InterfaceState;
use skiff_ports::internal::InternalListeners;
use skiff_ports::network::{GroupRules, NetworkChange, NetworkInterface};
use skiff_types::{Direction, Namespace, QualifiedName, TaskAddress, TaskId, Transport};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// How long what comes from another worker waits for its task to be told here.
const STRANGER_WAIT: Duration = Duration::from_secs(1);
/// How many may wait for that at once. One more connection is refused, one more datagram lost.
const STRANGERS_MAX: usize = 256;

/// Why a worker's network can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It was told that it is a worker that there is not.
    #[error("there is no worker {worker} among {workers}")]
    NoSuchWorker {
        /// Which it was told to be.
        worker: u32,
        /// How many there are.
        workers: u32,
    },
    /// The network has no part for this node.
    #[error(transparent)]
    Addresses(#[from] AddressError),
}

/// The network of one worker. Cheap to clone.
#[derive(Clone)]
pub struct Network(Rc<Inner>);

/// A network that may be gone.
pub(crate) struct WeakNetwork(Weak<Inner>);

struct Inner {
    this: Weak<Inner>,
    config: Config,
    ledger: Ledger,
    resolver: Rc<dyn Resolve>,
    flow_log: Rc<dyn FlowLog>,
    wires: Wires,
    /// Where the platform itself connects from, and has its internal listeners.
    platform: TaskAddress,
    internal_listeners: OnceCell<Rc<dyn InternalListeners>>,
    guard: RefCell<Guard>,
    groups: RefCell<Groups>,
    members: RefCell<Members>,
    directory: RefCell<Directory>,
    /// The kernel's sockets that its tasks have.
    kernel_sockets: Cell<usize>,
    pairs: Pairs,
    /// Tells of every change.
    news: Notify,
    strangers: Cell<usize>,
}

/// Where somebody is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this worker.
    Here,
    /// In another.
    Worker(u32),
    /// Outside.
    Outside,
    /// In no worker at present.
    Nowhere,
    /// With the platform itself, of which each worker has its own.
    Platform,
}

impl Network {
    /// Of a worker that knows nobody yet. Must be called in a `LocalSet`.
    ///
    /// # Errors
    /// If it is none of the node's workers, or the network is too small.
    pub fn new(config: Config, deps: Deps) -> Result<Self, NetworkError> {
        let Config { worker, workers, .. } = config;
        if worker >= workers || workers as usize > WORKERS_MAX {
            return Err(NetworkError::NoSuchWorker { worker, workers });
        }
        let Deps { ledger, resolver, flow_log, wires } = deps;
        let guard = Guard::new(&config.setup, &config.host_addresses);
        let platform = Subnet::of_node(&config.setup.spec, config.setup.node_index)?.platform();
        let interval = config.limits.flow_record_interval;
        let inner = Rc::new_cyclic(|this| Inner {
            this: this.clone(),
            config,
            ledger,
            resolver,
            flow_log,
            wires,
            platform,
            internal_listeners: OnceCell::new(),
            guard: RefCell::new(guard),
            groups: RefCell::default(),
            members: RefCell::default(),
            directory: RefCell::default(),
            kernel_sockets: Cell::new(0),
            pairs: Pairs::default(),
            news: Notify::new(),
            strangers: Cell::new(0),
        });
        inner.wires.start(Rc::downgrade(&inner));
        spawn_local(Self::keep_writing(WeakNetwork(Rc::downgrade(&inner)), interval));
        Ok(Self(inner))
    }

    /// Takes in what is otherwise than before, and cuts the flows that are not allowed any more.
    pub fn apply(&self, change: NetworkChange) {
        let NetworkChange { groups, dissolved, interfaces, left } = change;
        let changed = self.take_in_groups(groups, dissolved);
        let mut touched = Vec::new();
        let mut gone = Vec::new();
        for told in interfaces {
            match self.take_in(told) {
                TakenIn::AsBefore => {}
                TakenIn::OtherGroups(member) => touched.push(member),
                TakenIn::InPlaceOf(member) => gone.push(member),
            }
        }
        gone.extend(left.into_iter().filter_map(|task| self.forget(task)));
        if !changed.is_empty() {
            let members = self.0.members.borrow();
            touched.extend(members.all().filter(|member| member.is_in_one_of(&changed)).cloned());
        }
        if !touched.is_empty() {
            touched.iter().for_each(|member| member.set_touched(true));
            self.judge_again();
            touched.iter().for_each(|member| member.set_touched(false));
        }
        for member in gone {
            Interface::new(self.clone(), member).close_all();
        }
        self.0.news.notify_waiters();
    }

    /// Takes in which addresses the host has now, and cuts the flows to those that it did not have before, where no rule
    /// names them.
    pub fn set_host_addresses(&self, addresses: &[IpAddr]) {
        let is_new = self.0.guard.borrow_mut().set_host_addresses(addresses);
        if is_new {
            self.judge_all_again();
        }
    }

    /// Takes in where services have TCP listeners now, which are doors of the platform like its own, and cuts the flows
    /// to those that no rule names.
    pub fn set_listeners(&self, listeners: &[SocketAddr]) {
        let is_new = self.0.guard.borrow_mut().set_listeners(listeners);
        if is_new {
            self.judge_all_again();
        }
    }

    /// Whether who connects there from the host itself comes to a door of the platform: where it listens for itself, for a
    /// service or for a listener of the load balancer.
    pub fn is_door(&self, address: SocketAddr) -> bool {
        self.0.guard.borrow().class(address.ip(), address.port()) == Class::Door
    }

    /// The interface of a task that lives in this worker, also or only.
    pub fn interface(&self, task: TaskId) -> Option<Interface> {
        let member = self.member(task).filter(|member| member.is_here() && !member.is_closed())?;
        Some(Interface::new(self.clone(), member))
    }

    /// The ready tasks of a service, none of them if none is ready at present; `None` if no task is in such a service.
    pub fn service(&self, name: &QualifiedName) -> Option<Rc<[ServiceTask]>> {
        self.0.directory.borrow().service(name)
    }

    /// A task as its own name leads to it: wherever it lives, and whether it is ready or not.
    pub fn task(&self, task: TaskId) -> Option<ServiceTask> {
        let member = self.member(task)?;
        let kind = member.told().kind;
        Some(ServiceTask { task, kind, address: member.address(), slot: member.slot().clone() })
    }

    /// The task that has an address, wherever it lives.
    pub fn task_at(&self, address: IpAddr) -> Option<TaskId> {
        self.member_at(address).map(|member| member.told().task)
    }

    /// What goes on at a task's interface in this worker.
    pub fn state(&self, task: TaskId) -> InterfaceState {
        let member = self.member(task).filter(|member| member.opened_sockets().is_some());
        member.map(|member| Interface::new(self.clone(), member).state()).unwrap_or_default()
    }

    /// Whether a task's own rules may lead to some task of a namespace at a TCP port, also where none is there yet.
    pub fn may_lead_into(&self, from: TaskId, namespace: &Namespace, port: u16) -> bool {
        let groups = self.0.groups.borrow();
        self.member(from).is_some_and(|from| may_lead_into(&groups, &from.identity(), namespace, port))
    }

    /// Whether the rules let the load balancer call a task of this worker at a port; the same port each time. It costs a
    /// look-up for as long as they stay the same.
    ///
    /// # Errors
    /// `Denied` with the rule that is missing; `Unreachable` if there is no such task here.
    pub fn admit_balancer(&self, task: TaskId, port: u16) -> Result<(), NetError> {
        let is_open = |member: &Rc<Member>| member.is_here() && !member.is_closed();
        let member = self.member(task).filter(is_open).ok_or(NetError::Unreachable)?;
        if member.admits_balancer() {
            return Ok(());
        }
        let ends = Ends {
            direction: Direction::Ingress,
            transport: Transport::Tcp,
            local: SocketAddr::new(member.address().v4.into(), port),
            remote: SocketAddr::new(self.platform_address().v4.into(), 0),
            who: Remote::Balancer,
        };
        Interface::new(self.clone(), member.clone()).check(&ends)?;
        member.note_admits_balancer();
        Ok(())
    }

    /// Ends all that is open at the interfaces of this worker, and writes it down, because the worker ends.
    pub fn close(&self) {
        for member in self.members_with_sockets() {
            Interface::new(self.clone(), member).close_all();
        }
    }

    /// A task's addresses, wherever it lives.
    pub(crate) fn address_of(&self, task: TaskId) -> Option<TaskAddress> {
        self.member(task).map(|member| member.address())
    }

    pub(crate) fn member(&self, task: TaskId) -> Option<Rc<Member>> {
        self.0.members.borrow().get(task).cloned()
    }

    /// The task that has an address.
    pub(crate) fn member_at(&self, address: IpAddr) -> Option<Rc<Member>> {
        self.0.members.borrow().at(address).cloned()
    }

    /// The members that ever opened a socket here.
    pub(crate) fn members_with_sockets(&self) -> Vec<Rc<Member>> {
        let members = self.0.members.borrow();
        members.all().filter(|member| member.opened_sockets().is_some()).cloned().collect()
    }

    /// Whether an address is of the virtual network, whether anybody has it or not.
    pub(crate) fn is_inside(&self, address: IpAddr) -> bool {
        self.0.guard.borrow().is_inside(address)
    }

    /// What is missing for a task to look up a host outside; `None` if it may.
    pub(crate) fn missing_for_look_up(&self, own: &Identity, name: &str) -> Option<Missing> {
        missing_for_look_up(&self.0.groups.borrow(), own, name)
    }

    /// Whether the rules allow a flow between a task and who is at its other end.
    pub(crate) fn judge(&self, member: &Member, ends: &Ends) -> Decision {
        let own = member.identity();
        match &ends.who {
            Remote::Task(other) => self.decide(&Party::Task(&own), &Party::Task(&other.identity()), ends),
            Remote::Outside(names) => {
                let other = Party::Outside { address: ends.remote.ip(), names: &names[..] };
                self.decide(&Party::Task(&own), &other, ends)
            }
            Remote::Balancer => self.decide(&Party::Task(&own), &Party::LoadBalancer, ends),
            Remote::Forward => Decision::Allowed { egress: None, ingress: None },
            Remote::Platform(_) => self.decide(&Party::Task(&own), &Party::Platform, ends),
        }
    }

    fn decide(&self, own: &Party<'_>, other: &Party<'_>, ends: &Ends) -> Decision {
        let (from, to) = match ends.direction {
            Direction::Egress => (own, other),
            Direction::Ingress => (other, own),
        };
        let (groups, guard) = (self.0.groups.borrow(), self.0.guard.borrow());
        decide(&groups, &guard, from, to, ends.transport, ends.port())
    }

    /// Where to go to for the other end. Of a task that is in all workers, the ports that a worker gives out are that
    /// worker's, and any other port is this one's.
    pub(crate) fn place_of(&self, ends: &Ends) -> Place {
        let member = match &ends.who {
            Remote::Task(member) => member,
            Remote::Platform(_) => return Place::Platform,
            Remote::Outside(_) | Remote::Balancer | Remote::Forward => return Place::Outside,
        };
        let Config { worker: here, workers, .. } = self.0.config;
        let port = ends.remote.port();
        let worker = match member.home() {
            Home::Everywhere if port >= EPHEMERAL_FIRST => u32::from(port) % workers,
            Home::Everywhere => here,
            Home::Worker(worker) => worker,
            Home::Nowhere => return Place::Nowhere,
        };
        if worker == here { Place::Here } else { Place::Worker(worker) }
    }

    /// The ports that this worker gives out for tasks that are in all workers.
    pub(crate) fn share_of_ports(&self) -> Share {
        let port = |number: u32| u16::try_from(number).expect("fewer workers than ports");
        Share { remainder: port(self.0.config.worker), of: port(self.0.config.workers) }
    }

    /// Where the platform itself connects from, and has its internal listeners.
    pub(crate) fn platform_address(&self) -> TaskAddress {
        self.0.platform
    }

    /// Those listeners, once it is said who has them.
    pub(crate) fn internal_listeners(&self) -> &OnceCell<Rc<dyn InternalListeners>> {
        &self.0.internal_listeners
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.config.limits
    }

    pub(crate) fn resolver(&self) -> &Rc<dyn Resolve> {
        &self.0.resolver
    }

    pub(crate) fn flow_log(&self) -> &dyn FlowLog {
        &*self.0.flow_log
    }

    pub(crate) fn wires(&self) -> &Wires {
        &self.0.wires
    }

    /// How many of the kernel's sockets the tasks of this worker have.
    pub(crate) fn kernel_sockets(&self) -> &Cell<usize> {
        &self.0.kernel_sockets
    }

    pub(crate) fn pairs(&self) -> &Pairs {
        &self.0.pairs
    }

    /// Judges every open flow again.
    fn judge_all_again(&self) {
        let touched = self.members_with_sockets();
        touched.iter().for_each(|member| member.set_touched(true));
        self.judge_again();
        touched.iter().for_each(|member| member.set_touched(false));
    }

    /// The groups that allow something else now.
    fn take_in_groups(&self, told: Vec<GroupRules>, dissolved: Vec<QualifiedName>) -> GroupNames {
        let mut groups = self.0.groups.borrow_mut();
        let mut changed = GroupNames::new();
        let mut note = |QualifiedName { namespace, name }| changed.entry(namespace).or_default().insert(name);
        for rules in told {
            if groups.get(&rules.group) != Some(&rules.rules[..]) {
                note(rules.group.clone());
                groups.set(rules);
            }
        }
        for group in dissolved {
            if groups.get(&group).is_some() {
                groups.remove(&group);
                note(group);
            }
        }
        changed
    }

    fn take_in(&self, told: NetworkInterface) -> TakenIn {
        if told.slot as usize >= SLOTS {
            tracing::error!(task = %told.task, slot = told.slot, "an interface was told with no slot of the ledger");
            return TakenIn::AsBefore;
        }
        let slot = self.0.ledger.task(told.slot);
        let known = self.member(told.task);
        if let Some(member) = known.filter(|member| member.is_still(&told)) {
            let mut directory = self.0.directory.borrow_mut();
            directory.remove(&member.told());
            directory.put(&told, &slot);
            return if member.update(told) { TakenIn::OtherGroups(member) } else { TakenIn::AsBefore };
        }
        let before = self.forget(told.task);
        self.0.directory.borrow_mut().put(&told, &slot);
        let member = Rc::new(Member::new(told, slot, self.0.config.worker));
        self.0.members.borrow_mut().insert(member);
        before.map_or(TakenIn::AsBefore, TakenIn::InPlaceOf)
    }

    fn forget(&self, task: TaskId) -> Option<Rc<Member>> {
        let member = self.0.members.borrow_mut().remove(task)?;
        self.0.directory.borrow_mut().remove(&member.told());
        Some(member)
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Network(worker {} of {})", self.0.config.worker, self.0.config.workers)
    }
}

impl WeakNetwork {
    pub(crate) fn upgrade(&self) -> Option<Network> {
        self.0.upgrade().map(Network)
    }
}

/// What became of an interface that was told.
enum TakenIn {
    /// Nothing that rules or sockets could notice.
    AsBefore,
    /// A task is in other groups now.
    OtherGroups(Rc<Member>),
    /// What was known of the task is no more: it lives elsewhere now.
    InPlaceOf(Rc<Member>),
}

impl Receiver for Inner {
    fn opening(&self, opening: Opening, caller: Caller) {
        let Some(network) = self.this.upgrade().map(Network) else { return };
        let acquaintance = match opening.from {
            Opener::Task(task) => network.acquaintance(task),
            Opener::Platform(_) => Acquaintance::Known,
        };
        match acquaintance {
            Acquaintance::Known => network.let_in(opening, caller),
            Acquaintance::TooMany => caller.refuse(),
            Acquaintance::Soon(told) => drop(spawn_local(async move {
                told.await;
                network.let_in(opening, caller);
            })),
        }
    }

    fn datagram(&self, datagram: Datagram) {
        let Some(network) = self.this.upgrade().map(Network) else { return };
        match network.acquaintance(datagram.from) {
            Acquaintance::Known => network.deliver(datagram),
            Acquaintance::TooMany => {}
            Acquaintance::Soon(told) => drop(spawn_local(async move {
                told.await;
                network.deliver(datagram);
            })),
        }
    }
}

/// What is known here of another worker's task that something came from.
enum Acquaintance {
    Known,
    /// It may be on its way: that worker was told sooner. This ends when it is known, or was not told in time.
    Soon(LocalBoxFuture<'static, ()>),
    /// Too much waits for tasks that are not known.
    TooMany,
}

impl Network {
    fn acquaintance(&self, task: TaskId) -> Acquaintance {
        if self.member(task).is_some() {
            return Acquaintance::Known;
        }
        let strangers = &self.0.strangers;
        if strangers.get() >= STRANGERS_MAX {
            return Acquaintance::TooMany;
        }
        strangers.set(strangers.get() + 1);
        let network = self.clone();
        Acquaintance::Soon(Box::pin(async move {
            let _ = timeout(STRANGER_WAIT, network.told(task)).await;
            network.0.strangers.set(network.0.strangers.get() - 1);
        }))
    }

    /// Ends when a task is known.
    async fn told(&self, task: TaskId) {
        loop {
            let news = self.0.news.notified();
            if self.member(task).is_some() {
                return;
            }
            news.await;
        }
    }
}
