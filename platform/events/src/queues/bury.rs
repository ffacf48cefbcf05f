//! Moving messages that were received to their dead-letter queue, where who received them says that nobody will deal with them.
//!
//! What always holds: as with any move, a message is in one of the two queues; one that could not be moved comes again.

use super::engine::{Engine, failure, outcome};
use super::queue::Place;
use super::receipt::Receive;
use super::receive::is_with_receiver;
use super::send::check_count;
use crate::log::LogError;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{MessageError, QueueFailure, Receipt};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What becomes of each message, and the answer to the move, if any moves.
struct Burial {
    outcomes: Vec<Result<(), MessageError>>,
    answer: Option<oneshot::Receiver<Result<u64, LogError>>>,
}

impl Engine {
    /// See [`skiff_ports::queues::Queues::bury`].
    pub(super) async fn bury(
        self: &Arc<Self>,
        queue: &QueueRef,
        receipts: &[Receipt],
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        check_count(receipts.len(), "receipts")?;
        let Burial { outcomes, answer } = self.begin_burial(queue, receipts)?;
        if let Some(answer) = answer {
            outcome(answer).await?;
        }
        Ok(outcomes)
    }

    fn begin_burial(
        self: &Arc<Self>,
        queue: &QueueRef,
        receipts: &[Receipt],
    ) -> Result<Burial, QueueFailure> {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let mut room = queue.dead_letter.as_ref().map_or(0, |to| state.dead_letter(to).room());
        let current = state.current(queue, now_ms);
        let mut sequences = Vec::new();
        let mut outcomes = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            outcomes.push(Receive::parse(queue.id, receipt).and_then(|receive| {
                if current.slot(receive.sequence).is_none() {
                    return Ok(());
                }
                if !is_with_receiver(current, receive) {
                    return Err(MessageError::Stale);
                }
                if queue.dead_letter.is_some() {
                    if room == 0 {
                        let why = "its dead-letter queue is full: the message comes again; make room there";
                        return Err(MessageError::Invalid(why.to_owned()));
                    }
                    room -= 1;
                    current.put(receive.sequence, Place::Leaving, 0);
                    sequences.push(receive.sequence);
                }
                Ok(())
            }));
        }
        let answer = match &queue.dead_letter {
            Some(to) if !sequences.is_empty() => {
                let moving = self.begin_move(&mut state, queue.id, to.id, true, sequences);
                Some(moving.map_err(failure)?)
            }
            Some(_) | None => None,
        };
        Ok(Burial { outcomes, answer })
    }
}
