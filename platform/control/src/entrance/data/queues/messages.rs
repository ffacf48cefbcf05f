//! Messages: sent, received, deleted, purged and driven back.
//!
//! It deliberately checks no more of a message than the wire demands: what a queue takes, its engine knows.

use super::super::super::Entrance;
use super::super::unavailable;
use crate::catalog::queue_ref;
use crate::error::ApiError;
use crate::view::View;
use skiff_api::{
    ChangeVisibility, DeleteMessages, ErrorCode, MessageCount, MessageOutcome, MessageOutcomes,
    ReceiveMessages, ReceivedMessages, RedriveQueue, RedrivenMessages, SendMessages, SentMessage,
    SentMessages,
};
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{
    Message, MessageError, NewMessage, QueueFailure, Receipt, RedriveTo, Redriven, Sent,
};
use skiff_types::{Name, Namespace, QualifiedName, QueueSpec, ResourceId, Span};
use std::time::Duration;

/// Messages of one receive where nobody says how many.
const RECEIVE_USUAL: u32 = 1;

impl Entrance {
    /// Sends messages; each has an outcome of its own.
    pub(crate) async fn send_messages(
        &self,
        name: &QualifiedName,
        request: SendMessages,
    ) -> Result<SentMessages, ApiError> {
        let queue = self.known_queue(name)?;
        check_batch("messages", request.messages.len())?;
        let messages = request.messages.into_iter().enumerate().map(asked);
        let messages = messages.collect::<Result<Vec<NewMessage>, ApiError>>()?;
        let sent = self.context.queues.send(&queue, messages).await?;
        Ok(SentMessages { messages: sent.into_iter().map(shown_sent).collect() })
    }

    /// Deletes what was dealt with, then receives messages; waits for one, as the call or the queue says, but not beyond the
    /// platform's drain.
    pub(crate) async fn receive_messages(
        &self,
        name: &QualifiedName,
        request: ReceiveMessages,
    ) -> Result<ReceivedMessages, ApiError> {
        let queue = self.known_queue(name)?;
        let max = request.max.unwrap_or(RECEIVE_USUAL);
        if !(1..=QueueSpec::BATCH_MAX as u32).contains(&max) {
            return Err(ApiError::invalid(format!("max is {max}; it must be 1 to {}", QueueSpec::BATCH_MAX)));
        }
        let wait = at_most("wait", request.wait.unwrap_or(queue.spec.receive_wait), QueueSpec::WAIT_MAX)?;
        let visibility = request.visibility_timeout;
        let visibility = visibility
            .map(|span| at_most("visibility_timeout", span, QueueSpec::VISIBILITY_MAX))
            .transpose()?;
        let handled = match request.handled.is_empty() {
            true => vec![],
            // To its end before anything is received: if it fails, no message went out that the answer does not tell of.
            false => self.delete_all(&queue, "handled", request.handled).await?,
        };
        let messages = tokio::select! {
            biased;
            messages = self.context.queues.receive(&queue, max as usize, visibility, wait) => messages?,
            () = self.context.drain.begun() => vec![],
        };
        let mut is_deleted = vec![false; messages.len()];
        if request.delete && !messages.is_empty() {
            let receipts = messages.iter().map(|message| message.receipt.clone()).collect();
            let deleted = self.context.queues.delete(&queue, receipts).await?;
            is_deleted.iter_mut().zip(deleted).for_each(|(is, outcome)| *is = outcome.is_ok());
        }
        Ok(self.context.objects.read(|view| {
            let messages = messages.into_iter().zip(is_deleted);
            let shown =
                messages.map(|(message, is_deleted)| shown(view, &name.namespace, message, is_deleted));
            ReceivedMessages { messages: shown.collect(), handled }
        }))
    }

    /// Deletes messages that were received.
    pub(crate) async fn delete_messages(
        &self,
        name: &QualifiedName,
        request: DeleteMessages,
    ) -> Result<MessageOutcomes, ApiError> {
        let queue = self.known_queue(name)?;
        Ok(MessageOutcomes { outcomes: self.delete_all(&queue, "receipts", request.receipts).await? })
    }

    /// Deletes messages by the receipts of a call's field.
    async fn delete_all(
        &self,
        queue: &QueueRef,
        field: &str,
        receipts: Vec<String>,
    ) -> Result<Vec<MessageOutcome>, ApiError> {
        check_batch(field, receipts.len())?;
        let receipts = receipts.into_iter().map(Receipt).collect();
        Ok(outcomes(self.context.queues.delete(queue, receipts).await?))
    }

    /// Says for how long messages that were received stay out of sight.
    pub(crate) async fn change_visibility(
        &self,
        name: &QualifiedName,
        request: ChangeVisibility,
    ) -> Result<MessageOutcomes, ApiError> {
        let queue = self.known_queue(name)?;
        check_batch("changes", request.changes.len())?;
        let changes = request.changes.into_iter().map(|change| {
            let time = at_most("visibility_timeout", change.visibility_timeout, QueueSpec::VISIBILITY_MAX)?;
            Ok((Receipt(change.receipt), time))
        });
        let changes = changes.collect::<Result<Vec<_>, ApiError>>()?;
        Ok(MessageOutcomes {
            outcomes: outcomes(self.context.queues.change_visibility(&queue, changes).await?),
        })
    }

    /// Forgets all messages of a queue.
    pub(crate) async fn purge_queue(&self, name: &QualifiedName) -> Result<MessageCount, ApiError> {
        let queue = self.known_queue(name)?;
        Ok(MessageCount { messages: self.context.queues.purge(&queue).await? })
    }

    /// Moves messages of a dead-letter queue to where they came from, or to another queue.
    pub(crate) async fn redrive_queue(
        &self,
        name: &QualifiedName,
        request: RedriveQueue,
    ) -> Result<RedrivenMessages, ApiError> {
        let queue = self.known_queue(name)?;
        let targets = match &request.to {
            Some(to) => vec![self.known_queue(&QualifiedName::new(name.namespace.clone(), to.clone()))?],
            None => self.context.objects.read(|view| queues_of(view, &name.namespace)),
        };
        let to = match (&request.to, targets.first()) {
            (Some(_), Some(to)) => RedriveTo::Queue(to),
            _ => RedriveTo::Sources(&targets),
        };
        let max = request.max.unwrap_or(u64::MAX);
        let driven = self.context.queues.redrive(&queue, to, max).await?;
        Ok(RedrivenMessages { messages: driven.moved, stopped: why_stopped(driven, &targets) })
    }
}

/// The queues of a namespace, each of which may be where a dead letter came from.
fn queues_of(view: &View, namespace: &Namespace) -> Vec<QueueRef> {
    let queues = view.data.queues.under(&crate::keys::in_namespace("queue", namespace));
    queues.filter_map(|held| queue_ref(view, &held.value.spec.spec.name)).collect()
}

/// Why dead letters stay that were to move.
fn why_stopped(driven: Redriven, targets: &[QueueRef]) -> Option<String> {
    if let Some(failure) = driven.failure {
        tracing::warn!(?failure, "a redrive ended before it was through");
        return Some(format!("the others stay where they are: {}", ApiError::from(failure).message));
    }
    let full = targets.iter().filter(|queue| driven.full.contains(&queue.id));
    let full: Vec<String> = full
        .map(|queue| format!("{}, which may hold {} messages", queue.spec.name.name, queue.spec.messages_max))
        .collect();
    (!full.is_empty()).then(|| {
        format!(
            "the others stay where they are, for these queues have no room for them: {}; have their messages handled, or raise \
             --messages-max, and call again",
            full.join("; ")
        )
    })
}

fn check_batch(what: &str, count: usize) -> Result<(), ApiError> {
    match count {
        1..=QueueSpec::BATCH_MAX => Ok(()),
        _ => Err(ApiError::invalid(format!(
            "{what} has {count} items; the least is 1, the most is {}: make more calls",
            QueueSpec::BATCH_MAX
        ))),
    }
}

fn at_most(what: &str, asked: Span, most: Span) -> Result<Duration, ApiError> {
    match asked > most {
        true => Err(ApiError::invalid(format!("{what} is {asked}; the most is {most}"))),
        false => Ok(asked.duration()),
    }
}

/// What a message of the API means.
fn asked((place, message): (usize, skiff_api::NewMessage)) -> Result<NewMessage, ApiError> {
    let body = message.bytes().map_err(|error| ApiError::invalid(format!("messages[{place}]: {error}")))?;
    let skiff_api::NewMessage { attributes, delay, group, deduplication_id, .. } = message;
    Ok(NewMessage { body, attributes, delay: delay.map(Span::duration), group, deduplication_id })
}

fn shown_sent(sent: Result<Sent, MessageError>) -> SentMessage {
    match sent {
        Ok(Sent { id, sequence, is_duplicate }) => {
            SentMessage { id: Some(id), sequence: Some(sequence), is_duplicate, error: None }
        }
        Err(error) => SentMessage { error: Some(error.to_string()), ..SentMessage::default() },
    }
}

fn shown(view: &View, here: &Namespace, message: Message, is_deleted: bool) -> skiff_api::Message {
    let (body, body_base64) = skiff_api::Message::said(&message.body);
    skiff_api::Message {
        id: message.id,
        sequence: message.sequence,
        receipt: (!is_deleted).then_some(message.receipt.0),
        body,
        body_base64,
        attributes: message.attributes,
        group: message.group,
        sent_at_ms: message.sent_at_ms,
        receives: message.receives,
        dead_letter_source: message.dead_letter_source.and_then(|id| name_of_queue(view, here, id)),
    }
}

/// The name of a queue of a namespace, by the id of its content.
fn name_of_queue(view: &View, here: &Namespace, id: ResourceId) -> Option<Name> {
    let mut queues = view.data.queues.under(&crate::keys::in_namespace("queue", here));
    let held = queues.find(|held| held.value.spec.id == id)?;
    Some(held.value.spec.spec.name.name.clone())
}

fn outcomes(outcomes: Vec<Result<(), MessageError>>) -> Vec<MessageOutcome> {
    let outcome = |outcome: Result<(), MessageError>| MessageOutcome {
        error: outcome.err().map(|error| error.to_string()),
    };
    outcomes.into_iter().map(outcome).collect()
}

impl From<QueueFailure> for ApiError {
    fn from(error: QueueFailure) -> Self {
        match error {
            QueueFailure::Invalid(_) => Self::new(ErrorCode::InvalidArgument, error.to_string()),
            QueueFailure::DiskBusy => Self::new(ErrorCode::ResourceExhausted, error.to_string()),
            QueueFailure::DiskFull => Self::disk_full(),
            QueueFailure::Storage(_) => {
                unavailable("the queues' storage failed; see the platform's log", error)
            }
        }
    }
}
