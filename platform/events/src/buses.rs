//! The buses: events are taken in, matched with rules, and delivered to their targets at least once.
//!
//! An event that leads to something is one record in the log (`log`), with all its deliveries, so that one sync makes both
//! durable; each delivery starts as soon as that is over, by no timer. What becomes of a delivery is written without a sync:
//! what of that is lost with the machine's power is a delivery again. An event that leads to nothing is not written: who looks
//! on sees it, and that it came is known for five minutes, but not over a restart. Several events of one put that lead to something
//! are all in the log, or none is. What was due by a schedule is known until it is noted that it was put, however long that takes.
//!
//! **Order.** Deliveries of events with the same order key go to a target one after the other, in the order of their puts; one
//! that is tried again, or waits for its dead-letter queue, holds up those behind it, and no others.
//!
//! **Bounds.** [`Limits`] names them: deliveries that wait, events in memory (the others are read from the log again),
//! deliveries under way. Within them no target holds up another (`lanes`).
//!
//! **The disk.** Where there is no room, events are not taken in; deliveries go on, and that they are over is written as long as
//! what the log keeps for that lasts; what is not written then, is delivered again after a restart.
//!
//! Deliberately not here: what a target is, and how it is reached ([`Targets`]); when a schedule is due (`plan`); whether a bus
//! exists and who may put on it (`control`).

mod carry;
mod change;
mod intake;
mod known;
mod lanes;
mod matching;
mod record;
mod replay;
mod retry;
mod rules;
mod seen;
mod tails;
mod unsettled;
mod upkeep;

#[cfg(test)]
mod tests;

use crate::log::{Drive, Durable, Log, LogError, OsDrive};
use async_trait::async_trait;
use intake::Sender;
use known::{Job, Known, Now, Running, Written};
use rules::{Change, Rules};
use skiff_kit::Drain;
use skiff_kit::clock::Clock;
use skiff_kit::random::SharedRandom;
use skiff_ports::buses::{BusCounts, BusError, BusStats, NewDelivery, RuleChanges, Tail, Targets};
use skiff_types::{BusEvent, EventRuleSpec, Namespace, QualifiedName};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use tails::Tails;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// Where the buses are kept, and their bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of their log; made if it is not there.
    pub folder: PathBuf,
    /// The bounds.
    pub limits: Limits,
}

/// The bounds of the buses of one platform, together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Deliveries that wait; while there are more, no events are taken in.
    pub waiting_max: u64,
    /// Deliveries of one namespace that wait or are under way; while there are more, no events of it are taken in, so that none
    /// whose targets don't keep up holds up the others.
    pub of_namespace_max: u64,
    /// Bytes of waiting events that are held in memory.
    pub held_bytes_max: usize,
    /// Deliveries under way at once.
    pub under_way_max: usize,
    /// A target that has some under way has no more while so many are.
    pub under_way_shared_max: usize,
    /// Events that are remembered, to be told from those that come again; of more within five minutes, the oldest are forgotten.
    pub seen_max: usize,
    /// The size of a segment of the log, in bytes.
    pub segment_bytes: u64,
    /// The log is not written anew while it is smaller than this, in bytes.
    pub compact_bytes_min: u64,
    /// Bytes that are written anew at once.
    pub compact_step_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting_max: 500_000,
            of_namespace_max: 250_000,
            held_bytes_max: 64 << 20,
            under_way_max: 2_048,
            under_way_shared_max: 1_024,
            seen_max: 1 << 20,
            segment_bytes: 64 << 20,
            compact_bytes_min: 256 << 20,
            compact_step_bytes: 8 << 20,
        }
    }
}

/// What the buses need.
#[derive(Clone)]
pub struct Deps {
    /// When events come, and how old they are.
    pub clock: Arc<dyn Clock>,
    /// For ids of deliveries, and for jitter.
    pub random: SharedRandom,
}

/// Why the rules can be read and changed.
const RULES_HELD: &str = "nobody panics while changing the rules";

/// All buses of a platform. Cheap to clone.
#[derive(Clone)]
pub struct Buses {
    inner: Arc<Inner>,
}

/// What the buses' tasks share.
struct Inner {
    /// Read while events are matched for a moment, so that no delivery waits for that; locked before `known`.
    rules: RwLock<Rules>,
    /// Places for puts that are matched for longer.
    matched_apart: Semaphore,
    known: Mutex<Known>,
    log: Log,
    tails: Tails,
    clock: Arc<dyn Clock>,
    random: SharedRandom,
    /// Something is due sooner than before.
    is_due_sooner: Notify,
    /// Held while the rules are changed.
    changing: Mutex<()>,
}

impl Buses {
    /// Reads the log in. Events can be put and rules set from now on; nothing is delivered before [`Buses::start`].
    ///
    /// # Errors
    ///
    /// [`BusError::Storage`] where the folder can't be used, or what lies in it is damaged or was written by a newer version.
    pub fn open(config: Config, deps: Deps) -> Result<Self, BusError> {
        Self::open_on(config, deps, Arc::new(OsDrive))
    }

    /// As [`Buses::open`], writing by `drive`.
    fn open_on(config: Config, deps: Deps, drive: Arc<dyn Drive>) -> Result<Self, BusError> {
        let Deps { clock, random } = deps;
        let now = Now { unix_ms: clock.unix_ms(), instant: Instant::now() };
        let (log, known) = replay::open(config, now, drive)?;
        let inner = Inner {
            rules: RwLock::default(),
            matched_apart: Semaphore::new(matching::APART_MAX),
            known: Mutex::new(known),
            log,
            tails: Tails::default(),
            clock,
            random,
            is_due_sooner: Notify::new(),
            changing: Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Delivers from now on, until the drain begins; what is under way then, the drain waits for. Rules are to be set before, or
    /// what was on its way to removed ones is delivered.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(&self, targets: Arc<dyn Targets>, drain: &Drain) {
        let running = Running { targets, drain: drain.clone(), runtime: tokio::runtime::Handle::current() };
        self.inner.with(|known| known.running = Some(running));
        let (inner, begun, token) = (self.inner.clone(), drain.clone(), drain.token());
        tokio::spawn(async move {
            let _token = token;
            tokio::join!(inner.keep_time(&begun), inner.keep_tidy(&begun));
        });
    }

    /// Writes what waits to be written, and ends; after the drain.
    pub async fn close(&self) {
        self.inner.log.close().await;
    }
}

#[async_trait]
impl skiff_ports::buses::Buses for Buses {
    fn set_rules(&self, rules: Vec<Arc<EventRuleSpec>>) {
        let _alone = self.inner.changing.lock().expect("nobody panics while changing the rules");
        let present = self.inner.rules.read().expect(RULES_HELD).specs();
        // Patterns are compiled while others go on.
        let change = Change::between(&present, rules);
        let mut rules = self.inner.rules.write().expect(RULES_HELD);
        self.inner.with(|known| {
            known.change_rules(&mut rules, change);
            known.sweep(&rules);
        });
    }

    fn change_rules(&self, changes: RuleChanges) {
        let _alone = self.inner.changing.lock().expect("nobody panics while changing the rules");
        let present = self.inner.rules.read().expect(RULES_HELD).specs_of(changes.keys());
        // Patterns are compiled while others go on.
        let change = Change::of(&present, changes);
        let mut rules = self.inner.rules.write().expect(RULES_HELD);
        self.inner.with(|known| known.change_rules(&mut rules, change));
    }

    async fn put(&self, events: Vec<BusEvent>) -> Result<(), BusError> {
        let offers = intake::offers(events)?;
        self.inner.take_in(offers, Sender::Outside).await
    }

    async fn pass_on(&self, event: BusEvent) -> Result<(), BusError> {
        let offers = intake::offers(vec![event])?;
        self.inner.take_in(offers, Sender::Delivery).await
    }

    async fn put_deliveries(&self, deliveries: Vec<NewDelivery>) -> Result<(), BusError> {
        let offers = intake::scheduled(deliveries)?;
        self.inner.take_in(offers, Sender::Outside).await
    }

    fn settle_deliveries(&self, open: Vec<(QualifiedName, Arc<str>)>, unknown: BTreeSet<QualifiedName>) {
        let open = open.iter().map(|(schedule, id)| intake::schedule_key(schedule, id)).collect();
        self.inner.with(|known| known.unsettled.keep(&open, &unknown));
    }

    fn tail(&self, namespace: &Namespace) -> Tail {
        self.inner.tails.tail(namespace)
    }

    fn stats(&self) -> BusStats {
        self.inner.with(|known| known.stats())
    }

    fn take_counts(&self) -> BusCounts {
        self.inner.with(|known| std::mem::take(&mut known.counted))
    }
}

impl Inner {
    /// Does something with what the buses know; then writes what follows from it down, and carries out what has its turn.
    fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut Known) -> R) -> R {
        let (result, jobs) = {
            let mut known = self.known.lock().expect("nobody panics while holding the buses");
            let timer_before = known.next_timer();
            let result = act(&mut known);
            let jobs = known.jobs();
            self.write(known.take_written());
            if known.next_timer().is_some_and(|at| timer_before.is_none_or(|before| at < before)) {
                self.is_due_sooner.notify_one();
            }
            (result, jobs)
        };
        for job in jobs {
            self.spawn(job);
        }
        result
    }

    /// Writes what nobody waits for: what is lost of it, by a log that takes nothing more too, is done again.
    fn write(&self, written: Written) {
        let Written { over, tried } = written;
        if !over.is_empty() {
            let _ = self.log.append_then(over, Durable::System, true, drop);
        }
        for record in tried {
            self.log.note(record);
        }
    }

    fn spawn(self: &Arc<Self>, job: Job) {
        let runtime = job.running.runtime.clone();
        runtime.spawn(carry::carry(self.clone(), job));
    }

    fn now(&self) -> Now {
        Now { unix_ms: self.clock.unix_ms(), instant: Instant::now() }
    }

    /// A random number.
    fn draw(&self) -> u64 {
        u64::from_le_bytes(self.random.bytes())
    }
}

/// What a failure of the log means to who asked.
fn storage(error: LogError) -> BusError {
    match error {
        LogError::Full => BusError::DiskFull,
        LogError::Busy => BusError::DiskBusy,
        other => BusError::Storage(Box::new(other)),
    }
}
