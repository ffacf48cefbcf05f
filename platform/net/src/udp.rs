//! Datagrams: between tasks, and with the outside.
//!
//! A datagram to a task of this worker is put into the mailbox of the other socket at once; one to a task of another worker
//! goes over a wire; one to the outside over a socket of the kernel that is made with the first of them. As with kernels,
//! what finds no socket or no room is lost without a word.
//!
//! Rules are asked when the first datagram passes between a socket and another side, whichever way; from then on the two
//! are a flow, and answers need no rule, until nothing has passed for [`Limits::datagram_flow_idle`]. The receiving side
//! asks for itself. Nobody outside can send first: the kernel's port is nobody's address.
//!
//! It deliberately keeps no order between what came from tasks and from the outside.
//!
//! What always holds: who sent a datagram is known by the task, never by the address that it claims; what waits is bounded
//! in number and bytes and charged to the task that is to read it, and flows to the task whose they are; no borrow is held
//! while another socket is called.
//!
//! [`Limits::datagram_flow_idle`]: crate::Limits::datagram_flow_idle

use crate::charge::Charge;
use crate::error::NetError;
use crate::flow::{Ending, Ends, Flow, Remote, Reset};
use crate::interface::{Interface, Port, is_plain};
use crate::kernel::{KernelPlace, Purpose};
use crate::member::Member;
use crate::network::{Network, Place};
use crate::outbound::OutsideDatagrams;
use crate::socket::Waiting;
use crate::wires;
use bytes::Bytes;
use skiff_types::{Direction, Transport};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// Bytes that may wait to be read at one socket, each datagram counted with [`DATAGRAM_BYTES`]: as much as Linux takes by
/// default (`net.core.rmem_default`).
const MAILBOX_BYTES_MAX: usize = 208 << 10;
/// What a datagram that waits costs beside its bytes.
const DATAGRAM_BYTES: usize = 128;
/// What a flow with another side costs: itself, and its places in the socket's table and in the interface's list.
const FLOW_BYTES: u64 = 512;

/// A message that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// What it carries.
    pub bytes: Bytes,
    /// Where it came from.
    pub remote: SocketAddr,
}

/// A socket for datagrams. There is one waker each for receiving and for sending: the last that asked is woken.
pub struct UdpSocket {
    mailbox: Rc<Mailbox>,
    port: Port,
    outside: OnceCell<OutsideDatagrams>,
    /// Which of the two sources is looked at first the next time.
    is_outside_next: Cell<bool>,
}

/// What comes in at a port, and with whom it has to do.
pub(crate) struct Mailbox {
    interface: Interface,
    waiting: RefCell<VecDeque<Datagram>>,
    /// Their bytes, and [`DATAGRAM_BYTES`] for each.
    waiting_bytes: Cell<usize>,
    /// The one other side, if the socket is connected.
    connected: Cell<Option<SocketAddr>>,
    flows: RefCell<HashMap<SocketAddr, Exchange>>,
    is_closed: Cell<bool>,
    receiver: Waiting,
    sender: Waiting,
}

/// The flow with one other side.
struct Exchange {
    flow: Rc<Flow>,
    last_at: Instant,
    _charged: Charged,
}

/// What a flow is charged with; given back when dropped.
struct Charged(Rc<Charge>);

/// What a flow of datagrams breaks off when it is cut: nothing. The next datagram finds it ended, and asks the rules.
enum Nothing {}

impl Reset for Nothing {
    fn reset(&self) {
        match *self {}
    }
}

impl Interface {
    /// Sends and receives datagrams at a port.
    ///
    /// # Errors
    /// `InvalidArgument` if the port is another task's or another protocol's; `Closed`.
    pub fn bind_udp(&self, port: Port) -> Result<UdpSocket, NetError> {
        self.check_open()?;
        self.check_port(&port, Transport::Udp)?;
        let mailbox = Rc::new(Mailbox {
            interface: self.clone(),
            waiting: RefCell::default(),
            waiting_bytes: Cell::new(0),
            connected: Cell::new(None),
            flows: RefCell::default(),
            is_closed: Cell::new(false),
            receiver: Waiting::default(),
            sender: Waiting::default(),
        });
        port.receive(&mailbox);
        Ok(UdpSocket { mailbox, port, outside: OnceCell::new(), is_outside_next: Cell::new(false) })
    }
}

impl UdpSocket {
    /// Its address and port: as it was bound, or the address that it uses while it is connected.
    pub fn local(&self) -> SocketAddr {
        let local = self.port.local();
        match self.remote() {
            Some(remote) => self.local_to(remote),
            None => local,
        }
    }

    /// The one other side, if it is connected.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.mailbox.connected.get()
    }

    /// Has to do with nobody but `remote` from now on; what waits from others is forgotten. Nothing is sent.
    ///
    /// # Errors
    /// `InvalidArgument` for an address that is no host's, of another family, or with port 0; `Closed`.
    pub fn connect(&self, remote: SocketAddr) -> Result<(), NetError> {
        self.mailbox.check_open()?;
        let remote = self.checked(remote)?;
        self.mailbox.connected.set(Some(remote));
        self.mailbox.forget(|datagram| datagram.remote != remote);
        Ok(())
    }

    /// Has to do with everybody again.
    ///
    /// # Errors
    /// `InvalidState` if it is not connected; `Closed`.
    pub fn disconnect(&self) -> Result<(), NetError> {
        self.mailbox.check_open()?;
        self.mailbox.connected.take().map(|_| ()).ok_or(NetError::InvalidState)
    }

    /// The next datagram.
    ///
    /// # Errors
    /// `Closed` once the task's interface is.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Datagram, NetError>> {
        self.mailbox.check_open()?;
        let is_outside_first = self.is_outside_next.replace(!self.is_outside_next.get());
        let mut received = Poll::Pending;
        for is_outside in [is_outside_first, !is_outside_first] {
            received = match is_outside {
                true => self.poll_receive_outside(cx),
                false => self.mailbox.take().map_or(Poll::Pending, |datagram| Poll::Ready(Ok(datagram))),
            };
            if received.is_ready() {
                break;
            }
        }
        if received.is_pending() {
            self.mailbox.receiver.wait(cx);
        }
        received
    }

    /// Whether a datagram may be sent: not while the task has sent more to the outside than it may.
    ///
    /// # Errors
    /// `Closed` once the task's interface is.
    pub fn poll_sendable(&self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.mailbox.check_open()?;
        let sendable = self.outside.get().map_or(Poll::Ready(()), |outside| outside.poll_sendable(cx));
        if sendable.is_pending() {
            self.mailbox.sender.wait(cx);
        }
        sendable.map(Ok)
    }

    /// Sends a datagram to `remote`, or to whom the socket is connected. It may be lost on its way.
    ///
    /// # Errors
    /// `Denied` with the rule that is missing; `DatagramTooLarge`; `Unreachable` for an address of the virtual network that
    /// is nobody's; `InvalidArgument` for an address that is no host's, of another family, with port 0, or other than the
    /// one that the socket is connected to, and if there is none at all; `TooManySockets`; `OutOfMemory`; `Closed`.
    pub fn send(&self, bytes: Bytes, remote: Option<SocketAddr>) -> Result<(), NetError> {
        self.mailbox.check_open()?;
        let interface = &self.mailbox.interface;
        if bytes.len() > interface.limits().datagram_bytes_max {
            return Err(NetError::DatagramTooLarge);
        }
        let remote = self.target(remote)?;
        let who = interface.who_has(remote.ip())?;
        let local = self.local_to(remote);
        let ends = Ends { direction: Direction::Egress, transport: Transport::Udp, local, remote, who };
        let place = interface.network().place_of(&ends);
        let flow = self.mailbox.flow(&ends)?;
        let length = bytes.len() as u64;
        match place {
            Place::Here => {
                let Remote::Task(member) = &ends.who else { return Err(NetError::Unreachable) };
                interface.network().deliver_to(member, interface.member(), local, remote, bytes);
            }
            Place::Worker(worker) => {
                let from = interface.task();
                interface.network().wires().send(worker, &wires::Datagram { from, local, remote, bytes });
            }
            Place::Outside => self.outside()?.send(&bytes, remote)?,
            Place::Nowhere | Place::Platform => return Err(NetError::Unreachable),
        }
        flow.sent(length);
        Ok(())
    }

    /// Where a datagram goes.
    fn target(&self, remote: Option<SocketAddr>) -> Result<SocketAddr, NetError> {
        let target = match (self.remote(), remote) {
            (Some(connected), None) => return Ok(connected),
            (_, Some(remote)) => self.checked(remote)?,
            (None, None) => return Err(NetError::InvalidArgument),
        };
        let is_wanted = self.remote().is_none_or(|connected| connected == target);
        if is_wanted { Ok(target) } else { Err(NetError::InvalidArgument) }
    }

    /// Another side's address and port, without what else IPv6 may say of it: that means nothing here.
    fn checked(&self, remote: SocketAddr) -> Result<SocketAddr, NetError> {
        let is_host = is_plain(remote.ip()) && !remote.ip().is_unspecified() && remote.port() != 0;
        let is_of_family = remote.is_ipv4() == self.port.local().is_ipv4();
        match is_host && is_of_family {
            true => Ok(SocketAddr::new(remote.ip(), remote.port())),
            false => {
                self.mailbox.interface.note_no_remote(Transport::Udp, remote);
                Err(NetError::InvalidArgument)
            }
        }
    }

    fn local_to(&self, remote: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.mailbox.interface.address().of_family(remote.ip()), self.port.local().port())
    }

    /// The kernel's socket, made when it is first needed.
    fn outside(&self) -> Result<&OutsideDatagrams, NetError> {
        if let Some(outside) = self.outside.get() {
            return Ok(outside);
        }
        let rate = self.mailbox.interface.sockets().outside.clone();
        let place = KernelPlace::take(&self.mailbox.interface, Purpose::Outside)?;
        let made = OutsideDatagrams::open(self.port.local().ip(), rate, place)?;
        // Who waits to receive has to wait at this one too from now on.
        self.mailbox.receiver.wake();
        Ok(self.outside.get_or_init(|| made))
    }

    fn poll_receive_outside(&self, cx: &mut Context<'_>) -> Poll<Result<Datagram, NetError>> {
        let Some(outside) = self.outside.get() else { return Poll::Pending };
        loop {
            let (bytes, remote) = ready!(outside.poll_receive(cx))?;
            // From anybody else it is nothing that was asked for; nor does an address make anybody a task.
            let flow = self.mailbox.wants(remote).then(|| self.mailbox.open_flow(remote)).flatten();
            if let Some(flow) = flow.filter(|flow| matches!(flow.ends().who, Remote::Outside(_))) {
                flow.received(bytes.len() as u64);
                return Poll::Ready(Ok(Datagram { bytes, remote }));
            }
        }
    }
}

impl std::fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UdpSocket({})", self.local())
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

impl Network {
    /// Takes in a datagram of another worker's task.
    pub(crate) fn deliver(&self, datagram: wires::Datagram) {
        let wires::Datagram { from, local, remote, bytes } = datagram;
        let (Some(from), Some(to)) = (self.member(from), self.member_at(remote.ip())) else { return };
        if from.address().has(local.ip()) && to.is_here() {
            self.deliver_to(&to, &from, local, remote, bytes);
        }
    }

    /// Puts a datagram of the task `from`, from its address `source`, into the mailbox at `target`, an address of `to`.
    fn deliver_to(
        &self,
        to: &Rc<Member>,
        from: &Rc<Member>,
        source: SocketAddr,
        target: SocketAddr,
        bytes: Bytes,
    ) {
        let mailbox = to.opened_sockets().and_then(|sockets| sockets.ports.mailbox(target));
        let Some(mailbox) = mailbox.filter(|mailbox| mailbox.wants(source)) else { return };
        let ends = Ends {
            direction: Direction::Ingress,
            transport: Transport::Udp,
            local: target,
            remote: source,
            who: Remote::Task(from.clone()),
        };
        // What is denied was noted, and is lost like all else that nobody wants.
        if let Ok(flow) = mailbox.flow(&ends) {
            let length = bytes.len() as u64;
            if mailbox.put(Datagram { bytes, remote: source }) {
                flow.received(length);
            }
        }
    }

    /// Ends the flows of datagrams on which nothing has passed for long.
    pub(crate) fn end_silent_datagrams(&self, member: &Member) {
        let mailboxes = member.opened_sockets().map(|sockets| sockets.ports.mailboxes());
        mailboxes.into_iter().flatten().for_each(|mailbox| mailbox.end_silent());
    }
}

impl Mailbox {
    fn check_open(&self) -> Result<(), NetError> {
        if self.is_closed.get() { Err(NetError::Closed) } else { Ok(()) }
    }

    /// Whether the socket has to do with that side.
    fn wants(&self, remote: SocketAddr) -> bool {
        !self.is_closed.get() && self.connected.get().is_none_or(|connected| connected == remote)
    }

    /// The flow with another side, as if something passed now; the rules are asked if there is none that goes on.
    ///
    /// # Errors
    /// `Denied` with the rule that is missing; `OutOfMemory`.
    fn flow(&self, ends: &Ends) -> Result<Rc<Flow>, NetError> {
        let open = self.open_flow(ends.remote).filter(|flow| is_same(&flow.ends().who, &ends.who));
        if let Some(flow) = open {
            return Ok(flow);
        }
        self.interface.check(ends)?;
        self.make_room_for(ends.remote);
        let charged = Charged::take(&self.interface.sockets().charge)?;
        let flow = Flow::open(&self.interface, ends.clone(), Weak::<Nothing>::new());
        let exchange = Exchange { flow: flow.clone(), last_at: Instant::now(), _charged: charged };
        self.flows.borrow_mut().insert(ends.remote, exchange);
        Ok(flow)
    }

    /// The flow with another side that goes on, as if something passed now.
    fn open_flow(&self, remote: SocketAddr) -> Option<Rc<Flow>> {
        let now = Instant::now();
        let idle_max = self.interface.limits().datagram_flow_idle;
        let mut flows = self.flows.borrow_mut();
        let exchange = flows.get_mut(&remote).filter(|exchange| !exchange.is_silent(now, idle_max))?;
        exchange.last_at = now;
        Some(exchange.flow.clone())
    }

    /// Ends what there is with `remote`, and where there are too many others, what is silent or else has been for longest.
    fn make_room_for(&self, remote: SocketAddr) {
        let old = self.flows.borrow_mut().remove(&remote);
        if let Some(old) = old {
            old.flow.end(Ending::Silent);
        }
        let flows_max = self.interface.limits().datagram_flows_max.max(1);
        if self.flows.borrow().len() >= flows_max {
            self.end_silent();
        }
        let mut flows = self.flows.borrow_mut();
        if flows.len() >= flows_max {
            let longest =
                flows.iter().min_by_key(|(_, exchange)| exchange.last_at).map(|(remote, _)| *remote);
            let ended = longest.and_then(|remote| flows.remove(&remote));
            drop(flows);
            if let Some(ended) = ended {
                ended.flow.end(Ending::Silent);
            }
        }
    }

    fn end_silent(&self) {
        let now = Instant::now();
        let idle_max = self.interface.limits().datagram_flow_idle;
        let silent: Vec<_> =
            self.flows.borrow_mut().extract_if(|_, exchange| exchange.is_silent(now, idle_max)).collect();
        silent.iter().for_each(|(_, exchange)| exchange.flow.end(Ending::Silent));
    }

    fn take(&self) -> Option<Datagram> {
        let datagram = self.waiting.borrow_mut().pop_front()?;
        self.freed(DATAGRAM_BYTES + datagram.bytes.len());
        Some(datagram)
    }

    /// Puts a datagram behind those that wait; false if it is lost because there is no room.
    fn put(&self, datagram: Datagram) -> bool {
        let more_bytes = DATAGRAM_BYTES + datagram.bytes.len();
        let waiting_bytes = self.waiting_bytes.get() + more_bytes;
        let has_room = self.waiting.borrow().len() < self.interface.limits().datagrams_queued_max
            && waiting_bytes <= MAILBOX_BYTES_MAX
            && self.interface.sockets().charge.take(more_bytes as u64).is_ok();
        if has_room {
            self.waiting_bytes.set(waiting_bytes);
            self.waiting.borrow_mut().push_back(datagram);
            self.receiver.wake();
        }
        has_room
    }

    fn forget(&self, is_forgotten: impl Fn(&Datagram) -> bool) {
        let mut forgotten_bytes = 0;
        self.waiting.borrow_mut().retain(|datagram| {
            let is_kept = !is_forgotten(datagram);
            if !is_kept {
                forgotten_bytes += DATAGRAM_BYTES + datagram.bytes.len();
            }
            is_kept
        });
        self.freed(forgotten_bytes);
    }

    fn freed(&self, bytes: usize) {
        self.waiting_bytes.set(self.waiting_bytes.get() - bytes);
        self.interface.sockets().charge.give_back(bytes as u64);
    }

    /// Takes no more, forgets what waits, ends its flows, and wakes who waits.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.forget(|_| true);
        let flows = self.flows.take();
        flows.values().for_each(|exchange| exchange.flow.end(Ending::Closed));
        self.receiver.wake();
        self.sender.wake();
    }
}

impl Charged {
    fn take(charge: &Rc<Charge>) -> Result<Self, NetError> {
        charge.take(FLOW_BYTES)?;
        Ok(Self(charge.clone()))
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.0.give_back(FLOW_BYTES);
    }
}

impl Exchange {
    /// Whether it is over: cut, or nothing has passed for long.
    fn is_silent(&self, now: Instant, idle_max: std::time::Duration) -> bool {
        self.flow.has_ended() || now.saturating_duration_since(self.last_at) >= idle_max
    }
}

/// Whether the other side is still who it was: its address may be another's by now.
fn is_same(known: &Remote, now: &Remote) -> bool {
    match (known, now) {
        (Remote::Task(known), Remote::Task(now)) => Rc::ptr_eq(known, now),
        (Remote::Outside(_), Remote::Outside(_)) => true,
        // Nobody sends datagrams to the platform, nor it to anybody.
        (
            Remote::Task(_) | Remote::Outside(_) | Remote::Balancer | Remote::Forward | Remote::Platform(_),
            _,
        ) => false,
    }
}
