//! Tables on SQLite, in a file of their own: a thread that writes, many callers to a transaction and one sync; and reads beside
//! it, each of one snapshot.
//!
//! It knows tables by their ids alone: which there are, is the catalog's, and so it is what a table that is gone held that
//! somebody has to ask for ([`port::Tables::tables`], [`port::Tables::drop_table`]). The file never shrinks: what was
//! forgotten makes room for what comes.
//!
//! What always holds: a write that was answered was synced to the drive before, and whoever reads after its answer sees it; of
//! one that was refused nothing is seen. What has expired is there for nobody, whether the sweep has been there or not. The
//! versions of a table only ever rise, over deletes and restarts.

mod database;
mod edits;
mod readers;
mod writer;

use async_trait::async_trait;
use bytes::Bytes;
use database::{Tuning, storage};
use readers::Readers;
use skiff_kit::clock::Clock;
use skiff_ports::tables::{
    self as port, ITEM_KEY_BYTES_MAX, ITEM_VALUE_BYTES_MAX, ITEMS_BYTES_MAX, ITEMS_MAX, Item, ItemWrite,
    Scan, ScanPage, TableError, TableStats,
};
use skiff_types::ResourceId;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::{COMMANDS_MAX, Command, Reply, Writer};

/// How often expired items are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What tables go by.
#[derive(Clone)]
pub struct Deps {
    /// By which items expire.
    pub clock: Arc<dyn Clock>,
}

/// The tables of one file. Cheap to clone; see [`Tables::close`].
#[derive(Clone)]
pub struct Tables {
    commands: mpsc::Sender<Command>,
    readers: Readers,
    clock: Arc<dyn Clock>,
}

/// The engine was closed, or its thread has ended.
#[derive(Debug, thiserror::Error)]
#[error("the tables are closed")]
struct Closed;

impl Tables {
    /// Opens the file at `path`, or creates it, readable by its owner alone; the folder must exist. To be called in a tokio
    /// runtime, where expired items are swept from then on.
    ///
    /// # Errors
    /// [`TableError::Storage`]: the file can't be used, is damaged, or a newer Skiff wrote it.
    pub fn open(path: &Path, deps: Deps) -> Result<Self, TableError> {
        Self::open_tuned(path, deps, Tuning::default())
    }

    fn open_tuned(path: &Path, Deps { clock }: Deps, tuning: Tuning) -> Result<Self, TableError> {
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let writer = Writer::open(path, &tuning, clock.clone(), waiting)?;
        let readers = Readers::of(path);
        let thread = std::thread::Builder::new().name("tables".to_owned());
        thread.spawn(move || writer.run()).map_err(storage)?;
        if !tuning.sweeps_when_told {
            tokio::spawn(sweep(commands.downgrade()));
        }
        Ok(Self { commands, readers, clock })
    }

    /// Ends: writes under way are done and answered, later calls fail. The log is copied into the database, so that the next
    /// start has nothing to do.
    ///
    /// # Errors
    /// [`TableError::Storage`]: it could not be copied; nothing is lost, the next start does it.
    pub async fn close(&self) -> Result<(), TableError> {
        self.readers.close().await;
        self.ask(Command::Close).await
    }

    /// Forgets expired items, some hundreds at most; returns how many.
    #[cfg(test)]
    async fn sweep_now(&self) -> Result<u64, TableError> {
        self.ask(|reply| Command::Sweep { reply: Some(reply) }).await
    }

    /// Tells the writer, and waits for its answer.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, TableError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| storage(Closed))?;
        answer.await.map_err(|_| storage(Closed))?
    }
}

/// Has the writer look for expired items, until nobody is left who has the tables.
async fn sweep(commands: mpsc::WeakSender<Command>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let Some(commands) = commands.upgrade() else { return };
        // Where the writer has much to do it is asked another time.
        if let Err(mpsc::error::TrySendError::Closed(_)) = commands.try_send(Command::Sweep { reply: None }) {
            return;
        }
    }
}

#[async_trait]
impl port::Tables for Tables {
    async fn get(&self, table: ResourceId, keys: Vec<String>) -> Result<Vec<Option<Item>>, TableError> {
        check_count(keys.len())?;
        keys.iter().try_for_each(|key| check_key(key))?;
        let now_ms = self.clock.unix_ms();
        self.readers.read(move |connection| readers::get(connection, table, keys, now_ms)).await
    }

    async fn write(&self, table: ResourceId, writes: Vec<ItemWrite>) -> Result<Vec<u64>, TableError> {
        check_writes(&writes)?;
        if writes.is_empty() {
            return Ok(vec![]);
        }
        self.ask(|reply| Command::Write { table, writes, reply }).await
    }

    async fn increment(&self, table: ResourceId, key: String, delta: i64) -> Result<i64, TableError> {
        check_key(&key)?;
        self.ask(|reply| Command::Increment { table, key, delta, reply }).await
    }

    async fn scan(&self, table: ResourceId, scan: Scan) -> Result<ScanPage, TableError> {
        if scan.limit == 0 {
            return Err(TableError::Invalid("the limit is 0: ask for one item at least".to_owned()));
        }
        if scan.prefix.len() > ITEM_KEY_BYTES_MAX {
            return Err(TableError::Invalid(format!(
                "the prefix has {} bytes; no key has more than {ITEM_KEY_BYTES_MAX}",
                scan.prefix.len()
            )));
        }
        let now_ms = self.clock.unix_ms();
        self.readers.read(move |connection| readers::scan(connection, table, &scan, now_ms)).await
    }

    async fn stats(&self, table: ResourceId) -> Result<TableStats, TableError> {
        self.readers.read(move |connection| readers::stats(connection, table)).await
    }

    /// In steps, between which others write.
    async fn drop_table(&self, table: ResourceId) -> Result<(), TableError> {
        while self.ask(|reply| Command::Drop { table, reply }).await? {}
        Ok(())
    }

    /// Those too that held something once and are empty now: their versions are remembered.
    async fn tables(&self) -> Result<Vec<ResourceId>, TableError> {
        self.readers.read(readers::tables).await
    }
}

/// Refuses what the port says that can't be; whether a key is in twice as well.
fn check_writes(writes: &[ItemWrite]) -> Result<(), TableError> {
    check_count(writes.len())?;
    let (mut seen, mut bytes) = (BTreeSet::new(), 0);
    for ItemWrite { key, value, .. } in writes {
        check_key(key)?;
        if !seen.insert(key) {
            return Err(TableError::Invalid(format!("{key:?} is in the call twice: write each key once")));
        }
        let length = value.as_ref().map_or(0, Bytes::len);
        if length > ITEM_VALUE_BYTES_MAX {
            return Err(TableError::Invalid(format!(
                "the value of {key:?} has {length} bytes; the most is {ITEM_VALUE_BYTES_MAX}: put it into a bucket, and its \
                 name here"
            )));
        }
        bytes += length;
    }
    match bytes > ITEMS_BYTES_MAX {
        true => Err(TableError::Invalid(format!(
            "the values of the call have {bytes} bytes together; the most is {ITEMS_BYTES_MAX}: make more calls"
        ))),
        false => Ok(()),
    }
}

fn check_count(count: usize) -> Result<(), TableError> {
    match count > ITEMS_MAX {
        true => Err(TableError::Invalid(format!(
            "the call is about {count} items; the most is {ITEMS_MAX}: make more calls"
        ))),
        false => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), TableError> {
    match key.len() {
        1..=ITEM_KEY_BYTES_MAX => Ok(()),
        0 => Err(TableError::Invalid("a key is empty: give it one character at least".to_owned())),
        length => Err(TableError::Invalid(format!(
            "a key has {length} bytes; the most is {ITEM_KEY_BYTES_MAX}: it begins with {:?}",
            key.chars().take(40).collect::<String>()
        ))),
    }
}

#[cfg(test)]
mod tests;
