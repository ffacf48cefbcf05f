//! The life of tasks and workers on one host, seen from the supervisor.
//!
//! [`Node`] is the runtime port on processes: it starts a worker per seat and restarts what dies, sends each worker
//! what changes of what it is to run, waits for its acknowledgement, hands out native code that it has checked,
//! compiles in children that it can kill, and keeps what guests write and how they were connected. It runs no guest, and decides nothing about
//! what should run: that is `control`'s.
//!
//! Invariant: a worker needs nothing but its control socket; whatever it must have comes over that.

mod calls;
mod child;
mod compile;
mod deliveries;
mod desk;
mod flows;
mod guest_metrics;
mod listeners;
mod logs;
mod lost_lines;
mod meters;
mod node;
mod seat;
mod slots;
mod spans;
mod spawner;
mod status;
mod target_health;
mod tickets;
mod usage;
pub mod wire;
mod world;

pub use child::die_with;
pub use desk::Desk;
pub use flows::FlowLog;
pub use logs::LogFiles;
pub use lost_lines::LostLines;
pub use meters::{MeterAccounts, MeterUsage};
pub use node::{Config, Node, NodeError};
pub use slots::{Accounts, TaskUsage};
pub use spans::SpanQueue;
pub use status::{ProcessStatus, WorkerState, WorkerStatus};
