//! Development only: the engines of data, played in memory: tables and queues as far as the API tells of them, and buckets of
//! which no more is known than how much they hold. They outlive a control plane, as the disk does. The tests of `control` run
//! against them, and `sim` has them for all but buses.
//!
//! It deliberately keeps no objects, and knows no order among the groups of a queue, no delay of what is sent, and no expiry. Time
//! passes only where it is asked for ([`MemoryData::in_time`]): elsewhere what was received comes into sight again when it is said
//! to, and what is given back at once, so that no test waits.
//!
//! What always holds: who is to be told of deleted messages is told of each, as it is deleted.

mod buckets;
mod queues;
mod tables;

use queues::KeptQueue;
use skiff_kit::Watermark;
use skiff_ports::buckets::BucketStats;
use skiff_ports::tables::Item;
use skiff_types::ResourceId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the engines hold.
#[derive(Default)]
pub struct MemoryData {
    kept: Mutex<Kept>,
    /// How often a receive found nothing, and began to wait.
    waits: AtomicU64,
    /// Moves on whenever a message may have come into sight.
    moved: Watermark,
    /// Times out of sight end by themselves.
    passes_time: bool,
    /// Is told the id of each message that is deleted.
    on_delete: Option<OnDelete>,
}

/// Is told the id of a message.
type OnDelete = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Kept {
    tables: BTreeMap<ResourceId, BTreeMap<String, Item>>,
    version: u64,
    queues: BTreeMap<ResourceId, KeptQueue>,
    buckets: BTreeMap<ResourceId, BucketStats>,
    closed: BTreeSet<ResourceId>,
}

impl MemoryData {
    /// Engines in which time passes: what was received comes into sight again by itself, and what is given back after its pause.
    /// `on_delete` is told the id of each message that is deleted, in that moment.
    pub fn in_time(on_delete: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { passes_time: true, on_delete: Some(Box::new(on_delete)), ..Self::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a bucket hold so many objects.
    pub fn fill_bucket(&self, bucket: ResourceId, objects: u64) {
        self.kept().buckets.insert(bucket, BucketStats { objects, bytes: 10 * objects });
    }

    /// Whether a bucket takes no more writes.
    pub fn is_closed(&self, bucket: ResourceId) -> bool {
        self.kept().closed.contains(&bucket)
    }

    /// How often a receive began to wait.
    pub fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// All ids that something is kept by.
    pub fn ids(&self) -> Vec<ResourceId> {
        let kept = self.kept();
        kept.tables.keys().chain(kept.queues.keys()).chain(kept.buckets.keys()).copied().collect()
    }
}
