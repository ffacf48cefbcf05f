//! What clients are answered (RESP2, "RESP protocol description").
//!
//! What always holds: no answer grows beyond its bound; one that would is an error in its place.

use crate::commands::Problem;
use std::io::Write;

/// Bytes of one answer.
const REPLY_BYTES_MAX: usize = 2 << 20;

/// Answers that are to be sent, in the order of their requests.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    /// Where the answer begins that is being written.
    start: usize,
    is_too_large: bool,
}

impl Replies {
    /// Begins the answer to the next request.
    pub(crate) fn begin(&mut self) {
        self.start = self.bytes.len();
        self.is_too_large = false;
    }

    /// Ends it. What was written of an answer that failed is taken back.
    pub(crate) fn end(&mut self, outcome: Result<(), Problem>) {
        let outcome = if self.is_too_large { Err(Problem::TooLarge) } else { outcome };
        if let Err(problem) = outcome {
            self.bytes.truncate(self.start);
            self.error(&problem.to_string());
        }
    }

    /// What is to be sent.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.start = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Bytes that are to be sent.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A short text without line breaks.
    pub(crate) fn simple(&mut self, text: &str) {
        self.line('+', text);
    }

    /// An error; its first word is its kind.
    pub(crate) fn error(&mut self, text: &str) {
        self.line('-', text);
    }

    /// A number.
    pub(crate) fn integer(&mut self, number: i64) {
        self.line(':', &number.to_string());
    }

    /// How many there are of something.
    pub(crate) fn count(&mut self, count: usize) {
        self.integer(count as i64);
    }

    /// Any bytes.
    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len()) {
            // What is written to memory arrives.
            let _ = write!(self.bytes, "${}\r\n", bytes.len());
            self.bytes.extend_from_slice(bytes);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Bytes, if there are any.
    pub(crate) fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.line('$', "-1"),
        }
    }

    /// Announces so many answers that belong together.
    pub(crate) fn array(&mut self, count: usize) {
        self.line('*', &count.to_string());
    }

    /// Instead of such.
    pub(crate) fn no_array(&mut self) {
        self.line('*', "-1");
    }

    fn line(&mut self, kind: char, text: &str) {
        if self.has_room(text.len()) {
            let _ = write!(self.bytes, "{kind}{text}\r\n");
        }
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        self.is_too_large |= self.bytes.len() - self.start + bytes > REPLY_BYTES_MAX;
        !self.is_too_large
    }
}
