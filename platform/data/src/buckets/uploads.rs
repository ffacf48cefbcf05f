//! Uploads in parts: their rows and their parts', in the transaction that they are handed.
//!
//! The object that an upload comes to names its parts' bytes where they lie: nothing is copied. Uploads that nobody completes stay
//! until they are given up, as at S3.

use crate::buckets::objects::{self, Change, NewPlace, count, keep, release};
use crate::buckets::record::{
    Failed, Piece, damaged, read_content, read_key, read_number, read_part, read_pieces, write_content,
    write_pieces,
};
use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, params};
use skiff_ports::buckets::{
    BucketError, Cause, LIST_MAX, ObjectContent, ObjectExpect, ObjectInfo, ObjectRef, PART_BYTES_MIN,
    PARTS_MAX, PartInfo, UploadInfo, UploadRef,
};
use skiff_types::ResourceId;

const CREATE: &str = "INSERT INTO upload (bucket, key, id, began_at_ms, content) VALUES (?1, ?2, ?3, ?4, ?5)";
const CONTENT: &str = "SELECT content FROM upload WHERE bucket = ?1 AND key = ?2 AND id = ?3";
const FORGET: &str = "DELETE FROM upload WHERE bucket = ?1 AND key = ?2 AND id = ?3";
const LIST: &str = "SELECT key, id, began_at_ms FROM upload WHERE bucket = ?1 AND (key, id) > (?2, ?3)
    ORDER BY key, id";
const PUT_PART: &str = "INSERT OR REPLACE INTO part (upload, number, size, etag, modified_at_ms, pieces)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const PART: &str = "SELECT size, etag, pieces FROM part WHERE upload = ?1 AND number = ?2";
const PARTS: &str = "SELECT number, size, etag, modified_at_ms FROM part WHERE upload = ?1 AND number > ?2
    ORDER BY number LIMIT ?3";

/// Begins an upload.
pub(crate) fn create(
    connection: &Connection,
    upload: &UploadRef,
    content: &ObjectContent,
    at_ms: u64,
) -> rusqlite::Result<()> {
    let UploadRef { object, id } = upload;
    let (bucket, key) = (object.bucket.to_bytes(), object.key.as_bytes());
    connection.prepare_cached(CREATE)?.execute(params![
        bucket,
        key,
        id,
        at_ms as i64,
        write_content(content)
    ])?;
    count(connection, object.bucket, &Change { uploads: 1, ..Change::default() })
}

/// What was said of the object of an upload that there must be.
pub(crate) fn find(connection: &Connection, upload: &UploadRef) -> Result<ObjectContent, Failed> {
    let UploadRef { object, id } = upload;
    let mut find = connection.prepare_cached(CONTENT)?;
    let content = find
        .query_row(params![object.bucket.to_bytes(), object.key.as_bytes(), id], |row| read_content(row, 0))
        .optional()?;
    content.ok_or_else(|| BucketError::NoUpload(id.clone()).into())
}

/// Takes in a part whose bytes were stored.
pub(crate) fn put_part(
    connection: &Connection,
    upload: &UploadRef,
    part: &PartInfo,
    place: NewPlace,
) -> Result<(), Failed> {
    find(connection, upload)?;
    let earlier = connection
        .prepare_cached("SELECT pieces FROM part WHERE upload = ?1 AND number = ?2")?
        .query_row(params![upload.id, part.number], |row| read_pieces(row, 0))
        .optional()?;
    if let Some(pieces) = earlier {
        release(connection, &pieces)?;
    }
    let pieces = keep(connection, place, part.size)?;
    connection.prepare_cached(PUT_PART)?.execute(params![
        upload.id,
        part.number,
        part.size as i64,
        part.etag,
        part.modified_at_ms as i64,
        write_pieces(&pieces),
    ])?;
    Ok(())
}

/// The parts after a number, and whether there are more.
pub(crate) fn parts(
    connection: &Connection,
    upload: &UploadRef,
    after: u32,
    max: u32,
) -> Result<(Vec<PartInfo>, bool), Failed> {
    find(connection, upload)?;
    let max = max.min(LIST_MAX);
    let mut statement = connection.prepare_cached(PARTS)?;
    let read = statement.query_map(params![upload.id, after, max + 1], read_part)?;
    let mut parts = read.collect::<rusqlite::Result<Vec<_>>>()?;
    let is_more = parts.len() > max as usize;
    parts.truncate(max as usize);
    // Who asks for none is not told to ask again.
    Ok((parts, is_more && max > 0))
}

/// An upload to be made an object of.
pub(crate) struct Completion {
    pub(crate) upload: UploadRef,
    /// Numbers and ETags.
    pub(crate) parts: Vec<(u32, String)>,
    pub(crate) expect: ObjectExpect,
    pub(crate) by: Cause,
    pub(crate) at_ms: u64,
}

/// Makes an object of an upload's parts.
pub(crate) fn complete(connection: &Connection, completion: Completion) -> Result<ObjectInfo, Failed> {
    let Completion { upload, parts, expect, by, at_ms } = completion;
    let content = match find(connection, &upload) {
        Err(gone @ Failed::Refused(BucketError::NoUpload(_))) => {
            return completed(connection, &upload, &parts, &expect)?.ok_or(gone);
        }
        found => found?,
    };
    check_order(&parts)?;
    let mut size = 0;
    let mut pieces = Vec::new();
    for (index, (number, etag)) in parts.iter().enumerate() {
        let part = connection
            .prepare_cached(PART)?
            .query_row(params![upload.id, number], |row| {
                Ok((read_number(row, 0)?, row.get::<_, String>(1)?, read_pieces(row, 2)?))
            })
            .optional()?;
        let Some((part_size, _, part_pieces)) = part.filter(|(_, stored, _)| stored == etag) else {
            return Err(BucketError::InvalidPart(*number).into());
        };
        if part_size < PART_BYTES_MIN && index + 1 < parts.len() {
            return Err(BucketError::PartTooSmall(*number).into());
        }
        size += part_size;
        pieces.extend(part_pieces);
    }
    let etag = etag_of(&parts).ok_or_else(|| damaged(1, "a part's ETag that is none"))?;
    objects::check_place(connection, upload.object.bucket, &upload.object.key, &expect)?;
    forget(connection, &upload, &parts)?;
    let info = ObjectInfo { key: upload.object.key, size, etag, modified_at_ms: at_ms, content };
    objects::write(connection, upload.object.bucket, &info, &pieces, by)?;
    Ok(info)
}

/// The object that an upload which is gone came to, if it is there as these parts make it: who did not hear that, since a crash came
/// between, asks again. Who expects something of what was there before is not told so: that can't be judged any more.
fn completed(
    connection: &Connection,
    upload: &UploadRef,
    parts: &[(u32, String)],
    expect: &ObjectExpect,
) -> rusqlite::Result<Option<ObjectInfo>> {
    let Some(etag) = etag_of(parts).filter(|_| *expect == ObjectExpect::Any) else { return Ok(None) };
    let found = objects::find(connection, &upload.object)?;
    Ok(found.map(|found| found.info).filter(|info| info.etag == etag))
}

/// The ETag of an object of these parts: of their MD5s, and how many they are. None if one's ETag is no MD5.
fn etag_of(parts: &[(u32, String)]) -> Option<String> {
    let mut digests = Md5::new();
    for (_, etag) in parts {
        let mut digest = [0; 16];
        hex::decode_to_slice(etag, &mut digest).ok()?;
        digests.update(digest);
    }
    Some(format!("{}-{}", hex::encode(digests.finalize()), parts.len()))
}

fn check_order(parts: &[(u32, String)]) -> Result<(), BucketError> {
    if parts.is_empty() {
        return Err(BucketError::Invalid("an upload is completed with at least one part".to_owned()));
    }
    if parts.len() > PARTS_MAX as usize {
        return Err(BucketError::Invalid(format!("an upload has {PARTS_MAX} parts at most")));
    }
    match parts.is_sorted_by(|(one, _), (next, _)| one < next) {
        true => Ok(()),
        false => Err(BucketError::PartOrder),
    }
}

/// Gives an upload up, with all its parts.
pub(crate) fn abort(connection: &Connection, upload: &UploadRef) -> Result<(), Failed> {
    find(connection, upload)?;
    Ok(forget(connection, upload, &[])?)
}

/// Gives one upload of a bucket up, if there is one; says whether there was.
pub(crate) fn abort_one(connection: &Connection, bucket: ResourceId) -> rusqlite::Result<bool> {
    let one = connection
        .prepare_cached("SELECT key, id FROM upload WHERE bucket = ?1 LIMIT 1")?
        .query_row([bucket.to_bytes()], |row| {
            Ok(UploadRef { object: ObjectRef { bucket, key: read_key(row, 0)? }, id: row.get(1)? })
        })
        .optional()?;
    let Some(upload) = one else { return Ok(false) };
    forget(connection, &upload, &[])?;
    Ok(true)
}

/// Forgets an upload and its parts; `kept` is parts whose bytes another row names now, in ascending order.
fn forget(connection: &Connection, upload: &UploadRef, kept: &[(u32, String)]) -> rusqlite::Result<()> {
    let mut all = connection.prepare_cached("SELECT number, pieces FROM part WHERE upload = ?1")?;
    let all = all
        .query_map([&upload.id], |row| Ok((row.get(0)?, read_pieces(row, 1)?)))?
        .collect::<rusqlite::Result<Vec<(u32, Vec<Piece>)>>>()?;
    for (number, pieces) in all {
        if kept.binary_search_by_key(&number, |(number, _)| *number).is_err() {
            release(connection, &pieces)?;
        }
    }
    connection.prepare_cached("DELETE FROM part WHERE upload = ?1")?.execute([&upload.id])?;
    let UploadRef { object, id } = upload;
    connection.prepare_cached(FORGET)?.execute(params![
        object.bucket.to_bytes(),
        object.key.as_bytes(),
        id
    ])?;
    count(connection, object.bucket, &Change { uploads: -1, ..Change::default() })
}

/// Uploads of a bucket whose keys begin with `prefix`, after a key and an id, and whether there are more.
pub(crate) fn list(
    connection: &Connection,
    bucket: ResourceId,
    prefix: &str,
    after: Option<(String, String)>,
    max: u32,
) -> rusqlite::Result<(Vec<UploadInfo>, bool)> {
    let max = max.min(LIST_MAX) as usize;
    let mut uploads = Vec::new();
    if max == 0 {
        return Ok((uploads, false));
    }
    // No id is empty: what begins with the prefix is after it.
    let first = (prefix.to_owned(), String::new());
    let (key, id) = after.map_or(first.clone(), |after| after.max(first));
    let mut statement = connection.prepare_cached(LIST)?;
    let mut rows = statement.query(params![bucket.to_bytes(), key.as_bytes(), id])?;
    while let Some(row) = rows.next()? {
        let key = read_key(row, 0)?;
        if !key.starts_with(prefix) {
            break;
        }
        if uploads.len() == max {
            return Ok((uploads, true));
        }
        uploads.push(UploadInfo { key, id: row.get(1)?, began_at_ms: read_number(row, 2)? });
    }
    Ok((uploads, false))
}
