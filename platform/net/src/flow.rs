//! One connection, or what passes for one, as one task's interface sees it: counted, cut, and written down.
//!
//! Between two tasks of one worker there are two flows, one at each interface, and each is judged, counted and written
//! down for itself. Which rule allows a flow is asked again whenever it is written down, so that an open one holds no
//! text.
//!
//! It deliberately does not know what carries the bytes: who opens a flow says what is to be reset when it is cut.
//!
//! What always holds: a flow is in its interface's list from its opening to its end, and its end is written down once,
//! whichever way it comes, at the latest when the last holder lets go of it; after that nothing is counted.

use crate::interface::Interface;
use crate::member::Member;
use crate::pipe::Pipe;
use crate::policy::{Decision, Missing};
use skiff_kit::clock;
use skiff_ports::flows::{FlowRecord, Verdict};
use skiff_types::{Direction, Kind, Name, Transport};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

/// What a cut flow breaks off.
pub(crate) trait Reset {
    /// Breaks it off for both sides: every later call says `Reset`, and whoever waits is woken.
    fn reset(&self);
}

/// The other side, as rules see it.
#[derive(Clone)]
pub(crate) enum Remote {
    /// A task, wherever it lives.
    Task(Rc<Member>),
    /// An address outside, and the names that the task has learnt it by.
    Outside(Rc<[Box<str>]>),
    /// The load balancer. It connects to daemons; `http` tasks it calls without a flow, and may only be denied.
    Balancer,
    /// An operator, by way of the platform: let in whatever the rules say.
    Forward,
    /// A service of the platform itself, at its own address: the internal listener of this name, if there is one at the port.
    Platform(Option<Name>),
}

/// What a flow is between.
#[derive(Clone)]
pub(crate) struct Ends {
    /// Which way it was opened, as seen from the interface.
    pub(crate) direction: Direction,
    pub(crate) transport: Transport,
    /// The interface's address and port.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Who has the remote address.
    pub(crate) who: Remote,
}

/// How a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// This side was done with it.
    Closed,
    /// It was broken off, by the other side or on the way.
    Reset,
    /// Nothing had passed for a while.
    Silent,
    /// Its task ended.
    TaskEnded,
}

/// A flow at an interface.
pub(crate) struct Flow {
    interface: Interface,
    ends: Ends,
    target: Weak<dyn Reset>,
    began_at_ms: u64,
    sent: Count,
    received: Count,
    /// How often it was opened: once, but for calls.
    openings: Count,
    has_ended: Cell<bool>,
    /// Where it is in its interface's list.
    pub(crate) place: Cell<usize>,
}

/// How much, and how much of it is written down already.
#[derive(Default)]
struct Count {
    total: Cell<u64>,
    written: Cell<u64>,
}

impl Ends {
    /// The port that rules speak of: of whoever was connected to.
    pub(crate) fn port(&self) -> u16 {
        match self.direction {
            Direction::Egress => self.remote.port(),
            Direction::Ingress => self.local.port(),
        }
    }
}

impl Remote {
    /// As a record names it.
    pub(crate) fn describe(&self) -> Option<String> {
        match self {
            Self::Task(member) => Some(format!("{} {}", member.identity().owner, member.task())),
            Self::Outside(names) => names.first().map(|name| name.to_string()),
            Self::Balancer => Some("load-balancer".to_owned()),
            Self::Forward => Some("forward".to_owned()),
            Self::Platform(Some(listener)) => Some(format!("listener {listener}")),
            Self::Platform(None) => Some("platform".to_owned()),
        }
    }
}

impl Flow {
    /// Opens a flow that the rules allow; cutting it resets `target`.
    pub(crate) fn open(interface: &Interface, ends: Ends, target: Weak<dyn Reset>) -> Rc<Self> {
        let flow = Rc::new(Self::new(interface, ends, target));
        interface.sockets().flows.add(&flow);
        interface.row().net_open.add(1);
        if flow.is_inbound() {
            interface.row().net_inbound.add(1);
        }
        flow.open_again();
        flow
    }

    /// Of an end that is not listed, judged, counted nor written down, as if it had ended: the platform's own, whose other
    /// end is a flow of the task; and both of a probe.
    pub(crate) fn unseen(interface: &Interface, ends: Ends) -> Rc<Self> {
        let flow = Self::new(interface, ends, Weak::<Pipe>::new());
        flow.has_ended.set(true);
        Rc::new(flow)
    }

    fn new(interface: &Interface, ends: Ends, target: Weak<dyn Reset>) -> Self {
        Self {
            interface: interface.clone(),
            ends,
            target,
            began_at_ms: clock::unix_ms(),
            sent: Count::default(),
            received: Count::default(),
            openings: Count::default(),
            has_ended: Cell::new(false),
            place: Cell::new(0),
        }
    }

    /// Counts another opening of the same.
    pub(crate) fn open_again(&self) {
        if !self.has_ended.get() {
            self.openings.add(1);
            self.interface.row().net_connections.add(1);
        }
    }

    pub(crate) fn ends(&self) -> &Ends {
        &self.ends
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.ends.local
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.ends.remote
    }

    /// Whether it was cut, or has ended otherwise.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Counts bytes that went out of the interface.
    pub(crate) fn sent(&self, bytes: u64) {
        if !self.has_ended.get() {
            self.sent.add(bytes);
            self.interface.row().net_sent_bytes.add(bytes);
        }
    }

    /// Counts bytes that came in.
    pub(crate) fn received(&self, bytes: u64) {
        if !self.has_ended.get() {
            self.received.add(bytes);
            self.interface.row().net_received_bytes.add(bytes);
        }
    }

    /// Ends it, once, and writes that down.
    pub(crate) fn end(&self, ending: Ending) {
        if self.leave() {
            let how = match ending {
                Ending::Closed => "closed",
                Ending::Reset => "reset",
                Ending::Silent => "nothing more came",
                Ending::TaskEnded => "the task ended",
            };
            let note = match self.allowed_by() {
                Some(rule) => format!("{rule}; {how}"),
                None => how.to_owned(),
            };
            self.write(Verdict::Accept, false, note);
        }
    }

    /// Ends it because its task did.
    pub(crate) fn break_off(&self) {
        self.end(Ending::TaskEnded);
        self.reset_target();
    }

    /// Ends it because no rule allows it any more.
    pub(crate) fn cut(&self, missing: &Missing) {
        if self.leave() {
            self.interface.row().net_denied.add(1);
            self.write(Verdict::Reject, false, missing.reason.clone());
            self.reset_target();
        }
    }

    /// Whether the rules allow it as they are now.
    pub(crate) fn judge(&self) -> Decision {
        self.interface.network().judge(self.interface.member(), &self.ends)
    }

    /// Whether either side is another to rules than before the change that is being made.
    pub(crate) fn is_touched(&self) -> bool {
        let is_other_side_touched = match &self.ends.who {
            Remote::Task(member) => member.is_touched(),
            Remote::Outside(_) | Remote::Balancer | Remote::Forward | Remote::Platform(_) => false,
        };
        is_other_side_touched || self.interface.member().is_touched()
    }

    /// Writes down that it goes on, if anything has passed since it was written down last.
    pub(crate) fn write_open(&self) {
        let counts = [&self.sent, &self.received, &self.openings];
        if !self.has_ended.get() && counts.iter().any(|count| count.unwritten() > 0) {
            self.write(Verdict::Accept, true, self.allowed_by().unwrap_or_default());
        }
    }

    /// What there is to tell of it now, bytes since it began.
    pub(crate) fn describe(&self) -> FlowRecord {
        FlowRecord {
            sent_bytes: self.sent.total.get(),
            received_bytes: self.received.total.get(),
            count: count(self.openings.total.get()),
            ..self.record(Verdict::Accept, true, self.allowed_by().unwrap_or_default())
        }
    }

    /// Takes it out of what is open; false if it was not in there any more.
    fn leave(&self) -> bool {
        let is_first = !self.has_ended.replace(true);
        if is_first {
            self.interface.sockets().flows.remove(self);
            self.interface.row().net_open.subtract(1);
            if self.is_inbound() {
                self.interface.row().net_inbound.subtract(1);
            }
        }
        is_first
    }

    /// Whether it is a connection to a daemon. Calls of `http` tasks are flows, too, but none that a stop waits for.
    fn is_inbound(&self) -> bool {
        let Ends { direction, transport, .. } = self.ends;
        let is_connection = direction == Direction::Ingress && transport == Transport::Tcp;
        is_connection && self.interface.member().kind() == Kind::Command
    }

    fn reset_target(&self) {
        if let Some(target) = self.target.upgrade() {
            target.reset();
        }
    }

    /// The rule of the interface's own task that allows it.
    fn allowed_by(&self) -> Option<String> {
        let rule = match (self.judge(), self.ends.direction) {
            (Decision::Allowed { egress, .. }, Direction::Egress) => egress?,
            (Decision::Allowed { ingress, .. }, Direction::Ingress) => ingress?,
            (Decision::Denied(_), _) => return None,
        };
        Some(format!("{}: {}", rule.0, rule.1))
    }

    fn write(&self, verdict: Verdict, open: bool, note: String) {
        let record = self.record(verdict, open, note);
        [&self.sent, &self.received, &self.openings].into_iter().for_each(Count::note_written);
        self.interface.network().flow_log().record(record);
    }

    fn record(&self, verdict: Verdict, open: bool, note: String) -> FlowRecord {
        let identity = self.interface.identity();
        FlowRecord {
            began_at_ms: self.began_at_ms,
            at_ms: clock::unix_ms(),
            task: identity.task,
            owner: identity.owner.clone(),
            direction: self.ends.direction,
            transport: self.ends.transport,
            local: self.ends.local,
            remote: self.ends.remote,
            peer: self.ends.who.describe(),
            sent_bytes: self.sent.unwritten(),
            received_bytes: self.received.unwritten(),
            verdict,
            open,
            note,
            count: count(self.openings.unwritten()),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.end(Ending::Closed);
    }
}

impl Count {
    fn add(&self, more: u64) {
        self.total.set(self.total.get() + more);
    }

    fn unwritten(&self) -> u64 {
        self.total.get() - self.written.get()
    }

    fn note_written(&self) {
        self.written.set(self.total.get());
    }
}

/// Openings as a record has them: one that only says how a flow went on stands for one.
fn count(openings: u64) -> u32 {
    u32::try_from(openings.max(1)).unwrap_or(u32::MAX)
}
