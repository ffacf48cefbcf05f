//! The one thread that writes: takes all that waits, does it in one transaction, answers after the commit.
//!
//! An outcome is each write's own (one that is refused harms none of its neighbours), but the sync is shared: if the
//! transaction fails, everything in it is answered with the failure, and nothing of it is seen. The log is copied into the
//! database once nobody waits for an answer.

use super::database::{Tuning, is_full, is_log_long, open_to_write, storage};
use super::edits::{Edits, Fault, Rows, SWEEP_MAX, rows};
use rusqlite::{Connection, TransactionBehavior};
use skiff_kit::clock::Clock;
use skiff_ports::tables::{ItemWrite, TableError};
use skiff_types::ResourceId;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Most commands that wait for the writer; who comes later waits outside.
pub(super) const COMMANDS_MAX: usize = 1_024;
/// Most commands in one transaction.
const BATCH_MAX: usize = 1_024;
/// A transaction takes in no more once its values have this many bytes together.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a page of the log, and pages that a write takes there beside its value, about.
const PAGE_BYTES: usize = 4_096;
const PAGES_PER_WRITE: usize = 3;

/// Where an answer goes. Who no longer waits for it does not need it.
pub(super) type Reply<T> = oneshot::Sender<Result<T, TableError>>;

/// What the writer is told.
pub(super) enum Command {
    /// Write items, all or none.
    Write { table: ResourceId, writes: Vec<ItemWrite>, reply: Reply<Vec<u64>> },
    /// Add to a number.
    Increment { table: ResourceId, key: String, delta: i64, reply: Reply<i64> },
    /// Forget some of what a table holds; the answer says whether there is more.
    Drop { table: ResourceId, reply: Reply<bool> },
    /// Forget some of what has expired; the answer says how many.
    Sweep { reply: Option<Reply<u64>> },
    /// End.
    Close(Reply<()>),
}

impl Command {
    /// Bytes of its values.
    fn bytes(&self) -> usize {
        match self {
            Self::Write { writes, .. } => {
                writes.iter().flat_map(|write| &write.value).map(|value| value.len()).sum()
            }
            Self::Increment { .. } | Self::Drop { .. } | Self::Sweep { .. } | Self::Close(_) => 0,
        }
    }
}

/// What becomes of a command, to be told once the transaction is over.
enum Answer {
    Versions(Reply<Vec<u64>>, Result<Vec<u64>, TableError>),
    Sum(Reply<i64>, Result<i64, TableError>),
    HasMore(Reply<bool>, Result<bool, TableError>),
    Swept(Option<Reply<u64>>, Result<u64, TableError>),
}

/// Why the writer ends.
enum End {
    /// It was told to, and tells when it has.
    Told(Reply<()>),
    /// Nobody is left who could tell it anything.
    Alone,
}

/// The writer's belongings.
pub(super) struct Writer {
    connection: Connection,
    clock: Arc<dyn Clock>,
    commands: mpsc::Receiver<Command>,
    /// The tables' rows as they are on the drive.
    rows: Rows,
    /// Pages that were written to the log since it was copied, about.
    log_pages: usize,
    /// The last sweep forgot as much as one may: there is more.
    has_expired: bool,
}

impl Writer {
    pub(super) fn open(
        path: &Path,
        tuning: &Tuning,
        clock: Arc<dyn Clock>,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, TableError> {
        let connection = open_to_write(path, tuning)?;
        let rows = rows(&connection)?;
        Ok(Self { connection, clock, commands, rows, log_pages: 0, has_expired: false })
    }

    /// Writes until it is told to close or nobody is left to tell it anything.
    pub(super) fn run(mut self) {
        let end = loop {
            let (batch, end) = self.next_batch();
            self.carry_out(batch);
            if let Some(end) = end {
                break end;
            }
            if is_log_long(self.log_pages) && self.commands.is_empty() {
                self.log_pages = 0;
                if let Err(error) = skiff_sqlite::copy_log(&self.connection) {
                    tracing::warn!(%error, "the tables' log could not be copied; it is tried again when it has grown as much");
                }
            }
        };
        self.commands.close();
        let closed = skiff_sqlite::close(self.connection).map_err(storage);
        match end {
            End::Told(reply) => drop(reply.send(closed)),
            End::Alone => {
                if let Err(error) = closed {
                    tracing::warn!(%error, "the tables' log could not be copied; the next start does it");
                }
            }
        }
    }

    /// What waits, one command at least unless the writer is to end after it.
    fn next_batch(&mut self) -> (Vec<Command>, Option<End>) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        if self.has_expired {
            // Whether others wait or not: else a table that is always written to would never be rid of what has expired.
            batch.push(Command::Sweep { reply: None });
            if self.commands.is_empty() {
                return (batch, None);
            }
        }
        let Some(first) = self.commands.blocking_recv() else { return (batch, Some(End::Alone)) };
        let mut next = Some(first);
        while let Some(command) = next {
            if let Command::Close(reply) = command {
                return (batch, Some(End::Told(reply)));
            }
            bytes += command.bytes();
            batch.push(command);
            let is_full = batch.len() == BATCH_MAX || bytes >= BATCH_BYTES_MAX;
            next = if is_full { None } else { self.commands.try_recv().ok() };
        }
        (batch, None)
    }

    fn carry_out(&mut self, batch: Vec<Command>) {
        if batch.is_empty() {
            return;
        }
        let writes = batch.iter().map(|command| match command {
            Command::Write { writes, .. } => writes.len(),
            Command::Drop { .. } | Command::Sweep { .. } => SWEEP_MAX / PAGES_PER_WRITE,
            Command::Increment { .. } | Command::Close(_) => 1,
        });
        let bytes = batch.iter().map(Command::bytes).sum::<usize>();
        self.log_pages += bytes / PAGE_BYTES + (writes.sum::<usize>() + 1) * PAGES_PER_WRITE;
        let mut answers = Vec::with_capacity(batch.len());
        let committed = self.commit(batch, &mut answers);
        if let Err(error) = &committed {
            self.has_expired = false;
            tracing::error!(%error, writes = answers.len(), "the tables could not be written");
        }
        let failure = committed.err().map(Arc::new);
        for answer in answers {
            answer.tell(failure.as_ref());
        }
    }

    /// Does all in one transaction; an error means that nothing of it was done.
    fn commit(&mut self, batch: Vec<Command>, answers: &mut Vec<Answer>) -> rusqlite::Result<()> {
        let now_ms = self.clock.unix_ms();
        let mut broken = None;
        let transaction = match self.connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => transaction,
            Err(error) => {
                answers.extend(batch.into_iter().filter_map(Answer::of_none));
                return Err(error);
            }
        };
        let mut edits = Edits::new(&transaction, &self.rows, now_ms);
        let mut swept = None;
        for command in batch {
            if broken.is_some() {
                answers.extend(Answer::of_none(command));
                continue;
            }
            answers.push(match command {
                Command::Write { table, writes, reply } => {
                    Answer::Versions(reply, told(edits.write(table, &writes), &mut broken))
                }
                Command::Increment { table, key, delta, reply } => {
                    Answer::Sum(reply, told(edits.increment(table, &key, delta), &mut broken))
                }
                Command::Drop { table, reply } => {
                    Answer::HasMore(reply, told(edits.drop_some(table), &mut broken))
                }
                Command::Sweep { reply } => {
                    let count = told(edits.sweep(), &mut broken);
                    swept = count.as_ref().ok().copied().or(swept);
                    Answer::Swept(reply, count)
                }
                Command::Close(_) => unreachable!("a batch ends before a close"),
            });
        }
        if let Some(error) = broken {
            return Err(error);
        }
        let changed = edits.finish()?;
        transaction.commit()?;
        for (table, row) in changed {
            match row {
                Some(row) => self.rows.insert(table, row),
                None => self.rows.remove(&table),
            };
        }
        if let Some(count) = swept {
            self.has_expired = count as usize == SWEEP_MAX;
        }
        Ok(())
    }
}

/// What a caller is told if the transaction is committed. What breaks the transaction is kept apart, and told to all in the
/// place of their outcomes.
fn told<T>(outcome: Result<T, Fault>, broken: &mut Option<rusqlite::Error>) -> Result<T, TableError> {
    outcome.map_err(|fault| match fault {
        Fault::Refused(error) => error,
        Fault::Broken(error) => {
            *broken = Some(error);
            TableError::Full
        }
    })
}

impl Answer {
    /// Of a command that was not begun, since the transaction had failed.
    fn of_none(command: Command) -> Option<Self> {
        let not_done = || TableError::Full;
        match command {
            Command::Write { reply, .. } => Some(Self::Versions(reply, Err(not_done()))),
            Command::Increment { reply, .. } => Some(Self::Sum(reply, Err(not_done()))),
            Command::Drop { reply, .. } => Some(Self::HasMore(reply, Err(not_done()))),
            Command::Sweep { reply } => Some(Self::Swept(reply, Err(not_done()))),
            Command::Close(_) => None,
        }
    }

    /// Tells it: the outcome, or the failure of the transaction that it was in.
    fn tell(self, failure: Option<&Arc<rusqlite::Error>>) {
        match self {
            Self::Versions(reply, outcome) => tell(reply, outcome, failure),
            Self::Sum(reply, outcome) => tell(reply, outcome, failure),
            Self::HasMore(reply, outcome) => tell(reply, outcome, failure),
            Self::Swept(None, _) => {}
            Self::Swept(Some(reply), outcome) => tell(reply, outcome, failure),
        }
    }
}

fn tell<T>(reply: Reply<T>, outcome: Result<T, TableError>, failure: Option<&Arc<rusqlite::Error>>) {
    let outcome = match failure {
        None => outcome,
        Some(error) if is_full(error) => Err(TableError::Full),
        Some(error) => Err(storage(error.clone())),
    };
    let _ = reply.send(outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_kit::clock::SystemClock;

    #[test]
    fn what_has_expired_is_swept_although_others_write() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let path = folder.path().join("tables.db");
        let mut writer = Writer::open(&path, &Tuning::default(), Arc::new(SystemClock), commands).unwrap();
        writer.has_expired = true;
        let (reply, _answer) = oneshot::channel();
        let table = ResourceId::from_bytes([1; 8]);
        let increment = Command::Increment { table, key: "n".to_owned(), delta: 1, reply };
        assert!(sender.try_send(increment).is_ok());
        let (batch, _) = writer.next_batch();
        assert!(matches!(batch[..], [Command::Sweep { .. }, Command::Increment { .. }]));
        writer.carry_out(batch);
        assert!(!writer.has_expired, "nothing had expired");
    }
}
