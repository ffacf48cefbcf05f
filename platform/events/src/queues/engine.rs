//! What all calls share: the log, the queues in memory, and what is asked for time and tags.
//!
//! One log holds all queues, so that they share its syncs, and a move from one to another is one record. One lock holds all that
//! is in memory: each call needs it for microseconds, and nobody holds it over the disk.
//!
//! What always holds: who hands a record to the log holds the lock, so that the log has the order of what happened; what it
//! leads to is done when the log has it, in the same order.

use super::queue::Queue;
use super::record::{self, Head, Record};
use super::state::State;
use super::{Config, Deps};
use crate::log::{Drive, Durable, Log, LogConfig, LogError, Position};
use bytes::Bytes;
use skiff_kit::clock::Clock;
use skiff_kit::random::Random;
use skiff_ports::catalog::{DeadLetterRef, QueueRef};
use skiff_ports::queues::QueueFailure;
use skiff_types::{QueueSpec, ResourceId};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// What the queues are made of.
pub(super) struct Engine {
    pub(super) log: Log,
    state: Mutex<State>,
    /// Bytes of a segment of the log.
    pub(super) segment_bytes: u64,
    clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
}

impl Engine {
    /// Opens the log, and reads all queues from it.
    pub(super) fn open(config: Config, deps: Deps, drive: Arc<dyn Drive>) -> Result<Self, LogError> {
        let now_ms = deps.clock.unix_ms();
        let mut state = State::default();
        let segment_bytes = config.segment_bytes;
        let log_config = LogConfig { folder: config.folder, segment_bytes };
        let log = Log::open(log_config, drive, |position, payload| {
            let (record, _) = record::decode(payload)
                .map_err(|error| LogError::Io(Arc::new(io::Error::new(io::ErrorKind::InvalidData, error))))?;
            // A record is shorter than 2^31 bytes.
            state.replay(&record, position, payload.len() as u32, now_ms);
            Ok(())
        })?;
        state.settled = log.end();
        state.queues.values_mut().for_each(Queue::straighten);
        Ok(Self { log, state: Mutex::new(state), segment_bytes, clock: deps.clock, random: deps.random })
    }

    /// All that is in memory.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// Hands a record to the log, and once it has it, does `then` with what is in memory and where the record lies. Call it
    /// with the lock held. `then` is not called if the log refuses at once.
    pub(super) fn write<T: Send + 'static>(
        self: &Arc<Self>,
        records: Vec<Bytes>,
        how: How,
        then: impl FnOnce(&mut State, Result<&[Position], LogError>) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, LogError> {
        let (reply, answer) = oneshot::channel();
        let engine = self.clone();
        self.log.append_then(records, how.durable, how.is_freeing, move |outcome| {
            let mut state = engine.lock();
            let done = match &outcome {
                Ok(positions) => {
                    state.settle(positions);
                    then(&mut state, Ok(positions.as_slice()))
                }
                Err(error) => then(&mut state, Err(error.clone())),
            };
            drop(state);
            // Who no longer waits for the answer does not need it.
            let _ = reply.send(done);
        })?;
        Ok(answer)
    }

    /// The record of a message as it lies in the log, and its body. On this thread.
    pub(super) fn read(&self, position: Position) -> Result<(Head, Bytes), QueueFailure> {
        let payload = self.log.read(position).map_err(failure)?;
        match record::decode(&payload) {
            Ok((Record::Message(head), body_bytes)) => {
                let body = payload.slice(payload.len() - body_bytes..);
                Ok((head, body))
            }
            Ok(_) => Err(QueueFailure::Storage(Box::new(record::Unreadable))),
            Err(error) => Err(QueueFailure::Storage(Box::new(error))),
        }
    }
}

/// How a record is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) durable: Durable,
    /// Whether it makes room in the end, so that it is written on a full disk too as long as that can be done.
    pub(super) is_freeing: bool,
}

impl How {
    /// What must last.
    pub(super) const LASTING: Self = Self { durable: Durable::Drive, is_freeing: false };
    /// What must last, and makes room.
    pub(super) const FREEING: Self = Self { durable: Durable::Drive, is_freeing: true };
    /// What only what comes after it depends on: then it lasts as well.
    pub(super) const IN_ORDER: Self = Self { durable: Durable::System, is_freeing: true };
}

impl State {
    /// The queue that a call means, as it is at this time.
    pub(super) fn current(&mut self, queue: &QueueRef, now_ms: u64) -> &mut Queue {
        let current = self.as_said(queue.id, &queue.spec);
        current.advance(now_ms);
        current
    }

    /// The dead-letter queue of one that is called: there may have been no call of its own since the start.
    pub(super) fn dead_letter(&mut self, to: &DeadLetterRef) -> &mut Queue {
        self.as_said(to.id, &to.spec)
    }

    /// A queue, of which this is said.
    fn as_said(&mut self, id: ResourceId, spec: &QueueSpec) -> &mut Queue {
        let queue = self.queue(id);
        queue.retention_ms = Some(spec.retention.ms());
        queue.messages_max = Some(spec.messages_max);
        queue
    }
}

/// What a caller is told of what the log says.
pub(super) fn failure(error: LogError) -> QueueFailure {
    match error {
        LogError::Full => QueueFailure::DiskFull,
        LogError::Busy => QueueFailure::DiskBusy,
        other => QueueFailure::Storage(Box::new(other)),
    }
}

/// The outcome of what the log was handed; a log that ended leaves none.
pub(super) async fn outcome<T>(answer: oneshot::Receiver<Result<T, LogError>>) -> Result<T, QueueFailure> {
    answer.await.unwrap_or(Err(LogError::Closed)).map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_that_waits_is_neither_a_full_disk_nor_a_broken_one() {
        assert!(matches!(failure(LogError::Busy), QueueFailure::DiskBusy));
        assert!(matches!(failure(LogError::Full), QueueFailure::DiskFull));
        assert!(matches!(failure(LogError::Closed), QueueFailure::Storage(_)));
    }
}
