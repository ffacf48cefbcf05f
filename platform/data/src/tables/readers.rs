//! Reads: a bounded number of connections beside the writer's, each used by one call at a time on a thread that may wait for
//! the disk.
//!
//! What always holds: a call reads one snapshot, begun after it was asked for; so it sees every write that was answered before.

use super::Closed;
use super::database::{Damaged, failed, open_to_read, storage};
use super::edits::{resource, signed, unsigned};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};
use skiff_ports::tables::{ITEMS_BYTES_MAX, Item, SCAN_MAX, Scan, ScanPage, TableError, TableStats};
use skiff_types::ResourceId;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Calls that read at once; who comes later waits.
const READERS_MAX: u32 = 8;

const GET: &str = "SELECT key, value, version, expires_at_ms FROM item
    WHERE table_id = (SELECT id FROM data_table WHERE resource = ?1) AND key = ?2
    AND (expires_at_ms IS NULL OR expires_at_ms > ?3)";
const SCAN: &str = "SELECT key, value, version, expires_at_ms FROM item
    WHERE table_id = (SELECT id FROM data_table WHERE resource = ?1) AND key >= ?2 AND key < ?3
    AND (expires_at_ms IS NULL OR expires_at_ms > ?4) ORDER BY key";
const STATS: &str = "SELECT items, bytes FROM data_table WHERE resource = ?1";
const TABLES: &str = "SELECT resource FROM data_table ORDER BY resource";

/// A byte that no key has: none of UTF-8 has it.
const BEYOND: u8 = 0xff;

/// The connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Readers {
    path: Arc<Path>,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// Of the file at `path`, which is open to be written.
    pub(super) fn of(path: &Path) -> Self {
        let places = Arc::new(Semaphore::new(READERS_MAX as usize));
        Self { path: Arc::from(path), places, idle: Arc::default() }
    }

    /// Reads with a connection of its own.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, TableError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| storage(Closed))?;
        let readers = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut connection = readers.connection()?;
            let result = read(&mut connection);
            // One that failed may be in any state; another is opened in its stead.
            if !matches!(result, Err(TableError::Storage(_))) {
                readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(place);
            result
        });
        reading.await.map_err(storage)?
    }

    /// Ends once no call reads any more; later ones fail.
    pub(super) async fn close(&self) {
        // Where it was closed before there is nothing to wait for.
        if let Ok(all) = self.places.acquire_many(READERS_MAX).await {
            self.places.close();
            drop(all);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn connection(&self) -> Result<Connection, TableError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| open_to_read(&self.path).map_err(failed), Ok)
    }
}

/// The items of these keys, in their order; no more than one call may have is read of them.
pub(super) fn get(
    connection: &mut Connection,
    table: ResourceId,
    keys: Vec<String>,
    now_ms: u64,
) -> Result<Vec<Option<Item>>, TableError> {
    let found = || -> rusqlite::Result<Option<Vec<Option<RawItem>>>> {
        let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let mut statement = snapshot.prepare_cached(GET)?;
        let (mut items, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in &keys {
            let asked = (table.to_bytes(), key.as_bytes(), signed(now_ms));
            let item = statement.query_row(asked, RawItem::of).optional()?;
            bytes += item.as_ref().map_or(0, |item| item.value.len());
            if bytes > ITEMS_BYTES_MAX {
                return Ok(None);
            }
            items.push(item);
        }
        Ok(Some(items))
    };
    let found = found_in(found)?.ok_or_else(|| {
        TableError::Invalid(format!(
            "the values have more than {ITEMS_BYTES_MAX} bytes together, the most of one call: ask for fewer at once"
        ))
    })?;
    found.into_iter().map(|item| item.map(RawItem::read).transpose()).collect()
}

/// A page of a table.
pub(super) fn scan(
    connection: &mut Connection,
    table: ResourceId,
    scan: &Scan,
    now_ms: u64,
) -> Result<ScanPage, TableError> {
    let (from, to) = bounds(scan);
    let limit = scan.limit.min(SCAN_MAX) as usize;
    let found = || -> rusqlite::Result<(Vec<RawItem>, bool)> {
        let mut statement = connection.prepare_cached(SCAN)?;
        let mut rows = statement.query((table.to_bytes(), from, to, signed(now_ms)))?;
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            if items.len() == limit {
                return Ok((items, true));
            }
            let item = RawItem::of(row)?;
            bytes += item.value.len();
            if bytes > ITEMS_BYTES_MAX && !items.is_empty() {
                return Ok((items, true));
            }
            items.push(item);
        }
        Ok((items, false))
    };
    let (items, has_more) = found_in(found)?;
    let items = items.into_iter().map(RawItem::read).collect::<Result<Vec<Item>, TableError>>()?;
    let next = items.last().filter(|_| has_more).map(|item| item.key.clone());
    Ok(ScanPage { items, next })
}

/// From which key, itself included, to which, itself not.
fn bounds(scan: &Scan) -> (Vec<u8>, Vec<u8>) {
    let prefix = scan.prefix.as_bytes();
    // The next key after one is the same with a zero behind it.
    let behind = scan.after.as_ref().map(|after| [after.as_bytes(), &[0]].concat());
    let from = behind.filter(|behind| behind.as_slice() > prefix).unwrap_or_else(|| prefix.to_vec());
    let to = [prefix, &[BEYOND]].concat();
    (from, to)
}

/// What a table holds.
pub(super) fn stats(connection: &mut Connection, table: ResourceId) -> Result<TableStats, TableError> {
    let found = || -> rusqlite::Result<Option<TableStats>> {
        let mut statement = connection.prepare_cached(STATS)?;
        let stats = statement.query_row([table.to_bytes()], |row| {
            Ok(TableStats { items: unsigned(row.get(0)?), bytes: unsigned(row.get(1)?) })
        });
        stats.optional()
    };
    Ok(found_in(found)?.unwrap_or_default())
}

/// The tables that there are rows of.
pub(super) fn tables(connection: &mut Connection) -> Result<Vec<ResourceId>, TableError> {
    let found = || -> rusqlite::Result<Vec<Vec<u8>>> {
        let mut statement = connection.prepare_cached(TABLES)?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    found_in(found)?.into_iter().map(resource).collect()
}

fn found_in<T>(find: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, TableError> {
    find().map_err(failed)
}

/// An item as the database has it.
struct RawItem {
    key: Vec<u8>,
    value: Vec<u8>,
    version: i64,
    expires_at_ms: Option<i64>,
}

impl RawItem {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { key: row.get(0)?, value: row.get(1)?, version: row.get(2)?, expires_at_ms: row.get(3)? })
    }

    fn read(self) -> Result<Item, TableError> {
        let Self { key, value, version, expires_at_ms } = self;
        let key = String::from_utf8(key).map_err(|error| {
            storage(Damaged(format!("a key that is no text: {:02x?}", error.into_bytes())))
        })?;
        let expires_at_ms = expires_at_ms.map(unsigned);
        Ok(Item { key, value: Bytes::from(value), version: unsigned(version), expires_at_ms })
    }
}
