//! The queues port: durable queues, as SQS's. What was answered is on the drive, but for receives and changes of visibility: a
//! message that was received and not deleted may come again at once after the platform ended.
//!
//! Which queues there are, and what is said of them, is the catalog's: it comes with each call.

use crate::catalog::QueueRef;
use async_trait::async_trait;
use bytes::Bytes;
use skiff_types::ResourceId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Keeps messages. Of a call with many messages each has an outcome of its own.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Takes messages in.
    async fn send(
        &self,
        queue: &QueueRef,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, MessageError>>, QueueFailure>;

    /// Messages that are in sight, `max` at most, which go out of sight; waits for one as long as `wait` says. Dropped while it
    /// waits, it has taken none. A message that has had as many receives as its queue allows goes to the dead-letter queue now,
    /// instead.
    async fn receive(
        &self,
        queue: &QueueRef,
        max: usize,
        visibility: Option<Duration>,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueFailure>;

    /// Forgets messages that were received: they never come again. One that is gone already counts as done.
    async fn delete(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure>;

    /// From now on a message that was received stays out of sight so long; with zero it is in sight again.
    async fn change_visibility(
        &self,
        queue: &QueueRef,
        changes: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure>;

    /// Gives back messages that were received and that nobody was given: they are in sight again once their time is over, at once
    /// with zero, and the receive does not count. What was answered is on the drive. On a failure they are given back all the same,
    /// but the receive may count after the platform was started again.
    async fn give_back(
        &self,
        queue: &QueueRef,
        messages: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure>;

    /// Moves messages that were received to the dead-letter queue now, as if they had been received too often. Of a queue that
    /// has none they come again when their time out of sight is over. One that is gone already counts as done.
    async fn bury(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure>;

    /// Forgets all messages; returns how many.
    async fn purge(&self, queue: &QueueRef) -> Result<u64, QueueFailure>;

    /// Moves messages from a dead-letter queue elsewhere, `max` at most. No queue is given more than it may hold: what it has no
    /// room for stays where it is, and the answer says so. It fails if nothing was moved before the storage failed.
    async fn redrive(&self, from: &QueueRef, to: RedriveTo<'_>, max: u64) -> Result<Redriven, QueueFailure>;

    /// What a queue holds.
    fn stats(&self, queue: &QueueRef) -> QueueStats;

    /// Ends once a queue may have a message in sight; at once if it has.
    async fn ready(&self, queue: &QueueRef);

    /// Forgets a queue that is gone.
    async fn drop_queue(&self, queue: ResourceId) -> Result<(), QueueFailure>;

    /// All queues that there are files of.
    fn queues(&self) -> Vec<ResourceId>;
}

/// A message to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// What it says.
    pub body: Bytes,
    /// What is said beside it: names and values.
    pub attributes: BTreeMap<String, String>,
    /// How long it stays out of sight; as the queue says if none. Of standard queues alone.
    pub delay: Option<Duration>,
    /// Of FIFO queues: its group.
    pub group: Option<String>,
    /// Of FIFO queues: what tells it from others within five minutes.
    pub deduplication_id: Option<String>,
}

/// A message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Its place among all that the queue ever took.
    pub sequence: u64,
    /// A FIFO queue had it already: this is the earlier one.
    pub is_duplicate: bool,
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its place among all that the queue ever took.
    pub sequence: u64,
    /// By which this receive of it is meant.
    pub receipt: Receipt,
    /// What it says.
    pub body: Bytes,
    /// What is said beside it.
    pub attributes: BTreeMap<String, String>,
    /// Its group, of a FIFO queue.
    pub group: Option<String>,
    /// When it was sent, in milliseconds since 1970.
    pub sent_at_ms: u64,
    /// How often it was received, this time included, as far as is known.
    pub receives: u32,
    /// In a dead-letter queue: where it came from.
    pub dead_letter_source: Option<ResourceId>,
}

/// Where dead letters go.
#[derive(Debug, Clone, Copy)]
pub enum RedriveTo<'a> {
    /// All to this queue.
    Queue(&'a QueueRef),
    /// Each to where it came from, if that is one of these; others stay.
    Sources(&'a [QueueRef]),
}

/// What a redrive moved.
#[derive(Debug, Default)]
pub struct Redriven {
    /// So many messages.
    pub moved: u64,
    /// The queues that had no room for all that was to go to them.
    pub full: Vec<ResourceId>,
    /// Why it ended before it was through, after it had moved some.
    pub failure: Option<QueueFailure>,
}

/// Means one receive of one message. Opaque; made of letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// What a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Messages in sight, those of a group that waits included.
    pub visible: u64,
    /// Messages that are out with receivers.
    pub in_flight: u64,
    /// Messages that are not in sight yet.
    pub delayed: u64,
    /// When the oldest of those in sight and out was sent, in milliseconds since 1970.
    pub oldest_sent_at_ms: Option<u64>,
    /// Since the platform started.
    pub sent: u64,
    /// Likewise.
    pub received: u64,
    /// Likewise.
    pub deleted: u64,
}

/// What is wrong with one message of a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It can't be so.
    #[error("{0}")]
    Invalid(String),
    /// No receive is meant by this receipt any more: its message was received again, or its time is over.
    #[error(
        "the receipt means no receive of a message any more: it came back into sight, or was received again"
    )]
    Stale,
    /// The queue holds as many messages as it may.
    #[error("the queue is full: it may hold {messages_max} messages")]
    Full {
        /// So many.
        messages_max: u64,
    },
    /// Too many messages are out with receivers.
    #[error("{0} messages are out with receivers, and no more may be: delete some")]
    TooManyInFlight(usize),
}

/// Why a queue did nothing of a call, or it is not known what.
#[derive(Debug, thiserror::Error)]
pub enum QueueFailure {
    /// The call can't be so.
    #[error("{0}")]
    Invalid(String),
    /// More waits to be written to the disk than may.
    #[error("more waits to be written to the disk than may, and nothing was taken in: try again soon")]
    DiskBusy,
    /// There is no room on the disk.
    #[error("there is no room on the disk; nothing was written")]
    DiskFull,
    /// The storage below failed.
    #[error("the queue's storage failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}
