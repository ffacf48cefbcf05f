//! How much CPU time a step of a guest took.
//!
//! The kernel's clock of a thread's CPU time costs as much as a small host call, the monotonic clock next to nothing. As
//! long as a step is short, both say the same, unless the kernel let another thread run; such a pause is longer than any
//! short step. So the CPU clock is read once a millisecond, and what it says then holds.

use skiff_kit::clock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How long the monotonic clock alone is believed.
const BELIEVED_NS: u64 = 1_000_000;

/// The meter of one thread. It is `Sync` only because what knows it has to be; that thread alone uses it.
pub(crate) struct CpuMeter {
    read_at_ns: AtomicU64,
    read_cpu_ns: AtomicU64,
    /// What was charged since then.
    charged_ns: AtomicU64,
    /// What was charged in all.
    total_ns: AtomicU64,
}

impl CpuMeter {
    pub(crate) fn new() -> Self {
        Self {
            read_at_ns: AtomicU64::new(clock::monotonic_ns()),
            read_cpu_ns: AtomicU64::new(clock::thread_cpu_ns()),
            charged_ns: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
        }
    }

    /// The CPU time of a step between two readings of the monotonic clock, the second of them taken just now. Its task is to
    /// be charged with it.
    pub(crate) fn used_ns(&self, began_ns: u64, ended_ns: u64) -> u64 {
        let used_ns = self.measure(began_ns, ended_ns);
        add(&self.total_ns, used_ns);
        used_ns
    }

    /// What tasks were charged with in all, in nanoseconds.
    pub(crate) fn total_ns(&self) -> u64 {
        self.total_ns.load(Relaxed)
    }

    fn measure(&self, began_ns: u64, ended_ns: u64) -> u64 {
        let lasted_ns = ended_ns.saturating_sub(began_ns);
        if ended_ns.saturating_sub(self.read_at_ns.load(Relaxed)) < BELIEVED_NS {
            add(&self.charged_ns, lasted_ns);
            return lasted_ns;
        }
        let cpu_ns = clock::thread_cpu_ns();
        let since_ns = cpu_ns.saturating_sub(take(&self.read_cpu_ns, cpu_ns));
        self.read_at_ns.store(ended_ns, Relaxed);
        // What of the time since the last reading nobody was charged with yet is this step's, or the platform's.
        lasted_ns.min(since_ns.saturating_sub(take(&self.charged_ns, 0)))
    }
}

// One thread writes, so a load and a store do what a locked instruction would, for less.

fn add(number: &AtomicU64, more: u64) {
    number.store(number.load(Relaxed).wrapping_add(more), Relaxed);
}

fn take(number: &AtomicU64, successor: u64) -> u64 {
    let before = number.load(Relaxed);
    number.store(successor, Relaxed);
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn spin(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    fn step(meter: &CpuMeter, step: impl FnOnce()) -> u64 {
        let began_ns = clock::monotonic_ns();
        step();
        meter.used_ns(began_ns, clock::monotonic_ns())
    }

    #[test]
    fn steps_add_up_to_no_more_than_the_thread_used() {
        let began_cpu_ns = clock::thread_cpu_ns();
        let meter = CpuMeter::new();
        let mut charged_ns = 0;
        for _ in 0..200 {
            charged_ns += step(&meter, || spin(Duration::from_micros(100)));
            charged_ns += step(&meter, || spin(Duration::from_millis(3)));
        }
        let used_ns = clock::thread_cpu_ns() - began_cpu_ns;
        // Up to a reading's worth is not seen yet.
        assert!(charged_ns <= used_ns + BELIEVED_NS, "{charged_ns} charged, {used_ns} used");
        assert!(charged_ns >= used_ns / 10 * 9, "{charged_ns} charged, {used_ns} used");
    }

    #[test]
    fn a_pause_is_not_charged() {
        let meter = CpuMeter::new();
        let charged_ns = step(&meter, || std::thread::sleep(Duration::from_millis(50)));
        assert!(charged_ns < 25_000_000, "{charged_ns}");
    }
}
