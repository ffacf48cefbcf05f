//! A load driver for HTTP/1.1: one thread, N connections that stay open, and a clock.
//!
//! In an *open* loop requests are due at a given rate, whatever the server does, and a latency counts from the moment
//! at which its request was due: a server that stalls is charged for every request that was due meanwhile, not only for
//! those that were under way ("coordinated omission", as Gil Tene named its absence). In a *closed* loop each connection
//! sends its next request when it has its answer, which finds the rate at which a server saturates.
//!
//! It deliberately knows no TLS, no HTTP/2, no pipelining and no redirects, and sends GET requests only.
//!
//! What always holds: a run says whether the driver itself was in time ([`Outcome::driver`]); one that was not measured
//! the driver.

mod answer;
mod connection;
mod outcome;
mod run;
mod schedule;

pub use outcome::{DriverReport, Errors, Latency, Outcome, Point};
pub use run::{Load, run};
pub use schedule::Pace;
