//! Queues as targets, and as what takes dead letters.
//!
//! What always holds: what a queue of FIFO has taken, it takes once within its five minutes, however often it is tried.

use super::digest;
use crate::catalog::queue_ref;
use crate::context::Context;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use skiff_events::{envelope, input};
use skiff_ports::buses::{Attempt, AttemptError};
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{MessageError, NewMessage, QueueFailure};
use skiff_types::{Name, QualifiedName};
use std::collections::BTreeMap;

/// The longest reason that a dead letter says, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// Sends what an event's input is made to.
pub(super) async fn send(
    context: &Context,
    queue: &Name,
    group: Option<&str>,
    attempt: &Attempt,
) -> Result<(), AttemptError> {
    let queue = found(context, &QualifiedName::new(attempt.event.namespace.clone(), queue.clone()))?;
    let group = match group {
        Some(group) => {
            let group = input::substitute(group, &attempt.event);
            Some(group.map_err(|error| AttemptError::Refused(error.to_string()))?)
        }
        None => None,
    };
    let group = group.filter(|group| !group.is_empty());
    let message = message(&queue, group, attempt.payload.clone(), BTreeMap::new(), attempt);
    put(context, &queue, message).await
}

/// Sends an event to a dead-letter queue, as it is, with what became of it.
pub(super) async fn bury(
    context: &Context,
    queue: &QualifiedName,
    attempt: &Attempt,
    why: &AttemptError,
) -> Result<(), AttemptError> {
    let queue = found(context, queue)?;
    let code = match why {
        AttemptError::Refused(_) => "REFUSED",
        AttemptError::Failed(_) => "FAILED",
        AttemptError::Busy(_) => "THROTTLED",
    };
    let attributes = [
        ("ERROR_CODE", code.to_owned()),
        ("ERROR_MESSAGE", cut(&why.to_string()).to_owned()),
        ("RULE_NAME", attempt.origin.to_string()),
        ("TARGET_ID", attempt.target.id.to_string()),
        ("RETRY_ATTEMPTS", attempt.number.saturating_sub(1).to_string()),
    ];
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let body = Bytes::from(envelope::eventbridge(&attempt.event));
    let message = message(&queue, None, body, attributes, attempt);
    put(context, &queue, message).await
}

fn found(context: &Context, name: &QualifiedName) -> Result<QueueRef, AttemptError> {
    let queue = context.objects.read(|view| queue_ref(view, name));
    queue.ok_or_else(|| AttemptError::Refused(format!("there is no queue {name}")))
}

/// A message as its queue takes it: one of FIFO has a group, that of its rule where nothing else says one, and is told from others
/// by its attempt.
fn message(
    queue: &QueueRef,
    group: Option<String>,
    body: Bytes,
    attributes: BTreeMap<String, String>,
    attempt: &Attempt,
) -> NewMessage {
    if !queue.spec.order.is_fifo() {
        return NewMessage { body, attributes, ..NewMessage::default() };
    }
    let usual = || attempt.origin.to_string();
    let group = group.unwrap_or_else(|| match &attempt.event.order_key {
        // A group has fewer and plainer characters than a key may have.
        Some(key) => hex::encode(&Sha256::digest(key.as_bytes())[..16]),
        None => usual(),
    });
    let deduplication_id = Some(digest(attempt));
    NewMessage { body, attributes, delay: None, group: Some(group), deduplication_id }
}

async fn put(context: &Context, queue: &QueueRef, message: NewMessage) -> Result<(), AttemptError> {
    let sent = context.queues.send(queue, vec![message]).await.map_err(|error| match error {
        QueueFailure::Invalid(message) => AttemptError::Refused(message),
        QueueFailure::DiskBusy => AttemptError::Busy(error.to_string()),
        QueueFailure::DiskFull | QueueFailure::Storage(_) => AttemptError::Failed(error.to_string()),
    })?;
    match sent.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(MessageError::Invalid(message))) => Err(AttemptError::Refused(message)),
        Some(Err(error @ (MessageError::Full { .. } | MessageError::TooManyInFlight(_)))) => {
            Err(AttemptError::Busy(error.to_string()))
        }
        Some(Err(error @ MessageError::Stale)) => Err(AttemptError::Failed(error.to_string())),
        None => Err(AttemptError::Failed("the queue said nothing of the message".to_owned())),
    }
}

/// The beginning of a text, at most so long.
fn cut(text: &str) -> &str {
    let end = (0..=REASON_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::super::tests::attempt;
    use super::*;
    use skiff_types::{Destination, Input, QueueOrder, QueueSpec, ResourceId};
    use std::sync::Arc;

    fn queue(order: QueueOrder) -> QueueRef {
        let spec = Arc::new(QueueSpec::new("default/orders".parse().unwrap(), order));
        QueueRef { id: ResourceId::from_bytes([1; 8]), spec, dead_letter: None }
    }

    #[test]
    fn a_message_is_as_its_queue_takes_it() {
        let to = Destination::Queue { queue: "orders".parse().unwrap(), group: None };
        let attempt = attempt("7", to, Input::Event, b"{}");
        let standard = message(&queue(QueueOrder::Standard), None, Bytes::new(), BTreeMap::new(), &attempt);
        assert_eq!((standard.group, standard.deduplication_id), (None, None));
        let fifo = queue(QueueOrder::Fifo { content_based_deduplication: false });
        let group = |asked: Option<&str>, key: Option<&str>| {
            let event = skiff_types::BusEvent { order_key: key.map(Into::into), ..(*attempt.event).clone() };
            let attempt = Attempt { event: Arc::new(event), ..attempt.clone() };
            let asked = asked.map(str::to_owned);
            message(&fifo, asked, Bytes::new(), BTreeMap::new(), &attempt).group.unwrap()
        };
        assert_eq!(group(Some("17"), Some("key")), "17");
        assert_eq!(group(None, None), "default/orders");
        assert_ne!(group(None, Some("a b")), group(None, Some("a c")));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let cut = cut(&"ä".repeat(1_000)).len();
        assert_eq!(cut, 1_024);
    }
}
