//! How fast a task may do something over time: whoever is faster waits for its turn.
//!
//! What was done is spent after it was done, so a rate may be overdrawn once by each that does it at the same time; over
//! time it holds.

use skiff_kit::TokenBucket;
use std::cell::RefCell;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

const SECOND_NS: u64 = 1_000_000_000;

/// One task's rate in one worker.
#[derive(Debug)]
pub(crate) struct Rate {
    bucket: TokenBucket,
    state: AtomicU64,
    began: Instant,
}

/// A place to wait for one's turn; holds memory only while somebody does.
#[derive(Debug, Default)]
pub(crate) struct Turn(RefCell<Option<Pin<Box<Sleep>>>>);

impl Rate {
    /// So many a second over time, after a burst of so many.
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        let per_second = per_second.max(1);
        let burst_ns = u128::from(burst) * u128::from(SECOND_NS) / u128::from(per_second);
        // A quarter of what there is, so that times can be added.
        let burst_ns = u64::try_from(burst_ns).unwrap_or(u64::MAX).min(u64::MAX / 4);
        Self {
            bucket: TokenBucket::per_second(per_second, burst_ns),
            state: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    /// Notes that so much was done.
    pub(crate) fn spend(&self, tokens: u64) {
        self.bucket.spend(&self.state, self.now_ns(), tokens);
    }

    /// Ends when the next may be done; says whether that took waiting.
    pub(crate) async fn turn(&self) -> bool {
        let mut has_waited = false;
        loop {
            let wait = self.wait();
            if wait.is_zero() {
                return has_waited;
            }
            has_waited = true;
            sleep(wait).await;
        }
    }

    /// The same, polled.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>, turn: &Turn) -> Poll<()> {
        let mut waiting = turn.0.borrow_mut();
        loop {
            let wait = self.wait();
            if wait.is_zero() {
                *waiting = None;
                return Poll::Ready(());
            }
            ready!(waiting.get_or_insert_with(|| Box::pin(sleep(wait))).as_mut().poll(cx));
            *waiting = None;
        }
    }

    fn wait(&self) -> Duration {
        Duration::from_nanos(self.bucket.wait_ns(&self.state, self.now_ns()))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_the_burst_a_rate_is_what_it_says() {
        let rate = Rate::new(100, 50);
        let began = Instant::now();
        for _ in 0..50 {
            rate.turn().await;
            rate.spend(1);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..200 {
            rate.turn().await;
            rate.spend(1);
        }
        // One may be overdrawn, and the runtime's timer counts in milliseconds.
        let took_ms = began.elapsed().as_millis();
        assert!((1_980..=2_300).contains(&took_ms), "{took_ms} ms");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let later = Instant::now();
        for _ in 0..50 {
            rate.turn().await;
            rate.spend(1);
        }
        assert_eq!(later.elapsed(), Duration::ZERO, "idle, it fills up again, and no more than that");
        rate.spend(10);
        rate.turn().await;
        assert!(later.elapsed() >= Duration::from_millis(90));
    }
}
