//! What the host allocates for a guest: headers, strings, streams, the store itself.
//!
//! The allocator counts each thread's bytes. A guest's polls happen one after the other on the worker's thread, so what
//! the count grows by in them is held for that guest, until it is freed in them. What moves between a guest and the rest
//! of the worker is told: bytes of bodies, lines of logs, the heads of requests and answers ([`crate::call::crossing`],
//! [`crate::outgoing`]), and what host capabilities hold, give and take ([`apart`], [`given_away`], [`lent`]).
//! What the count can't see stays small, and a sandbox has few requests in which it could add up.

use crate::account::Account;
use crate::without::Without;
use bytes::Bytes;
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
/// Fewer bytes than these that a guest is lent are copied.
const COPIED_BYTES_MAX: usize = 8 << 10;

thread_local! {
    static HELD_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// Does something, and says how many bytes this thread holds more than before; they may be fewer.
pub(crate) fn growth<R>(step: impl FnOnce() -> R) -> (R, i64) {
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

/// In a guest's poll: bytes of somebody else's as the guest has them, on its account until it lets go of them in one of its
/// polls. What they lie in is freed [`apart`], with its last part, whoever has that. Few bytes are copied, since what they
/// lie in may be much larger.
pub fn lent(bytes: Bytes) -> Bytes {
    if bytes.len() < COPIED_BYTES_MAX {
        let own = Bytes::copy_from_slice(&bytes);
        apart(|| drop(bytes));
        return own;
    }
    count(bytes.len(), 1);
    Bytes::from_owner(Lent(bytes))
}

/// See [`lent`].
struct Lent(Bytes);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        given_away(self.0.len());
        apart(|| self.0 = Bytes::new());
    }
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
            count(100, 1);
            given_away(30);
            apart(|| count(1_000, 1));
        });
        assert_eq!(grown, 70);
    }

    #[test]
    fn a_guest_is_charged_for_what_it_is_lent_whoever_has_other_parts_of_it() {
        let mut whole = Bytes::from(vec![7; 10 * COPIED_BYTES_MAX]);
        for bytes in [COPIED_BYTES_MAX - 1, COPIED_BYTES_MAX, 2 * COPIED_BYTES_MAX] {
            let part = whole.split_to(bytes);
            let (part, grown) = growth(|| lent(part));
            assert_eq!(part, vec![7; bytes]);
            // Here, no allocator counts what is copied.
            assert_eq!(grown, if bytes < COPIED_BYTES_MAX { 0 } else { bytes as i64 });
            let ((), freed) = growth(|| drop(part));
            assert_eq!(freed, -grown);
        }
    }

    #[test]
    fn what_a_guest_is_given_is_its_own_whoever_s_poll_that_is_in() {
        let crossed = Crossed::default();
        let ((), grown) = growth(|| {
            crossed.given(|| count(100, 1));
            crossed.given(|| given_away(30));
        });
        assert_eq!((grown, crossed.0.load(Relaxed)), (0, 70));
    }
}
