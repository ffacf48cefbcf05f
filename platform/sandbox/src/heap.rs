//! What the host allocates for a guest: headers, strings, streams, the store itself.
//!
//! The allocator counts each thread's bytes. A guest's polls happen one after the other on the worker's thread, so what
//! the count grows by in them is held for that guest, until it is freed in them. What moves between a guest and the rest
//! of the worker is told: bytes of bodies, lines of logs, the heads of requests and answers ([`crate::call::crossing`],
//! [`crate::outgoing`]), and what host capabilities hold, give and take ([`apart`], [`given_away`], [`taken_over`]).
//! What the count can't see stays small, and a sandbox has few requests in which it could add up.

use crate::account::Account;
use crate::without::Without;
use skiff_ledger::MemoryClaim;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Bytes that every sandbox is charged with from its start on, so that most never need to claim more.
pub(crate) const HEAP_PREPAID_BYTES: u64 = 128 << 10;
/// More is claimed and given back in steps of so many bytes.
const STEP_BYTES: u64 = 64 << 10;

thread_local! {
    static HELD_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// Does something, and says how many bytes this thread holds more than before; they may be fewer.
fn growth<R>(step: impl FnOnce() -> R) -> (R, i64) {
    let before = HELD_BYTES.get();
    let result = step();
    (result, HELD_BYTES.get().wrapping_sub(before))
}

fn count(bytes: usize, sign: i64) {
    // Sizes are at most `isize::MAX` (`Layout`). A thread that is ending counts no more.
    let _ = HELD_BYTES.try_with(|held| held.set(held.get().wrapping_add(sign * bytes as i64)));
}

/// In a guest's poll, does what is no affair of the guest's: what a host capability allocates and frees for itself. It is
/// then the capability's to hold that within a bound.
pub fn apart<R>(step: impl FnOnce() -> R) -> R {
    let (result, grown) = growth(step);
    HELD_BYTES.set(HELD_BYTES.get().wrapping_sub(grown));
    result
}

/// In a guest's poll: bytes that were allocated in one are somebody else's from now on, who frees them [`apart`].
pub fn given_away(bytes: usize) {
    count(bytes, -1);
}

/// In a guest's poll: bytes that somebody else allocated are the guest's from now on, and are freed in its polls.
pub fn taken_over(bytes: usize) {
    count(bytes, 1);
}

/// An allocator that counts what each thread holds. Only where it is the global one are guests charged for the heap.
pub struct CountingAllocator<A>(pub A);

// SAFETY: every call is passed on as it is to an allocator, which keeps the contract; counting neither allocates (the
// cell is initialised at compile time and has no destructor) nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(new_size, 1);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { self.0.realloc(pointer, layout, new_size) }
    }
}

/// Bytes that crossed between a guest and the rest of the worker since its last poll. It is `Sync` only because bodies
/// have to be; one thread uses it.
#[derive(Debug, Default)]
pub(crate) struct Crossed(AtomicI64);

impl Crossed {
    /// In a guest's poll, takes something over from others, of which `bytes` says how large it is. What of it is
    /// allocated only now is counted already.
    pub(crate) fn take_over<R>(&self, take: impl FnOnce() -> R, bytes: impl FnOnce(&R) -> usize) -> R {
        let (taken, grown) = growth(take);
        self.0.fetch_add(bytes(&taken) as i64 - grown, Relaxed);
        taken
    }

    /// Others took over bytes that were allocated in a guest's poll.
    pub(crate) fn left(&self, bytes: u64) {
        self.0.fetch_sub(bytes as i64, Relaxed);
    }

    /// Outside of a guest's poll, does what is the guest's affair.
    pub(crate) fn counted<R>(&self, step: impl FnOnce() -> R) -> R {
        let (result, grown) = growth(step);
        self.0.fetch_add(grown, Relaxed);
        result
    }

    /// Does what is the guest's affair, in whoever's poll that is, its own or another guest's, or in none: makes what it is
    /// given, or frees what was made for it.
    pub(crate) fn given<R>(&self, step: impl FnOnce() -> R) -> R {
        apart(|| self.counted(step))
    }
}

/// Keeps a sandbox's claim at what is held for it, from its making to its end.
pub(crate) struct HeapMeter {
    held_bytes: Cell<i64>,
    claim: RefCell<MemoryClaim>,
    crossed: Arc<Crossed>,
}

impl HeapMeter {
    pub(crate) fn new(account: &Account) -> Rc<Self> {
        let limit_bytes = account.spec.limits.memory.bytes();
        let claim = MemoryClaim::new(account.slot.clone(), account.worker, limit_bytes);
        Rc::new(Self { held_bytes: Cell::new(0), claim: RefCell::new(claim), crossed: Arc::default() })
    }

    /// What counts the bytes that move between the guest and others.
    pub(crate) fn crossed(&self) -> &Arc<Crossed> {
        &self.crossed
    }

    /// Runs a step of the guest.
    pub(crate) fn metered<R>(&self, step: impl FnOnce() -> R) -> R {
        if Without::get().heap {
            return step();
        }
        let (result, grown) = growth(step);
        self.held_bytes.set(self.held_bytes.get().saturating_add(grown));
        result
    }

    /// Others took over bytes that were allocated in a step.
    pub(crate) fn left(&self, bytes: u64) {
        self.held_bytes.set(self.held_bytes.get().saturating_sub_unsigned(bytes));
    }

    /// Claims what is held now; false if the task's memory limit has no room for it.
    pub(crate) fn claim_held(&self) -> bool {
        let crossed = self.crossed.0.swap(0, Relaxed);
        // Below zero it holds what others paid for, and nobody is owed anything for that.
        let held_bytes = self.held_bytes.get().saturating_add(crossed).max(0);
        self.held_bytes.set(held_bytes);
        let held_bytes = held_bytes.unsigned_abs();
        let wanted_bytes = held_bytes.saturating_sub(HEAP_PREPAID_BYTES).next_multiple_of(STEP_BYTES);
        let mut claim = self.claim.borrow_mut();
        let claimed_bytes = claim.bytes();
        if wanted_bytes > claimed_bytes {
            return claim.grow(wanted_bytes - claimed_bytes);
        }
        claim.shrink(claimed_bytes - wanted_bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_capability_s_is_not_counted_until_it_is_handed_over() {
        let ((), grown) = growth(|| {
            taken_over(100);
            given_away(30);
            apart(|| taken_over(1_000));
        });
        assert_eq!(grown, 70);
    }

    #[test]
    fn what_a_guest_is_given_is_its_own_whoever_s_poll_that_is_in() {
        let crossed = Crossed::default();
        let ((), grown) = growth(|| {
            crossed.given(|| taken_over(100));
            crossed.given(|| given_away(30));
        });
        assert_eq!((grown, crossed.0.load(Relaxed)), (0, 70));
    }
}
