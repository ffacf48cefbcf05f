//! All that is open at the interfaces of this worker, and what was denied there.
//!
//! Flows are kept by interface. A change of rules looks only at flows of which one side is in a group that changed, or
//! whose groups did. Every interval, what is open and had traffic is written down. A denied attempt is written down at
//! once; those like it within the interval are counted, and written down as one.
//!
//! What always holds: what is remembered of denials is bounded for each task by itself, so that none hides another's; a
//! denial is counted on the task's account, whether it is written down or not. No borrow is held while a flow is ended
//! or written down.

use crate::flow::{Ends, Flow, Remote};
use crate::interface::Interface;
use crate::network::{Network, WeakNetwork};
use crate::policy::{Decision, Identity, Missing};
use skiff_kit::clock;
use skiff_ports::flows::{FlowRecord, InterfaceState, Verdict};
use skiff_types::{Direction, Transport};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Flows that are written down before others get their turn.
const FLOWS_OF_A_TURN: usize = 256;
/// Places that an empty list keeps.
const PLACES_KEPT: usize = 16;

/// The open flows of one interface.
#[derive(Default)]
pub(crate) struct FlowList(RefCell<Vec<Weak<Flow>>>);

impl FlowList {
    pub(crate) fn add(&self, flow: &Rc<Flow>) {
        let mut list = self.0.borrow_mut();
        flow.place.set(list.len());
        list.push(Rc::downgrade(flow));
    }

    /// Takes out a flow that is in it; the last one takes its place.
    pub(crate) fn remove(&self, flow: &Flow) {
        let place = flow.place.get();
        let mut list = self.0.borrow_mut();
        let removed = list.swap_remove(place);
        let moved = list.get(place).cloned();
        if list.len() < list.capacity() / 4 {
            let kept = PLACES_KEPT.max(2 * list.len());
            list.shrink_to(kept);
        }
        drop(list);
        if let Some(moved) = moved.and_then(|moved| moved.upgrade()) {
            moved.place.set(place);
        }
        drop(removed);
    }

    /// Those that are in it now.
    pub(crate) fn all(&self) -> Vec<Rc<Flow>> {
        self.0.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Those of them of which one side has to be judged again.
    fn touched(&self) -> Vec<Rc<Flow>> {
        let list = self.0.borrow();
        list.iter().filter_map(Weak::upgrade).filter(|flow| flow.is_touched()).collect()
    }
}

/// What attempts are written down as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Target {
    direction: Direction,
    transport: Transport,
    remote: IpAddr,
    port: u16,
}

/// A denied target.
struct Denial {
    /// The last attempt as a record, with how many there were since the last one that was written down.
    record: FlowRecord,
    written_at: Instant,
}

/// What one task was denied lately.
#[derive(Default)]
pub(crate) struct Denials(RefCell<HashMap<Target, Denial>>);

impl Network {
    /// Judges every flow that a change may concern, and cuts those that no rule allows any more.
    pub(crate) fn judge_again(&self) {
        let denied = |flow: Rc<Flow>| match flow.judge() {
            Decision::Allowed { .. } => None,
            Decision::Denied(missing) => Some((flow, missing)),
        };
        let members = self.members_with_sockets();
        let sockets = members.iter().filter_map(|member| member.opened_sockets());
        let touched = sockets.flat_map(|sockets| sockets.flows.touched());
        // Both sides of a connection are found before either is cut, so that both say why.
        let denied: Vec<_> = touched.filter_map(denied).collect();
        denied.into_iter().for_each(|(flow, missing)| flow.cut(&missing));
    }

    /// Writes down, again and again, what is open, and what was denied more than once, until the network is gone.
    pub(crate) async fn keep_writing(network: WeakNetwork, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let Some(network) = network.upgrade() else { return };
            network.write_down().await;
        }
    }

    async fn write_down(&self) {
        self.end_silent_calls();
        let mut written = 0;
        for member in self.members_with_sockets() {
            self.end_silent_datagrams(&member);
            let flows = member.opened_sockets().map(|sockets| sockets.flows.all()).unwrap_or_default();
            for flow in flows {
                flow.write_open();
                written += 1;
                if written % FLOWS_OF_A_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let Some(sockets) = member.opened_sockets() else { continue };
            sockets.look_ups.forget_old();
            for record in sockets.denials.due(self.limits().flow_record_interval) {
                self.flow_log().record(record);
            }
        }
    }
}

impl Denials {
    /// Notes an attempt; gives what is to be written down now.
    fn note(&self, interface: &Interface, ends: &Ends, missing: Missing) -> Option<FlowRecord> {
        let Ends { direction, transport, remote, .. } = *ends;
        let target = Target { direction, transport, remote: remote.ip(), port: ends.port() };
        let limits = interface.limits();
        let mut denials = self.0.borrow_mut();
        let has_room = denials.len() < limits.denials_of_task_max;
        match denials.get_mut(&target) {
            Some(denial) => {
                denial.again(ends, missing);
                (denial.written_at.elapsed() >= limits.flow_record_interval).then(|| denial.take())
            }
            None if has_room => {
                let mut denial = Denial::new(&interface.identity(), ends, missing);
                let record = denial.take();
                denials.insert(target, denial);
                Some(record)
            }
            None => None,
        }
    }

    /// What is due to be written down; what was not tried again since is forgotten.
    fn due(&self, interval: Duration) -> Vec<FlowRecord> {
        let mut records = Vec::new();
        self.0.borrow_mut().retain(|_, denial| {
            let (is_due, is_new) = (denial.written_at.elapsed() >= interval, denial.record.count > 0);
            if is_due && is_new {
                records.push(denial.take());
            }
            !is_due || is_new
        });
        records
    }

    /// Forgets what the task was denied, and gives what of it was not written down yet.
    fn forget(&self) -> Vec<FlowRecord> {
        let denials = self.0.take();
        denials.into_values().map(|denial| denial.record).filter(|record| record.count > 0).collect()
    }
}

impl Denial {
    fn new(identity: &Identity, ends: &Ends, missing: Missing) -> Self {
        let now_ms = clock::unix_ms();
        let record = FlowRecord {
            began_at_ms: now_ms,
            at_ms: now_ms,
            task: identity.task,
            owner: identity.owner.clone(),
            direction: ends.direction,
            transport: ends.transport,
            local: ends.local,
            remote: ends.remote,
            peer: ends.who.describe(),
            sent_bytes: 0,
            received_bytes: 0,
            verdict: Verdict::Reject,
            open: false,
            note: missing.reason,
            count: 1,
        };
        Self { record, written_at: Instant::now() }
    }

    fn again(&mut self, ends: &Ends, missing: Missing) {
        let record = &mut self.record;
        record.at_ms = clock::unix_ms();
        if record.count == 0 {
            record.began_at_ms = record.at_ms;
        }
        (record.local, record.remote) = (ends.local, ends.remote);
        record.note = missing.reason;
        record.count = record.count.saturating_add(1);
    }

    /// What is to be written down now.
    fn take(&mut self) -> FlowRecord {
        self.written_at = Instant::now();
        let record = self.record.clone();
        self.record.count = 0;
        record
    }
}

impl Interface {
    /// Counts an attempt that no rule allows, and writes it down, if that was not done within the interval.
    pub(crate) fn note_denial(&self, ends: &Ends, missing: Missing) {
        self.row().net_denied.add(1);
        if let Some(record) = self.sockets().denials.note(self, ends, missing) {
            self.network().flow_log().record(record);
        }
    }

    /// Counts and writes down, in the same way, an attempt to connect or send to what is nobody's address: no rule could
    /// allow it, but who reads the flow log learns what was tried.
    pub fn note_no_remote(&self, transport: Transport, remote: SocketAddr) {
        let local = SocketAddr::new(self.address().of_family(remote.ip()), 0);
        let reason = format!("{transport} to {remote} is denied: nobody can be connected to there");
        self.note_impossible(transport, local, remote, reason);
    }

    /// The same of an attempt to take an address that is not the task's own.
    pub(crate) fn note_not_own(&self, transport: Transport, local: SocketAddr) {
        let nobody: IpAddr = match local {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let reason = format!("{} is denied as an address to bind to: it is not the task's own", local.ip());
        self.note_impossible(transport, local, SocketAddr::new(nobody, 0), reason);
    }

    fn note_impossible(&self, transport: Transport, local: SocketAddr, remote: SocketAddr, reason: String) {
        let ends =
            Ends { direction: Direction::Egress, transport, local, remote, who: Remote::Outside([].into()) };
        self.note_denial(&ends, Missing { reason, ..Missing::of_nobody() });
    }

    /// Writes down what was denied since it was written down last, because the interface closes.
    pub(crate) fn forget_denials(&self) {
        for record in self.sockets().denials.forget() {
            self.network().flow_log().record(record);
        }
    }

    /// What goes on at it.
    pub(crate) fn state(&self) -> InterfaceState {
        let sockets = self.sockets();
        let flows = sockets.flows.all();
        let listed = flows.iter().take(self.limits().connections_listed_max);
        InterfaceState {
            listening: sockets.ports.listening(),
            connections: listed.map(|flow| flow.describe()).collect(),
            connection_count: flows.len() as u64,
        }
    }
}
