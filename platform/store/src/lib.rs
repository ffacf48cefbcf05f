//! The store port, the usage log, the journal of events and the series of metrics on SQLite, and the suite that any
//! implementation of the store port has to pass.
//!
//! One process owns a store's file. [`SqliteStore`] keeps every object in memory as well, so that reads never touch
//! the disk; a thread of its own writes, many callers to a transaction. What is not here: what the objects mean, and
//! any write that spans two of them.
//!
//! What always holds: a write that was acknowledged was synced to the disk before, and a read never shows what is not
//! yet synced.

pub mod conformance;

mod database;
mod journal;
mod log_file;
mod mirror;
mod schema;
mod series;
mod sqlite;
mod usage;
mod watch;
mod writer;

pub use journal::SqliteJournal;
pub use series::SqliteSeries;
pub use sqlite::SqliteStore;
pub use usage::SqliteUsage;

#[cfg(test)]
mod tests;
