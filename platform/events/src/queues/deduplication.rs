//! What a FIFO queue remembers of what it was sent, for five minutes, and in the log too.
//!
//! What always holds: what is remembered of the newest send lies in the log at or after [`Deduplication::pin`] of the oldest.

use crate::log::Position;
use sha2::{Digest, Sha256};
use skiff_types::QueueSpec;
use std::collections::{HashMap, VecDeque};

/// Messages that a queue remembers at most, of some 150 bytes each; no more are sent then, until it forgets some.
pub(super) const KNOWN_MAX: usize = 2_000_000;

/// What tells a message from others: the first half of a SHA-256.
pub(super) type Fingerprint = [u8; 16];

/// That of a deduplication id.
pub(super) fn of_id(id: &str) -> Fingerprint {
    first_half(&Sha256::digest(id.as_bytes()))
}

/// That of a body: as if its SHA-256 in hexadecimal digits were the id, as at SQS.
pub(super) fn of_body(body: &[u8]) -> Fingerprint {
    of_id(&hex::encode(Sha256::digest(body)))
}

fn first_half(digest: &[u8]) -> Fingerprint {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// What a queue was sent lately.
#[derive(Default)]
pub(super) struct Deduplication {
    known: HashMap<Fingerprint, u64>,
    line: VecDeque<Known>,
}

struct Known {
    at_ms: u64,
    fingerprint: Fingerprint,
    sequence: u64,
    /// Its record lies here or after.
    pin: Position,
}

impl Deduplication {
    /// The sequence of an earlier message like this.
    pub(super) fn earlier(&self, fingerprint: &Fingerprint) -> Option<u64> {
        self.known.get(fingerprint).copied()
    }

    /// Whether it can remember no more.
    pub(super) fn is_full(&self) -> bool {
        self.line.len() >= KNOWN_MAX
    }

    /// Remembers a message, whose record lies at `pin` or after.
    pub(super) fn remember(&mut self, fingerprint: Fingerprint, sequence: u64, at_ms: u64, pin: Position) {
        self.known.insert(fingerprint, sequence);
        self.line.push_back(Known { at_ms, fingerprint, sequence, pin });
    }

    /// Forgets one that was not sent after all.
    pub(super) fn undo(&mut self, fingerprint: &Fingerprint, sequence: u64) {
        if self.earlier(fingerprint) == Some(sequence) {
            self.known.remove(fingerprint);
        }
    }

    /// Forgets what is older than five minutes.
    pub(super) fn advance(&mut self, now_ms: u64) {
        let interval_ms = QueueSpec::DEDUPLICATION_INTERVAL.ms();
        while let Some(oldest) = self.line.front()
            && oldest.at_ms.saturating_add(interval_ms) <= now_ms
        {
            let Some(Known { fingerprint, sequence, .. }) = self.line.pop_front() else { return };
            self.undo(&fingerprint, sequence);
        }
        if self.line.is_empty() {
            // A burst's room is given back.
            *self = Self::default();
        }
    }

    /// Where in the log the oldest lies that is remembered.
    pub(super) fn pin(&self) -> Option<Position> {
        self.line.front().map(|oldest| oldest.pin)
    }
}
