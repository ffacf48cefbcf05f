//! A log's SQLite file, beside the store's: one connection, and one transaction a call, on a thread that may wait for the
//! disk. What the tables mean is the log's business.
//!
//! What always holds: a call is done whole or not at all, whenever the process ends.

use crate::database::{Tuning, storage, unusable};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use skiff_ports::store::StoreError;
use skiff_sqlite::Opening;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// SQLite's `synchronous` of what is to be on the drive when the call ends.
const SYNCED: &str = "FULL";

/// How long an opening waits for another owner of the file to let go, in milliseconds.
const BUSY_WAIT_MS: u64 = 5_000;

/// The open file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogFile {
    connection: Arc<Mutex<Connection>>,
    /// SQLite's `synchronous`, but for what is to be on the drive.
    synchronous: &'static str,
}

impl LogFile {
    /// Opens the file at `path`, or creates it, readable by its owner alone, and brings it to the newest of `migrations`.
    /// The folder must exist.
    pub(crate) fn open(path: &Path, migrations: &[&str], tuning: &Tuning) -> Result<Self, StoreError> {
        let opening = Opening {
            is_exclusive: true,
            busy_wait_ms: BUSY_WAIT_MS,
            synchronous: tuning.synchronous,
            log_pages_max: tuning.checkpoint_pages,
            ..Opening::default()
        };
        let connection = skiff_sqlite::open(path, &opening, migrations).map_err(unusable)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), synchronous: tuning.synchronous })
    }

    /// Does something in one transaction, on this thread.
    pub(crate) fn transact_here<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        in_transaction(&mut connection, act).map_err(storage)
    }

    /// Does something in one transaction, on a thread that may wait for the disk. Once it has written anything, that is on the
    /// drive, and so is all that was written before: what is synced is the log as far as it goes.
    pub(crate) async fn transact_synced<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.clone();
        let transact = move || {
            let mut connection = file.connection.lock().unwrap_or_else(PoisonError::into_inner);
            connection.pragma_update(None, "synchronous", SYNCED).map_err(storage)?;
            let done = in_transaction(&mut connection, act).map_err(storage);
            connection.pragma_update(None, "synchronous", file.synchronous).map_err(storage)?;
            done
        };
        tokio::task::spawn_blocking(transact).await.map_err(storage)?
    }

    /// Does something in one transaction, on a thread that may wait for the disk.
    pub(crate) async fn transact<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.clone();
        tokio::task::spawn_blocking(move || file.transact_here(act)).await.map_err(storage)?
    }
}

fn in_transaction<T>(
    connection: &mut Connection,
    act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = act(&transaction)?;
    transaction.commit()?;
    Ok(done)
}
