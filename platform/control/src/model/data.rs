//! Buckets, tables and queues: what their users said of them, and the ids that their content is kept by.
//!
//! It deliberately holds no content. What always holds: an object has one id from when it is made until it is removed, and no
//! other ever has the same; so what is made anew under an old name begins empty.

use super::Declared;
use skiff_types::{BucketSpec, QueueSpec, ResourceId, TableSpec};
use std::sync::Arc;

/// What is said of something, and by what id its content is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept<S> {
    /// Made when the object was.
    pub(crate) id: ResourceId,
    /// What its user said.
    pub(crate) spec: Arc<S>,
}

/// A bucket.
pub(crate) type Bucket = Declared<Kept<BucketSpec>>;
/// A table of items; the view has tables of its own.
pub(crate) type ItemTable = Declared<Kept<TableSpec>>;
/// A queue.
pub(crate) type Queue = Declared<Kept<QueueSpec>>;
