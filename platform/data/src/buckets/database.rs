//! The SQLite file: how it is opened so that a commit is durable, its schema, and the connections that read.
//!
//! In WAL mode one connection writes while others read what was committed, so that no read waits for a sync.

use crate::buckets::OpenError;
use crate::buckets::record::Failed;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use skiff_kit::random::SharedRandom;
use skiff_ports::buckets::BucketError;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long an opening waits for another owner of the file to let go, in milliseconds.
const BUSY_WAIT_MS: u64 = 1_000;
/// The write-ahead log is cut to this size once it was copied into the database, in bytes.
const LOG_KEPT_BYTES: i64 = 16 << 20;
/// Statements that a connection keeps compiled.
const STATEMENTS_MAX: usize = 64;
/// Reads that are under way at a time; more wait.
const READS_MAX: usize = 8;

/// Each brings a database from the version that is its index to the next one. `PRAGMA user_version` says how many it has seen; a
/// published one never changes.
const MIGRATIONS: &[&str] = &[
    // `database.id` names the folder of the database's blobs. A row of `blob` with no references is to be deleted, bytes first.
    // `pieces` says where bytes lie, as `record` writes it; it stands last, so that listings need not read it. Keys are bytes, so
    // that their order is that of bytes. `event.number` is never used again.
    "CREATE TABLE database (
        row INTEGER PRIMARY KEY CHECK (row = 0),
        id BLOB NOT NULL
    ) STRICT;
    CREATE TABLE bucket (
        id BLOB PRIMARY KEY,
        objects INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        uploads INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE object (
        bucket BLOB NOT NULL,
        key BLOB NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        modified_at_ms INTEGER NOT NULL,
        content TEXT,
        pieces BLOB NOT NULL,
        PRIMARY KEY (bucket, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE upload (
        bucket BLOB NOT NULL,
        key BLOB NOT NULL,
        id TEXT NOT NULL,
        began_at_ms INTEGER NOT NULL,
        content TEXT,
        PRIMARY KEY (bucket, key, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE part (
        upload TEXT NOT NULL,
        number INTEGER NOT NULL,
        size INTEGER NOT NULL,
        etag TEXT NOT NULL,
        modified_at_ms INTEGER NOT NULL,
        pieces BLOB NOT NULL,
        PRIMARY KEY (upload, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE small (
        id INTEGER PRIMARY KEY,
        bytes BLOB NOT NULL
    ) STRICT;
    CREATE TABLE blob (
        name BLOB PRIMARY KEY,
        refs INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX garbage ON blob (name) WHERE refs = 0;
    CREATE TABLE event (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        bucket BLOB NOT NULL,
        key BLOB NOT NULL,
        at_ms INTEGER NOT NULL,
        size INTEGER,
        etag TEXT,
        cause TEXT NOT NULL
    ) STRICT;",
];

/// What an opening gives.
pub(crate) struct Opened {
    /// For the one thread that writes.
    pub(crate) connection: Connection,
    /// Names the folder of the database's blobs.
    pub(crate) id: [u8; 8],
}

/// Opens or creates the file, and upgrades it.
pub(crate) fn open(path: &Path, random: &SharedRandom) -> Result<Opened, OpenError> {
    let failed = |source: Box<dyn Error + Send + Sync>| OpenError::Database { path: path.to_owned(), source };
    create(path).map_err(|error| failed(error.into()))?;
    let mut connection = connect(path).map_err(|error| failed(error.into()))?;
    let found: u32 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| failed(error.into()))?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    configure(&connection).map_err(failed)?;
    let id = upgrade(&mut connection, found, random).map_err(|error| failed(error.into()))?;
    // SQLite does not sync the removal of the journal that it needs before the write-ahead log is on.
    sync_parent(path).map_err(|error| failed(error.into()))?;
    Ok(Opened { connection, id })
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

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_WAIT_MS))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Where a sync stops at the drive's own cache (macOS), these make it go through; nothing elsewhere.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("its journal mode {mode:?} can't be changed to \"wal\"").into());
    }
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES)?;
    Ok(())
}

/// Brings the database to the newest version, and says its id.
fn upgrade(connection: &mut Connection, found: u32, random: &SharedRandom) -> rusqlite::Result<[u8; 8]> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    transaction.execute("INSERT OR IGNORE INTO database (row, id) VALUES (0, ?1)", [random.bytes::<8>()])?;
    let id = transaction.query_row("SELECT id FROM database", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(id)
}

/// The connections that read.
pub(crate) struct Reads {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
}

struct Shared {
    path: PathBuf,
    /// Those that nobody uses: [`READS_MAX`] at most.
    idle: Mutex<Vec<Connection>>,
}

impl Reads {
    pub(crate) fn new(path: PathBuf) -> Self {
        let shared = Arc::new(Shared { path, idle: Mutex::default() });
        Self { shared, permits: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// Reads, on a thread that may wait for the disk, from all that was committed by now, and nothing that is committed meanwhile.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, BucketError> {
        let permit = self.permits.clone().acquire_owned().await;
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            shared.read(act)
        });
        let read = read.await.map_err(|error| BucketError::Storage(error.into()))?;
        read.map_err(BucketError::from)
    }
}

impl Shared {
    fn read<T>(&self, act: impl FnOnce(&Connection) -> Result<T, Failed>) -> Result<T, Failed> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = connect(&self.path)?;
                connection.pragma_update(None, "query_only", true)?;
                connection
            }
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let done = act(&transaction);
        transaction.finish()?;
        // One that failed is not used again.
        if !matches!(done, Err(Failed::Database(_))) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        done
    }
}
