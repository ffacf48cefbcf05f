//! Buckets, and objects that are neither read nor written in pieces. Each key that a call names is judged by itself, a listing by
//! its prefix; what is done to all objects of a bucket needs a grant of all of them.

use super::failures::of_bucket;
use super::transfers::Transfers;
use super::{Answered, Asker, GuestCallsOfPlane};
use futures::stream::{self, StreamExt, TryStreamExt};
use skiff_ports::buckets::{
    BucketError, ByteRange, Cause, Checks, LIST_MAX, METADATA_BYTES_MAX, ObjectBytes, ObjectContent,
    ObjectExpect, ObjectInfo, ObjectList, ObjectPage, ObjectPut, ObjectRef,
};
use skiff_ports::catalog::{BucketRef, CreateBucketError, RemoveBucketError};
use skiff_ports::guest_calls::{GuestAnswer, GuestCallError, GuestObject};
use skiff_types::{AccessAction, AccessResource, Name, QualifiedName, ResourceId, ResourceKind};
use std::collections::BTreeMap;
use std::ops::Range;

/// Keys of one call at most.
const DELETED_MAX: usize = 1_000;
/// Keys that are judged before others have a turn.
const JUDGED_AT_ONCE: usize = 50;
/// How often a bucket is emptied again because somebody else put objects meanwhile, before its removal is given up.
const REMOVE_ATTEMPTS: usize = 8;
/// Objects that a call deletes at once.
const DELETIONS_AT_ONCE: usize = 16;

impl GuestCallsOfPlane {
    pub(super) fn open_bucket(&self, asker: &Asker, bucket: Name) -> Answered {
        let name = asker.named(bucket);
        self.allow_to_open(asker, (ResourceKind::Bucket, AccessAction::BucketRead), &name)?;
        Ok(GuestAnswer::Container(self.there(&name)?.created_at_ms))
    }

    pub(super) async fn create_bucket(&self, asker: &Asker, bucket: Name) -> Answered {
        let name = asker.named(bucket);
        let itself = AccessResource::new(ResourceKind::Bucket, name.clone());
        self.allow(asker, AccessAction::BucketManage, &itself)?;
        self.catalog.create_bucket(&name).await.map_err(|error| match error {
            CreateBucketError::DiskFull(why) => GuestCallError::Busy(why),
            CreateBucketError::Failed(why) => GuestCallError::Failed(why),
        })?;
        let now_ms = self.context.now_ms();
        let made = self.catalog.bucket(&name).map_or(now_ms, |bucket| bucket.created_at_ms);
        Ok(GuestAnswer::Container(made))
    }

    pub(super) async fn remove_bucket(&self, asker: &Asker, bucket: Name) -> Answered {
        let name = asker.named(bucket);
        let itself = AccessResource::new(ResourceKind::Bucket, name.clone());
        self.allow(asker, AccessAction::BucketManage, &itself)?;
        self.allow(asker, AccessAction::BucketDelete, &all_of(&name))?;
        let bucket = self.there(&name)?.id;
        for _ in 0..REMOVE_ATTEMPTS {
            self.empty(asker, bucket).await?;
            match self.catalog.remove_bucket(&name).await {
                Ok(()) => return Ok(GuestAnswer::Done),
                // Somebody has put one meanwhile, which goes with the others.
                Err(RemoveBucketError::NotEmpty(_)) => {}
                Err(RemoveBucketError::DiskFull(why)) => return Err(GuestCallError::Busy(why)),
                Err(RemoveBucketError::Failed(why)) => return Err(GuestCallError::Failed(why)),
            }
        }
        Err(GuestCallError::Busy(format!("objects keep coming to the bucket {}: try again", name.name)))
    }

    pub(super) async fn head(&self, asker: &Asker, bucket: Name, key: String) -> Answered {
        let object = self.object(asker, AccessAction::BucketRead, (bucket, key))?;
        let info = self.context.buckets.head(&object).await.map_err(|error| of_bucket(&error))?;
        Ok(GuestAnswer::Object(GuestObject::new(&info)))
    }

    pub(super) async fn read(
        &self,
        transfers: &Transfers,
        asker: &Asker,
        object: (Name, String),
        range: Range<u64>,
    ) -> Answered {
        let object = self.object(asker, AccessAction::BucketRead, object)?;
        let (info, bytes) = self.bytes_of(&object, range).await.map_err(|error| of_bucket(&error))?;
        let told = GuestObject::new(&info);
        let transfer = transfers.begin_reading(asker.task, bytes)?;
        Ok(GuestAnswer::Reading(transfer, told))
    }

    /// An object as it is now, and its bytes in a range: none where it ends before that.
    async fn bytes_of(
        &self,
        object: &ObjectRef,
        range: Range<u64>,
    ) -> Result<(ObjectInfo, ObjectBytes), BucketError> {
        let none = || stream::empty().boxed();
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else {
            return Ok((self.context.buckets.head(object).await?, none()));
        };
        match self.context.buckets.get(object, Some(ByteRange::From(range.start, Some(last)))).await {
            Ok((info, _, bytes)) => Ok((info, bytes)),
            Err(BucketError::Range { .. }) => Ok((self.context.buckets.head(object).await?, none())),
            Err(error) => Err(error),
        }
    }

    pub(super) fn put(
        &self,
        transfers: &Transfers,
        asker: &Asker,
        object: (Name, String),
        (content_type, metadata): (Option<String>, BTreeMap<String, String>),
    ) -> Answered {
        let object = self.object(asker, AccessAction::BucketWrite, object)?;
        let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(GuestCallError::Invalid(format!(
                "the object's metadata has {bytes} bytes; the most is {METADATA_BYTES_MAX}: say less"
            )));
        }
        let put = ObjectPut {
            object,
            content: ObjectContent { content_type, metadata, ..ObjectContent::default() },
            expect: ObjectExpect::Any,
            checks: Checks::default(),
            by: self.cause(asker, "PutObject"),
        };
        transfers.begin_writing(asker.task, self.context.buckets.clone(), put).map(GuestAnswer::Writing)
    }

    pub(super) async fn list(
        &self,
        asker: &Asker,
        bucket: Name,
        (prefix, after, limit): (String, Option<String>, u32),
    ) -> Answered {
        let name = asker.named(bucket);
        let listing = AccessResource::listing(ResourceKind::Bucket, name.clone(), prefix.as_str());
        self.allow(asker, AccessAction::BucketRead, &listing)?;
        let bucket = self.there(&name)?.id;
        let list = ObjectList { prefix, delimiter: None, after, max: limit.clamp(1, LIST_MAX) };
        let page = self.context.buckets.list(bucket, list).await.map_err(|error| of_bucket(&error))?;
        Ok(GuestAnswer::Listed(page.objects.iter().map(GuestObject::new).collect(), page.next))
    }

    pub(super) async fn delete(&self, asker: &Asker, bucket: Name, keys: Vec<String>) -> Answered {
        if keys.len() > DELETED_MAX {
            return Err(GuestCallError::Invalid(format!(
                "the call is about {} objects; the most is {DELETED_MAX}: make more calls",
                keys.len()
            )));
        }
        let name = asker.named(bucket);
        if keys.is_empty() {
            let itself = AccessResource::new(ResourceKind::Bucket, name.clone());
            self.allow(asker, AccessAction::BucketDelete, &itself)?;
        }
        for (place, key) in keys.iter().enumerate() {
            if place % JUDGED_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            let object = AccessResource::at(ResourceKind::Bucket, name.clone(), key.as_str());
            self.allow(asker, AccessAction::BucketDelete, &object)?;
        }
        let bucket = self.there(&name)?.id;
        self.delete_all(asker, bucket, keys).await?;
        Ok(GuestAnswer::Done)
    }

    pub(super) async fn clear(&self, asker: &Asker, bucket: Name) -> Answered {
        let name = asker.named(bucket);
        self.allow(asker, AccessAction::BucketDelete, &all_of(&name))?;
        let bucket = self.there(&name)?.id;
        self.empty(asker, bucket).await?;
        Ok(GuestAnswer::Done)
    }

    pub(super) async fn copy(
        &self,
        asker: &Asker,
        from: (Name, String),
        to: (Name, String),
        moves: bool,
    ) -> Answered {
        if moves {
            self.judge(asker, AccessAction::BucketDelete, &from)?;
        }
        // All is judged before it is looked what there is.
        self.judge(asker, AccessAction::BucketRead, &from)?;
        let to = self.object(asker, AccessAction::BucketWrite, to)?;
        let from = self.object(asker, AccessAction::BucketRead, from)?;
        let buckets = &self.context.buckets;
        let found = buckets.head(&from).await.map_err(|error| of_bucket(&error))?;
        if from == to {
            return Ok(GuestAnswer::Done);
        }
        let same = || ObjectExpect::ETag(found.etag.clone());
        let put = ObjectPut {
            object: to,
            content: ObjectContent::default(),
            expect: ObjectExpect::Any,
            checks: Checks::default(),
            by: self.cause(asker, "CopyObject"),
        };
        buckets.copy(&from, same(), put, true).await.map_err(|error| of_bucket(&error))?;
        if moves {
            // Only as it was copied: what was written meanwhile stays.
            let deleted = buckets.delete(&from, same(), self.cause(asker, "DeleteObject")).await;
            deleted.map_err(|error| of_bucket(&error))?;
        }
        Ok(GuestAnswer::Done)
    }

    /// Deletes all objects of a bucket that there are by then.
    async fn empty(&self, asker: &Asker, bucket: ResourceId) -> Answered<()> {
        let mut after = None;
        loop {
            let list = ObjectList { after, max: LIST_MAX, ..ObjectList::default() };
            let page = self.context.buckets.list(bucket, list).await.map_err(|error| of_bucket(&error))?;
            let ObjectPage { objects, next, .. } = page;
            self.delete_all(asker, bucket, objects.into_iter().map(|object| object.key).collect()).await?;
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn delete_all(&self, asker: &Asker, bucket: ResourceId, keys: Vec<String>) -> Answered<()> {
        let deletions = stream::iter(keys).map(|key| {
            let (object, cause) = (ObjectRef { bucket, key }, self.cause(asker, "DeleteObject"));
            async move { self.context.buckets.delete(&object, ObjectExpect::Any, cause).await.map(drop) }
        });
        let deleted = deletions.buffer_unordered(DELETIONS_AT_ONCE).try_collect::<()>().await;
        deleted.map_err(|error| of_bucket(&error))
    }

    /// An object that may be touched so, in a bucket that there is.
    fn object(&self, asker: &Asker, action: AccessAction, object: (Name, String)) -> Answered<ObjectRef> {
        self.judge(asker, action, &object)?;
        let (bucket, key) = object;
        Ok(ObjectRef { bucket: self.there(&asker.named(bucket))?.id, key })
    }

    fn judge(&self, asker: &Asker, action: AccessAction, (bucket, key): &(Name, String)) -> Answered<()> {
        let object = AccessResource::at(ResourceKind::Bucket, asker.named(bucket.clone()), key.as_str());
        self.allow(asker, action, &object)
    }

    fn there(&self, name: &QualifiedName) -> Answered<BucketRef> {
        self.catalog.bucket(name).ok_or_else(|| {
            GuestCallError::NotFound(format!(
                "there is no bucket {} in the namespace {}; make it with `skiff bucket create {}`",
                name.name, name.namespace, name.name
            ))
        })
    }

    fn cause(&self, asker: &Asker, reason: &str) -> Cause {
        Cause {
            reason: reason.to_owned(),
            requester: asker.task.to_string(),
            request_id: hex::encode_upper(self.context.random.bytes::<8>()),
            source_ip: None,
        }
    }
}

/// All that lies in a bucket.
fn all_of(name: &QualifiedName) -> AccessResource {
    AccessResource::listing(ResourceKind::Bucket, name.clone(), "")
}
