//! The durable log under queues and buses: a folder of segment files, to which records are appended, and which is read again
//! from its first record when it is opened.
//!
//! A record is its length and its checksum (4 bytes each, little-endian), then its payload; its [`Position`] is the start of its
//! segment, which the file's name says, and its place in there. The checksum covers the position too. A thread of the log's
//! own writes and syncs: all appends that wait share one write and one sync, so that nobody holds a lock over either; where many
//! append at a time, a write waits for more of them (`gather`).
//!
//! A segment is filled with zeros ahead of what is written, so that most syncs have data to write and no metadata: a file that
//! grows needs both. What is filled is also the room that records which free room ([`Log::append_then`]) still have when the
//! disk is full.
//!
//! Deliberately not here: what records mean, and which are still needed. A log with few and old ones among them is compacted
//! by its user, who appends those again and lets go of the old.
//!
//! What always holds: the order of calls is the order in the log, and what is in it when it is opened again is all that was
//! synced, and perhaps more of what came after it in that order, without a gap. After a sync has failed nobody knows what is on
//! the drive: the log takes nothing more until it is opened again.

mod drive;
mod frame;
mod gather;
mod recovery;
mod scan;
mod segments;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use drive::{Drive, OsDrive};

use bytes::Bytes;
use recovery::Recovered;
use scan::{Next, Scan};
use segments::{Segment, Segments};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use writer::{Entry, Mailbox, Writer};

/// Bytes of a record that are read at once; the rest of a longer one takes a second call of the system.
const READ_BYTES: usize = 2048;

/// Where a log lies, and in what pieces.
#[derive(Debug, Clone)]
pub(crate) struct LogConfig {
    /// Its folder, which is made if it is not there, with the folders above it.
    pub folder: PathBuf,
    /// A segment that has so many bytes takes no more; the last write may pass it.
    pub segment_bytes: u64,
}

/// Bytes of a segment, where nothing else is said.
pub(crate) const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// The place of a record. Later records have higher ones, with gaps.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Position(pub u64);

/// What an append waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durable {
    /// The drive has it: it survives a power cut.
    Drive,
    /// The operating system has it: it survives the process.
    System,
}

/// Why a log did not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LogError {
    /// There is no room on the disk. What was to be written is not; the log goes on.
    #[error("there is no room on the disk; nothing was written")]
    Full,
    /// More waits to be written than may. Nothing was taken in; the log goes on.
    #[error("more than {} bytes wait to be written to the disk; try again later", writer::WAITING_BYTES_MAX)]
    Busy,
    /// What a file holds is not what was written.
    #[error("{} is damaged at byte {offset}: restore it from a copy", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where its first record is that is none.
        offset: u64,
    },
    /// Nothing was taken in; the log goes on.
    #[error("a record can have from 1 to {} bytes", frame::RECORD_BYTES_MAX)]
    Length,
    /// The record was forgotten, or there is none yet.
    #[error("the log holds no record at {0}")]
    Absent(u64),
    /// The disk failed. If it did in a write or a sync, the log takes nothing more until it is opened again.
    #[error("the disk failed under the log: it takes nothing more until it is opened again")]
    Io(#[source] Arc<io::Error>),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(Arc::new(error)),
        }
    }
}

/// A log that is open. Cheap to clone; once the last is dropped, what waits is written, and its thread ends.
#[derive(Clone)]
pub(crate) struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    mailbox: Arc<Mailbox>,
    segments: Arc<Segments>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.mailbox.close(None);
    }
}

impl Log {
    /// Opens the log, or makes it, to write by `drive`; calls `replay` with each whole record in order. What a crash amid a write
    /// left at the end is cut off.
    ///
    /// # Errors
    ///
    /// [`LogError::Damaged`] if a record is none that later syncs cover; what `replay` fails with; what the disk fails with.
    pub(crate) fn open(
        config: LogConfig,
        drive: Arc<dyn Drive>,
        replay: impl FnMut(Position, &[u8]) -> Result<(), LogError>,
    ) -> Result<Self, LogError> {
        let Recovered { folder, segments, end } = recovery::recover(&config.folder, replay)?;
        let segments = Arc::new(Segments::new(segments, end));
        let mailbox = Arc::new(Mailbox::default());
        let writer = Writer::new(folder, config.segment_bytes, drive, segments.clone(), mailbox.clone(), end);
        std::thread::Builder::new().name("event-log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { inner: Arc::new(Inner { mailbox, segments }) })
    }

    /// Appends records in this order, with nothing between them. Of more than one, a crash before the answer may leave the
    /// first ones. A record is from 1 byte to 64 MiB. Without records it waits for all that was appended before.
    pub(crate) fn append(&self, records: Vec<Bytes>, durable: Durable) -> Appending {
        let (reply, answer) = oneshot::channel();
        let done = move |outcome| {
            // Who no longer waits for the answer does not need it.
            let _ = reply.send(outcome);
        };
        let refused = self.append_then(records, durable, false, done).err();
        Appending { refused, answer }
    }

    /// As [`Log::append`], but the log's thread calls `done` with the outcome, in the order of the appends: it must be short.
    /// Records that free room (`is_freeing`: they say that others are not needed) may use what is kept for them on a disk that
    /// is full.
    ///
    /// # Errors
    ///
    /// [`LogError::Busy`], [`LogError::Length`], or why the log takes nothing more; then `done` is not called.
    pub(crate) fn append_then(
        &self,
        records: Vec<Bytes>,
        durable: Durable,
        is_freeing: bool,
        done: impl FnOnce(Result<Vec<Position>, LogError>) + Send + 'static,
    ) -> Result<(), LogError> {
        // Here, since the log's thread would end by it.
        if records.iter().any(|record| !(1..=frame::RECORD_BYTES_MAX).contains(&record.len())) {
            return Err(LogError::Length);
        }
        let entry = Entry { records, durable, is_freeing, done: Some(Box::new(done)) };
        self.inner.mailbox.put(entry)
    }

    /// Appends a record of which nobody wants to know when it is written: with the next append, or soon after.
    /// Where there is no room for it, it is lost.
    pub(crate) fn note(&self, record: Bytes) {
        let entry = Entry { records: vec![record], durable: Durable::System, is_freeing: false, done: None };
        // A log that takes nothing says so to those who wait for an answer.
        let _ = self.inner.mailbox.put(entry);
    }

    /// Reads the payload of the record at a position that an append or the replay told. On this thread: as a rule from the
    /// page cache.
    pub(crate) fn read(&self, at: Position) -> Result<Bytes, LogError> {
        let segment = self.inner.segments.holding(at).ok_or(LogError::Absent(at.0))?;
        let offset = at.0 - segment.start;
        let damaged = || LogError::Damaged { file: segment.path.clone(), offset };
        let mut first = [0; READ_BYTES];
        let got = read_up_to(&segment.file, &mut first, offset)?;
        let (head, rest) = first[..got].split_first_chunk().ok_or_else(damaged)?;
        let frame::Header::Record { length, checksum } = frame::header(*head) else { return Err(damaged()) };
        let payload = if length <= rest.len() {
            Bytes::copy_from_slice(&rest[..length])
        } else {
            let mut payload = vec![0; length];
            payload[..rest.len()].copy_from_slice(rest);
            match segment.file.read_exact_at(&mut payload[rest.len()..], offset + got as u64) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
                outcome => outcome?,
            }
            payload.into()
        };
        if frame::checksum(at.0, head, &payload) == checksum { Ok(payload) } else { Err(damaged()) }
    }

    /// Everything before this position may be forgotten: whole segments before it are deleted, soon.
    pub(crate) fn forget_before(&self, position: Position) {
        self.inner.mailbox.forget_before(position.0);
    }

    /// The first position that is kept.
    pub(crate) fn first(&self) -> Position {
        self.inner.segments.first()
    }

    /// Where the oldest segment ends, unless it is the one that is written to: where it may be forgotten.
    pub(crate) fn first_end(&self) -> Option<Position> {
        self.inner.segments.first_end()
    }

    /// The position of the next record to be written, or before it.
    pub(crate) fn end(&self) -> Position {
        self.inner.segments.end()
    }

    /// Bytes on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.inner.segments.bytes()
    }

    /// Reads the records of the oldest segment, unless it is the one that is written to, for as long as `visit` says so.
    pub(crate) fn scan_first(&self, mut visit: impl FnMut(Position, &[u8]) -> bool) -> Result<(), LogError> {
        let Some((segment, end)) = self.inner.segments.first_whole() else { return Ok(()) };
        let mut scan = Scan::new(&segment, end.0 - segment.start);
        loop {
            let is_end = match scan.next()? {
                Next::Record(at, payload) => {
                    if visit(at, payload) {
                        continue;
                    }
                    return Ok(());
                }
                Next::End => true,
                Next::Broken => false,
            };
            let offset = scan.offset();
            if is_end && offset == end.0 - segment.start {
                return Ok(());
            }
            return Err(LogError::Damaged { file: segment.path.clone(), offset });
        }
    }

    /// Writes and syncs what waits, and ends the log's thread. Appends after it fail.
    pub(crate) async fn close(&self) {
        let (reply, ended) = oneshot::channel();
        self.inner.mailbox.close(Some(reply));
        // A thread that ended has dropped the reply; then it is closed as well.
        let _ = ended.await;
    }
}

/// An append that waits for its answer. Dropping it does not undo it.
pub(crate) struct Appending {
    refused: Option<LogError>,
    answer: oneshot::Receiver<Result<Vec<Position>, LogError>>,
}

impl Future for Appending {
    type Output = Result<Vec<Position>, LogError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(refused) = self.refused.take() {
            return Poll::Ready(Err(refused));
        }
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or(Err(LogError::Closed)))
    }
}

/// Reads until the buffer is full or the file ends; how many bytes.
fn read_up_to(file: &std::fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// The file of the segment that starts there.
fn segment_path(folder: &Path, start: u64) -> PathBuf {
    folder.join(format!("{start:016x}.log"))
}
