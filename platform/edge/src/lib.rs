//! The load balancer, as one worker process runs it: from an accepted connection to the call of a task, and back.
//!
//! One thread: everything here is `Rc` and `Cell`, runs under a `tokio::task::LocalSet`, and no request takes a lock
//! that another one waits for. Which target group has a request, the rules of its listener say ([`decision`]). An `http`
//! task is called through [`skiff_ports::invoke::Invoke`], a function call; a daemon or a host outside is connected to
//! through [`skiff_ports::connect::Connect`], and spoken to by HTTP/1.1 or HTTP/2 ([`daemon`]), or by whatever its clients
//! speak ([`tcp`]). What a client says by TLS is deciphered first ([`tls`]).
//!
//! It deliberately does not know how a guest is run, what a task's quotas are (they hold from the call on), or where a
//! daemon lives and who may reach it. It does not normalise paths: what a client sent is what is routed by and
//! what the guest sees.
//!
//! What always holds: a request that was taken is accounted for exactly once, whatever becomes of it
//! ([`exchange`]), also if it waits until a service has woken ([`waiting`]); a client that makes no progress is cut off
//! ([`connection`]); every answer names its request id.

pub mod accept;
pub mod access_log;
#[doc(hidden)]
pub mod fuzzed;
pub mod guard;
#[doc(hidden)]
pub mod measured;
pub mod relay;
pub mod sticky;

mod balance;
mod body;
mod call;
mod chance;
mod checks;
mod config;
mod connection;
mod daemon;
mod decision;
mod door;
mod edge;
mod exchange;
mod group;
mod grpc;
mod handle;
mod headers;
mod host;
mod internal;
mod key;
mod limit;
mod listener;
mod listening;
mod meters;
mod outbox;
mod refusal;
mod retry;
mod routing;
mod serving;
mod share;
mod shed;
mod silence;
mod span;
mod tcp;
mod tls;
mod trace;
mod tunnel;
mod waiting;
mod watched;

pub use config::{Config, Limits, Proto};
pub use edge::{Deps, Edge, EdgeError};
pub use listening::Listening;
