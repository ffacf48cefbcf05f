//! The tables' SQLite file: how it is opened so that a commit is on the drive, its schema, and what its failures mean.
//!
//! It deliberately knows no items. What always holds: the log is synced at each commit (`synchronous` is `FULL`, and the log
//! is on), so what was committed outlives the machine's power.

use rusqlite::{Connection, ErrorCode};
use skiff_ports::tables::TableError;
use skiff_sqlite::{OpenError, Opening};
use std::path::Path;

/// Pages in the log at which it is copied into the database, as soon as nobody waits for an answer.
const LOG_PAGES_MAX: u32 = 4_000;
/// While there is no such pause, the log may grow to this many times that.
const LOG_GROWTH_MAX: u32 = 4;

/// How the file is opened; it has more room for statements than there are.
fn opening() -> Opening {
    Opening {
        busy_wait_ms: 5_000,
        log_pages_max: LOG_PAGES_MAX * LOG_GROWTH_MAX,
        log_kept_bytes: 64 << 20,
        statements_max: 32,
        ..Opening::default()
    }
}

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
#[error("the tables' database holds {0}")]
pub(super) struct Damaged(pub(super) String);

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
    let connection = skiff_sqlite::open(path, &opening(), MIGRATIONS).map_err(unusable)?;
    if let Some(pages) = tuning.pages_max {
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(failed)?;
    }
    Ok(connection)
}

fn unusable(error: OpenError) -> TableError {
    match error {
        OpenError::Sqlite(error) => failed(error),
        other => storage(other),
    }
}

/// A connection that reads what the writer's has committed.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    skiff_sqlite::open_to_read(path, &opening())
}

/// Whether the log is to be copied into the database as soon as there is the time, with so many pages in it.
pub(super) fn is_log_long(pages: usize) -> bool {
    pages >= LOG_PAGES_MAX as usize
}
