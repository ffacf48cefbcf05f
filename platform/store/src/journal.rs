//! The journal of events in an SQLite file of its own: a table with a row for each, and one with a mark for each object that
//! told any of them.
//!
//! It lies apart from the store because it is a series, not objects. What is kept how long is its caller's business. A call
//! waits for the operating system and not for the drive: what it wrote outlives the process, but with the machine's power the
//! newest of it may be lost, unless it is synced. An event is never lost without its object's mark, so that it is told again.
//!
//! What always holds: a call is one transaction; events are read in the order of their ids.

mod forget;
mod record;

use crate::database::Tuning;
use crate::log_file::LogFile;
use async_trait::async_trait;
use record::Record;
use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};
use skiff_ports::journal::{EventFilter, Forget, Journal, JournalQuery, Mark, Marks, Note, Take};
use skiff_ports::store::{Key, StoreError};
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
    // No object has the empty name: as long as that row is there, nothing was noted. `synced` is what a sync writes.
    "CREATE TABLE told (object TEXT PRIMARY KEY, mark INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO told VALUES ('', 0);
    CREATE TABLE synced (id INTEGER PRIMARY KEY CHECK (id = 0), times INTEGER NOT NULL) STRICT;
    INSERT INTO synced VALUES (0, 0);",
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
    async fn append(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        self.file
            .transact(move |transaction| {
                transaction.prepare_cached("DELETE FROM told WHERE object = ''")?.execute([])?;
                notes.into_iter().try_for_each(|note| append(transaction, note))
            })
            .await
    }

    async fn marks(&self) -> Result<Marks, StoreError> {
        self.file.transact(marks).await
    }

    async fn read(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError> {
        self.file.transact(move |transaction| read(transaction, &query)).await
    }

    async fn forget(&self, forget: Forget) -> Result<u64, StoreError> {
        self.file.transact(move |transaction| forget::forget(transaction, &forget)).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let write = |transaction: &Transaction<'_>| {
            transaction.prepare_cached("UPDATE synced SET times = times + 1")?.execute([]).map(drop)
        };
        self.file.transact_synced(write).await
    }
}

fn append(transaction: &Transaction<'_>, note: Note) -> rusqlite::Result<()> {
    let (object, mark, events) = match note {
        Note::Told { object, mark, events } => (object, mark, events),
        Note::Gone { object } => {
            let mut forget = transaction.prepare_cached("DELETE FROM told WHERE object = ?1")?;
            return forget.execute([object.as_str()]).map(drop);
        }
    };
    events.into_iter().try_for_each(|event| append_event(transaction, event))?;
    let mark = i64::from_be_bytes(mark.0.to_be_bytes());
    let mut tell = transaction.prepare_cached("INSERT OR REPLACE INTO told VALUES (?1, ?2)")?;
    tell.execute(params![object.as_str(), mark]).map(drop)
}

fn marks(transaction: &Transaction<'_>) -> rusqlite::Result<Marks> {
    let mut statement = transaction.prepare("SELECT object, mark FROM told")?;
    let mut rows = statement.query([])?;
    let mut marks = Marks::default();
    while let Some(row) = rows.next()? {
        let (object, mark): (String, i64) = (row.get(0)?, row.get(1)?);
        if object.is_empty() {
            marks.are_new = true;
            continue;
        }
        let object = Key::parse(&object).map_err(|error| damaged(0, error))?;
        marks.objects.insert(object, Mark(u64::from_be_bytes(mark.to_be_bytes())));
    }
    Ok(marks)
}

fn append_event(transaction: &Transaction<'_>, event: Event) -> rusqlite::Result<()> {
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
    let record: String = row.get(3)?;
    let record: Record = serde_json::from_str(&record).map_err(|error| damaged(3, error))?;
    let at_ms: i64 = row.get(1)?;
    Ok(record.into_event(parsed(row, 0)?, at_ms.unsigned_abs(), parsed(row, 2)?))
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| damaged(column, error))
}

fn damaged(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests;
