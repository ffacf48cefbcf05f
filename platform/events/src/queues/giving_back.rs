//! Giving back messages that were received and that nobody was given: in sight again, and as if they had not been received.
//!
//! What always holds: they are given back at once, and in the log's order; if that can't be written, no more is lost than that the
//! receive counts after the next start.

use super::engine::{Engine, How, failure, outcome};
use super::receipt::Receive;
use super::receive::{check_visibility, is_with_receiver, until_ms};
use super::record::{Record, encode};
use super::send::check_count;
use crate::log::LogError;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{MessageError, QueueFailure, Receipt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What became of each message, and the answer of the log, if any was given back.
struct GivenBack {
    outcomes: Vec<Result<(), MessageError>>,
    answer: Option<oneshot::Receiver<Result<(), LogError>>>,
}

impl Engine {
    /// See [`skiff_ports::queues::Queues::give_back`].
    pub(super) async fn give_back(
        self: &Arc<Self>,
        queue: &QueueRef,
        messages: &[(Receipt, Duration)],
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        check_count(messages.len(), "receipts")?;
        let GivenBack { outcomes, answer } = self.begin_giving_back(queue, messages)?;
        if let Some(answer) = answer {
            outcome(answer).await?;
        }
        Ok(outcomes)
    }

    fn begin_giving_back(
        self: &Arc<Self>,
        queue: &QueueRef,
        messages: &[(Receipt, Duration)],
    ) -> Result<GivenBack, QueueFailure> {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let current = state.current(queue, now_ms);
        let mut given_back = Vec::with_capacity(messages.len());
        let mut outcomes = Vec::with_capacity(messages.len());
        for (receipt, pause) in messages {
            let checked = check_visibility(*pause).and_then(|()| Receive::parse(queue.id, receipt));
            outcomes.push(checked.and_then(|receive| {
                let Receive { sequence, tag } = receive;
                let slot = current.slot(sequence).copied();
                let slot = slot.filter(|_| is_with_receiver(current, receive)).ok_or(MessageError::Stale)?;
                let (receives, until_ms) = (slot.receives.saturating_sub(1), until_ms(now_ms, *pause));
                current.take_back(sequence, receives, until_ms);
                given_back.push((sequence, tag, receives, until_ms));
                Ok(())
            }));
        }
        current.wake();
        if given_back.is_empty() {
            return Ok(GivenBack { outcomes, answer: None });
        }
        let record = encode(&Record::GivenBack { queue: queue.id.to_bytes(), messages: given_back }, &[]);
        // It makes no room: what is kept for that on a full disk is not for it.
        let answer = self.write(vec![record], How::LASTING, |_, outcome| outcome.map(|_| ()));
        Ok(GivenBack { outcomes, answer: Some(answer.map_err(failure)?) })
    }
}
