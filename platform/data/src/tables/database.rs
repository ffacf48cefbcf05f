//! The tables' SQLite file: how it is opened so that a commit is on the drive, its schema, and what its failures mean.
//!
//! It deliberately knows no items. What always holds: the log is synced at each commit (`synchronous` is `FULL`, and the log
//! is on), so what was committed outlives the machine's power.

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use skiff_ports::tables::TableError;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How long a connection waits for another that opens or closes the file, in milliseconds.
const BUSY_WAIT_MS: u64 = 5_000;
/// The write-ahead log is cut to this size once it was copied into the database, in bytes.
const LOG_KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// Pages in the log at which it is copied into the database, as soon as nobody waits for an answer.
const LOG_PAGES_MAX: u32 = 4_000;
/// While there is no such pause, the log may grow to this many times that.
const LOG_GROWTH_MAX: u32 = 4;
/// Statements that a connection keeps prepared: more than there are.
const STATEMENTS_MAX: usize = 32;

/// Each brings a database from the version that is its index to the next one. One that was published never changes.
const MIGRATIONS: &[&str] = &[
    // Keys are bytes, so that they order by them. `version` is the last that the table gave; `items` and `bytes` count what
    // is there, expired items that were not swept among them.
    "CREATE TABLE data_table (
        id INTEGER PRIMARY KEY,
        resource BLOB NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        items INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE item (
        table_id INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires_at_ms INTEGER,
        PRIMARY KEY (table_id, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX item_expires ON item (expires_at_ms) WHERE expires_at_ms IS NOT NULL;",
];

/// What the tests turn to show what happens; everybody else takes the defaults.
#[derive(Debug, Clone, Default)]
pub(super) struct Tuning {
    /// The most pages that the database may have, as if the disk had room for no more.
    pub(super) pages_max: Option<u32>,
    /// No sweep comes by itself.
    pub(super) sweeps_when_told: bool,
}

/// A file that holds something else than what this program wrote.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// Damage.
    #[error("the tables' database holds {0}")]
    Damaged(String),
    /// A newer Skiff wrote it.
    #[error(
        "the tables' database has version {found}, and this skiff knows versions up to {known}: run the newer skiff"
    )]
    Newer {
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
}

/// A failure of the storage.
pub(super) fn storage(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TableError {
    TableError::Storage(error.into())
}

/// Whether there was no room on the disk: SQLite undoes the whole transaction then.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// What a failure of SQLite means to a caller.
pub(super) fn failed(error: rusqlite::Error) -> TableError {
    if is_full(&error) { TableError::Full } else { storage(error) }
}

/// The one connection that writes; creates the file where it is not there, for its owner alone, and upgrades it.
pub(super) fn open_to_write(path: &Path, tuning: &Tuning) -> Result<Connection, TableError> {
    create(path).map_err(storage)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(Duration::from_millis(BUSY_WAIT_MS)).map_err(failed)?;
    configure(&connection)?;
    upgrade(&mut connection)?;
    // SQLite does not sync the removal of the journal that it needs before the write-ahead log is on.
    sync_parent(path).map_err(storage)?;
    if let Some(pages) = tuning.pages_max {
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(failed)?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// A connection that reads what the writer's has committed.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_WAIT_MS))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// Whether the log is to be copied into the database as soon as there is the time, with so many pages in it.
pub(super) fn is_log_long(pages: usize) -> bool {
    pages >= LOG_PAGES_MAX as usize
}

/// Copies the log into the database, as far as no reader needs it as it was.
pub(super) fn copy_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Copies the log into the database and closes the file.
pub(super) fn close(connection: Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn configure(connection: &Connection) -> Result<(), TableError> {
    let set = || -> rusqlite::Result<String> {
        connection.pragma_update(None, "synchronous", "FULL")?;
        // Where a sync stops at the drive's own cache (macOS), these make it go through; nothing elsewhere.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX * LOG_GROWTH_MAX)?;
        connection.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES as i64)?;
        Ok(mode)
    };
    let mode = set().map_err(failed)?;
    match mode.as_str() {
        "wal" => Ok(()),
        mode => {
            let what = format!("journal mode {mode:?}, which could not be changed to \"wal\"");
            Err(storage(Unusable::Damaged(what)))
        }
    }
}

fn upgrade(connection: &mut Connection) -> Result<(), TableError> {
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0));
    let (found, known) = (version.map_err(failed)?, MIGRATIONS.len() as u32);
    if found > known {
        return Err(storage(Unusable::Newer { found, known }));
    }
    if found == known {
        return Ok(());
    }
    let migrate = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for migration in &MIGRATIONS[found as usize..] {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", known)?;
        transaction.commit()
    };
    migrate(connection).map_err(failed)
}
