//! What errors are called in S3, with what status.
//!
//! Messages of buckets and of roles go to the client as they are: they are sentences for people, and say what to do. What failed below
//! the buckets does not: it is logged here, once.

use super::caller::Call;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode, s3_error};
use skiff_ports::buckets::{BucketError, PART_BYTES_MIN, PARTS_MAX};
use std::io;
use std::sync::OnceLock;
use tracing::error;

/// What is wrong with a body, found while it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// It stopped coming for too long.
    #[error("the body stopped coming")]
    Stalled,
    /// It ended before all that it said.
    #[error("the body has fewer bytes than it said, or its connection ended")]
    Incomplete,
    /// It has more bytes than it said.
    #[error("the body has more bytes than it said")]
    TooLong,
    /// It is not framed as it said, or not as it can be taken.
    #[error("{0}")]
    Framing(&'static str),
    /// The signature of a chunk of it is wrong.
    #[error("the signature of a chunk, or of what follows the last, is wrong")]
    Signature,
    /// Its SHA-256 is not the one that was signed.
    #[error("the body does not match x-amz-content-sha256")]
    Sha256,
    /// It does not come to the digest that was said of it.
    #[error("the body does not match {0}")]
    Digest(&'static str),
    /// The checksum that was to follow it did not.
    #[error("the checksum that x-amz-trailer names did not follow the body")]
    Trailer,
}

impl From<Fault> for S3Error {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        match fault {
            Fault::Stalled => Self::with_message(S3ErrorCode::RequestTimeout, message),
            Fault::Incomplete | Fault::TooLong => Self::with_message(S3ErrorCode::IncompleteBody, message),
            Fault::Framing(_) => custom("InvalidChunkSizeError", StatusCode::BAD_REQUEST, message),
            Fault::Signature => Self::with_message(S3ErrorCode::SignatureDoesNotMatch, message),
            Fault::Sha256 => custom("XAmzContentSHA256Mismatch", StatusCode::BAD_REQUEST, message),
            Fault::Digest(_) => Self::with_message(S3ErrorCode::BadDigest, message),
            Fault::Trailer => custom("MalformedTrailerError", StatusCode::BAD_REQUEST, message),
        }
    }
}

/// What `s3s` says of a body that it unframes: its errors have no types that others see, but names.
pub(super) fn fault_of(error: &(dyn std::error::Error + Send + Sync)) -> Fault {
    let text = error.to_string();
    let says = |name: &str| text.contains(name);
    if says("SignatureMismatch") {
        Fault::Signature
    } else if says("Sha256Mismatch") {
        Fault::Sha256
    } else if says("LengthMismatch") {
        Fault::TooLong
    } else if says("FormatError") || says("TooLarge") || says("TooMany") {
        Fault::Framing("the chunks are not well framed")
    } else {
        Fault::Incomplete
    }
}

/// The first fault of a request's body, for whoever answers it.
pub(super) type FirstFault = OnceLock<Fault>;

/// What a bucket's error is to a client.
pub(super) fn of_bucket(error: BucketError, call: &Call) -> S3Error {
    let message = error.to_string();
    let code = match error {
        BucketError::NoObject(_) => S3ErrorCode::NoSuchKey,
        BucketError::NoUpload(_) => S3ErrorCode::NoSuchUpload,
        BucketError::NotEmpty { .. } => S3ErrorCode::BucketNotEmpty,
        BucketError::Removed => S3ErrorCode::NoSuchBucket,
        BucketError::Precondition => S3ErrorCode::PreconditionFailed,
        BucketError::Range { size } => return no_range(size, message),
        BucketError::Checks(_) => S3ErrorCode::BadDigest,
        BucketError::TooLarge => S3ErrorCode::EntityTooLarge,
        BucketError::InvalidPart(_) => S3ErrorCode::InvalidPart,
        BucketError::PartOrder => S3ErrorCode::InvalidPartOrder,
        BucketError::PartTooSmall(_) => S3ErrorCode::EntityTooSmall,
        BucketError::Invalid(_) => S3ErrorCode::InvalidArgument,
        BucketError::Body(source) => return call.fault().unwrap_or_else(|| of_io(&source)).into(),
        BucketError::DiskFull => return disk_full(message),
        BucketError::Storage(source) => {
            error!(error = %chain(&*source), request = %call.id(), "the buckets' storage failed a call of the S3 endpoint");
            S3ErrorCode::InternalError
        }
    };
    S3Error::with_message(code, message)
}

fn of_io(error: &io::Error) -> Fault {
    match error.get_ref() {
        Some(inner) => inner.downcast_ref::<Fault>().copied().unwrap_or_else(|| fault_of(inner)),
        None => Fault::Incomplete,
    }
}

/// An error and what it came from, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

fn no_range(size: u64, message: String) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::InvalidRange, message);
    let mut headers = HeaderMap::new();
    // These take the place of those that there would be.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(range) = HeaderValue::try_from(format!("bytes */{size}")) {
        headers.insert(CONTENT_RANGE, range);
    }
    error.set_headers(headers);
    error
}

/// An error of a code that `s3s` does not know.
fn custom(code: &'static str, status: StatusCode, message: String) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InvalidRequest);
    let mut error = S3Error::with_message(code, message);
    error.set_status_code(status);
    error
}

/// There is no room on the disk: with a status that clients don't try again at once, unlike 503.
pub(super) fn disk_full(message: String) -> S3Error {
    custom("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE, message)
}

/// There is no such bucket in the caller's namespace.
pub(super) fn no_bucket(name: &str) -> S3Error {
    s3_error!(NoSuchBucket, "there is no bucket {name:?}: make it with: skiff bucket create {name}")
}

/// A number of a part that none can have.
pub(super) fn part_number() -> S3Error {
    s3_error!(InvalidArgument, "the number of a part is one from 1 to {PARTS_MAX}")
}

/// The XML of a completed upload names no parts, or not all of each.
pub(super) fn no_parts() -> S3Error {
    s3_error!(
        MalformedXML,
        "an upload is completed with its parts, each with PartNumber and ETag; all but the last have {PART_BYTES_MIN} bytes at least"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fault: Fault) -> (String, Option<u16>) {
        let error = S3Error::from(fault);
        (error.code().as_str().to_owned(), error.status_code().map(|status| status.as_u16()))
    }

    #[test]
    fn faults_of_bodies_have_the_names_and_statuses_of_s3() {
        for (fault, code, status) in [
            (Fault::Stalled, "RequestTimeout", 400),
            (Fault::Incomplete, "IncompleteBody", 400),
            (Fault::Framing("x"), "InvalidChunkSizeError", 400),
            (Fault::Signature, "SignatureDoesNotMatch", 403),
            (Fault::Sha256, "XAmzContentSHA256Mismatch", 400),
            (Fault::Digest("x"), "BadDigest", 400),
            (Fault::Trailer, "MalformedTrailerError", 400),
        ] {
            assert_eq!(answer(fault), (code.into(), Some(status)));
        }
    }

    #[test]
    fn a_fault_is_found_again_in_what_a_bucket_answers() {
        assert_eq!(of_io(&io::Error::other(Fault::Trailer)), Fault::Trailer);
        assert_eq!(of_io(&io::Error::other("AwsChunkedStreamError: SignatureMismatch")), Fault::Signature);
        assert_eq!(of_io(&io::Error::from(io::ErrorKind::BrokenPipe)), Fault::Incomplete);
    }
}
