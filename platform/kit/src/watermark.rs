//! A watermark: a number that only rises, and those that wait until it has.
//!
//! It deliberately is not tokio's `watch`, which wakes who waits in an order left to chance: here they are woken in the order in
//! which they began to wait, so that a simulation runs the same each time.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Watermark {
    value: AtomicU64,
    risen: Notify,
}

impl Watermark {
    /// One that stands at `value`.
    pub fn new(value: u64) -> Self {
        Self { value: AtomicU64::new(value), risen: Notify::new() }
    }

    /// Where it stands.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    /// Rises to `value`, unless it stands there or above already.
    pub fn rise_to(&self, value: u64) {
        if self.value.fetch_max(value, Ordering::AcqRel) < value {
            self.risen.notify_waiters();
        }
    }

    /// Rises by one.
    pub fn rise(&self) {
        self.value.fetch_add(1, Ordering::AcqRel);
        self.risen.notify_waiters();
    }

    /// Ends once it stands at `value` or above.
    pub async fn reached(&self, value: u64) {
        loop {
            // Told of what rises from here on, though it is awaited later.
            let risen = self.risen.notified();
            if self.get() >= value {
                return;
            }
            risen.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn who_waits_is_woken_in_turn_and_never_too_soon() {
        let (mark, woken) = (Watermark::new(3), Mutex::new(vec![]));
        mark.reached(3).await;
        let wait = async |number: u64, value: u64| {
            mark.reached(value).await;
            woken.lock().unwrap().push(number);
        };
        let rise = async {
            mark.rise_to(2);
            assert_eq!(mark.get(), 3, "it never falls");
            mark.rise_to(5);
            tokio::task::yield_now().await;
            assert_eq!(*woken.lock().unwrap(), [1, 2], "nobody waits for less");
            mark.rise_to(6);
        };
        tokio::join!(biased; wait(1, 5), wait(2, 4), wait(3, 6), rise);
        assert_eq!(*woken.lock().unwrap(), [1, 2, 3]);
    }
}
