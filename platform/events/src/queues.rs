//! Durable queues, as SQS's: standard and FIFO, in one log and one index in memory.
//!
//! The log has what messages say and what became of them; memory has where each message is, and which comes next: some 120
//! bytes a message. A receive reads the body from the log, which is in the page cache as a rule, so bodies are kept in no cache
//! of ours. When the queues are opened, the log is read from its start: what was in flight stays so until its time is over, and
//! its receipts stay good, as far as the log has the receive; else it is in sight at once.
//!
//! Deliberately not here: names, who may do what, and which queues there are; each call brings what its queue is like. How long
//! a queue keeps its messages is known from its first call on, and of a dead-letter queue from that of a queue that buries in it.
//!
//! What always holds: what was answered is on the drive, but for receives and changes of visibility; a message that was deleted
//! never comes again; in a group, a message comes once the one before it is gone for good. A clock that goes back makes
//! messages come later and be kept longer, and loses none.

mod bury;
mod deduplication;
mod engine;
mod giving_back;
mod groups;
mod moving;
mod queue;
mod receipt;
mod receive;
mod record;
mod remove;
mod send;
mod state;
mod upkeep;
mod waiters;

#[cfg(test)]
mod tests;

use crate::log::{Drive, OsDrive, SEGMENT_BYTES};
use async_trait::async_trait;
use engine::Engine;
use skiff_kit::clock::Clock;
use skiff_kit::random::Random;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{
    Message, MessageError, NewMessage, QueueFailure, QueueStats, Queues as QueuesPort, Receipt, RedriveTo,
    Redriven, Sent,
};
use skiff_types::ResourceId;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Where queues lie.
#[derive(Debug, Clone)]
pub struct Config {
    /// Their folder; it is made if it is not there. Nobody else may have it open.
    pub folder: PathBuf,
    /// Bytes of a file of the log, about.
    pub segment_bytes: u64,
}

impl Config {
    /// Queues in a folder, in files of 64 MiB.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, segment_bytes: SEGMENT_BYTES }
    }
}

/// What queues are given.
#[derive(Clone)]
pub struct Deps {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// For the tags of receipts.
    pub random: Arc<dyn Random>,
}

/// Why queues can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("the queues in {} can't be opened", folder.display())]
pub struct OpenError {
    /// Where they lie.
    folder: PathBuf,
    /// What the log says.
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// All queues.
pub struct Queues {
    engine: Arc<Engine>,
    /// Dropped, it ends the thread that looks after them.
    _stop: mpsc::Sender<()>,
}

impl Queues {
    /// Opens the queues in a folder, on this thread: it reads their log.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the folder can't be read or written, or what it holds was damaged.
    pub fn open(config: Config, deps: Deps) -> Result<Self, OpenError> {
        Self::open_on(config, deps, Arc::new(OsDrive))
    }

    /// As [`Queues::open`], writing by `drive`.
    fn open_on(config: Config, deps: Deps, drive: Arc<dyn Drive>) -> Result<Self, OpenError> {
        let folder = config.folder.clone();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError { folder, source };
        let engine = match Engine::open(config, deps, drive) {
            Ok(engine) => Arc::new(engine),
            Err(error) => return Err(failed(error.into())),
        };
        let (stop, stopped) = mpsc::channel();
        let weak = Arc::downgrade(&engine);
        let upkeep = move || upkeep::run(&weak, &stopped);
        match std::thread::Builder::new().name("queues-upkeep".to_owned()).spawn(upkeep) {
            Ok(_) => Ok(Self { engine, _stop: stop }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Writes what waits, and closes the log. Calls after it fail.
    pub async fn close(&self) {
        self.engine.log.close().await;
    }
}

#[async_trait]
impl QueuesPort for Queues {
    async fn send(
        &self,
        queue: &QueueRef,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, MessageError>>, QueueFailure> {
        self.engine.send(queue, messages).await
    }

    async fn receive(
        &self,
        queue: &QueueRef,
        max: usize,
        visibility: Option<Duration>,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueFailure> {
        self.engine.receive(queue, max, visibility, wait).await
    }

    async fn delete(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        self.engine.delete(queue, &receipts).await
    }

    async fn change_visibility(
        &self,
        queue: &QueueRef,
        changes: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        self.engine.change_visibility(queue, &changes)
    }

    async fn give_back(
        &self,
        queue: &QueueRef,
        messages: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        self.engine.give_back(queue, &messages).await
    }

    async fn bury(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        self.engine.bury(queue, &receipts).await
    }

    async fn purge(&self, queue: &QueueRef) -> Result<u64, QueueFailure> {
        self.engine.purge(queue).await
    }

    async fn redrive(&self, from: &QueueRef, to: RedriveTo<'_>, max: u64) -> Result<Redriven, QueueFailure> {
        self.engine.redrive(from, to, max).await
    }

    fn stats(&self, queue: &QueueRef) -> QueueStats {
        let now_ms = self.engine.now_ms();
        let mut state = self.engine.lock();
        if !state.queues.contains_key(&queue.id) {
            return QueueStats::default();
        }
        state.current(queue, now_ms).stats()
    }

    async fn ready(&self, queue: &QueueRef) {
        self.engine.ready(queue).await;
    }

    async fn drop_queue(&self, queue: ResourceId) -> Result<(), QueueFailure> {
        self.engine.drop_queue(queue).await
    }

    fn queues(&self) -> Vec<ResourceId> {
        self.engine.lock().queues.keys().copied().collect()
    }
}
