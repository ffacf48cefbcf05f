//! A token bucket in one atomic word, so that processes can share it through mapped memory without a lock.
//!
//! It is the "virtual scheduling" form of the generic cell rate algorithm (ITU-T I.371, annex A): the word holds the
//! time at which the bucket will be full again. Spending moves that time on, and may overdraw: CPU time is known only
//! after it was used. Whoever finds the bucket overdrawn waits. Taking moves it on only where the token is there.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How far behind another clock a word may make a bucket look overdrawn that tokens are only taken from, in nanoseconds:
/// more than any two threads' readings are apart. What is beyond was written by a limit that was wider.
const SKEW_NS_MAX: u64 = 1_000_000_000;

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

    /// A bucket that `tokens_per_second` flow into and that holds so many tokens.
    pub fn holding(tokens_per_second: u64, tokens: u64) -> Self {
        let bucket = Self::per_second(tokens_per_second, 0);
        Self { burst_ns: bucket.cost_ns(tokens), ..bucket }
    }

    /// Takes `tokens` out at `now_ns`, overdrawing if need be.
    pub fn spend(&self, state: &AtomicU64, now_ns: u64, tokens: u64) {
        let advance = |full_at_ns: u64| Some(full_at_ns.max(now_ns).saturating_add(self.cost_ns(tokens)));
        let _ = state.fetch_update(Relaxed, Relaxed, advance);
    }

    /// How long to wait from `now_ns` until the bucket is no longer overdrawn, in nanoseconds; 0 if it is not.
    pub fn wait_ns(&self, state: &AtomicU64, now_ns: u64) -> u64 {
        state.load(Relaxed).saturating_sub(now_ns.saturating_add(self.burst_ns))
    }

    /// Takes one token out at `now_ns` if it is there; else takes none, and says in how many nanoseconds it will be. Of
    /// those that race, exactly as many get one as there are. Not for a word that is spent from too.
    pub fn take(&self, state: &AtomicU64, now_ns: u64) -> Result<(), u64> {
        let empty_ns = now_ns.saturating_add(self.burst_ns);
        let mut full_at_ns = state.load(Relaxed);
        loop {
            let next_ns = full_at_ns.max(now_ns).saturating_add(self.cost_ns(1));
            if next_ns > empty_ns {
                if full_at_ns > empty_ns.saturating_add(SKEW_NS_MAX) {
                    // Who fails at it finds it done, or the next to come does.
                    let _ = state.compare_exchange(full_at_ns, empty_ns, Relaxed, Relaxed);
                    return Err(self.cost_ns(1));
                }
                return Err(next_ns - empty_ns);
            }
            match state.compare_exchange_weak(full_at_ns, next_ns, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other_ns) => full_at_ns = other_ns,
            }
        }
    }

    /// The time in which so many tokens flow in.
    fn cost_ns(&self, tokens: u64) -> u64 {
        let cost_ns = u128::from(tokens) * u128::from(self.period_ns_per_1024) / 1024;
        u64::try_from(cost_ns).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic_ns;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;

    #[test]
    fn a_quarter_of_a_core_is_a_quarter_of_the_time() {
        let quarter = TokenBucket { period_ns_per_1024: 4 * 1024, burst_ns: 25 * MS };
        let state = AtomicU64::new(0);
        let (start, mut now, mut used) = (1_000 * MS, 1_000 * MS, 0);
        while now < start + 10_000 * MS {
            now += quarter.wait_ns(&state, now);
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
        assert_eq!(bucket.wait_ns(&state, now), 0);
        bucket.spend(&state, now, 10);
        assert_eq!(bucket.wait_ns(&state, now), 10 * MS);
    }

    #[test]
    fn huge_spending_does_not_wrap() {
        let bucket = TokenBucket::per_second(1, 0);
        let state = AtomicU64::new(0);
        bucket.spend(&state, u64::MAX - 1, u64::MAX);
        assert_eq!(bucket.wait_ns(&state, 0), u64::MAX);
    }

    #[test]
    fn tokens_are_taken_until_none_is_left_and_then_as_they_flow_in() {
        let (bucket, state) = (TokenBucket::holding(10, 3), AtomicU64::new(0));
        // Right after the machine has started, too.
        let now = 5 * MS;
        for _ in 0..3 {
            assert_eq!(bucket.take(&state, now), Ok(()));
        }
        assert_eq!(bucket.take(&state, now), Err(100 * MS));
        assert_eq!(bucket.take(&state, now + 60 * MS), Err(40 * MS));
        assert_eq!(bucket.take(&state, now + 100 * MS), Ok(()));
        assert_eq!(bucket.take(&state, now + 100 * MS), Err(100 * MS), "who is refused takes nothing");
        let later = now + 3_600 * SECOND;
        assert_eq!((0..9).filter(|_| bucket.take(&state, later).is_ok()).count(), 3);
    }

    #[test]
    fn a_wider_limit_of_before_holds_nobody_up() {
        let state = AtomicU64::new(0);
        let (wide, narrow) = (TokenBucket::holding(1, 1_000), TokenBucket::holding(10, 1));
        (0..1_000).for_each(|_| wide.take(&state, SECOND).unwrap());
        assert_eq!(narrow.take(&state, SECOND), Err(100 * MS), "not for a quarter of an hour");
        assert_eq!(narrow.take(&state, SECOND + 100 * MS), Ok(()));
    }

    #[test]
    fn who_races_for_tokens_gets_as_many_as_there_are() {
        let (bucket, state) = (TokenBucket::holding(1_000, 500), AtomicU64::new(0));
        let began = monotonic_ns();
        let run = || (0..50_000).filter(|_| bucket.take(&state, monotonic_ns()).is_ok()).count() as u64;
        let taken: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let most = 500 + (monotonic_ns() - began) / MS;
        assert!((500..=most).contains(&taken), "{taken} of {most}");
        let none_flows_in = AtomicU64::new(0);
        let run = || (0..500).filter(|_| bucket.take(&none_flows_in, SECOND).is_ok()).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 500);
    }

    proptest! {
        /// The model is the bucket itself: what is in it, as the time that it takes to flow in.
        #[test]
        fn tokens_are_taken_as_from_a_bucket(
            per_second in 1_u64..=1_000_000,
            tokens in 1_u64..=1_000,
            starts_at in 0_u64..10 * SECOND,
            pauses in prop::collection::vec(prop_oneof![Just(0), 0_u64..5_000, 0..SECOND], 0..200),
        ) {
            let (bucket, state) = (TokenBucket::holding(per_second, tokens), AtomicU64::new(0));
            let cost = bucket.cost_ns(1);
            let (mut now, mut level) = (starts_at, bucket.burst_ns);
            for pause in pauses {
                now += pause;
                level = (level + pause).min(bucket.burst_ns);
                let expected = if level >= cost { Ok(()) } else { Err(cost - level) };
                if expected.is_ok() {
                    level -= cost;
                }
                prop_assert_eq!(bucket.take(&state, now), expected);
            }
        }
    }
}
