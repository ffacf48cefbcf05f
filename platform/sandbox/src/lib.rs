//! Sandboxes: what checks, compiles, keeps and runs the code that users push, within their quotas.
//!
//! Three processes use it, each another part:
//!
//! | process | part |
//! | --- | --- |
//! | supervisor, CLI | [`inspect`] (parses, links no engine to it), [`cache`] (native code on disk, keyed digests) |
//! | `skiff compile` | [`compile`], which also initialises what is to start from a snapshot; [`bulk`] |
//! | `skiff worker` | [`Sandboxes`]: code to map, the pool, quotas, WASI, calls of guests |
//!
//! It deliberately knows no route, no connection and no store: requests come as function calls, code comes from a
//! [`CodeSource`], what guests have beside WASI comes from other crates ([`Capability`]), and what happens goes out through a
//! [`LogSink`], the ledger and events.
//!
//! What always holds: native code is mapped only out of memory that nobody can change any more, after its keyed digest
//! was checked; every guest runs under the CPU, memory, time and log bounds of its task; nothing that a guest does
//! makes the host panic; and dropping a call ends its guest.

pub mod bulk;
pub mod cache;
pub mod compile;
pub mod engine;

mod account;
mod admission;
mod beside;
mod call;
mod caller;
mod capability;
mod code;
mod codes;
mod cold_start;
mod command;
mod cpu_meter;
mod epoch;
mod failure;
mod heap;
mod host;
mod initialize;
mod inspect;
mod keep;
mod kept;
mod link;
mod live;
mod logs;
mod native;
mod offered;
mod outgoing;
mod outgoing_handler;
mod pool;
mod room;
mod run;
mod sandboxes;
mod state;
mod task;
mod turns;
mod without;

pub use caller::{Asking, Caller, Calls};
pub use capability::{Capability, CapabilityView, Guest, Outgoing, Sending};
pub use code::CodeSource;
pub use codes::CodeBounds;
pub use heap::{CountingAllocator, apart, given_away, lent};
pub use initialize::Bounds as InitializationBounds;
pub use inspect::inspect;
pub use logs::LogSink;
pub use sandboxes::{Config, Deps, Sandboxes};
pub use state::SandboxState;
pub use without::Without;
