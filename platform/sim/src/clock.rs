//! The wall clock of a simulation: it goes with the paused clock of the runtime, and jumps where a fault has it jump.

use skiff_kit::clock::Clock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use tokio::time::Instant;

/// When a simulation begins, in milliseconds since 1970: some time in 2027.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// For how long after it was put forward what had so much time may have had less, in milliseconds: as long as a task may take to
/// finish what it has.
const HURRIED_MS: u64 = 60_000;

/// The clock.
pub(crate) struct SimClock {
    began: Instant,
    offset_ms: AtomicI64,
    /// Until when what has a deadline is hurried, in milliseconds since the simulation began.
    hurried_until_ms: AtomicU64,
}

impl SimClock {
    /// One that begins now. To be made within the simulation's runtime.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), offset_ms: AtomicI64::new(0), hurried_until_ms: AtomicU64::new(0) }
    }

    /// Milliseconds since the simulation began, however the clock on the wall jumped.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When so many milliseconds are over since the simulation began.
    pub(crate) fn instant(&self, at_ms: u64) -> Instant {
        self.began + std::time::Duration::from_millis(at_ms)
    }

    /// Puts the clock on the wall forward, or back.
    pub(crate) fn jump(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Relaxed);
        if by_ms > 0 {
            self.hurried_until_ms.store(self.elapsed_ms() + HURRIED_MS, Relaxed);
        }
    }

    /// Whether it was put forward a moment ago: then who had time to finish may have had none.
    pub(crate) fn hurries(&self) -> bool {
        self.elapsed_ms() < self.hurried_until_ms.load(Relaxed)
    }
}

impl Clock for SimClock {
    fn unix_ms(&self) -> u64 {
        (EPOCH_MS + self.elapsed_ms()).saturating_add_signed(self.offset_ms.load(Relaxed))
    }
}
