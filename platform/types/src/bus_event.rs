//! An event on a bus: what CloudEvents 1.0 and EventBridge's envelope both say of it.
//!
//! Nothing is parsed or printed here: the two forms are made of this elsewhere. What always holds: `detail` is JSON, whole and
//! valid, as it was put.
//!
//! Sources: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>,
//! <https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html>

use crate::{Name, Namespace};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something that happened, on a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusEvent {
    /// Where it was put.
    pub namespace: Namespace,
    /// On which bus of that.
    pub bus: Name,
    /// Tells it from all others of its source, by its sender's word; CloudEvents' and EventBridge's `id`.
    pub id: Arc<str>,
    /// From where; both forms' `source`.
    pub source: Arc<str>,
    /// What kind of event; CloudEvents' `type`, EventBridge's `detail-type`.
    pub detail_type: Arc<str>,
    /// When it happened, in milliseconds since 1970; both forms' `time`.
    pub time_ms: u64,
    /// EventBridge's `resources`.
    pub resources: Vec<Arc<str>>,
    /// CloudEvents' `subject`.
    pub subject: Option<Arc<str>>,
    /// CloudEvents' `dataschema` and extension attributes, by name.
    pub extensions: BTreeMap<Arc<str>, Arc<str>>,
    /// EventBridge's `detail`, CloudEvents' `data`: JSON.
    pub detail: Arc<str>,
    /// Events with the same key of one bus reach a target in the order in which they were put: the source's word, such as an
    /// object's key. None where the source has no order.
    pub order_key: Option<Arc<str>>,
}

impl BusEvent {
    /// The largest event, in bytes, as it prints in EventBridge's envelope.
    pub const BYTES_MAX: usize = 256 << 10;
    /// Events in one call.
    pub const BATCH_MAX: usize = 100;
    /// How the sources begin that Skiff alone puts events of, as AWS keeps `aws.` to itself.
    pub const OWN_SOURCES: &str = "skiff.";

    /// Whether it says that Skiff itself put it.
    pub fn is_of_skiff(&self) -> bool {
        // However it is spelt: patterns may take it in any case.
        let begin = self.source.get(..Self::OWN_SOURCES.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(Self::OWN_SOURCES))
    }
}
