//! What is said of objects, from headers and to them.

use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES, HeaderName,
};
use s3s::dto::{ETag, Metadata, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};
use skiff_ports::buckets::{METADATA_BYTES_MAX, ObjectContent};
use std::time::{Duration, SystemTime};

/// What an object is whose type was not said, as S3 tells it.
pub(super) const TYPE_UNSAID: &str = "binary/octet-stream";

/// What a request says of an object.
///
/// # Errors
/// If it says too much.
pub(super) fn said(headers: &HeaderMap, metadata: Option<Metadata>) -> S3Result<ObjectContent> {
    let metadata = metadata.unwrap_or_default();
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "metadata may have {METADATA_BYTES_MAX} bytes at most, names and values"
        ));
    }
    let text = |name: HeaderName| {
        let value = headers.get(&name).map(|value| value.to_str()).transpose();
        let value = value.map_err(|_| s3_error!(InvalidArgument, "the header {name} is not ASCII"))?;
        Ok::<_, s3s::S3Error>(value.filter(|value| !value.is_empty()).map(str::to_owned))
    };
    Ok(ObjectContent {
        content_type: text(CONTENT_TYPE)?,
        content_encoding: text(CONTENT_ENCODING)?.and_then(|encoding| unframed(&encoding)),
        content_language: text(CONTENT_LANGUAGE)?,
        content_disposition: text(CONTENT_DISPOSITION)?,
        cache_control: text(CACHE_CONTROL)?,
        expires: text(EXPIRES)?,
        metadata: metadata.into_iter().collect(),
    })
}

/// A `Content-Encoding` without `aws-chunked`, which is of the request and not of the object.
fn unframed(encoding: &str) -> Option<String> {
    let encodings = encoding.split(',').map(str::trim);
    let kept: Vec<_> = encodings
        .filter(|encoding| !encoding.eq_ignore_ascii_case("aws-chunked") && !encoding.is_empty())
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// What was said, for a response.
pub(super) fn metadata(content: &ObjectContent) -> Option<Metadata> {
    let pairs = content.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
    (!content.metadata.is_empty()).then(|| pairs.collect())
}

/// `Expires` as a time; none if it was said otherwise.
pub(super) fn expires(content: &ObjectContent) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, content.expires.as_deref()?).ok()
}

/// An ETag that is told.
pub(super) fn etag(value: impl Into<String>) -> Option<ETag> {
    Some(ETag::Strong(value.into()))
}

/// A time that is told, of milliseconds since 1970.
pub(super) fn timestamp(ms: u64) -> Timestamp {
    // The last day of which HTTP can write the year.
    const LAST_MS: u64 = 253_402_214_400_000;
    (SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))).into()
}

/// The same without what HTTP can't say: parts of seconds.
pub(super) fn timestamp_of_second(ms: u64) -> Timestamp {
    timestamp(ms / 1_000 * 1_000)
}

/// A size as the wire has it.
pub(super) fn size(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framing_of_a_request_is_not_said_of_its_object() {
        for (encoding, kept) in [
            ("aws-chunked", None),
            ("gzip", Some("gzip")),
            ("aws-chunked, gzip", Some("gzip")),
            ("gzip,AWS-chunked,br", Some("gzip,br")),
        ] {
            assert_eq!(unframed(encoding).as_deref(), kept, "{encoding}");
        }
    }

    #[test]
    fn no_more_is_said_of_an_object_than_there_is_room_for() {
        let metadata = |bytes: usize| Some(Metadata::from([("n".to_owned(), "v".repeat(bytes))]));
        assert!(said(&HeaderMap::new(), metadata(METADATA_BYTES_MAX - 1)).is_ok());
        let error = said(&HeaderMap::new(), metadata(METADATA_BYTES_MAX)).unwrap_err();
        assert_eq!(error.code().as_str(), "MetadataTooLarge");
    }

    #[test]
    fn a_clock_that_is_far_off_is_told_as_far_as_it_can_be() {
        let mut text = Vec::new();
        timestamp(u64::MAX).format(TimestampFormat::HttpDate, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "Fri, 31 Dec 9999 00:00:00 GMT");
    }
}
