//! A log's SQLite file, beside the store's: one connection, and one transaction a call, on a thread that may wait for the
//! disk. What the tables mean is the log's business.
//!
//! What always holds: a call is done whole or not at all, whenever the process ends.

use crate::database::{Tuning, configure, create, storage};
use crate::schema;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use skiff_ports::store::StoreError;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The open file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogFile {
    connection: Arc<Mutex<Connection>>,
}

impl LogFile {
    /// Opens the file at `path`, or creates it, readable by its owner alone, and brings it to the newest of `migrations`.
    /// The folder must exist.
    pub(crate) fn open(path: &Path, migrations: &[&str], tuning: &Tuning) -> Result<Self, StoreError> {
        create(path).map_err(storage)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(storage)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(storage)?;
        schema::refuse_newer(&connection, migrations)?;
        configure(&connection, tuning).map_err(storage)?;
        schema::upgrade(&mut connection, migrations)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Does something in one transaction, on this thread.
    pub(crate) fn transact_here<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        in_transaction(&mut connection, act).map_err(storage)
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
