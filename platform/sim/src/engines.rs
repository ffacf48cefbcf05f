//! The engines of data, which no scenario has use for: there is nothing in them, and nothing can be put.
//!
//! They answer at once, and the same each time, so that nothing of a simulation hangs on them.

use async_trait::async_trait;
use skiff_ports::buckets::{
    BucketError, BucketStats, Buckets, ByteRange, Cause, Checks, ObjectBytes, ObjectContent, ObjectEvent,
    ObjectExpect, ObjectInfo, ObjectList, ObjectPage, ObjectPut, ObjectRef, PartInfo, UploadInfo, UploadRef,
};
use skiff_ports::buses::{BusError, BusStats, Buses, NewDelivery, Tail};
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{
    Message, MessageError, NewMessage, QueueFailure, QueueStats, Queues, Receipt, Sent,
};
use skiff_ports::tables::{Item, ItemWrite, Scan, ScanPage, TableError, TableStats, Tables};
use skiff_types::{BusEvent, EventRuleSpec, Namespace, ResourceId};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Nothing, of each kind.
pub(crate) struct NoData;

/// What is answered to who wants more than to see that there is nothing.
const NONE: &str = "the simulation keeps no data";

fn no_object<T>() -> Result<T, BucketError> {
    Err(BucketError::Invalid(NONE.to_owned()))
}

fn no_message<T>() -> Result<T, QueueFailure> {
    Err(QueueFailure::Invalid(NONE.to_owned()))
}

#[async_trait]
impl Tables for NoData {
    async fn get(&self, _: ResourceId, keys: Vec<String>) -> Result<Vec<Option<Item>>, TableError> {
        Ok(vec![None; keys.len()])
    }

    async fn write(&self, _: ResourceId, _: Vec<ItemWrite>) -> Result<Vec<u64>, TableError> {
        Err(TableError::Invalid(NONE.to_owned()))
    }

    async fn increment(&self, _: ResourceId, _: String, _: i64) -> Result<i64, TableError> {
        Err(TableError::Invalid(NONE.to_owned()))
    }

    async fn scan(&self, _: ResourceId, _: Scan) -> Result<ScanPage, TableError> {
        Ok(ScanPage::default())
    }

    async fn stats(&self, _: ResourceId) -> Result<TableStats, TableError> {
        Ok(TableStats::default())
    }

    async fn drop_table(&self, _: ResourceId) -> Result<(), TableError> {
        Ok(())
    }

    async fn tables(&self) -> Result<Vec<ResourceId>, TableError> {
        Ok(vec![])
    }
}

#[async_trait]
impl Queues for NoData {
    async fn send(
        &self,
        _: &QueueRef,
        _: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, MessageError>>, QueueFailure> {
        no_message()
    }

    async fn receive(
        &self,
        _: &QueueRef,
        _: usize,
        _: Option<Duration>,
        _: Duration,
    ) -> Result<Vec<Message>, QueueFailure> {
        Ok(vec![])
    }

    async fn delete(
        &self,
        _: &QueueRef,
        _: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        no_message()
    }

    async fn change_visibility(
        &self,
        _: &QueueRef,
        _: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        no_message()
    }

    async fn bury(
        &self,
        _: &QueueRef,
        _: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        no_message()
    }

    async fn purge(&self, _: &QueueRef) -> Result<u64, QueueFailure> {
        Ok(0)
    }

    async fn redrive(&self, _: &QueueRef, _: Option<&QueueRef>, _: u64) -> Result<u64, QueueFailure> {
        Ok(0)
    }

    fn stats(&self, _: &QueueRef) -> QueueStats {
        QueueStats::default()
    }

    async fn ready(&self, _: &QueueRef) {
        std::future::pending().await
    }

    async fn drop_queue(&self, _: ResourceId) -> Result<(), QueueFailure> {
        Ok(())
    }

    fn queues(&self) -> Vec<ResourceId> {
        vec![]
    }
}

#[async_trait]
impl Buckets for NoData {
    async fn put(&self, _: ObjectPut, _: ObjectBytes) -> Result<ObjectInfo, BucketError> {
        no_object()
    }

    async fn head(&self, _: &ObjectRef) -> Result<ObjectInfo, BucketError> {
        no_object()
    }

    async fn get(
        &self,
        _: &ObjectRef,
        _: Option<ByteRange>,
    ) -> Result<(ObjectInfo, Range<u64>, ObjectBytes), BucketError> {
        no_object()
    }

    async fn delete(&self, _: &ObjectRef, _: ObjectExpect, _: Cause) -> Result<bool, BucketError> {
        Ok(false)
    }

    async fn copy(
        &self,
        _: &ObjectRef,
        _: ObjectExpect,
        _: ObjectPut,
        _: bool,
    ) -> Result<ObjectInfo, BucketError> {
        no_object()
    }

    async fn list(&self, _: ResourceId, _: ObjectList) -> Result<ObjectPage, BucketError> {
        Ok(ObjectPage::default())
    }

    async fn create_upload(&self, _: &ObjectRef, _: ObjectContent) -> Result<String, BucketError> {
        no_object()
    }

    async fn put_part(
        &self,
        _: &UploadRef,
        _: u32,
        _: Checks,
        _: ObjectBytes,
    ) -> Result<PartInfo, BucketError> {
        no_object()
    }

    async fn copy_part(
        &self,
        _: &UploadRef,
        _: u32,
        _: &ObjectRef,
        _: Option<ByteRange>,
    ) -> Result<PartInfo, BucketError> {
        no_object()
    }

    async fn parts(&self, _: &UploadRef, _: u32, _: u32) -> Result<(Vec<PartInfo>, bool), BucketError> {
        no_object()
    }

    async fn complete_upload(
        &self,
        _: &UploadRef,
        _: Vec<(u32, String)>,
        _: ObjectExpect,
        _: Cause,
    ) -> Result<ObjectInfo, BucketError> {
        no_object()
    }

    async fn abort_upload(&self, _: &UploadRef) -> Result<(), BucketError> {
        no_object()
    }

    async fn uploads(
        &self,
        _: ResourceId,
        _: &str,
        _: Option<(String, String)>,
        _: u32,
    ) -> Result<(Vec<UploadInfo>, bool), BucketError> {
        Ok((vec![], false))
    }

    async fn events(&self, _: usize) -> Result<Vec<(u64, ObjectEvent)>, BucketError> {
        std::future::pending().await
    }

    async fn forget_events(&self, _: u64) -> Result<(), BucketError> {
        Ok(())
    }

    async fn stats(&self, _: ResourceId) -> Result<BucketStats, BucketError> {
        Ok(BucketStats::default())
    }

    async fn drop_bucket(&self, _: ResourceId) -> Result<(), BucketError> {
        Ok(())
    }

    async fn buckets(&self) -> Result<Vec<ResourceId>, BucketError> {
        Ok(vec![])
    }
}

#[async_trait]
impl Buses for NoData {
    fn set_rules(&self, _: Vec<Arc<EventRuleSpec>>) {}

    /// Nobody is there who would want to know.
    async fn put(&self, _: Vec<BusEvent>) -> Result<(), BusError> {
        Ok(())
    }

    async fn pass_on(&self, event: BusEvent) -> Result<(), BusError> {
        Buses::put(self, vec![event]).await
    }

    async fn put_deliveries(&self, _: Vec<NewDelivery>) -> Result<(), BusError> {
        Err(BusError::Invalid(NONE.to_owned()))
    }

    fn tail(&self, _: &Namespace) -> Tail {
        Box::pin(futures::stream::pending())
    }

    fn stats(&self) -> BusStats {
        BusStats::default()
    }
}
