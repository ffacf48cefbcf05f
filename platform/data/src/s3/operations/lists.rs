//! What is in a bucket: ListObjects, ListObjectsV2.
//!
//! A role is asked for the prefix that is listed: who may read some keys alone lists below what they begin with. With
//! `encoding-type=url` all keys of the answer are percent-encoded, for XML can't carry every character that a key may have.

use super::buckets::owner;
use super::{Answer, Operations};
use crate::s3::caller::Caller;
use crate::s3::content::{etag, size, timestamp};
use crate::s3::errors;
use crate::s3::text::url_encoded;
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object, ObjectStorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use skiff_ports::buckets::{LIST_MAX, ObjectInfo, ObjectList, ObjectPage};

pub(super) async fn first(
    operations: &Operations,
    request: S3Request<ListObjectsInput>,
) -> Answer<ListObjectsOutput> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let max = page_size(input.max_keys)?;
    let list = ObjectList {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().filter(|delimiter| !delimiter.is_empty()),
        after: input.marker.clone().filter(|marker| !marker.is_empty()),
        max,
    };
    let delimited = list.delimiter.is_some();
    let page = page(operations, &caller, &input.bucket, list).await?;
    Ok(S3Response::new(ListObjectsOutput {
        is_truncated: Some(page.next.is_some()),
        // Without a delimiter the last key is where to go on.
        next_marker: page.next.filter(|_| delimited).map(|next| encoding.tell(&next)),
        contents: Some(page.objects.into_iter().map(|info| encoding.object(info, Some(&caller))).collect()),
        common_prefixes: Some(encoding.prefixes(page.common_prefixes)),
        name: Some(input.bucket),
        prefix: Some(encoding.tell(&input.prefix.unwrap_or_default())),
        marker: Some(encoding.tell(&input.marker.unwrap_or_default())),
        max_keys: i32::try_from(max).ok(),
        delimiter: input.delimiter.map(|delimiter| encoding.tell(&delimiter)),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    }))
}

pub(super) async fn second(
    operations: &Operations,
    request: S3Request<ListObjectsV2Input>,
) -> Answer<ListObjectsV2Output> {
    let caller = operations.caller(&request)?;
    let input = request.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let max = page_size(input.max_keys)?;
    let continued = input.continuation_token.as_deref().map(continued).transpose()?;
    let list = ObjectList {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().filter(|delimiter| !delimiter.is_empty()),
        after: continued.or_else(|| input.start_after.clone()).filter(|after| !after.is_empty()),
        max,
    };
    let page = page(operations, &caller, &input.bucket, list).await?;
    let count = page.objects.len() + page.common_prefixes.len();
    let told_to = Some(&caller).filter(|_| input.fetch_owner.unwrap_or_default());
    Ok(S3Response::new(ListObjectsV2Output {
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(hex::encode),
        contents: Some(page.objects.into_iter().map(|info| encoding.object(info, told_to)).collect()),
        common_prefixes: Some(encoding.prefixes(page.common_prefixes)),
        continuation_token: input.continuation_token,
        name: Some(input.bucket),
        prefix: Some(encoding.tell(&input.prefix.unwrap_or_default())),
        start_after: input.start_after.map(|after| encoding.tell(&after)),
        key_count: i32::try_from(count).ok(),
        max_keys: i32::try_from(max).ok(),
        delimiter: input.delimiter.map(|delimiter| encoding.tell(&delimiter)),
        encoding_type: input.encoding_type,
        ..ListObjectsV2Output::default()
    }))
}

/// A page, if this caller may list what begins so.
async fn page(
    operations: &Operations,
    caller: &Caller,
    bucket: &str,
    list: ObjectList,
) -> S3Result<ObjectPage> {
    let bucket = operations.listed(caller, bucket, &list.prefix)?;
    if list.max == 0 {
        return Ok(ObjectPage::default());
    }
    let page = operations.deps.buckets.list(bucket.id, list).await;
    page.map_err(|error| errors::of_bucket(error, &caller.call))
}

/// How many keys and prefixes there may be: as S3, at most so many, whatever is asked for.
pub(super) fn page_size(asked: Option<i32>) -> S3Result<u32> {
    match asked.map(u32::try_from) {
        None => Ok(LIST_MAX),
        Some(Ok(max)) => Ok(max.min(LIST_MAX)),
        Some(Err(_)) => Err(s3_error!(InvalidArgument, "the size of a page can't be negative")),
    }
}

/// After what a page that goes on begins: the token is that in hexadecimal digits, which is nobody's business.
fn continued(token: &str) -> S3Result<String> {
    let wrong = || s3_error!(InvalidArgument, "the continuation token provided is incorrect");
    let bytes = hex::decode(token).map_err(|_| wrong())?;
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// How keys are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As they are.
    None,
    /// Percent-encoded.
    Url,
}

impl Encoding {
    pub(super) fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self::None),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "encoding-type is url, or is left out")),
        }
    }

    pub(super) fn tell(self, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Url => url_encoded(text),
        }
    }

    fn prefixes(self, prefixes: Vec<String>) -> Vec<CommonPrefix> {
        prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.tell(prefix)) }).collect()
    }

    fn object(self, info: ObjectInfo, owned_by: Option<&Caller>) -> Object {
        Object {
            key: Some(self.tell(&info.key)),
            size: size(info.size),
            last_modified: Some(timestamp(info.modified_at_ms)),
            owner: owned_by.map(|caller| owner(&caller.role.namespace)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            e_tag: etag(info.etag),
            ..Object::default()
        }
    }
}
