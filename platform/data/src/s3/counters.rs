//! What the endpoint counts: connections, requests by what they ask for and how they were answered, bytes of bodies.
//!
//! It deliberately knows no names of metrics. What a request asks for is known once its signature was found right; those before that
//! are of no operation.

use http::StatusCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// The operations that there are here, as S3 calls them; the last is what all other requests count as.
const OPERATIONS: [&str; 23] = [
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketLocation",
    "GetBucketVersioning",
    "GetObject",
    "GetObjectAttributes",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
    "none",
];
/// Classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation(usize);

impl Operation {
    /// None that there is here, or none that is known yet.
    pub(super) const NONE: Self = Self(OPERATIONS.len() - 1);

    /// By its name at S3.
    pub(super) fn named(name: &str) -> Self {
        OPERATIONS.iter().position(|known| *known == name).map_or(Self::NONE, Self)
    }
}

/// What the endpoint has done since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that are open now.
    pub connections: u64,
    /// Connections that were refused because their address had too many.
    pub connections_refused: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Those of them that were refused for what they are: statuses from 400 to 499.
    pub refused: u64,
    /// Those of them that failed by no fault of theirs, or came too many at a time: statuses from 500 on.
    pub failed: u64,
    /// Bytes of bodies that came, with their framing.
    pub bytes_in: u64,
    /// Bytes of bodies that went.
    pub bytes_out: u64,
}

/// Requests of one operation that were answered with statuses of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationStats {
    /// As S3 calls it, such as `PutObject`; `none` of requests that were refused before it was known, or that ask for what there is
    /// not here.
    pub operation: &'static str,
    /// `2xx` and so on.
    pub code_class: &'static str,
    /// How many.
    pub requests: u64,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) connections_refused: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    answered: [[AtomicU64; CLASSES.len()]; OPERATIONS.len()],
}

impl Counters {
    /// A request was answered.
    pub(super) fn answered(&self, operation: Operation, status: StatusCode) {
        // No status is below 100, and those from 600 on, which nobody sends, count as the last class.
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        count(&self.answered[operation.0][class], 1);
    }

    pub(super) fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of_class =
            |class: usize| self.answered.iter().map(|by_class| read(&by_class[class])).sum::<u64>();
        let by_class: [u64; CLASSES.len()] = std::array::from_fn(of_class);
        Stats {
            connections: read(&self.connections),
            connections_refused: read(&self.connections_refused),
            requests: by_class.iter().sum(),
            refused: by_class[3],
            failed: by_class[4],
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
        }
    }

    /// Requests by what they asked for and how they were answered; those of which there were some.
    pub(super) fn by_operation(&self) -> Vec<OperationStats> {
        let all = OPERATIONS.iter().zip(&self.answered).flat_map(|(operation, by_class)| {
            CLASSES.iter().zip(by_class).map(move |(code_class, counter)| OperationStats {
                operation,
                code_class,
                requests: counter.load(Ordering::Relaxed),
            })
        });
        all.filter(|stats| stats.requests > 0).collect()
    }
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}
