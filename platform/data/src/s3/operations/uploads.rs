//! Objects that are put in parts: CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload, ListParts,
//! ListMultipartUploads.
//!
//! All but the list of uploads asks for writing of the key. A part's checksum is checked as it comes; that of the whole object, which
//! clients may say at the end, is not.

use super::buckets::owner;
use super::lists::{Encoding, page_size};
use super::{Answer, Operations};
use crate::s3::caller::Caller;
use crate::s3::conditions::expected;
use crate::s3::content::{etag, said, size, timestamp};
use crate::s3::errors;
use crate::s3::promised::Upload;
use crate::s3::text::url_encoded;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput,
    MultipartUpload, Part, StorageClass, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use skiff_ports::buckets::{PARTS_MAX, PartInfo, UploadInfo, UploadRef};
use skiff_types::AccessAction;

/// Comes after the id of every upload of a key.
const AFTER_ALL_IDS: &str = "\u{10ffff}";

pub(super) async fn create(
    operations: &Operations,
    request: S3Request<CreateMultipartUploadInput>,
) -> Answer<CreateMultipartUploadOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let object = operations.object(&caller, AccessAction::BucketWrite, &input.bucket, &input.key)?;
    let content = said(&request.headers, input.metadata)?;
    let created = operations.deps.buckets.create_upload(&object, content).await;
    let id = created.map_err(|error| errors::of_bucket(error, &caller.call))?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        ..CreateMultipartUploadOutput::default()
    }))
}

pub(super) async fn put_part(
    operations: &Operations,
    request: S3Request<UploadPartInput>,
) -> Answer<UploadPartOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let reference = upload(operations, &caller, &input.bucket, &input.key, input.upload_id)?;
    let number = number(input.part_number)?;
    let upload = Upload::of(&request.headers, input.content_length, request.trailing_headers)?;
    let bytes = upload.watch(input.body, caller.call.clone());
    let put = operations.deps.buckets.put_part(&reference, number, upload.checks(), bytes).await;
    let part = put.map_err(|error| errors::of_bucket(error, &caller.call))?;
    let told = upload.told();
    Ok(S3Response::new(UploadPartOutput {
        checksum_crc32: told.checksum_crc32,
        checksum_crc32c: told.checksum_crc32c,
        checksum_crc64nvme: told.checksum_crc64nvme,
        checksum_sha1: told.checksum_sha1,
        checksum_sha256: told.checksum_sha256,
        e_tag: etag(part.etag),
        ..UploadPartOutput::default()
    }))
}

pub(super) async fn complete(
    operations: &Operations,
    request: S3Request<CompleteMultipartUploadInput>,
) -> Answer<CompleteMultipartUploadOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let reference = upload(operations, &caller, &input.bucket, &input.key, input.upload_id)?;
    if input.mpu_object_size.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "the size of an upload can't be said before: leave x-amz-mp-object-size out"
        ));
    }
    let parts = input.multipart_upload.and_then(|list| list.parts).unwrap_or_default();
    if parts.is_empty() || parts.len() > PARTS_MAX as usize {
        return Err(errors::no_parts());
    }
    let parts = parts.into_iter().map(named).collect::<S3Result<Vec<_>>>()?;
    let expect = expected(input.if_match, input.if_none_match)?;
    let by = caller.cause("CompleteMultipartUpload");
    let completed = operations.deps.buckets.complete_upload(&reference, parts, expect, by).await;
    let info = completed.map_err(|error| errors::of_bucket(error, &caller.call))?;
    operations.still_there(&caller, &input.bucket, reference.object.bucket)?;
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, url_encoded(&input.key))),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: etag(info.etag),
        ..CompleteMultipartUploadOutput::default()
    }))
}

pub(super) async fn abort(
    operations: &Operations,
    request: S3Request<AbortMultipartUploadInput>,
) -> Answer<AbortMultipartUploadOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let reference = upload(operations, &caller, &input.bucket, &input.key, input.upload_id)?;
    if input.if_match_initiated_time.is_some() {
        return Err(s3_error!(NotImplemented, "uploads are given up by their id alone, without a condition"));
    }
    let aborted = operations.deps.buckets.abort_upload(&reference).await;
    aborted.map_err(|error| errors::of_bucket(error, &caller.call))?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(super) async fn parts(
    operations: &Operations,
    request: S3Request<ListPartsInput>,
) -> Answer<ListPartsOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let reference = upload(operations, &caller, &input.bucket, &input.key, input.upload_id)?;
    let max = page_size(input.max_parts)?;
    let wrong = |_| s3_error!(InvalidArgument, "part-number-marker is the number of a part");
    let after = u32::try_from(input.part_number_marker.unwrap_or_default()).map_err(wrong)?;
    let listed = operations.deps.buckets.parts(&reference, after, max).await;
    let (parts, more) = listed.map_err(|error| errors::of_bucket(error, &caller.call))?;
    let last = parts.last().map_or(after, |part| part.number);
    let namespace = &caller.role.namespace;
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(reference.id),
        initiator: Some(Initiator {
            display_name: Some(namespace.to_string()),
            id: Some(namespace.to_string()),
        }),
        owner: Some(owner(namespace)),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        is_truncated: Some(more),
        max_parts: i32::try_from(max).ok(),
        part_number_marker: i32::try_from(after).ok(),
        next_part_number_marker: i32::try_from(last).ok(),
        parts: Some(parts.into_iter().map(part).collect()),
        ..ListPartsOutput::default()
    }))
}

pub(super) async fn list(
    operations: &Operations,
    request: S3Request<ListMultipartUploadsInput>,
) -> Answer<ListMultipartUploadsOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    if input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(s3_error!(NotImplemented, "uploads are listed by prefix, without a delimiter"));
    }
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let max = page_size(input.max_uploads)?;
    let prefix = input.prefix.unwrap_or_default();
    let bucket = operations.listed(&caller, &input.bucket, &prefix)?;
    // Without the id of an upload, those of the key are told already.
    let after_id =
        input.upload_id_marker.as_deref().filter(|id| !id.is_empty()).unwrap_or(AFTER_ALL_IDS).to_owned();
    let after = input.key_marker.clone().filter(|key| !key.is_empty()).map(|key| (key, after_id));
    let listed = operations.deps.buckets.uploads(bucket.id, &prefix, after, max).await;
    let (uploads, more) = listed.map_err(|error| errors::of_bucket(error, &caller.call))?;
    let last = uploads.last().filter(|_| more);
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(encoding.tell(&prefix)),
        key_marker: Some(encoding.tell(&input.key_marker.unwrap_or_default())),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        next_key_marker: last.map(|last| encoding.tell(&last.key)),
        next_upload_id_marker: last.map(|last| last.id.clone()),
        max_uploads: i32::try_from(max).ok(),
        is_truncated: Some(more),
        encoding_type: input.encoding_type,
        uploads: Some(uploads.iter().map(|upload| told(upload, encoding, &caller)).collect()),
        ..ListMultipartUploadsOutput::default()
    }))
}

/// An upload that this caller may go on with.
pub(super) fn upload(
    operations: &Operations,
    caller: &Caller,
    bucket: &str,
    key: &str,
    id: String,
) -> S3Result<UploadRef> {
    Ok(UploadRef { object: operations.object(caller, AccessAction::BucketWrite, bucket, key)?, id })
}

/// The number of a part.
pub(super) fn number(number: i32) -> S3Result<u32> {
    let number = u32::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(number));
    number.ok_or_else(errors::part_number)
}

fn named(part: CompletedPart) -> S3Result<(u32, String)> {
    let number = number(part.part_number.ok_or_else(errors::no_parts)?)?;
    let etag = part.e_tag.ok_or_else(errors::no_parts)?;
    Ok((number, etag.into_value()))
}

fn part(info: PartInfo) -> Part {
    Part {
        part_number: i32::try_from(info.number).ok(),
        size: size(info.size),
        last_modified: Some(timestamp(info.modified_at_ms)),
        e_tag: etag(info.etag),
        ..Part::default()
    }
}

fn told(info: &UploadInfo, encoding: Encoding, caller: &Caller) -> MultipartUpload {
    let namespace = &caller.role.namespace;
    MultipartUpload {
        key: Some(encoding.tell(&info.key)),
        upload_id: Some(info.id.clone()),
        initiated: Some(timestamp(info.began_at_ms)),
        initiator: Some(Initiator {
            display_name: Some(namespace.to_string()),
            id: Some(namespace.to_string()),
        }),
        owner: Some(owner(namespace)),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..MultipartUpload::default()
    }
}
