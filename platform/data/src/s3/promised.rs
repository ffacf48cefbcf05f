//! What a body is said to come to: `Content-MD5`, `x-amz-checksum-*` (CRC32, CRC32C, CRC64NVME, SHA1, SHA256) in a header or behind
//! the body, and how many bytes it has. Each is checked as the bytes come, and what does not hold is the body's error.
//!
//! Checksums are not kept: objects are told without them, as S3 tells those that were written without.

use super::caller::Call;
use super::errors::{Fault, fault_of};
use super::text::base64_decoded;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Result, TrailingHeaders, s3_error};
use skiff_ports::buckets::{Checks, ObjectBytes, PUT_BYTES_MAX};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

const CONTENT_MD5: &str = "content-md5";
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
const TRAILER: &str = "x-amz-trailer";
const CHECKSUM: &str = "x-amz-checksum-";

/// How a checksum is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The header that carries it.
    fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    fn of(header: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header() == header)
    }

    fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(Default::default()),
            Self::Crc32c => hasher.crc32c = Some(Default::default()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(Default::default()),
            Self::Sha1 => hasher.sha1 = Some(Default::default()),
            Self::Sha256 => hasher.sha256 = Some(Default::default()),
        }
        hasher
    }

    /// The one of this algorithm.
    fn pick(self, sums: Checksum) -> Option<String> {
        match self {
            Self::Crc32 => sums.checksum_crc32,
            Self::Crc32c => sums.checksum_crc32c,
            Self::Crc64Nvme => sums.checksum_crc64nvme,
            Self::Sha1 => sums.checksum_sha1,
            Self::Sha256 => sums.checksum_sha256,
        }
    }
}

/// A checksum that was said of a body, or that is to follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promised {
    algorithm: Algorithm,
    /// In base64; none if it follows.
    value: Option<String>,
}

impl Promised {
    /// The one that there is, if there is one.
    ///
    /// # Errors
    /// If there are several, or it is made in a way that is not known here.
    pub(super) fn of(headers: &HeaderMap) -> S3Result<Option<Self>> {
        let mut found = None;
        let mut put = |promised: Self| match found.replace(promised) {
            Some(_) => Err(s3_error!(
                InvalidRequest,
                "a body has one x-amz-checksum- at most, in a header or behind it"
            )),
            None => Ok(()),
        };
        for (name, value) in headers {
            match name.as_str().strip_prefix(CHECKSUM) {
                None | Some("algorithm" | "type" | "mode") => continue,
                Some(_) => {}
            }
            let algorithm = Algorithm::of(name.as_str()).ok_or_else(|| unknown(name.as_str()))?;
            let value = value.to_str().map_err(|_| s3_error!(InvalidRequest, "{name} is not base64"))?;
            put(Self { algorithm, value: Some(value.to_owned()) })?;
        }
        for value in headers.get_all(TRAILER) {
            let names =
                value.to_str().unwrap_or_default().split(',').map(|name| name.trim().to_ascii_lowercase());
            for name in names.filter(|name| name.starts_with(CHECKSUM)) {
                let algorithm = Algorithm::of(&name).ok_or_else(|| unknown(&name))?;
                put(Self { algorithm, value: None })?;
            }
        }
        Ok(found)
    }

    /// Begins to add a body up.
    pub(super) fn begin(&self) -> ChecksumHasher {
        self.algorithm.hasher()
    }

    /// Whether a body came to it.
    ///
    /// # Errors
    /// If not, or if the checksum did not follow.
    pub(super) fn check(
        &self,
        hasher: ChecksumHasher,
        trailers: Option<&TrailingHeaders>,
    ) -> Result<(), Fault> {
        let followed = || self.followed(trailers);
        let expected = self.value.clone().or_else(followed).ok_or(Fault::Trailer)?;
        if self.algorithm.pick(hasher.finalize()) == Some(expected) {
            Ok(())
        } else {
            Err(Fault::Digest(self.algorithm.header()))
        }
    }

    fn followed(&self, trailers: Option<&TrailingHeaders>) -> Option<String> {
        let read =
            |headers: &HeaderMap| Some(headers.get(self.algorithm.header())?.to_str().ok()?.to_owned());
        trailers?.read(read).flatten()
    }

    /// What it is, to be told again of what was written.
    fn told(&self, trailers: Option<&TrailingHeaders>) -> Checksum {
        let value = self.value.clone().or_else(|| self.followed(trailers));
        let mut told = Checksum::default();
        match self.algorithm {
            Algorithm::Crc32 => told.checksum_crc32 = value,
            Algorithm::Crc32c => told.checksum_crc32c = value,
            Algorithm::Crc64Nvme => told.checksum_crc64nvme = value,
            Algorithm::Sha1 => told.checksum_sha1 = value,
            Algorithm::Sha256 => told.checksum_sha256 = value,
        }
        told
    }
}

fn unknown(name: &str) -> s3s::S3Error {
    let known = "crc32, crc32c, crc64nvme, sha1 or sha256";
    s3_error!(InvalidRequest, "there is no {name} here: the checksum may be one of {known}")
}

/// `Content-MD5`, if it was said.
///
/// # Errors
/// If it is none.
pub(super) fn content_md5(headers: &HeaderMap) -> S3Result<Option<[u8; 16]>> {
    let Some(value) = headers.get(CONTENT_MD5) else { return Ok(None) };
    let digest = value.to_str().ok().and_then(base64_decoded);
    digest.map(Some).ok_or_else(|| s3_error!(InvalidDigest, "Content-MD5 is not the base64 of 16 bytes"))
}

/// A body of a put, with all that is said of it.
pub(super) struct Upload {
    bytes: u64,
    md5: Option<[u8; 16]>,
    promised: Option<Promised>,
    trailers: Option<TrailingHeaders>,
}

impl Upload {
    /// Reads what is said. `content_length` is that of the body without its framing, if the request has one.
    ///
    /// # Errors
    /// If the number of its bytes is not said, or is too high; if digests are none.
    pub(super) fn of(
        headers: &HeaderMap,
        content_length: Option<i64>,
        trailers: Option<TrailingHeaders>,
    ) -> S3Result<Self> {
        let decoded = || headers.get(DECODED_LENGTH)?.to_str().ok()?.parse().ok();
        let bytes = content_length.and_then(|bytes| u64::try_from(bytes).ok()).or_else(decoded);
        let bytes = bytes
            .ok_or_else(|| s3_error!(MissingContentLength, "say the body's length by Content-Length"))?;
        if bytes > PUT_BYTES_MAX {
            return Err(s3_error!(
                EntityTooLarge,
                "an object or a part may have {PUT_BYTES_MAX} bytes at most"
            ));
        }
        Ok(Self { bytes, md5: content_md5(headers)?, promised: Promised::of(headers)?, trailers })
    }

    /// What the buckets are to check: the rest is checked here.
    pub(super) fn checks(&self) -> Checks {
        Checks { bytes: Some(self.bytes), md5: self.md5, sha256: None }
    }

    /// The checksum that was written with it; as it was said, for it is true by then.
    pub(super) fn told(&self) -> Checksum {
        self.promised.as_ref().map(|promised| promised.told(self.trailers.as_ref())).unwrap_or_default()
    }

    /// The body, checked as it comes: it ends with an error if something that was said of it is not so.
    pub(super) fn watch(&self, body: Option<StreamingBlob>, call: Call) -> ObjectBytes {
        let hasher = self.promised.as_ref().map(Promised::begin);
        let promised = self.promised.clone().zip(hasher);
        Box::pin(Watched { body, left: self.bytes, promised, trailers: self.trailers.clone(), call })
    }
}

/// A body that is checked as it comes.
struct Watched {
    /// None once it has ended.
    body: Option<StreamingBlob>,
    /// Bytes that are still to come.
    left: u64,
    promised: Option<(Promised, ChecksumHasher)>,
    trailers: Option<TrailingHeaders>,
    call: Call,
}

impl Watched {
    fn ended(&mut self) -> Result<(), Fault> {
        if self.left > 0 {
            return Err(Fault::Incomplete);
        }
        match self.promised.take() {
            Some((promised, hasher)) => promised.check(hasher, self.trailers.as_ref()),
            None => Ok(()),
        }
    }

    fn came(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(Fault::TooLong)?;
        if let Some((_, hasher)) = &mut self.promised {
            hasher.update(bytes);
        }
        Ok(())
    }
}

impl Stream for Watched {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let item = match &mut this.body {
            Some(body) => ready!(Pin::new(body).poll_next(cx)),
            None => return Poll::Ready(None),
        };
        let fault = match item {
            Some(Ok(bytes)) => match this.came(&bytes) {
                Ok(()) => return Poll::Ready(Some(Ok(bytes))),
                Err(fault) => fault,
            },
            Some(Err(error)) => fault_of(&*error),
            None => {
                this.body = None;
                match this.ended() {
                    Ok(()) => return Poll::Ready(None),
                    Err(fault) => fault,
                }
            }
        };
        this.body = None;
        Poll::Ready(Some(Err(io::Error::other(this.call.note(fault)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use http::{HeaderName, HeaderValue};

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        of.iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    /// What becomes of a body, in pieces of three bytes.
    async fn taken(said: &[(&'static str, &'static str)], bytes: &'static [u8]) -> Result<Vec<u8>, Fault> {
        let upload = Upload::of(&headers(said), None, None).unwrap();
        let pieces: Vec<_> =
            bytes.chunks(3).map(|piece| Ok::<_, io::Error>(Bytes::from_static(piece))).collect();
        let body = StreamingBlob::wrap(futures::stream::iter(pieces));
        let call = Call::for_tests();
        let mut taken = Vec::new();
        let mut watched = upload.watch(Some(body), call.clone());
        while let Some(item) = watched.next().await {
            match item {
                Ok(bytes) => taken.extend_from_slice(&bytes),
                Err(_) => return Err(call.fault().unwrap()),
            }
        }
        Ok(taken)
    }

    const LENGTH: &str = "x-amz-decoded-content-length";

    #[tokio::test]
    async fn a_body_must_come_to_what_was_said_of_it() {
        // The check values of these sums: https://reveng.sourceforge.io/crc-catalogue/all.htm
        for (name, right) in [
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-checksum-crc32c", "4waSgw=="),
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
            ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
            ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ] {
            let right = taken(&[(LENGTH, "9"), (name, right)], b"123456789").await;
            assert_eq!(right, Ok(b"123456789".to_vec()), "{name}");
            let wrong = taken(&[(LENGTH, "9"), (name, "AAAA")], b"123456789").await;
            assert_eq!(wrong, Err(Fault::Digest(Algorithm::of(name).unwrap().header())));
        }
        assert_eq!(taken(&[(LENGTH, "8")], b"123456789").await, Err(Fault::TooLong));
        assert_eq!(taken(&[(LENGTH, "10")], b"123456789").await, Err(Fault::Incomplete));
        assert_eq!(taken(&[(LENGTH, "0")], b"").await, Ok(vec![]));
        let trailer = [(LENGTH, "1"), ("x-amz-trailer", "x-amz-checksum-crc32")];
        assert_eq!(taken(&trailer, b"1").await, Err(Fault::Trailer));
    }

    #[test]
    fn what_is_said_must_make_sense() {
        let refused = |said: &[(&'static str, &'static str)]| {
            let error = Upload::of(&headers(said), None, None).err().expect("it was taken");
            error.code().as_str().to_owned()
        };
        assert_eq!(refused(&[]), "MissingContentLength");
        assert_eq!(refused(&[(LENGTH, "-1")]), "MissingContentLength");
        assert_eq!(refused(&[(LENGTH, "5368709121")]), "EntityTooLarge");
        assert_eq!(refused(&[(LENGTH, "1"), ("content-md5", "AAAA")]), "InvalidDigest");
        assert_eq!(refused(&[(LENGTH, "1"), ("x-amz-checksum-xxhash3", "AAAA")]), "InvalidRequest");
        let two = [(LENGTH, "1"), ("x-amz-checksum-sha1", "A"), ("x-amz-trailer", "x-amz-checksum-crc32")];
        assert_eq!(refused(&two), "InvalidRequest");
        let besides =
            [(LENGTH, "1"), ("x-amz-checksum-algorithm", "CRC32"), ("x-amz-sdk-checksum-algorithm", "CRC32")];
        assert!(Upload::of(&headers(&besides), None, None).is_ok());
    }
}
