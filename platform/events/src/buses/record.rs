//! How what the buses keep is written in their log: a byte that says the version, then postcard.
//!
//! Types of the disk, apart from those of the domain. An event and a target are packed for themselves, so that each is packed
//! once however often it is written, and what only passes through stays packed.
//!
//! What always holds: a record that this version wrote, it reads; what it can't read is an error, never something else.

use super::seen::SeenKey;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skiff_ports::buses::AttemptError;
use skiff_types::{
    BusEvent, Destination, EventTarget, Input, Name, ParseError, RetryPolicy, Span, TaskTarget, Template,
    WebhookUrl,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first byte of each record.
const VERSION: u8 = 1;
/// What is kept of why a try failed, in bytes.
const WHY_BYTES_MAX: usize = 2_048;

/// What a record says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Entry<'a> {
    /// An event was taken in, with all that it leads to; or what is left of that, written again.
    #[serde(borrow)]
    Taken(Taken<'a>),
    /// A delivery was tried and is to be tried again.
    #[serde(borrow)]
    Tried(Tried<'a>),
    /// A delivery is over.
    Over(Over),
    /// The events that follow are one put.
    Group(Group),
}

/// An event and what is left of its deliveries.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Taken<'a> {
    /// Which event, in the order in which they were taken in.
    pub(super) number: u64,
    /// When, in milliseconds since 1970.
    pub(super) taken_at_ms: u64,
    /// What the same event would be known by.
    pub(super) key: SeenKey,
    /// What the ids of its deliveries begin with.
    pub(super) stem: &'a str,
    /// The event, packed.
    #[serde(borrow)]
    pub(super) event: Raw<'a>,
    /// In the order of their indices.
    #[serde(borrow)]
    pub(super) deliveries: Vec<Planned<'a>>,
}

/// A delivery that is to be made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Planned<'a> {
    /// Which of its event's.
    pub(super) index: u32,
    /// Whether `origin` is a schedule, not a rule.
    pub(super) is_schedule: bool,
    /// The rule or schedule, as `NAMESPACE/NAME`.
    pub(super) origin: &'a str,
    /// The target, packed.
    #[serde(borrow)]
    pub(super) target: Raw<'a>,
    /// How often it was tried.
    pub(super) tries: u32,
    /// Why it is for the dead-letter queue, if it is.
    #[serde(borrow)]
    pub(super) failure: Option<Failure<'a>>,
}

/// A delivery that is to be tried again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Tried<'a> {
    pub(super) number: u64,
    pub(super) index: u32,
    pub(super) tries: u32,
    /// When it is due, in milliseconds since 1970.
    pub(super) due_ms: u64,
    #[serde(borrow)]
    pub(super) failure: Option<Failure<'a>>,
}

/// A delivery that is over, whatever became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Over {
    pub(super) number: u64,
    pub(super) index: u32,
}

/// Events of one put, which lie behind this with nothing between them. Where one of them is missing, a crash came before all were
/// written, and none of them ever was.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Group {
    /// The number of the first; the others are numbered on.
    pub(super) first: u64,
    pub(super) count: u32,
}

/// Why a delivery failed for good.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Failure<'a> {
    kind: FailureKind,
    why: &'a str,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum FailureKind {
    Refused,
    Failed,
    Busy,
}

impl<'a> Failure<'a> {
    pub(super) fn of(error: &'a AttemptError) -> Self {
        let (kind, why) = match error {
            AttemptError::Refused(why) => (FailureKind::Refused, why),
            AttemptError::Failed(why) => (FailureKind::Failed, why),
            AttemptError::Busy(why) => (FailureKind::Busy, why),
        };
        Self { kind, why: &why[..why.floor_char_boundary(WHY_BYTES_MAX)] }
    }

    pub(super) fn to_error(self) -> AttemptError {
        let why = self.why.to_owned();
        match self.kind {
            FailureKind::Refused => AttemptError::Refused(why),
            FailureKind::Failed => AttemptError::Failed(why),
            FailureKind::Busy => AttemptError::Busy(why),
        }
    }
}

/// Bytes that are written as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Self)
    }
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("a record of the buses is empty")]
    Empty,
    #[error("a record of the buses is of version {0}, which a newer Skiff wrote: start that one again")]
    Version(u8),
    #[error("a record of the buses is not what was written")]
    Damaged(#[from] postcard::Error),
    #[error("a record of the buses holds what can't be")]
    Text(#[from] ParseError),
}

/// Writes a record down.
pub(super) fn encode(entry: &Entry<'_>) -> Bytes {
    postcard::to_extend(entry, vec![VERSION]).expect("records are made of what postcard can write").into()
}

/// Reads a record.
pub(super) fn decode(record: &[u8]) -> Result<Entry<'_>, RecordError> {
    match record.split_first() {
        Some((&VERSION, rest)) => Ok(postcard::from_bytes(rest)?),
        Some((version, _)) => Err(RecordError::Version(*version)),
        None => Err(RecordError::Empty),
    }
}

#[derive(Serialize, Deserialize)]
struct EventRecord<'a> {
    namespace: &'a str,
    bus: &'a str,
    id: &'a str,
    source: &'a str,
    detail_type: &'a str,
    time_ms: u64,
    #[serde(borrow)]
    resources: Vec<&'a str>,
    #[serde(borrow)]
    subject: Option<&'a str>,
    #[serde(borrow)]
    extensions: Vec<(&'a str, &'a str)>,
    detail: &'a str,
    #[serde(borrow)]
    order_key: Option<&'a str>,
}

/// Packs an event.
pub(super) fn pack_event(event: &BusEvent) -> Vec<u8> {
    let record = EventRecord {
        namespace: event.namespace.as_str(),
        bus: event.bus.as_str(),
        id: &event.id,
        source: &event.source,
        detail_type: &event.detail_type,
        time_ms: event.time_ms,
        resources: event.resources.iter().map(|resource| &**resource).collect(),
        subject: event.subject.as_deref(),
        extensions: event.extensions.iter().map(|(name, value)| (&**name, &**value)).collect(),
        detail: &event.detail,
        order_key: event.order_key.as_deref(),
    };
    postcard::to_stdvec(&record).expect("events are made of what postcard can write")
}

/// Unpacks an event.
pub(super) fn unpack_event(packed: &[u8]) -> Result<BusEvent, RecordError> {
    let record: EventRecord<'_> = postcard::from_bytes(packed)?;
    Ok(BusEvent {
        namespace: record.namespace.parse()?,
        bus: record.bus.parse()?,
        id: record.id.into(),
        source: record.source.into(),
        detail_type: record.detail_type.into(),
        time_ms: record.time_ms,
        resources: record.resources.into_iter().map(Arc::from).collect(),
        subject: record.subject.map(Arc::from),
        extensions: record
            .extensions
            .into_iter()
            .map(|(name, value)| (Arc::from(name), Arc::from(value)))
            .collect(),
        detail: record.detail.into(),
        order_key: record.order_key.map(Arc::from),
    })
}

/// The order key of a packed event, without unpacking all of it.
pub(super) fn order_key(packed: &[u8]) -> Result<Option<Arc<str>>, RecordError> {
    let record: EventRecord<'_> = postcard::from_bytes(packed)?;
    Ok(record.order_key.map(Arc::from))
}

#[derive(Serialize, Deserialize)]
struct TargetRecord {
    id: Name,
    to: DestinationRecord,
    input: InputRecord,
    age_max_ms: u64,
    retries_max: u32,
    dead_letter: Option<Name>,
    concurrency: u32,
}

#[derive(Serialize, Deserialize)]
enum DestinationRecord {
    Task {
        family: Name,
        revision: Option<u32>,
        arguments: Option<Vec<String>>,
        environment: BTreeMap<String, String>,
    },
    Service {
        service: Name,
        path: Arc<str>,
    },
    Queue {
        queue: Name,
        group: Option<Arc<str>>,
    },
    Bus {
        bus: Name,
    },
    Webhook {
        url: WebhookUrl,
    },
}

#[derive(Serialize, Deserialize)]
enum InputRecord {
    Event,
    Path(Arc<str>),
    Constant(Arc<str>),
    Template { paths: BTreeMap<String, String>, text: Arc<str> },
}

/// Packs a target.
pub(super) fn pack_target(target: &EventTarget) -> Bytes {
    let to = match target.to.clone() {
        Destination::Task(TaskTarget { family, revision, arguments, environment }) => {
            DestinationRecord::Task { family, revision, arguments, environment }
        }
        Destination::Service { service, path } => DestinationRecord::Service { service, path },
        Destination::Queue { queue, group } => DestinationRecord::Queue { queue, group },
        Destination::Bus { bus } => DestinationRecord::Bus { bus },
        Destination::Webhook { url } => DestinationRecord::Webhook { url },
    };
    let input = match target.input.clone() {
        Input::Event => InputRecord::Event,
        Input::Path(path) => InputRecord::Path(path),
        Input::Constant(constant) => InputRecord::Constant(constant),
        Input::Template(Template { paths, text }) => InputRecord::Template { paths, text },
    };
    let record = TargetRecord {
        id: target.id.clone(),
        to,
        input,
        age_max_ms: target.retry.age_max.ms(),
        retries_max: target.retry.retries_max,
        dead_letter: target.dead_letter.clone(),
        concurrency: target.concurrency,
    };
    let packed = postcard::to_stdvec(&record).expect("targets are made of what postcard can write");
    // Behind all else, so that what was packed when targets had no timeout is read, too.
    postcard::to_extend(&target.timeout.ms(), packed).expect("a number can be written").into()
}

/// Unpacks a target.
pub(super) fn unpack_target(packed: &[u8]) -> Result<EventTarget, RecordError> {
    let (record, rest): (TargetRecord, &[u8]) = postcard::take_from_bytes(packed)?;
    let timeout = match rest {
        [] => EventTarget::TIMEOUT,
        rest => Span::from_ms(postcard::from_bytes(rest)?),
    };
    let to = match record.to {
        DestinationRecord::Task { family, revision, arguments, environment } => {
            Destination::Task(TaskTarget { family, revision, arguments, environment })
        }
        DestinationRecord::Service { service, path } => Destination::Service { service, path },
        DestinationRecord::Queue { queue, group } => Destination::Queue { queue, group },
        DestinationRecord::Bus { bus } => Destination::Bus { bus },
        DestinationRecord::Webhook { url } => Destination::Webhook { url },
    };
    let input = match record.input {
        InputRecord::Event => Input::Event,
        InputRecord::Path(path) => Input::Path(path),
        InputRecord::Constant(constant) => Input::Constant(constant),
        InputRecord::Template { paths, text } => Input::Template(Template { paths, text }),
    };
    Ok(EventTarget {
        id: record.id,
        to,
        input,
        retry: RetryPolicy { age_max: Span::from_ms(record.age_max_ms), retries_max: record.retries_max },
        dead_letter: record.dead_letter,
        concurrency: record.concurrency,
        timeout,
    })
}

#[cfg(test)]
mod tests;
