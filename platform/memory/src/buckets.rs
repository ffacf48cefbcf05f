//! Buckets, of which no more is known than how much they hold.

use crate::MemoryData;
use async_trait::async_trait;
use skiff_ports::buckets::{
    BucketError, BucketStats, Buckets, ByteRange, Cause, Checks, ObjectBytes, ObjectContent, ObjectEvent,
    ObjectExpect, ObjectInfo, ObjectList, ObjectPage, ObjectPut, ObjectRef, PartInfo, UploadInfo, UploadRef,
};
use skiff_types::ResourceId;
use std::ops::Range;

fn no_object<T>() -> Result<T, BucketError> {
    Err(BucketError::Invalid("nothing here keeps objects".to_owned()))
}

#[async_trait]
impl Buckets for MemoryData {
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

    async fn events(&self, _: u64, _: usize) -> Result<Vec<(u64, ObjectEvent)>, BucketError> {
        std::future::pending().await
    }

    async fn forget_events(&self, _: Vec<u64>) -> Result<(), BucketError> {
        Ok(())
    }

    async fn stats(&self, bucket: ResourceId) -> Result<BucketStats, BucketError> {
        Ok(self.kept().buckets.get(&bucket).copied().unwrap_or_default())
    }

    async fn close_bucket(&self, bucket: ResourceId, force: bool) -> Result<(), BucketError> {
        match Buckets::stats(self, bucket).await?.objects {
            objects if objects > 0 && !force => Err(BucketError::NotEmpty { objects }),
            _ => {
                self.kept().closed.insert(bucket);
                Ok(())
            }
        }
    }

    fn reopen_bucket(&self, bucket: ResourceId) {
        self.kept().closed.remove(&bucket);
    }

    async fn drop_bucket(&self, bucket: ResourceId) -> Result<(), BucketError> {
        self.kept().buckets.remove(&bucket);
        Ok(())
    }

    async fn buckets(&self) -> Result<Vec<ResourceId>, BucketError> {
        Ok(self.kept().buckets.keys().copied().collect())
    }
}
