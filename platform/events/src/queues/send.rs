//! Taking messages in.
//!
//! What always holds: a message is in sight once it is on the drive, not before; of two that are the same, the second is
//! answered once the first is there.

use super::deduplication::{self, Fingerprint};
use super::engine::{Engine, How, failure, outcome};
use super::record::{Head, Record, encode, message_id};
use super::state::State;
use crate::log::{LogError, Position};
use bytes::Bytes;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{MessageError, NewMessage, QueueFailure, Sent};
use skiff_types::{QueueOrder, QueueSpec, ResourceId};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Attributes of a message at most, as at SQS.
const ATTRIBUTES_MAX: usize = 10;
/// Bytes of an attribute's name at most.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;
/// Characters of a group or a deduplication id at most, as at SQS.
const ID_CHARS_MAX: usize = 128;

/// What came of each message of a call, in their order.
type Outcomes = Result<Vec<Result<Sent, MessageError>>, LogError>;

/// A message that is being written.
struct Pending {
    head: Head,
    bytes: u32,
}

/// What comes of a message of a call.
enum Fate {
    Refused(MessageError),
    /// It is written, with this sequence.
    New(u64),
    /// An earlier one is the same.
    Duplicate(u64, Fingerprint),
}

impl Engine {
    /// See [`skiff_ports::queues::Queues::send`].
    pub(super) async fn send(
        self: &Arc<Self>,
        queue: &QueueRef,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, MessageError>>, QueueFailure> {
        check_count(messages.len(), "messages")?;
        let checked: Vec<_> = messages
            .into_iter()
            .map(|message| check(&queue.spec, &message).map(|fingerprint| (message, fingerprint)))
            .collect();
        let answer = self.begin_send(queue, checked)?;
        outcome(answer).await
    }

    /// Hands all messages to the log that are taken.
    fn begin_send(
        self: &Arc<Self>,
        queue: &QueueRef,
        checked: Vec<Result<(NewMessage, Option<Fingerprint>), MessageError>>,
    ) -> Result<oneshot::Receiver<Outcomes>, QueueFailure> {
        let now_ms = self.now_ms();
        let id = queue.id;
        let mut state = self.lock();
        let mut fates = Vec::with_capacity(checked.len());
        let (mut pending, mut records) = (Vec::new(), Vec::new());
        state.current(queue, now_ms);
        for message in checked {
            let fate = match message {
                Err(error) => Fate::Refused(error),
                Ok((message, fingerprint)) => match admit(&mut state, queue, fingerprint, now_ms) {
                    Fate::New(sequence) => {
                        let head = head_of(queue, &message, fingerprint, sequence, now_ms);
                        let (head, record) = written(head, &message.body);
                        // A message is shorter than 2^31 bytes.
                        pending.push(Pending { head, bytes: record.len() as u32 });
                        records.push(record);
                        Fate::New(sequence)
                    }
                    other => other,
                },
            };
            fates.push(fate);
        }
        let undo: Vec<_> =
            pending.iter().map(|Pending { head, .. }| (head.deduplication, head.sequence)).collect();
        let engine = self.clone();
        let answer = self.write(records, How::LASTING, move |state, outcome| -> Outcomes {
            settle(state, id, &pending, outcome, engine.now_ms())?;
            fates.into_iter().map(|fate| answer_for(state, id, fate)).collect()
        });
        answer.map_err(|error| {
            take_back(&mut state, id, undo);
            failure(error)
        })
    }
}

/// Refuses a call with none or too many.
pub(super) fn check_count(count: usize, what: &str) -> Result<(), QueueFailure> {
    if (1..=QueueSpec::BATCH_MAX).contains(&count) {
        return Ok(());
    }
    let most = QueueSpec::BATCH_MAX;
    Err(QueueFailure::Invalid(format!("{count} {what} in one call; it can be from 1 to {most}")))
}

/// Refuses what can't be sent to such a queue; by what a FIFO queue tells the message from others.
fn check(spec: &QueueSpec, message: &NewMessage) -> Result<Option<Fingerprint>, MessageError> {
    let invalid = |why: String| Err(MessageError::Invalid(why));
    let attributes = message.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let bytes = (message.body.len() + attributes) as u64;
    if bytes > spec.message_max.bytes() {
        let most = spec.message_max;
        return invalid(format!(
            "the message has {bytes} bytes with its attributes; {} takes {most}",
            spec.name
        ));
    }
    if message.attributes.len() > ATTRIBUTES_MAX {
        return invalid(format!(
            "a message can have {ATTRIBUTES_MAX} attributes, not {}",
            message.attributes.len()
        ));
    }
    if message.attributes.keys().any(|name| !(1..=ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len())) {
        return invalid(format!("an attribute's name has from 1 to {ATTRIBUTE_NAME_BYTES_MAX} bytes"));
    }
    for (what, id) in [("group", &message.group), ("deduplication id", &message.deduplication_id)] {
        if id.as_ref().is_some_and(|id| !(1..=ID_CHARS_MAX).contains(&id.chars().count())) {
            return invalid(format!("a {what} has from 1 to {ID_CHARS_MAX} characters"));
        }
    }
    match spec.order {
        QueueOrder::Standard => check_standard(spec, message).map(|()| None),
        QueueOrder::Fifo { content_based_deduplication } => {
            check_fifo(spec, message, content_based_deduplication).map(Some)
        }
    }
}

fn check_standard(spec: &QueueSpec, message: &NewMessage) -> Result<(), MessageError> {
    let why = if message.group.is_some() || message.deduplication_id.is_some() {
        format!("{} is no FIFO queue: send without a group and a deduplication id", spec.name)
    } else if message.delay.is_some_and(|delay| delay > QueueSpec::DELAY_MAX.duration()) {
        format!("a message can be delayed by {} at most", QueueSpec::DELAY_MAX)
    } else {
        return Ok(());
    };
    Err(MessageError::Invalid(why))
}

fn check_fifo(
    spec: &QueueSpec,
    message: &NewMessage,
    content_based_deduplication: bool,
) -> Result<Fingerprint, MessageError> {
    let invalid = |why: String| Err(MessageError::Invalid(why));
    if message.group.is_none() {
        return invalid(format!("{} is a FIFO queue: send with a group", spec.name));
    }
    if message.delay.is_some() {
        return invalid(format!("{} is a FIFO queue: it delays all messages as it says, or none", spec.name));
    }
    match &message.deduplication_id {
        Some(id) => Ok(deduplication::of_id(id)),
        None if content_based_deduplication => Ok(deduplication::of_body(&message.body)),
        None => invalid(format!(
            "{} is a FIFO queue without content-based deduplication: send with a deduplication id",
            spec.name
        )),
    }
}

/// Whether a message is taken, and as which.
fn admit(state: &mut State, queue: &QueueRef, fingerprint: Option<Fingerprint>, now_ms: u64) -> Fate {
    // What is being written lies here or after.
    let pin = state.settled;
    let current = state.queue(queue.id);
    if let Some(fingerprint) = fingerprint
        && let Some(earlier) = current.deduplication.earlier(&fingerprint)
    {
        return Fate::Duplicate(earlier, fingerprint);
    }
    if current.room() == 0 {
        return Fate::Refused(MessageError::Full { messages_max: queue.spec.messages_max });
    }
    if fingerprint.is_some() && current.deduplication.is_full() {
        return Fate::Refused(MessageError::Invalid(format!(
            "the queue was sent {} messages within {}, and can't tell more apart: send again later, or to several queues",
            deduplication::KNOWN_MAX,
            QueueSpec::DEDUPLICATION_INTERVAL
        )));
    }
    current.newest += 1;
    current.pending += 1;
    if let Some(fingerprint) = fingerprint {
        current.deduplication.remember(fingerprint, current.newest, now_ms, pin);
    }
    Fate::New(current.newest)
}

fn head_of(
    queue: &QueueRef,
    message: &NewMessage,
    deduplication: Option<Fingerprint>,
    sequence: u64,
    now_ms: u64,
) -> Head {
    let delay_ms = message.delay.map_or(queue.spec.delay.ms(), |delay| delay.as_millis() as u64);
    Head {
        queue: queue.id.to_bytes(),
        sequence,
        id: message_id(queue.id, sequence),
        sent_at_ms: now_ms,
        until_ms: if delay_ms == 0 { 0 } else { now_ms + delay_ms },
        receives: 0,
        tag: 0,
        group: message.group.clone(),
        deduplication,
        source: None,
        attributes: message.attributes.clone(),
    }
}

/// A message's record; its head without what only the log needs.
fn written(head: Head, body: &Bytes) -> (Head, Bytes) {
    let record = Record::Message(head);
    let bytes = encode(&record, body);
    let Record::Message(mut head) = record else { unreachable!("it was made a message above") };
    head.attributes.clear();
    (head, bytes)
}

/// Puts messages in sight that were written, or forgets those that could not be.
fn settle(
    state: &mut State,
    id: ResourceId,
    pending: &[Pending],
    outcome: Result<&[Position], LogError>,
    now_ms: u64,
) -> Result<(), LogError> {
    let positions = match outcome {
        Ok(positions) => positions,
        Err(error) => {
            take_back(
                state,
                id,
                pending.iter().map(|message| (message.head.deduplication, message.head.sequence)),
            );
            return Err(error);
        }
    };
    for (Pending { head, bytes }, position) in pending.iter().zip(positions) {
        state.take_in(head, *position, *bytes, now_ms);
    }
    let queue = state.queue(id);
    queue.pending = queue.pending.saturating_sub(pending.len() as u64);
    queue.sent += pending.len() as u64;
    queue.wake();
    Ok(())
}

/// Forgets messages that were not written.
fn take_back(
    state: &mut State,
    id: ResourceId,
    messages: impl IntoIterator<Item = (Option<Fingerprint>, u64)>,
) {
    let Some(queue) = state.queues.get_mut(&id) else { return };
    for (fingerprint, sequence) in messages {
        queue.pending = queue.pending.saturating_sub(1);
        if let Some(fingerprint) = fingerprint {
            queue.deduplication.undo(&fingerprint, sequence);
        }
    }
}

fn answer_for(state: &mut State, id: ResourceId, fate: Fate) -> Result<Result<Sent, MessageError>, LogError> {
    let sent =
        |sequence, is_duplicate| Sent { id: hex::encode(message_id(id, sequence)), sequence, is_duplicate };
    match fate {
        Fate::Refused(error) => Ok(Err(error)),
        Fate::New(sequence) => Ok(Ok(sent(sequence, false))),
        Fate::Duplicate(earlier, fingerprint) => {
            match state.queue(id).deduplication.earlier(&fingerprint) {
                Some(same) if same == earlier => Ok(Ok(sent(earlier, true))),
                // The other call found no room, and so did this one.
                _ => Err(LogError::Full),
            }
        }
    }
}
