//! Objects that go: DeleteObject, DeleteObjects.
//!
//! Of one that is not there it is said that it was deleted, as S3 does. In a list a role is asked for each key by itself, and what it
//! may not delete is told as that key's error.

use super::{Answer, Operations};
use crate::s3::caller::Caller;
use crate::s3::conditions::expected;
use crate::s3::errors;
use futures::{StreamExt, stream};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETagCondition, Error, ObjectIdentifier,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use skiff_ports::buckets::{Buckets, Cause, ObjectExpect, ObjectRef};
use skiff_types::AccessAction;
use std::sync::Arc;

/// Keys of one list, as at S3.
const KEYS_MAX: usize = 1_000;
/// Deletions of a list that are under way at a time: so many share a sync of the disk.
const AT_ONCE: usize = 64;

pub(super) async fn one(
    operations: &Operations,
    request: S3Request<DeleteObjectInput>,
) -> Answer<DeleteObjectOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let object = operations.object(&caller, AccessAction::BucketDelete, &input.bucket, &input.key)?;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(s3_error!(NotImplemented, "a deletion takes If-Match with an ETag alone"));
    }
    let expect = expected(input.if_match, None)?;
    let deleted = operations.deps.buckets.delete(&object, expect, caller.cause("DeleteObject")).await;
    deleted.map_err(|error| errors::of_bucket(error, &caller.call))?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(super) async fn many(
    operations: &Operations,
    request: S3Request<DeleteObjectsInput>,
) -> Answer<DeleteObjectsOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let (identifiers, quiet) = (input.delete.objects, input.delete.quiet.unwrap_or_default());
    if identifiers.is_empty() || identifiers.len() > KEYS_MAX {
        return Err(s3_error!(MalformedXML, "a list of deletions has 1 to {KEYS_MAX} keys"));
    }
    let bucket = operations.bucket_name(&caller, &input.bucket)?;
    let asked: Vec<_> = identifiers
        .into_iter()
        .map(|identifier| {
            let key = identifier.key.clone();
            (key, asked(operations, &caller, bucket.name.as_str(), identifier))
        })
        .collect();
    let is_gone = |error: &S3Error| *error.code() == S3ErrorCode::NoSuchBucket;
    if asked.iter().any(|(_, asked)| asked.as_ref().err().is_some_and(is_gone)) {
        return Err(errors::no_bucket(bucket.name.as_str()));
    }
    let deletions = stream::iter(asked).map(|(key, asked)| {
        let deletion = Deletion {
            buckets: operations.deps.buckets.clone(),
            caller: caller.clone(),
            cause: caller.cause("DeleteObject"),
        };
        async move {
            let deleted = match asked {
                Ok((object, expect)) => deletion.carry_out(object, expect).await,
                Err(error) => Err(error),
            };
            (key, deleted)
        }
    });
    let results: Vec<_> = deletions.buffered(AT_ONCE).collect().await;
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for (key, result) in results {
        match result {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(DeletedObject { key: Some(key), ..DeletedObject::default() }),
            Err(error) => failed.push(Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(key),
                message: error.message().map(str::to_owned),
                version_id: None,
            }),
        }
    }
    let output = DeleteObjectsOutput { deleted: Some(deleted), errors: Some(failed), request_charged: None };
    Ok(S3Response::new(output))
}

/// What is to be deleted, if this caller may.
fn asked(
    operations: &Operations,
    caller: &Caller,
    bucket: &str,
    identifier: ObjectIdentifier,
) -> S3Result<(ObjectRef, ObjectExpect)> {
    if identifier.last_modified_time.is_some() || identifier.size.is_some() {
        return Err(s3_error!(NotImplemented, "a deletion takes an ETag alone as its condition"));
    }
    if let Some(version) = identifier.version_id.as_deref().filter(|version| *version != "null") {
        return Err(s3_error!(NoSuchVersion, "there is no version {version:?}: objects have one, \"null\""));
    }
    let object = operations.object(caller, AccessAction::BucketDelete, bucket, &identifier.key)?;
    Ok((object, expected(identifier.e_tag.map(ETagCondition::ETag), None)?))
}

/// What a deletion of a list needs.
struct Deletion {
    buckets: Arc<dyn Buckets>,
    caller: Caller,
    cause: Cause,
}

impl Deletion {
    async fn carry_out(self, object: ObjectRef, expect: ObjectExpect) -> Result<(), S3Error> {
        let deleted = self.buckets.delete(&object, expect, self.cause).await;
        deleted.map(|_| ()).map_err(|error| errors::of_bucket(error, &self.caller.call))
    }
}
