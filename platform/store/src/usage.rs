//! The usage log in an SQLite file of its own: a table with a row for each account and record.
//!
//! It lies apart from the store because it is a series, not objects: it may be large, nobody watches it, and it need
//! not be in memory. What is kept how long is its caller's business.
//!
//! What always holds: a call is one transaction, so that no charge is counted twice or lost, whenever the process ends.

use crate::database::Tuning;
use crate::log_file::LogFile;
use async_trait::async_trait;
use rusqlite::{Row, Transaction, params};
use skiff_ports::store::StoreError;
use skiff_ports::usage::{Fold, TASKS_PER_GROUP_MAX, UsageLog, UsageQuery, UsageSums};
use skiff_types::{Account, Charge, Grain, Usage};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// As in [`crate::schema::MIGRATIONS`], for this file.
const MIGRATIONS: &[&str] = &[
    // `span_ms` is the grain's; `task` is empty where tasks are not told apart, and so is `namespace` of an account
    // that has none. `log.began_ms` is when the file was made.
    "CREATE TABLE used (
        span_ms INTEGER NOT NULL,
        start_ms INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        account TEXT NOT NULL,
        task TEXT NOT NULL,
        requests INTEGER NOT NULL,
        cpu_ns INTEGER NOT NULL,
        memory_kib_ms INTEGER NOT NULL,
        received_bytes INTEGER NOT NULL,
        sent_bytes INTEGER NOT NULL,
        cold_starts INTEGER NOT NULL,
        PRIMARY KEY (span_ms, start_ms, namespace, account, task)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE log (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        began_ms INTEGER NOT NULL
    ) STRICT;",
];

/// Ends a statement that inserts into `used`: what is there already is added to.
const ADD_UP: &str = "ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
    cpu_ns = cpu_ns + excluded.cpu_ns, memory_kib_ms = memory_kib_ms + excluded.memory_kib_ms,
    received_bytes = received_bytes + excluded.received_bytes, sent_bytes = sent_bytes + excluded.sent_bytes,
    cold_starts = cold_starts + excluded.cold_starts";
/// The sums of the six figures.
const SUMS: &str = "sum(requests) AS requests, sum(cpu_ns) AS cpu_ns, sum(memory_kib_ms) AS memory_kib_ms,
    sum(received_bytes) AS received_bytes, sum(sent_bytes) AS sent_bytes, sum(cold_starts) AS cold_starts";

/// How [`Account::Platform`] and [`Account::Earlier`] stand in the table; a group's account has a colon.
const PLATFORM: &str = "platform";
const EARLIER: &str = "earlier";

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct SqliteUsage {
    file: LogFile,
}

impl SqliteUsage {
    /// Opens the log in the file at `path`, or creates it, readable by its owner alone. The folder must exist.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = LogFile::open(path, MIGRATIONS, &Tuning::default())?;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let begin = "INSERT OR IGNORE INTO log (id, began_ms) VALUES (0, ?1)";
        file.transact_here(|transaction| transaction.execute(begin, [now_ms]))?;
        Ok(Self { file })
    }
}

#[async_trait]
impl UsageLog for SqliteUsage {
    async fn add(&self, at_ms: u64, charges: Vec<Charge>) -> Result<(), StoreError> {
        self.file
            .transact(move |transaction| {
                charges.iter().try_for_each(|charge| add(transaction, at_ms, charge))
            })
            .await
    }

    async fn fold(&self, folds: Vec<Fold>) -> Result<(), StoreError> {
        self.file.transact(move |transaction| folds.iter().try_for_each(|due| fold(transaction, due))).await
    }

    async fn read(&self, query: UsageQuery) -> Result<UsageSums, StoreError> {
        self.file.transact(move |transaction| read(transaction, query)).await
    }
}

fn add(transaction: &Transaction<'_>, at_ms: u64, charge: &Charge) -> rusqlite::Result<()> {
    let (span_ms, start_ms) = (Grain::Minute.span_ms() as i64, Grain::Minute.start_ms(at_ms) as i64);
    let (namespace, account, mut task) = columns(&charge.account);
    if !task.is_empty() {
        let others = "SELECT count(*) FROM used WHERE span_ms = ?1 AND start_ms = ?2 AND namespace = ?3
            AND account = ?4 AND task NOT IN ('', ?5)";
        let mut others = transaction.prepare_cached(others)?;
        let others: u32 =
            others.query_row(params![span_ms, start_ms, namespace, account, task], |row| row.get(0))?;
        if others >= TASKS_PER_GROUP_MAX {
            task.clear();
        }
    }
    let used = &charge.used;
    transaction
        .prepare_cached(&format!(
            "INSERT INTO used VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) {ADD_UP}"
        ))?
        .execute(params![
            span_ms,
            start_ms,
            namespace,
            account,
            task,
            used.requests as i64,
            used.cpu_ns as i64,
            used.memory_kib_ms as i64,
            used.received_bytes as i64,
            used.sent_bytes as i64,
            used.cold_starts as i64,
        ])
        .map(drop)
}

/// Tasks are told apart up to the hour, those that used most CPU time; groups up to the day.
fn fold(transaction: &Transaction<'_>, fold: &Fold) -> rusqlite::Result<()> {
    let Fold { from, to, before_ms } = *fold;
    let (namespace, account, task) = match to {
        Grain::Minute | Grain::Hour => {
            ("namespace", "account", format!("iif(place <= {TASKS_PER_GROUP_MAX}, task, '')"))
        }
        Grain::Day => ("namespace", "account", "''".to_owned()),
        Grain::Ever => ("''", "iif(account = 'platform', 'platform', 'earlier')", "''".to_owned()),
    };
    let start = if to == Grain::Ever { "0" } else { "start_ms - start_ms % ?2" };
    let statement = format!(
        "INSERT INTO used
        WITH due AS (
            SELECT {start} AS start, namespace, account, task, {SUMS}
            FROM used WHERE span_ms = ?1 AND start_ms < ?3 GROUP BY 1, 2, 3, 4
        ), placed AS (
            SELECT *, row_number() OVER (PARTITION BY start, namespace, account ORDER BY cpu_ns DESC) AS place FROM due
        )
        SELECT ?2, start, {namespace}, {account}, {task}, {SUMS} FROM placed GROUP BY 1, 2, 3, 4, 5 {ADD_UP}"
    );
    let (span_ms, before_ms) = (from.span_ms() as i64, before_ms as i64);
    transaction.prepare_cached(&statement)?.execute(params![span_ms, to.span_ms() as i64, before_ms])?;
    let folded = "DELETE FROM used WHERE span_ms = ?1 AND start_ms < ?2";
    transaction.prepare_cached(folded)?.execute(params![span_ms, before_ms]).map(drop)
}

fn read(transaction: &Transaction<'_>, query: UsageQuery) -> rusqlite::Result<UsageSums> {
    let began_ms: i64 = transaction.query_row("SELECT began_ms FROM log", [], |row| row.get(0))?;
    // Before all records, the one of all time among them.
    let since_ms = query.since_ms.map_or(-1, |since_ms| i64::try_from(since_ms).unwrap_or(i64::MAX));
    let first_ms: Option<i64> = transaction.query_row(
        "SELECT min(start_ms) FROM used WHERE start_ms + span_ms > ?1",
        [since_ms],
        |row| row.get(0),
    )?;
    let from_ms = first_ms.unwrap_or(since_ms).min(since_ms).max(began_ms);
    let task = if query.by_task { "task" } else { "''" };
    let statement = format!(
        "SELECT namespace, account, {task}, {SUMS} FROM used WHERE start_ms + span_ms > ?1 GROUP BY 1, 2, 3"
    );
    let mut statement = transaction.prepare_cached(&statement)?;
    let charges = statement.query_map([since_ms], charge)?.collect::<rusqlite::Result<_>>()?;
    Ok(UsageSums { from_ms: from_ms as u64, charges })
}

/// An account as its namespace, its name and its task.
fn columns(account: &Account) -> (String, String, String) {
    let none = String::new;
    match account {
        Account::Platform => (none(), PLATFORM.to_owned(), none()),
        Account::Earlier => (none(), EARLIER.to_owned(), none()),
        Account::Group { namespace, group, task } => (
            namespace.as_str().to_owned(),
            group.to_string(),
            task.map(|task| task.to_string()).unwrap_or_default(),
        ),
    }
}

fn charge(row: &Row<'_>) -> rusqlite::Result<Charge> {
    let text = |column: usize| row.get::<_, String>(column);
    let account = match text(1)?.as_str() {
        PLATFORM => Account::Platform,
        EARLIER => Account::Earlier,
        group => Account::Group {
            namespace: parsed(0, &text(0)?)?,
            group: parsed(1, group)?,
            task: match text(2)?.as_str() {
                "" => None,
                task => Some(parsed(2, task)?),
            },
        },
    };
    let figure = |column: usize| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let used = Usage {
        requests: figure(3)?,
        cpu_ns: figure(4)?,
        memory_kib_ms: figure(5)?,
        received_bytes: figure(6)?,
        sent_bytes: figure(7)?,
        cold_starts: figure(8)?,
    };
    Ok(Charge { account, used })
}

fn parsed<T>(column: usize, text: &str) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let damaged = |error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    };
    text.parse().map_err(damaged)
}

#[cfg(test)]
mod tests;
