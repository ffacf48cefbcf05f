//! The journal port: events, kept in the order in which they were recorded, in a bounded space; and of each object how far it was
//! told, so that what it has to tell is neither left out nor told twice, whenever the process ends.

use crate::store::{Key, StoreError};
use async_trait::async_trait;
use skiff_types::{Event, EventId, EventType, Name, Namespace, TaskId};
use std::collections::HashMap;

/// Keeps events. Every call is done whole or not at all; what it kept is there after a `kill -9`, but its newest may be
/// lost with the machine's power, unless [`Journal::sync`] came after.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Takes in notes. The ids of their events are in order, and greater than those of all events before. From the first call on,
    /// which may be one without any note, the marks are no longer new.
    async fn append(&self, notes: Vec<Note>) -> Result<(), StoreError>;

    /// How far each object was told.
    async fn marks(&self) -> Result<Marks, StoreError>;

    /// The events asked for, oldest first.
    async fn read(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError>;

    /// Forgets what is too old or too much. Answers how many of the unread that took, which nobody will read any more.
    async fn forget(&self, forget: Forget) -> Result<u64, StoreError>;

    /// Ends once all that was taken in before is on the drive.
    async fn sync(&self) -> Result<(), StoreError>;
}

/// What of an object was told last: tells it from what the object had to tell before and will have. Its value means something to
/// whoever tells of the object, and to no one else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u64);

/// What the journal is to know of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It was told up to this mark, last by these events.
    Told {
        /// Which object.
        object: Key,
        /// How far.
        mark: Mark,
        /// Oldest first.
        events: Vec<Event>,
    },
    /// It is gone; what was told of it stays.
    Gone {
        /// Which object.
        object: Key,
    },
}

/// How far all objects were told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// By object. Of one that is not in it, nothing was told.
    pub objects: HashMap<Key, Mark>,
    /// Nothing was ever noted: the journal is new, or comes from a Skiff that had no marks. What objects say then is of before.
    pub are_new: bool,
}

/// What is to be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget {
    /// What happened before this, in milliseconds since 1970.
    pub before_ms: u64,
    /// If more than these are left of those that were read, the oldest of those services that have the most, so that one that has much
    /// to tell pushes no other out.
    pub events_max: u32,
    /// Events behind this one are still to be read, and stay whatever the bounds above say; all of them, where it is `None`.
    pub read_to: Option<EventId>,
    /// If more than these are still to be read, the oldest of them all the same.
    pub unread_max: u32,
}

/// Which events, and how many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalQuery {
    /// Only those recorded after this one, which need not be there any more.
    pub after: Option<EventId>,
    /// Of these, only such.
    pub filter: EventFilter,
    /// Of these, so many.
    pub take: Take,
}

/// How many events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// The oldest, this many at most.
    Oldest(u32),
    /// The newest, this many at most.
    Newest(u32),
}

/// Which events; all where nothing is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those of this namespace.
    pub namespace: Option<Namespace>,
    /// Only those about services of these names, or about their tasks; where there are none, of all.
    pub services: Vec<Name>,
    /// Only those about this task.
    pub task: Option<TaskId>,
    /// Only those of these types; where there are none, of all.
    pub types: Vec<EventType>,
    /// Only what happened at or after this time, in milliseconds since 1970.
    pub since_ms: Option<u64>,
}
