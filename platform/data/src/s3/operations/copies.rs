//! Bytes of one object for another: CopyObject, UploadPartCopy. Nothing of them goes through the client.
//!
//! A role needs both: reading of what is copied, writing of what it is copied to.

use super::objects::byte_range;
use super::{Answer, Operations, uploads};
use crate::s3::caller::Caller;
use crate::s3::conditions::{Conditions, Holds, expected};
use crate::s3::content::{etag, said, timestamp};
use crate::s3::errors;
use http::HeaderMap;
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETagCondition,
    MetadataDirective, Range, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use skiff_ports::buckets::{Checks, ObjectExpect, ObjectPut, ObjectRef};
use skiff_types::AccessAction;

pub(super) async fn object(
    operations: &Operations,
    request: S3Request<CopyObjectInput>,
) -> Answer<CopyObjectOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let from = source(operations, &caller, &input.copy_source)?;
    let object = operations.object(&caller, AccessAction::BucketWrite, &input.bucket, &input.key)?;
    let keep_content = match input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => true,
        Some(MetadataDirective::REPLACE) => false,
        Some(_) => return Err(s3_error!(InvalidArgument, "x-amz-metadata-directive is COPY or REPLACE")),
    };
    if keep_content && from == object {
        return Err(s3_error!(
            InvalidRequest,
            "this copies an object to itself without changing what is said of it: set x-amz-metadata-directive to REPLACE"
        ));
    }
    let conditions = Conditions {
        matches: input.copy_source_if_match,
        matches_none: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    let from_expect = judged(operations, &caller, &from, conditions).await?;
    let expect =
        expected(condition(&request.headers, "if-match")?, condition(&request.headers, "if-none-match")?)?;
    let content = said(&request.headers, input.metadata)?;
    let bucket = object.bucket;
    let put =
        ObjectPut { object, content, expect, checks: Checks::default(), by: caller.cause("CopyObject") };
    let copied = operations.deps.buckets.copy(&from, from_expect, put, keep_content).await;
    let info = copied.map_err(|error| errors::of_bucket(error, &caller.call))?;
    operations.still_there(&caller, &input.bucket, bucket)?;
    let last_modified = Some(timestamp(info.modified_at_ms));
    let result = CopyObjectResult { e_tag: etag(info.etag), last_modified, ..CopyObjectResult::default() };
    Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() }))
}

pub(super) async fn part(
    operations: &Operations,
    request: S3Request<UploadPartCopyInput>,
) -> Answer<UploadPartCopyOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let from = source(operations, &caller, &input.copy_source)?;
    let upload = uploads::upload(operations, &caller, &input.bucket, &input.key, input.upload_id)?;
    let number = uploads::number(input.part_number)?;
    let range = input
        .copy_source_range
        .as_deref()
        .map(|text| Range::parse(text).map_err(|_| no_range(text)))
        .transpose()?;
    let conditions = Conditions {
        matches: input.copy_source_if_match,
        matches_none: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    if conditions.matches.is_some() || conditions.need_a_look() {
        look(operations, &caller, &from, &conditions).await?;
    }
    let copied = operations.deps.buckets.copy_part(&upload, number, &from, range.map(byte_range)).await;
    let part = copied.map_err(|error| errors::of_bucket(error, &caller.call))?;
    let last_modified = Some(timestamp(part.modified_at_ms));
    let result = CopyPartResult { e_tag: etag(part.etag), last_modified, ..CopyPartResult::default() };
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        ..UploadPartCopyOutput::default()
    }))
}

/// What is copied, if this caller may read it.
fn source(operations: &Operations, caller: &Caller, source: &CopySource) -> S3Result<ObjectRef> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            if let Some(version) = version_id.as_deref().filter(|version| *version != "null") {
                return Err(s3_error!(
                    InvalidArgument,
                    "there is no version {version:?}: objects have one, \"null\""
                ));
            }
            operations.object(caller, AccessAction::BucketRead, bucket, key)
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
            Err(s3_error!(NotImplemented, "x-amz-copy-source is BUCKET/KEY here"))
        }
    }
}

/// What the copy is to find at its source. A condition that only a look can judge is judged now, and the copy is then of the object
/// that was looked at, or of none.
async fn judged(
    operations: &Operations,
    caller: &Caller,
    from: &ObjectRef,
    conditions: Conditions,
) -> S3Result<ObjectExpect> {
    if conditions.need_a_look() {
        return Ok(ObjectExpect::ETag(look(operations, caller, from, &conditions).await?));
    }
    match conditions.matches {
        // A source that is not there is an error anyway.
        None | Some(ETagCondition::Any) => Ok(ObjectExpect::Any),
        some => expected(some, None),
    }
}

/// Judges conditions of an object as it is now; returns its ETag.
async fn look(
    operations: &Operations,
    caller: &Caller,
    object: &ObjectRef,
    conditions: &Conditions,
) -> S3Result<String> {
    let head = operations.deps.buckets.head(object).await;
    let info = head.map_err(|error| errors::of_bucket(error, &caller.call))?;
    match conditions.judge(&info) {
        Holds::Yes => Ok(info.etag),
        Holds::No | Holds::NotModified => {
            Err(s3_error!(PreconditionFailed, "the object to be copied is not as the request expects it"))
        }
    }
}

/// A condition of the object that is copied to, which `s3s` does not read.
fn condition(headers: &HeaderMap, name: &'static str) -> S3Result<Option<ETagCondition>> {
    let parsed =
        headers.get(name).map(|value| ETagCondition::parse_http_header(value.as_bytes())).transpose();
    parsed.map_err(|_| s3_error!(InvalidArgument, "the header {name} is not an ETag"))
}

fn no_range(text: &str) -> S3Error {
    s3_error!(InvalidArgument, "x-amz-copy-source-range is {text:?}, not bytes=FIRST-LAST")
}
