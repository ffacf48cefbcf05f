//! What was due by schedules, was taken in, and may be put again, since who put it may not have noted that it was.
//!
//! What always holds: it is known however long that takes, over restarts too, and whatever the clock does; so the log keeps it.
//! Each is forgotten once it was noted; `seen` knows it as long as all others.

use super::seen::SeenKey;
use crate::log::Position;
use skiff_types::QualifiedName;
use std::collections::{BTreeSet, HashMap, HashSet};

/// By what each is known.
#[derive(Default)]
pub(super) struct Unsettled(HashMap<SeenKey, Open>);

struct Open {
    schedule: QualifiedName,
    /// By which put it came.
    put: u64,
    /// Where its record lies, once it is on the drive.
    position: Option<Position>,
}

impl Unsettled {
    /// One of a schedule comes now.
    pub(super) fn insert(&mut self, key: SeenKey, schedule: QualifiedName, put: u64) {
        self.0.insert(key, Open { schedule, put, position: None });
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

    /// Only these may come again from now on, and any of these schedules.
    pub(super) fn keep(&mut self, open: &HashSet<SeenKey>, unknown: &BTreeSet<QualifiedName>) {
        self.0.retain(|key, known| open.contains(key) || unknown.contains(&known.schedule));
    }

    /// From where on the log is needed for these.
    pub(super) fn first(&self) -> Option<Position> {
        self.0.values().filter_map(|open| open.position).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_let_go_and_what_can_not_be_known_is_kept() {
        let mut unsettled = Unsettled::default();
        let keys = ["1", "2", "3"].map(|id| SeenKey::of(&[id]));
        for (number, (key, schedule)) in keys.into_iter().zip(["a/read", "a/read", "a/unread"]).enumerate() {
            unsettled.insert(key, schedule.parse().unwrap(), 7);
            unsettled.lies_at(&key, Position(number as u64));
        }
        let unknown = BTreeSet::from(["a/unread".parse().unwrap()]);
        unsettled.keep(&HashSet::from([keys[1]]), &unknown);
        assert_eq!(keys.map(|key| unsettled.put_of(&key)), [None, Some(7), Some(7)]);
        assert_eq!(unsettled.first(), Some(Position(1)));
        unsettled.keep(&HashSet::new(), &unknown);
        assert_eq!(unsettled.first(), Some(Position(2)));
        unsettled.keep(&HashSet::new(), &BTreeSet::new());
        assert_eq!(unsettled.first(), None);
    }
}
