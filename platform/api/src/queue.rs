//! Queues: what may be said of one, what it is, and its messages. The words are those of SQS.
//!
//! What a call leaves out gets its default: a call replaces all that a queue says.

use crate::payload::{self, InvalidPayload};
use crate::{InvalidSpec, text};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    DeadLetter as DomainDeadLetter, MemorySize, Name, Namespace, QualifiedName, QueueOrder, QueueSpec, Span,
};
use std::collections::BTreeMap;

/// A queue that is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutQueue {
    /// Whether messages of a group come in their order, and what is sent twice within five minutes is kept once. Never changes.
    #[serde(default)]
    pub fifo: bool,
    /// Of a FIFO queue: whether a message that is sent without a deduplication id has the digest of its body for one.
    #[serde(default)]
    pub content_based_deduplication: bool,
    /// How long a message that was received stays out of sight: up to 12h; 30s where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub visibility_timeout: Option<Span>,
    /// How long a message stays out of sight once it was sent: up to 15m; not at all where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub delay: Option<Span>,
    /// How long a message is kept that nobody deletes: 1m to 14d; 4d where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub retention: Option<Span>,
    /// How long a receive waits for a message that does not say it: up to 20s; not at all where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub receive_wait: Option<Span>,
    /// The largest message, its attributes included: 1KiB to 1MiB; 1MiB where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::MemorySize>")]
    pub message_max: Option<MemorySize>,
    /// Messages that it holds at most; 1,000,000 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_max: Option<u64>,
    /// Where messages go that are received again and again; nowhere where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
}

/// Where messages go that are received again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// The queue, of the same namespace and as FIFO or not.
    #[schemars(with = "text::Name")]
    pub queue: Name,
    /// Receives that a message may have, 1 to 1000; at the next it moves instead.
    pub receives_max: u32,
}

impl PutQueue {
    /// What this means for a queue of this name; an error says what to do. Whether its dead-letter queue is there, it does not
    /// know.
    pub fn to_domain(&self, name: QualifiedName) -> Result<QueueSpec, InvalidSpec> {
        let order = match (self.fifo, self.content_based_deduplication) {
            (true, content_based_deduplication) => QueueOrder::Fifo { content_based_deduplication },
            (false, false) => QueueOrder::Standard,
            (false, true) => return Err(InvalidSpec::DeduplicationOfStandard),
        };
        let new = QueueSpec::new(name, order);
        let dead_letter = self.dead_letter.as_ref().map(|dead_letter| DomainDeadLetter {
            queue: dead_letter.queue.clone(),
            receives_max: dead_letter.receives_max,
        });
        let spec = QueueSpec {
            visibility_timeout: self.visibility_timeout.unwrap_or(new.visibility_timeout),
            delay: self.delay.unwrap_or(new.delay),
            retention: self.retention.unwrap_or(new.retention),
            receive_wait: self.receive_wait.unwrap_or(new.receive_wait),
            message_max: self.message_max.unwrap_or(new.message_max),
            messages_max: self.messages_max.unwrap_or(new.messages_max),
            dead_letter,
            ..new
        };
        spec.check()?;
        Ok(spec)
    }
}

fn dead_letter(spec: &QueueSpec) -> Option<DeadLetter> {
    let dead_letter = spec.dead_letter.as_ref()?;
    Some(DeadLetter { queue: dead_letter.queue.clone(), receives_max: dead_letter.receives_max })
}

fn is_deduplicated_by_content(order: QueueOrder) -> bool {
    matches!(order, QueueOrder::Fifo { content_based_deduplication: true })
}

/// The call that makes it so, nothing left out.
impl From<&QueueSpec> for PutQueue {
    fn from(spec: &QueueSpec) -> Self {
        Self {
            fifo: spec.order.is_fifo(),
            content_based_deduplication: is_deduplicated_by_content(spec.order),
            visibility_timeout: Some(spec.visibility_timeout),
            delay: Some(spec.delay),
            retention: Some(spec.retention),
            receive_wait: Some(spec.receive_wait),
            message_max: Some(spec.message_max),
            messages_max: Some(spec.messages_max),
            dead_letter: dead_letter(spec),
        }
    }
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// Its name.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where it lives.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Its revision, for `If-Match`.
    pub revision: u64,
    /// Whether messages of a group come in their order.
    pub fifo: bool,
    /// Whether a message without a deduplication id has the digest of its body for one.
    pub content_based_deduplication: bool,
    /// How long a message that was received stays out of sight.
    #[schemars(with = "text::Span")]
    pub visibility_timeout: Span,
    /// How long a message stays out of sight once it was sent.
    #[schemars(with = "text::Span")]
    pub delay: Span,
    /// How long a message is kept that nobody deletes.
    #[schemars(with = "text::Span")]
    pub retention: Span,
    /// How long a receive waits that does not say it.
    #[schemars(with = "text::Span")]
    pub receive_wait: Span,
    /// The largest message.
    #[schemars(with = "text::MemorySize")]
    pub message_max: MemorySize,
    /// Messages that it holds at most.
    pub messages_max: u64,
    /// Where messages go that are received again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// What it holds.
    pub status: QueueStatus,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed by its user, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

impl Queue {
    /// A queue that is to be so, and holds this.
    pub fn new(
        spec: &QueueSpec,
        revision: u64,
        status: QueueStatus,
        created_at_ms: u64,
        updated_at_ms: u64,
    ) -> Self {
        Self {
            name: spec.name.name.clone(),
            namespace: spec.name.namespace.clone(),
            revision,
            fifo: spec.order.is_fifo(),
            content_based_deduplication: is_deduplicated_by_content(spec.order),
            visibility_timeout: spec.visibility_timeout,
            delay: spec.delay,
            retention: spec.retention,
            receive_wait: spec.receive_wait,
            message_max: spec.message_max,
            messages_max: spec.messages_max,
            dead_letter: dead_letter(spec),
            status,
            created_at_ms,
            updated_at_ms,
        }
    }
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStatus {
    /// Messages in sight.
    pub visible: u64,
    /// Messages that are out with receivers.
    pub in_flight: u64,
    /// Messages that are not in sight yet.
    pub delayed: u64,
    /// How old the oldest of those in sight and in flight is, in milliseconds; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_ms: Option<u64>,
}

/// Messages that are to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessages {
    /// 1 to 10; each has an outcome of its own.
    pub messages: Vec<NewMessage>,
}

/// A message that is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// What it says, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What it says, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// What is said beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// How long it stays out of sight; as the queue says where left out. Of standard queues alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub delay: Option<Span>,
    /// Of FIFO queues: its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Of FIFO queues: what tells it from others within five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication_id: Option<String>,
}

impl NewMessage {
    /// A message that says this, and nothing beside it.
    pub fn new(body: &[u8]) -> Self {
        let (body, body_base64) = payload::said(body);
        Self { body, body_base64, ..Self::default() }
    }

    /// What it says.
    pub fn bytes(&self) -> Result<Bytes, InvalidPayload> {
        let body = payload::read("body", self.body.as_deref(), self.body_base64.as_deref())?;
        body.ok_or(InvalidPayload::Missing { text: "body" })
    }
}

/// What became of messages, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentMessages {
    /// One for each.
    pub messages: Vec<SentMessage>,
}

/// What became of one: it was sent, or there is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentMessage {
    /// Its id, once it is on the drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its place among all that the queue ever took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The FIFO queue had it already: this is the earlier one.
    #[serde(default)]
    pub is_duplicate: bool,
    /// Why it was not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which messages are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveMessages {
    /// How many at most: 1 to 10; 1 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub max: Option<u32>,
    /// How long to wait for one: up to 20s; as the queue says where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub wait: Option<Span>,
    /// How long they stay out of sight: up to 12h; as the queue says where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub visibility_timeout: Option<Span>,
    /// Whether they are deleted before they are answered with: if the answer is lost, so are they.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete: bool,
    /// The receipts of messages that were dealt with, 10 at most: those are deleted first, and it is on the drive before anything
    /// is received. So a consumer needs one call a round instead of two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled: Vec<String>,
}

/// Messages that were received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceivedMessages {
    /// None where none came in time.
    pub messages: Vec<Message>,
    /// What became of those that were to be deleted as dealt with, in their order. One that is stale keeps nobody from receiving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled: Vec<MessageOutcome>,
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its place among all that the queue ever took.
    pub sequence: u64,
    /// By which it is deleted; absent where it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// What it says, if that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What it says in base64, if that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// What is said beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Its group, of a FIFO queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When it was sent, in milliseconds since 1970.
    pub sent_at_ms: u64,
    /// How often it was received, this time included, as far as is known.
    pub receives: u32,
    /// In a dead-letter queue: the queue that it came from, if that is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub dead_letter_source: Option<Name>,
}

impl Message {
    /// What it says.
    pub fn bytes(&self) -> Result<Bytes, InvalidPayload> {
        let body = payload::read("body", self.body.as_deref(), self.body_base64.as_deref())?;
        body.ok_or(InvalidPayload::Missing { text: "body" })
    }

    /// The two fields of bytes: text, or base64.
    pub fn said(bytes: &[u8]) -> (Option<String>, Option<String>) {
        payload::said(bytes)
    }
}

/// Messages that are to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteMessages {
    /// The receipts that they were received with; 10 at most.
    pub receipts: Vec<String>,
}

/// Messages that are to stay out of sight for another time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeVisibility {
    /// 10 at most.
    pub changes: Vec<VisibilityChange>,
}

/// For how long one stays out of sight from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VisibilityChange {
    /// The receipt that it was received with.
    pub receipt: String,
    /// For so long: up to 12h; with `0ms` it is in sight at once.
    #[schemars(with = "text::Span")]
    pub visibility_timeout: Span,
}

/// What became of messages, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageOutcomes {
    /// One for each.
    pub outcomes: Vec<MessageOutcome>,
}

/// What became of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageOutcome {
    /// Why it was not done; absent where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which dead letters are sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedriveQueue {
    /// The queue that they go to; where each came from where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub to: Option<Name>,
    /// How many at most; all where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// What became of dead letters that were to be sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedrivenMessages {
    /// How many moved.
    pub messages: u64,
    /// Why others stay that were to move, and what to do; absent where none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// How many messages it was about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageCount {
    /// So many.
    pub messages: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use skiff_types::QueueError;

    fn read(body: serde_json::Value) -> Result<QueueSpec, InvalidSpec> {
        let body: PutQueue = serde_json::from_value(body).unwrap();
        body.to_domain("shop/orders".parse().unwrap())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let spec = read(json!({})).unwrap();
        assert_eq!(spec, QueueSpec::new("shop/orders".parse().unwrap(), QueueOrder::Standard));
        let fifo = read(json!({ "fifo": true })).unwrap();
        assert_eq!(fifo.order, QueueOrder::Fifo { content_based_deduplication: false });
    }

    #[test]
    fn what_is_shown_is_what_makes_it_so() {
        let spec = read(json!({
            "fifo": true, "content_based_deduplication": true, "visibility_timeout": "2m", "delay": "3s",
            "retention": "1h", "receive_wait": "20s", "message_max": "64KiB", "messages_max": 7,
            "dead_letter": { "queue": "dead", "receives_max": 5 },
        }))
        .unwrap();
        let said = PutQueue::from(&spec);
        assert_eq!(said.to_domain(spec.name.clone()).unwrap(), spec);
        let shown = serde_json::to_value(Queue::new(&spec, 7, QueueStatus::default(), 1, 2)).unwrap();
        for (field, value) in serde_json::to_value(said).unwrap().as_object().unwrap() {
            assert_eq!(&shown[field], value, "{field}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let deduplicated = read(json!({ "content_based_deduplication": true }));
        assert_eq!(deduplicated, Err(InvalidSpec::DeduplicationOfStandard));
        let itself = read(json!({ "dead_letter": { "queue": "orders", "receives_max": 5 } }));
        assert_eq!(itself, Err(InvalidSpec::Queue(QueueError::Itself)));
    }
}
