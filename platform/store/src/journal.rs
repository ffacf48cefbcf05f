//! The journal of events in an SQLite file of its own: a table with a row for each.
//!
//! It lies apart from the store because it is a series, not objects. What is kept how long is its caller's business. A call
//! waits for the operating system and not for the drive: what it wrote outlives the process, and events are no promises, so
//! that the newest of them may be lost with the machine's power.
//!
//! What always holds: a call is one transaction; events are read in the order of their ids.

mod record;

use crate::database::Tuning;
use crate::log_file::LogFile;
use async_trait::async_trait;
use record::Record;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use skiff_ports::journal::{EventFilter, Journal, JournalQuery, Take};
use skiff_ports::store::StoreError;
use skiff_types::Event;
use std::path::Path;
use std::str::FromStr;

/// As in [`crate::schema::MIGRATIONS`], for this file.
const MIGRATIONS: &[&str] = &[
    // `service` and `task` are empty where an event is about none; `record` is JSON.
    "CREATE TABLE event (
        id TEXT NOT NULL UNIQUE,
        at_ms INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        service TEXT NOT NULL,
        task TEXT NOT NULL,
        type TEXT NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX event_by_time ON event (at_ms);",
    "CREATE INDEX event_by_service ON event (namespace, service, id);",
];

/// The events of a filter; a parameter that is empty leaves all. Those of several words are as [`words`] has them.
const SUCH: &str = "id > ?1 AND at_ms >= ?2 AND (?3 = '' OR namespace = ?3)
    AND (?4 = '' OR instr(?4, ',' || service || ',') > 0) AND (?5 = '' OR task = ?5)
    AND (?6 = '' OR instr(?6, ',' || type || ',') > 0)";

/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct SqliteJournal {
    file: LogFile,
}

impl SqliteJournal {
    /// Opens the journal in the file at `path`, or creates it, readable by its owner alone. The folder must exist.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let tuning = Tuning { synchronous: "NORMAL", ..Tuning::default() };
        Ok(Self { file: LogFile::open(path, MIGRATIONS, &tuning)? })
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.file
            .transact(move |transaction| events.into_iter().try_for_each(|event| append(transaction, event)))
            .await
    }

    async fn read(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError> {
        self.file.transact(move |transaction| read(transaction, &query)).await
    }

    async fn forget(&self, before_ms: u64, events_max: u32) -> Result<(), StoreError> {
        self.file.transact(move |transaction| forget(transaction, before_ms, events_max)).await
    }
}

fn append(transaction: &Transaction<'_>, event: Event) -> rusqlite::Result<()> {
    let service = event.service().map(ToString::to_string).unwrap_or_default();
    let task = event.task().map(|task| task.to_string()).unwrap_or_default();
    let event_type = event.detail.event_type().as_str();
    let (id, at_ms, namespace) = (event.id.to_string(), event.at_ms as i64, event.namespace.to_string());
    let record = serde_json::to_string(&Record::from(event))
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    transaction
        .prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![id, at_ms, namespace, service, task, event_type, record])
        .map(drop)
}

fn read(transaction: &Transaction<'_>, query: &JournalQuery) -> rusqlite::Result<Vec<Event>> {
    let (order, most) = match query.take {
        Take::Oldest(most) => ("ASC", most),
        Take::Newest(most) => ("DESC", most),
    };
    let EventFilter { namespace, services, task, types, since_ms } = &query.filter;
    let statement =
        format!("SELECT id, at_ms, namespace, record FROM event WHERE {SUCH} ORDER BY id {order} LIMIT ?7");
    let mut statement = transaction.prepare_cached(&statement)?;
    let rows = statement.query_map(
        params![
            text(query.after.as_ref()),
            since_ms.map_or(0, |since_ms| i64::try_from(since_ms).unwrap_or(i64::MAX)),
            text(namespace.as_ref()),
            words(services),
            text(task.as_ref()),
            words(types),
            most,
        ],
        event,
    )?;
    let mut events = rows.collect::<rusqlite::Result<Vec<Event>>>()?;
    if order == "DESC" {
        events.reverse();
    }
    Ok(events)
}

fn forget(transaction: &Transaction<'_>, before_ms: u64, events_max: u32) -> rusqlite::Result<()> {
    let before_ms = i64::try_from(before_ms).unwrap_or(i64::MAX);
    transaction.prepare_cached("DELETE FROM event WHERE at_ms < ?1")?.execute([before_ms])?;
    let services = services(transaction)?;
    if let Some(share) = share(services.iter().map(|service| service.events).collect(), events_max) {
        for service in services.iter().filter(|service| service.events > share) {
            service.forget_all_but(transaction, share)?;
        }
    }
    // Where there are more services than events may be.
    let newest_too_many: Option<String> = transaction
        .prepare_cached("SELECT id FROM event ORDER BY id DESC LIMIT 1 OFFSET ?1")?
        .query_row([events_max], |row| row.get(0))
        .optional()?;
    if let Some(id) = newest_too_many {
        transaction.prepare_cached("DELETE FROM event WHERE id <= ?1")?.execute([id])?;
    }
    Ok(())
}

/// A service, or all of a namespace that is about none, and how many events there are of it.
struct Noted {
    namespace: String,
    service: String,
    events: u32,
}

impl Noted {
    fn forget_all_but(&self, transaction: &Transaction<'_>, newest: u32) -> rusqlite::Result<()> {
        let Self { namespace, service, events: _ } = self;
        transaction
            .prepare_cached(
                "DELETE FROM event WHERE namespace = ?1 AND service = ?2 AND id <= (
                    SELECT id FROM event WHERE namespace = ?1 AND service = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3
                )",
            )?
            .execute(params![namespace, service, newest])
            .map(drop)
    }
}

fn services(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Noted>> {
    let counts = "SELECT namespace, service, count(*) FROM event GROUP BY namespace, service";
    let noted = |row: &Row<'_>| -> rusqlite::Result<Noted> {
        Ok(Noted { namespace: row.get(0)?, service: row.get(1)?, events: row.get(2)? })
    };
    let mut statement = transaction.prepare_cached(counts)?;
    statement.query_map([], noted)?.collect()
}

/// How many events each may keep so that all have `most` together, if they have more: who has few keeps them, whatever
/// others have. 1 at least.
fn share(mut counts: Vec<u32>, most: u32) -> Option<u32> {
    counts.sort_unstable();
    let mut left = most;
    for (place, count) in counts.iter().enumerate() {
        let each = left / u32::try_from(counts.len() - place).unwrap_or(u32::MAX);
        if *count > each {
            return Some(each.max(1));
        }
        left -= count;
    }
    None
}

/// The text that a column has for it; empty for nothing.
fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// `,a,b,`, in which a word with its commas is found only if it is one of them; no name and no type has a comma. Empty for
/// none.
fn words(values: &[impl ToString]) -> String {
    let each = values.iter().map(|value| format!("{},", value.to_string()));
    if values.is_empty() { String::new() } else { format!(",{}", each.collect::<String>()) }
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let damaged = |column, error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error);
    let record: String = row.get(3)?;
    let record: Record = serde_json::from_str(&record).map_err(|error| damaged(3, error.into()))?;
    let at_ms: i64 = row.get(1)?;
    Ok(record.into_event(parsed(row, 0)?, at_ms.unsigned_abs(), parsed(row, 2)?))
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

#[cfg(test)]
mod tests;
