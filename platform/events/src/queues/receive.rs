//! Giving messages out: at once, or to those who wait in line for them.
//!
//! What always holds: a message that is given out is in flight until its time is over; of a receive that is dropped while it
//! waits, none is. That a message was received is noted in the log, and nobody waits for that.

use super::engine::{Engine, failure};
use super::moving::{STAY_MS, stay};
use super::queue::{Place, Queue, Slot};
use super::receipt::Receive;
use super::record::{Head, Record, encode};
use super::send::check_count;
use super::state::State;
use crate::log::LogError;
use bytes::Bytes;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{Message, MessageError, QueueFailure, Receipt};
use skiff_types::{QueueSpec, ResourceId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Messages that a receive at most finds to be dead letters or too old before it looks again.
const PASSED_OVER_MAX: usize = 1_000;
/// How long one who waits for a message's time looks away at most: the wall clock may be put forward meanwhile.
const LOOK_AWAY_MAX: Duration = Duration::from_secs(1);

/// What a receive asks for.
struct Wanted<'a> {
    queue: &'a QueueRef,
    max: usize,
    visibility_ms: u64,
}

/// What it got.
#[derive(Default)]
struct Taken {
    messages: Vec<(u64, Slot)>,
    /// Messages were passed over, and there may be more behind them.
    is_to_look_again: bool,
    has_too_many: bool,
}

/// A place in the line of those who wait; given up when dropped.
struct Turn {
    engine: Arc<Engine>,
    queue: ResourceId,
    ticket: u64,
    notify: Arc<Notify>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.engine.lock().queues.get_mut(&self.queue) {
            queue.waiters.leave(self.ticket);
        }
    }
}

impl Engine {
    /// See [`skiff_ports::queues::Queues::receive`].
    pub(super) async fn receive(
        self: &Arc<Self>,
        queue: &QueueRef,
        max: usize,
        visibility: Option<Duration>,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueFailure> {
        check_count(max, "messages")?;
        let visibility = visibility.unwrap_or(queue.spec.visibility_timeout.duration());
        check_visibility(visibility).map_err(|error| QueueFailure::Invalid(error.to_string()))?;
        if wait > QueueSpec::WAIT_MAX.duration() {
            let most = QueueSpec::WAIT_MAX;
            return Err(QueueFailure::Invalid(format!("a receive can wait for {most} at most")));
        }
        let wanted = Wanted { queue, max, visibility_ms: visibility.as_millis() as u64 };
        let taken = self.take_or_wait(&wanted, wait).await?;
        self.read_all(queue, taken)
    }

    async fn take_or_wait(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        wait: Duration,
    ) -> Result<Vec<(u64, Slot)>, QueueFailure> {
        let deadline = Instant::now() + wait;
        let mut turn: Option<Turn> = None;
        loop {
            let is_over = Instant::now() >= deadline;
            let look_away = 'look: {
                let now_ms = self.now_ms();
                let mut state = self.lock();
                let ticket = turn.as_ref().map(|turn| turn.ticket);
                let taken = self.take(&mut state, wanted, ticket, now_ms)?;
                if !taken.messages.is_empty() {
                    return Ok(taken.messages);
                }
                if taken.is_to_look_again {
                    break 'look None;
                }
                if taken.has_too_many {
                    let error = MessageError::TooManyInFlight(QueueSpec::IN_FLIGHT_MAX);
                    return Err(QueueFailure::Invalid(error.to_string()));
                }
                if is_over {
                    return Ok(Vec::new());
                }
                let current = state.queue(wanted.queue.id);
                if turn.is_none() {
                    let (ticket, notify) = current.waiters.join();
                    turn = Some(Turn { engine: self.clone(), queue: wanted.queue.id, ticket, notify });
                }
                let ticket = turn.as_ref().map(|turn| turn.ticket);
                Some(until_due(current, ticket, now_ms))
            };
            let (Some(turn), Some(look_away)) = (&turn, look_away) else {
                // Many were passed over: others have their turn in between.
                tokio::task::yield_now().await;
                continue;
            };
            let until = look_away.map_or(deadline, |pause| deadline.min(Instant::now() + pause));
            tokio::select! {
                () = turn.notify.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Takes messages that are in sight, if it is this one's turn.
    fn take(
        self: &Arc<Self>,
        state: &mut State,
        wanted: &Wanted<'_>,
        ticket: Option<u64>,
        now_ms: u64,
    ) -> Result<Taken, QueueFailure> {
        let mut taken = Taken::default();
        let id = wanted.queue.id;
        let (mut dead, mut old) = (Vec::new(), Vec::new());
        let current = state.current(wanted.queue, now_ms);
        if !current.waiters.may_take(ticket) {
            return Ok(taken);
        }
        let until_ms = now_ms + wanted.visibility_ms;
        let mut tags = [0; 4 * QueueSpec::BATCH_MAX];
        while taken.messages.len() < wanted.max {
            if current.in_flight() >= QueueSpec::IN_FLIGHT_MAX as u64 {
                taken.has_too_many = true;
                break;
            }
            if dead.len() + old.len() >= PASSED_OVER_MAX {
                taken.is_to_look_again = true;
                break;
            }
            let Some(sequence) = current.next_visible() else { break };
            let Some(slot) = current.slot(sequence).copied() else { continue };
            if is_too_old(wanted.queue, &slot, now_ms) {
                current.put(sequence, Place::Leaving, 0);
                old.push(sequence);
            } else if is_dead_letter(wanted.queue, &slot) {
                current.put(sequence, Place::Leaving, 0);
                dead.push(sequence);
            } else {
                if taken.messages.is_empty() {
                    self.random.fill(&mut tags[..4 * wanted.max]);
                }
                let tag = tag_of(&tags, taken.messages.len());
                current.give(sequence, slot.receives.saturating_add(1), tag, until_ms);
                taken.messages.extend(current.slot(sequence).map(|slot| (sequence, *slot)));
            }
        }
        current.received += taken.messages.len() as u64;
        self.note_received(id, until_ms, &taken.messages);
        self.forget_old(state, id, old);
        if let Some(to) = wanted.queue.dead_letter.as_ref().filter(|_| !dead.is_empty()) {
            let room = usize::try_from(state.dead_letter(to).room()).unwrap_or(usize::MAX);
            let until_ms = now_ms + wanted.queue.spec.visibility_timeout.ms().max(STAY_MS);
            stay(state, id, dead.split_off(room.min(dead.len())), until_ms);
        }
        if let Some(to) = &wanted.queue.dead_letter
            && !dead.is_empty()
        {
            // Nobody waits for it. Who got messages is told of its failure the next time.
            let moving = self.begin_move(state, id, to.id, true, dead);
            if taken.messages.is_empty() {
                drop(moving.map_err(failure)?);
            }
        }
        Ok(taken)
    }

    fn note_received(&self, id: ResourceId, until_ms: u64, messages: &[(u64, Slot)]) {
        if messages.is_empty() {
            return;
        }
        let messages = messages.iter().map(|(sequence, slot)| (*sequence, slot.receives, slot.tag)).collect();
        self.log.note(encode(&Record::Received { queue: id.to_bytes(), until_ms, messages }, &[]));
    }

    /// Forgets messages that are older than they may get.
    pub(super) fn forget_old(&self, state: &mut State, id: ResourceId, old: Vec<u64>) {
        if old.is_empty() {
            return;
        }
        state.remove(id, old.iter().copied());
        // If this is lost, they are too old again after the next start.
        self.log.note(encode(&Record::Gone { queue: id.to_bytes(), sequences: old }, &[]));
    }

    /// Reads what messages say. One that can't be read stays in flight, and comes again; that is an error if none can.
    fn read_all(&self, queue: &QueueRef, taken: Vec<(u64, Slot)>) -> Result<Vec<Message>, QueueFailure> {
        let mut messages = Vec::with_capacity(taken.len());
        let mut failed = None;
        for (sequence, slot) in taken {
            match self.read_one(queue.id, sequence, slot) {
                Ok(message) => messages.extend(message),
                Err(error) => {
                    tracing::error!(queue = %queue.spec.name, sequence, ?error, "a message could not be read");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if messages.is_empty() => Err(error),
            _ => Ok(messages),
        }
    }

    /// A message, or none if it is gone already.
    fn read_one(&self, id: ResourceId, sequence: u64, slot: Slot) -> Result<Option<Message>, QueueFailure> {
        let (head, body) = match self.read_at(&slot)? {
            Some(found) => found,
            None => {
                // It is gone, or was written again elsewhere.
                let moved = self.lock().queues.get(&id).and_then(|queue| queue.slot(sequence).copied());
                let Some(moved) = moved else { return Ok(None) };
                self.read(moved.position)?
            }
        };
        Ok(Some(Message {
            id: hex::encode(head.id),
            sequence,
            receipt: Receive { sequence, tag: slot.tag }.receipt(id),
            body,
            attributes: head.attributes,
            group: head.group,
            sent_at_ms: slot.sent_at_ms,
            receives: slot.receives,
            dead_letter_source: slot.source,
        }))
    }

    fn read_at(&self, slot: &Slot) -> Result<Option<(Head, Bytes)>, QueueFailure> {
        match self.read(slot.position) {
            Err(QueueFailure::Storage(error))
                if matches!(error.downcast_ref(), Some(LogError::Absent(_))) =>
            {
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }

    /// See [`skiff_ports::queues::Queues::change_visibility`].
    pub(super) fn change_visibility(
        &self,
        queue: &QueueRef,
        changes: &[(Receipt, Duration)],
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        check_count(changes.len(), "receipts")?;
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let current = state.current(queue, now_ms);
        let mut noted = Vec::new();
        let outcomes = changes
            .iter()
            .map(|(receipt, visibility)| {
                check_visibility(*visibility)?;
                let receive = Receive::parse(queue.id, receipt)?;
                let Receive { sequence, tag } = receive;
                if !is_with_receiver(current, receive) {
                    return Err(MessageError::Stale);
                }
                let until_ms = until_ms(now_ms, *visibility);
                let place = if until_ms == 0 { Place::Visible } else { Place::InFlight };
                current.put(sequence, place, until_ms);
                noted.push((sequence, tag, until_ms));
                Ok(())
            })
            .collect();
        current.wake();
        if !noted.is_empty() {
            self.log.note(encode(&Record::Hidden { queue: queue.id.to_bytes(), messages: noted }, &[]));
        }
        Ok(outcomes)
    }

    /// See [`skiff_ports::queues::Queues::ready`].
    pub(super) async fn ready(&self, queue: &QueueRef) {
        loop {
            let now_ms = self.now_ms();
            let (ready, pause) = {
                let mut state = self.lock();
                let current = state.current(queue, now_ms);
                (current.ready.clone(), current.next_due_ms().map(|due_ms| pause(due_ms, now_ms)))
            };
            let notified = ready.notified();
            tokio::pin!(notified);
            // From here on no news is missed.
            notified.as_mut().enable();
            if self.lock().queue(queue.id).may_give() {
                return;
            }
            match pause {
                Some(pause) => {
                    // Either is a reason to look again.
                    let _ = tokio::time::timeout(pause, notified).await;
                }
                None => notified.await,
            }
        }
    }
}

/// Whether a message is out with this very receive.
pub(super) fn is_with_receiver(queue: &Queue, receive: Receive) -> bool {
    let slot = queue.slot(receive.sequence);
    slot.is_some_and(|slot| slot.place == Place::InFlight && slot.tag == receive.tag)
}

pub(super) fn check_visibility(visibility: Duration) -> Result<(), MessageError> {
    if visibility <= QueueSpec::VISIBILITY_MAX.duration() {
        return Ok(());
    }
    let most = QueueSpec::VISIBILITY_MAX;
    Err(MessageError::Invalid(format!("a message can stay out of sight for {most} at most")))
}

/// When what is out of sight for so long comes back, in milliseconds since 1970; 0 is at once.
pub(super) fn until_ms(now_ms: u64, visibility: Duration) -> u64 {
    if visibility.is_zero() { 0 } else { now_ms + visibility.as_millis().max(1) as u64 }
}

fn is_too_old(queue: &QueueRef, slot: &Slot, now_ms: u64) -> bool {
    slot.sent_at_ms.saturating_add(queue.spec.retention.ms()) <= now_ms
}

/// Whether a message has had as many receives as it may, and there is where to put it.
fn is_dead_letter(queue: &QueueRef, slot: &Slot) -> bool {
    queue.dead_letter.is_some()
        && queue.spec.dead_letter.as_ref().is_some_and(|letter| slot.receives >= letter.receives_max)
}

/// The tag of a receive, of random bytes; never 0.
fn tag_of(bytes: &[u8], index: usize) -> u32 {
    let tag = bytes.chunks_exact(4).nth(index).and_then(|chunk| chunk.first_chunk::<4>());
    tag.map_or(1, |tag| u32::from_le_bytes(*tag).max(1))
}

/// How long the first of those who wait looks away; the others wait until they are first.
fn until_due(queue: &Queue, ticket: Option<u64>, now_ms: u64) -> Option<Duration> {
    let is_first = queue.waiters.may_take(ticket);
    queue.next_due_ms().filter(|_| is_first).map(|due_ms| pause(due_ms, now_ms))
}

fn pause(due_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(due_ms.saturating_sub(now_ms).max(1)).min(LOOK_AWAY_MAX)
}
