//! One target group: the targets that requests and connections are spread over.
//!
//! Every service is one, of its tasks; others are of addresses. Which target has the next request is in [`choice`], what is
//! learnt of a target by what comes of it in [`outcome`]. It deliberately does not know which request comes to it
//! ([`crate::decision`]), nor how a target is spoken to ([`crate::daemon`]).
//!
//! What always holds: a group never changes while a request goes on with it. Another takes its place, and the connections to
//! targets that stay go over to that one. A target that has left takes no new requests; what it has goes on, of an address
//! for as long as the group's deregistration delay says (a task's drain is its own).

mod choice;
mod outcome;
mod pools;
mod side;

pub(crate) use choice::{ATTEMPTS_MAX, Load, Tried};
pub(crate) use outcome::Outcome;
pub(crate) use side::Side;

use crate::chance::Chance;
use crate::daemon::{Pool, Speaks};
use crate::key::key_of;
use crate::refusal::Refusal;
use crate::retry::Budget;
use pools::Pools;
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::{Ledger, Meter, TargetState, TaskSlot};
use skiff_ports::connect::Destination;
use skiff_ports::snapshot::{self, Route};
use skiff_types::{Algorithm, Limit, QualifiedName, Span, Split, TargetGroupSpec, TargetHealthCheck, TaskId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// What is said of a target group.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) algorithm: Algorithm,
    pub(crate) speaks: Speaks,
    /// How long a client stays with the target that it came to first.
    pub(crate) stickiness: Option<Span>,
    /// How long a new target's share grows.
    pub(crate) slow_start: Option<Span>,
    /// How long what an address has that leaves may go on.
    pub(crate) deregistration_delay: Span,
    pub(crate) health_check: Option<TargetHealthCheck>,
    pub(crate) limit: Option<Limit>,
    /// What counts at the group, where it was made as one.
    pub(crate) meter: Option<Meter>,
}

/// A target group, as far as requests need it.
#[derive(Debug)]
pub(crate) struct Group {
    /// `NAMESPACE/NAME`.
    pub(crate) label: Box<str>,
    /// Where what comes is divided, those of green behind the others.
    pub(crate) targets: Box<[Target]>,
    pub(crate) settings: Rc<Settings>,
    /// For requests that are tried again.
    pub(crate) budget: Rc<Budget>,
    /// The service that is woken where a request finds no target here, if it is one that sleeps.
    pub(crate) wakes: Option<QualifiedName>,
    /// How what comes is divided among its targets, where they are of two revisions that share it by weight.
    split: Option<Rc<Split>>,
    is_service: bool,
    /// Whose turn it is: of all or those of blue, and of those of green.
    turns: [Cell<usize>; 2],
    /// The same targets, spoken to in other ways, where groups of other names ask for that.
    others: RefCell<Vec<Rc<Self>>>,
}

/// One of a group's targets.
#[derive(Debug)]
pub(crate) struct Target {
    /// A task's id, or an address.
    pub(crate) label: Box<str>,
    /// A number for it that is the same in every worker, and after a restart.
    pub(crate) key: u64,
    /// It is of the revision that comes, where what comes is divided.
    pub(crate) is_green: bool,
    /// A task's; who is only known by an address has none.
    pub(crate) slot: Option<TaskSlot>,
    /// An address's, once the worker was told of it; a task has none.
    pub(crate) meter: Option<Meter>,
    pub(crate) way: Way,
}

/// How a target is reached.
#[derive(Debug)]
pub(crate) enum Way {
    /// An `http` task is called.
    Call(TaskId),
    /// All others are connected to.
    Connect(Rc<Pool>),
}

/// A target that is to be one of a group.
struct Seed {
    label: Box<str>,
    is_green: bool,
    slot: Option<TaskSlot>,
    meter: Option<Meter>,
    reached: Reached,
}

enum Reached {
    ByCall(TaskId),
    At(Destination),
}

/// A group that was found for a request or a connection, and how one of its targets is chosen for that.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) group: Rc<Group>,
    pub(crate) algorithm: Algorithm,
    /// The target group's own name, where it is another than that of the service which it is.
    pub(crate) named: Option<Rc<str>>,
    /// Whose targets come into question.
    pub(crate) side: Side,
    /// How long the client stays with its target.
    pub(crate) stickiness: Option<Span>,
    /// The key of the target that it is to stay with: the first that is tried, if that may be chosen.
    pub(crate) stuck_to: Option<u64>,
    /// How long the client stays with its group among those of an action, and that group's key.
    pub(crate) among: Option<(Span, u64)>,
    /// What counts at the target group, where it was made as one.
    pub(crate) meter: Option<Meter>,
    pub(crate) limit: Option<Limit>,
}

impl Settings {
    /// What is said of a group that was made, and what counts there.
    pub(crate) fn of(spec: &TargetGroupSpec, meter: Option<Meter>) -> Self {
        Self {
            algorithm: spec.algorithm,
            speaks: Speaks::of(spec),
            stickiness: spec.stickiness,
            slow_start: spec.slow_start,
            deregistration_delay: spec.delay(),
            health_check: spec.health_check.clone(),
            limit: spec.limit,
            meter,
        }
    }
}

/// What holds of a service of which nobody said more.
impl Default for Settings {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            speaks: Speaks::default(),
            stickiness: None,
            slow_start: None,
            deregistration_delay: TargetGroupSpec::DEREGISTRATION_DELAY,
            health_check: None,
            limit: None,
            meter: None,
        }
    }
}

impl Group {
    /// The group that a service is. It takes over what it can of the one `before` it, and closes the rest of that. `worker`
    /// is whose requests its targets have.
    pub(crate) fn of_service(
        route: &Route,
        settings: &Rc<Settings>,
        (ledger, worker): (&Ledger, usize),
        before: Option<&Self>,
    ) -> Self {
        let seed = |target: &snapshot::Target| Seed {
            label: target.task.to_string().into(),
            is_green: route.split.as_ref().is_some_and(|split| split.green.contains(&target.task)),
            slot: Some(ledger.task(target.slot)),
            meter: None,
            reached: match target.port {
                None => Reached::ByCall(target.task),
                Some(port) => Reached::At(Destination::Task { task: target.task, port }),
            },
        };
        let mut seeds: Vec<Seed> = route.targets.iter().map(seed).collect();
        seeds.sort_by_key(|seed| seed.is_green);
        // Who has no target of either side here divides nothing.
        let is_divided = [true, false].iter().all(|side| seeds.iter().any(|seed| seed.is_green == *side));
        let split = route.split.clone().filter(|_| is_divided).map(Rc::new);
        let mut pools = Pools::of(before, worker);
        let label = route.service.to_string().into();
        let group = Self::new(label, &seeds, settings, (true, before), &mut pools);
        let group = Self { wakes: route.wakes.then(|| route.service.clone()), split, ..group };
        if let Some(before) = before {
            group.has_others_of(before, &mut pools);
        }
        pools.close();
        group
    }

    /// A group of addresses, each with its label and what counts there; what was `before` it goes over in the same way, and
    /// what has left goes on for as long as the settings say.
    pub(crate) fn of_addresses(
        name: &QualifiedName,
        addresses: impl Iterator<Item = (Box<str>, Destination, Option<Meter>)>,
        settings: &Rc<Settings>,
        worker: usize,
        before: Option<&Self>,
    ) -> Self {
        let seeds: Vec<Seed> = addresses
            .map(|(label, destination, meter)| Seed {
                label,
                is_green: false,
                slot: None,
                meter,
                reached: Reached::At(destination),
            })
            .collect();
        let mut pools = Pools::of(before, worker);
        let group = Self::new(name.to_string().into(), &seeds, settings, (false, before), &mut pools);
        pools.deregister(settings.deregistration_delay);
        group
    }

    /// The same targets of a service under other settings.
    pub(crate) fn again(&self, settings: &Rc<Settings>, worker: usize) -> Self {
        let seeds: Vec<Seed> = self.targets.iter().map(Seed::of).collect();
        let mut pools = Pools::of(Some(self), worker);
        let group =
            Self::new(self.label.clone(), &seeds, settings, (self.is_service, Some(self)), &mut pools);
        let group = Self { wakes: self.wakes.clone(), split: self.split.clone(), ..group };
        group.has_others_of(self, &mut pools);
        pools.close();
        group
    }

    fn new(
        label: Box<str>,
        seeds: &[Seed],
        settings: &Rc<Settings>,
        (is_service, before): (bool, Option<&Self>),
        pools: &mut Pools,
    ) -> Self {
        let targets: Box<[Target]> = seeds.iter().map(|seed| seed.target(settings.speaks, pools)).collect();
        if settings.slow_start.is_some() && settings.health_check.is_none() {
            let now_ms = monotonic_ns() / 1_000_000;
            targets.iter().for_each(|target| target.begins(pools.worker(), now_ms));
        }
        Self {
            label,
            targets,
            settings: settings.clone(),
            budget: before.map_or_else(Rc::default, |before| before.budget.clone()),
            wakes: None,
            split: None,
            is_service,
            turns: Default::default(),
            others: RefCell::default(),
        }
    }

    /// The same group with its targets spoken to in this way.
    pub(crate) fn speaking(self: &Rc<Self>, speaks: Speaks, worker: usize) -> Rc<Self> {
        if self.settings.speaks == speaks {
            return self.clone();
        }
        let mut others = self.others.borrow_mut();
        if let Some(other) = others.iter().find(|other| other.settings.speaks == speaks) {
            return other.clone();
        }
        let other = Rc::new(self.spoken_to(speaks, &mut Pools::of(None, worker)));
        others.push(other.clone());
        other
    }

    /// Its targets are spoken to in all ways in which those of the one `before` it were.
    fn has_others_of(&self, before: &Self, pools: &mut Pools) {
        let others = before.others.borrow();
        let ways = others.iter().map(|other| other.settings.speaks);
        let ways = ways.filter(|speaks| *speaks != self.settings.speaks);
        *self.others.borrow_mut() = ways.map(|speaks| Rc::new(self.spoken_to(speaks, pools))).collect();
    }

    fn spoken_to(&self, speaks: Speaks, pools: &mut Pools) -> Self {
        let seeds: Vec<Seed> = self.targets.iter().map(Seed::of).collect();
        let settings = Rc::new(Settings { speaks, ..(*self.settings).clone() });
        let group = Self::new(self.label.clone(), &seeds, &settings, (self.is_service, Some(self)), pools);
        Self { wakes: self.wakes.clone(), split: self.split.clone(), ..group }
    }

    /// It is there no more: what its targets have goes on for as long as it said where they are addresses, and no
    /// connection is kept.
    pub(crate) fn close(&self, worker: usize) {
        let pools = Pools::of(Some(self), worker);
        match self.is_service {
            true => pools.close(),
            false => pools.deregister(self.settings.deregistration_delay),
        }
    }

    /// The service that a request waits for which comes now.
    pub(crate) fn sleeps(&self) -> Option<&QualifiedName> {
        self.wakes.as_ref().filter(|_| self.targets.is_empty())
    }

    /// Why it answers nothing when it has no target that can.
    pub(crate) fn no_target(&self) -> Refusal {
        let label = self.label.to_string();
        match self.is_service {
            true => Refusal::NoTarget { service: label },
            false => Refusal::NoAddress { group: label },
        }
    }
}

impl Seed {
    /// The same as this target.
    fn of(target: &Target) -> Self {
        Self {
            label: target.label.clone(),
            is_green: target.is_green,
            slot: target.slot.clone(),
            meter: target.meter.clone(),
            reached: match &target.way {
                Way::Call(task) => Reached::ByCall(*task),
                Way::Connect(pool) => Reached::At(pool.destination().clone()),
            },
        }
    }

    fn target(&self, speaks: Speaks, pools: &mut Pools) -> Target {
        let Self { label, is_green, slot, meter, reached } = self;
        Target {
            label: label.clone(),
            key: key_of(label),
            is_green: *is_green,
            slot: slot.clone(),
            meter: meter.clone(),
            way: match reached {
                Reached::ByCall(task) => Way::Call(*task),
                Reached::At(destination) => Way::Connect(pools.take(destination, speaks, slot.as_ref())),
            },
        }
    }
}

impl Target {
    /// The port that its label does not say: a task's, which is 0 where it is called.
    pub(crate) fn port_beside_label(&self) -> Option<u16> {
        match &self.way {
            Way::Call(_) => Some(0),
            Way::Connect(pool) => match pool.destination() {
                Destination::Task { port, .. } => Some(*port),
                Destination::Virtual(_) | Destination::Outside(_) => None,
            },
        }
    }

    /// The connections to it, if it is connected to.
    pub(crate) fn pool(&self) -> Option<&Rc<Pool>> {
        match &self.way {
            Way::Call(_) => None,
            Way::Connect(pool) => Some(pool),
        }
    }

    /// What all workers know of it; nothing as long as nobody wrote anything down.
    pub(crate) fn state(&self) -> Option<&TargetState> {
        match (&self.slot, &self.meter) {
            (Some(slot), _) => slot.is_used().then(|| slot.target()),
            (None, Some(meter)) => meter.is_used().then(|| meter.target()),
            (None, None) => None,
        }
    }

    /// The same for somebody who writes; nothing if the ledger has no place for it.
    pub(crate) fn state_to_write(&self, worker: usize) -> Option<&TargetState> {
        // A row in hand is what has it cleared with the slot.
        if let Some(slot) = &self.slot {
            slot.row(worker);
            return Some(slot.target());
        }
        self.meter.as_ref().map(|meter| {
            meter.row(worker);
            meter.target()
        })
    }

    /// It is there, from now on if nobody has seen it before.
    fn begins(&self, worker: usize, now_ms: u64) {
        if let Some(state) = self.state_to_write(worker) {
            // Another worker may have been first.
            let _ = state.began_ms.compare_exchange(0, now_ms, Relaxed, Relaxed);
        }
    }

    /// Requests that it has, of all workers: of an `http` task those that have a sandbox or wait for one. Of an address that
    /// no meter counts at, those of this worker.
    fn requests(&self) -> u64 {
        match (&self.way, &self.slot, &self.meter) {
            (Way::Call(_), Some(slot), _) => slot.outstanding(),
            (Way::Call(_), None, _) => 0,
            (Way::Connect(_), Some(slot), _) => slot.balanced(),
            (Way::Connect(_), None, Some(meter)) => meter.outstanding(),
            (Way::Connect(pool), None, None) => pool.requests(),
        }
    }

    /// Connections to it that the ledger knows of, and those of this worker that are being opened.
    fn connections(&self) -> u64 {
        let opening = self.pool().map_or(0, |pool| pool.opening());
        let open = match (&self.slot, &self.meter) {
            (Some(slot), _) => slot.outstanding(),
            (None, Some(meter)) => meter.connections(),
            (None, None) => self.requests(),
        };
        open + opening
    }
}

impl Aim {
    /// At one of this group's targets, as it says itself.
    pub(crate) fn at(group: Rc<Group>) -> Self {
        let settings = &group.settings;
        Self {
            algorithm: settings.algorithm,
            named: None,
            side: Side::default(),
            stickiness: settings.stickiness,
            stuck_to: None,
            among: None,
            meter: settings.meter.clone(),
            limit: settings.limit,
            group,
        }
    }

    /// The target group's name, `NAMESPACE/NAME`.
    pub(crate) fn label(&self) -> &str {
        self.named.as_deref().unwrap_or(&self.group.label)
    }

    /// The target that is tried first: the one that the client is to stay with, if that may be chosen.
    pub(crate) fn first(&self, load: Load, chance: &Chance) -> Option<usize> {
        let stuck_to = self.stuck_to.and_then(|key| self.group.find(key, self.side));
        stuck_to.or_else(|| self.next(load, &Tried::default(), chance))
    }

    /// The target that is tried when these were.
    pub(crate) fn next(&self, load: Load, tried: &Tried, chance: &Chance) -> Option<usize> {
        let choose = |side| self.group.choose((self.algorithm, side), load, tried, chance);
        choose(self.side).or_else(|| choose(self.side.instead()?))
    }
}

#[cfg(test)]
mod tests;
