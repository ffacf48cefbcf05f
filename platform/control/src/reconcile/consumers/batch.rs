//! One batch: given to a task, kept out of sight while that works on it, and then each of its messages deleted, buried, or left to
//! come again.
//!
//! What always holds: as long as its task may work on it, a batch's messages stay out of sight, as far as the queue can be written
//! to; what can't be written down comes again; and that they were received does not count where no guest was given them.

use super::fate::{Fate, fates};
use super::works_on;
use crate::catalog::queue_ref;
use crate::consumers::Given;
use crate::context::Context;
use skiff_kit::Backoff;
use skiff_ports::catalog::QueueRef;
use skiff_ports::guest_deliveries::{
    DeliverError, GuestBatch, GuestDelivery, GuestOutcome, MessageOutcome, QueuedMessage,
};
use skiff_ports::queues::{Message, MessageError, QueueFailure, Receipt};
use skiff_types::{QualifiedName, QueueSpec, TaskId};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// Messages stay out of sight for this long at the least, whatever their queue says: it must be time enough to say so again.
const VISIBILITY_LEAST: Duration = Duration::from_secs(5);
/// Waits before a task that is busy is asked again.
const BUSY_BACKOFF: Backoff = Backoff { first_ms: 20, most_ms: 1_000 };
/// How often a task that is busy is asked again; then another may have the messages.
const BUSY_ATTEMPTS_MAX: u32 = 16;
/// How long messages stay out of sight that their task had no room for.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Waits before it is tried again to write down what became of messages.
const SETTLE_BACKOFF: Backoff = Backoff { first_ms: 50, most_ms: 2_000 };
/// How often that is tried.
const SETTLE_ATTEMPTS_MAX: u32 = 6;

/// Messages that were received together, and who is given them.
pub(super) struct Batch {
    pub(super) consumer: QualifiedName,
    pub(super) queue: QueueRef,
    pub(super) task: TaskId,
    pub(super) messages: Vec<Message>,
}

/// A batch, and what came of it.
pub(super) struct Delivered {
    batch: Batch,
    outcome: Result<Vec<MessageOutcome>, DeliverError>,
}

/// How long messages of a queue are taken out of sight for.
pub(super) fn visibility_of(queue: &QueueSpec) -> Duration {
    queue.visibility_timeout.duration().max(VISIBILITY_LEAST)
}

/// Puts messages in sight again that nobody was given, after a pause, as if they had not been received.
pub(super) async fn give_back(
    context: Arc<Context>,
    queue: QueueRef,
    messages: Vec<Message>,
    pause: Duration,
) {
    let messages = messages.into_iter().map(|message| (message.receipt, pause)).collect();
    // It is not tried again: they are given back even where that can't be written down.
    if let Err(error) = context.queues.give_back(&queue, messages).await {
        warn!(queue = %queue.spec.name, %error, "messages that nobody was given may count as received after a restart");
    }
}

impl Batch {
    /// Gives the messages to the task, and keeps them out of sight until it has answered.
    pub(super) async fn deliver(self, context: Arc<Context>, given: Given) -> Delivered {
        let outcome = tokio::select! {
            biased;
            outcome = self.hand_over(&context) => outcome,
            never = self.keep_out_of_sight(&context) => match never {},
        };
        drop(given);
        Delivered { batch: self, outcome }
    }

    async fn hand_over(&self, context: &Context) -> Result<Vec<MessageOutcome>, DeliverError> {
        let delivery = GuestDelivery::Batch(GuestBatch {
            queue: self.queue.spec.name.name.to_string(),
            messages: self.messages.iter().map(queued).collect(),
        });
        let mut attempts = 0;
        let outcome = loop {
            let error = match context.runtime.deliver(self.task, delivery.clone()).await {
                Ok(outcome) => break outcome,
                Err(error) => error,
            };
            let is_busy = matches!(error, DeliverError::Busy(_)) && attempts < BUSY_ATTEMPTS_MAX;
            if !is_busy || !context.objects.read(|view| works_on(view, self.task)) {
                return Err(error);
            }
            attempts += 1;
            tokio::time::sleep(Duration::from_millis(BUSY_BACKOFF.delay_ms(attempts))).await;
        };
        match outcome {
            GuestOutcome::Batch(outcomes) if outcomes.len() == self.messages.len() => Ok(outcomes),
            GuestOutcome::Batch(_) | GuestOutcome::Event(_) | GuestOutcome::Http(_) => {
                Err(DeliverError::Failed("the guest did not say what becomes of each message".to_owned()))
            }
        }
    }

    /// Says again and again that the messages are being worked on.
    async fn keep_out_of_sight(&self, context: &Context) -> Infallible {
        let visibility = visibility_of(&self.queue.spec);
        loop {
            tokio::time::sleep(visibility / 2).await;
            let changes = self.messages.iter().map(|message| (message.receipt.clone(), visibility)).collect();
            if let Err(error) = context.queues.change_visibility(&self.queue, changes).await {
                warn!(consumer = %self.consumer, %error, "messages may come again while they are worked on");
            }
        }
    }
}

impl Delivered {
    /// Writes down what becomes of the messages.
    pub(super) async fn settle(self, context: Arc<Context>) {
        let Self { batch: Batch { consumer, queue, task, messages }, outcome } = self;
        let outcomes = match outcome {
            Ok(outcomes) => outcomes,
            Err(error) => {
                debug!(%consumer, %task, %error, "a task failed at a batch of messages");
                let count = messages.len() as u64;
                let (now_ms, why) =
                    (context.now_ms(), format!("the task {task} failed at messages: {error}"));
                context.consumers.note(&consumer, |known| {
                    known.failed_batches += 1;
                    known.retried += count;
                    known.fail(now_ms, &why);
                });
                match error {
                    // No guest was given them.
                    DeliverError::Busy(_) | DeliverError::NoExport(_) => {
                        give_back(context, queue, messages, BUSY_PAUSE).await;
                    }
                    // Their time out of sight goes on.
                    DeliverError::Failed(_) => {}
                }
                return;
            }
        };
        let queue = as_it_is(&context, queue);
        let fates = fates(&messages, outcomes, queue.dead_letter.is_some());
        note(&context, &consumer, &fates);
        let (mut done, mut buried, mut hidden) = (vec![], vec![], vec![]);
        for (message, fate) in messages.into_iter().zip(fates) {
            match fate {
                Fate::Delete => done.push(message.receipt),
                Fate::Bury(_) => buried.push(message.receipt),
                Fate::Hide(time) => hidden.push((message.receipt, time)),
                Fate::Leave => {}
            }
        }
        // Those that come again at once before those that are gone: in a group, no message is to pass another.
        hide(&context, &queue, hidden).await;
        finish(&context, &queue, buried, true).await;
        finish(&context, &queue, done, false).await;
    }
}

/// A queue as it is by now: another may have its dead letters, or none, than when messages were taken, and who had them may be gone.
fn as_it_is(context: &Context, queue: QueueRef) -> QueueRef {
    let now = context.objects.read(|view| queue_ref(view, &queue.spec.name));
    now.filter(|now| now.id == queue.id).unwrap_or(queue)
}

/// Counts what becomes of messages.
fn note(context: &Context, consumer: &QualifiedName, fates: &[Fate]) {
    let now_ms = context.now_ms();
    context.consumers.note(consumer, |known| {
        for fate in fates {
            match fate {
                Fate::Delete => known.done += 1,
                Fate::Hide(_) | Fate::Leave => known.retried += 1,
                Fate::Bury(why) => {
                    known.rejected += 1;
                    known.fail(now_ms, &format!("a message was rejected: {why}"));
                }
            }
        }
    });
}

async fn hide(context: &Context, queue: &QueueRef, changes: Vec<(Receipt, Duration)>) {
    written(queue, changes, |changes| context.queues.change_visibility(queue, changes)).await;
}

async fn finish(context: &Context, queue: &QueueRef, receipts: Vec<Receipt>, is_to_bury: bool) {
    written(queue, receipts, |receipts| match is_to_bury {
        true => context.queues.bury(queue, receipts),
        false => context.queues.delete(queue, receipts),
    })
    .await;
}

/// Has something written down, again where the disk fails.
async fn written<T: Clone, F>(queue: &QueueRef, what: Vec<T>, write: impl Fn(Vec<T>) -> F)
where
    F: Future<Output = Result<Vec<Result<(), MessageError>>, QueueFailure>>,
{
    if what.is_empty() {
        return;
    }
    for attempt in 1..=SETTLE_ATTEMPTS_MAX {
        match write(what.clone()).await {
            Ok(outcomes) => {
                for error in outcomes.into_iter().filter_map(Result::err) {
                    debug!(queue = %queue.spec.name, %error, "a message may come again though it was dealt with");
                }
                return;
            }
            Err(error) => {
                warn!(queue = %queue.spec.name, %error, attempt, "what became of messages can't be written down")
            }
        }
        tokio::time::sleep(Duration::from_millis(SETTLE_BACKOFF.delay_ms(attempt))).await;
    }
}

fn queued(message: &Message) -> QueuedMessage {
    QueuedMessage {
        id: message.id.clone(),
        body: message.body.clone(),
        attributes: message.attributes.clone().into_iter().collect(),
        group: message.group.clone(),
        sent_at_ms: message.sent_at_ms,
        receives: message.receives,
    }
}
