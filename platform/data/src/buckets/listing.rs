//! Listings: pages of keys in the order of their bytes, where what goes on with a delimiter is told as one common prefix.
//!
//! A common prefix costs one search in the index, however many keys have it: the next search begins behind all of them.

use crate::buckets::record::{Failed, read_key, read_object};
use rusqlite::{Connection, params};
use skiff_ports::buckets::{LIST_MAX, ObjectList, ObjectPage};
use skiff_types::ResourceId;

const FROM: &str = "SELECT key, size, etag, modified_at_ms, content FROM object
    WHERE bucket = ?1 AND key >= ?2 ORDER BY key";

/// A page of a bucket's objects.
pub(crate) fn list(
    connection: &Connection,
    bucket: ResourceId,
    list: &ObjectList,
) -> Result<ObjectPage, Failed> {
    let max = list.max.min(LIST_MAX) as usize;
    let mut page = ObjectPage::default();
    if max == 0 {
        return Ok(page);
    }
    let mut statement = connection.prepare_cached(FROM)?;
    let mut from = first(list);
    let mut last = None;
    'search: loop {
        let mut rows = statement.query(params![bucket.to_bytes(), from])?;
        while let Some(row) = rows.next()? {
            let key = read_key(row, 0)?;
            if !key.starts_with(&list.prefix) {
                break 'search;
            }
            if page.objects.len() + page.common_prefixes.len() == max {
                page.next = last;
                break 'search;
            }
            if let Some(prefix) = common_prefix(&key, list) {
                from = behind(prefix);
                page.common_prefixes.push(prefix.to_owned());
                last = Some(prefix.to_owned());
                continue 'search;
            }
            page.objects.push(read_object(row)?);
            last = Some(key);
        }
        break;
    }
    Ok(page)
}

/// Where a listing begins: nothing of it is before these bytes.
fn first(list: &ObjectList) -> Vec<u8> {
    let prefix = list.prefix.as_bytes().to_vec();
    let Some(after) = &list.after else { return prefix };
    match common_prefix(after, list) {
        // It was told, or is before what was: none of its keys is told again.
        Some(told) => behind(told),
        None => {
            let mut next = after.as_bytes().to_vec();
            next.push(0);
            next.max(prefix)
        }
    }
}

/// As what a key is told, if not as itself.
fn common_prefix<'a>(key: &'a str, list: &ObjectList) -> Option<&'a str> {
    let delimiter = list.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.strip_prefix(&list.prefix)?;
    let at = rest.find(delimiter)?;
    Some(&key[..list.prefix.len() + at + delimiter.len()])
}

/// The first bytes that are behind all that begins with this text, which is not empty. No byte of UTF-8 is the last there is.
fn behind(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}
