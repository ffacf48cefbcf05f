//! A token bucket in one atomic word, so that processes can share it through mapped memory without a lock.
//!
//! It is the "virtual scheduling" form of the generic cell rate algorithm (ITU-T I.371, annex A): the word holds the
//! time at which the bucket will be full again. Spending moves that time on, and may overdraw: CPU time is known only
//! after it was used. Whoever finds the bucket overdrawn waits.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The two numbers of a bucket; its state is an [`AtomicU64`] that lives elsewhere and starts at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Nanoseconds in which one thousand and twenty-four tokens flow in.
    pub period_ns_per_1024: u64,
    /// How long the bucket takes to fill, in nanoseconds: its size in time.
    pub burst_ns: u64,
}

impl TokenBucket {
    /// A bucket that `tokens_per_second` flow into and that holds `burst_ns` worth of them.
    pub fn per_second(tokens_per_second: u64, burst_ns: u64) -> Self {
        Self { period_ns_per_1024: 1024 * 1_000_000_000 / tokens_per_second.max(1), burst_ns }
    }

    /// Takes `tokens` out at `now_ns`, overdrawing if need be.
    pub fn spend(&self, state: &AtomicU64, now_ns: u64, tokens: u64) {
        let cost = u128::from(tokens) * u128::from(self.period_ns_per_1024) / 1024;
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let earliest = now_ns.saturating_sub(self.burst_ns);
        let advance = |full_at: u64| Some(full_at.max(earliest).saturating_add(cost));
        let _ = state.fetch_update(Relaxed, Relaxed, advance);
    }

    /// How long to wait from `now_ns` until the bucket is no longer overdrawn, in nanoseconds; 0 if it is not.
    pub fn wait_ns(state: &AtomicU64, now_ns: u64) -> u64 {
        state.load(Relaxed).saturating_sub(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_quarter_of_a_core_is_a_quarter_of_the_time() {
        let quarter = TokenBucket { period_ns_per_1024: 4 * 1024, burst_ns: 25 * MS };
        let state = AtomicU64::new(0);
        let (start, mut now, mut used) = (1_000 * MS, 1_000 * MS, 0);
        while now < start + 10_000 * MS {
            now += TokenBucket::wait_ns(&state, now);
            now += MS;
            used += MS;
            quarter.spend(&state, now, MS);
        }
        let share = used as f64 / (now - start) as f64;
        assert!((0.25..0.254).contains(&share), "{share}");
    }

    #[test]
    fn an_idle_bucket_holds_no_more_than_its_burst() {
        let bucket = TokenBucket::per_second(1_000, 100 * MS);
        let state = AtomicU64::new(0);
        let now = 3_600_000 * MS;
        bucket.spend(&state, now, 100);
        assert_eq!(TokenBucket::wait_ns(&state, now), 0);
        bucket.spend(&state, now, 10);
        assert_eq!(TokenBucket::wait_ns(&state, now), 10 * MS);
    }

    #[test]
    fn huge_spending_does_not_wrap() {
        let bucket = TokenBucket::per_second(1, 0);
        let state = AtomicU64::new(0);
        bucket.spend(&state, u64::MAX - 1, u64::MAX);
        assert_eq!(TokenBucket::wait_ns(&state, 0), u64::MAX);
    }
}
