//! Buckets as such: ListBuckets, CreateBucket, DeleteBucket, HeadBucket, GetBucketLocation, GetBucketVersioning.
//!
//! Those that a caller may do nothing with are not told. They may also be made and removed by `skiff bucket` and `skiff apply`; what is
//! more to say of one, such as its bus, is said there.

use super::{Answer, Operations};
use crate::s3::content::timestamp;
use crate::s3::{DEFAULT_REGION, errors};
use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, Owner,
};
use s3s::{S3Request, S3Response, s3_error};
use skiff_ports::catalog::{CreateBucketError, RemoveBucketError};
use skiff_types::Namespace;

/// Buckets of a page, as at S3.
const BUCKETS_MAX: usize = 10_000;

/// A namespace, as the owner of what is in it.
pub(super) fn owner(namespace: &Namespace) -> Owner {
    Owner { display_name: Some(namespace.to_string()), id: Some(namespace.to_string()) }
}

pub(super) fn list(
    operations: &Operations,
    request: S3Request<ListBucketsInput>,
) -> Answer<ListBucketsOutput> {
    let caller = operations.caller(&request)?;
    let ListBucketsInput { bucket_region, continuation_token, max_buckets, prefix } = request.input;
    let max = match max_buckets.map(usize::try_from) {
        None => BUCKETS_MAX,
        Some(Ok(max)) if (1..=BUCKETS_MAX).contains(&max) => max,
        Some(_) => return Err(s3_error!(InvalidArgument, "max-buckets is a number from 1 to {BUCKETS_MAX}")),
    };
    let wanted = |name: &str| {
        bucket_region.as_ref().is_none_or(|region| *region == operations.region)
            && prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix))
            && continuation_token.as_deref().is_none_or(|token| name > token)
    };
    let mut all = operations.deps.catalog.buckets(&caller.role.namespace);
    all.retain(|bucket| {
        wanted(bucket.spec.name.name.as_str()) && operations.may_see(&caller, &bucket.spec.name).is_ok()
    });
    let more = all.len() > max;
    all.truncate(max);
    let continuation_token = all.last().filter(|_| more).map(|last| last.spec.name.name.to_string());
    let told = all.iter().map(|bucket| Bucket {
        bucket_region: Some(operations.region.clone()),
        creation_date: Some(timestamp(bucket.created_at_ms)),
        name: Some(bucket.spec.name.name.to_string()),
    });
    let buckets = Some(told.collect());
    let owner = Some(owner(&caller.role.namespace));
    Ok(S3Response::new(ListBucketsOutput { buckets, continuation_token, owner, prefix }))
}

pub(super) async fn create(
    operations: &Operations,
    request: S3Request<CreateBucketInput>,
) -> Answer<CreateBucketOutput> {
    let caller = operations.caller(&request)?;
    let name = operations.managed(&caller, &request.input.bucket)?;
    let configuration = request.input.create_bucket_configuration;
    let wanted = configuration.as_ref().and_then(|configuration| configuration.location_constraint.as_ref());
    if let Some(wanted) = wanted.filter(|wanted| !["", &operations.region].contains(&wanted.as_str())) {
        let region = &operations.region;
        return Err(s3_error!(
            IllegalLocationConstraintException,
            "there is the region {region:?} alone, not {:?}",
            wanted.as_str()
        ));
    }
    if operations.there(&name).is_ok() {
        return Err(s3_error!(BucketAlreadyOwnedByYou, "there is a bucket {} already", name.name));
    }
    let made = operations.deps.catalog.create_bucket(&name).await;
    made.map_err(|error| match error {
        CreateBucketError::DiskFull(why) => errors::disk_full(why),
        CreateBucketError::Failed(why) => s3_error!(ServiceUnavailable, "{why}"),
    })?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", name.name)) }))
}

pub(super) async fn delete(
    operations: &Operations,
    request: S3Request<DeleteBucketInput>,
) -> Answer<DeleteBucketOutput> {
    let caller = operations.caller(&request)?;
    let name = operations.managed(&caller, &request.input.bucket)?;
    operations.there(&name)?;
    match operations.deps.catalog.remove_bucket(&name).await {
        Ok(()) => Ok(S3Response::new(DeleteBucketOutput::default())),
        Err(RemoveBucketError::NotEmpty(why)) => Err(s3_error!(BucketNotEmpty, "{why}")),
        Err(RemoveBucketError::DiskFull(why)) => Err(errors::disk_full(why)),
        // Somebody else was faster.
        Err(RemoveBucketError::Failed(_)) if operations.there(&name).is_err() => {
            Err(errors::no_bucket(name.name.as_str()))
        }
        Err(RemoveBucketError::Failed(why)) => Err(s3_error!(ServiceUnavailable, "{why}")),
    }
}

pub(super) fn head(operations: &Operations, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
    let caller = operations.caller(&request)?;
    operations.seen(&caller, &request.input.bucket)?;
    let bucket_region = Some(operations.region.clone());
    Ok(S3Response::new(HeadBucketOutput { bucket_region, ..HeadBucketOutput::default() }))
}

pub(super) fn location(
    operations: &Operations,
    request: S3Request<GetBucketLocationInput>,
) -> Answer<GetBucketLocationOutput> {
    let caller = operations.caller(&request)?;
    operations.seen(&caller, &request.input.bucket)?;
    // The first region of all has no name here.
    let region = Some(operations.region.clone()).filter(|region| region != DEFAULT_REGION);
    let location_constraint = region.map(BucketLocationConstraint::from);
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
}

/// There are no versions, as of a bucket of which nothing was said of them.
pub(super) fn versioning(
    operations: &Operations,
    request: S3Request<GetBucketVersioningInput>,
) -> Answer<GetBucketVersioningOutput> {
    let caller = operations.caller(&request)?;
    operations.seen(&caller, &request.input.bucket)?;
    Ok(S3Response::new(GetBucketVersioningOutput::default()))
}
