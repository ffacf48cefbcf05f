//! Rules that are filed under the same text.
//!
//! What always holds: they are in the order of their priorities, each once. Of equal priorities the order is any: names
//! are compared by who looks for a rule.

use skiff_types::Priority;

/// A rule where it is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Filed {
    /// When it is asked.
    pub(super) priority: Priority,
    /// Where it is kept.
    pub(super) slot: usize,
}

/// Some of the rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Bucket(Vec<Filed>);

impl Bucket {
    pub(super) fn add(&mut self, filed: Filed) {
        if let Err(at) = self.0.binary_search(&filed) {
            self.0.insert(at, filed);
        }
    }

    pub(super) fn remove(&mut self, filed: Filed) {
        if let Ok(at) = self.0.binary_search(&filed) {
            self.0.remove(at);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn in_order(&self) -> &[Filed] {
        &self.0
    }
}
