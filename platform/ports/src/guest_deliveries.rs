//! Deliveries to guests: events and batches of messages, on their way into a sandbox.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What takes events.
pub const HANDLER_INTERFACE: &str = "skiff:events/handler@0.1.0";
/// What takes messages of queues.
pub const CONSUMER_INTERFACE: &str = "skiff:queues/consumer@0.1.0";

/// Whether a component that exports these interfaces takes events.
pub fn takes_events(exports: &[String]) -> bool {
    exports.iter().any(|export| is_patch_of(export, HANDLER_INTERFACE))
}

/// Whether a component that exports these interfaces takes messages of queues.
pub fn takes_messages(exports: &[String]) -> bool {
    exports.iter().any(|export| is_patch_of(export, CONSUMER_INTERFACE))
}

/// Whether they differ in their last number at most.
fn is_patch_of(export: &str, interface: &str) -> bool {
    let (minor, _) = interface.rsplit_once('.').unwrap_or((interface, ""));
    let patch = export.strip_prefix(minor).and_then(|patch| patch.strip_prefix('.'));
    patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What a task's guest is given, by one call of one of its exports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GuestDelivery {
    /// An event, for `skiff:events/handler`: a CloudEvent in JSON (structured mode).
    Event(Bytes),
    /// Messages of a queue, for `skiff:queues/consumer`.
    Batch(GuestBatch),
    /// A request of HTTP for `wasi:http`: a POST.
    Http {
        /// Its path and query.
        path: String,
        /// Its headers beside `host`.
        headers: Vec<(String, String)>,
        /// Its body.
        body: Bytes,
    },
}

/// Messages that were received together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestBatch {
    /// Of which queue.
    pub queue: String,
    /// In the order in which they are to be handled.
    pub messages: Vec<QueuedMessage>,
}

/// A message; see [`crate::queues::Message`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of `queues::Message`")]
pub struct QueuedMessage {
    pub id: String,
    pub body: Bytes,
    pub attributes: Vec<(String, String)>,
    pub group: Option<String>,
    pub sent_at_ms: u64,
    pub receives: u32,
}

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GuestOutcome {
    /// The guest took the event, or says why not.
    Event(Result<(), String>),
    /// What becomes of each message, in their order.
    Batch(Vec<MessageOutcome>),
    /// The status of its answer, whose body was read to its end and dropped.
    Http(u16),
}

/// What becomes of a message that a guest was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MessageOutcome {
    /// It is done, and deleted.
    Done,
    /// It comes again, once this time is over if one is said, in milliseconds; else when its visibility timeout is.
    Retry {
        /// How long it stays out of sight.
        after_ms: Option<u64>,
    },
    /// It goes to the dead-letter queue now, if there is one; else it comes again. Why is for people.
    Reject(String),
}

/// Why a guest was not given something, or nothing came of it: for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DeliverError {
    /// The guest has no such export.
    #[error("{0}")]
    NoExport(String),
    /// There is no room: the task's queue is full, or its service has no task that runs.
    #[error("{0}")]
    Busy(String),
    /// The guest trapped, took too long, or went with its worker.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_of_an_interface_is_taken_and_another_version_is_not() {
        let takes = |export: &str| takes_events(&[export.to_owned()]);
        assert!(takes("skiff:events/handler@0.1.0") && takes("skiff:events/handler@0.1.12"));
        for other in ["skiff:events/handler", "skiff:events/handler@0.1.", "skiff:events/handler@0.10.0"] {
            assert!(!takes(other), "{other}");
        }
        assert!(!takes("skiff:events/handler@0.2.0") && !takes(CONSUMER_INTERFACE));
        assert!(takes_messages(&[CONSUMER_INTERFACE.to_owned()]));
    }
}
