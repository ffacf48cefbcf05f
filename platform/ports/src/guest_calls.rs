//! Calls of guests to what their platform keeps: tables, buckets, queues and buses, on their way out of a worker.
//!
//! A worker asks by task; who that task is, and what it may, is judged on the other side ([`GuestCalls`]), which knows the task's
//! role and that this worker runs it. What crosses is bounded: bodies of objects go in pieces of [`PIECE_BYTES_MAX`].
//!
//! What always holds: names are those of the task's own namespace; no other can be said.

use crate::buckets::ObjectContent;
use bytes::Bytes;
use futures::future::{BoxFuture, LocalBoxFuture};
use serde::{Deserialize, Serialize};
use skiff_types::{Name, TaskId};
use std::collections::BTreeMap;

/// The most bytes of an object in one call or answer.
pub const PIECE_BYTES_MAX: usize = 256 << 10;
/// Objects that a task reads or writes in pieces at once, at most.
pub const TRANSFERS_MAX: usize = 64;
/// Calls of a task that are under way at once; more wait in the worker.
pub const CALLS_MAX: usize = 64;

/// Carries calls of guests out of a worker. Lives on its one thread.
pub trait CallSink {
    /// Asks for a task, and waits for the answer. A call that is dropped may have been carried out; a transfer that it began
    /// is stopped then.
    ///
    /// What comes of this is polled in the polls of the task's guest, on whose account are the call and the answer; what else
    /// a sink has is its own.
    fn call(
        &self,
        task: TaskId,
        call: GuestCall,
    ) -> LocalBoxFuture<'static, Result<GuestAnswer, GuestCallError>>;

    /// As [`GuestCall::Stop`], for who can't wait for an answer.
    fn stop(&self, task: TaskId, transfer: TransferId);
}

/// Answers calls of guests.
pub trait GuestCalls: Send + Sync {
    /// For one worker, as long as it lives: what its guests have open ends when this is dropped.
    fn session(&self) -> Box<dyn GuestSession>;
}

/// What the guests of one worker have open.
pub trait GuestSession: Send + Sync {
    /// Answers a call of a task's guest. Whoever asks has seen that the worker runs the task.
    fn call(&self, task: TaskId, call: GuestCall) -> BoxFuture<'static, Result<GuestAnswer, GuestCallError>>;
}

/// Means an object that is read or written in pieces, within one worker's session and for one task.
pub type TransferId = u64;

/// What a guest asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GuestCall {
    /// Whether there is such a table, and the task may do anything with it. [`GuestAnswer::Done`].
    OpenTable(Name),
    /// [`GuestAnswer::Items`].
    Get {
        /// In which table.
        table: Name,
        /// [`crate::tables::ITEMS_MAX`] at most.
        keys: Vec<String>,
    },
    /// All or none. [`GuestAnswer::Versions`].
    Write {
        /// In which table.
        table: Name,
        /// [`crate::tables::ITEMS_MAX`] at most.
        writes: Vec<GuestWrite>,
    },
    /// [`GuestAnswer::Sum`].
    Increment {
        /// In which table.
        table: Name,
        /// Which item.
        key: String,
        /// By how much.
        delta: i64,
    },
    /// Values are not told. [`GuestAnswer::Keys`].
    Keys {
        /// In which table.
        table: Name,
        /// What keys begin with.
        prefix: String,
        /// Only those after this.
        after: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// With values. [`GuestAnswer::Page`].
    Scan {
        /// In which table.
        table: Name,
        /// What keys begin with.
        prefix: String,
        /// Only those after this.
        after: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// Whether there is such a bucket. [`GuestAnswer::Container`], or [`GuestCallError::NotFound`].
    Bucket(Name),
    /// [`GuestAnswer::Container`].
    CreateBucket(Name),
    /// With all its objects. [`GuestAnswer::Done`].
    RemoveBucket(Name),
    /// [`GuestAnswer::Object`], or [`GuestCallError::NotFound`].
    Head {
        /// In which bucket.
        bucket: Name,
        /// Its key.
        key: String,
    },
    /// Begins to read an object as it is now. [`GuestAnswer::Reading`].
    Read {
        /// In which bucket.
        bucket: Name,
        /// Its key.
        key: String,
        /// The first byte.
        start: u64,
        /// The byte behind the last; what lies behind the object's end counts as its end.
        end: u64,
    },
    /// The next bytes of what is read; none at its end. [`GuestAnswer::Bytes`].
    ReadMore(TransferId),
    /// Begins to write an object. [`GuestAnswer::Writing`].
    Put {
        /// In which bucket.
        bucket: Name,
        /// Its key.
        key: String,
        /// What is said of it.
        content_type: Option<String>,
        /// Likewise.
        metadata: BTreeMap<String, String>,
    },
    /// More of its bytes. [`GuestAnswer::Done`].
    PutMore(TransferId, Bytes),
    /// That was all: from now on the object is there. [`GuestAnswer::Object`].
    PutEnd(TransferId),
    /// Ends what is read or written, before its end. [`GuestAnswer::Done`].
    Stop(TransferId),
    /// [`GuestAnswer::Listed`].
    List {
        /// In which bucket.
        bucket: Name,
        /// What keys begin with.
        prefix: String,
        /// Only those after this.
        after: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// What is not there counts as deleted. [`GuestAnswer::Done`].
    Delete {
        /// In which bucket.
        bucket: Name,
        /// 1,000 at most.
        keys: Vec<String>,
    },
    /// Deletes all objects. [`GuestAnswer::Done`].
    Clear(Name),
    /// [`GuestAnswer::Done`].
    Copy {
        /// From which bucket and key.
        from: (Name, String),
        /// To which.
        to: (Name, String),
        /// Whether the first is deleted then.
        moves: bool,
    },
    /// [`GuestAnswer::Sent`].
    Send {
        /// To which queue.
        queue: Name,
        /// 10 at most.
        messages: Vec<GuestMessage>,
    },
    /// [`GuestAnswer::Done`].
    PutEvents {
        /// On which bus.
        bus: Name,
        /// 100 at most.
        events: Vec<GuestEvent>,
    },
}

/// The answer to a [`GuestCall`], of the kind that it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GuestAnswer {
    /// It is done.
    Done,
    /// In the order of the keys that were asked for.
    Items(Vec<Option<GuestItem>>),
    /// Of each write; 0 of a delete.
    Versions(Vec<u64>),
    /// What it comes to.
    Sum(i64),
    /// Keys, and what to ask after for the next, if there are more.
    Keys(Vec<String>, Option<String>),
    /// Items by key, and what to ask after for the next, if there are more.
    Page(Vec<(String, GuestItem)>, Option<String>),
    /// A bucket: when it was made, in milliseconds since 1970.
    Container(u64),
    /// An object.
    Object(GuestObject),
    /// What the transfer is called, and the object.
    Reading(TransferId, GuestObject),
    /// Bytes; [`PIECE_BYTES_MAX`] at most, none at the end.
    Bytes(Bytes),
    /// What the transfer is called.
    Writing(TransferId),
    /// Objects, and what to ask after for the next, if there are more.
    Listed(Vec<GuestObject>, Option<String>),
    /// Of each message its id, or what is wrong with it.
    Sent(Vec<Result<String, String>>),
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestItem {
    /// Its value.
    pub value: Bytes,
    /// Its version.
    pub version: u64,
}

/// A write of one item; see [`crate::tables::ItemWrite`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestWrite {
    /// Its key.
    pub key: String,
    /// What it is to hold; none deletes it.
    pub value: Option<Bytes>,
    /// How long it is kept, in milliseconds from now.
    pub expires_in_ms: Option<u64>,
    /// What is to be there now.
    pub expect: GuestExpect,
}

/// See [`crate::tables::ItemExpect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the one of its name")]
pub enum GuestExpect {
    Any,
    Absent,
    Present,
    Version(u64),
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestObject {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, in milliseconds since 1970.
    pub modified_at_ms: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// What it is, if somebody said.
    pub content_type: Option<String>,
}

impl GuestObject {
    /// Of an object's facts, what guests are told.
    pub fn new(info: &crate::buckets::ObjectInfo) -> Self {
        let ObjectContent { content_type, .. } = &info.content;
        Self {
            key: info.key.clone(),
            size: info.size,
            modified_at_ms: info.modified_at_ms,
            etag: info.etag.clone(),
            content_type: content_type.clone(),
        }
    }
}

/// A message; see [`crate::queues::NewMessage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of `queues::NewMessage`")]
pub struct GuestMessage {
    pub body: Bytes,
    pub attributes: Vec<(String, String)>,
    pub delay_ms: Option<u64>,
    pub group: Option<String>,
    pub deduplication_id: Option<String>,
}

/// An event; see [`skiff_types::BusEvent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestEvent {
    /// Given if none is said.
    pub id: Option<String>,
    /// From where.
    pub source: String,
    /// What kind.
    pub detail_type: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When, in milliseconds since 1970; now if it is not said.
    pub time_ms: Option<u64>,
    /// JSON.
    pub detail: String,
}

/// Why a guest's call was not carried out. The texts are for people, and may be shown to the guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum GuestCallError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The task's role does not allow it.
    #[error("{message}")]
    Denied {
        /// What to do.
        message: String,
        /// The grant that is missing.
        grant: String,
    },
    /// Something is not as the call expects it.
    #[error("{message}")]
    Conflict {
        /// What.
        message: String,
        /// Of an item: its version, if it is there.
        version: Option<u64>,
    },
    /// It can't be so.
    #[error("{0}")]
    Invalid(String),
    /// There is no room, or there is too much to do at present.
    #[error("{0}")]
    Busy(String),
    /// It failed, or it is not known whether it was done.
    #[error("{0}")]
    Failed(String),
}
