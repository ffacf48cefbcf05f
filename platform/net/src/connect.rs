//! Opens connections: within this worker, to another one, and to the outside; and lets in those that come from another.
//! Those that the platform itself opens are in `platform`, those to it in `internal`.
//!
//! Within this worker the connection stands in the other task's backlog when the attempt returns, which waits only where
//! that is full. To another worker, both ask the rules: this one to say at once what is missing, that one because its word
//! counts.
//!
//! What always holds: nothing is opened that the rules did not allow when it was opened, however long that took; attempts
//! that wait are bounded in number and time, and one that is dropped leaves nothing behind.

use crate::error::NetError;
use crate::flow::{Ends, Flow, Remote, Reset};
use crate::interface::{Interface, Port, is_plain};
use crate::kernel::{KernelPlace, Purpose};
use crate::listener::Backlog;
use crate::network::{Network, Place};
use crate::outbound::OutsideStream;
use crate::pipe;
use crate::stream::{Carrier, Stream};
use crate::wires::{Caller, Opener, Opening};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use skiff_types::{Direction, TaskId, Transport};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};
use tokio::time::timeout;

/// An attempt that is under way.
struct HalfOpen(Interface);

/// A connection of another worker's task to this one that waits for room.
struct Arriving {
    to: Interface,
    _kernel: KernelPlace,
}

impl Interface {
    /// Opens a connection from a port, or from any. Whoever drops this has given up.
    ///
    /// # Errors
    /// `Denied` with the rule that is missing; `Refused` if nobody takes connections there, or there is no room;
    /// `Unreachable` for an address of the virtual network that is nobody's; `TimedOut`; `InvalidArgument` for an address
    /// that is no host's, port 0, or a port of another family; `AddressInUse` if no port is free; `TooManySockets`;
    /// `OutOfMemory`; `Closed`.
    pub fn connect(
        &self,
        port: Option<Port>,
        remote: SocketAddr,
    ) -> LocalBoxFuture<'static, Result<Stream, NetError>> {
        let interface = self.clone();
        async move {
            let limit = interface.limits().connect_timeout;
            let opened = timeout(limit, interface.open(port, remote)).await;
            opened.unwrap_or(Err(NetError::TimedOut))
        }
        .boxed_local()
    }

    async fn open(&self, port: Option<Port>, remote: SocketAddr) -> Result<Stream, NetError> {
        self.check_open()?;
        if !is_plain(remote.ip()) || remote.ip().is_unspecified() || remote.port() == 0 {
            self.note_no_remote(Transport::Tcp, remote);
            return Err(NetError::InvalidArgument);
        }
        let _half_open = HalfOpen::begin(self)?;
        let port = self.port_for(port, remote)?;
        let local = SocketAddr::new(self.address().of_family(remote.ip()), port.local().port());
        let who = match self.platform_at(remote) {
            Some(platform) => platform,
            None => self.who_has(remote.ip())?,
        };
        let ends = Ends { direction: Direction::Egress, transport: Transport::Tcp, local, remote, who };
        self.check(&ends)?;
        let connects = &self.sockets().connects;
        if connects.turn().await {
            self.check_again(&ends)?;
        }
        connects.spend(1);
        match self.network().place_of(&ends) {
            Place::Here => self.open_here(ends, port).await,
            Place::Worker(worker) => self.open_line(worker, ends, port).await,
            Place::Outside => self.open_outside(ends, port).await,
            Place::Platform => self.open_to_platform(ends, port),
            Place::Nowhere => Err(NetError::Unreachable),
        }
    }

    /// The port to connect from.
    fn port_for(&self, port: Option<Port>, remote: SocketAddr) -> Result<Port, NetError> {
        let Some(port) = port else {
            let any: IpAddr = match remote {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            return self.bind(Transport::Tcp, SocketAddr::new(any, 0));
        };
        self.check_port(&port, Transport::Tcp)?;
        let is_of_family = port.local().is_ipv4() == remote.is_ipv4();
        if is_of_family { Ok(port) } else { Err(NetError::InvalidArgument) }
    }

    /// Who has an address, as rules see it.
    ///
    /// # Errors
    /// `Unreachable` if it is of the virtual network, and nobody's.
    pub(crate) fn who_has(&self, address: IpAddr) -> Result<Remote, NetError> {
        match self.network().member_at(address) {
            Some(member) => Ok(Remote::Task(member)),
            None if self.network().is_inside(address) => Err(NetError::Unreachable),
            None => Ok(Remote::Outside(self.look_ups().names_of(address))),
        }
    }

    async fn open_here(&self, ends: Ends, port: Port) -> Result<Stream, NetError> {
        let Remote::Task(member) = &ends.who else { return Err(NetError::Unreachable) };
        let other = Interface::new(self.network().clone(), member.clone());
        if let Some(backlog) = other.full_backlog(ends.remote) {
            backlog.wait_for_room().await;
            self.check_again(&ends)?;
        }
        let entrance = other.entrance(ends.remote)?;
        let charges = [self, &other].map(|side| side.sockets().charge.clone());
        let (ours, theirs) = pipe::pair(self.limits().pipe_bytes_max, charges);
        let their_ends = Ends {
            direction: Direction::Ingress,
            transport: Transport::Tcp,
            local: ends.remote,
            remote: ends.local,
            who: Remote::Task(self.member().clone()),
        };
        let target = Rc::downgrade(ours.pipe());
        entrance.enter(Carrier::Pipe(theirs), target.clone(), their_ends);
        Ok(self.stream(Carrier::Pipe(ours), target, ends, port))
    }

    async fn open_line(&self, worker: u32, ends: Ends, mut port: Port) -> Result<Stream, NetError> {
        port.take_kernel_place(Purpose::Line)?;
        let opening = Opening { from: Opener::Task(self.task()), local: ends.local, remote: ends.remote };
        let charge = self.sockets().charge.clone();
        let line = Rc::new(self.network().wires().open(worker, opening, charge).await?);
        self.check_again(&ends)?;
        let target = Rc::downgrade(&line);
        Ok(self.stream(Carrier::Line(line), target, ends, port))
    }

    async fn open_outside(&self, ends: Ends, mut port: Port) -> Result<Stream, NetError> {
        port.take_kernel_place(Purpose::Outside)?;
        let (rate, charge) = (self.sockets().outside.clone(), self.sockets().charge.clone());
        let stream = Rc::new(OutsideStream::connect(ends.remote, rate, charge).await?);
        self.check_again(&ends)?;
        let target = Rc::downgrade(&stream);
        Ok(self.stream(Carrier::Outside(stream), target, ends, port))
    }

    /// Whether what was allowed when an attempt began still is.
    fn check_again(&self, ends: &Ends) -> Result<(), NetError> {
        self.check_open()?;
        self.check(ends)
    }

    pub(crate) fn stream(&self, carrier: Carrier, target: Weak<dyn Reset>, ends: Ends, port: Port) -> Stream {
        Stream::new(carrier, Flow::open(self, ends, target), port)
    }

    /// What waits at one of its ports, if there is no room for more.
    fn full_backlog(&self, local: SocketAddr) -> Option<Rc<Backlog>> {
        self.check_open().ok()?;
        self.backlog_at(local).filter(|backlog| !backlog.has_room())
    }

    /// The way in for a connection to one of its ports.
    ///
    /// # Errors
    /// `Refused` if nobody takes connections there, or there is no room for one more.
    fn entrance(&self, local: SocketAddr) -> Result<Entrance, NetError> {
        self.check_open().map_err(|_| NetError::Refused)?;
        let backlog = self.backlog_at(local).filter(|backlog| backlog.has_room());
        let backlog = backlog.ok_or(NetError::Refused)?;
        let port = self.share_port(Transport::Tcp, local).map_err(|_| NetError::Refused)?;
        Ok(Entrance { interface: self.clone(), backlog, port })
    }

    /// What takes connections at one of its ports. A task that never opened a socket has none, and gets none by being
    /// called.
    fn backlog_at(&self, local: SocketAddr) -> Option<Rc<Backlog>> {
        self.member().opened_sockets()?.ports.backlog(local)
    }
}

/// The way into a backlog that has room.
struct Entrance {
    interface: Interface,
    backlog: Rc<Backlog>,
    port: Port,
}

impl Entrance {
    fn enter(self, carrier: Carrier, target: Weak<dyn Reset>, ends: Ends) {
        let stream = self.interface.stream(carrier, target, ends, self.port);
        self.backlog.push(stream);
    }
}

impl Network {
    /// Lets in a connection that comes from another worker, once there is room, or says why not.
    pub(crate) fn let_in(&self, opening: Opening, caller: Caller) {
        let Opening { from, local, remote } = opening;
        let from = match from {
            Opener::Task(from) => from,
            Opener::Platform(origin) => return self.let_platform_in(origin, remote, caller),
        };
        let to = self.member_at(remote.ip()).filter(|to| to.is_here());
        let to = to.map(|to| Interface::new(self.clone(), to));
        let full = to.and_then(|to| Some((to.full_backlog(remote)?, to)));
        let Some((backlog, to)) = full else { return self.let_task_in(from, local, remote, caller) };
        // Who has given up waits here all the same, with its socket.
        let Some(arriving) = Arriving::begin(to) else { return caller.refuse() };
        let network = self.clone();
        tokio::task::spawn_local(async move {
            backlog.wait_for_room().await;
            drop(arriving);
            network.let_task_in(from, local, remote, caller);
        });
    }

    fn let_task_in(&self, from: TaskId, local: SocketAddr, remote: SocketAddr, caller: Caller) {
        let (Some(from), Some(to)) = (self.member(from), self.member_at(remote.ip())) else {
            return caller.refuse();
        };
        if !from.address().has(local.ip()) || !to.is_here() || to.is_closed() {
            return caller.refuse();
        }
        let interface = Interface::new(self.clone(), to);
        let ends = Ends {
            direction: Direction::Ingress,
            transport: Transport::Tcp,
            local: remote,
            remote: local,
            who: Remote::Task(from),
        };
        if let Some(sentence) = interface.denied(&ends) {
            return caller.deny(&sentence);
        }
        let Ok(mut entrance) = interface.entrance(remote) else { return caller.refuse() };
        if entrance.port.take_kernel_place(Purpose::Line).is_err() {
            return caller.refuse();
        }
        match caller.accept(interface.sockets().charge.clone()) {
            Ok(line) => {
                let line = Rc::new(line);
                let target = Rc::downgrade(&line);
                entrance.enter(Carrier::Line(line), target, ends);
            }
            // It has given up, or this worker has run out of descriptors, which it says itself by closing.
            Err(error) => tracing::debug!(%error, "a line of another worker was not let in"),
        }
    }
}

impl HalfOpen {
    fn begin(interface: &Interface) -> Result<Self, NetError> {
        let half_open = &interface.sockets().half_open;
        if half_open.get() >= interface.limits().half_open_max {
            return Err(NetError::TooManySockets("connections of one task that are being opened"));
        }
        half_open.set(half_open.get() + 1);
        Ok(Self(interface.clone()))
    }
}

impl Arriving {
    /// `None` if too many do.
    fn begin(to: Interface) -> Option<Self> {
        let arriving = &to.sockets().arriving;
        if arriving.get() >= to.limits().arriving_max {
            return None;
        }
        let kernel = KernelPlace::take(&to, Purpose::Line).ok()?;
        arriving.set(arriving.get() + 1);
        Some(Self { to, _kernel: kernel })
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let arriving = &self.to.sockets().arriving;
        arriving.set(arriving.get() - 1);
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        let half_open = &self.0.sockets().half_open;
        half_open.set(half_open.get() - 1);
    }
}
