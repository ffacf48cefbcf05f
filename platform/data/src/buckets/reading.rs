//! Gives an object's bytes out, as they were when it was opened, whatever becomes of it meanwhile.
//!
//! Whoever reads has the blobs of its object open, and the collector deletes none that are. What always holds: between the moment at
//! which a row is read and the one at which its blobs are open, nothing is chosen to be deleted ([`OpenBlobs::gate`]).

use crate::buckets::Core;
use crate::buckets::blobs::{BlobName, Blobs};
use crate::buckets::objects;
use crate::buckets::record::{Failed, Piece, Place, damaged};
use bytes::Bytes;
use futures::{StreamExt, stream};
use rusqlite::Connection;
use skiff_ports::buckets::{BucketError, ByteRange, ObjectBytes, ObjectInfo, ObjectRef};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Notify;

/// The blobs that are being read.
#[derive(Default)]
pub(crate) struct OpenBlobs {
    /// Held to read by whoever opens, to write by whoever chooses what to delete.
    gate: RwLock<()>,
    /// How often each is open.
    open: Mutex<HashMap<BlobName, u32>>,
    /// Told when one is no longer open.
    closed: Notify,
}

impl OpenBlobs {
    /// Chooses what to delete: nothing is opened meanwhile.
    pub(crate) fn shut(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody reads it; what is not may become so unless the gate is shut.
    pub(crate) fn is_open(&self, name: BlobName) -> bool {
        self.open().contains_key(&name)
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    /// Ends when a blob is no longer open.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, names: Vec<BlobName>) -> Opened {
        let mut open = self.open();
        for name in &names {
            *open.entry(*name).or_default() += 1;
        }
        drop(open);
        Opened { blobs: self.clone(), names }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<BlobName, u32>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blobs that stay until this is dropped.
struct Opened {
    blobs: Arc<OpenBlobs>,
    names: Vec<BlobName>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut open = self.blobs.open();
        let mut is_one_closed = false;
        for name in &self.names {
            if let Some(count) = open.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    open.remove(name);
                    is_one_closed = true;
                }
            }
        }
        drop(open);
        if is_one_closed {
            self.blobs.closed.notify_one();
        }
    }
}

/// Bytes to be read.
enum Source {
    Small(Bytes),
    Blob(BlobName, Range<u64>),
}

impl Core {
    /// An object as it is now, which of its bytes are asked for, and those.
    pub(crate) async fn read_object(
        &self,
        object: ObjectRef,
        range: Option<ByteRange>,
    ) -> Result<(ObjectInfo, Range<u64>, ObjectBytes), BucketError> {
        let open = self.open.clone();
        let opening = move |connection: &Connection| -> Result<_, Failed> {
            let _pass = open.pass();
            let found = objects::find_present(connection, &object)?;
            let range = resolve(range, found.info.size)?;
            let sources = sources(connection, &found.pieces, &range)?;
            let blobs = sources.iter().filter_map(|source| match source {
                Source::Blob(name, _) => Some(*name),
                Source::Small(_) => None,
            });
            let opened = open.begin(blobs.collect());
            Ok((found.info, range, sources, opened))
        };
        let (info, range, sources, opened) = self.reads.read(opening).await?;
        let mut reading =
            Reading { blobs: self.blobs.clone(), _opened: opened, sources: sources.into(), current: None };
        // What can't be read at all is better known before anything is answered.
        reading.turn().await.map_err(|error| BucketError::Storage(error.into()))?;
        let bytes = stream::try_unfold(reading, Reading::next).boxed();
        Ok((info, range, bytes))
    }
}

/// Which bytes of an object of this size a range means.
fn resolve(range: Option<ByteRange>, size: u64) -> Result<Range<u64>, BucketError> {
    match range {
        None => Ok(0..size),
        Some(ByteRange::From(first, last)) => {
            let end = last.map_or(size, |last| last.saturating_add(1).min(size));
            if first < end { Ok(first..end) } else { Err(BucketError::Range { size }) }
        }
        Some(ByteRange::Last(bytes)) if bytes == 0 || size == 0 => Err(BucketError::Range { size }),
        Some(ByteRange::Last(bytes)) => Ok(size.saturating_sub(bytes)..size),
    }
}

/// Where the bytes in a range are; those that lie in the database are read at once, since that is one piece at most: the last.
fn sources(connection: &Connection, pieces: &[Piece], range: &Range<u64>) -> Result<Vec<Source>, Failed> {
    let mut sources = Vec::new();
    let mut piece_start = 0;
    for piece in pieces {
        let start = range.start.clamp(piece_start, piece_start + piece.bytes) - piece_start;
        let end = range.end.clamp(piece_start, piece_start + piece.bytes) - piece_start;
        piece_start += piece.bytes;
        if start == end {
            continue;
        }
        sources.push(match piece.place {
            Place::Blob(name) => Source::Blob(name, start..end),
            Place::Small(id) => {
                let mut small = connection.prepare_cached("SELECT bytes FROM small WHERE id = ?1")?;
                let bytes: Vec<u8> = small.query_row([id], |row| row.get(0))?;
                let bytes = Bytes::from(bytes);
                if bytes.len() as u64 != piece.bytes {
                    return Err(damaged(0, "another number of an object's bytes").into());
                }
                Source::Small(bytes.slice(start as usize..end as usize))
            }
        });
    }
    if piece_start < range.end {
        return Err(damaged(0, "an object without some of its bytes").into());
    }
    Ok(sources)
}

/// Somebody reads.
struct Reading {
    blobs: Arc<Blobs>,
    _opened: Opened,
    sources: VecDeque<Source>,
    /// The source that is being read, and how many bytes of it are to come.
    current: Option<(ObjectBytes, u64)>,
}

impl Reading {
    /// Turns to the next source; says whether there is one.
    async fn turn(&mut self) -> io::Result<bool> {
        self.current = match self.sources.pop_front() {
            None => None,
            Some(Source::Small(bytes)) => {
                let count = bytes.len() as u64;
                Some((stream::iter([Ok(bytes)]).boxed(), count))
            }
            Some(Source::Blob(name, range)) => {
                let count = range.end - range.start;
                Some((self.blobs.read(name, range).await?, count))
            }
        };
        Ok(self.current.is_some())
    }

    /// The next bytes.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            let Some((bytes, left)) = &mut self.current else { return Ok(None) };
            let Some(chunk) = bytes.next().await.transpose()? else {
                if *left > 0 {
                    let error = "the object's storage holds fewer bytes than the object has";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
                }
                self.turn().await?;
                continue;
            };
            *left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the object's storage gives more bytes than were asked for",
                )
            })?;
            if !chunk.is_empty() {
                return Ok(Some((chunk, self)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: ByteRange, size: u64, expected: Option<Range<u64>>) {
        assert_eq!(resolve(Some(range), size).ok(), expected, "{range:?} of {size}");
    }

    #[test]
    fn a_range_is_cut_at_the_end_and_must_have_bytes() {
        check(ByteRange::From(0, None), 10, Some(0..10));
        check(ByteRange::From(3, Some(5)), 10, Some(3..6));
        check(ByteRange::From(3, Some(u64::MAX)), 10, Some(3..10));
        check(ByteRange::From(9, Some(9)), 10, Some(9..10));
        check(ByteRange::From(10, None), 10, None);
        check(ByteRange::From(5, Some(4)), 10, None);
        check(ByteRange::From(0, None), 0, None);
        check(ByteRange::Last(3), 10, Some(7..10));
        check(ByteRange::Last(30), 10, Some(0..10));
        check(ByteRange::Last(0), 10, None);
        check(ByteRange::Last(1), 0, None);
    }

    #[test]
    fn a_blob_is_open_until_the_last_who_reads_it_is_done() {
        let open = Arc::new(OpenBlobs::default());
        let name = BlobName::from_bytes([1; 16]);
        let one = open.begin(vec![name]);
        let other = open.begin(vec![name]);
        drop(one);
        assert!(open.is_open(name));
        drop(other);
        assert!(!open.is_open(name));
        assert_eq!(open.count(), 0);
    }
}
