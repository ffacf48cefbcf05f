//! One task's network interface in this worker: its ports, and what is opened from them.
//!
//! A task binds to its own addresses only, any port, whoever else has the same. How connections are opened is in
//! `connect`; datagrams are in `udp`, names in `resolve`.
//!
//! What always holds: who calls is the task that the interface was made for; what a task has of sockets is bounded and
//! charged to its memory, and is given back when what holds it is dropped; a closed interface opens nothing any more.

use crate::config::Limits;
use crate::error::NetError;
use crate::flow::Ends;
use crate::kernel::{KernelPlace, Purpose};
use crate::listener::{Backlog, Listener};
use crate::member::{Home, Member, Sockets};
use crate::network::Network;
use crate::policy::{Decision, Identity};
use crate::ports::{Key, Share};
use crate::resolve::LookUps;
use crate::udp::Mailbox;
use skiff_ledger::TaskRow;
use skiff_types::{TaskAddress, TaskId, Transport};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// What a socket is charged with, beside the bytes that wait in it: its structures here and in `host-net`.
pub(crate) const SOCKET_BYTES: u64 = 1 << 10;

/// A task's interface. Cheap to clone.
#[derive(Clone)]
pub struct Interface {
    network: Network,
    member: Rc<Member>,
}

/// A place among a task's sockets, given back when dropped.
struct Seat(Interface);

/// A socket's port. Given back when dropped, unless it is a listener's, that accepted streams share.
pub struct Port {
    seat: Seat,
    transport: Transport,
    local: SocketAddr,
    is_owned: bool,
    /// The place of the kernel's socket that it is connected by, if it is by one.
    kernel: Option<KernelPlace>,
}

impl Interface {
    pub(crate) fn new(network: Network, member: Rc<Member>) -> Self {
        Self { network, member }
    }

    /// Whose it is.
    pub fn task(&self) -> TaskId {
        self.member.task()
    }

    /// Its addresses.
    pub fn address(&self) -> TaskAddress {
        self.member.address()
    }

    /// Who the task is to rules at present.
    pub fn identity(&self) -> Rc<Identity> {
        self.member.identity()
    }

    /// Takes a port of the task's own address, or of the unspecified one, which means the same; with port 0, any port.
    ///
    /// # Errors
    /// `AddressNotBindable` for any other address; `InvalidArgument` if it is no unicast address, or IPv4 in the form of
    /// IPv6; `AddressInUse`; `TooManySockets`; `OutOfMemory`; `Closed`.
    pub fn bind(&self, transport: Transport, local: SocketAddr) -> Result<Port, NetError> {
        self.check_open()?;
        let address = local.ip();
        if !is_plain(address) {
            return Err(NetError::InvalidArgument);
        }
        if !address.is_unspecified() && !self.address().has(address) {
            self.note_not_own(transport, local);
            return Err(NetError::AddressNotBindable);
        }
        let seat = Seat::take(self)?;
        let ports = &self.sockets().ports;
        let local = match local.port() {
            0 => ports.take_any(transport, local, self.share()).ok_or(NetError::AddressInUse)?,
            _ if ports.take(Key::new(transport, local)) => local,
            _ => return Err(NetError::AddressInUse),
        };
        Ok(Port { seat, transport, local, is_owned: true, kernel: None })
    }

    /// Takes connections at a port; `backlog` of them, or as many as the platform allows, may wait to be accepted.
    ///
    /// # Errors
    /// `InvalidArgument` if the port is another task's or another protocol's; `Closed`.
    pub fn listen(&self, port: Port, backlog: usize) -> Result<Listener, NetError> {
        self.check_open()?;
        self.check_port(&port, Transport::Tcp)?;
        Ok(Listener::new(port, self.backlog_max(backlog)))
    }

    /// Ends everything that the task has of the network in this worker, because the task has ended.
    pub fn close_all(&self) {
        if !self.member.close() {
            return;
        }
        let Some(sockets) = self.member.opened_sockets() else { return };
        sockets.flows.all().iter().for_each(|flow| flow.break_off());
        sockets.ports.backlogs().iter().for_each(|backlog| backlog.close());
        sockets.ports.mailboxes().iter().for_each(|mailbox| mailbox.close());
        self.forget_denials();
        sockets.charge.close();
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn member(&self) -> &Rc<Member> {
        &self.member
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.network.limits()
    }

    pub(crate) fn sockets(&self) -> &Sockets {
        self.member.sockets(self.network.limits())
    }

    pub(crate) fn look_ups(&self) -> &LookUps {
        &self.sockets().look_ups
    }

    /// The task's account in this worker.
    pub(crate) fn row(&self) -> &TaskRow {
        self.member.row()
    }

    /// # Errors
    /// `Closed` if it is.
    pub(crate) fn check_open(&self) -> Result<(), NetError> {
        if self.member.is_closed() { Err(NetError::Closed) } else { Ok(()) }
    }

    /// # Errors
    /// `InvalidArgument` if a port is not this interface's, or of another protocol.
    pub(crate) fn check_port(&self, port: &Port, transport: Transport) -> Result<(), NetError> {
        let is_own = Rc::ptr_eq(&port.seat.0.member, &self.member);
        if is_own && port.transport == transport { Ok(()) } else { Err(NetError::InvalidArgument) }
    }

    /// Asks the rules; what they deny is noted, and the sentence that says which rule is missing is given.
    pub(crate) fn denied(&self, ends: &Ends) -> Option<String> {
        match self.network.judge(&self.member, ends) {
            Decision::Allowed { .. } => None,
            Decision::Denied(missing) => {
                let sentence = missing.reason.clone();
                self.note_denial(ends, missing);
                Some(sentence)
            }
        }
    }

    /// The same, as an error.
    ///
    /// # Errors
    /// `Denied`.
    pub(crate) fn check(&self, ends: &Ends) -> Result<(), NetError> {
        self.denied(ends).map_or(Ok(()), |sentence| Err(NetError::Denied(sentence)))
    }

    /// A share of a port that is bound already, for a socket that was not asked for: a connection that arrives.
    ///
    /// # Errors
    /// `TooManySockets`; `OutOfMemory`.
    pub(crate) fn share_port(&self, transport: Transport, local: SocketAddr) -> Result<Port, NetError> {
        Ok(Port { seat: Seat::take(self)?, transport, local, is_owned: false, kernel: None })
    }

    fn backlog_max(&self, count_max: usize) -> usize {
        count_max.clamp(1, self.limits().backlog_max.max(1))
    }

    /// The ports that are given out in this worker: where a task is in all workers, each has its own, so that who answers
    /// finds the worker that asked.
    fn share(&self) -> Share {
        match self.member.home() {
            Home::Everywhere => self.network.share_of_ports(),
            Home::Worker(_) | Home::Nowhere => Share { remainder: 0, of: 1 },
        }
    }
}

impl Port {
    /// The address as it was bound, and the port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Takes a place for a socket of the kernel, which is kept as long as the port.
    ///
    /// # Errors
    /// `TooManySockets`; `OutOfMemory`; `Closed`.
    pub(crate) fn take_kernel_place(&mut self, purpose: Purpose) -> Result<(), NetError> {
        self.kernel = Some(KernelPlace::take(&self.seat.0, purpose)?);
        Ok(())
    }

    /// Lets it take connections.
    pub(crate) fn listen(&self, backlog: &Rc<Backlog>) {
        self.seat.0.sockets().ports.listen(self.key(), backlog);
    }

    /// Lets it take datagrams.
    pub(crate) fn receive(&self, mailbox: &Rc<Mailbox>) {
        self.seat.0.sockets().ports.receive(self.key(), mailbox);
    }

    pub(crate) fn backlog_max(&self, count_max: usize) -> usize {
        self.seat.0.backlog_max(count_max)
    }

    fn key(&self) -> Key {
        Key::new(self.transport, self.local)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.is_owned {
            self.seat.0.sockets().ports.release(self.key());
        }
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Port({} {})", self.transport, self.local)
    }
}

impl std::fmt::Debug for Interface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Interface({:?})", self.task())
    }
}

impl Seat {
    fn take(interface: &Interface) -> Result<Self, NetError> {
        let sockets = interface.sockets();
        let count = sockets.count.get();
        if count >= interface.limits().sockets_max {
            return Err(NetError::TooManySockets("sockets of one task"));
        }
        sockets.charge.take(SOCKET_BYTES)?;
        sockets.count.set(count + 1);
        Ok(Self(interface.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let sockets = self.0.sockets();
        sockets.count.set(sockets.count.get() - 1);
        sockets.charge.give_back(SOCKET_BYTES);
    }
}

/// Whether an address is one host's, written in its own family's way.
pub(crate) fn is_plain(address: IpAddr) -> bool {
    let is_broadcast = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    address.to_canonical() == address && !address.is_multicast() && !is_broadcast
}
