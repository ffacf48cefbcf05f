//! The port over the parts: what each call reads, takes in and writes.
//!
//! A call that takes bytes in runs as a task of its own: it ends, and cleans up, when nobody waits for its answer any more.

use crate::buckets::objects::{self, Copying};
use crate::buckets::record::Failed;
use crate::buckets::uploads::{self, Completion};
use crate::buckets::{Buckets, Core, events, listing};
use async_trait::async_trait;
use skiff_ports::buckets::{
    self as port, BucketError, BucketStats, ByteRange, Cause, Checks, ObjectBytes, ObjectContent,
    ObjectEvent, ObjectExpect, ObjectInfo, ObjectList, ObjectPage, ObjectPut, ObjectRef, PARTS_MAX, PartInfo,
    UploadInfo, UploadRef,
};
use skiff_types::ResourceId;
use std::ops::Range;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Buckets {
    /// Has a call run to its end, even if nobody waits for it any more, which it is told.
    async fn detached<T: Send + 'static, F>(
        &self,
        call: impl FnOnce(Arc<Core>, CancellationToken) -> F,
    ) -> Result<T, BucketError>
    where
        F: Future<Output = Result<T, BucketError>> + Send + 'static,
    {
        let gone = CancellationToken::new();
        let waiting = gone.clone().drop_guard();
        let done = tokio::spawn(call(self.core.clone(), gone)).await;
        drop(waiting);
        done.map_err(|error| BucketError::Storage(error.into()))?
    }
}

impl Core {
    async fn put(
        &self,
        put: ObjectPut,
        bytes: ObjectBytes,
        gone: CancellationToken,
    ) -> Result<ObjectInfo, BucketError> {
        let ObjectPut { object, content, expect, checks, by } = put;
        objects::check(&object.key, &content)?;
        self.closed.check(object.bucket)?;
        if expect != ObjectExpect::Any {
            // What is refused anyway need not come first. It is decided when it is written.
            let (object, expect) = (object.clone(), expect.clone());
            let check = move |connection: &rusqlite::Connection| {
                objects::check_place(connection, object.bucket, &object.key, &expect)
            };
            self.reads.read(check).await?;
        }
        let taken = self.take_in(bytes, checks, gone).await?;
        let ObjectRef { bucket, key } = object;
        let etag = hex::encode(taken.md5);
        let modified_at_ms = self.clock.unix_ms();
        let info = ObjectInfo { key, size: taken.bytes, etag, modified_at_ms, content };
        let place = taken.stored.place();
        let write = move |connection: &rusqlite::Connection| -> Result<_, Failed> {
            objects::put(connection, bucket, &expect, &info, place, by)?;
            Ok(info)
        };
        let written = self.write_to(bucket, write).await;
        self.settle(taken.stored, written).await
    }

    async fn put_part(
        &self,
        upload: UploadRef,
        number: u32,
        checks: Checks,
        bytes: ObjectBytes,
        gone: CancellationToken,
    ) -> Result<PartInfo, BucketError> {
        if !(1..=PARTS_MAX).contains(&number) {
            return Err(BucketError::Invalid(format!(
                "a part's number is between 1 and {PARTS_MAX}, not {number}"
            )));
        }
        self.check_upload(upload.clone()).await?;
        let taken = self.take_in(bytes, checks, gone).await?;
        let etag = hex::encode(taken.md5);
        let part = PartInfo { number, size: taken.bytes, etag, modified_at_ms: self.clock.unix_ms() };
        let place = taken.stored.place();
        let bucket = upload.object.bucket;
        let write = move |connection: &rusqlite::Connection| -> Result<_, Failed> {
            uploads::put_part(connection, &upload, &part, place)?;
            Ok(part)
        };
        let written = self.write_to(bucket, write).await;
        self.settle(taken.stored, written).await
    }

    async fn check_upload(&self, upload: UploadRef) -> Result<(), BucketError> {
        self.reads.read(move |connection| uploads::find(connection, &upload).map(drop)).await
    }
}

#[async_trait]
impl port::Buckets for Buckets {
    async fn put(&self, put: ObjectPut, bytes: ObjectBytes) -> Result<ObjectInfo, BucketError> {
        self.detached(|core, gone| async move { core.put(put, bytes, gone).await }).await
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo, BucketError> {
        let object = object.clone();
        let found =
            self.core.reads.read(move |connection| objects::find_present(connection, &object)).await?;
        Ok(found.info)
    }

    async fn get(
        &self,
        object: &ObjectRef,
        range: Option<ByteRange>,
    ) -> Result<(ObjectInfo, Range<u64>, ObjectBytes), BucketError> {
        self.core.read_object(object.clone(), range).await
    }

    async fn delete(&self, object: &ObjectRef, expect: ObjectExpect, by: Cause) -> Result<bool, BucketError> {
        let object = object.clone();
        let at_ms = self.core.clock.unix_ms();
        self.core
            .writer
            .write(move |connection| objects::delete(connection, &object, &expect, by, at_ms))
            .await
    }

    async fn copy(
        &self,
        from: &ObjectRef,
        from_expect: ObjectExpect,
        put: ObjectPut,
        keep_content: bool,
    ) -> Result<ObjectInfo, BucketError> {
        let ObjectPut { object, content, expect, checks: _, by } = put;
        objects::check(&object.key, &content)?;
        let bucket = object.bucket;
        let copying = Copying {
            from: from.clone(),
            from_expect,
            to: object,
            expect,
            content: (!keep_content).then_some(content),
            by,
            at_ms: self.core.clock.unix_ms(),
        };
        self.core.write_to(bucket, move |connection| objects::copy(connection, copying)).await
    }

    async fn list(&self, bucket: ResourceId, list: ObjectList) -> Result<ObjectPage, BucketError> {
        self.core.reads.read(move |connection| listing::list(connection, bucket, &list)).await
    }

    async fn create_upload(&self, object: &ObjectRef, content: ObjectContent) -> Result<String, BucketError> {
        objects::check(&object.key, &content)?;
        let id = hex::encode(self.core.random.bytes::<16>());
        let upload = UploadRef { object: object.clone(), id: id.clone() };
        let at_ms = self.core.clock.unix_ms();
        let create = move |connection: &rusqlite::Connection| {
            uploads::create(connection, &upload, &content, at_ms).map_err(Failed::from)
        };
        self.core.write_to(object.bucket, create).await?;
        Ok(id)
    }

    async fn put_part(
        &self,
        upload: &UploadRef,
        number: u32,
        checks: Checks,
        bytes: ObjectBytes,
    ) -> Result<PartInfo, BucketError> {
        let upload = upload.clone();
        self.detached(|core, gone| async move { core.put_part(upload, number, checks, bytes, gone).await })
            .await
    }

    async fn copy_part(
        &self,
        upload: &UploadRef,
        number: u32,
        from: &ObjectRef,
        range: Option<ByteRange>,
    ) -> Result<PartInfo, BucketError> {
        // A part's ETag is of its bytes, which have to be read for it; so they may as well be stored again.
        let (_, range, bytes) = self.core.read_object(from.clone(), range).await?;
        let checks = Checks { bytes: Some(range.end - range.start), ..Checks::default() };
        port::Buckets::put_part(self, upload, number, checks, bytes).await
    }

    async fn parts(
        &self,
        upload: &UploadRef,
        after: u32,
        max: u32,
    ) -> Result<(Vec<PartInfo>, bool), BucketError> {
        let upload = upload.clone();
        self.core.reads.read(move |connection| uploads::parts(connection, &upload, after, max)).await
    }

    async fn complete_upload(
        &self,
        upload: &UploadRef,
        parts: Vec<(u32, String)>,
        expect: ObjectExpect,
        by: Cause,
    ) -> Result<ObjectInfo, BucketError> {
        let at_ms = self.core.clock.unix_ms();
        let completion = Completion { upload: upload.clone(), parts, expect, by, at_ms };
        let bucket = upload.object.bucket;
        self.core.write_to(bucket, move |connection| uploads::complete(connection, completion)).await
    }

    async fn abort_upload(&self, upload: &UploadRef) -> Result<(), BucketError> {
        let upload = upload.clone();
        self.core.writer.write(move |connection| uploads::abort(connection, &upload)).await
    }

    async fn uploads(
        &self,
        bucket: ResourceId,
        prefix: &str,
        after: Option<(String, String)>,
        max: u32,
    ) -> Result<(Vec<UploadInfo>, bool), BucketError> {
        let prefix = prefix.to_owned();
        let list = move |connection: &rusqlite::Connection| {
            uploads::list(connection, bucket, &prefix, after, max).map_err(Failed::from)
        };
        self.core.reads.read(list).await
    }

    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, ObjectEvent)>, BucketError> {
        let mut written = self.core.writer.written();
        loop {
            written.borrow_and_update();
            let oldest = self
                .core
                .reads
                .read(move |connection| events::oldest(connection, after, max).map_err(Failed::from))
                .await?;
            if !oldest.is_empty() {
                return Ok(oldest);
            }
            written.changed().await.map_err(|error| BucketError::Storage(error.into()))?;
        }
    }

    async fn forget_events(&self, numbers: Vec<u64>) -> Result<(), BucketError> {
        self.core
            .writer
            .write(move |connection| events::forget(connection, &numbers).map_err(Failed::from))
            .await
    }

    async fn stats(&self, bucket: ResourceId) -> Result<BucketStats, BucketError> {
        let read =
            move |connection: &rusqlite::Connection| objects::stats(connection, bucket).map_err(Failed::from);
        self.core.reads.read(read).await
    }

    async fn close_bucket(&self, bucket: ResourceId, force: bool) -> Result<(), BucketError> {
        self.core.close_bucket(bucket, force).await
    }

    fn reopen_bucket(&self, bucket: ResourceId) {
        self.core.closed.open(bucket);
    }

    async fn drop_bucket(&self, bucket: ResourceId) -> Result<(), BucketError> {
        let mut is_done = false;
        while !is_done {
            is_done =
                self.core.writer.write(move |connection| objects::drop_some(connection, bucket)).await?;
        }
        Ok(())
    }

    async fn buckets(&self) -> Result<Vec<ResourceId>, BucketError> {
        self.core.reads.read(|connection| objects::buckets(connection).map_err(Failed::from)).await
    }
}
