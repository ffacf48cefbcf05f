//! What the buses know beside their rules: what was seen of late, events with what is left of their deliveries, and whose turn it is.
//!
//! All of it is under one lock, which is held for microseconds and never over a write, a read or a wait. It deliberately does
//! nothing itself: it says which records are to be written ([`Known::take_written`], in the order in which they came about) and
//! which deliveries are to be carried out ([`Known::jobs`]).
//!
//! What always holds: an event is here from when it is taken in until all its deliveries are over, and none of them is carried
//! out before the event is on the drive. Events are numbered in the order in which they were taken in, over restarts too, so
//! that what is ordered stays so wherever their records lie.

use super::Limits;
use super::lanes::{DeliveryId, LaneId, Lanes, Origin, UnderWayMax};
use super::record::{Entry, Failure, Over, Tried, encode};
use super::retry;
use super::rules::Aim;
use super::seen::{Seen, SeenKey};
use super::unsettled::Unsettled;
use crate::log::{LogError, Position};
use bytes::Bytes;
use skiff_kit::Drain;
use skiff_ports::buses::{AttemptError, BusCounts, BusStats, Targets};
use skiff_types::BusEvent;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The put of what was read from the log: it is over.
pub(super) const READ_PUT: u64 = 0;

/// Told how a put ended by which the same event came.
pub(super) type Waiter = oneshot::Sender<Result<(), LogError>>;

/// Everything; see above.
pub(super) struct Known {
    pub(super) limits: Limits,
    pub(super) seen: Seen,
    /// What was due by schedules and may be put again.
    pub(super) unsettled: Unsettled,
    /// What came of late and is in the log: when, and from where on.
    pub(super) logged: VecDeque<(u64, Position)>,
    pub(super) events: BTreeMap<u64, Held>,
    pub(super) by_position: BTreeMap<Position, u64>,
    /// Puts whose events are not on the drive yet.
    pub(super) flying: HashMap<u64, Flying>,
    pub(super) lanes: Lanes,
    timers: BTreeSet<(Instant, Timer)>,
    written: Written,
    pub(super) next_event: u64,
    pub(super) next_put: u64,
    /// Bytes of events that are held in memory.
    held_bytes: usize,
    /// Bytes of records that are needed.
    pub(super) live_bytes: u64,
    /// Deliveries that are neither under way nor over.
    waiting: u64,
    pub(super) counts: BusStats,
    /// What was counted by bus and by rule since it was last asked for.
    pub(super) counted: BusCounts,
    /// Who carries deliveries out; nobody before the start, and after the drain began.
    pub(super) running: Option<Running>,
}

/// Records that nobody waits for. Those of deliveries that are over may come before others: what is over is never tried again.
#[derive(Default)]
pub(super) struct Written {
    /// Of deliveries that are over: they let the log forget events, so there is always some room for them.
    pub(super) over: Vec<Bytes>,
    /// Of deliveries that are tried again.
    pub(super) tried: Vec<Bytes>,
}

/// Who carries deliveries out, and where.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) targets: Arc<dyn Targets>,
    pub(super) drain: Drain,
    pub(super) runtime: tokio::runtime::Handle,
}

/// A put whose events are not on the drive yet.
pub(super) struct Flying {
    /// Its records lie here or behind.
    pub(super) floor: Position,
    pub(super) waiters: Vec<Waiter>,
}

/// An event, and what is left of its deliveries.
pub(super) struct Held {
    /// Where its record lies, once it is on the drive.
    pub(super) position: Option<Position>,
    pub(super) record_bytes: u64,
    /// The event, if it is held in memory, and its bytes.
    pub(super) event: Option<(Arc<BusEvent>, usize)>,
    pub(super) order_key: Option<Arc<str>>,
    pub(super) key: SeenKey,
    pub(super) stem: Arc<str>,
    pub(super) taken_at_ms: u64,
    /// In the order of their indices.
    pub(super) deliveries: Vec<Delivery>,
    /// How many of them are not over.
    pub(super) left: usize,
}

/// A delivery of an event.
pub(super) struct Delivery {
    pub(super) index: u32,
    pub(super) aim: Arc<Aim>,
    pub(super) lane: LaneId,
    pub(super) state: State,
    pub(super) tries: u32,
    /// Why it is for the dead-letter queue, if it is.
    pub(super) failure: Option<Box<AttemptError>>,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Another one of its lane and order key is before it.
    Behind,
    /// It waits for the drive, for its turn, or for its time.
    Waiting,
    UnderWay,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Delivery(DeliveryId),
    Lane(LaneId),
}

/// A delivery to be carried out.
pub(super) struct Job {
    pub(super) id: DeliveryId,
    pub(super) lane: LaneId,
    pub(super) aim: Arc<Aim>,
    pub(super) position: Position,
    pub(super) event: Option<Arc<BusEvent>>,
    pub(super) stem: Arc<str>,
    pub(super) taken_at_ms: u64,
    pub(super) tries: u32,
    pub(super) failure: Option<Box<AttemptError>>,
    pub(super) running: Running,
}

impl Job {
    /// What the delivery is known by to its target.
    pub(super) fn attempt_id(&self) -> Arc<str> {
        match &self.aim.key.origin {
            // What a schedule's delivery is known by, who put it said.
            Origin::Schedule(_) => self.stem.clone(),
            Origin::Rule(_) => format!("{}-{}", self.stem, self.id.index).into(),
        }
    }
}

/// How a delivery that was under way ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its target took it.
    Delivered,
    /// Its dead-letter queue took it.
    Buried,
    /// Nobody takes it.
    GivenUp,
    /// It is tried again, or buried again if there is a failure.
    Again { tries: u32, failure: Option<Box<AttemptError>>, wait: Duration },
    /// Its target was too busy.
    Busy,
}

/// The present, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) unix_ms: u64,
    pub(super) instant: Instant,
}

impl Held {
    pub(super) fn delivery(&mut self, index: u32) -> Option<&mut Delivery> {
        let place = self.deliveries.binary_search_by_key(&index, |delivery| delivery.index).ok()?;
        self.deliveries.get_mut(place)
    }
}

impl Known {
    pub(super) fn new(limits: Limits) -> Self {
        let max = UnderWayMax { all: limits.under_way_max, shared: limits.under_way_shared_max };
        Self {
            limits,
            seen: Seen::new(limits.seen_max),
            unsettled: Unsettled::default(),
            logged: VecDeque::new(),
            events: BTreeMap::new(),
            by_position: BTreeMap::new(),
            flying: HashMap::new(),
            lanes: Lanes::new(max),
            timers: BTreeSet::new(),
            written: Written::default(),
            next_event: 0,
            next_put: READ_PUT + 1,
            held_bytes: 0,
            live_bytes: 0,
            waiting: 0,
            counts: BusStats::default(),
            counted: BusCounts::default(),
            running: None,
        }
    }

    pub(super) fn stats(&self) -> BusStats {
        BusStats { waiting: self.waiting, under_way: self.lanes.under_way() as u64, ..self.counts }
    }

    /// The records that are to be written next, without waiting for them.
    pub(super) fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// When something is due.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// An event comes that is not on the drive yet; `aims` is where it goes.
    pub(super) fn hold(&mut self, number: u64, mut held: Held, aims: Vec<Arc<Aim>>) {
        self.held_bytes += held.event.as_ref().map_or(0, |(_, bytes)| *bytes);
        for (index, aim) in (0..).zip(aims) {
            self.enter(number, &mut held, index, aim);
        }
        self.events.insert(number, held);
    }

    /// Appends a delivery to those of an event that is about to be held.
    pub(super) fn enter(&mut self, number: u64, held: &mut Held, index: u32, aim: Arc<Aim>) {
        let id = DeliveryId { event: number, index };
        let (lane, is_first) =
            self.lanes.enter(&aim.key, aim.target.concurrency, held.order_key.as_ref(), id);
        let state = if is_first { State::Waiting } else { State::Behind };
        held.deliveries.push(Delivery { index, aim, lane, state, tries: 0, failure: None });
        held.left += 1;
        self.waiting += 1;
    }

    /// A put's events are on the drive, at these positions.
    pub(super) fn landed(&mut self, put: u64, landed: &[(u64, Position)], now_ms: u64) {
        if let Some((_, first)) = landed.first() {
            self.came(now_ms, *first);
        }
        for (number, position) in landed {
            self.place(*number, *position, |_| true);
        }
        self.tell(put, &Ok(()));
    }

    /// Something came at a time, and lies in the log from here on. What comes within one second is kept as one.
    pub(super) fn came(&mut self, at_ms: u64, first: Position) {
        match self.logged.back_mut() {
            Some((last_ms, position)) if *last_ms / 1_000 == at_ms / 1_000 => {
                *last_ms = at_ms.max(*last_ms);
                *position = first.min(*position);
            }
            _ => self.logged.push_back((at_ms, first)),
        }
    }

    /// An event's record lies here; those of its deliveries that nothing is before, and that are due, may be carried out.
    pub(super) fn place(&mut self, number: u64, position: Position, is_due: impl Fn(u32) -> bool) {
        // All of it may have been given up before.
        let Some(held) = self.events.get_mut(&number) else { return };
        held.position = Some(position);
        self.by_position.insert(position, number);
        self.unsettled.lies_at(&held.key, position);
        self.live_bytes += held.record_bytes;
        if self.held_bytes > self.limits.held_bytes_max
            && let Some((_, bytes)) = held.event.take()
        {
            self.held_bytes -= bytes;
        }
        for delivery in &held.deliveries {
            if delivery.state == State::Waiting && is_due(delivery.index) {
                self.lanes.ready(delivery.lane, DeliveryId { event: number, index: delivery.index });
            }
        }
    }

    /// A put's events did not get onto the drive: they never came.
    pub(super) fn failed(&mut self, put: u64, numbers: &[u64], keys: &[SeenKey], error: LogError) {
        self.counts.events -= keys.len() as u64;
        self.counts.matched -= numbers.len() as u64;
        for key in keys {
            self.seen.remove(key, put);
            self.unsettled.remove(key, put);
        }
        // Backwards, so that who waits behind another leaves before it.
        for number in numbers.iter().rev() {
            let Some(held) = self.events.get(number) else { continue };
            let indices: Vec<u32> = held.deliveries.iter().rev().map(|delivery| delivery.index).collect();
            for index in indices {
                self.leave(DeliveryId { event: *number, index });
            }
        }
        self.tell(put, &Err(error));
    }

    fn tell(&mut self, put: u64, outcome: &Result<(), LogError>) {
        for waiter in self.flying.remove(&put).into_iter().flat_map(|flying| flying.waiters) {
            // Who no longer waits for it does not need it.
            let _ = waiter.send(outcome.clone());
        }
    }

    /// What is due by now goes on.
    pub(super) fn due(&mut self, now: Instant) {
        while self.next_timer().is_some_and(|at| at <= now) {
            match self.timers.pop_first() {
                Some((_, Timer::Lane(lane))) => self.lanes.resume(lane),
                Some((_, Timer::Delivery(id))) => self.go_on(id),
                None => {}
            }
        }
    }

    /// A delivery that waited for its time waits for its turn.
    fn go_on(&mut self, id: DeliveryId) {
        let Some(held) = self.events.get_mut(&id.event) else { return };
        let is_placed = held.position.is_some();
        if let Some(delivery) = held.delivery(id.index)
            && delivery.state == State::Waiting
            && is_placed
        {
            let lane = delivery.lane;
            self.lanes.ready(lane, id);
        }
    }

    /// The deliveries whose turn it is; they are under way from now on.
    pub(super) fn jobs(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let Some(running) = self.running.clone() else { return jobs };
        while let Some((lane, id)) = self.lanes.next() {
            match self.job(id, &running) {
                Some(job) => jobs.push(job),
                // It was given up.
                None => self.lanes.ended(lane),
            }
        }
        jobs
    }

    fn job(&mut self, id: DeliveryId, running: &Running) -> Option<Job> {
        let held = self.events.get_mut(&id.event)?;
        let position = held.position?;
        let (event, stem, taken_at_ms) =
            (held.event.as_ref().map(|(event, _)| event.clone()), held.stem.clone(), held.taken_at_ms);
        let delivery = held.delivery(id.index).filter(|delivery| delivery.state == State::Waiting)?;
        delivery.state = State::UnderWay;
        self.waiting -= 1;
        Some(Job {
            id,
            lane: delivery.lane,
            aim: delivery.aim.clone(),
            position,
            event,
            stem,
            taken_at_ms,
            tries: delivery.tries,
            failure: delivery.failure.clone(),
            running: running.clone(),
        })
    }

    /// A delivery is not under way any more. `draw` is random.
    pub(super) fn ended(&mut self, id: DeliveryId, lane: LaneId, end: End, now: Now, draw: u64) {
        let is_closed = self.lanes.is_closed(lane);
        match end {
            End::Delivered => {
                self.counts.delivered += 1;
                self.lanes.took(lane);
                self.over(id);
            }
            End::Buried => {
                self.counts.dead_letters += 1;
                self.over(id);
            }
            End::Again { .. } | End::Busy if is_closed => {
                self.counts.given_up += 1;
                self.over(id);
            }
            End::GivenUp => {
                self.counts.given_up += 1;
                self.over(id);
            }
            End::Again { tries, failure, wait } => self.again(id, tries, failure, wait, now),
            End::Busy => {
                self.wait(id);
                if let Some(times) = self.lanes.busy(lane, id) {
                    let at = now.instant + retry::busy_wait(times, draw);
                    self.timers.insert((at, Timer::Lane(lane)));
                }
            }
        }
        self.lanes.ended(lane);
    }

    fn again(
        &mut self,
        id: DeliveryId,
        tries: u32,
        failure: Option<Box<AttemptError>>,
        wait: Duration,
        now: Now,
    ) {
        self.counts.retried += 1;
        self.wait(id);
        let tried = Tried {
            number: id.event,
            index: id.index,
            tries,
            due_ms: now.unix_ms.saturating_add(wait.as_millis() as u64),
            failure: failure.as_deref().map(Failure::of),
        };
        self.written.tried.push(encode(&Entry::Tried(tried)));
        if let Some(delivery) = self.events.get_mut(&id.event).and_then(|held| held.delivery(id.index)) {
            delivery.tries = tries;
            delivery.failure = failure;
        }
        self.timers.insert((now.instant + wait, Timer::Delivery(id)));
    }

    fn wait(&mut self, id: DeliveryId) {
        if let Some(delivery) = self.events.get_mut(&id.event).and_then(|held| held.delivery(id.index)) {
            delivery.state = State::Waiting;
            self.waiting += 1;
        }
    }

    /// A delivery that was read from the log is due at a time, and may be carried out then.
    pub(super) fn wait_until(&mut self, id: DeliveryId, at: Instant) {
        self.timers.insert((at, Timer::Delivery(id)));
    }

    /// A delivery is over, and that is written down.
    fn over(&mut self, id: DeliveryId) {
        self.written.over.push(encode(&Entry::Over(Over { number: id.event, index: id.index })));
        self.leave(id);
    }

    /// A delivery is over: the next one of its order key follows, and its event goes with its last one.
    fn leave(&mut self, id: DeliveryId) {
        let Some(held) = self.events.get_mut(&id.event) else { return };
        let order_key = held.order_key.clone();
        let Some(delivery) = held.delivery(id.index) else { return };
        let was = std::mem::replace(&mut delivery.state, State::Over);
        let lane = delivery.lane;
        match was {
            State::Over => return,
            State::UnderWay => {}
            State::Behind | State::Waiting => self.waiting -= 1,
        }
        held.left -= 1;
        let is_last = held.left == 0;
        match (&order_key, was) {
            (Some(order_key), State::Behind) => self.lanes.leave_from_behind(lane, order_key, id),
            (order_key, _) => {
                if let Some(next) = self.lanes.leave(lane, order_key.as_ref(), id) {
                    self.follow(next);
                }
            }
        }
        if is_last {
            self.forget(id.event);
        }
    }

    /// A delivery is the first of its order key now.
    fn follow(&mut self, id: DeliveryId) {
        let delivery = self.events.get_mut(&id.event).and_then(|held| held.delivery(id.index));
        if let Some(delivery) = delivery.filter(|delivery| delivery.state == State::Behind) {
            delivery.state = State::Waiting;
        }
        self.go_on(id);
    }

    fn forget(&mut self, number: u64) {
        let Some(held) = self.events.remove(&number) else { return };
        self.held_bytes -= held.event.map_or(0, |(_, bytes)| bytes);
        if let Some(position) = held.position {
            self.by_position.remove(&position);
            self.live_bytes -= held.record_bytes;
        }
    }

    /// Gives up what waits of the deliveries in lanes that were closed; what is under way ends by itself.
    pub(super) fn give_up_closed(&mut self, there: Vec<DeliveryId>) {
        for id in there {
            let delivery = self.events.get_mut(&id.event).and_then(|held| held.delivery(id.index));
            if delivery.is_some_and(|delivery| matches!(delivery.state, State::Behind | State::Waiting)) {
                self.counts.given_up += 1;
                self.over(id);
            }
        }
    }
}
