//! The buckets port: objects with versions of their content, multipart uploads, and the events that each write leaves behind.
//!
//! A write that was answered is on the drive, whole, and so is its event: the object's row carries it until somebody has taken it
//! ([`Buckets::events`], [`Buckets::forget_events`]). Which buckets there are is the catalog's.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use skiff_types::ResourceId;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// The longest key, in bytes of UTF-8, as at S3; the shortest is one.
pub const OBJECT_KEY_BYTES_MAX: usize = 1_024;
/// The largest object of one put, and the largest part, in bytes.
pub const PUT_BYTES_MAX: u64 = 5 << 30;
/// The smallest part but the last, in bytes.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// The most parts of an upload.
pub const PARTS_MAX: u32 = 10_000;
/// Bytes of what a user says of an object: names and values together.
pub const METADATA_BYTES_MAX: usize = 2_048;
/// Keys of a page of a listing.
pub const LIST_MAX: u32 = 1_000;

/// An object's bytes, in pieces.
pub type ObjectBytes = BoxStream<'static, io::Result<Bytes>>;

/// Keeps objects.
#[async_trait]
pub trait Buckets: Send + Sync {
    /// Puts an object, once all its bytes have come.
    async fn put(&self, put: ObjectPut, bytes: ObjectBytes) -> Result<ObjectInfo, BucketError>;

    /// What is known of an object.
    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo, BucketError>;

    /// An object as it is now, and its bytes in `range`, whatever becomes of it meanwhile. A range that reaches beyond its end is cut
    /// there; one that begins behind its end is [`BucketError::Range`].
    async fn get(
        &self,
        object: &ObjectRef,
        range: Option<ByteRange>,
    ) -> Result<(ObjectInfo, Range<u64>, ObjectBytes), BucketError>;

    /// Deletes an object; says whether there was one.
    async fn delete(&self, object: &ObjectRef, expect: ObjectExpect, by: Cause) -> Result<bool, BucketError>;

    /// Puts an object with the bytes of another, which may be of another bucket. `put.content` as it is, or the other's if none.
    async fn copy(
        &self,
        from: &ObjectRef,
        from_expect: ObjectExpect,
        put: ObjectPut,
        keep_content: bool,
    ) -> Result<ObjectInfo, BucketError>;

    /// The objects of a bucket, by key in the order of its bytes.
    async fn list(&self, bucket: ResourceId, list: ObjectList) -> Result<ObjectPage, BucketError>;

    /// Begins an upload in parts; returns its id.
    async fn create_upload(&self, object: &ObjectRef, content: ObjectContent) -> Result<String, BucketError>;

    /// Takes a part of an upload in, in the place of an earlier one of its number (from 1).
    async fn put_part(
        &self,
        upload: &UploadRef,
        number: u32,
        checks: Checks,
        bytes: ObjectBytes,
    ) -> Result<PartInfo, BucketError>;

    /// Takes bytes of an object in as a part.
    async fn copy_part(
        &self,
        upload: &UploadRef,
        number: u32,
        from: &ObjectRef,
        range: Option<ByteRange>,
    ) -> Result<PartInfo, BucketError>;

    /// The parts of an upload after number `after`, `max` at most, and whether there are more.
    async fn parts(
        &self,
        upload: &UploadRef,
        after: u32,
        max: u32,
    ) -> Result<(Vec<PartInfo>, bool), BucketError>;

    /// Makes an object of the parts with these numbers and ETags, in ascending order. Asked again without an expectation, it answers
    /// the same for as long as that object is there.
    async fn complete_upload(
        &self,
        upload: &UploadRef,
        parts: Vec<(u32, String)>,
        expect: ObjectExpect,
        by: Cause,
    ) -> Result<ObjectInfo, BucketError>;

    /// Gives an upload up, with all its parts.
    async fn abort_upload(&self, upload: &UploadRef) -> Result<(), BucketError>;

    /// Uploads of a bucket that are neither complete nor given up, by key and then id, whose keys begin with `prefix`, after that
    /// one, `max` at most; and whether there are more.
    async fn uploads(
        &self,
        bucket: ResourceId,
        prefix: &str,
        after: Option<(String, String)>,
        max: u32,
    ) -> Result<(Vec<UploadInfo>, bool), BucketError>;

    /// The oldest events that were not forgotten and have a number behind `after`, in the order of their writes; waits for one.
    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, ObjectEvent)>, BucketError>;

    /// The events of these numbers are safe elsewhere.
    async fn forget_events(&self, numbers: Vec<u64>) -> Result<(), BucketError>;

    /// What a bucket holds.
    async fn stats(&self, bucket: ResourceId) -> Result<BucketStats, BucketError>;

    /// Takes no more writes to a bucket: what is written from then on, begun before or not, is [`BucketError::Removed`]. That it has
    /// no objects is seen in the same transaction; [`BucketError::NotEmpty`] if it has some, and not `force`. On an error all is as
    /// before.
    ///
    /// It is the first half of a removal: once this is done, whoever asked removes the bucket from the catalog, or else has it take
    /// writes again. A process that starts knows of no closed bucket, since nothing of before is under way in it.
    async fn close_bucket(&self, bucket: ResourceId, force: bool) -> Result<(), BucketError>;

    /// Has a bucket that was closed take writes again: it is not removed after all.
    fn reopen_bucket(&self, bucket: ResourceId);

    /// Forgets all that a bucket holds, uploads included, without events.
    async fn drop_bucket(&self, bucket: ResourceId) -> Result<(), BucketError>;

    /// All buckets that hold something.
    async fn buckets(&self) -> Result<Vec<ResourceId>, BucketError>;
}

/// Names an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// In which bucket.
    pub bucket: ResourceId,
    /// Its key, byte for byte: neither decoded nor tidied up.
    pub key: String,
}

/// An object to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPut {
    /// Where.
    pub object: ObjectRef,
    /// What is said of it.
    pub content: ObjectContent,
    /// What is to be there now.
    pub expect: ObjectExpect,
    /// What its bytes are to come to.
    pub checks: Checks,
    /// By what.
    pub by: Cause,
}

/// What somebody says of an object, to be said again to whoever gets it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the HTTP header of its name")]
pub struct ObjectContent {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub content_disposition: Option<String>,
    pub cache_control: Option<String>,
    pub expires: Option<String>,
    /// Names (without `x-amz-meta-`, in lower case) and values. [`METADATA_BYTES_MAX`] together.
    pub metadata: BTreeMap<String, String>,
}

/// What bytes are to come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// How many, if it is known before.
    pub bytes: Option<u64>,
    /// Their MD5.
    pub md5: Option<[u8; 16]>,
    /// Their SHA-256.
    pub sha256: Option<[u8; 32]>,
}

/// What a write expects to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ObjectExpect {
    /// Anything or nothing.
    #[default]
    Any,
    /// No object: `If-None-Match: *`.
    Absent,
    /// The object with this ETag, without quotes: `If-Match`.
    ETag(String),
}

/// By what an object is written, as EventBridge's S3 events say it in `detail.reason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `PutObject`, `CopyObject`, `CompleteMultipartUpload`, `DeleteObject`.
    pub reason: String,
    /// Who asked: a role's name, or a task's id.
    pub requester: String,
    /// The request's id.
    pub request_id: String,
    /// From which address, if from one.
    pub source_ip: Option<String>,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes: the MD5 of its bytes, or of its parts' with `-` and their number.
    pub etag: String,
    /// When it was written, in milliseconds since 1970.
    pub modified_at_ms: u64,
    /// What was said of it.
    pub content: ObjectContent,
}

/// Which bytes, as HTTP says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first, up to and with the last if there is one.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

/// Which objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectList {
    /// What their keys begin with.
    pub prefix: String,
    /// Keys that go on with this behind the prefix are told as one common prefix.
    pub delimiter: Option<String>,
    /// Only keys and common prefixes after this one.
    pub after: Option<String>,
    /// Keys and common prefixes together at most: [`LIST_MAX`].
    pub max: u32,
}

/// Objects, and whether there are more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectPage {
    /// By key.
    pub objects: Vec<ObjectInfo>,
    /// What several keys begin with, by itself.
    pub common_prefixes: Vec<String>,
    /// What to ask after for the next; none where there are no more.
    pub next: Option<String>,
}

/// Names an upload in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRef {
    /// Of which object.
    pub object: ObjectRef,
    /// Its id.
    pub id: String,
}

/// What is known of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadInfo {
    /// Its object's key.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it began, in milliseconds since 1970.
    pub began_at_ms: u64,
}

/// What is known of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartInfo {
    /// From 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// The MD5 of its bytes, without quotes.
    pub etag: String,
    /// When it came, in milliseconds since 1970.
    pub modified_at_ms: u64,
}

/// An object was written or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEvent {
    /// Which.
    pub object: ObjectRef,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// 16 hexadecimal digits that order the events of one key.
    pub sequencer: String,
    /// Its size and ETag as it was written; none where it was deleted.
    pub created: Option<(u64, String)>,
    /// By what.
    pub by: Cause,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketStats {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a bucket did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// There is no such object.
    #[error("there is no object {0:?}")]
    NoObject(String),
    /// There is no such upload.
    #[error("there is no upload {0}: it was completed or given up, or never begun")]
    NoUpload(String),
    /// The bucket has objects, so it is not removed.
    #[error("the bucket has {objects} objects")]
    NotEmpty {
        /// How many.
        objects: u64,
    },
    /// The bucket is removed, or about to be.
    #[error("the bucket is removed, or about to be: nothing is written to it any more")]
    Removed,
    /// An object is not as it was expected.
    #[error("the object is not as the call expects it")]
    Precondition,
    /// The range has none of the object's bytes.
    #[error("the range begins behind the object's {size} bytes")]
    Range {
        /// The object's size in bytes.
        size: u64,
    },
    /// The bytes did not come to what was said of them.
    #[error("the bytes are not those that were said to come: {0}")]
    Checks(&'static str),
    /// More bytes than an object may have.
    #[error("an object or a part may have {PUT_BYTES_MAX} bytes at most")]
    TooLarge,
    /// A part that is not there, or has another ETag.
    #[error("part {0} is not there with that ETag")]
    InvalidPart(u32),
    /// Parts that are not in ascending order.
    #[error("the parts are not in ascending order")]
    PartOrder,
    /// A part but the last with too few bytes.
    #[error("part {0} has fewer than {PART_BYTES_MIN} bytes, and is not the last")]
    PartTooSmall(u32),
    /// It can't be so.
    #[error("{0}")]
    Invalid(String),
    /// The bytes stopped coming.
    #[error("the bytes stopped coming")]
    Body(#[source] io::Error),
    /// There is no room on the disk.
    #[error("there is no room on the disk; nothing was written")]
    DiskFull,
    /// The storage below failed.
    #[error("the buckets' storage failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}
