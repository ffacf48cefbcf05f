//! The ledger: one shared mapping in which the workers of a node keep the accounts of its tasks, and count what its load
//! balancer does.
//!
//! A task has one *slot*; a slot has one row for each worker. Only its worker writes a row (but for closing the row
//! of a dead worker, which its supervisor does), everybody reads all of them, and a quota holds over their sum. What
//! is claimed is claimed in one's own row first and checked after: two that race may both be refused, but never both
//! pass. Nothing here waits, allocates or makes a system call; all is atomics.
//!
//! Beside the tasks' slots there are *meters*, of the same make: one for each listener, rule, target group and address that
//! is a target ([`Meter`]); and the *cells* of clients whose requests are bounded ([`ClientCell`]).
//!
//! It deliberately does not know what limits a task has, nor what a slot or a meter is called outside.
//!
//! The mapping is anonymous memory (`memfd_create`), sparse: a slot that was never used costs nothing, and reading one
//! keeps it so, because a bit for each slot says whether there is anything to read; a meter likewise.

mod account;
mod clients;
mod histogram;
mod layout;
mod memory;
mod meters;
mod rows;

pub use account::{Counter, Gauge, Totals};
pub use clients::{CLIENT_CELLS, ClientCell};
pub use histogram::{BUCKETS_US, Histogram, HistogramTotals};
pub use layout::{Ledger, LedgerError, SLOTS, Slot, TaskSlot, WORKERS_MAX};
pub use memory::{HeldMemory, MemoryClaim, now_ms};
pub use meters::{METERS, Meter, MeterRow, MeterSlot, MeterTotals, TargetState};
pub use rows::{StatusClass, TaskRow, WorkerRow};
