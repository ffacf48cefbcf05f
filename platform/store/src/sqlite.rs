//! The handle to a store on SQLite: reads go to the mirror, writes to the writer's thread.

use crate::database::{Database, Tuning};
use crate::mirror::Mirror;
use crate::watch;
use crate::writer::{COMMANDS_MAX, Command, Write, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use skiff_ports::store::{
    Change, Durability, Entry, Expect, Key, Listing, Revision, Store, StoreError, VALUE_BYTES_MAX,
};
use std::path::Path;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// A store in one SQLite file, cheap to clone. When the last clone is dropped, what was begun is written and the file
/// is free again.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

/// The order of the fields matters: without `commands`, the thread ends.
struct Inner {
    mirror: Arc<RwLock<Mirror>>,
    written: tokio::sync::watch::Receiver<()>,
    commands: mpsc::Sender<Command>,
    _thread: WriterThread,
}

/// Waits for its end when dropped: a few milliseconds at most, for the transaction that is under way.
struct WriterThread(Option<JoinHandle<()>>);

impl Drop for WriterThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl SqliteStore {
    /// Opens the store in the file at `path`, or creates it, readable by its owner alone. The folder must exist.
    ///
    /// Reads all of it into memory. Blocks: call it before there is anything to hold up.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_tuned(path, &Tuning::default())
    }

    pub(crate) fn open_tuned(path: &Path, tuning: &Tuning) -> Result<Self, StoreError> {
        let (database, mirror) = Database::open(path, tuning)?;
        let mirror = Arc::new(RwLock::new(mirror));
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (sender, written) = tokio::sync::watch::channel(());
        let writer = Writer {
            database,
            mirror: mirror.clone(),
            commands: receiver,
            written: sender,
            tombstones_max: tuning.tombstones_max,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Storage(error.into()))?;
        let thread = WriterThread(Some(thread));
        Ok(Self { inner: Arc::new(Inner { mirror, written, commands, _thread: thread }) })
    }

    /// Finishes the writes that were asked for, brings the file into order and lets it go. Every later call, and every
    /// watch, is answered with [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        let (reply, closed) = oneshot::channel();
        self.inner.commands.send(Command::Close(reply)).await.map_err(|_| StoreError::Closed)?;
        closed.await.map_err(|_| StoreError::Closed)?
    }

    async fn write(
        &self,
        key: &Key,
        value: Option<Bytes>,
        expect: Expect,
        durability: Durability,
    ) -> Result<Revision, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let write = Write { key: key.clone(), value, expect, durability, reply };
        self.inner.commands.send(Command::Write(write)).await.map_err(|_| StoreError::Closed)?;
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    fn mirror(&self) -> RwLockReadGuard<'_, Mirror> {
        self.inner.mirror.read().expect("nobody panics while holding the mirror")
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.mirror().get(key)
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        self.put_with(key, value, expect, Durability::Drive).await
    }

    async fn put_with(
        &self,
        key: &Key,
        value: Bytes,
        expect: Expect,
        durability: Durability,
    ) -> Result<Revision, StoreError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge { key: key.clone(), bytes: value.len() });
        }
        self.write(key, Some(value), expect, durability).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        self.write(key, None, expect, Durability::Drive).await
    }

    async fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.mirror().list(prefix)
    }

    async fn watch(
        &self,
        prefix: &Key,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        watch::watch(self.inner.mirror.clone(), self.inner.written.clone(), prefix.clone(), after)
    }
}
