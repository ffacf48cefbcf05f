//! The meters of what this worker was told of, by what they are of; and what counts in them for as long as it lasts.
//!
//! A meter is looked up when a listener, a rule or a target group is set, and kept with it: no request looks one up. What a
//! request came to is written down when it ends ([`crate::exchange`]). It deliberately does not know who has which slot; that
//! is the node's to say. What always holds: what has no meter is served as what has one.

use crate::connection::Connection;
use crate::edge::Edge;
use crate::limit::InFlight;
use crate::refusal::Refusal;
use skiff_ledger::{Ledger, Meter, StatusClass};
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_types::{Name, QualifiedName, TargetGroupSpec};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// All that this worker was told of.
pub(crate) struct Meters {
    ledger: Ledger,
    listeners: HashMap<Name, Meter>,
    rules: HashMap<QualifiedName, Meter>,
    groups: HashMap<QualifiedName, OfGroup>,
}

/// The meters of one target group.
#[derive(Debug, Default)]
struct OfGroup {
    own: Option<Meter>,
    /// By address.
    targets: HashMap<Arc<str>, Meter>,
}

impl Meters {
    /// None yet.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { ledger, listeners: HashMap::new(), rules: HashMap::new(), groups: HashMap::new() }
    }

    /// What counts there, if it was told of one.
    pub(crate) fn get(&self, metered: &Metered) -> Option<Meter> {
        let meter = match metered {
            Metered::Listener(name) => self.listeners.get(name),
            Metered::Rule(name) => self.rules.get(name),
            Metered::Group(name) => self.groups.get(name)?.own.as_ref(),
            Metered::Target { group, target } => self.groups.get(group)?.targets.get(target),
        };
        meter.cloned()
    }

    fn learn(&mut self, metered: &Metered, slot: u32) {
        let meter = self.ledger.meter(slot);
        match metered {
            Metered::Listener(name) => drop(self.listeners.insert(name.clone(), meter)),
            Metered::Rule(name) => drop(self.rules.insert(name.clone(), meter)),
            Metered::Group(name) => self.groups.entry(name.clone()).or_default().own = Some(meter),
            Metered::Target { group, target } => {
                self.groups.entry(group.clone()).or_default().targets.insert(target.clone(), meter);
            }
        }
    }

    /// The addresses that a group has no more are not counted at any more.
    fn keep_those_of(&mut self, group: &TargetGroupSpec) {
        let Some(of_group) = self.groups.get_mut(&group.name) else { return };
        let stay: HashSet<Metered> = Metered::all_of(group).collect();
        let name = group.name.clone();
        of_group.targets.retain(|target, _| {
            stay.contains(&Metered::Target { group: name.clone(), target: target.clone() })
        });
    }

    fn forget(&mut self, change: &BalancerChange) {
        for name in &change.dropped {
            self.rules.remove(name);
        }
        for name in &change.closed {
            // The built-in listener is always there.
            if Metered::Listener(name.clone()) != Metered::built_in_listener() {
                self.listeners.remove(name);
            }
        }
        for name in &change.dissolved {
            self.groups.remove(name);
        }
    }
}

impl Edge {
    /// Takes in the meters of what comes with a change, before that comes.
    pub(crate) fn learn_meters(&self, change: &BalancerChange) {
        let mut meters = self.meters_mut();
        change.meters.iter().for_each(|(metered, slot)| meters.learn(metered, *slot));
        change.groups.iter().for_each(|group| meters.keep_those_of(group));
        // The built-in one is there before it is told of.
        for (metered, _) in &change.meters {
            if let Metered::Listener(name) = metered
                && let Some(listener) = self.listeners().get(name)
            {
                listener.set_meter(meters.get(metered));
            }
        }
    }

    /// Forgets the meters of what has left with a change.
    pub(crate) fn forget_meters(&self, change: &BalancerChange) {
        self.meters_mut().forget(change);
    }

    /// Counts what the load balancer answered where no request came of what a client sent.
    pub(crate) fn count_turned_away(&self, connection: &Connection, status: u16) {
        if let Some(meter) = &*connection.listener.meter() {
            let row = meter.row(self.worker());
            row.requests.add(1);
            row.balancer_responses[StatusClass::of(status) as usize].add(1);
        }
    }

    /// Counts a request that was refused for the load before it was known whose it is.
    pub(crate) fn count_refused(&self, connection: &Connection, refusal: &Refusal, body_bytes: u64) {
        let row = self.worker_row();
        row.requests.add(1);
        row.platform_requests.add(1);
        row.platform_sent_bytes.add(body_bytes);
        self.count_turned_away(connection, refusal.status().as_u16());
        if let Some(meter) = &*connection.listener.meter() {
            let row = meter.row(self.worker());
            row.rejected.add(1);
            row.sent_bytes.add(body_bytes);
        }
    }
}

/// A request that has not ended, as a meter has it: until this is dropped.
#[derive(Debug)]
pub(crate) struct Outstanding {
    meter: Meter,
    worker: usize,
}

impl Outstanding {
    /// Counts it, however many there are.
    pub(crate) fn begin(meter: &Meter, worker: usize) -> Self {
        meter.row(worker).outstanding.add(1);
        Self { meter: meter.clone(), worker }
    }

    /// Counts it, unless there then are more than `limit` over all workers.
    pub(crate) fn claim(meter: &Meter, worker: usize, limit: u64) -> Option<Self> {
        let granted = meter.claim_outstanding(worker, limit);
        granted.then(|| Self { meter: meter.clone(), worker })
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.meter.row(self.worker).outstanding.subtract(1);
    }
}

/// Where a request counts as outstanding. Who bounds how many may be has it claimed there before it is routed, and puts it
/// here; where nobody did, it is counted when it is routed.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) rule: Option<Outstanding>,
    pub(crate) group: Option<Outstanding>,
    /// At the target that was asked last.
    pub(crate) target: Option<Outstanding>,
    /// Of its client, where that is bounded.
    pub(crate) client: Option<InFlight>,
}

/// An open connection, as a meter has it: until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    meter: Meter,
    worker: usize,
}

impl OpenConnection {
    /// Counts one more.
    pub(crate) fn begin(meter: &Meter, worker: usize) -> Self {
        let row = meter.row(worker);
        row.connections.add(1);
        row.connections_total.add(1);
        Self { meter: meter.clone(), worker }
    }

    /// It carried this.
    pub(crate) fn carried(&self, received_bytes: u64, sent_bytes: u64) {
        let row = self.meter.row(self.worker);
        row.received_bytes.add(received_bytes);
        row.sent_bytes.add(sent_bytes);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.meter.row(self.worker).connections.subtract(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::Targets;

    fn name(name: &str) -> QualifiedName {
        format!("default/{name}").parse().unwrap()
    }

    fn target(host: &str) -> Metered {
        Metered::Target { group: name("out"), target: host.into() }
    }

    fn group(hosts: &[&str]) -> TargetGroupSpec {
        let targets = Targets::Outside(hosts.iter().map(|host| host.parse().unwrap()).collect());
        TargetGroupSpec { targets, ..TargetGroupSpec::of_service(name("out")) }
    }

    #[test]
    fn a_meter_is_known_as_long_as_what_it_is_of() {
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let mut meters = Meters::new(ledger);
        let web: Name = "web".parse().unwrap();
        let listeners = [Metered::built_in_listener(), Metered::Listener(web.clone())];
        let others = [Metered::Rule(name("one")), Metered::Group(name("out"))];
        let targets = ["a.example:1", "b.example:1"].map(target);
        let all = || listeners.iter().chain(&others).chain(&targets);
        all().zip(0..).for_each(|(metered, slot)| meters.learn(metered, slot));
        let known = |meters: &Meters| all().map(|metered| meters.get(metered).is_some()).collect::<Vec<_>>();
        assert_eq!(known(&meters), [true; 6]);
        meters.keep_those_of(&group(&["b.example:1", "c.example:1"]));
        assert_eq!(known(&meters), [true, true, true, true, false, true]);
        meters.forget(&BalancerChange {
            dropped: vec![name("one")],
            closed: vec![web, "http".parse().unwrap()],
            dissolved: vec![name("out")],
            ..BalancerChange::default()
        });
        assert_eq!(known(&meters), [true, false, false, false, false, false]);
    }

    #[test]
    fn what_lasts_is_counted_as_long_as_it_does() {
        let (ledger, _fd) = Ledger::create(2).unwrap();
        let meter = ledger.meter(3);
        let first = Outstanding::begin(&meter, 0);
        assert!(Outstanding::claim(&meter, 1, 1).is_none());
        let second = Outstanding::claim(&meter, 1, 2).unwrap();
        assert_eq!(meter.outstanding(), 2);
        drop((first, second));
        let open = OpenConnection::begin(&meter, 1);
        open.carried(3, 4);
        assert_eq!((meter.outstanding(), meter.connections()), (0, 1));
        drop(open);
        let totals = meter.totals();
        assert_eq!((totals.connections, totals.connections_total), (0, 1));
        assert_eq!((totals.received_bytes, totals.sent_bytes), (3, 4));
    }
}
