//! The SQLite file: how it is opened so that a commit is durable, and the few statements that go to it.
//!
//! The connection holds the file exclusively, from the opening to the end: a store has one owner, and SQLite then
//! needs no memory shared between processes beside its write-ahead log. It knows nothing of expectations or watches.
//!
//! What always holds: a [`Database::write`] that returned `Ok` is whole, and as durable as was asked for; one that did not is
//! not seen by this process. What is synced is the log as far as it goes, so that it syncs all writes before, too.

use crate::mirror::{Commit, Mirror};
use crate::schema;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use skiff_ports::store::{Change, Durability, Key, StoreError};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How long an opening waits for another owner of the file to let go, in milliseconds.
const BUSY_WAIT_MS: u64 = 1_000;
/// The write-ahead log is cut to this size once it was copied into the database, in bytes.
const LOG_KEPT_BYTES: u64 = 16 * 1024 * 1024;

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
        create(path).map_err(storage)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = match tuning.vfs {
            None => Connection::open_with_flags(path, flags),
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        }
        .map_err(storage)?;
        connection.busy_timeout(Duration::from_millis(BUSY_WAIT_MS)).map_err(storage)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(storage)?;
        schema::refuse_newer(&connection, schema::MIGRATIONS)?;
        configure(&connection, tuning).map_err(storage)?;
        // The writer does that when it has the time.
        let pages = tuning.checkpoint_pages.saturating_mul(LOG_GROWTH_MAX);
        connection.pragma_update(None, "wal_autocheckpoint", pages).map_err(storage)?;
        schema::upgrade(&mut connection, schema::MIGRATIONS)?;
        // SQLite does not sync the removal of the journal that it needs before the write-ahead log is on.
        sync_parent(path).map_err(storage)?;
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
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// Copies the write-ahead log into the database and closes the file.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// Creates the file, for its owner alone, unless it is there; its name is durable after.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

pub(crate) fn configure(
    connection: &Connection,
    tuning: &Tuning,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    connection.pragma_update(None, "synchronous", tuning.synchronous)?;
    // Where a sync stops at the drive's own cache (macOS), these make it go through; nothing elsewhere.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Damaged(format!("journal mode {mode:?}, which could not be changed to \"wal\"")).into());
    }
    connection.pragma_update(None, "wal_autocheckpoint", tuning.checkpoint_pages)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES as i64)?;
    Ok(())
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
