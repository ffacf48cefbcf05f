//! Development only: the engines of data, played in memory: tables and queues as far as the API tells of them, and buckets of
//! which no more is known than how much they hold. They outlive a control plane, as the disk does. The tests of `control` run
//! against them, and `sim` has them where a scene plays no engine of its own.
//!
//! It deliberately keeps no objects, and plays no time: what was received comes into sight again when it is said to, and nothing
//! expires by itself.

mod buckets;
mod queues;
mod tables;

use skiff_ports::buckets::BucketStats;
use skiff_ports::queues::{Message, QueueStats};
use skiff_ports::tables::Item;
use skiff_types::ResourceId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What the engines hold.
#[derive(Debug, Default)]
pub struct MemoryData {
    kept: Mutex<Kept>,
    /// How many receives found nothing, and began to wait.
    waits: AtomicU64,
    /// Tells of messages that came into sight.
    news: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    tables: BTreeMap<ResourceId, BTreeMap<String, Item>>,
    version: u64,
    queues: BTreeMap<ResourceId, KeptQueue>,
    buckets: BTreeMap<ResourceId, BucketStats>,
    closed: BTreeSet<ResourceId>,
}

#[derive(Debug, Default)]
struct KeptQueue {
    visible: Vec<Message>,
    in_flight: Vec<Message>,
    stats: QueueStats,
}

impl MemoryData {
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

    /// How many receives began to wait.
    pub fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// All ids that something is kept by.
    pub fn ids(&self) -> Vec<ResourceId> {
        let kept = self.kept();
        kept.tables.keys().chain(kept.queues.keys()).chain(kept.buckets.keys()).copied().collect()
    }
}
