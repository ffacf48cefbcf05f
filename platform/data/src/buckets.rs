//! Buckets: objects whose rows lie in an SQLite file, and whose bytes lie under opaque names in a folder or at another's store.
//!
//! | file | what it does |
//! | --- | --- |
//! | `taking` | takes bytes in as they come: counts, hashes, stores; in small buffers |
//! | `blobs`, `backend`, `connector` | where bytes lie: any backend of `object_store`, spoken to over our own HTTP |
//! | `elsewhere` | writes in parts to another's store, which the next start gives up where a crash cut them short |
//! | `database`, `writer`, `log`, `record` | the SQLite file: one thread that writes, one that copies its log, a few connections that read, what rows hold |
//! | `objects`, `uploads`, `listing`, `events` | what is done to rows, in the transaction that it is handed |
//! | `reading` | gives bytes out, whatever becomes of their object meanwhile |
//! | `closed` | the buckets that take no more writes, since they are removed |
//! | `collector` | deletes bytes that no row names any more, and those that a crash left |
//!
//! An object of at most [`SMALL_BYTES_MAX`] lies in the database: its one sync, shared with all that are written at the time, is then
//! all that it costs, instead of two of its own for a file and its folder, and listings never read it.
//!
//! It knows buckets by their ids alone: names, and whether there is such a bucket, are the catalog's; who may do what is the
//! endpoints'. It speaks no S3.
//!
//! What always holds: bytes are on the drive before the row that names them, and a row goes before its bytes do, so that a crash
//! leaves bytes without a row at worst, never a row without bytes. A row and its event are written by one transaction. A key is
//! never part of a path.

mod backend;
mod blobs;
mod closed;
mod collector;
mod connector;
mod database;
mod elsewhere;
mod events;
mod listing;
mod log;
mod objects;
mod port;
mod reading;
mod record;
mod taking;
mod uploads;
mod writer;

use crate::buckets::backend::Backend;
use crate::buckets::blobs::Blobs;
use crate::buckets::closed::ClosedBuckets;
use crate::buckets::database::Reads;
use crate::buckets::reading::OpenBlobs;
use crate::buckets::writer::Writer;
use skiff_kit::clock::Clock;
use skiff_kit::random::{Random, SharedRandom};
use skiff_ports::buckets::BucketError;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The largest object, and part of an upload, that lies in the database, in bytes.
pub const SMALL_BYTES_MAX: usize = 16 << 10;

/// Where buckets lie.
#[derive(Debug, Clone)]
pub struct Config {
    /// The SQLite file of what is known of objects. Its folder must exist.
    pub database: PathBuf,
    /// Where objects' bytes lie.
    pub blobs: BlobsConfig,
}

/// Where objects' bytes lie: below this in a folder that is named by the database, so that two databases never share one.
#[derive(Debug, Clone)]
pub enum BlobsConfig {
    /// In this folder, which is made if it is not there.
    Folder(PathBuf),
    /// In a bucket or container of another.
    Url {
        /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, or one of the addresses that their owners give them;
        /// `memory:///` for a try that forgets everything.
        url: String,
        /// What that one is told besides, under the names of `object_store` (`endpoint`, `region`, `access_key_id`, `allow_http`, ...),
        /// before what the environment says (`AWS_...`, `GOOGLE_...`, `AZURE_...`).
        options: BTreeMap<String, String>,
    },
}

/// What buckets are given.
#[derive(Clone)]
pub struct Deps {
    /// When an object was written.
    pub clock: Arc<dyn Clock>,
    /// Names of blobs, and ids of uploads.
    pub random: Arc<dyn Random>,
}

/// Why buckets could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database can't be used.
    #[error("the buckets' database {path} can't be opened")]
    Database {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database was written by a newer program.
    #[error(
        "the buckets' database has version {found}, and this program knows {known}: use the newer program that wrote it"
    )]
    NewerSchema {
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The folder can't be used.
    #[error("the folder {path} for buckets' bytes can't be used")]
    Folder {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The URL is none that bytes can be kept at.
    #[error("objects' bytes can't be kept at {url}: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What to do.
        reason: String,
    },
    /// The other's store can't be used as it was described.
    #[error("objects' bytes can't be kept there")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The buckets of one database. It must be alone with it.
pub struct Buckets {
    core: Arc<Core>,
}

/// What all calls and the collector share.
pub(crate) struct Core {
    writer: Writer,
    reads: Reads,
    blobs: Arc<Blobs>,
    open: Arc<OpenBlobs>,
    closed: Arc<ClosedBuckets>,
    clock: Arc<dyn Clock>,
    random: SharedRandom,
    /// Ends the collector.
    stop: CancellationToken,
}

impl Buckets {
    /// Opens the database, or creates it, and begins to look for what a crash left. Blocks for a few file operations: call it before
    /// there is anything to hold up.
    ///
    /// # Errors
    /// If the database or the place for bytes can't be used. Whether another's store answers is seen at the first write.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(config: Config, deps: Deps) -> Result<Self, OpenError> {
        let backend = Backend::new(&config.blobs)?;
        Self::open_on(config.database, backend, deps)
    }

    fn open_on(path: PathBuf, backend: Backend, deps: Deps) -> Result<Self, OpenError> {
        let random = SharedRandom::new(deps.random);
        let opened = database::open(&path, &random)?;
        let blobs = Arc::new(Blobs::new(backend, opened.id, random.clone())?);
        let writer = Writer::start(opened.connection, opened.log)
            .map_err(|source| OpenError::Database { path: path.clone(), source: source.into() })?;
        let core = Arc::new(Core {
            writer,
            reads: Reads::new(path),
            blobs,
            open: Arc::default(),
            closed: Arc::default(),
            clock: deps.clock,
            random,
            stop: CancellationToken::new(),
        });
        tokio::spawn(collector::run(core.clone()));
        Ok(Self { core })
    }

    /// Finishes the writes that were asked for, and lets the file go. Every later write is answered with an error.
    ///
    /// # Errors
    /// If SQLite's log could not be copied into the database; the next opening does that.
    pub async fn close(&self) -> Result<(), BucketError> {
        self.core.stop.cancel();
        self.core.writer.close().await
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        self.core.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
