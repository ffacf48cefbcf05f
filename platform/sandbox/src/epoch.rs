//! The epoch clock: one helper thread that lets running guests yield about once a millisecond, and sleeps otherwise.
//!
//! Epochs only make a guest give up the thread; what it is charged is CPU time, measured elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::JoinHandle;
use std::time::Duration;
use wasmtime::Engine;

/// Longest time a guest runs before others get the thread.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a running guest after which the thread parks.
const TICKS_IDLE_MAX: u32 = 20;

/// The clock of a worker's engines; its thread ends when it is dropped.
pub(crate) struct EpochClock {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// How often a guest was entered or left: odd while one runs. Written by the worker's one thread.
    crossings: AtomicU64,
    parked: AtomicBool,
    stop: AtomicBool,
}

impl EpochClock {
    pub(crate) fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ours = shared.clone();
        let thread = std::thread::Builder::new()
            .name("skiff-epoch".to_owned())
            .spawn(move || tick(&engines, &ours))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Says that a guest runs from now on.
    pub(crate) fn enter(&self) {
        self.cross();
        // The thread parks first and looks for a running guest after; so one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.shared.parked.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Says that it no longer runs.
    pub(crate) fn leave(&self) {
        self.cross();
    }

    fn cross(&self) {
        let crossings = self.shared.crossings.load(Ordering::Relaxed);
        self.shared.crossings.store(crossings.wrapping_add(1), Ordering::Relaxed);
    }

    #[cold]
    fn wake(&self) {
        self.shared.parked.store(false, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tick(engines: &[Engine], shared: &Shared) {
    let (mut seen, mut ticks_idle) = (0, 0);
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(TICK);
        engines.iter().for_each(Engine::increment_epoch);
        let crossings = shared.crossings.load(Ordering::SeqCst);
        let guest_runs = crossings % 2 == 1;
        ticks_idle = if crossings == seen && !guest_runs { ticks_idle + 1 } else { 0 };
        seen = crossings;
        if ticks_idle < TICKS_IDLE_MAX {
            continue;
        }
        ticks_idle = 0;
        shared.parked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if shared.crossings.load(Ordering::SeqCst) != seen {
            shared.parked.store(false, Ordering::SeqCst);
        }
        while shared.parked.load(Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_parks_when_no_guest_runs_and_wakes_when_one_does() {
        let clock = EpochClock::start(vec![Engine::default()]).unwrap();
        until("never parked", || clock.shared.parked.load(Ordering::SeqCst));
        clock.enter();
        assert!(!clock.shared.parked.load(Ordering::SeqCst));
        let parked_while_running = Instant::now() + 2 * TICK * TICKS_IDLE_MAX;
        while Instant::now() < parked_while_running {
            assert!(!clock.shared.parked.load(Ordering::SeqCst), "parked although a guest runs");
        }
        clock.leave();
        until("never parked again", || clock.shared.parked.load(Ordering::SeqCst));
    }
}
