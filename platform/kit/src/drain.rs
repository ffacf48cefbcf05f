//! Draining: one word that says "take no more", and a count of what is still in flight.

use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A drain, cheap to clone. Whoever starts work holds a token of it; whoever stops it waits for the tokens.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that no more is to be taken on. Idempotent.
    pub fn begin(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Ends when the drain begins.
    pub fn begun(&self) -> impl Future<Output = ()> + '_ {
        self.stop.cancelled()
    }

    /// Counts as in flight until it is dropped.
    pub fn token(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Begins, and waits until nothing is in flight or `timeout` is over; says whether all ended in time.
    pub async fn finish(&self, timeout: Duration) -> bool {
        self.begin();
        tokio::time::timeout(timeout, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_what_is_in_flight() {
        let drain = Drain::new();
        let token = drain.token();
        assert!(!drain.finish(Duration::from_secs(1)).await, "ended although a token was held");
        drop(token);
        assert!(drain.finish(Duration::from_secs(1)).await);
    }
}
