//! What was due by schedules, was taken in, and may be put again, since who put it may not have noted that it was.
//!
//! What always holds: it is known however long that takes, over restarts too, and whatever the clock does; so the log keeps it.
//! Each is forgotten once it was noted; `seen` knows it as long as all others.

use super::seen::SeenKey;
use crate::log::Position;
use std::collections::{HashMap, HashSet};

/// By what each is known.
#[derive(Default)]
pub(super) struct Unsettled(HashMap<SeenKey, Open>);

struct Open {
    /// By which put it came.
    put: u64,
    /// Where its record lies, once it is on the drive.
    position: Option<Position>,
}

impl Unsettled {
    /// It comes now.
    pub(super) fn insert(&mut self, key: SeenKey, put: u64) {
        self.0.insert(key, Open { put, position: None });
    }

    /// If it is one of these, it lies here.
    pub(super) fn lies_at(&mut self, key: &SeenKey, position: Position) {
        if let Some(open) = self.0.get_mut(key) {
            open.position = Some(position);
        }
    }

    /// It did not come by this put after all.
    pub(super) fn remove(&mut self, key: &SeenKey, put: u64) {
        if self.put_of(key) == Some(put) {
            self.0.remove(key);
        }
    }

    /// By which put it came, if it may come again.
    pub(super) fn put_of(&self, key: &SeenKey) -> Option<u64> {
        self.0.get(key).map(|open| open.put)
    }

    /// Only these may come again from now on.
    pub(super) fn keep(&mut self, open: &HashSet<SeenKey>) {
        self.0.retain(|key, _| open.contains(key));
    }

    /// From where on the log is needed for these.
    pub(super) fn first(&self) -> Option<Position> {
        self.0.values().filter_map(|open| open.position).min()
    }
}
