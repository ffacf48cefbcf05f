//! All queues in memory, and which parts of the log they need.
//!
//! What happened to a message is done here in the same way and order when it has been written and when it is read again.
//!
//! What always holds: everything in the log before `settled` has been done here; each message that is here is counted in
//! `live` at its record's place.

use super::queue::{Place, Queue, Slot};
use super::record::{Head, QueueId, Record};
use crate::log::Position;
use skiff_types::ResourceId;
use std::collections::BTreeMap;

/// Places in the log are counted by blocks of 2 to the power of this many bytes.
const BLOCK_SHIFT: u32 = 20;

/// Messages' records in the log.
#[derive(Default)]
pub(super) struct Live {
    blocks: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Live {
    fn add(&mut self, position: Position, bytes: u32) {
        *self.blocks.entry(position.0 >> BLOCK_SHIFT).or_default() += 1;
        self.bytes += u64::from(bytes);
    }

    fn remove(&mut self, position: Position, bytes: u32) {
        let block = position.0 >> BLOCK_SHIFT;
        if let Some(count) = self.blocks.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                self.blocks.remove(&block);
            }
        }
        self.bytes -= u64::from(bytes);
    }

    /// No record lies before this.
    pub(super) fn first(&self) -> Option<Position> {
        self.blocks.keys().next().map(|block| Position(block << BLOCK_SHIFT))
    }

    /// Bytes of all records.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// All queues.
#[derive(Default)]
pub(super) struct State {
    pub(super) queues: BTreeMap<ResourceId, Queue>,
    pub(super) live: Live,
    /// Messages that moved since their record was written, by where that lies: it names another queue.
    strays: BTreeMap<Position, (ResourceId, u64)>,
    pub(super) settled: Position,
}

impl State {
    /// A queue, which is made if it is not there.
    pub(super) fn queue(&mut self, id: ResourceId) -> &mut Queue {
        self.queues.entry(id).or_default()
    }

    /// Says that everything up to the last of these records is done, which were written just now.
    pub(super) fn settle(&mut self, positions: &[Position]) {
        if let Some(last) = positions.last() {
            self.settled = self.settled.max(Position(last.0 + 1));
        }
    }

    /// Takes a message in, or says that its record lies elsewhere now.
    pub(super) fn take_in(&mut self, head: &Head, position: Position, bytes: u32, now_ms: u64) {
        let id = ResourceId::from_bytes(head.queue);
        let queue = self.queues.entry(id).or_default();
        if queue.slot(head.sequence).is_some() {
            self.relocate(id, head.sequence, position, bytes);
            return;
        }
        let place = match head.tag {
            0 if head.until_ms <= now_ms => Place::Visible,
            0 => Place::Delayed,
            // Even if its time is over by now: what the log says of this receive comes after.
            _ => Place::InFlight,
        };
        let slot = Slot {
            position,
            sent_at_ms: head.sent_at_ms,
            until_ms: head.until_ms,
            receives: head.receives,
            tag: head.tag,
            group: queue.group_number(head.group.as_deref()),
            bytes,
            source: head.source.map(ResourceId::from_bytes),
            place,
        };
        queue.insert(head.sequence, slot);
        queue.told = queue.told.max(position);
        self.live.add(position, bytes);
    }

    /// Says that a message's record, which names the queue that it is in, lies elsewhere now.
    pub(super) fn relocate(&mut self, id: ResourceId, sequence: u64, position: Position, bytes: u32) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(old) = queue.slot(sequence).copied() else { return };
        queue.relocate(sequence, position, bytes);
        self.live.remove(old.position, old.bytes);
        self.live.add(position, bytes);
        self.strays.remove(&old.position);
    }

    /// The message whose record lies there: its queue, its place in it, and where it is. None if it is gone.
    pub(super) fn lying_at(&self, head: &Head, position: Position) -> Option<(ResourceId, u64, Slot)> {
        let own = (ResourceId::from_bytes(head.queue), head.sequence);
        let (id, sequence) = self.strays.get(&position).copied().unwrap_or(own);
        let slot = self.queues.get(&id)?.slot(sequence)?;
        (slot.position == position).then_some((id, sequence, *slot))
    }

    /// Takes messages out for good; how many were there.
    pub(super) fn remove(&mut self, id: ResourceId, sequences: impl IntoIterator<Item = u64>) -> u64 {
        let Some(queue) = self.queues.get_mut(&id) else { return 0 };
        let mut count = 0;
        for sequence in sequences {
            if let Some(slot) = queue.remove(sequence) {
                self.live.remove(slot.position, slot.bytes);
                self.strays.remove(&slot.position);
                count += 1;
            }
        }
        count
    }

    /// Moves messages to another queue, where they are in sight.
    pub(super) fn carry_over(
        &mut self,
        from: ResourceId,
        to: ResourceId,
        is_dead: bool,
        messages: &[(u64, u64)],
    ) {
        for (old, new) in messages {
            let Some(source) = self.queues.get_mut(&from) else { return };
            let Some(slot) = source.slot(*old).copied() else { continue };
            let group = source.group_of(&slot);
            source.remove(*old);
            let target = self.queues.entry(to).or_default();
            let slot = Slot {
                until_ms: 0,
                receives: 0,
                tag: 0,
                group: target.group_number(group.as_deref()),
                source: is_dead.then_some(from),
                place: Place::Visible,
                ..slot
            };
            target.insert(*new, slot);
            self.strays.insert(slot.position, (to, *new));
        }
    }

    /// Forgets a queue's messages with lower sequences; how many.
    pub(super) fn purge(&mut self, id: ResourceId, before: u64) -> u64 {
        let Some(queue) = self.queues.get_mut(&id) else { return 0 };
        // Unless another purge follows, that takes more.
        if queue.purging_before <= before {
            queue.purging_before = 0;
        }
        if queue.slots_from(before).next().is_none() {
            let slots = queue.clear();
            for slot in slots.values() {
                self.live.remove(slot.position, slot.bytes);
                self.strays.remove(&slot.position);
            }
            return slots.len() as u64;
        }
        let all = queue.slots_from(0).map(|(sequence, _)| sequence);
        let old: Vec<u64> = all.take_while(|sequence| *sequence < before).collect();
        self.remove(id, old)
    }

    /// Forgets a queue.
    pub(super) fn drop_queue(&mut self, id: ResourceId) {
        self.purge(id, u64::MAX);
        if let Some(queue) = self.queues.remove(&id) {
            queue.waiters.wake_all();
            queue.ready.notify_waiters();
        }
    }

    /// Does what a record from the log says.
    pub(super) fn replay(&mut self, record: &Record, position: Position, bytes: u32, now_ms: u64) {
        let id = |bytes: &QueueId| ResourceId::from_bytes(*bytes);
        match record {
            Record::Message(head) => {
                self.take_in(head, position, bytes, now_ms);
                if let Some(fingerprint) = head.deduplication {
                    let queue = self.queue(id(&head.queue));
                    queue.deduplication.remember(fingerprint, head.sequence, head.sent_at_ms, position);
                    queue.deduplication.advance(now_ms);
                }
            }
            Record::Received { queue, until_ms, messages } => {
                let queue = self.queue(id(queue));
                for (sequence, receives, tag) in messages {
                    queue.give(*sequence, *receives, *tag, *until_ms);
                }
            }
            Record::Hidden { queue, messages } => {
                let queue = self.queue(id(queue));
                for (sequence, tag, until_ms) in messages {
                    let place = if *until_ms == 0 { Place::Visible } else { Place::InFlight };
                    if queue.slot(*sequence).is_some_and(|slot| slot.tag == *tag) {
                        queue.put(*sequence, place, *until_ms);
                    }
                }
            }
            Record::GivenBack { queue, messages } => {
                let queue = self.queue(id(queue));
                for (sequence, tag, receives, until_ms) in messages {
                    if queue.slot(*sequence).is_some_and(|slot| slot.tag == *tag) {
                        queue.take_back(*sequence, *receives, *until_ms);
                    }
                }
            }
            Record::Gone { queue, sequences } => {
                self.remove(id(queue), sequences.iter().copied());
            }
            Record::Moved { from, to, is_dead, messages } => {
                self.carry_over(id(from), id(to), *is_dead, messages);
            }
            Record::Purged { queue, before } => {
                self.purge(id(queue), *before);
            }
            Record::Dropped { queue } => self.drop_queue(id(queue)),
            Record::Sequence { queue, next } => {
                let queue = self.queue(id(queue));
                queue.newest = queue.newest.max(next.saturating_sub(1));
                queue.told = queue.told.max(position);
            }
        }
    }
}
