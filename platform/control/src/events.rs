//! The stream of events: what happened, from those who noticed it to the journal, and from there to whoever reads on.
//!
//! Recording waits for nothing: an event goes into a bounded queue, and one writer takes what has come together to the
//! journal. What was not written when the process is killed is lost, and so is what finds the queue full, which is counted
//! and logged: events tell what happened, and nothing is decided by them. Readers are shown what is in the journal alone,
//! and look there again whenever something was written, so that none misses what another sees.
//!
//! What always holds: ids order as events were recorded, over restarts; the journal has them in that order.

mod happened;
mod reading;

pub(crate) use happened::Happened;
pub(crate) use reading::Reading;

use skiff_kit::clock::Clock;
use skiff_kit::random::SharedRandom;
use skiff_ports::journal::{EventFilter, Journal, JournalQuery, Take};
use skiff_ports::store::StoreError;
use skiff_types::{Event, EventId};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::warn;

/// Events that wait to be written.
const QUEUE_MAX: usize = 10_000;
/// Events that are written at a time.
const BATCH_MAX: usize = 1_000;
/// The wait after a write that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long events are kept, in milliseconds: 15 days.
const KEPT_MS: u64 = 15 * 86_400_000;
/// How many are kept.
const KEPT_MAX: u32 = 100_000;
/// What is too old or too much is forgotten once so many were written since the last time, or so much time is over.
const FORGET_AFTER_EVENTS: usize = 10_000;
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// The stream.
pub(crate) struct Events {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    random: SharedRandom,
    recorded: Mutex<Recorded>,
    /// What the writer takes from; there is one.
    queue: tokio::sync::Mutex<mpsc::Receiver<Event>>,
    /// The newest event that is in the journal.
    written: watch::Sender<Option<EventId>>,
    /// Events that found the queue full, since that was logged for the last time.
    lost: AtomicU64,
}

/// Where events are put, one at a time, so that they lie in the queue as their ids order.
struct Recorded {
    last: Option<EventId>,
    queue: mpsc::Sender<Event>,
}

impl Events {
    pub(crate) fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>, random: SharedRandom) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        Self {
            journal,
            clock,
            random,
            recorded: Mutex::new(Recorded { last: None, queue: sender }),
            queue: tokio::sync::Mutex::new(receiver),
            written: watch::Sender::new(None),
            lost: AtomicU64::new(0),
        }
    }

    /// Goes on behind what the journal has. To be called before anything is recorded.
    pub(crate) async fn take_up(&self) -> Result<(), StoreError> {
        let query = JournalQuery { after: None, filter: EventFilter::default(), take: Take::Newest(1) };
        let newest = self.look(query).await?.pop().map(|event| event.id);
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).last = newest;
        self.written.send_replace(newest);
        Ok(())
    }

    /// The newest event that is in the journal.
    pub(crate) fn newest(&self) -> Option<EventId> {
        *self.written.borrow()
    }

    /// What the journal has now.
    pub(crate) async fn look(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError> {
        self.journal.read(query).await
    }

    /// Records an event; waits for nobody.
    pub(crate) fn record(&self, happened: Happened) {
        let now_ms = self.clock.unix_ms();
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let id = EventId::following(recorded.last, now_ms, self.random.bytes());
        match recorded.queue.try_send(happened.into_event(id)) {
            Ok(()) => recorded.last = Some(id),
            Err(_) => {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// Writes what is recorded until `recorders` have ended, and all that they recorded then.
    pub(crate) async fn write(&self, recorders: impl Future<Output = ()>) {
        let mut queue = self.queue.lock().await;
        let mut recorders = pin!(recorders);
        let mut forget = tokio::time::interval(FORGET_INTERVAL);
        forget.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut batch, mut written) = (Vec::new(), 0);
        'writing: loop {
            tokio::select! {
                biased;
                _ = forget.tick() => {
                    self.forget().await;
                    written = 0;
                }
                _ = queue.recv_many(&mut batch, BATCH_MAX) => {}
                () = &mut recorders => break,
            }
            written += batch.len();
            while !batch.is_empty() && !self.append(&mut batch).await {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(RETRY_INTERVAL) => {}
                    () = &mut recorders => break 'writing,
                }
            }
            if written >= FORGET_AFTER_EVENTS {
                forget.reset_immediately();
            }
        }
        while let Ok(event) = queue.try_recv() {
            batch.push(event);
        }
        if !batch.is_empty() {
            self.append(&mut batch).await;
        }
    }

    /// Writes a batch and empties it; whether that was done.
    async fn append(&self, batch: &mut Vec<Event>) -> bool {
        let newest = batch.last().map(|event| event.id);
        if let Err(error) = self.journal.append(batch.clone()).await {
            warn!(%error, events = batch.len(), "events could not be written");
            return false;
        }
        batch.clear();
        self.written.send_replace(newest);
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0 {
            warn!(lost, "events were lost: more came than could be written");
        }
        true
    }

    async fn forget(&self) {
        let before_ms = self.clock.unix_ms().saturating_sub(KEPT_MS);
        if let Err(error) = self.journal.forget(before_ms, KEPT_MAX).await {
            warn!(%error, "old events could not be forgotten");
        }
    }
}

#[cfg(test)]
mod tests;
