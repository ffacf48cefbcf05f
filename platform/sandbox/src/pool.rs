//! What sandboxes are made in: slots of address space for linear memories and for the stacks of fibers.
//!
//! Wasmtime's own pool gives a slot's pages back to the kernel after each sandbox, and the next one pays for them with
//! page faults, which cost more than all the rest of making a sandbox. These slots keep the pages that a guest touches:
//! what the last one touched is found in the kernel's page map, and written over with zeros.

mod memory;
mod pages;
mod stack;

/// More was asked for than admission counts: only WASI 0.3 guests that block in many calls at once can.
#[derive(Debug, thiserror::Error)]
#[error("all of this worker's {count} {what} are in use")]
pub(crate) struct NoSlot {
    count: usize,
    what: &'static str,
}

pub(crate) use memory::MemorySlots;
pub(crate) use stack::StackSlots;
