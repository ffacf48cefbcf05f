//! Which events came within the last five minutes, so that none is taken in twice.
//!
//! Events are known by a digest of what tells them apart; the events themselves are not kept. It deliberately does not outlive
//! the process: those that lead to something are found in the log again, the others led to nothing.
//!
//! What always holds: no more than its bound is remembered. Where more come within five minutes, the oldest are forgotten
//! sooner.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};

/// How long an event is remembered, in milliseconds.
pub(super) const WINDOW_MS: u64 = 300_000;

/// What an event is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SeenKey([u8; 16]);

impl SeenKey {
    /// Of all the parts that tell an event apart, in their order.
    pub(super) fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }
}

/// What was taken in of late.
pub(super) struct Seen {
    /// By which put each came.
    puts: HashMap<SeenKey, u64>,
    /// When, oldest first.
    order: VecDeque<(u64, SeenKey, u64)>,
    max: usize,
}

impl Seen {
    /// Remembers so many at most.
    pub(super) fn new(max: usize) -> Self {
        Self { puts: HashMap::new(), order: VecDeque::new(), max }
    }

    /// By which put it came, if it did of late; [`Seen::expire`] first.
    pub(super) fn put_of(&self, key: &SeenKey) -> Option<u64> {
        self.puts.get(key).copied()
    }

    /// It comes now.
    pub(super) fn insert(&mut self, key: SeenKey, put: u64, now_ms: u64) {
        self.puts.insert(key, put);
        self.order.push_back((now_ms, key, put));
        if self.order.len() > self.max {
            self.forget_oldest();
        }
    }

    /// It did not come by this put after all.
    pub(super) fn remove(&mut self, key: &SeenKey, put: u64) {
        if self.put_of(key) == Some(put) {
            self.puts.remove(key);
        }
    }

    /// Forgets what came too long ago.
    pub(super) fn expire(&mut self, now_ms: u64) {
        while self.order.front().is_some_and(|(at_ms, _, _)| is_long_ago(*at_ms, now_ms)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key, put)) = self.order.pop_front() {
            self.remove(&key, put);
        }
    }
}

/// Whether what came at a time is not remembered any more. A clock that was put back makes it longer.
pub(super) fn is_long_ago(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) >= WINDOW_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_known_for_five_minutes() {
        let mut seen = Seen::new(100);
        let key = SeenKey::of(&["default", "default", "app", "1"]);
        seen.insert(key, 7, 1_000);
        seen.expire(1_000 + WINDOW_MS - 1);
        assert_eq!(seen.put_of(&key), Some(7));
        // The clock is put back, and goes on.
        seen.expire(0);
        assert_eq!(seen.put_of(&key), Some(7));
        seen.expire(1_000 + WINDOW_MS);
        assert_eq!(seen.put_of(&key), None);
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(SeenKey::of(&["a", "bc"]), SeenKey::of(&["ab", "c"]));
        assert_ne!(SeenKey::of(&["a", ""]), SeenKey::of(&["", "a"]));
    }

    #[test]
    fn no_more_is_remembered_than_its_bound() {
        let mut seen = Seen::new(2);
        let keys = ["1", "2", "3"].map(|id| SeenKey::of(&[id]));
        for key in keys {
            seen.insert(key, 1, 0);
        }
        assert_eq!(keys.map(|key| seen.put_of(&key).is_some()), [false, true, true]);
    }

    #[test]
    fn what_failed_to_come_may_come_again() {
        let mut seen = Seen::new(10);
        let key = SeenKey::of(&["1"]);
        seen.insert(key, 1, 0);
        seen.remove(&key, 1);
        assert_eq!(seen.put_of(&key), None);
        // What is left of the first does not take the second away.
        seen.insert(key, 2, 10);
        seen.expire(WINDOW_MS);
        assert_eq!(seen.put_of(&key), Some(2));
    }
}
