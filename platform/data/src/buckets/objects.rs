//! Objects' rows: what a put, a copy and a deletion do to them, in the transaction that they are handed.
//!
//! What always holds after each: a blob's references are the objects and parts that name it; a bucket's counts are its objects'; an
//! object that was written or deleted has left one event.

use crate::buckets::blobs::BlobName;
use crate::buckets::record::{
    Failed, Piece, Place, read_key, read_number, read_object, read_pieces, write_content, write_pieces,
};
use crate::buckets::{elsewhere, events, uploads};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use skiff_ports::buckets::{
    BucketError, BucketStats, Cause, METADATA_BYTES_MAX, OBJECT_KEY_BYTES_MAX, ObjectContent, ObjectExpect,
    ObjectInfo, ObjectRef,
};
use skiff_types::ResourceId;

/// Bytes of what is said of an object besides its metadata, together.
const CONTENT_BYTES_MAX: usize = 8 << 10;
/// Objects that are forgotten with their bucket in one transaction.
const DROP_OBJECTS_MAX: usize = 500;
/// Pieces after which such a transaction takes no further object.
const DROP_PIECES_MAX: usize = 10_000;

const FIND: &str =
    "SELECT key, size, etag, modified_at_ms, content, pieces FROM object WHERE bucket = ?1 AND key = ?2";
const PUT: &str = "INSERT OR REPLACE INTO object (bucket, key, size, etag, modified_at_ms, content, pieces)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const DELETE: &str = "DELETE FROM object WHERE bucket = ?1 AND key = ?2";
const COUNT: &str = "INSERT INTO bucket (id, objects, bytes, uploads) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (id) DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes,
        uploads = uploads + excluded.uploads";
const EMPTY: &str = "DELETE FROM bucket WHERE id = ?1 AND objects = 0 AND uploads = 0";

/// Where bytes are that no row names yet.
pub(crate) enum NewPlace {
    /// They are to lie in the database.
    Small(Bytes),
    /// In this blob.
    Blob(BlobName),
}

/// An object, and where its bytes lie.
pub(crate) struct Found {
    pub(crate) info: ObjectInfo,
    pub(crate) pieces: Vec<Piece>,
}

/// How a bucket's counts change.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) objects: i64,
    pub(crate) bytes: i64,
    pub(crate) uploads: i64,
}

/// Whether an object may have this key, and this may be said of it.
pub(crate) fn check(key: &str, content: &ObjectContent) -> Result<(), BucketError> {
    let invalid = |reason: String| Err(BucketError::Invalid(reason));
    if key.is_empty() || key.len() > OBJECT_KEY_BYTES_MAX {
        return invalid(format!(
            "a key has between 1 and {OBJECT_KEY_BYTES_MAX} bytes of UTF-8, not {}",
            key.len()
        ));
    }
    let metadata = content.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if metadata > METADATA_BYTES_MAX {
        return invalid(format!(
            "an object's metadata may have {METADATA_BYTES_MAX} bytes, not {metadata}: say less"
        ));
    }
    let ObjectContent {
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        expires,
        metadata: _,
    } = content;
    let said =
        [content_type, content_encoding, content_language, content_disposition, cache_control, expires];
    let bytes = said.into_iter().flatten().map(String::len).sum::<usize>();
    if bytes > CONTENT_BYTES_MAX {
        return invalid(format!(
            "an object's headers may have {CONTENT_BYTES_MAX} bytes, not {bytes}: say less"
        ));
    }
    Ok(())
}

/// The object of a bucket with this key.
pub(crate) fn find(connection: &Connection, object: &ObjectRef) -> rusqlite::Result<Option<Found>> {
    let mut find = connection.prepare_cached(FIND)?;
    find.query_row(params![object.bucket.to_bytes(), object.key.as_bytes()], |row| {
        Ok(Found { info: read_object(row)?, pieces: read_pieces(row, 5)? })
    })
    .optional()
}

/// The same, if it must be there.
pub(crate) fn find_present(connection: &Connection, object: &ObjectRef) -> Result<Found, Failed> {
    find(connection, object)?.ok_or_else(|| BucketError::NoObject(object.key.clone()).into())
}

/// Whether what is there is what a write expects. `*` is the ETag of any object.
pub(crate) fn check_expected(
    found: Option<&ObjectInfo>,
    expect: &ObjectExpect,
    key: &str,
) -> Result<(), BucketError> {
    match (expect, found) {
        (ObjectExpect::Any, _) | (ObjectExpect::Absent, None) => Ok(()),
        (ObjectExpect::ETag(_), None) => Err(BucketError::NoObject(key.to_owned())),
        (ObjectExpect::ETag(etag), Some(info)) if etag == "*" || *etag == info.etag => Ok(()),
        (ObjectExpect::Absent | ObjectExpect::ETag(_), Some(_)) => Err(BucketError::Precondition),
    }
}

/// Has a row name bytes that were stored.
pub(crate) fn keep(connection: &Connection, place: NewPlace, bytes: u64) -> rusqlite::Result<Vec<Piece>> {
    let place = match place {
        NewPlace::Small(content) if content.is_empty() => return Ok(Vec::new()),
        NewPlace::Small(content) => {
            connection.prepare_cached("INSERT INTO small (bytes) VALUES (?1)")?.execute([&*content])?;
            Place::Small(connection.last_insert_rowid())
        }
        NewPlace::Blob(name) => {
            elsewhere::forget(connection, name)?;
            connection
                .prepare_cached("INSERT INTO blob (name, refs) VALUES (?1, 1)")?
                .execute([name.to_bytes()])?;
            Place::Blob(name)
        }
    };
    Ok(vec![Piece { place, bytes }])
}

/// Has one more row name the bytes of these pieces.
fn share(connection: &Connection, pieces: &[Piece]) -> rusqlite::Result<Vec<Piece>> {
    let share = |piece: &Piece| {
        let place = match piece.place {
            Place::Small(id) => {
                let copy = "INSERT INTO small (bytes) SELECT bytes FROM small WHERE id = ?1";
                connection.prepare_cached(copy)?.execute([id])?;
                Place::Small(connection.last_insert_rowid())
            }
            Place::Blob(name) => {
                let more = "UPDATE blob SET refs = refs + 1 WHERE name = ?1";
                connection.prepare_cached(more)?.execute([name.to_bytes()])?;
                piece.place
            }
        };
        Ok(Piece { place, bytes: piece.bytes })
    };
    pieces.iter().map(share).collect()
}

/// Has one row less name the bytes of these pieces.
pub(crate) fn release(connection: &Connection, pieces: &[Piece]) -> rusqlite::Result<()> {
    for piece in pieces {
        match piece.place {
            Place::Small(id) => {
                connection.prepare_cached("DELETE FROM small WHERE id = ?1")?.execute([id])?;
            }
            Place::Blob(name) => {
                let less = "UPDATE blob SET refs = refs - 1 WHERE name = ?1";
                connection.prepare_cached(less)?.execute([name.to_bytes()])?;
            }
        }
    }
    Ok(())
}

/// Changes a bucket's counts. One that holds nothing any more has no row: nobody would come to remove it.
pub(crate) fn count(connection: &Connection, bucket: ResourceId, change: &Change) -> rusqlite::Result<()> {
    let Change { objects, bytes, uploads } = change;
    connection.prepare_cached(COUNT)?.execute(params![bucket.to_bytes(), objects, bytes, uploads])?;
    if *objects < 0 || *uploads < 0 {
        connection.prepare_cached(EMPTY)?.execute([bucket.to_bytes()])?;
    }
    Ok(())
}

/// Puts an object in the place of what was there, and leaves an event.
pub(crate) fn write(
    connection: &Connection,
    bucket: ResourceId,
    info: &ObjectInfo,
    pieces: &[Piece],
    by: Cause,
) -> rusqlite::Result<()> {
    let object = ObjectRef { bucket, key: info.key.clone() };
    let mut change = Change { objects: 1, bytes: info.size as i64, uploads: 0 };
    if let Some(old) = find(connection, &object)? {
        release(connection, &old.pieces)?;
        change.objects -= 1;
        change.bytes -= old.info.size as i64;
    }
    connection.prepare_cached(PUT)?.execute(params![
        bucket.to_bytes(),
        info.key.as_bytes(),
        info.size as i64,
        info.etag,
        info.modified_at_ms as i64,
        write_content(&info.content),
        write_pieces(pieces),
    ])?;
    count(connection, bucket, &change)?;
    events::leave(connection, &object, info.modified_at_ms, Some((info.size, &info.etag)), by)
}

/// Puts an object whose bytes were stored, if what is there is what was expected.
pub(crate) fn put(
    connection: &Connection,
    bucket: ResourceId,
    expect: &ObjectExpect,
    info: &ObjectInfo,
    place: NewPlace,
    by: Cause,
) -> Result<(), Failed> {
    check_place(connection, bucket, &info.key, expect)?;
    let pieces = keep(connection, place, info.size)?;
    Ok(write(connection, bucket, info, &pieces, by)?)
}

/// Whether what is at a key is what a write expects.
pub(crate) fn check_place(
    connection: &Connection,
    bucket: ResourceId,
    key: &str,
    expect: &ObjectExpect,
) -> Result<(), Failed> {
    if *expect == ObjectExpect::Any {
        return Ok(());
    }
    let found = find(connection, &ObjectRef { bucket, key: key.to_owned() })?;
    Ok(check_expected(found.as_ref().map(|found| &found.info), expect, key)?)
}

/// A copy to be made.
pub(crate) struct Copying {
    pub(crate) from: ObjectRef,
    pub(crate) from_expect: ObjectExpect,
    pub(crate) to: ObjectRef,
    pub(crate) expect: ObjectExpect,
    /// What is said of the copy; what is said of the other if `None`.
    pub(crate) content: Option<ObjectContent>,
    pub(crate) by: Cause,
    pub(crate) at_ms: u64,
}

/// Puts an object that has the bytes of another, without copying those in blobs. It keeps the other's ETag.
pub(crate) fn copy(connection: &Connection, copying: Copying) -> Result<ObjectInfo, Failed> {
    let Copying { from, from_expect, to, expect, content, by, at_ms } = copying;
    let found = find_present(connection, &from)?;
    check_expected(Some(&found.info), &from_expect, &from.key)?;
    check_place(connection, to.bucket, &to.key, &expect)?;
    // Before what is there is released: it may be the same.
    let pieces = share(connection, &found.pieces)?;
    let info = ObjectInfo {
        key: to.key,
        size: found.info.size,
        etag: found.info.etag,
        modified_at_ms: at_ms,
        content: content.unwrap_or(found.info.content),
    };
    write(connection, to.bucket, &info, &pieces, by)?;
    Ok(info)
}

/// Deletes an object, and leaves an event if there was one.
pub(crate) fn delete(
    connection: &Connection,
    object: &ObjectRef,
    expect: &ObjectExpect,
    by: Cause,
    at_ms: u64,
) -> Result<bool, Failed> {
    let Some(found) = find(connection, object)? else {
        return match expect {
            ObjectExpect::Any | ObjectExpect::Absent => Ok(false),
            ObjectExpect::ETag(_) => Err(BucketError::Precondition.into()),
        };
    };
    check_expected(Some(&found.info), expect, &object.key)?;
    forget(connection, object.bucket, &object.key)?;
    release(connection, &found.pieces)?;
    let change = Change { objects: -1, bytes: -(found.info.size as i64), uploads: 0 };
    count(connection, object.bucket, &change)?;
    events::leave(connection, object, at_ms, None, by)?;
    Ok(true)
}

fn forget(connection: &Connection, bucket: ResourceId, key: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(DELETE)?.execute(params![bucket.to_bytes(), key.as_bytes()]).map(drop)
}

/// Forgets some of what a bucket holds; says whether that was all.
pub(crate) fn drop_some(connection: &Connection, bucket: ResourceId) -> Result<bool, Failed> {
    let some = some_objects(connection, bucket)?;
    let mut change = Change::default();
    for (key, size, pieces) in &some {
        forget(connection, bucket, key)?;
        release(connection, pieces)?;
        change.objects -= 1;
        change.bytes -= *size as i64;
    }
    if !some.is_empty() {
        count(connection, bucket, &change)?;
        return Ok(false);
    }
    if uploads::abort_one(connection, bucket)? {
        return Ok(false);
    }
    connection.prepare_cached("DELETE FROM bucket WHERE id = ?1")?.execute([bucket.to_bytes()])?;
    Ok(true)
}

/// Some objects of a bucket: their keys, their sizes, and where their bytes lie.
fn some_objects(
    connection: &Connection,
    bucket: ResourceId,
) -> rusqlite::Result<Vec<(String, u64, Vec<Piece>)>> {
    let mut statement =
        connection.prepare_cached("SELECT key, size, pieces FROM object WHERE bucket = ?1")?;
    let mut rows = statement.query([bucket.to_bytes()])?;
    let mut some = Vec::new();
    let mut pieces_seen = 0;
    while some.len() < DROP_OBJECTS_MAX && pieces_seen < DROP_PIECES_MAX {
        let Some(row) = rows.next()? else { break };
        let pieces = read_pieces(row, 2)?;
        pieces_seen += pieces.len();
        some.push((read_key(row, 0)?, read_number(row, 1)?, pieces));
    }
    Ok(some)
}

/// What a bucket holds.
pub(crate) fn stats(connection: &Connection, bucket: ResourceId) -> rusqlite::Result<BucketStats> {
    let mut stats = connection.prepare_cached("SELECT objects, bytes FROM bucket WHERE id = ?1")?;
    let read = stats.query_row([bucket.to_bytes()], |row| {
        Ok(BucketStats { objects: read_number(row, 0)?, bytes: read_number(row, 1)? })
    });
    Ok(read.optional()?.unwrap_or_default())
}

/// All buckets that hold something.
pub(crate) fn buckets(connection: &Connection) -> rusqlite::Result<Vec<ResourceId>> {
    let mut buckets =
        connection.prepare_cached("SELECT id FROM bucket WHERE objects > 0 OR uploads > 0 ORDER BY id")?;
    let read = buckets.query_map([], |row| Ok(ResourceId::from_bytes(row.get(0)?)))?;
    read.collect()
}
