//! The catalog: which buckets, tables, queues and buses there are, as the view has them.
//!
//! It deliberately asks no engine what they hold, and no role who may.

use crate::context::Context;
use crate::entrance::Entrance;
use crate::model::{Bucket, Kept};
use crate::view::View;
use async_trait::async_trait;
use skiff_api::ErrorCode;
use skiff_ports::catalog::{
    BucketRef, Catalog, CreateBucketError, DeadLetterRef, QueueRef, RemoveBucketError, TableRef,
};
use skiff_types::{Namespace, QualifiedName};
use std::sync::Arc;

/// The catalog of a control plane.
pub(crate) struct CatalogOfView {
    context: Arc<Context>,
}

impl CatalogOfView {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        self.context.objects.read(look)
    }
}

#[async_trait]
impl Catalog for CatalogOfView {
    fn bucket(&self, name: &QualifiedName) -> Option<BucketRef> {
        self.read(|view| view.bucket(name).map(|held| bucket_ref(&held.value)))
    }

    fn buckets(&self, namespace: &Namespace) -> Vec<BucketRef> {
        self.read(|view| {
            let buckets = view.data.buckets.under(&crate::keys::in_namespace("bucket", namespace));
            buckets.map(|held| bucket_ref(&held.value)).collect()
        })
    }

    fn table(&self, name: &QualifiedName) -> Option<TableRef> {
        self.read(|view| table_ref(view, name))
    }

    fn queue(&self, name: &QualifiedName) -> Option<QueueRef> {
        self.read(|view| queue_ref(view, name))
    }

    fn has_bus(&self, name: &QualifiedName) -> bool {
        self.read(|view| has_bus(view, name))
    }

    async fn create_bucket(&self, name: &QualifiedName) -> Result<(), CreateBucketError> {
        let made = Entrance::new(self.context.clone()).ensure_bucket(name).await;
        made.map_err(|error| match error.code {
            ErrorCode::StorageFull => CreateBucketError::DiskFull(error.message),
            _ => CreateBucketError::Failed(error.message),
        })
    }

    async fn remove_bucket(&self, name: &QualifiedName) -> Result<(), RemoveBucketError> {
        Entrance::new(self.context.clone()).remove_empty_bucket(name).await
    }
}

/// A table, if it is there.
pub(crate) fn table_ref(view: &View, name: &QualifiedName) -> Option<TableRef> {
    let Kept { id, spec } = &*view.item_table(name)?.value.spec;
    Some(TableRef { id: *id, spec: spec.clone() })
}

/// A queue, if it is there, with its dead-letter queue, if that is.
pub(crate) fn queue_ref(view: &View, name: &QualifiedName) -> Option<QueueRef> {
    let Kept { id, spec } = &*view.queue(name)?.value.spec;
    let dead_letter = spec.dead_letter.as_ref().and_then(|dead_letter| {
        let name = QualifiedName::new(name.namespace.clone(), dead_letter.queue.clone());
        let Kept { id, spec } = &*view.queue(&name)?.value.spec;
        Some(DeadLetterRef { id: *id, spec: spec.clone() })
    });
    Some(QueueRef { id: *id, spec: spec.clone(), dead_letter })
}

/// Whether there is a bus: the default one of each namespace always is.
pub(crate) fn has_bus(view: &View, name: &QualifiedName) -> bool {
    view.has_bus(name)
}

fn bucket_ref(bucket: &Bucket) -> BucketRef {
    let Kept { id, spec } = &*bucket.spec;
    BucketRef { id: *id, spec: spec.clone(), created_at_ms: bucket.created_at_ms }
}
