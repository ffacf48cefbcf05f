//! The SQLite file: how it is opened so that a commit is durable, its schema, and the connections that read.
//!
//! In WAL mode one connection writes while others read what was committed, so that no read waits for a sync.

use crate::buckets::OpenError;
use crate::buckets::record::Failed;
use rusqlite::{Connection, TransactionBehavior};
use skiff_kit::random::SharedRandom;
use skiff_ports::buckets::BucketError;
use skiff_sqlite::Opening;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// The write-ahead log is cut to this size once it was copied into the database, in bytes.
const LOG_KEPT_BYTES: u64 = 64 << 20;
/// Pages in the log at which the writer copies by itself what was not copied beside it ([`log`](super::log)) yet: 64 MiB of them.
const LOG_PAGES_MAX: u32 = 16_384;
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
    // Blobs that are being written in parts at another's store, each with the store's id of that.
    "CREATE TABLE begun (
        name BLOB PRIMARY KEY,
        id TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;",
];

/// What an opening gives.
pub(crate) struct Opened {
    /// For the one thread that writes.
    pub(crate) connection: Connection,
    /// For the one that copies its log.
    pub(crate) log: Connection,
    /// Names the folder of the database's blobs.
    pub(crate) id: [u8; 8],
}

/// Opens or creates the file, and upgrades it.
pub(crate) fn open(path: &Path, random: &SharedRandom) -> Result<Opened, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::Database { path: path.to_owned(), source: error.into() };
    let mut connection = skiff_sqlite::open(path, &opening(), MIGRATIONS).map_err(|error| match error {
        skiff_sqlite::OpenError::NewerSchema { found, known } => OpenError::NewerSchema { found, known },
        other => OpenError::Database { path: path.to_owned(), source: other.into() },
    })?;
    let id = id(&mut connection, random).map_err(failed)?;
    let log = skiff_sqlite::open_beside(path, &opening()).map_err(failed)?;
    Ok(Opened { connection, log, id })
}

fn opening() -> Opening {
    Opening {
        log_pages_max: LOG_PAGES_MAX,
        log_kept_bytes: LOG_KEPT_BYTES,
        statements_max: STATEMENTS_MAX,
        ..Opening::default()
    }
}

/// The database's id, which it is given when it is first opened.
fn id(connection: &mut Connection, random: &SharedRandom) -> rusqlite::Result<[u8; 8]> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
                let connection = skiff_sqlite::open_beside(&self.path, &opening())?;
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
