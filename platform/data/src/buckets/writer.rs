//! The one thread that writes: takes all the writes that wait, does them in one transaction, answers after the commit.
//!
//! Each write is a function over the connection, inside a savepoint of its own: one that refuses or fails is undone and harms none of
//! its neighbours. Durability is shared: one commit, and so one sync, for all; if that fails, each is answered with the failure.

use crate::buckets::log::LogCopier;
use crate::buckets::record::{Failed, storage};
use rusqlite::{Connection, TransactionBehavior};
use skiff_ports::buckets::BucketError;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Most writes that wait for the writer; who comes later waits outside.
const COMMANDS_MAX: usize = 256;
/// Most writes in one transaction.
const BATCH_WRITES_MAX: usize = 256;

/// Says that a write came after the closing.
#[derive(Debug, thiserror::Error)]
#[error("the buckets are closed, since Skiff is stopping")]
struct Closed;

/// The handle to the thread. Ends it when dropped, and waits for the transaction that is under way.
pub(crate) struct Writer {
    commands: Option<mpsc::Sender<Command>>,
    /// Sees each commit.
    written: watch::Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Command {
    Write(Box<dyn Work>),
    Close(oneshot::Sender<rusqlite::Result<()>>),
}

/// A write, whatever it gives.
trait Work: Send {
    /// Does it; says whether it is to be kept, or that the database failed.
    fn act(&mut self, connection: &Connection) -> Result<bool, Arc<rusqlite::Error>>;
    /// Tells its outcome, or that the whole transaction failed.
    fn answer(self: Box<Self>, failure: Option<&Arc<rusqlite::Error>>);
}

struct Act<F, T> {
    act: Option<F>,
    outcome: Option<Result<T, BucketError>>,
    reply: oneshot::Sender<Result<T, BucketError>>,
}

impl<F, T> Work for Act<F, T>
where
    F: FnOnce(&Connection) -> Result<T, Failed> + Send,
    T: Send,
{
    fn act(&mut self, connection: &Connection) -> Result<bool, Arc<rusqlite::Error>> {
        let act = self.act.take().expect("a write is done once");
        let (outcome, kept) = match act(connection) {
            Ok(done) => (Ok(done), Ok(true)),
            Err(Failed::Refused(error)) => (Err(error), Ok(false)),
            Err(Failed::Database(error)) => {
                let error = Arc::new(error);
                (Err(storage(error.clone())), Err(error))
            }
        };
        self.outcome = Some(outcome);
        kept
    }

    fn answer(self: Box<Self>, failure: Option<&Arc<rusqlite::Error>>) {
        let outcome = match failure {
            Some(failure) => Err(storage(failure.clone())),
            None => self.outcome.expect("a write is answered once it is done"),
        };
        // Who no longer waits for the answer does not need it.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    /// Starts the thread, and with `log` the one that copies the log.
    pub(crate) fn start(connection: Connection, log: Connection) -> io::Result<Self> {
        let log = LogCopier::start(log)?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (sender, written) = watch::channel(());
        let thread = std::thread::Builder::new()
            .name("buckets-writer".to_owned())
            .spawn(move || Thread { connection, log, commands: receiver, written: sender }.run())?;
        Ok(Self { commands: Some(commands), written, thread: Mutex::new(Some(thread)) })
    }

    /// Does this in a transaction; resolves once it is on the drive. Who stops waiting may have it done all the same.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, BucketError> {
        let (reply, outcome) = oneshot::channel();
        let work = Box::new(Act { act: Some(act), outcome: None, reply });
        self.send(Command::Write(work)).await?;
        outcome.await.unwrap_or_else(|_| Err(BucketError::Storage(Closed.into())))
    }

    /// Sees each commit from now on.
    pub(crate) fn written(&self) -> watch::Receiver<()> {
        self.written.clone()
    }

    /// Finishes the writes that wait, and closes the file.
    pub(crate) async fn close(&self) -> Result<(), BucketError> {
        let (reply, closed) = oneshot::channel();
        self.send(Command::Close(reply)).await?;
        match closed.await {
            Ok(closed) => closed.map_err(|error| BucketError::Storage(error.into())),
            Err(_) => Err(BucketError::Storage(Closed.into())),
        }
    }

    async fn send(&self, command: Command) -> Result<(), BucketError> {
        let commands = self.commands.as_ref().expect("it is taken by the drop alone");
        commands.send(command).await.map_err(|_| BucketError::Storage(Closed.into()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.commands.take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the writer of the buckets panicked");
        }
    }
}

/// The thread's belongings.
struct Thread {
    connection: Connection,
    log: LogCopier,
    commands: mpsc::Receiver<Command>,
    written: watch::Sender<()>,
}

impl Thread {
    fn run(mut self) {
        let told = loop {
            let Some(first) = self.commands.blocking_recv() else { break None };
            let (batch, told) = self.batch(first);
            self.write(batch);
            if told.is_some() {
                break told;
            }
        };
        self.commands.close();
        // Or what it copies would be in the way.
        drop(self.log);
        let closed = skiff_sqlite::close(self.connection);
        match told {
            Some(reply) => drop(reply.send(closed)),
            None => {
                if let Err(error) = closed {
                    tracing::warn!(%error, "the buckets' log could not be copied; the next start does it");
                }
            }
        }
    }

    /// The writes that wait, and whom to tell that all is closed, if it is to be.
    #[allow(clippy::type_complexity, reason = "it is used here alone")]
    fn batch(
        &mut self,
        first: Command,
    ) -> (Vec<Box<dyn Work>>, Option<oneshot::Sender<rusqlite::Result<()>>>) {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Close(reply) => return (batch, Some(reply)),
                Command::Write(work) => batch.push(work),
            }
            next = if batch.len() < BATCH_WRITES_MAX { self.commands.try_recv().ok() } else { None };
        }
        (batch, None)
    }

    fn write(&mut self, mut batch: Vec<Box<dyn Work>>) {
        if batch.is_empty() {
            return;
        }
        let failure = match transact(&mut self.connection, &mut batch) {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(%error, writes = batch.len(), "the buckets could not write");
                Some(error)
            }
        };
        if failure.is_none() {
            self.log.written(batch.len());
            self.written.send_replace(());
        }
        for work in batch {
            work.answer(failure.as_ref());
        }
    }
}

fn transact(connection: &mut Connection, batch: &mut [Box<dyn Work>]) -> Result<(), Arc<rusqlite::Error>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for work in batch {
        let savepoint = transaction.savepoint()?;
        match work.act(&savepoint) {
            Ok(true) => savepoint.commit()?,
            Ok(false) => savepoint.finish()?,
            Err(error) => {
                // A full disk, and some failures of it, undo the whole transaction: then there is no savepoint to go back to.
                if savepoint.finish().is_err() {
                    return Err(error);
                }
            }
        }
    }
    Ok(transaction.commit()?)
}
