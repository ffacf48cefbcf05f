//! What was said lately, so that who tries the same again and again is told once in a while, and fills no log.
//!
//! It counts nothing, and reads no clock. What always holds: no more is remembered than the bounds say, and one who tries
//! everything keeps no other from being told.

use std::collections::HashMap;
use std::hash::Hash;

/// What was said to all, at most; what comes on top is not said.
const REMEMBERED_MAX: usize = 1_024;
/// The same of one.
const REMEMBERED_OF_ONE_MAX: usize = 32;
/// How long what was said is not said again, in milliseconds.
const INTERVAL_MS: u64 = 60_000;

/// What was said to whom, and when, in milliseconds of any clock.
#[derive(Debug)]
pub struct Lately<K>(HashMap<K, HashMap<Box<str>, u64>>);

impl<K> Default for Lately<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Copy + Eq + Hash> Lately<K> {
    /// Whether this is to be said to `whom` now: not if it was within the last minute. Then it counts as said.
    pub fn is_new(&mut self, whom: K, what: &str, now_ms: u64) -> bool {
        let is_recent = |said_ms: &u64| now_ms.saturating_sub(*said_ms) < INTERVAL_MS;
        if self.0.get(&whom).and_then(|said| said.get(what)).is_some_and(is_recent) {
            return false;
        }
        if self.remembered() >= REMEMBERED_MAX {
            self.0.retain(|_, said| {
                said.retain(|_, said_ms| is_recent(said_ms));
                !said.is_empty()
            });
        }
        let has_room = self.remembered() < REMEMBERED_MAX;
        let said = self.0.entry(whom).or_default();
        if said.len() >= REMEMBERED_OF_ONE_MAX {
            said.retain(|_, said_ms| is_recent(said_ms));
        }
        let is_said = has_room && said.len() < REMEMBERED_OF_ONE_MAX || said.contains_key(what);
        if is_said {
            said.insert(what.into(), now_ms);
        } else if said.is_empty() {
            self.0.remove(&whom);
        }
        is_said
    }

    /// Forgets what was said to one.
    pub fn forget(&mut self, whom: K) {
        self.0.remove(&whom);
    }

    fn remembered(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute() {
        let mut lately = Lately::default();
        assert!(lately.is_new(1, "a", 0) && lately.is_new(1, "b", 0) && lately.is_new(2, "a", 0));
        assert!(!lately.is_new(1, "a", INTERVAL_MS - 1));
        assert!(lately.is_new(1, "a", INTERVAL_MS));
        assert!(!lately.is_new(1, "a", INTERVAL_MS + 1));
        lately.forget(1);
        assert!(lately.is_new(1, "a", INTERVAL_MS + 1));
    }

    #[test]
    fn one_who_tries_everything_keeps_no_other_from_being_told() {
        let mut lately = Lately::default();
        let said = (0..1_000).filter(|number| lately.is_new(1, &number.to_string(), 0)).count();
        assert_eq!(said, REMEMBERED_OF_ONE_MAX);
        assert!(lately.is_new(2, "a", 0));
        assert!(lately.is_new(1, "another", INTERVAL_MS), "what is old makes room");
    }

    #[test]
    fn no_more_is_remembered_than_the_bound() {
        let mut lately = Lately::default();
        for whom in 0..2 * REMEMBERED_MAX / REMEMBERED_OF_ONE_MAX {
            (0..REMEMBERED_OF_ONE_MAX).for_each(|what| {
                lately.is_new(whom, &what.to_string(), 0);
            });
        }
        assert_eq!(lately.remembered(), REMEMBERED_MAX);
        assert!(!lately.is_new(9_999, "a", 1) && !lately.0.contains_key(&9_999));
        assert!(lately.is_new(9_999, "a", INTERVAL_MS));
        assert_eq!(lately.remembered(), 1);
    }
}
