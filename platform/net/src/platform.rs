//! Connections that the platform itself opens to a task: the load balancer for its clients, an operator by way of
//! `skiff forward`; and the probes that say whether a daemon takes connections.
//!
//! The task sees them come from the platform's own address in the node's subnet, each from another port. Where the task
//! lives in another worker, that one alone asks the rules: they are the called task's. For whom the platform connects is
//! told over the wires, and believed, since workers run no code but the platform's.
//!
//! It deliberately holds no rate: who wants such a connection is bounded itself (clients by the load balancer, operators by
//! the API).
//!
//! What always holds: the load balancer is let in by a rule, and cut when there is none any more; an operator always is,
//! and written down like all others. What waits, both ways, is charged to the called task. The platform's connections to a
//! task are counted apart from the task's own sockets, so that neither takes the other's places.

use crate::error::NetError;
use crate::flow::{Ends, Flow, Remote, Reset};
use crate::interface::{Interface, SOCKET_BYTES};
use crate::kernel::{KernelPlace, Purpose};
use crate::listener::Backlog;
use crate::network::{Network, Place};
use crate::pipe;
use crate::ports::{Key, Ports, Share};
use crate::stream::{Carrier, Stream};
use crate::wires::{Caller, Opener, Opening};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use skiff_ports::connect::Origin;
use skiff_types::{Direction, TaskAddress, TaskId, Transport};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use tokio::task::spawn_local;
use tokio::time::timeout;

/// Seats of a task that only probes take, so that one that has all the connections that it may still counts as healthy. A
/// probe that its program does not take and close keeps its seat, so there are more than one.
const SEATS_OF_PROBES: usize = 16;

/// What the platform has open to one task in this worker, or from it.
#[derive(Default)]
pub(crate) struct ByPlatform {
    seats: Cell<usize>,
    /// Connections that wait for room in a backlog.
    waiting: Cell<usize>,
    /// Of the platform's address: which the task sees at the other ends.
    ports: Ports,
}

/// A seat of one of the platform's connections to a task, charged to the task; given back when dropped.
pub(crate) struct PlatformSeat {
    interface: Interface,
    /// What the task sees at the other end; where the task lives elsewhere, that worker says.
    from: Option<SocketAddr>,
    /// The place of the line's socket here, where the connection is a line.
    kernel: Option<KernelPlace>,
}

/// A connection that waits for room in a backlog.
struct Queued(Interface);

/// A connection of the platform that may enter, and where to.
struct Arrival {
    interface: Interface,
    backlog: Rc<Backlog>,
    seat: PlatformSeat,
    ends: Ends,
}

impl Network {
    /// Opens a connection of the platform to a daemon's port, of whichever family somebody listens there, wherever on this
    /// node it lives. It is open once it is in the listener's backlog. Whoever drops this has given up.
    ///
    /// # Errors
    /// `Denied` with the rule that is missing, for the load balancer; `Refused` if nobody takes connections there, or there
    /// is no room; `Unreachable` or `Closed` if there is no such task, or no longer; `TimedOut`; `TooManySockets`;
    /// `OutOfMemory` if the task's memory limit leaves no room for it.
    pub fn connect_from(
        &self,
        origin: Origin,
        task: TaskId,
        port: u16,
    ) -> LocalBoxFuture<'static, Result<Stream, NetError>> {
        let network = self.clone();
        async move {
            let limit = network.limits().connect_timeout;
            let opened = timeout(limit, network.open_by_platform(origin, task, port)).await;
            opened.unwrap_or(Err(NetError::TimedOut))
        }
        .boxed_local()
    }

    /// Whether somebody takes connections at a port of a task that lives in this worker: puts one into the backlog, which
    /// has ended already. It waits for room as long as it takes: who has waited long enough drops this.
    ///
    /// Nobody judges, counts or writes down a probe; it is charged to the task until its program has let go of it.
    ///
    /// # Errors
    /// `Refused` if nobody does; `Unreachable` if there is no such task here; `Closed`; `TooManySockets`; `OutOfMemory`.
    pub async fn probe(&self, task: TaskId, port: u16) -> Result<(), NetError> {
        let to = self.interface(task).ok_or(NetError::Unreachable)?;
        let (local, backlog) = loop {
            to.check_open()?;
            let (local, backlog) = to.listening_at(port).ok_or(NetError::Refused)?;
            if backlog.has_room() {
                break (local, backlog);
            }
            backlog.wait_for_room().await;
        };
        let seats_max = self.limits().platform_connections_max.saturating_add(SEATS_OF_PROBES);
        let mut seat = PlatformSeat::take(&to, seats_max)?;
        let ends = ingress(Remote::Balancer, local, seat.take_port(local.ip())?);
        let (ours, theirs) = to.pipe_of_platform();
        ours.shutdown_write();
        backlog.push(Stream::by_platform(Carrier::Pipe(theirs), Flow::unseen(&to, ends), Some(seat)));
        Ok(())
    }

    async fn open_by_platform(&self, origin: Origin, task: TaskId, port: u16) -> Result<Stream, NetError> {
        let member = self.member(task).ok_or(NetError::Unreachable)?;
        let to = Interface::new(self.clone(), member);
        to.check_open()?;
        let local = SocketAddr::new(self.platform_address().v4.into(), 0);
        let remote = SocketAddr::new(to.address().v4.into(), port);
        let ends = egress(&to, local, remote);
        match self.place_of(&ends) {
            Place::Here => self.open_here_by_platform(origin, &to, port).await,
            Place::Worker(worker) => self.open_line_by_platform(worker, origin, &to, ends).await,
            Place::Outside | Place::Nowhere | Place::Platform => Err(NetError::Unreachable),
        }
    }

    async fn open_here_by_platform(
        &self,
        origin: Origin,
        to: &Interface,
        port: u16,
    ) -> Result<Stream, NetError> {
        let arrival = to.arrival(origin, port, false).await?;
        let (ours, theirs) = to.pipe_of_platform();
        let ends = egress(to, arrival.ends.remote, arrival.ends.local);
        let target = Rc::downgrade(theirs.pipe());
        arrival.enter(Carrier::Pipe(theirs), target);
        Ok(Stream::by_platform(Carrier::Pipe(ours), Flow::unseen(to, ends), None))
    }

    async fn open_line_by_platform(
        &self,
        worker: u32,
        origin: Origin,
        to: &Interface,
        ends: Ends,
    ) -> Result<Stream, NetError> {
        let mut seat = PlatformSeat::take(to, self.limits().platform_connections_max)?;
        seat.kernel = Some(KernelPlace::take(to, Purpose::PlatformLine)?);
        let opening = Opening { from: Opener::Platform(origin), local: ends.local, remote: ends.remote };
        let line = self.wires().open(worker, opening, to.sockets().charge.clone()).await?;
        to.check_open()?;
        let carrier = Carrier::Line(Rc::new(line));
        Ok(Stream::by_platform(carrier, Flow::unseen(to, ends), Some(seat)))
    }

    /// Lets in a connection that the platform opens from another worker, once there is room, or says why not.
    pub(crate) fn let_platform_in(&self, origin: Origin, remote: SocketAddr, caller: Caller) {
        let member = self.member_at(remote.ip()).filter(|member| member.is_here());
        let Some(member) = member else { return caller.refuse() };
        let to = Interface::new(self.clone(), member);
        spawn_local(async move {
            let arrival = match to.arrival(origin, remote.port(), true).await {
                Ok(arrival) => arrival,
                Err(NetError::Denied(sentence)) => return caller.deny(&sentence),
                Err(_) => return caller.refuse(),
            };
            match caller.accept(to.sockets().charge.clone()) {
                Ok(line) => {
                    let line = Rc::new(line);
                    let target = Rc::downgrade(&line);
                    arrival.enter(Carrier::Line(line), target);
                }
                // It has given up, or this worker has run out of descriptors, which it says itself by closing.
                Err(error) => tracing::debug!(%error, "a connection of the platform was not let in"),
            }
        });
    }
}

impl Interface {
    /// Asks the rules, and waits a while for room at a port; for a line of another worker with the place of its socket.
    ///
    /// # Errors
    /// Those of [`Network::connect_from`].
    async fn arrival(&self, origin: Origin, port: u16, is_line: bool) -> Result<Arrival, NetError> {
        let who = match origin {
            Origin::LoadBalancer => Remote::Balancer,
            Origin::Forward => Remote::Forward,
        };
        let (own, platform) = (self.address(), self.network().platform_address());
        let asked =
            ingress(who, SocketAddr::new(own.v4.into(), port), SocketAddr::new(platform.v4.into(), 0));
        self.check_open()?;
        self.check(&asked)?;
        let (local, backlog) = self.listening_at(port).ok_or(NetError::Refused)?;
        let kernel = is_line.then(|| KernelPlace::take(self, Purpose::PlatformLine)).transpose()?;
        if !backlog.has_room() {
            let _queued = Queued::begin(self)?;
            backlog.wait_for_room().await;
            self.check_open()?;
            self.check(&asked)?;
        }
        if !backlog.has_room() {
            return Err(NetError::Refused);
        }
        let mut seat = PlatformSeat::take(self, self.limits().platform_connections_max)?;
        seat.kernel = kernel;
        let remote = seat.take_port(local.ip())?;
        let ends = Ends { local, remote, ..asked };
        Ok(Arrival { interface: self.clone(), backlog, seat, ends })
    }

    /// Who takes connections at a port, of the first of the task's addresses at which somebody does.
    fn listening_at(&self, port: u16) -> Option<(SocketAddr, Rc<Backlog>)> {
        let ports = &self.member().opened_sockets()?.ports;
        let TaskAddress { v4, v6 } = self.address();
        [IpAddr::from(v4), IpAddr::from(v6)].into_iter().find_map(|address| {
            let local = SocketAddr::new(address, port);
            Some((local, ports.backlog(local)?))
        })
    }

    /// The platform's end, and the task's, which pays for what waits either way.
    pub(crate) fn pipe_of_platform(&self) -> (pipe::End, pipe::End) {
        let charge = &self.sockets().charge;
        pipe::pair(self.limits().pipe_bytes_max, [charge.clone(), charge.clone()])
    }
}

impl Arrival {
    fn enter(self, carrier: Carrier, target: Weak<dyn Reset>) {
        let Self { interface, backlog, seat, ends } = self;
        let flow = Flow::open(&interface, ends, target);
        backlog.push(Stream::by_platform(carrier, flow, Some(seat)));
    }
}

impl PlatformSeat {
    fn take(interface: &Interface, seats_max: usize) -> Result<Self, NetError> {
        let sockets = interface.sockets();
        let seats = &sockets.by_platform.seats;
        if seats.get() >= seats_max {
            return Err(NetError::TooManySockets("connections of the platform to one task"));
        }
        sockets.charge.take(SOCKET_BYTES)?;
        seats.set(seats.get() + 1);
        Ok(Self { interface: interface.clone(), from: None, kernel: None })
    }

    /// Takes a port for the platform's end, of the family that `like` is of.
    fn take_port(&mut self, like: IpAddr) -> Result<SocketAddr, NetError> {
        let any = SocketAddr::new(self.interface.network().platform_address().of_family(like), 0);
        let ports = &self.interface.sockets().by_platform.ports;
        let from = ports.take_any(Transport::Tcp, any, Share { remainder: 0, of: 1 });
        let from = from.ok_or(NetError::TooManySockets("ports of the platform towards one task"))?;
        self.from = Some(from);
        Ok(from)
    }
}

impl Drop for PlatformSeat {
    fn drop(&mut self) {
        let sockets = self.interface.sockets();
        let by_platform = &sockets.by_platform;
        if let Some(from) = self.from {
            by_platform.ports.release(Key::new(Transport::Tcp, from));
        }
        by_platform.seats.set(by_platform.seats.get() - 1);
        sockets.charge.give_back(SOCKET_BYTES);
    }
}

impl Queued {
    fn begin(interface: &Interface) -> Result<Self, NetError> {
        let waiting = &interface.sockets().by_platform.waiting;
        if waiting.get() >= interface.limits().platform_waiting_max {
            return Err(NetError::Refused);
        }
        waiting.set(waiting.get() + 1);
        Ok(Self(interface.clone()))
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let waiting = &self.0.sockets().by_platform.waiting;
        waiting.set(waiting.get() - 1);
    }
}

/// A connection of the platform as the called task has it.
fn ingress(who: Remote, local: SocketAddr, remote: SocketAddr) -> Ends {
    Ends { direction: Direction::Ingress, transport: Transport::Tcp, local, remote, who }
}

/// The same as the platform has it.
fn egress(to: &Interface, local: SocketAddr, remote: SocketAddr) -> Ends {
    let who = Remote::Task(to.member().clone());
    Ends { direction: Direction::Egress, transport: Transport::Tcp, local, remote, who }
}
