//! The section `[consume]` of a manifest: the queue whose messages the service is given.
//!
//! It says what `skiff consumer put` does; the consumer has the service's name.

use super::{ManifestError, Reader, Value};
use skiff_types::Name;

const KEYS: [&str; 3] = ["queue", "batch", "concurrency"];

/// The section `[consume]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumeSection {
    /// The queue.
    pub queue: Name,
    /// Messages that are given together at most.
    pub batch: Option<u32>,
    /// Batches that one task has at once at most.
    pub concurrency: Option<u32>,
}

impl Reader<'_> {
    pub(super) fn consume(&self, value: &Value<'_>) -> Result<ConsumeSection, ManifestError> {
        let table = self.table("consume", value)?;
        self.refuse_unknown(table, &KEYS, "[consume]")?;
        let missing = || self.error(&value.span(), "the key \"queue\" is missing in [consume]".to_owned());
        let queue = table.get("queue").ok_or_else(missing)?;
        let count = |key: &str| table.get(key).map(|value| self.count(key, value, 1)).transpose();
        Ok(ConsumeSection {
            queue: self.parsed("queue", queue)?,
            batch: count("batch")?,
            concurrency: count("concurrency")?,
        })
    }
}
