//! The usage port: what accounts were charged with, minute by minute, kept in a bounded space.

use crate::store::StoreError;
use async_trait::async_trait;
use skiff_types::{Charge, Grain};

/// Keeps what was used. Every call is done whole or not at all.
#[async_trait]
pub trait UsageLog: Send + Sync {
    /// Adds charges to the record of the minute that `at_ms` falls into; durable once it returns. A record tells
    /// [`TASKS_PER_GROUP_MAX`] tasks of a group apart, and sums up the others.
    async fn add(&self, at_ms: u64, charges: Vec<Charge>) -> Result<(), StoreError>;

    /// Makes coarser records of old ones.
    async fn fold(&self, folds: Vec<Fold>) -> Result<(), StoreError>;

    /// The sums of what was used, each account once.
    async fn read(&self, query: UsageQuery) -> Result<UsageSums, StoreError>;
}

/// Tasks of a service or family that one record tells apart.
pub const TASKS_PER_GROUP_MAX: u32 = 1_000;

/// Records of one grain that become part of those of a coarser one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold {
    /// Of which grain they are.
    pub from: Grain,
    /// Of which grain they become.
    pub to: Grain,
    /// Those that began before this time, in milliseconds since 1970.
    pub before_ms: u64,
}

/// What to sum up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Records that end after this time, in milliseconds since 1970; without it all there ever were.
    pub since_ms: Option<u64>,
    /// Whether tasks are told apart.
    pub by_task: bool,
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSums {
    /// When the first of the records begins that were summed up, or the log itself did; in milliseconds since 1970.
    pub from_ms: u64,
    /// Each account's sum, in no order.
    pub charges: Vec<Charge>,
}
