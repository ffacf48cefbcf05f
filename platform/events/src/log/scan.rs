//! Reads a segment's records one after the other, with a buffer of bounded size.
//!
//! It says where it found no record any more; what that means is its caller's business.

use super::frame::{self, HEADER_BYTES, Header, MARK_BYTES};
use super::{Position, Segment, read_up_to};
use std::io;

/// Bytes that are read at once; more only for a longer record.
const BUFFER_BYTES: usize = 1024 * 1024;

/// What comes next.
pub(super) enum Next<'a> {
    /// A whole record.
    Record(Position, &'a [u8]),
    /// Nothing was written here, or the end of what was to be read.
    End,
    /// Something that is no record.
    Broken,
}

/// A segment that is being read.
pub(super) struct Scan<'a> {
    segment: &'a Segment,
    /// Where the next record is, in the file.
    offset: u64,
    /// Where to stop, in the file.
    limit: u64,
    /// What was read, from `buffer_at` of the file.
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'a> Scan<'a> {
    /// Reads from the segment's start to this offset of its file.
    pub(super) fn new(segment: &'a Segment, limit: u64) -> Self {
        Self { segment, offset: 0, limit, buffer: Vec::new(), buffer_at: 0 }
    }

    /// Where the next record is, in the file; after something else than a record: where that is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record; marks are passed over.
    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        loop {
            if self.offset == self.limit {
                return Ok(Next::End);
            }
            if !self.has(HEADER_BYTES)? {
                return Ok(if self.is_blank() { Next::End } else { Next::Broken });
            }
            let from = (self.offset - self.buffer_at) as usize;
            let Some(head) = self.buffer[from..].first_chunk::<HEADER_BYTES>().copied() else {
                return Ok(Next::Broken);
            };
            let (length, checksum, is_mark) = match frame::header(head) {
                Header::Nothing => return Ok(Next::End),
                Header::Broken => return Ok(Next::Broken),
                Header::Mark { checksum } => (MARK_BYTES - HEADER_BYTES, checksum, true),
                Header::Record { length, checksum } => (length, checksum, false),
            };
            if !self.has(HEADER_BYTES + length)? {
                return Ok(Next::Broken);
            }
            let position = self.segment.start + self.offset;
            let payload_from = (self.offset - self.buffer_at) as usize + HEADER_BYTES;
            let payload = payload_from..payload_from + length;
            if frame::checksum(position, &head, &self.buffer[payload.clone()]) != checksum {
                return Ok(Next::Broken);
            }
            self.offset += (HEADER_BYTES + length) as u64;
            if !is_mark {
                return Ok(Next::Record(Position(position), &self.buffer[payload]));
            }
        }
    }

    /// Sees to it that so many bytes from the offset are in the buffer, if there are as many.
    fn has(&mut self, count: usize) -> io::Result<bool> {
        let held_to = self.buffer_at + self.buffer.len() as u64;
        if self.offset + count as u64 <= held_to {
            return Ok(true);
        }
        let left = usize::try_from(self.limit - self.offset).unwrap_or(usize::MAX);
        if left < count && held_to == self.limit {
            return Ok(false);
        }
        self.buffer.resize(left.min(count.max(BUFFER_BYTES)), 0);
        let got = read_up_to(&self.segment.file, &mut self.buffer, self.offset)?;
        self.buffer.truncate(got);
        self.buffer_at = self.offset;
        Ok(got >= count)
    }

    /// Whether what is left is zeros.
    fn is_blank(&self) -> bool {
        let from = (self.offset - self.buffer_at) as usize;
        self.buffer.get(from..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
    }
}
