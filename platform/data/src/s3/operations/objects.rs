//! One object: GetObject, HeadObject, GetObjectAttributes, PutObject.

use super::{Answer, Operations};
use crate::s3::caller::Caller;
use crate::s3::conditions::{Conditions, Holds, expected};
use crate::s3::content::{TYPE_UNSAID, etag, expires, metadata, said, size, timestamp};
use crate::s3::errors;
use crate::s3::promised::Upload;
use futures::TryStreamExt;
use http::HeaderMap;
use http::header::{ETAG, HeaderValue, LAST_MODIFIED};
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::{
    GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, ObjectAttributes, PutObjectInput, PutObjectOutput, Range, StorageClass, StreamingBlob,
    TimestampFormat,
};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use skiff_ports::buckets::{ByteRange, ObjectBytes, ObjectInfo, ObjectPut};
use skiff_types::AccessAction;

pub(super) async fn get(
    operations: &Operations,
    request: S3Request<GetObjectInput>,
) -> Answer<GetObjectOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    whole(input.part_number)?;
    let object = operations.object(&caller, AccessAction::BucketRead, &input.bucket, &input.key)?;
    let conditions = Conditions {
        matches: input.if_match,
        matches_none: input.if_none_match,
        modified_since: input.if_modified_since,
        unmodified_since: input.if_unmodified_since,
    };
    let partly = input.range.is_some();
    let got = operations.deps.buckets.get(&object, input.range.map(byte_range)).await;
    let (info, range, bytes) = got.map_err(|error| errors::of_bucket(error, &caller.call))?;
    check(&conditions, &info)?;
    let content_range =
        partly.then(|| format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), info.size));
    Ok(S3Response::new(GetObjectOutput {
        accept_ranges: Some("bytes".into()),
        body: Some(streamed(bytes)),
        cache_control: info.content.cache_control.clone(),
        content_disposition: info.content.content_disposition.clone(),
        content_encoding: info.content.content_encoding.clone(),
        content_language: info.content.content_language.clone(),
        content_length: size(range.end - range.start),
        content_range,
        content_type: Some(info.content.content_type.clone().unwrap_or_else(|| TYPE_UNSAID.into())),
        expires: expires(&info.content),
        last_modified: Some(timestamp(info.modified_at_ms)),
        metadata: metadata(&info.content),
        e_tag: etag(info.etag),
        ..GetObjectOutput::default()
    }))
}

pub(super) async fn head(
    operations: &Operations,
    request: S3Request<HeadObjectInput>,
) -> Answer<HeadObjectOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    whole(input.part_number)?;
    let conditions = Conditions {
        matches: input.if_match,
        matches_none: input.if_none_match,
        modified_since: input.if_modified_since,
        unmodified_since: input.if_unmodified_since,
    };
    let info = known(operations, &caller, &input.bucket, &input.key).await?;
    check(&conditions, &info)?;
    let unsaid = || TYPE_UNSAID.to_owned();
    Ok(S3Response::new(HeadObjectOutput {
        accept_ranges: Some("bytes".into()),
        cache_control: input.response_cache_control.or(info.content.cache_control.clone()),
        content_disposition: input.response_content_disposition.or(info.content.content_disposition.clone()),
        content_encoding: input.response_content_encoding.or(info.content.content_encoding.clone()),
        content_language: input.response_content_language.or(info.content.content_language.clone()),
        content_length: size(info.size),
        content_type: input
            .response_content_type
            .or(info.content.content_type.clone())
            .or_else(|| Some(unsaid())),
        expires: input.response_expires.or(expires(&info.content)),
        last_modified: Some(timestamp(info.modified_at_ms)),
        metadata: metadata(&info.content),
        e_tag: etag(info.etag),
        ..HeadObjectOutput::default()
    }))
}

pub(super) async fn attributes(
    operations: &Operations,
    request: S3Request<GetObjectAttributesInput>,
) -> Answer<GetObjectAttributesOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let info = known(operations, &caller, &input.bucket, &input.key).await?;
    let asked = |name: &str| {
        let lists = input.object_attributes.iter().map(ObjectAttributes::as_str);
        lists.flat_map(|list| list.split(',')).any(|asked| asked.trim() == name)
    };
    Ok(S3Response::new(GetObjectAttributesOutput {
        e_tag: etag(info.etag).filter(|_| asked(ObjectAttributes::ETAG)),
        last_modified: Some(timestamp(info.modified_at_ms)),
        object_size: size(info.size).filter(|_| asked(ObjectAttributes::OBJECT_SIZE)),
        storage_class: asked(ObjectAttributes::STORAGE_CLASS)
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        ..GetObjectAttributesOutput::default()
    }))
}

pub(super) async fn put(
    operations: &Operations,
    request: S3Request<PutObjectInput>,
) -> Answer<PutObjectOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let object = operations.object(&caller, AccessAction::BucketWrite, &input.bucket, &input.key)?;
    let expect = expected(input.if_match, input.if_none_match)?;
    let content = said(&request.headers, input.metadata)?;
    let upload = Upload::of(&request.headers, input.content_length, request.trailing_headers)?;
    let bucket = object.bucket;
    let put = ObjectPut { object, content, expect, checks: upload.checks(), by: caller.cause("PutObject") };
    let put = operations.deps.buckets.put(put, upload.watch(input.body, caller.call.clone())).await;
    let info = put.map_err(|error| errors::of_bucket(error, &caller.call))?;
    operations.still_there(&caller, &input.bucket, bucket)?;
    let told = upload.told();
    Ok(S3Response::new(PutObjectOutput {
        checksum_crc32: told.checksum_crc32,
        checksum_crc32c: told.checksum_crc32c,
        checksum_crc64nvme: told.checksum_crc64nvme,
        checksum_sha1: told.checksum_sha1,
        checksum_sha256: told.checksum_sha256,
        e_tag: etag(info.etag),
        ..PutObjectOutput::default()
    }))
}

/// What is known of an object that this caller may read.
async fn known(operations: &Operations, caller: &Caller, bucket: &str, key: &str) -> S3Result<ObjectInfo> {
    let object = operations.object(caller, AccessAction::BucketRead, bucket, key)?;
    operations.deps.buckets.head(&object).await.map_err(|error| errors::of_bucket(error, &caller.call))
}

/// The parts of which an object was made are not told.
fn whole(part: Option<i32>) -> S3Result {
    match part {
        None => Ok(()),
        Some(_) => Err(s3_error!(NotImplemented, "objects are read whole or by Range, not by partNumber")),
    }
}

pub(super) fn byte_range(range: Range) -> ByteRange {
    match range {
        Range::Int { first, last } => ByteRange::From(first, last),
        Range::Suffix { length } => ByteRange::Last(length),
    }
}

fn check(conditions: &Conditions, info: &ObjectInfo) -> S3Result {
    match conditions.judge(info) {
        Holds::Yes => Ok(()),
        Holds::No => Err(s3_error!(PreconditionFailed, "the object is not as the request expects it")),
        Holds::NotModified => Err(not_modified(info)),
    }
}

/// That a client's copy is still good, with what it may renew it by.
fn not_modified(info: &ObjectInfo) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", info.etag)) {
        headers.insert(ETAG, etag);
    }
    let mut modified = Vec::new();
    if timestamp(info.modified_at_ms).format(TimestampFormat::HttpDate, &mut modified).is_ok()
        && let Ok(modified) = HeaderValue::from_bytes(&modified)
    {
        headers.insert(LAST_MODIFIED, modified);
    }
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_headers(headers);
    error
}

/// An object's bytes as a response has them.
fn streamed(bytes: ObjectBytes) -> StreamingBlob {
    Body::http_body_unsync(StreamBody::new(bytes.map_ok(Frame::data))).into()
}
