//! The SQLite file: how it is opened so that a commit is durable, and the few statements that go to it.
//!
//! The connection holds the file exclusively, from the opening to the end: a store has one owner, and SQLite then
//! needs no memory shared between processes beside its write-ahead log. It knows nothing of expectations or watches.
//!
//! What always holds: a [`Database::write`] that returned `Ok` is whole, and as durable as was asked for; one that did not is
//! not seen by this process. What is synced is the log as far as it goes, so that it syncs all writes before, too.

use crate::mirror::{Commit, Mirror};
use crate::schema;
use rusqlite::{Connection, TransactionBehavior, params};
use skiff_ports::store::{Change, Durability, Key, StoreError};
use skiff_sqlite::{OpenError, Opening};
use std::path::Path;

const PUT: &str = "INSERT INTO object (revision, key, value) VALUES (?1, ?2, ?3)
    ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, value = excluded.value";
const FORGET: &str = "DELETE FROM object WHERE revision = ?1 AND value IS NULL";
const COMPACTED: &str = "UPDATE compacted SET revision = ?1 WHERE id = 0";

/// What the tests turn to show that they would notice; everybody else takes the defaults.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// The SQLite VFS to go through; the operating system's if `None`.
    pub vfs: Option<&'static str>,
    /// SQLite's `synchronous` of what is to be on the drive.
    pub synchronous: &'static str,
    /// Pages in the write-ahead log at which it is copied into the database.
    pub checkpoint_pages: u32,
    /// Most deletes that are remembered for watches.
    pub tombstones_max: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { vfs: None, synchronous: "FULL", checkpoint_pages: 1_000, tombstones_max: 8_192 }
    }
}

/// SQLite's `synchronous` of what need not be on the drive yet.
const UNSYNCED: &str = "NORMAL";
/// While there is no pause to copy the log into the database, it may grow to this many times the pages at which it is.
const LOG_GROWTH_MAX: u32 = 4;
/// Pages of the log that a change takes beside its value, about; and a transaction as many more.
const PAGES_PER_CHANGE: usize = 3;
/// Bytes of a page.
const PAGE_BYTES: usize = 4_096;

/// A file that holds something else than what this program wrote.
#[derive(Debug, thiserror::Error)]
#[error("the database holds {0}")]
struct Damaged(String);

/// The open file.
pub(crate) struct Database {
    connection: Connection,
    /// SQLite's `synchronous` of what is to be on the drive, and as it is now.
    synced: &'static str,
    synchronous: &'static str,
    /// Pages of the log at which it is copied into the database.
    log_pages_max: usize,
    /// Pages that were written to the log since, about.
    log_pages: usize,
}

impl Database {
    /// Opens or creates the file, upgrades it, and reads all of it.
    pub(crate) fn open(path: &Path, tuning: &Tuning) -> Result<(Self, Mirror), StoreError> {
        let opening = Opening {
            vfs: tuning.vfs,
            is_exclusive: true,
            synchronous: tuning.synchronous,
            // The writer copies the log when it has the time.
            log_pages_max: tuning.checkpoint_pages.saturating_mul(LOG_GROWTH_MAX),
            ..Opening::default()
        };
        let connection = skiff_sqlite::open(path, &opening, schema::MIGRATIONS).map_err(unusable)?;
        let mirror = load(&connection)?;
        let synchronous = tuning.synchronous;
        let log_pages_max = tuning.checkpoint_pages as usize;
        let database = Self { connection, synced: synchronous, synchronous, log_pages_max, log_pages: 0 };
        Ok((database, mirror))
    }

    /// Writes what a batch came to, in one transaction.
    pub(crate) fn write(&mut self, commit: &Commit, durability: Durability) -> rusqlite::Result<()> {
        self.sync_as(durability)?;
        let bytes = commit.changes.iter().map(|change| change.value.as_ref().map_or(0, |value| value.len()));
        let changes = commit.changes.len() + commit.forgotten.len() + 1;
        self.log_pages += bytes.sum::<usize>() / PAGE_BYTES + changes * PAGES_PER_CHANGE;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut put = transaction.prepare_cached(PUT)?;
            for change in &commit.changes {
                put.execute(params![change.revision as i64, change.key.as_str(), change.value.as_deref()])?;
            }
            let mut forget = transaction.prepare_cached(FORGET)?;
            for revision in &commit.forgotten {
                forget.execute([*revision as i64])?;
            }
            if let Some(newest) = commit.forgotten.last() {
                transaction.prepare_cached(COMPACTED)?.execute([*newest as i64])?;
            }
        }
        transaction.commit()
    }

    fn sync_as(&mut self, durability: Durability) -> rusqlite::Result<()> {
        let wanted = match durability {
            Durability::Drive => self.synced,
            Durability::System => UNSYNCED,
        };
        if self.synchronous != wanted {
            self.connection.pragma_update(None, "synchronous", wanted)?;
            self.synchronous = wanted;
        }
        Ok(())
    }

    /// Whether the log is to be copied into the database as soon as there is the time.
    pub(crate) fn is_log_long(&self) -> bool {
        self.log_pages >= self.log_pages_max
    }

    /// Copies the write-ahead log into the database, so that it begins anew.
    pub(crate) fn copy_log(&mut self) -> rusqlite::Result<()> {
        self.log_pages = 0;
        skiff_sqlite::copy_log(&self.connection)
    }

    /// Copies the write-ahead log into the database and closes the file.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        skiff_sqlite::close(self.connection)
    }
}

/// Why a file can't be opened, as callers of the port see it.
pub(crate) fn unusable(error: OpenError) -> StoreError {
    match error {
        OpenError::NewerSchema { found, known } => StoreError::NewerSchema { found, known },
        other => storage(other),
    }
}

fn load(connection: &Connection) -> Result<Mirror, StoreError> {
    let compacted: i64 = connection
        .query_row("SELECT revision FROM compacted WHERE id = 0", [], |row| row.get(0))
        .map_err(storage)?;
    let mut mirror = Mirror::new(revision(compacted)?);
    let mut statement = connection.prepare("SELECT revision, key, value FROM object").map_err(storage)?;
    let mut rows = statement.query([]).map_err(storage)?;
    while let Some(row) = rows.next().map_err(storage)? {
        let key: String = row.get(1).map_err(storage)?;
        let value: Option<Vec<u8>> = row.get(2).map_err(storage)?;
        mirror.put(Change {
            key: Key::parse(&key).map_err(storage)?,
            revision: revision(row.get(0).map_err(storage)?)?,
            value: value.map(Into::into),
        });
    }
    Ok(mirror)
}

fn revision(stored: i64) -> Result<u64, StoreError> {
    u64::try_from(stored).map_err(|_| storage(Damaged(format!("the revision {stored}"))))
}

pub(crate) fn storage(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Storage(error.into())
}
