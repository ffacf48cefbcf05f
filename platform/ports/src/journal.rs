//! The journal port: events, kept in the order in which they were recorded, in a bounded space.

use crate::store::StoreError;
use async_trait::async_trait;
use skiff_types::{Event, EventId, EventType, Name, Namespace, TaskId};

/// Keeps events. Every call is done whole or not at all; what it kept is there after a `kill -9`, but its newest may be
/// lost with the machine's power.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Takes in events whose ids are in order, and greater than those of all events before.
    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError>;

    /// The events asked for, oldest first.
    async fn read(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError>;

    /// Forgets what happened before `before_ms`, in milliseconds since 1970; and if more than `events_max` are left, the oldest
    /// of those services that have the most, so that one that has much to tell pushes no other out.
    async fn forget(&self, before_ms: u64, events_max: u32) -> Result<(), StoreError>;
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
