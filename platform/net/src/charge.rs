//! What one task's sockets hold of its memory in this worker: bytes that wait, and the sockets themselves.
//!
//! One claim on the task's limit, taken and given back in steps, so that most writes and reads touch no memory that is
//! shared between processes. What is claimed is never less than what is held, and at most two steps more.

use crate::error::NetError;
use skiff_ledger::MemoryClaim;
use std::cell::{Cell, RefCell};

/// What is claimed at once.
const STEP_BYTES: u64 = 64 << 10;

/// A task's charge.
#[derive(Debug)]
pub(crate) struct Charge {
    /// `None` once the task's interface is closed: nothing is charged any more.
    claim: RefCell<Option<MemoryClaim>>,
    held_bytes: Cell<u64>,
    claimed_bytes: Cell<u64>,
}

impl Charge {
    pub(crate) fn new(claim: MemoryClaim) -> Self {
        Self { claim: RefCell::new(Some(claim)), held_bytes: Cell::new(0), claimed_bytes: Cell::new(0) }
    }

    /// Holds `bytes` more.
    ///
    /// # Errors
    /// `OutOfMemory` if the task's limit does not leave them; `Closed` if its interface is.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), NetError> {
        let held_bytes = self.held_bytes.get().saturating_add(bytes);
        if held_bytes > self.claimed_bytes.get() {
            self.claim_for(held_bytes)?;
        }
        self.held_bytes.set(held_bytes);
        Ok(())
    }

    /// Holds `bytes` less.
    pub(crate) fn give_back(&self, bytes: u64) {
        let held_bytes = self.held_bytes.get().saturating_sub(bytes);
        self.held_bytes.set(held_bytes);
        let spare_bytes = self.claimed_bytes.get().saturating_sub(held_bytes);
        if held_bytes == 0 || spare_bytes > 2 * STEP_BYTES {
            self.shrink_to(held_bytes.next_multiple_of(STEP_BYTES));
        }
    }

    /// Gives all back for good; what is given back later is given back already.
    pub(crate) fn close(&self) {
        let claim = self.claim.borrow_mut().take();
        self.claimed_bytes.set(0);
        drop(claim);
    }

    fn claim_for(&self, held_bytes: u64) -> Result<(), NetError> {
        let mut claim = self.claim.borrow_mut();
        let claim = claim.as_mut().ok_or(NetError::Closed)?;
        let missing_bytes = held_bytes - claim.bytes();
        // Where a whole step does not fit any more, what is needed may.
        let granted = claim.grow(missing_bytes.next_multiple_of(STEP_BYTES)) || claim.grow(missing_bytes);
        self.claimed_bytes.set(claim.bytes());
        if granted { Ok(()) } else { Err(NetError::OutOfMemory) }
    }

    fn shrink_to(&self, bytes: u64) {
        if let Some(claim) = &mut *self.claim.borrow_mut() {
            claim.shrink(claim.bytes().saturating_sub(bytes));
            self.claimed_bytes.set(claim.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ledger::{Ledger, TaskSlot};

    fn charge(limit_bytes: u64) -> (Charge, TaskSlot) {
        let slot = Ledger::create(1).unwrap().0.task(3);
        (Charge::new(MemoryClaim::new(slot.clone(), 0, limit_bytes)), slot)
    }

    #[test]
    fn what_is_held_is_claimed_in_steps_and_given_back() {
        let (charge, slot) = charge(1 << 20);
        charge.take(1).unwrap();
        assert_eq!(slot.memory_bytes(), STEP_BYTES);
        charge.take(STEP_BYTES).unwrap();
        assert_eq!(slot.memory_bytes(), 2 * STEP_BYTES);
        charge.take(4 * STEP_BYTES).unwrap();
        charge.give_back(4 * STEP_BYTES);
        assert_eq!(slot.memory_bytes(), 2 * STEP_BYTES);
        charge.give_back(STEP_BYTES + 1);
        assert_eq!(slot.memory_bytes(), 0, "nothing is held");
    }

    #[test]
    fn the_last_bytes_of_a_limit_can_be_had() {
        let (charge, slot) = charge(STEP_BYTES + 10);
        charge.take(STEP_BYTES).unwrap();
        charge.take(10).unwrap();
        assert_eq!(charge.take(1), Err(NetError::OutOfMemory));
        assert_eq!(slot.memory_bytes(), STEP_BYTES + 10);
        charge.give_back(1);
        charge.take(1).unwrap();
    }

    #[test]
    fn a_closed_charge_holds_nothing() {
        let (charge, slot) = charge(1 << 20);
        charge.take(5).unwrap();
        charge.close();
        assert_eq!(slot.memory_bytes(), 0);
        charge.give_back(5);
        assert_eq!(charge.take(1), Err(NetError::Closed));
    }
}
