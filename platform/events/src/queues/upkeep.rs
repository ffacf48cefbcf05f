//! Once a second: forgets messages that are too old, and lets go of what the log holds to no purpose.
//!
//! The oldest segment goes once nothing in it is needed. If more than half of the log is of no use, and old messages hold the
//! oldest segment, they are written again at the log's end: so an old message holds the disk no longer than that, and a
//! message is on average written once more at most.
//!
//! What always holds: how far a queue's sequences are is said in what stays of the log, and so is what its deduplication
//! remembers.

use super::engine::{Engine, How};
use super::queue::{Place, Slot};
use super::record::{Head, Record, decode, encode};
use super::state::State;
use crate::log::{LogError, Position};
use bytes::Bytes;
use skiff_types::ResourceId;
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

/// How often it looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Messages of a queue that are forgotten at once for their age.
const OLD_AT_ONCE_MAX: usize = 10_000;
/// Bytes of messages that are written again at once.
const AGAIN_BYTES_MAX: usize = 1024 * 1024;
/// Segments that may be of no use, however little is.
const IDLE_SEGMENTS_MAX: u64 = 4;

/// Looks after an engine until that is gone or `stop` is dropped.
pub(super) fn run(engine: &Weak<Engine>, stop: &mpsc::Receiver<()>) {
    while let Err(mpsc::RecvTimeoutError::Timeout) = stop.recv_timeout(PAUSE) {
        let Some(engine) = engine.upgrade() else { return };
        match engine.look_after() {
            // Calls say that there is no room, or that the log is closed.
            Ok(()) | Err(LogError::Full | LogError::Closed) => {}
            Err(error) => tracing::warn!(%error, "the queues' log could not be tidied up; it is tried again"),
        }
    }
}

/// A message as it was found in the log.
struct Found {
    head: Head,
    body: Bytes,
    at: Position,
}

/// A message that is to be written again.
struct Again {
    record: Bytes,
    queue: ResourceId,
    sequence: u64,
    from: Position,
}

impl Engine {
    /// One round.
    pub(super) fn look_after(self: &Arc<Self>) -> Result<(), LogError> {
        self.forget_all_old();
        while let Some(end) = self.log.first_end() {
            let is_needed = self.needed_from() < end;
            if is_needed && !(self.is_wasteful() && self.write_first_again(end)?) {
                return Ok(());
            }
            self.tell_sequences(end)?;
            self.log.forget_before(end);
            if !self.wait_until_gone(end)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn forget_all_old(&self) {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let ids: Vec<_> = state.queues.keys().copied().collect();
        for id in ids {
            let queue = state.queue(id);
            queue.advance(now_ms);
            let Some(retention_ms) = queue.retention_ms else { continue };
            // What is on its way out is left to who sent it there.
            let old: Vec<_> = queue
                .slots_from(0)
                .take_while(|(_, slot)| slot.sent_at_ms.saturating_add(retention_ms) <= now_ms)
                .filter(|(_, slot)| slot.place != Place::Leaving)
                .map(|(sequence, _)| sequence)
                .take(OLD_AT_ONCE_MAX)
                .collect();
            self.forget_old(&mut state, id, old);
            let queue = state.queue(id);
            queue.tidy();
            queue.wake();
        }
    }

    /// No message and nothing that is remembered lies in the log before this.
    fn needed_from(&self) -> Position {
        let state = self.lock();
        let remembered = state.queues.values().filter_map(|queue| queue.deduplication.pin());
        remembered.chain(state.live.first()).fold(state.settled, Position::min)
    }

    /// Whether more than half of the log is of no use.
    fn is_wasteful(&self) -> bool {
        let live_bytes = self.lock().live.bytes();
        self.log.bytes() > 2 * live_bytes + IDLE_SEGMENTS_MAX * self.segment_bytes
    }

    /// Writes the messages of the oldest segment again, which ends there; whether nothing in it is needed any more.
    fn write_first_again(self: &Arc<Self>, end: Position) -> Result<bool, LogError> {
        let is_remembered = {
            let state = self.lock();
            let mut pins = state.queues.values().filter_map(|queue| queue.deduplication.pin());
            pins.any(|pin| pin < end)
        };
        if is_remembered {
            return Ok(false);
        }
        let mut found: Vec<Found> = Vec::new();
        let mut bytes = 0;
        let mut outcome = Ok(true);
        self.log.scan_first(|at, payload| {
            let Ok((Record::Message(head), body_bytes)) = decode(payload) else { return true };
            let body = Bytes::copy_from_slice(&payload[payload.len() - body_bytes..]);
            bytes += payload.len();
            found.push(Found { head, body, at });
            if bytes >= AGAIN_BYTES_MAX {
                outcome = self.write_again(std::mem::take(&mut found));
                bytes = 0;
            }
            matches!(outcome, Ok(true))
        })?;
        if outcome? { self.write_again(found) } else { Ok(false) }
    }

    /// Writes those messages again that still lie where they were found, and waits until they are on the drive; whether none
    /// of them lies there any more.
    fn write_again(self: &Arc<Self>, found: Vec<Found>) -> Result<bool, LogError> {
        let state = self.lock();
        let mut again = Vec::new();
        let mut is_clean = true;
        for message in found {
            match state.lying_at(&message.head, message.at) {
                None => {}
                Some((id, sequence, slot)) if may_be_written(&state, id, sequence, &slot) => {
                    again.push(as_it_is(&state, message, id, sequence, &slot));
                }
                Some(_) => is_clean = false,
            }
        }
        if again.is_empty() {
            return Ok(is_clean);
        }
        let records = again.iter().map(|message| message.record.clone()).collect();
        let answer = self.write(records, How::LASTING, move |state, outcome| -> Result<(), LogError> {
            for (message, position) in again.iter().zip(outcome?) {
                relocate(state, message, *position);
            }
            Ok(())
        })?;
        drop(state);
        answer.blocking_recv().unwrap_or(Err(LogError::Closed)).map(|()| is_clean)
    }

    /// Says again how far the queues' sequences are, if that lies before `end` alone.
    fn tell_sequences(self: &Arc<Self>, end: Position) -> Result<(), LogError> {
        let state = self.lock();
        let untold = state.queues.iter().filter(|(_, queue)| queue.told < end);
        let (ids, records): (Vec<_>, Vec<_>) = untold
            .map(|(id, queue)| {
                let record = Record::Sequence { queue: id.to_bytes(), next: queue.newest + 1 };
                (*id, encode(&record, &[]))
            })
            .unzip();
        if ids.is_empty() {
            return Ok(());
        }
        let answer = self.write(records, How::FREEING, move |state, outcome| -> Result<(), LogError> {
            for (id, position) in ids.iter().zip(outcome?) {
                if let Some(queue) = state.queues.get_mut(id) {
                    queue.told = queue.told.max(*position);
                }
            }
            Ok(())
        })?;
        drop(state);
        answer.blocking_recv().unwrap_or(Err(LogError::Closed))
    }

    /// Waits until the log's thread has come by; whether the segment that ends there is gone.
    fn wait_until_gone(self: &Arc<Self>, end: Position) -> Result<bool, LogError> {
        for _ in 0..2 {
            // An append of nothing: the thread answers it in a turn, and deletes segments after each.
            let answer = self.write(Vec::new(), How::IN_ORDER, |_, outcome| outcome.map(|_| ()))?;
            answer.blocking_recv().unwrap_or(Err(LogError::Closed))?;
        }
        Ok(self.log.first() >= end)
    }
}

/// Whether a message may be written again: what says that it is gone or elsewhere must not come before that in the log.
fn may_be_written(state: &State, id: ResourceId, sequence: u64, slot: &Slot) -> bool {
    let is_purged = state.queues.get(&id).is_some_and(|queue| sequence < queue.purging_before);
    slot.place != Place::Leaving && !is_purged
}

/// A message's record as it is now.
fn as_it_is(state: &State, found: Found, id: ResourceId, sequence: u64, slot: &Slot) -> Again {
    let is_hidden = matches!(slot.place, Place::InFlight | Place::Delayed);
    let group = state.queues.get(&id).and_then(|queue| queue.group_of(slot));
    let record = Record::Message(Head {
        queue: id.to_bytes(),
        sequence,
        until_ms: if is_hidden { slot.until_ms } else { 0 },
        receives: slot.receives,
        tag: slot.tag,
        group: group.map(|name| name.to_string()),
        deduplication: None,
        source: slot.source.map(ResourceId::to_bytes),
        ..found.head
    });
    Again { record: encode(&record, &found.body), queue: id, sequence, from: found.at }
}

/// Says that a message's record lies elsewhere now, if it is still there.
fn relocate(state: &mut State, message: &Again, position: Position) {
    let Some(queue) = state.queues.get_mut(&message.queue) else { return };
    if queue.slot(message.sequence).is_some_and(|slot| slot.position == message.from) {
        // A message is shorter than 2^31 bytes.
        state.relocate(message.queue, message.sequence, position, message.record.len() as u32);
    }
}
