//! SQLite files, opened so that what was committed outlives the process, and with `synchronous` at `FULL` the machine's power;
//! and brought to the newest version of their schema.
//!
//! It deliberately knows no table, and keeps no connection: what is in a file, and on which thread, is its owner's business.
//!
//! What always holds: a file that a newer program wrote is refused, and not changed; an upgrade is done whole or not at all; a
//! file is readable by its owner alone, and once it is open its name is durable.

mod schema;

use rusqlite::{Connection, OpenFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How a file is opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The SQLite VFS to go through; the operating system's if `None`.
    pub vfs: Option<&'static str>,
    /// Whether the connection holds the file from now to the end: SQLite then needs no memory shared between processes beside
    /// the write-ahead log, and nobody else can read.
    pub is_exclusive: bool,
    /// How long a connection waits for another that holds the file, in milliseconds.
    pub busy_wait_ms: u64,
    /// SQLite's `synchronous`: `FULL` syncs the log at each commit, `NORMAL` leaves that to the operating system.
    pub synchronous: &'static str,
    /// Pages in the write-ahead log at which a commit copies it into the database.
    pub log_pages_max: u32,
    /// The log is cut to this size once it was copied, in bytes.
    pub log_kept_bytes: u64,
    /// Statements that the connection keeps compiled.
    pub statements_max: usize,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            vfs: None,
            is_exclusive: false,
            busy_wait_ms: 1_000,
            synchronous: "FULL",
            log_pages_max: 1_000,
            log_kept_bytes: 16 << 20,
            statements_max: 16,
        }
    }
}

/// Why a file can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer program wrote it.
    #[error(
        "the database has version {found}, and this skiff knows versions up to {known}: run the newer skiff"
    )]
    NewerSchema {
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// It has no write-ahead log, and can't be given one.
    #[error("the database holds journal mode {0:?}, which could not be changed to \"wal\"")]
    JournalMode(String),
    /// What the operating system says.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What SQLite says.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Opens the file to write, creates it where it is not there, and brings it to the newest version: each of `migrations` leads
/// from the version that is its index to the next one, and one that was published never changes. The folder must exist.
///
/// # Errors
/// See [`OpenError`].
pub fn open(path: &Path, opening: &Opening, migrations: &[&str]) -> Result<Connection, OpenError> {
    create(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = match opening.vfs {
        None => Connection::open_with_flags(path, flags),
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
    }?;
    connection.busy_timeout(Duration::from_millis(opening.busy_wait_ms))?;
    connection.set_prepared_statement_cache_capacity(opening.statements_max);
    if opening.is_exclusive {
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    schema::refuse_newer(&connection, migrations)?;
    configure(&connection, opening)?;
    schema::upgrade(&mut connection, migrations)?;
    // SQLite does not sync the removal of the journal that it needs before the write-ahead log is on.
    sync_parent(path)?;
    Ok(connection)
}

/// One more connection that may write, to a file that is open and not held exclusively.
///
/// # Errors
/// What SQLite says.
pub fn open_beside(path: &Path, opening: &Opening) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(opening.busy_wait_ms))?;
    connection.set_prepared_statement_cache_capacity(opening.statements_max);
    connection.pragma_update(None, "trusted_schema", false)?;
    sync_as(&connection, opening)?;
    Ok(connection)
}

/// A connection that reads what the one that writes has committed; of `opening`, how long it waits and how many statements it
/// keeps.
///
/// # Errors
/// What SQLite says.
pub fn open_to_read(path: &Path, opening: &Opening) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(opening.busy_wait_ms))?;
    connection.set_prepared_statement_cache_capacity(opening.statements_max);
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Copies the write-ahead log into the database, as far as nobody reads what was before, so that it begins anew.
///
/// # Errors
/// What SQLite says.
pub fn copy_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Copies the write-ahead log into the database and closes the file.
///
/// # Errors
/// What SQLite says.
pub fn close(connection: Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

/// Creates the file, for its owner alone, unless it is there; its name is durable after.
fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    sync_parent(path)
}

/// Makes what happened to names in a file's folder durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn sync_as(connection: &Connection, opening: &Opening) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", opening.synchronous)?;
    // Where a sync stops at the drive's own cache (macOS), these make it go through; nothing elsewhere.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)
}

fn configure(connection: &Connection, opening: &Opening) -> Result<(), OpenError> {
    sync_as(connection, opening)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::JournalMode(mode));
    }
    connection.pragma_update(None, "wal_autocheckpoint", opening.log_pages_max)?;
    connection.pragma_update(None, "journal_size_limit", opening.log_kept_bytes as i64)?;
    Ok(())
}
