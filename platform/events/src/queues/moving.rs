//! Moving messages from queue to queue: dead letters, and back.
//!
//! Both queues lie in one log, so a move is one record, and a message is never in both or in none. What says it stays where
//! it is, and keeps its id and when it was sent.
//!
//! A queue that is full takes no dead letters: they stay where they are, and come again until it has room.

use super::engine::{Engine, How, failure, outcome};
use super::queue::Place;
use super::record::{Record, encode};
use super::state::State;
use crate::log::LogError;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::QueueFailure;
use skiff_types::ResourceId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Messages that move in one step.
const STEP_MESSAGES_MAX: u64 = 1_000;
/// Messages that are looked at in one step.
const STEP_LOOKED_AT_MAX: usize = 20_000;

/// How long what could not be moved stays out of sight, in milliseconds, so that a full disk is not asked at once again.
pub(super) const STAY_MS: u64 = 1_000;

/// The answer to a move: how many moved.
type Moving = oneshot::Receiver<Result<u64, LogError>>;

/// What one step of a redrive moves.
#[derive(Default)]
struct Step {
    by_target: BTreeMap<ResourceId, Vec<u64>>,
    /// Where the next step begins; none if this is the last.
    next: Option<u64>,
}

impl Engine {
    /// Writes that messages go to another queue, which are on their way out of this one; where they are in sight once that is
    /// written.
    pub(super) fn begin_move(
        self: &Arc<Self>,
        state: &mut State,
        from: ResourceId,
        to: ResourceId,
        is_dead: bool,
        sequences: Vec<u64>,
    ) -> Result<Moving, LogError> {
        let until_ms = self.now_ms() + STAY_MS;
        let target = state.queue(to);
        let first = target.newest + 1;
        let count = sequences.len() as u64;
        target.newest += count;
        target.pending += count;
        let messages: Vec<_> = sequences.iter().copied().zip(first..).collect();
        let moved =
            Record::Moved { from: from.to_bytes(), to: to.to_bytes(), is_dead, messages: messages.clone() };
        // A dead letter that is lost on its way is found to be one again.
        let how = if is_dead { How::IN_ORDER } else { How::FREEING };
        let answer = self.write(vec![encode(&moved, &[])], how, move |state, outcome| {
            arrived(state, to, count);
            match outcome {
                Ok(_) => {
                    state.carry_over(from, to, is_dead, &messages);
                    for id in [from, to] {
                        if let Some(queue) = state.queues.get(&id) {
                            queue.wake();
                        }
                    }
                    Ok(count)
                }
                Err(error) => {
                    stay(state, from, messages.iter().map(|(sequence, _)| *sequence), until_ms);
                    Err(error)
                }
            }
        });
        if answer.is_err() {
            arrived(state, to, count);
            stay(state, from, sequences, until_ms);
        }
        answer
    }

    /// See [`skiff_ports::queues::Queues::redrive`].
    pub(super) async fn redrive(
        self: &Arc<Self>,
        from: &QueueRef,
        to: Option<&QueueRef>,
        max: u64,
    ) -> Result<u64, QueueFailure> {
        if to.is_some_and(|to| to.id == from.id) {
            return Err(QueueFailure::Invalid("messages can't be moved to the queue they are in".to_owned()));
        }
        if let Some(to) = to
            && to.spec.order.is_fifo() != from.spec.order.is_fifo()
        {
            let why = "messages can only be moved from a FIFO queue to a FIFO queue, or from a standard one to another";
            return Err(QueueFailure::Invalid(why.to_owned()));
        }
        let mut moved = 0;
        let mut at = 0;
        while moved < max {
            let most = STEP_MESSAGES_MAX.min(max - moved);
            let (answers, next) = self.begin_step(from, to, at, most)?;
            for answer in answers {
                moved += outcome(answer).await?;
            }
            let Some(next) = next else { break };
            at = next;
        }
        Ok(moved)
    }

    /// Begins to move up to `most` messages, from a sequence on; the answers, and where the next step begins.
    fn begin_step(
        self: &Arc<Self>,
        from: &QueueRef,
        to: Option<&QueueRef>,
        at: u64,
        most: u64,
    ) -> Result<(Vec<Moving>, Option<u64>), QueueFailure> {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        state.current(from, now_ms);
        let room = to.map_or(u64::MAX, |to| {
            let target = state.queue(to.id);
            to.spec.messages_max.saturating_sub(target.len() + target.pending)
        });
        let Step { by_target, next } = pick(&state, from.id, to.map(|to| to.id), at, most.min(room));
        let mut answers = Vec::new();
        for (target, sequences) in by_target {
            let current = state.queue(from.id);
            for sequence in &sequences {
                current.put(*sequence, Place::Leaving, 0);
            }
            answers.push(self.begin_move(&mut state, from.id, target, false, sequences).map_err(failure)?);
        }
        Ok((answers, next.filter(|_| room > most)))
    }
}

/// Which messages in sight go where: to `to`, or to where each came from if that queue is known.
fn pick(state: &State, from: ResourceId, to: Option<ResourceId>, at: u64, most: u64) -> Step {
    let mut step = Step::default();
    let Some(queue) = state.queues.get(&from) else { return step };
    let mut count = 0;
    // What stays behind keeps its group behind it.
    let mut waiting_groups = BTreeSet::new();
    for (looked_at, (sequence, slot)) in queue.slots_from(at).enumerate() {
        if count == most || looked_at == STEP_LOOKED_AT_MAX {
            step.next = Some(sequence);
            break;
        }
        let target = to.or(slot.source).filter(|target| to.is_some() || state.queues.contains_key(target));
        let waits = slot.group != 0 && waiting_groups.contains(&slot.group);
        match target {
            Some(target) if slot.place == Place::Visible && !waits => {
                step.by_target.entry(target).or_default().push(sequence);
                count += 1;
            }
            _ => {
                waiting_groups.insert(slot.group);
            }
        }
    }
    step
}

/// Says that so many messages are not on their way to a queue any more.
fn arrived(state: &mut State, to: ResourceId, count: u64) {
    if let Some(target) = state.queues.get_mut(&to) {
        target.pending = target.pending.saturating_sub(count);
    }
}

/// Has messages that could not be moved stay, out of sight until a time.
pub(super) fn stay(
    state: &mut State,
    from: ResourceId,
    sequences: impl IntoIterator<Item = u64>,
    until_ms: u64,
) {
    let Some(queue) = state.queues.get_mut(&from) else { return };
    for sequence in sequences {
        if queue.slot(sequence).is_some_and(|slot| slot.place == Place::Leaving) {
            queue.put(sequence, Place::Delayed, until_ms);
        }
    }
}
