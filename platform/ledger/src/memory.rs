//! Memory that sandboxes claim from their task's limit, and the bill for how long they hold it.
//!
//! A row's integral of memory over time is brought up to date whenever its claims change, so it is exact but for the
//! clock: [`now_ms`] moves in ticks of the kernel (1 to 10 ms), which costs a third of what the exact clock does on the
//! way of a request. A claim is charged for as many ticks as it saw: at most one tick too many or too few, and neither
//! on average, so the error of a sum shrinks with the number of claims. KiB that a claim did not fill are not charged.

use crate::account::Gauge;
use crate::layout::TaskSlot;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Milliseconds since some fixed instant, as of the kernel's last tick; the same for every process of this machine.
pub fn now_ms() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// A row's memory times how long it was held.
///
/// Only the row's worker settles it, and everybody reads: what makes that safe is the order in which the three numbers
/// are written (since when, the sum, the gauge) and read (the gauge, the sum, since when). A reader in the middle of a
/// change may miss what is being settled, and then sees it with its next look; it never counts a time twice.
#[derive(Debug, Default)]
#[repr(C)]
pub struct HeldMemory {
    since_ms: AtomicU64,
    settled_kib_ms: AtomicU64,
}

impl HeldMemory {
    /// Charges for what `bytes` holds since it last changed. To be called before each change of `bytes`.
    pub(crate) fn settle(&self, now_ms: u64, bytes: &Gauge) {
        let kib_ms = kib_ms(bytes.get(), now_ms.saturating_sub(self.since_ms.load(Relaxed)));
        self.since_ms.store(now_ms, Release);
        self.settled_kib_ms.store(self.settled_kib_ms.load(Relaxed).saturating_add(kib_ms), Release);
    }

    /// The integral up to `now_ms`, which must be read before, in KiB times milliseconds.
    pub(crate) fn kib_ms(&self, now_ms: u64, bytes: &Gauge) -> u64 {
        let bytes = bytes.get();
        let settled_kib_ms = self.settled_kib_ms.load(Acquire);
        let since_ms = self.since_ms.load(Acquire);
        settled_kib_ms.saturating_add(kib_ms(bytes, now_ms.saturating_sub(since_ms)))
    }

    pub(crate) fn clear(&self) {
        self.settled_kib_ms.store(0, Relaxed);
    }
}

fn kib_ms(bytes: u64, ms: u64) -> u64 {
    (bytes >> 10).saturating_mul(ms)
}

/// Memory that one sandbox has claimed from its task's limit; given back when dropped.
///
/// Holds a claim for as long as the sandbox lives and grows with it.
#[derive(Debug)]
pub struct MemoryClaim {
    slot: TaskSlot,
    worker: usize,
    limit_bytes: u64,
    claimed_bytes: u64,
}

impl MemoryClaim {
    /// A claim of nothing yet, on the slot's row of `worker`.
    pub fn new(slot: TaskSlot, worker: usize, limit_bytes: u64) -> Self {
        Self { slot, worker, limit_bytes, claimed_bytes: 0 }
    }

    /// Claims `bytes` more; false, and nothing changed, if the task's sum would exceed its limit.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let row = self.slot.row(self.worker);
        row.held.settle(now_ms(), &row.memory_bytes);
        let granted = row.memory_bytes.claim(bytes, self.limit_bytes, || self.slot.memory_bytes());
        if granted {
            self.claimed_bytes += bytes;
            let sum = self.slot.memory_bytes();
            if sum > row.memory_peak_bytes.get() {
                row.memory_peak_bytes.set(sum);
            }
        }
        granted
    }

    /// Gives back `bytes` of what it holds, or all.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.claimed_bytes);
        if bytes > 0 {
            let row = self.slot.row(self.worker);
            row.held.settle(now_ms(), &row.memory_bytes);
            row.memory_bytes.subtract(bytes);
            self.claimed_bytes -= bytes;
        }
    }

    /// What it holds, in bytes.
    pub fn bytes(&self) -> u64 {
        self.claimed_bytes
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.shrink(self.claimed_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn memory_is_charged_for_as_long_as_it_is_held() {
        let (held, bytes) = (HeldMemory::default(), Gauge::default());
        let change = |now_ms: u64, to_bytes: u64| {
            held.settle(now_ms, &bytes);
            bytes.set(to_bytes);
        };
        change(1_000, 10 << 10);
        change(1_100, 30 << 10);
        change(1_100, 20 << 10);
        change(1_150, 0);
        assert_eq!(held.kib_ms(1_150, &bytes), 10 * 100 + 20 * 50);
        assert_eq!(held.kib_ms(9_999, &bytes), 2_000, "what holds nothing costs nothing");
        held.settle(9_999, &bytes);
        bytes.set(1 << 10);
        assert_eq!(held.kib_ms(10_000, &bytes), 2_001, "what is held at present is charged up to now");
        assert_eq!(held.kib_ms(9_998, &bytes), 2_000, "as of a moment before the last change");
    }

    #[test]
    fn a_year_of_a_large_machine_fits() {
        assert_eq!(kib_ms(1 << 36, 365 * 86_400_000), (1_u64 << 26) * 365 * 86_400_000);
    }

    #[test]
    fn a_claim_is_charged_from_its_growth_to_its_end() {
        let (ledger, _fd) = crate::Ledger::create(1).unwrap();
        let slot = ledger.task(0);
        let held = Instant::now();
        let mut claim = MemoryClaim::new(slot.clone(), 0, 1 << 30);
        assert!(claim.grow(1 << 20));
        std::thread::sleep(Duration::from_millis(50));
        let least = slot.usage(now_ms()).memory_kib_ms;
        drop(claim);
        let most_ms = held.elapsed().as_millis() as u64;
        let charged = slot.usage(now_ms()).memory_kib_ms;
        // One tick of the kernel's clock at either end, which has 100 of them in a second at least.
        assert!(
            least >= 1024 * 40 && charged >= least && charged <= 1024 * (most_ms + 10),
            "{least} {charged}"
        );
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(slot.usage(now_ms()).memory_kib_ms, charged, "nothing is held any more");
    }
}
