//! The catalog port: which buckets, tables, queues and buses there are, by name.

use async_trait::async_trait;
use skiff_types::{BucketSpec, Namespace, QualifiedName, QueueSpec, ResourceId, TableSpec};
use std::sync::Arc;

/// Knows what there is. Its answers are of this moment, without waiting.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// A bucket.
    fn bucket(&self, name: &QualifiedName) -> Option<BucketRef>;

    /// All buckets of a namespace, by name.
    fn buckets(&self, namespace: &Namespace) -> Vec<BucketRef>;

    /// A table.
    fn table(&self, name: &QualifiedName) -> Option<TableRef>;

    /// A queue.
    fn queue(&self, name: &QualifiedName) -> Option<QueueRef>;

    /// Whether there is such a bus; the default one of each namespace always is.
    fn has_bus(&self, name: &QualifiedName) -> bool;

    /// Makes a bucket of which nothing but its name is said; one that is there stays as it is.
    async fn create_bucket(&self, name: &QualifiedName) -> Result<(), CreateBucketError>;

    /// Removes a bucket that has no objects. No write that comes at the same time is acknowledged and lost: either it is there first,
    /// and the bucket stays, or it is refused.
    async fn remove_bucket(&self, name: &QualifiedName) -> Result<(), RemoveBucketError>;
}

/// Why a bucket was not made: a sentence for people each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateBucketError {
    /// There is no room on the disk.
    #[error("{0}")]
    DiskFull(String),
    /// Anything else: there are as many as may be, or the platform can't at present.
    #[error("{0}")]
    Failed(String),
}

/// Why a bucket was not removed: a sentence for people each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveBucketError {
    /// It has objects.
    #[error("{0}")]
    NotEmpty(String),
    /// There is no room on the disk.
    #[error("{0}")]
    DiskFull(String),
    /// Anything else: there is none, or the platform can't at present.
    #[error("{0}")]
    Failed(String),
}

/// A bucket that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketRef {
    /// By which its objects are kept.
    pub id: ResourceId,
    /// What its user said.
    pub spec: Arc<BucketSpec>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// A table that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    /// By which its items are kept.
    pub id: ResourceId,
    /// What its user said.
    pub spec: Arc<TableSpec>,
}

/// A queue that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRef {
    /// By which its messages are kept.
    pub id: ResourceId,
    /// What its user said.
    pub spec: Arc<QueueSpec>,
    /// Its dead-letter queue, if it has one that is there.
    pub dead_letter: Option<DeadLetterRef>,
}

/// The dead-letter queue of a queue. It is said with each call on that, since nobody may have called it itself since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRef {
    /// By which its messages are kept.
    pub id: ResourceId,
    /// What its user said: how much it holds, and for how long.
    pub spec: Arc<QueueSpec>,
}
