//! The buses port, and the port of what events lead to: events are taken in, matched, and delivered at least once.
//!
//! An event that was answered is on the drive, and with it which deliveries it leads to; each is tried until its target took it, or
//! its retries are over and its dead-letter queue has it.

use async_trait::async_trait;
use bytes::Bytes;
use skiff_types::{BusEvent, EventRuleSpec, EventTarget, Namespace, QualifiedName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Takes events in, and sees to it that they are delivered.
#[async_trait]
pub trait Buses: Send + Sync {
    /// The rules from now on, all of them. Whether a pattern is one was seen to before. Deliveries that are on their way keep
    /// the target that they had, but are given up, without a dead letter, once their rule or target is not among these.
    fn set_rules(&self, rules: Vec<Arc<EventRuleSpec>>);

    /// These rules are so from now on, or gone; all others stay as they are. Costs what it changes, however many there are. Of
    /// deliveries that are on their way, as [`Buses::set_rules`].
    fn change_rules(&self, changes: RuleChanges);

    /// Takes events in, all or none, a crash at any moment included. When it returns they are on the drive with all that follows
    /// from them. Those that would take too many steps to match, all together, are refused
    /// (`skiff_events::pattern::Pattern::STEPS_MAX`). One whose `namespace`, `bus`, `source` and `id` are those of one that came
    /// within the last five minutes is taken for the same, and leads to nothing more.
    async fn put(&self, events: Vec<BusEvent>) -> Result<(), BusError>;

    /// Takes an event in that a delivery puts on another bus, likewise. It is taken in where others would be refused since too many
    /// deliveries wait, within a bound: the one that puts it is one of those, and would wait for itself.
    async fn pass_on(&self, event: BusEvent) -> Result<(), BusError>;

    /// Takes what is due by schedules in, likewise. What was taken in is known until [`Buses::settle_deliveries`] leaves it out,
    /// over restarts too and whatever the clock does: until then it leads to nothing more, however often it is put.
    async fn put_deliveries(&self, deliveries: Vec<NewDelivery>) -> Result<(), BusError>;

    /// Of what was put by [`Buses::put_deliveries`] and by who was here before a restart, these alone (schedules, and ids) may be put
    /// again, and whatever is of the schedules of which that is unknown: that the others were put, is noted.
    fn settle_deliveries(&self, open: Vec<(QualifiedName, Arc<str>)>, unknown: BTreeSet<QualifiedName>);

    /// Events of a bus (or of all of a namespace), as they come from now on. Who is too slow misses some, and is told how many.
    fn tail(&self, namespace: &Namespace) -> Tail;

    /// What was and is being done.
    fn stats(&self) -> BusStats;

    /// What was counted by bus and by rule since this was called last.
    fn take_counts(&self) -> BusCounts;
}

/// Rules that are to be so, or not to be there.
pub type RuleChanges = BTreeMap<QualifiedName, Option<Arc<EventRuleSpec>>>;

/// What came to buses and to rules; none of those to which nothing came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusCounts {
    /// Events that were put, by bus.
    pub put: BTreeMap<QualifiedName, u64>,
    /// Events that a rule took, by rule.
    pub matched: BTreeMap<QualifiedName, u64>,
}

/// Something that is due, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Tells it from all others, the same each time it is put: it is taken once.
    pub id: Arc<str>,
    /// The schedule.
    pub origin: QualifiedName,
    /// What happens.
    pub event: BusEvent,
    /// Where to.
    pub target: EventTarget,
}

/// What comes by a tail.
#[derive(Debug, Clone)]
pub enum Tailed {
    /// An event.
    Event(Arc<BusEvent>),
    /// So many were missed.
    Missed(u64),
}

/// Events as they come.
pub type Tail = futures::stream::BoxStream<'static, Tailed>;

/// What buses did since the platform started, and what waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each counts what its name says")]
pub struct BusStats {
    pub events: u64,
    pub matched: u64,
    pub delivered: u64,
    pub retried: u64,
    pub dead_letters: u64,
    pub given_up: u64,
    pub waiting: u64,
    pub under_way: u64,
}

/// Why events were not taken in. None of them was then, but after [`BusError::Storage`], where that is not known.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// They can't be so.
    #[error("{0}")]
    Invalid(String),
    /// So many deliveries wait that no more events are taken in.
    #[error("{0} deliveries wait already: targets don't keep up; try again later")]
    Busy(u64),
    /// More waits to be written to the disk than may.
    #[error("more waits to be written to the disk than may, and nothing was taken in: try again soon")]
    DiskBusy,
    /// There is no room on the disk.
    #[error("there is no room on the disk; nothing was taken in")]
    DiskFull,
    /// The storage below failed.
    #[error("the buses' storage failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Carries deliveries out: starts tasks, calls services, sends to queues, puts on buses, posts to addresses.
#[async_trait]
pub trait Targets: Send + Sync {
    /// Tries once. What the target is sent is made already (`attempt.payload`). When it returns `Ok`, what it led to is safe.
    async fn deliver(&self, attempt: Attempt) -> Result<(), AttemptError>;

    /// Sends to a dead-letter queue what could not be delivered, with why. Tried again until it returns `Ok`, or says that there
    /// is no such queue.
    async fn bury(
        &self,
        queue: &QualifiedName,
        attempt: Attempt,
        why: &AttemptError,
    ) -> Result<(), AttemptError>;
}

/// One try of a delivery.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The same at each try of it, and of no other delivery: what a target that is called twice can tell by that it is the same.
    pub id: Arc<str>,
    /// The rule or the schedule that it is of.
    pub origin: QualifiedName,
    /// What happened.
    pub event: Arc<BusEvent>,
    /// Where to.
    pub target: Arc<EventTarget>,
    /// What it is sent: the target's input, made of the event.
    pub payload: Bytes,
    /// Which try it is, from 1.
    pub number: u32,
}

/// Why a delivery was not carried out; a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// It would not be another time either.
    #[error("{0}")]
    Refused(String),
    /// It may be another time.
    #[error("{0}")]
    Failed(String),
    /// The target has too much to do; counts as no try.
    #[error("{0}")]
    Busy(String),
}
