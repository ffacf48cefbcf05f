//! The one thread that writes: takes all the writes that wait, does them in one transaction, answers after the commit.
//!
//! A write's outcome is its own (a conflict harms none of its neighbours), but durability is shared: a batch is as durable as
//! the write in it that asks for most, and if the transaction fails, every write of the batch is answered with the failure,
//! and the mirror stays as it was. The log is copied into the database once nobody waits for an answer.

use crate::database::Database;
use crate::mirror::{Draft, Mirror};
use bytes::Bytes;
use rusqlite::ErrorCode;
use skiff_ports::store::{Durability, Expect, Key, Revision, StoreError};
use std::sync::{Arc, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

/// Most commands that wait for the writer; who comes later waits outside.
pub(crate) const COMMANDS_MAX: usize = 256;
/// Most writes in one transaction.
const BATCH_WRITES_MAX: usize = 256;
/// A batch takes no more writes once its values have this many bytes together.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the writer is told.
pub(crate) enum Command {
    Write(Write),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// One write.
pub(crate) struct Write {
    pub key: Key,
    /// `None` deletes.
    pub value: Option<Bytes>,
    pub expect: Expect,
    pub durability: Durability,
    pub reply: oneshot::Sender<Result<Revision, StoreError>>,
}

/// The writer's belongings.
pub(crate) struct Writer {
    pub database: Database,
    pub mirror: Arc<RwLock<Mirror>>,
    pub commands: mpsc::Receiver<Command>,
    pub written: watch::Sender<()>,
    pub tombstones_max: usize,
}

/// Why the writer ends.
enum End {
    /// It was told to, and tells when it has.
    Told(oneshot::Sender<Result<(), StoreError>>),
    /// Nobody is left who could tell it anything.
    Alone,
}

/// Says to all readers that the store is closed, however the writer ends.
struct Closing(Arc<RwLock<Mirror>>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Ok(mut mirror) = self.0.write() {
            mirror.close();
        }
    }
}

impl Writer {
    /// Writes until it is told to close or nobody is left to tell it anything.
    pub(crate) fn run(mut self) {
        let closing = Closing(self.mirror.clone());
        let end = loop {
            let (batch, end) = self.next_batch();
            self.write(batch);
            if let Some(end) = end {
                break end;
            }
            if self.database.is_log_long() && self.commands.is_empty() {
                self.copy_log();
            }
        };
        self.commands.close();
        drop(closing);
        let closed = self.database.close().map_err(|error| StoreError::Storage(error.into()));
        match end {
            End::Told(reply) => drop(reply.send(closed)),
            End::Alone => {
                if let Err(error) = closed {
                    tracing::warn!(%error, "the store's log could not be copied; the next start does it");
                }
            }
        }
    }

    /// The writes that wait, at least one unless the writer is to end after them.
    fn next_batch(&mut self) -> (Vec<Write>, Option<End>) {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        let mut next = self.commands.blocking_recv();
        if next.is_none() {
            return (batch, Some(End::Alone));
        }
        while let Some(command) = next {
            match command {
                Command::Close(reply) => return (batch, Some(End::Told(reply))),
                Command::Write(write) => {
                    batch_bytes += write.value.as_ref().map_or(0, Bytes::len);
                    batch.push(write);
                }
            }
            let is_full = batch.len() == BATCH_WRITES_MAX || batch_bytes >= BATCH_BYTES_MAX;
            next = if is_full { None } else { self.commands.try_recv().ok() };
        }
        (batch, None)
    }

    fn copy_log(&mut self) {
        if let Err(error) = self.database.copy_log() {
            tracing::warn!(%error, "the store's log could not be copied; it is tried again when it has grown as much");
        }
    }

    fn write(&mut self, batch: Vec<Write>) {
        let is_for_the_drive = batch.iter().any(|write| write.durability == Durability::Drive);
        let durability = if is_for_the_drive { Durability::Drive } else { Durability::System };
        let mirror = self.mirror.read().expect("nobody panics while holding the mirror");
        let mut draft = Draft::new(&mirror);
        let mut answers = Vec::with_capacity(batch.len());
        for write in batch {
            let outcome = draft.write(&write.key, write.value, write.expect);
            answers.push((write.reply, outcome));
        }
        let commit = draft.finish(self.tombstones_max);
        drop(mirror);
        if !commit.is_empty() {
            match self.database.write(&commit, durability) {
                Ok(()) => {
                    self.mirror.write().expect("nobody panics while holding the mirror").apply(commit);
                    self.written.send_replace(());
                }
                Err(error) => {
                    tracing::error!(%error, writes = answers.len(), "the store could not write");
                    // SQLite undoes the whole transaction then.
                    let is_full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
                    let error = Arc::new(error);
                    for (_, outcome) in &mut answers {
                        *outcome = Err(match is_full {
                            true => StoreError::Full,
                            false => StoreError::Storage(Box::new(error.clone())),
                        });
                    }
                }
            }
        }
        for (reply, outcome) in answers {
            // Who no longer waits for the answer does not need it.
            let _ = reply.send(outcome);
        }
    }
}
