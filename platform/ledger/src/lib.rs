//! The ledger: one shared mapping in which the workers of a node keep the accounts of its tasks.
//!
//! A task has one *slot*; a slot has one row for each worker. Only its worker writes a row (but for closing the row
//! of a dead worker, which its supervisor does), everybody reads all of them, and a quota holds over their sum. What
//! is claimed is claimed in one's own row first and checked after: two that race may both be refused, but never both
//! pass. Nothing here waits, allocates or makes a system call; all is atomics.
//!
//! It deliberately does not know what limits a task has, nor what a slot is called outside.
//!
//! The mapping is anonymous memory (`memfd_create`), sparse: a slot that was never used costs nothing, and reading one
//! keeps it so, because a bit for each slot says whether there is anything to read.

mod account;
mod histogram;
mod layout;
mod memory;

pub use account::{Counter, Gauge, Totals};
pub use histogram::{BUCKETS_US, Histogram, HistogramTotals};
pub use layout::{Ledger, LedgerError, SLOTS, Slot, StatusClass, TaskRow, TaskSlot, WORKERS_MAX, WorkerRow};
pub use memory::{HeldMemory, MemoryClaim, now_ms};
