//! Taking messages out: those that were dealt with, all of a queue, or the queue itself.
//!
//! What always holds: a message is gone once that is on the drive; until then it is on its way out, and the next of its group
//! waits. What could not be written is undone.

use super::engine::{Engine, How, failure, outcome};
use super::queue::Place;
use super::receipt::Receive;
use super::receive::is_with_receiver;
use super::record::{Record, encode};
use super::send::check_count;
use super::state::State;
use crate::log::LogError;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{MessageError, QueueFailure, Receipt};
use skiff_types::ResourceId;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A message that is on its way out.
struct Leaving {
    sequence: u64,
    /// When its receive would have been over.
    until_ms: u64,
    /// Whether this call sent it on its way.
    is_ours: bool,
}

/// A deletion that is being written.
struct Deletion {
    outcomes: Vec<Result<(), MessageError>>,
    /// None if there is nothing to wait for.
    answer: Option<oneshot::Receiver<Result<(), LogError>>>,
}

impl Engine {
    /// See [`skiff_ports::queues::Queues::delete`].
    pub(super) async fn delete(
        self: &Arc<Self>,
        queue: &QueueRef,
        receipts: &[Receipt],
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        check_count(receipts.len(), "receipts")?;
        let Deletion { outcomes, answer } = self.begin_delete(queue, receipts)?;
        if let Some(answer) = answer {
            outcome(answer).await?;
        }
        Ok(outcomes)
    }

    fn begin_delete(
        self: &Arc<Self>,
        queue: &QueueRef,
        receipts: &[Receipt],
    ) -> Result<Deletion, QueueFailure> {
        let now_ms = self.now_ms();
        let id = queue.id;
        let mut state = self.lock();
        let current = state.current(queue, now_ms);
        let mut leaving = Vec::new();
        let mut outcomes = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            let outcome = Receive::parse(id, receipt).and_then(|receive| {
                let Some(slot) = current.slot(receive.sequence).copied() else { return Ok(()) };
                let sequence = receive.sequence;
                if is_with_receiver(current, receive) {
                    current.put(sequence, Place::Leaving, slot.until_ms);
                    leaving.push(Leaving { sequence, until_ms: slot.until_ms, is_ours: true });
                } else if slot.place == Place::Leaving && slot.tag == receive.tag {
                    // Another call is at it: this one waits for the same.
                    leaving.push(Leaving { sequence, until_ms: slot.until_ms, is_ours: false });
                } else {
                    return Err(MessageError::Stale);
                }
                Ok(())
            });
            outcomes.push(outcome);
        }
        if leaving.is_empty() {
            return Ok(Deletion { outcomes, answer: None });
        }
        let sequences = leaving.iter().map(|message| message.sequence).collect();
        let record = encode(&Record::Gone { queue: id.to_bytes(), sequences }, &[]);
        let ours: Vec<_> = leaving
            .iter()
            .filter(|message| message.is_ours)
            .map(|message| (message.sequence, message.until_ms))
            .collect();
        let undo = ours.clone();
        let answer = self.write(vec![record], How::FREEING, move |state, outcome| {
            match &outcome {
                Ok(_) => finish_delete(state, id, &leaving),
                Err(_) => keep(state, id, undo),
            }
            outcome.map(|_| ())
        });
        match answer {
            Ok(answer) => Ok(Deletion { outcomes, answer: Some(answer) }),
            Err(error) => {
                keep(&mut state, id, ours);
                Err(failure(error))
            }
        }
    }

    /// See [`skiff_ports::queues::Queues::purge`].
    pub(super) async fn purge(self: &Arc<Self>, queue: &QueueRef) -> Result<u64, QueueFailure> {
        let id = queue.id;
        let answer = {
            let mut state = self.lock();
            let current = state.queue(id);
            let before = current.newest + 1;
            current.purging_before = current.purging_before.max(before);
            let record = encode(&Record::Purged { queue: id.to_bytes(), before }, &[]);
            self.write(vec![record], How::FREEING, move |state, outcome| match outcome {
                Ok(_) => Ok(state.purge(id, before)),
                Err(error) => {
                    purge_no_more(state, id, before);
                    Err(error)
                }
            })
            .inspect_err(|_| purge_no_more(&mut state, id, before))
        };
        outcome(answer.map_err(failure)?).await
    }

    /// See [`skiff_ports::queues::Queues::drop_queue`].
    pub(super) async fn drop_queue(self: &Arc<Self>, id: ResourceId) -> Result<(), QueueFailure> {
        let answer = {
            let mut state = self.lock();
            let Some(current) = state.queues.get_mut(&id) else { return Ok(()) };
            current.purging_before = u64::MAX;
            let record = encode(&Record::Dropped { queue: id.to_bytes() }, &[]);
            self.write(vec![record], How::FREEING, move |state, outcome| match outcome {
                Ok(_) => {
                    state.drop_queue(id);
                    Ok(())
                }
                Err(error) => {
                    purge_no_more(state, id, u64::MAX);
                    Err(error)
                }
            })
            .inspect_err(|_| purge_no_more(&mut state, id, u64::MAX))
        };
        outcome(answer.map_err(failure)?).await
    }
}

/// Says that what was to be purged stays, unless another purge takes more.
fn purge_no_more(state: &mut State, id: ResourceId, before: u64) {
    if let Some(queue) = state.queues.get_mut(&id)
        && queue.purging_before == before
    {
        queue.purging_before = 0;
    }
}

fn finish_delete(state: &mut State, id: ResourceId, leaving: &[Leaving]) {
    let count = state.remove(id, leaving.iter().map(|message| message.sequence));
    if let Some(queue) = state.queues.get_mut(&id) {
        queue.deleted += count;
        queue.wake();
    }
}

/// Gives messages back to their receivers, whose deletion could not be written.
fn keep(state: &mut State, id: ResourceId, leaving: impl IntoIterator<Item = (u64, u64)>) {
    let Some(queue) = state.queues.get_mut(&id) else { return };
    for (sequence, until_ms) in leaving {
        if queue.slot(sequence).is_some_and(|slot| slot.place == Place::Leaving) {
            queue.put(sequence, Place::InFlight, until_ms);
        }
    }
}
