//! The simulator: the real control plane with its real decisions, and the real books of its nodes, in a world that is played.
//! Store, nodes, programs, clients, time and chance are this crate's, and follow from one number, the seed.
//!
//! [`run`] carries out what a seed stands for: services that are deployed, scaled and removed while tasks, workers, nodes, the
//! store, the clock and the control plane itself fail, and scenes beside them (`scenes`: what scales to zero, by alarms, by the
//! clock and by queues, one-off tasks, schedules). At each step it is checked what Skiff promises (`checker`); in the end
//! everything is to come to rest. The same seed gives the same lines, whatever machine it runs on, so a failure can be looked at
//! again. It deliberately plays no packets, no HTTP and no guest: the load balancer and the sandboxes have tests of their own.
//!
//! What always holds: nothing here waits for real time, and nothing is decided by a map without an order.

mod buses;
mod checker;
mod client;
mod clock;
mod cluster;
mod dice;
mod engines;
mod life;
mod memory;
mod options;
mod scale;
mod scenario;
mod scenes;
mod series;
mod store;
mod trace;
mod world;

pub use options::{Options, Report, Sabotage, Seen};
pub use scale::{ScaleOptions, ScaleReport, scale};
pub use world::run;
