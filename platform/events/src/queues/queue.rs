//! One queue in memory: where each message is, and which comes next. What messages say lies in the log alone.
//!
//! A million messages take some 120 MB here. Deliberately not here: clocks, the log, and who asks.
//!
//! What always holds: a message is in one [`Place`]; those that are out of sight for a time are in `hidden` too, and
//! nothing else is; each that is in sight is in the line, or first in or behind the first of its group.

use super::deduplication::Deduplication;
use super::groups::{GroupNumber, Groups};
use super::waiters::Waiters;
use crate::log::Position;
use skiff_ports::queues::QueueStats;
use skiff_types::{QueueSpec, ResourceId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// Messages at a queue's front that are looked at for the oldest one.
const OLDEST_LOOKED_AT_MAX: usize = 1_000;
/// Messages and groups that may stand in line though they are gone or elsewhere, beside as many as are in sight.
const STALE_MAX: usize = 1_000;

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In sight.
    Visible,
    /// Not in sight yet.
    Delayed,
    /// With a receiver, for a time.
    InFlight,
    /// On its way out: its deletion or its move is being written.
    Leaving,
}

/// A message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Its record in the log.
    pub(super) position: Position,
    /// In milliseconds since 1970.
    pub(super) sent_at_ms: u64,
    /// When it comes into sight, of one that is out of it for a time.
    pub(super) until_ms: u64,
    /// How often it was received.
    pub(super) receives: u32,
    /// Of the receive that has it; 0 if none has.
    pub(super) tag: u32,
    /// Its group; 0 if it has none.
    pub(super) group: GroupNumber,
    /// Bytes of its record.
    pub(super) bytes: u32,
    /// The queue that it is a dead letter of.
    pub(super) source: Option<ResourceId>,
    /// Where it is.
    pub(super) place: Place,
}

/// A queue.
#[derive(Default)]
pub(super) struct Queue {
    slots: BTreeMap<u64, Slot>,
    /// Messages without a group that are in sight, and perhaps some that are not any more.
    line: VecDeque<u64>,
    groups: Groups,
    hidden: BTreeSet<(u64, u64)>,
    counts: [u64; 4],
    /// The sequence of the newest message; 0 before the first.
    pub(super) newest: u64,
    /// Messages to it that are being written.
    pub(super) pending: u64,
    /// The newest record that says how far the sequences are.
    pub(super) told: Position,
    /// Messages with lower sequences are about to be purged; 0 if none are.
    pub(super) purging_before: u64,
    /// What it was sent lately.
    pub(super) deduplication: Deduplication,
    /// How long it keeps messages, as far as was said since the start.
    pub(super) retention_ms: Option<u64>,
    /// Messages that it may hold, as far as was said since the start.
    pub(super) messages_max: Option<u64>,
    /// Who waits for messages.
    pub(super) waiters: Waiters,
    /// Tells those who wait for a message to be in sight, without wanting it.
    pub(super) ready: Arc<Notify>,
    /// Since the start.
    pub(super) sent: u64,
    /// Since the start.
    pub(super) received: u64,
    /// Since the start.
    pub(super) deleted: u64,
}

impl Queue {
    /// Messages that it holds.
    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Messages that it can take yet.
    pub(super) fn room(&self) -> u64 {
        let most = self.messages_max.unwrap_or(QueueSpec::MESSAGES_MAX);
        most.saturating_sub(self.len() + self.pending)
    }

    /// Messages that are out with receivers, or on their way out.
    pub(super) fn in_flight(&self) -> u64 {
        self.counts[Place::InFlight as usize] + self.counts[Place::Leaving as usize]
    }

    /// A message.
    pub(super) fn slot(&self, sequence: u64) -> Option<&Slot> {
        self.slots.get(&sequence)
    }

    /// Messages in order, from a sequence on.
    pub(super) fn slots_from(&self, sequence: u64) -> impl Iterator<Item = (u64, &Slot)> {
        self.slots.range(sequence..).map(|(sequence, slot)| (*sequence, slot))
    }

    /// The name of a message's group.
    pub(super) fn group_of(&self, slot: &Slot) -> Option<Arc<str>> {
        self.groups.name(slot.group)
    }

    /// The number of a group.
    pub(super) fn group_number(&mut self, name: Option<&str>) -> GroupNumber {
        name.map_or(0, |name| self.groups.number(name))
    }

    /// Takes a message in; the slot says all but which waits for it. One with the same sequence must not be there.
    pub(super) fn insert(&mut self, sequence: u64, slot: Slot) {
        self.newest = self.newest.max(sequence);
        self.counts[slot.place as usize] += 1;
        if slot.group != 0 {
            self.groups.add(slot.group, sequence);
        }
        self.slots.insert(sequence, slot);
        self.arrive(sequence, slot);
    }

    /// What follows from a message's being in its place.
    fn arrive(&mut self, sequence: u64, slot: Slot) {
        match slot.place {
            Place::InFlight | Place::Delayed => {
                self.hidden.insert((slot.until_ms, sequence));
            }
            Place::Leaving => {}
            Place::Visible if slot.group == 0 => self.line.push_back(sequence),
            Place::Visible => self.look_at_group(slot.group),
        }
    }

    /// Puts a message elsewhere; whether it is there at all.
    pub(super) fn put(&mut self, sequence: u64, place: Place, until_ms: u64) -> bool {
        let Some(slot) = self.slots.get_mut(&sequence) else { return false };
        self.counts[slot.place as usize] -= 1;
        self.counts[place as usize] += 1;
        if matches!(slot.place, Place::InFlight | Place::Delayed) {
            self.hidden.remove(&(slot.until_ms, sequence));
        }
        slot.place = place;
        slot.until_ms = until_ms;
        if place == Place::Visible {
            slot.tag = 0;
        }
        let slot = *slot;
        self.arrive(sequence, slot);
        true
    }

    /// Gives a message to a receiver.
    pub(super) fn give(&mut self, sequence: u64, receives: u32, tag: u32, until_ms: u64) {
        if let Some(slot) = self.slots.get_mut(&sequence) {
            slot.receives = receives;
            slot.tag = tag;
            self.put(sequence, Place::InFlight, until_ms);
        }
    }

    /// Takes a message back that its receiver did not handle: it is with nobody, and in sight again at a time; 0 is at once.
    pub(super) fn take_back(&mut self, sequence: u64, receives: u32, until_ms: u64) {
        if let Some(slot) = self.slots.get_mut(&sequence) {
            slot.receives = receives;
            slot.tag = 0;
            // As one that failed it counts as in flight until then: who scales by what there is to do is to see it.
            let place = if until_ms == 0 { Place::Visible } else { Place::InFlight };
            self.put(sequence, place, until_ms);
        }
    }

    /// Says that a message's record lies elsewhere now.
    pub(super) fn relocate(&mut self, sequence: u64, position: Position, bytes: u32) {
        if let Some(slot) = self.slots.get_mut(&sequence) {
            slot.position = position;
            slot.bytes = bytes;
        }
    }

    /// Takes a message out for good.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Slot> {
        let slot = self.slots.remove(&sequence)?;
        self.counts[slot.place as usize] -= 1;
        if matches!(slot.place, Place::InFlight | Place::Delayed) {
            self.hidden.remove(&(slot.until_ms, sequence));
        }
        if slot.group != 0 {
            self.look_at_group(slot.group);
        }
        Some(slot)
    }

    /// Takes all messages out for good.
    pub(super) fn clear(&mut self) -> BTreeMap<u64, Slot> {
        self.line = VecDeque::new();
        self.groups = Groups::default();
        self.hidden = BTreeSet::new();
        self.counts = [0; 4];
        std::mem::take(&mut self.slots)
    }

    /// Has a group give its first message, if that is in sight.
    fn look_at_group(&mut self, group: GroupNumber) {
        let slots = &self.slots;
        if let Some(first) = self.groups.first(group, |member| slots.contains_key(&member))
            && slots.get(&first).is_some_and(|slot| slot.place == Place::Visible)
        {
            self.groups.make_ready(group);
        }
    }

    /// Brings into sight what is due; tells those who wait.
    pub(super) fn advance(&mut self, now_ms: u64) {
        while let Some(&(until_ms, sequence)) = self.hidden.first()
            && until_ms <= now_ms
        {
            self.put(sequence, Place::Visible, 0);
        }
        self.deduplication.advance(now_ms);
        self.wake();
    }

    /// When the next message comes into sight, in milliseconds since 1970.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.hidden.first().map(|(until_ms, _)| *until_ms)
    }

    /// Takes the next message that may be given off the line.
    pub(super) fn next_visible(&mut self) -> Option<u64> {
        while let Some(sequence) = self.line.pop_front() {
            if self.slots.get(&sequence).is_some_and(|slot| slot.place == Place::Visible) {
                return Some(sequence);
            }
        }
        while let Some(group) = self.groups.pop_ready() {
            let slots = &self.slots;
            if let Some(first) = self.groups.first(group, |member| slots.contains_key(&member))
                && slots.get(&first).is_some_and(|slot| slot.place == Place::Visible)
            {
                return Some(first);
            }
        }
        None
    }

    /// Whether there may be a message to give.
    pub(super) fn may_give(&self) -> bool {
        !self.line.is_empty() || self.groups.has_ready()
    }

    /// Tells those who wait, if there may be something for them.
    pub(super) fn wake(&self) {
        if self.may_give() {
            self.waiters.wake_first();
            self.ready.notify_waiters();
        }
    }

    /// Forgets what stands in line and is not in sight any more: where nobody receives, nobody else does.
    pub(super) fn tidy(&mut self) {
        let in_sight = usize::try_from(self.counts[Place::Visible as usize]).unwrap_or(usize::MAX);
        if self.line.len() > in_sight.saturating_mul(2).saturating_add(STALE_MAX) {
            let slots = &self.slots;
            self.line.retain(|sequence| slots.get(sequence).is_some_and(|slot| slot.place == Place::Visible));
            self.line.shrink_to_fit();
        }
        self.groups.tidy(STALE_MAX);
    }

    /// Makes the line anew, in the order of the sequences: what a replay leaves of it is longer.
    pub(super) fn straighten(&mut self) {
        let in_sight = self.slots.iter().filter(|(_, slot)| slot.place == Place::Visible && slot.group == 0);
        self.line = in_sight.map(|(sequence, _)| *sequence).collect();
    }

    /// What it holds.
    pub(super) fn stats(&self) -> QueueStats {
        let known = self.slots.values().take(OLDEST_LOOKED_AT_MAX);
        let oldest = known.filter(|slot| slot.place != Place::Delayed).map(|slot| slot.sent_at_ms).min();
        QueueStats {
            visible: self.counts[Place::Visible as usize],
            in_flight: self.in_flight(),
            delayed: self.counts[Place::Delayed as usize],
            oldest_sent_at_ms: oldest,
            sent: self.sent,
            received: self.received,
            deleted: self.deleted,
        }
    }
}
