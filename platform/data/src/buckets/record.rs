//! What rows hold, apart from the port's types: where bytes lie, what was said of an object, by what it was written.
//!
//! What rows hold was written by this program, but lies on a disk: what can't be read is an error, never a panic.

use crate::buckets::blobs::BlobName;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::{Deserialize, Serialize};
use skiff_ports::buckets::{BucketError, Cause, ObjectContent, ObjectInfo, PartInfo};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why something over the database was not done.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It can't be so; the database is well.
    Refused(BucketError),
    /// The database failed.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<BucketError> for Failed {
    fn from(error: BucketError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failed> for BucketError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(error) => error,
            Failed::Database(error) => storage(Arc::new(error)),
        }
    }
}

/// What a caller is told of a failure of the database.
pub(crate) fn storage(error: Arc<rusqlite::Error>) -> BucketError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => BucketError::DiskFull,
        _ => BucketError::Storage(Box::new(error)),
    }
}

/// Says what can't be read of a row.
#[derive(Debug, thiserror::Error)]
#[error("the database holds {0}, which this program did not write")]
struct Damaged(&'static str);

/// What a row's column holds was not written by this program.
pub(crate) fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(Damaged(what)))
}

/// Where some bytes of an object lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the row of `small` with this id.
    Small(i64),
    /// In a blob.
    Blob(BlobName),
}

/// Some bytes of an object, one after the other: all of it, or a part of its upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) place: Place,
    pub(crate) bytes: u64,
}

/// A piece in a row: its kind, its name or its number, its bytes; numbers little-endian.
const PIECE_BYTES: usize = 1 + 16 + 8;
const SMALL: u8 = 0;
const BLOB: u8 = 1;

/// Pieces as a row has them.
pub(crate) fn write_pieces(pieces: &[Piece]) -> Vec<u8> {
    let mut written = Vec::with_capacity(pieces.len() * PIECE_BYTES);
    for piece in pieces {
        match piece.place {
            Place::Small(id) => {
                written.push(SMALL);
                written.extend_from_slice(&id.to_le_bytes());
                written.extend_from_slice(&[0; 8]);
            }
            Place::Blob(name) => {
                written.push(BLOB);
                written.extend_from_slice(&name.to_bytes());
            }
        }
        written.extend_from_slice(&piece.bytes.to_le_bytes());
    }
    written
}

/// The pieces in a row's column.
pub(crate) fn read_pieces(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Piece>> {
    let written: Vec<u8> = row.get(column)?;
    let (pieces, rest) = written.as_chunks::<PIECE_BYTES>();
    let pieces = pieces.iter().map(read_piece).collect::<Option<Vec<_>>>();
    pieces.filter(|_| rest.is_empty()).ok_or_else(|| damaged(column, "pieces of an object"))
}

fn read_piece(written: &[u8; PIECE_BYTES]) -> Option<Piece> {
    let (kind, rest) = written.split_first()?;
    let (place, bytes) = rest.split_at(16);
    let place = match *kind {
        SMALL => Place::Small(i64::from_le_bytes(place[..8].try_into().ok()?)),
        BLOB => Place::Blob(BlobName::from_bytes(place.try_into().ok()?)),
        _ => return None,
    };
    Some(Piece { place, bytes: u64::from_le_bytes(bytes.try_into().ok()?) })
}

/// What was said of an object, in JSON, without what was not said.
#[derive(Serialize, Deserialize)]
struct ContentRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_control: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// What was said of an object as a row has it: nothing if nothing was said.
pub(crate) fn write_content(content: &ObjectContent) -> Option<String> {
    if *content == ObjectContent::default() {
        return None;
    }
    let content = content.clone();
    let record = ContentRecord {
        content_type: content.content_type,
        content_encoding: content.content_encoding,
        content_language: content.content_language,
        content_disposition: content.content_disposition,
        cache_control: content.cache_control,
        expires: content.expires,
        metadata: content.metadata,
    };
    Some(serde_json::to_string(&record).expect("texts are printed as JSON"))
}

/// What a row's column says of its object.
pub(crate) fn read_content(row: &Row<'_>, column: usize) -> rusqlite::Result<ObjectContent> {
    let Some(written) = row.get::<_, Option<String>>(column)? else { return Ok(ObjectContent::default()) };
    let record: ContentRecord = parse(column, &written)?;
    Ok(ObjectContent {
        content_type: record.content_type,
        content_encoding: record.content_encoding,
        content_language: record.content_language,
        content_disposition: record.content_disposition,
        cache_control: record.cache_control,
        expires: record.expires,
        metadata: record.metadata,
    })
}

/// By what an object was written, in JSON.
#[derive(Serialize, Deserialize)]
struct CauseRecord {
    reason: String,
    requester: String,
    request_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
}

/// A cause as a row has it.
pub(crate) fn write_cause(cause: Cause) -> String {
    let Cause { reason, requester, request_id, source_ip } = cause;
    serde_json::to_string(&CauseRecord { reason, requester, request_id, source_ip })
        .expect("texts are printed as JSON")
}

/// The cause in a row's column.
pub(crate) fn read_cause(row: &Row<'_>, column: usize) -> rusqlite::Result<Cause> {
    let record: CauseRecord = parse(column, &row.get::<_, String>(column)?)?;
    let CauseRecord { reason, requester, request_id, source_ip } = record;
    Ok(Cause { reason, requester, request_id, source_ip })
}

fn parse<T: for<'a> Deserialize<'a>>(column: usize, written: &str) -> rusqlite::Result<T> {
    serde_json::from_str(written)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// The key in a row's column.
pub(crate) fn read_key(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes: Vec<u8> = row.get(column)?;
    String::from_utf8(bytes).map_err(|_| damaged(column, "a key that is no text"))
}

/// The number in a row's column: sizes and times, which are never below zero.
pub(crate) fn read_number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let written: i64 = row.get(column)?;
    u64::try_from(written).map_err(|_| damaged(column, "a number below zero"))
}

/// An object in a row that begins with `key, size, etag, modified_at_ms, content`.
pub(crate) fn read_object(row: &Row<'_>) -> rusqlite::Result<ObjectInfo> {
    Ok(ObjectInfo {
        key: read_key(row, 0)?,
        size: read_number(row, 1)?,
        etag: row.get(2)?,
        modified_at_ms: read_number(row, 3)?,
        content: read_content(row, 4)?,
    })
}

/// A part in a row that begins with `number, size, etag, modified_at_ms`.
pub(crate) fn read_part(row: &Row<'_>) -> rusqlite::Result<PartInfo> {
    Ok(PartInfo {
        number: row.get(0)?,
        size: read_number(row, 1)?,
        etag: row.get(2)?,
        modified_at_ms: read_number(row, 3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::Connection;

    fn piece() -> impl Strategy<Value = Piece> {
        let place = prop_oneof![
            any::<i64>().prop_map(Place::Small),
            any::<[u8; 16]>().prop_map(|name| Place::Blob(BlobName::from_bytes(name))),
        ];
        (place, any::<u64>()).prop_map(|(place, bytes)| Piece { place, bytes })
    }

    fn pieces_in(written: &[u8]) -> rusqlite::Result<Vec<Piece>> {
        let connection = Connection::open_in_memory().unwrap();
        connection.query_row("SELECT ?1", [written], |row| read_pieces(row, 0))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn pieces_are_read_as_they_were_written(pieces in prop::collection::vec(piece(), 0..8)) {
            prop_assert_eq!(pieces_in(&write_pieces(&pieces)).unwrap(), pieces);
        }

        #[test]
        fn what_nobody_wrote_is_an_error(written in prop::collection::vec(2_u8.., 1..100)) {
            prop_assert!(pieces_in(&written).is_err());
        }
    }
}
