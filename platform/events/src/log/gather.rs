//! Whether a write waits for others to share its sync, for how many, and for how long.
//!
//! A sync costs the same however much it covers, and each has two threads change places. Where many append at a time, each of them
//! waits for its answer and then, as a rule, appends again: so the next write waits for those that the last sync answered to be
//! back, but not for much longer than a sync takes. (PostgreSQL has it as `commit_delay` and `commit_siblings`.)
//!
//! Deliberately not here: the waiting itself. What always holds: where few append, and where nobody did lately, nothing waits.

use std::time::{Duration, Instant};

/// Appends that are likely to share a sync, from which on it is worth a wait.
const APPENDS_MIN: usize = 8;
/// A write waits for so many times the last sync's time at most,
const SYNCS_MAX: u32 = 2;
/// and for so long.
const TIME_MAX: Duration = Duration::from_micros(500);
/// A shorter wait is none: the timer of a thread is no finer.
const TIME_MIN: Duration = Duration::from_micros(50);

/// The last sync.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastSync {
    /// Appends that it answered.
    pub(super) answered: usize,
    /// How long it took.
    pub(super) took: Duration,
    /// When its answers were given.
    pub(super) ended: Instant,
}

impl LastSync {
    /// For how many appends a write is to wait, where so many wait for it; none if it is not to wait.
    pub(super) fn wanted(&self, waiting: usize) -> Option<usize> {
        let likely = self.answered + waiting;
        (waiting > 0 && likely >= APPENDS_MIN).then_some(likely)
    }

    /// How much longer it may wait.
    pub(super) fn time_left(&self, now: Instant) -> Option<Duration> {
        let time = self.took.saturating_mul(SYNCS_MAX).min(TIME_MAX);
        let left = (self.ended + time).saturating_duration_since(now);
        (left >= TIME_MIN).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(answered: usize, took_us: u64) -> LastSync {
        LastSync { answered, took: Duration::from_micros(took_us), ended: Instant::now() }
    }

    #[test]
    fn a_write_waits_for_many_and_for_nobody_who_is_alone() {
        assert_eq!(last(0, 200).wanted(1), None);
        assert_eq!(last(3, 200).wanted(4), None);
        assert_eq!(last(3, 200).wanted(5), Some(8));
        assert_eq!(last(30, 200).wanted(2), Some(32));
        assert_eq!(last(30, 200).wanted(0), None, "nobody waits");
    }

    #[test]
    fn a_write_waits_no_longer_than_two_syncs_from_the_last_one_on() {
        let us = Duration::from_micros;
        let last_sync = last(30, 200);
        assert_eq!(last_sync.time_left(last_sync.ended), Some(us(400)));
        assert_eq!(last_sync.time_left(last_sync.ended + us(300)), Some(us(100)));
        assert_eq!(last_sync.time_left(last_sync.ended + us(351)), None);
        assert_eq!(last_sync.time_left(last_sync.ended + us(3_600_000_000)), None, "it is long ago");
        let slow = last(30, 9_000);
        assert_eq!(slow.time_left(slow.ended), Some(TIME_MAX));
        let fast = last(30, 20);
        assert_eq!(fast.time_left(fast.ended), None, "so short a sync is cheap");
    }
}
