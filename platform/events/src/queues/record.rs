//! How what the queues keep is written in their log: a byte that says the version, then postcard, then a message's body.
//!
//! A kind of record that is new goes behind the others, and keeps the version: a log with one of it is refused, with what to do,
//! by those before it, and one without is not.
//!
//! Records say what happened; where a message is after them follows from their order.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skiff_types::ResourceId;
use std::collections::BTreeMap;

/// The first byte of every record.
const VERSION: u8 = 1;
/// Bytes of a record beside a message's texts and body, about.
const FIXED_BYTES: usize = 96;

/// A queue's id, as bytes.
pub(super) type QueueId = [u8; 8];

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// A message: sent, or written again so that an older part of the log can go. Its body follows.
    Message(Head),
    /// Messages went out to a receiver until a time.
    Received {
        /// Of which queue.
        queue: QueueId,
        /// When they are in sight again, in milliseconds since 1970.
        until_ms: u64,
        /// Sequence, receives and tag of each.
        messages: Vec<(u64, u32, u32)>,
    },
    /// Messages that are out are in sight again at another time.
    Hidden {
        /// Of which queue.
        queue: QueueId,
        /// Sequence, tag and time of each, in milliseconds since 1970; 0 is at once.
        messages: Vec<(u64, u32, u64)>,
    },
    /// Messages are gone: deleted, or older than they may get.
    Gone {
        /// Of which queue.
        queue: QueueId,
        /// Which.
        sequences: Vec<u64>,
    },
    /// Messages went to another queue.
    Moved {
        /// From which.
        from: QueueId,
        /// To which.
        to: QueueId,
        /// Whether `to` is the dead-letter queue of `from`.
        is_dead: bool,
        /// The sequence of each in `from` and in `to`.
        messages: Vec<(u64, u64)>,
    },
    /// All messages with lower sequences are gone.
    Purged {
        /// Of which queue.
        queue: QueueId,
        /// The first that stays.
        before: u64,
    },
    /// The queue is gone.
    Dropped {
        /// Which.
        queue: QueueId,
    },
    /// There is this queue, and so far it is with its sequences.
    Sequence {
        /// Which.
        queue: QueueId,
        /// The next.
        next: u64,
    },
    /// Messages that were out came back unhandled: that they were received does not count.
    GivenBack {
        /// Of which queue.
        queue: QueueId,
        /// Of each its sequence, the tag of the receive, the receives without it, and when it is in sight again, in milliseconds
        /// since 1970; 0 is at once.
        messages: Vec<(u64, u32, u32, u64)>,
    },
}

/// A message without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The queue that it is in.
    pub(super) queue: QueueId,
    /// Its place there.
    pub(super) sequence: u64,
    /// Its id, that it keeps when it moves.
    pub(super) id: [u8; 16],
    /// In milliseconds since 1970.
    pub(super) sent_at_ms: u64,
    /// When it is in sight, in milliseconds since 1970; 0 is at once.
    pub(super) until_ms: u64,
    /// How often it was received.
    pub(super) receives: u32,
    /// Of the receive that has it; 0 if none has.
    pub(super) tag: u32,
    /// Its group.
    pub(super) group: Option<String>,
    /// By which it is told from others; not if it is written again.
    pub(super) deduplication: Option<[u8; 16]>,
    /// In a dead-letter queue: where it came from.
    pub(super) source: Option<QueueId>,
    /// What is said beside its body.
    pub(super) attributes: BTreeMap<String, String>,
}

/// A record that is none.
#[derive(Debug, thiserror::Error)]
#[error("the queues' log holds a record that this version can't read: use the version that wrote it")]
pub(super) struct Unreadable;

/// The bytes of a record.
pub(super) fn encode(record: &Record, body: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(FIXED_BYTES + body.len());
    bytes.push(VERSION);
    // Into memory, of types that have no failing serializer.
    let mut bytes = postcard::to_extend(record, bytes).expect("a record can be written");
    bytes.extend_from_slice(body);
    bytes.into()
}

/// What bytes say, and how many of them at the end are a message's body.
pub(super) fn decode(bytes: &[u8]) -> Result<(Record, usize), Unreadable> {
    let (&VERSION, rest) = bytes.split_first().ok_or(Unreadable)? else { return Err(Unreadable) };
    let (record, body) = postcard::take_from_bytes(rest).map_err(|_| Unreadable)?;
    Ok((record, body.len()))
}

/// The id of a message: its first queue and its place there. No two messages share both, ever.
pub(super) fn message_id(queue: ResourceId, sequence: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&queue.to_bytes());
    id[8..].copy_from_slice(&sequence.to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_wrote_is_read_and_kinds_keep_their_numbers() {
        let queue = [7; 8];
        let older: [(&[u8], Record); 3] = [
            (&[1, 3, 7, 7, 7, 7, 7, 7, 7, 7, 1, 5], Record::Gone { queue, sequences: vec![5] }),
            (&[1, 6, 7, 7, 7, 7, 7, 7, 7, 7], Record::Dropped { queue }),
            (&[1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 9], Record::Sequence { queue, next: 9 }),
        ];
        for (bytes, record) in older {
            assert_eq!(decode(bytes).unwrap(), (record, 0));
        }
        let given_back = Record::GivenBack { queue, messages: vec![(5, 6, 1, 0)] };
        let bytes = encode(&given_back, &[]);
        assert_eq!(bytes[..2], [1, 8]);
        assert_eq!(decode(&bytes).unwrap(), (given_back, 0));
        assert!(decode(&[1, 9, 0]).is_err() && decode(&[2, 7]).is_err(), "of a newer version");
    }
}
