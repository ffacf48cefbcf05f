//! Who is next: every target of a rule or a schedule has a lane, with what waits for it in order.
//!
//! A lane has so many deliveries under way at once, as its target says. All lanes share what can be under way together: a lane
//! without any has the next turn before those that have some, and a part of the whole is kept for it; so no target, however slow
//! and however much waits for it, holds up another. It deliberately knows neither events nor time: what is ready, and when a
//! lane may go on, it is told.
//!
//! What always holds: of deliveries of a lane that have the same order key, only the first is ready or under way; the next one
//! follows once that has left. A lane that nothing waits for is not there.

use skiff_types::{Name, Namespace, QualifiedName};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Lanes that are gone and may stand in line yet, beside as many as there are.
const GONE_MAX: usize = 1_000;

/// A delivery: its event's number, and which of the event's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DeliveryId {
    pub(super) event: u64,
    pub(super) index: u32,
}

/// What a delivery is made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    Rule(QualifiedName),
    Schedule(QualifiedName),
}

impl Origin {
    pub(super) fn name(&self) -> &QualifiedName {
        match self {
            Self::Rule(name) | Self::Schedule(name) => name,
        }
    }
}

/// A target of a rule or a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) origin: Origin,
    pub(super) target: Name,
}

/// A lane, for as long as it is there; no other one is ever called the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(u64);

/// What can be under way at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnderWayMax {
    /// In all lanes together.
    pub(super) all: usize,
    /// A lane that has some already has no more while so many are.
    pub(super) shared: usize,
}

/// Which turn a lane waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// That of lanes with nothing under way.
    Alone,
    /// That of the others.
    Shared,
}

#[derive(Debug)]
struct Lane {
    key: LaneKey,
    concurrency: u32,
    under_way: u32,
    /// Deliveries that have not left, those under way among them: so who closes the lane need not look for them among all others.
    there: BTreeSet<DeliveryId>,
    ready: VecDeque<DeliveryId>,
    /// What waits behind the first of each order key; the first one is not in it.
    behind: HashMap<Arc<str>, VecDeque<DeliveryId>>,
    /// Whether it stands in line for a turn as one with nothing under way; and as one of the others.
    is_in_alone: bool,
    is_in_shared: bool,
    is_paused: bool,
    /// How often its target was too busy in a row.
    busy: u32,
    /// Whether its target is not wanted any more.
    is_gone: bool,
}

impl Lane {
    /// Which turn it waits for, if for any.
    fn turn(&self) -> Option<Turn> {
        let may_go = !self.is_paused && !self.ready.is_empty() && self.under_way < self.concurrency;
        may_go.then_some(if self.under_way == 0 { Turn::Alone } else { Turn::Shared })
    }

    /// Whether it stands in line for a turn.
    fn is_in(&mut self, turn: Turn) -> &mut bool {
        match turn {
            Turn::Alone => &mut self.is_in_alone,
            Turn::Shared => &mut self.is_in_shared,
        }
    }
}

/// All lanes.
pub(super) struct Lanes {
    max: UnderWayMax,
    under_way: usize,
    lanes: HashMap<LaneId, Lane>,
    by_key: HashMap<LaneKey, LaneId>,
    next: u64,
    /// Who waits for which turn; each lane stands in each once at most.
    alone: VecDeque<LaneId>,
    shared: VecDeque<LaneId>,
    /// Deliveries of each namespace that have not left.
    there: HashMap<Namespace, u64>,
}

impl Lanes {
    pub(super) fn new(max: UnderWayMax) -> Self {
        Self {
            max,
            under_way: 0,
            lanes: HashMap::new(),
            by_key: HashMap::new(),
            next: 0,
            alone: VecDeque::new(),
            shared: VecDeque::new(),
            there: HashMap::new(),
        }
    }

    /// Deliveries of a namespace that have not left, those under way among them.
    pub(super) fn there(&self, namespace: &Namespace) -> u64 {
        self.there.get(namespace).copied().unwrap_or_default()
    }

    /// How many are under way in all lanes.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// A delivery comes, the last one of its order key so far. Says in which lane it is, and whether it is the first of its key:
    /// one that is may be made [`Lanes::ready`].
    pub(super) fn enter(
        &mut self,
        key: &LaneKey,
        concurrency: u32,
        order_key: Option<&Arc<str>>,
        id: DeliveryId,
    ) -> (LaneId, bool) {
        let lane_id = self.lane(key, concurrency);
        let lane = self.lanes.get_mut(&lane_id).expect("it is there or was just made");
        lane.there.insert(id);
        let namespace = &key.origin.name().namespace;
        match self.there.get_mut(namespace) {
            Some(there) => *there += 1,
            None => {
                self.there.insert(namespace.clone(), 1);
            }
        }
        let Some(order_key) = order_key else { return (lane_id, true) };
        match lane.behind.get_mut(order_key) {
            Some(behind) => {
                behind.push_back(id);
                (lane_id, false)
            }
            None => {
                lane.behind.insert(order_key.clone(), VecDeque::new());
                (lane_id, true)
            }
        }
    }

    fn lane(&mut self, key: &LaneKey, concurrency: u32) -> LaneId {
        if let Some(id) = self.by_key.get(key) {
            return *id;
        }
        let id = LaneId(self.next);
        self.next += 1;
        let lane = Lane {
            key: key.clone(),
            concurrency,
            under_way: 0,
            there: BTreeSet::new(),
            ready: VecDeque::new(),
            behind: HashMap::new(),
            is_in_alone: false,
            is_in_shared: false,
            is_paused: false,
            busy: 0,
            is_gone: false,
        };
        self.lanes.insert(id, lane);
        self.by_key.insert(key.clone(), id);
        id
    }

    /// A delivery may be carried out.
    pub(super) fn ready(&mut self, lane_id: LaneId, id: DeliveryId) {
        if let Some(lane) = self.lanes.get_mut(&lane_id) {
            lane.ready.push_back(id);
            self.take_turn(lane_id);
        }
    }

    /// The next delivery to be carried out, which is under way from now on.
    pub(super) fn next(&mut self) -> Option<(LaneId, DeliveryId)> {
        loop {
            let (lane_id, turn) = self.next_turn()?;
            let Some(lane) = self.lanes.get_mut(&lane_id) else { continue };
            *lane.is_in(turn) = false;
            if lane.turn() != Some(turn) {
                // It waits for another one since, and stands in that line, or for none.
                continue;
            }
            let Some(id) = lane.ready.pop_front() else { continue };
            lane.under_way += 1;
            self.under_way += 1;
            self.take_turn(lane_id);
            return Some((lane_id, id));
        }
    }

    fn next_turn(&mut self) -> Option<(LaneId, Turn)> {
        let alone = (self.under_way < self.max.all).then(|| self.alone.pop_front()).flatten();
        if let Some(lane_id) = alone {
            return Some((lane_id, Turn::Alone));
        }
        let shared = (self.under_way < self.max.shared).then(|| self.shared.pop_front()).flatten();
        shared.map(|lane_id| (lane_id, Turn::Shared))
    }

    fn take_turn(&mut self, lane_id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return };
        let Some(turn) = lane.turn() else { return };
        if std::mem::replace(lane.is_in(turn), true) {
            return;
        }
        match turn {
            Turn::Alone => self.alone.push_back(lane_id),
            Turn::Shared => self.shared.push_back(lane_id),
        }
    }

    /// A delivery is not under way any more; it may have left, or wait again.
    pub(super) fn ended(&mut self, lane_id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return };
        lane.under_way -= 1;
        self.under_way -= 1;
        self.take_turn(lane_id);
        self.remove_if_empty(lane_id);
    }

    /// The first of its order key, or one without any, leaves. Gives the one behind it, which is the first now.
    pub(super) fn leave(
        &mut self,
        lane_id: LaneId,
        order_key: Option<&Arc<str>>,
        id: DeliveryId,
    ) -> Option<DeliveryId> {
        let lane = self.lanes.get_mut(&lane_id)?;
        lane.there.remove(&id);
        count_down(&mut self.there, &lane.key);
        let next = order_key.and_then(|order_key| {
            let next = lane.behind.get_mut(order_key)?.pop_front();
            if next.is_none() {
                lane.behind.remove(order_key);
            }
            next
        });
        self.remove_if_empty(lane_id);
        next
    }

    /// One that waits behind another of its order key leaves.
    pub(super) fn leave_from_behind(&mut self, lane_id: LaneId, order_key: &Arc<str>, id: DeliveryId) {
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return };
        if let Some(behind) = lane.behind.get_mut(order_key) {
            // Many that leave together do so from one end or the other.
            if behind.front() == Some(&id) {
                behind.pop_front();
            } else if behind.back() == Some(&id) {
                behind.pop_back();
            } else {
                behind.retain(|other| *other != id);
            }
        }
        lane.there.remove(&id);
        count_down(&mut self.there, &lane.key);
        self.remove_if_empty(lane_id);
    }

    fn remove_if_empty(&mut self, lane_id: LaneId) {
        let is_empty = |lane: &Lane| lane.there.is_empty() && lane.under_way == 0;
        if !self.lanes.get(&lane_id).is_some_and(is_empty) {
            return;
        }
        if let Some(lane) = self.lanes.remove(&lane_id)
            && self.by_key.get(&lane.key) == Some(&lane_id)
        {
            self.by_key.remove(&lane.key);
        }
        let Self { lanes, alone, shared, .. } = self;
        for line in [alone, shared] {
            if line.len() > 2 * lanes.len() + GONE_MAX {
                line.retain(|lane_id| lanes.contains_key(lane_id));
            }
        }
    }

    /// The target was too busy for this delivery, which is the next one again, once the lane goes on. Says how often in a row it
    /// was, if the lane has to be told to go on; [`Lanes::ended`] comes after this.
    pub(super) fn busy(&mut self, lane_id: LaneId, id: DeliveryId) -> Option<u32> {
        let lane = self.lanes.get_mut(&lane_id)?;
        lane.ready.push_front(id);
        if lane.is_paused {
            return None;
        }
        lane.is_paused = true;
        lane.busy = lane.busy.saturating_add(1);
        Some(lane.busy)
    }

    /// A lane goes on.
    pub(super) fn resume(&mut self, lane_id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&lane_id) {
            lane.is_paused = false;
            self.take_turn(lane_id);
        }
    }

    /// The target took something.
    pub(super) fn took(&mut self, lane_id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&lane_id) {
            lane.busy = 0;
        }
    }

    /// How many a target has under way at once from now on.
    pub(super) fn set_concurrency(&mut self, key: &LaneKey, concurrency: u32) {
        let Some(lane_id) = self.by_key.get(key).copied() else { return };
        if let Some(lane) = self.lanes.get_mut(&lane_id) {
            lane.concurrency = concurrency;
            self.take_turn(lane_id);
        }
    }

    /// Closes the lanes whose targets are not wanted any more: nothing enters them, nothing in them has its turn. Gives what is in
    /// them, lane by lane in the order in which it came.
    pub(super) fn close(&mut self, is_wanted: impl Fn(&LaneKey) -> bool) -> Vec<DeliveryId> {
        let is_gone = |lane: &Lane| !lane.is_gone && !is_wanted(&lane.key);
        let gone = self.lanes.iter().filter(|(_, lane)| is_gone(lane)).map(|(lane_id, _)| *lane_id);
        let gone: Vec<LaneId> = gone.collect();
        self.shut(&gone)
    }

    /// As [`Lanes::close`], those of these targets, without a look at any other.
    pub(super) fn close_those(&mut self, gone: &[LaneKey]) -> Vec<DeliveryId> {
        let gone: Vec<LaneId> = gone.iter().filter_map(|key| self.by_key.get(key).copied()).collect();
        self.shut(&gone)
    }

    fn shut(&mut self, gone: &[LaneId]) -> Vec<DeliveryId> {
        let mut there = Vec::new();
        for lane_id in gone {
            let Some(lane) = self.lanes.get_mut(lane_id) else { continue };
            lane.is_gone = true;
            lane.ready.clear();
            if self.by_key.get(&lane.key) == Some(lane_id) {
                self.by_key.remove(&lane.key);
            }
            there.extend(&lane.there);
        }
        there
    }

    /// Whether a lane's target is not wanted any more.
    pub(super) fn is_closed(&self, lane_id: LaneId) -> bool {
        self.lanes.get(&lane_id).is_none_or(|lane| lane.is_gone)
    }
}

/// One delivery of a lane's namespace has left.
fn count_down(there: &mut HashMap<Namespace, u64>, key: &LaneKey) {
    let namespace = &key.origin.name().namespace;
    if let Some(count) = there.get_mut(namespace) {
        *count -= 1;
        if *count == 0 {
            there.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests;
