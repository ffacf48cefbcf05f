//! What writes come to within one transaction: what is there is looked at, expectations are held against it, and only then
//! something is changed, so that a write that is refused leaves nothing and harms none of its neighbours.
//!
//! It commits nothing. What always holds: once a statement that changes something has failed, the whole transaction is to be
//! undone; a refusal needs no undoing.

use super::database::{Damaged, storage};
use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction};
use skiff_ports::tables::{ItemExpect, ItemWrite, TableError};
use skiff_types::ResourceId;
use std::collections::HashMap;

/// Items that a sweep forgets at most.
pub(super) const SWEEP_MAX: usize = 500;
/// Items that a step of a drop forgets.
pub(super) const DROP_STEP: usize = 1_000;

const CURRENT: &str =
    "SELECT length(value), version, expires_at_ms FROM item WHERE table_id = ?1 AND key = ?2";
const VALUE: &str = "SELECT value, version, expires_at_ms FROM item WHERE table_id = ?1 AND key = ?2";
const PUT: &str =
    "INSERT INTO item (table_id, key, value, version, expires_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (table_id, key) DO UPDATE
    SET value = excluded.value, version = excluded.version, expires_at_ms = excluded.expires_at_ms";
const DELETE: &str = "DELETE FROM item WHERE table_id = ?1 AND key = ?2";
const NEW_TABLE: &str = "INSERT INTO data_table (resource, version, items, bytes) VALUES (?1, 0, 0, 0)";
const COUNTED: &str = "UPDATE data_table SET version = ?2, items = ?3, bytes = ?4 WHERE id = ?1";
const EXPIRED: &str = "SELECT table_id, key, length(value) FROM item
    WHERE expires_at_ms IS NOT NULL AND expires_at_ms <= ?1 ORDER BY expires_at_ms LIMIT ?2";
const FIRST_KEYS: &str = "DELETE FROM item WHERE table_id = ?1
    AND key IN (SELECT key FROM item WHERE table_id = ?1 ORDER BY key LIMIT ?2)";
const NO_TABLE: &str = "DELETE FROM data_table WHERE id = ?1";

/// A table's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// By which its items name it.
    pub(super) id: i64,
    /// The last version that it gave.
    pub(super) version: u64,
    /// Items, those that have expired and were not swept among them.
    pub(super) items: u64,
    /// Bytes of their keys and values.
    pub(super) bytes: u64,
}

/// The rows of all tables.
pub(super) type Rows = HashMap<ResourceId, Row>;

/// Why something was not done.
pub(super) enum Fault {
    /// Its caller is told; nothing was changed.
    Refused(TableError),
    /// The transaction is to be undone.
    Broken(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        Self::Refused(error)
    }
}

/// What lies under a key, if anything does, whether it has expired or not.
struct Found {
    /// Of key and value.
    bytes: u64,
    version: u64,
    expires_at_ms: Option<i64>,
}

impl Found {
    fn is_there(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms)
    }
}

/// The changes of one transaction.
pub(super) struct Edits<'t> {
    transaction: &'t Transaction<'t>,
    before: &'t Rows,
    /// Rows of tables that changed; none of one that is gone.
    after: HashMap<ResourceId, Option<Row>>,
    now_ms: i64,
}

impl<'t> Edits<'t> {
    pub(super) fn new(transaction: &'t Transaction<'t>, before: &'t Rows, now_ms: u64) -> Self {
        Self { transaction, before, after: HashMap::new(), now_ms: signed(now_ms) }
    }

    /// Writes items, all or none; gives their versions.
    pub(super) fn write(&mut self, table: ResourceId, writes: &[ItemWrite]) -> Result<Vec<u64>, Fault> {
        let known = self.row(table);
        let mut found = Vec::with_capacity(writes.len());
        for write in writes {
            let there = match known {
                Some(row) => self.current(row.id, &write.key)?,
                None => None,
            };
            self.expect(write, there.as_ref())?;
            found.push(there);
        }
        if known.is_none() && writes.iter().all(|write| write.value.is_none()) {
            return Ok(vec![0; writes.len()]);
        }
        let mut row = self.made(table)?;
        let mut versions = Vec::with_capacity(writes.len());
        for (write, found) in writes.iter().zip(found) {
            versions.push(self.carry_out(&mut row, write, found)?);
        }
        self.after.insert(table, Some(row));
        Ok(versions)
    }

    /// Adds to the number that an item is.
    pub(super) fn increment(&mut self, table: ResourceId, key: &str, delta: i64) -> Result<i64, Fault> {
        let not_a_number = |why: String| TableError::NotANumber { key: key.to_owned(), why };
        let known = self.row(table);
        let found = match known {
            Some(row) => self.value(row.id, key)?,
            None => None,
        };
        let present = found.as_ref().filter(|(_, found)| found.is_there(self.now_ms));
        let number = match present {
            None => 0,
            Some((value, _)) => number(value).ok_or_else(|| {
                not_a_number("its value is no number of 64 bits in decimal digits; put one first".to_owned())
            })?,
        };
        let sum = number.checked_add(delta).ok_or_else(|| {
            not_a_number(format!("{number} and {delta} together are more than 64 bits can say"))
        })?;
        let expires_at_ms = present.and_then(|(_, found)| found.expires_at_ms);
        let write = ItemWrite {
            key: key.to_owned(),
            value: Some(Bytes::from(sum.to_string())),
            expires_at_ms: expires_at_ms.map(unsigned),
            expect: ItemExpect::Any,
        };
        let mut row = self.made(table)?;
        self.carry_out(&mut row, &write, found.map(|(_, found)| found))?;
        self.after.insert(table, Some(row));
        Ok(sum)
    }

    /// Forgets some of what has expired; says how many.
    pub(super) fn sweep(&mut self) -> Result<u64, Fault> {
        let expired = {
            let mut statement = self.transaction.prepare_cached(EXPIRED)?;
            let rows = statement.query_map((self.now_ms, SWEEP_MAX as i64), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()?
        };
        if expired.is_empty() {
            return Ok(0);
        }
        let before = self.before.iter().map(|(table, row)| (row.id, *table));
        let made = self.after.iter().filter_map(|(table, row)| Some((row.as_ref()?.id, *table)));
        let tables: HashMap<i64, ResourceId> = before.chain(made).collect();
        for (id, key, length) in &expired {
            self.transaction.prepare_cached(DELETE)?.execute((id, key))?;
            let Some(table) = tables.get(id) else { continue };
            let Some(mut row) = self.row(*table) else { continue };
            row.items = row.items.saturating_sub(1);
            row.bytes = row.bytes.saturating_sub(key.len() as u64 + unsigned(*length));
            self.after.insert(*table, Some(row));
        }
        Ok(expired.len() as u64)
    }

    /// Forgets some of what a table holds, and in the end the table; says whether there is more.
    pub(super) fn drop_some(&mut self, table: ResourceId) -> Result<bool, Fault> {
        let Some(row) = self.row(table) else { return Ok(false) };
        let forgotten = self.transaction.prepare_cached(FIRST_KEYS)?.execute((row.id, DROP_STEP as i64))?;
        if forgotten == DROP_STEP {
            // What it holds is counted no more; nobody has it by now.
            self.after.insert(table, Some(row));
            return Ok(true);
        }
        self.transaction.prepare_cached(NO_TABLE)?.execute([row.id])?;
        self.after.insert(table, None);
        Ok(false)
    }

    /// Writes the rows of tables that changed; gives them.
    pub(super) fn finish(self) -> rusqlite::Result<HashMap<ResourceId, Option<Row>>> {
        for row in self.after.values().flatten() {
            let counted = (row.id, signed(row.version), signed(row.items), signed(row.bytes));
            self.transaction.prepare_cached(COUNTED)?.execute(counted)?;
        }
        Ok(self.after)
    }

    fn row(&self, table: ResourceId) -> Option<Row> {
        match self.after.get(&table) {
            Some(row) => *row,
            None => self.before.get(&table).copied(),
        }
    }

    /// A table's row, which is made if it is not there.
    fn made(&mut self, table: ResourceId) -> rusqlite::Result<Row> {
        if let Some(row) = self.row(table) {
            return Ok(row);
        }
        self.transaction.prepare_cached(NEW_TABLE)?.execute([table.to_bytes()])?;
        let row = Row { id: self.transaction.last_insert_rowid(), version: 0, items: 0, bytes: 0 };
        self.after.insert(table, Some(row));
        Ok(row)
    }

    fn current(&self, table: i64, key: &str) -> rusqlite::Result<Option<Found>> {
        let mut statement = self.transaction.prepare_cached(CURRENT)?;
        let found = statement
            .query_row((table, key.as_bytes()), |row| Ok(found(key, row.get(0)?, row.get(1)?, row.get(2)?)));
        found.optional()
    }

    fn value(&self, table: i64, key: &str) -> rusqlite::Result<Option<(Vec<u8>, Found)>> {
        let mut statement = self.transaction.prepare_cached(VALUE)?;
        let found = statement.query_row((table, key.as_bytes()), |row| {
            let value: Vec<u8> = row.get(0)?;
            let found = found(key, value.len() as i64, row.get(1)?, row.get(2)?);
            Ok((value, found))
        });
        found.optional()
    }

    fn expect(&self, write: &ItemWrite, found: Option<&Found>) -> Result<(), TableError> {
        let actual = found.filter(|found| found.is_there(self.now_ms)).map(|found| found.version);
        let holds = match write.expect {
            ItemExpect::Any => true,
            ItemExpect::Absent => actual.is_none(),
            ItemExpect::Present => actual.is_some(),
            ItemExpect::Version(version) => actual == Some(version),
        };
        if holds { Ok(()) } else { Err(TableError::Conflict { key: write.key.clone(), actual }) }
    }

    fn carry_out(&self, row: &mut Row, write: &ItemWrite, found: Option<Found>) -> rusqlite::Result<u64> {
        if let Some(found) = &found {
            row.items = row.items.saturating_sub(1);
            row.bytes = row.bytes.saturating_sub(found.bytes);
        }
        let key = write.key.as_bytes();
        let Some(value) = &write.value else {
            if found.is_some() {
                self.transaction.prepare_cached(DELETE)?.execute((row.id, key))?;
            }
            return Ok(0);
        };
        row.version += 1;
        row.items += 1;
        row.bytes += (key.len() + value.len()) as u64;
        let (version, expires_at_ms) = (signed(row.version), write.expires_at_ms.map(signed));
        let put = (row.id, key, &value[..], version, expires_at_ms);
        self.transaction.prepare_cached(PUT)?.execute(put)?;
        Ok(row.version)
    }
}

fn found(key: &str, length: i64, version: i64, expires_at_ms: Option<i64>) -> Found {
    Found { bytes: key.len() as u64 + unsigned(length), version: unsigned(version), expires_at_ms }
}

/// The rows of all tables as the database has them.
pub(super) fn rows(connection: &rusqlite::Connection) -> Result<Rows, TableError> {
    let read = || -> rusqlite::Result<Vec<(Vec<u8>, Row)>> {
        let mut statement =
            connection.prepare("SELECT resource, id, version, items, bytes FROM data_table")?;
        let rows = statement.query_map([], |row| {
            let (version, items, bytes) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let (version, items, bytes) = (unsigned(version), unsigned(items), unsigned(bytes));
            Ok((row.get(0)?, Row { id: row.get(1)?, version, items, bytes }))
        })?;
        rows.collect()
    };
    let rows = read().map_err(super::database::failed)?;
    rows.into_iter().map(|(bytes, row)| Ok((resource(bytes)?, row))).collect()
}

/// The id of a table as the database has it.
pub(super) fn resource(bytes: Vec<u8>) -> Result<ResourceId, TableError> {
    let bytes = <[u8; 8]>::try_from(bytes);
    let damaged = |bytes: Vec<u8>| storage(Damaged(format!("a table's id of {} bytes", bytes.len())));
    bytes.map(ResourceId::from_bytes).map_err(damaged)
}

/// The number that a value is, in decimal digits.
fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A number as SQLite has them; there is no time, size or version beyond.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The same back.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
