//! The one timer of a connection: its waits, which come one after the other, take it in turn.
//!
//! A timer is an entry in a wheel of the whole runtime, which is made and taken out under a lock. Nearly all waits of a connection
//! end long before their time, so the entry is kept, and moved on for the next one: that takes no lock.
//!
//! What always holds: two waits at a time have an entry each.

use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// An entry of the runtime's wheel.
type Entry = Pin<Box<tokio::time::Sleep>>;

/// A connection's timer. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct ConnectionTimer(Arc<Mutex<Option<Entry>>>);

impl ConnectionTimer {
    /// Ends at a time.
    pub(super) fn until(&self, deadline: Instant) -> Wait {
        let kept = self.lock().take();
        let entry = match kept {
            Some(mut entry) => {
                entry.as_mut().reset(deadline);
                entry
            }
            None => Box::pin(tokio::time::sleep_until(deadline)),
        };
        Wait { entry: Some(entry), timer: self.clone() }
    }

    /// Ends after a time.
    pub(super) fn after(&self, time: Duration) -> Wait {
        self.until(Instant::now() + time)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for ConnectionTimer {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.after(time))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.until(deadline.into()))
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

/// A wait. Dropped, it leaves its entry to the next.
pub(super) struct Wait {
    /// Always there until this is dropped.
    entry: Option<Entry>,
    timer: ConnectionTimer,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.entry.as_mut().map_or(Poll::Ready(()), |entry| entry.as_mut().poll(context))
    }
}

impl Sleep for Wait {}

impl Drop for Wait {
    fn drop(&mut self) {
        let left = self.entry.take();
        // Taken out of the wheel without our lock held.
        let other = std::mem::replace(&mut *self.timer.lock(), left);
        drop(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(30);

    async fn took(wait: Wait) -> Duration {
        let began = Instant::now();
        wait.await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_takes_its_own_time_whatever_the_one_before_it_asked_for() {
        let timer = ConnectionTimer::default();
        // One that is given up, then a longer, a shorter, and one behind a wait that came to its end.
        assert!(tokio::time::timeout(SHORT / 2, timer.after(SHORT)).await.is_err());
        assert_eq!(took(timer.after(LONG)).await, LONG);
        drop(timer.after(LONG));
        assert_eq!(took(timer.after(SHORT)).await, SHORT);
        assert_eq!(took(timer.after(SHORT)).await, SHORT);
    }

    #[tokio::test(start_paused = true)]
    async fn one_wait_after_the_other_has_one_entry_and_two_at_once_have_two() {
        let timer = ConnectionTimer::default();
        drop(timer.after(LONG));
        let first = timer.after(LONG);
        assert!(timer.lock().is_none(), "it took the entry that was left");
        let second = timer.after(SHORT);
        assert_eq!((took(second).await, took(first).await), (SHORT, LONG - SHORT));
        assert!(timer.lock().is_some());
    }
}
