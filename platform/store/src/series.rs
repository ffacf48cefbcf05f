//! The series in an SQLite file of their own: a table of series, and a table of points for each resolution.
//!
//! It lies apart from the store because it is measurements, not objects. What is kept how long is its caller's business. A
//! call waits for the operating system and not for the drive: what it wrote outlives the process, and measurements are no
//! promises, so that the newest of them may be lost with the machine's power.
//!
//! What always holds: a call is one transaction; a series that is known has a point.

use crate::database::Tuning;
use crate::log_file::LogFile;
use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use skiff_ports::series::{KnownSeries, SeriesLog, SeriesPoint, SeriesQuery};
use skiff_ports::store::StoreError;
use skiff_types::{Datum, Dimensions, MetricName, MetricOf, Resolution, SeriesId, Sketch};
use std::collections::HashMap;
use std::path::Path;

/// As in [`crate::schema::MIGRATIONS`], for this file.
const MIGRATIONS: &[&str] = &[
    // `at` counts spans of the resolution from 1970; `sketch` is pairs of
    // a place and a count, little-endian, 2 and 8 bytes each.
    "CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        metric TEXT NOT NULL,
        dimensions TEXT NOT NULL,
        UNIQUE (owner, metric, dimensions)
    ) STRICT;
    CREATE TABLE second (
        series INTEGER NOT NULL,
        at INTEGER NOT NULL,
        count INTEGER NOT NULL,
        sum REAL NOT NULL,
        min REAL NOT NULL,
        max REAL NOT NULL,
        sketch BLOB,
        PRIMARY KEY (series, at)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX second_by_time ON second (at);
    CREATE TABLE minute (
        series INTEGER NOT NULL,
        at INTEGER NOT NULL,
        count INTEGER NOT NULL,
        sum REAL NOT NULL,
        min REAL NOT NULL,
        max REAL NOT NULL,
        sketch BLOB,
        PRIMARY KEY (series, at)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX minute_by_time ON minute (at);",
];

/// Places of seconds from the first of a minute to that of the next.
const SECONDS_OF_MINUTE: i64 = (Resolution::Minute.span_ms() / Resolution::Second.span_ms()) as i64;
/// Bytes of a bucket of a sketch.
const BUCKET_BYTES: usize = size_of::<i16>() + size_of::<u64>();

/// A row that holds something else than what this program wrote.
#[derive(Debug, thiserror::Error)]
#[error("the database holds {0} that is none")]
struct Damaged(&'static str);

/// The series. Cheap to clone.
#[derive(Clone)]
pub struct SqliteSeries {
    file: LogFile,
}

impl SqliteSeries {
    /// Opens the series in the file at `path`, or creates it, readable by its owner alone. The folder must exist.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let tuning = Tuning { synchronous: "NORMAL", ..Tuning::default() };
        Ok(Self { file: LogFile::open(path, MIGRATIONS, &tuning)? })
    }
}

#[async_trait]
impl SeriesLog for SqliteSeries {
    async fn append(&self, points: Vec<SeriesPoint>) -> Result<(), StoreError> {
        self.file.transact(move |transaction| append(transaction, &points)).await
    }

    async fn read(&self, query: SeriesQuery) -> Result<Vec<(u64, Datum)>, StoreError> {
        self.file.transact(move |transaction| read(transaction, &query)).await
    }

    async fn seconds(&self, from_ms: u64) -> Result<Vec<SeriesPoint>, StoreError> {
        self.file.transact(move |transaction| seconds(transaction, from_ms)).await
    }

    async fn list(&self) -> Result<Vec<KnownSeries>, StoreError> {
        self.file.transact(list).await
    }

    async fn forget(&self, resolution: Resolution, before_ms: u64) -> Result<(), StoreError> {
        self.file.transact(move |transaction| forget(transaction, resolution, before_ms)).await
    }

    async fn remove(&self, series: Vec<SeriesId>) -> Result<(), StoreError> {
        self.file
            .transact(move |transaction| series.iter().try_for_each(|series| remove(transaction, series)))
            .await
    }
}

fn append(transaction: &Transaction<'_>, points: &[SeriesPoint]) -> rusqlite::Result<()> {
    let mut ids: HashMap<&SeriesId, i64> = HashMap::new();
    for point in points {
        let id = match ids.get(&point.series) {
            Some(id) => *id,
            None => {
                let id = id_of(transaction, &point.series)?;
                ids.insert(&point.series, id);
                id
            }
        };
        let Datum { count, sum, min, max, sketch } = &point.datum;
        let table = table(point.resolution);
        transaction
            .prepare_cached(&format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"))?
            .execute(params![
                id,
                place(point.resolution, point.at_ms),
                i64::try_from(*count).unwrap_or(i64::MAX),
                sum,
                min,
                max,
                sketch.as_deref().map(packed),
            ])?;
    }
    Ok(())
}

/// The row of a series, which is made if it is not there.
fn id_of(transaction: &Transaction<'_>, series: &SeriesId) -> rusqlite::Result<i64> {
    if let Some(id) = id_if_known(transaction, series)? {
        return Ok(id);
    }
    let (owner, dimensions) = (series.of.to_string(), series.dimensions.to_string());
    transaction
        .prepare_cached("INSERT INTO series (owner, metric, dimensions) VALUES (?1, ?2, ?3)")?
        .execute(params![owner, series.metric.as_str(), dimensions])?;
    Ok(transaction.last_insert_rowid())
}

fn id_if_known(transaction: &Transaction<'_>, series: &SeriesId) -> rusqlite::Result<Option<i64>> {
    let (owner, dimensions) = (series.of.to_string(), series.dimensions.to_string());
    transaction
        .prepare_cached("SELECT id FROM series WHERE owner = ?1 AND metric = ?2 AND dimensions = ?3")?
        .query_row(params![owner, series.metric.as_str(), dimensions], |row| row.get(0))
        .optional()
}

fn read(transaction: &Transaction<'_>, query: &SeriesQuery) -> rusqlite::Result<Vec<(u64, Datum)>> {
    let Some(id) = id_if_known(transaction, &query.series)? else { return Ok(Vec::new()) };
    let SeriesQuery { resolution, from_ms, to_ms, .. } = *query;
    let table = table(resolution);
    let statement = format!(
        "SELECT at, count, sum, min, max, sketch FROM {table} WHERE series = ?1 AND at >= ?2 AND at < ?3 ORDER BY at"
    );
    let from = place(resolution, from_ms.saturating_add(resolution.span_ms() - 1));
    let to = place(resolution, to_ms.saturating_add(resolution.span_ms() - 1));
    let mut statement = transaction.prepare_cached(&statement)?;
    let point = |row: &Row<'_>| -> rusqlite::Result<(u64, Datum)> {
        Ok((row.get::<_, i64>(0)? as u64 * resolution.span_ms(), datum(row, 1)?))
    };
    statement.query_map(params![id, from, to], point)?.collect()
}

fn seconds(transaction: &Transaction<'_>, from_ms: u64) -> rusqlite::Result<Vec<SeriesPoint>> {
    let resolution = Resolution::Second;
    let from = place(resolution, from_ms.saturating_add(resolution.span_ms() - 1));
    let first: Option<i64> = transaction
        .prepare_cached("SELECT min(at) FROM second WHERE at >= ?1")?
        .query_row([from], |row| row.get(0))?;
    let Some(first) = first else { return Ok(Vec::new()) };
    let mut statement = transaction.prepare_cached(
        "SELECT series, at, count, sum, min, max, sketch FROM second WHERE at >= ?1 AND at < ?2 ORDER BY at, series",
    )?;
    let mut known: HashMap<i64, SeriesId> = HashMap::new();
    let point = |row: &Row<'_>| -> rusqlite::Result<SeriesPoint> {
        let id: i64 = row.get(0)?;
        let series = match known.get(&id) {
            Some(series) => series.clone(),
            None => known.entry(id).or_insert(with_id(transaction, id)?).clone(),
        };
        let at_ms = row.get::<_, i64>(1)? as u64 * resolution.span_ms();
        Ok(SeriesPoint { series, resolution, at_ms, datum: datum(row, 2)? })
    };
    statement.query_map([first, first + SECONDS_OF_MINUTE], point)?.collect()
}

fn list(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<KnownSeries>> {
    let mut statement = transaction.prepare(
        "SELECT id, (SELECT max(at) FROM second WHERE series = id), (SELECT max(at) FROM minute WHERE series = id)
        FROM series",
    )?;
    let mut known = ids(transaction)?;
    type Last = (i64, Option<i64>, Option<i64>);
    let last = |row: &Row<'_>| -> rusqlite::Result<Last> { Ok((row.get(0)?, row.get(1)?, row.get(2)?)) };
    let last = statement.query_map([], last)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let ms = |at: Option<i64>, resolution: Resolution| at.map_or(0, |at| at as u64 * resolution.span_ms());
    let series = last.into_iter().filter_map(|(id, second, minute)| {
        Some(KnownSeries {
            series: known.remove(&id)?,
            last_second_ms: ms(second, Resolution::Second),
            last_minute_ms: ms(minute, Resolution::Minute),
        })
    });
    Ok(series.collect())
}

/// All series by their rows.
fn ids(transaction: &Transaction<'_>) -> rusqlite::Result<HashMap<i64, SeriesId>> {
    let mut statement = transaction.prepare("SELECT id, owner, metric, dimensions FROM series")?;
    statement.query_map([], |row| Ok((row.get(0)?, series(row, 1)?)))?.collect()
}

/// The series of a row.
fn with_id(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<SeriesId> {
    let known = transaction
        .prepare_cached("SELECT owner, metric, dimensions FROM series WHERE id = ?1")?
        .query_row([id], |row| series(row, 0))
        .optional()?;
    known.ok_or_else(|| damaged(0, Damaged("a series")))
}

/// The series in a row's columns from `first` on.
fn series(row: &Row<'_>, first: usize) -> rusqlite::Result<SeriesId> {
    let text = |column: usize| row.get::<_, String>(column);
    let (metric, dimensions) = (first + 1, first + 2);
    Ok(SeriesId {
        of: text(first)?.parse::<MetricOf>().map_err(|error| damaged(first, error))?,
        metric: text(metric)?.parse::<MetricName>().map_err(|error| damaged(metric, error))?,
        dimensions: text(dimensions)?.parse::<Dimensions>().map_err(|error| damaged(dimensions, error))?,
    })
}

fn forget(transaction: &Transaction<'_>, resolution: Resolution, before_ms: u64) -> rusqlite::Result<()> {
    let table = table(resolution);
    let before = place(resolution, before_ms.saturating_add(resolution.span_ms() - 1));
    let forgotten =
        transaction.prepare_cached(&format!("DELETE FROM {table} WHERE at < ?1"))?.execute([before])?;
    if forgotten > 0 {
        transaction
            .prepare_cached(
                "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM second WHERE series = id)
                AND NOT EXISTS (SELECT 1 FROM minute WHERE series = id)",
            )?
            .execute([])?;
    }
    Ok(())
}

fn remove(transaction: &Transaction<'_>, series: &SeriesId) -> rusqlite::Result<()> {
    let Some(id) = id_if_known(transaction, series)? else { return Ok(()) };
    for resolution in [Resolution::Second, Resolution::Minute] {
        let statement = format!("DELETE FROM {} WHERE series = ?1", table(resolution));
        transaction.prepare_cached(&statement)?.execute([id])?;
    }
    transaction.prepare_cached("DELETE FROM series WHERE id = ?1")?.execute([id])?;
    Ok(())
}

fn table(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Second => "second",
        Resolution::Minute => "minute",
    }
}

/// Which span from 1970 on a time falls into.
fn place(resolution: Resolution, at_ms: u64) -> i64 {
    i64::try_from(at_ms / resolution.span_ms()).expect("a span is many milliseconds")
}

/// The values in a row's columns from `first` on.
fn datum(row: &Row<'_>, first: usize) -> rusqlite::Result<Datum> {
    let sketch: Option<Vec<u8>> = row.get(first + 4)?;
    let sketch = match sketch {
        None => None,
        Some(packed) => {
            let sketch = unpacked(&packed).ok_or_else(|| damaged(first + 4, Damaged("a sketch")))?;
            Some(Box::new(sketch))
        }
    };
    Ok(Datum {
        count: row.get::<_, i64>(first)?.unsigned_abs(),
        sum: row.get(first + 1)?,
        min: row.get(first + 2)?,
        max: row.get(first + 3)?,
        sketch,
    })
}

fn packed(sketch: &Sketch) -> Vec<u8> {
    let bucket = |(place, count): &(i16, u64)| place.to_le_bytes().into_iter().chain(count.to_le_bytes());
    sketch.buckets().iter().flat_map(bucket).collect()
}

fn unpacked(packed: &[u8]) -> Option<Sketch> {
    let (buckets, rest) = packed.as_chunks::<BUCKET_BYTES>();
    let bucket = |bytes: &[u8; BUCKET_BYTES]| {
        let (place, count) = bytes.split_at(size_of::<i16>());
        Some((i16::from_le_bytes(place.try_into().ok()?), u64::from_le_bytes(count.try_into().ok()?)))
    };
    let buckets = buckets.iter().map(bucket).collect::<Option<Vec<_>>>()?;
    rest.is_empty().then(|| Sketch::from_buckets(buckets)).flatten()
}

fn damaged(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests;
