//! The events that writes leave behind, until somebody has taken them.
//!
//! They are numbered in the order of the writes' transactions, and a number is never used twice; it is the sequencer, too.

use crate::buckets::record::{read_cause, read_key, read_number, write_cause};
use rusqlite::{Connection, Row, params};
use skiff_ports::buckets::{Cause, ObjectEvent, ObjectRef};
use skiff_types::ResourceId;

/// Events that are given out at once.
pub(crate) const EVENTS_MAX: usize = 1_000;

const LEAVE: &str =
    "INSERT INTO event (bucket, key, at_ms, size, etag, cause) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const OLDEST: &str = "SELECT number, bucket, key, at_ms, size, etag, cause FROM event
     WHERE number > ?1 ORDER BY number LIMIT ?2";

/// Leaves one: the object was written with this size and ETag, or deleted.
pub(crate) fn leave(
    connection: &Connection,
    object: &ObjectRef,
    at_ms: u64,
    created: Option<(u64, &str)>,
    by: Cause,
) -> rusqlite::Result<()> {
    let (size, etag) = created.unzip();
    connection
        .prepare_cached(LEAVE)?
        .execute(params![
            object.bucket.to_bytes(),
            object.key.as_bytes(),
            at_ms as i64,
            size.map(|size| size as i64),
            etag,
            write_cause(by),
        ])
        .map(drop)
}

/// The oldest behind this number, with theirs.
pub(crate) fn oldest(
    connection: &Connection,
    after: u64,
    max: usize,
) -> rusqlite::Result<Vec<(u64, ObjectEvent)>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let max = max.clamp(1, EVENTS_MAX) as i64;
    let mut statement = connection.prepare_cached(OLDEST)?;
    let read = statement.query_map([after, max], read)?;
    read.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<(u64, ObjectEvent)> {
    let number = read_number(row, 0)?;
    let bucket = ResourceId::from_bytes(row.get(1)?);
    let size = row.get::<_, Option<i64>>(4)?.map(|_| read_number(row, 4)).transpose()?;
    let event = ObjectEvent {
        object: ObjectRef { bucket, key: read_key(row, 2)? },
        at_ms: read_number(row, 3)?,
        sequencer: format!("{number:016x}"),
        created: size.zip(row.get(5)?),
        by: read_cause(row, 6)?,
    };
    Ok((number, event))
}

/// Forgets those of these numbers.
pub(crate) fn forget(connection: &Connection, numbers: &[u64]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM event WHERE number = ?1")?;
    numbers.iter().try_for_each(|number| statement.execute([*number as i64]).map(drop))
}
