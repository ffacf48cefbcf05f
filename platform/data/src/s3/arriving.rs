//! The body of a request as it comes: it may not stop for too long, it is counted, and its chunks are bounded.
//!
//! The XML of a `POST` is checked here against all that was said of it, for `s3s` reads it before anybody else sees it. The bodies of
//! puts are checked where they are taken (`promised`).

use super::caller::Call;
use super::chunks::{Chunks, framing};
use super::counters::{Counters, count};
use super::errors::Fault;
use super::promised::{Promised, content_md5};
use super::stalls::Patience;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use md5::{Digest as _, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::{S3Result, StdError};
use sha2::Sha256;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A request's body.
pub(super) struct Arriving {
    body: Incoming,
    chunks: Option<Chunks>,
    /// What came, and waits to go on.
    ready: VecDeque<Bytes>,
    said: Option<Said>,
    patience: Patience,
    call: Call,
    counters: Arc<Counters>,
}

impl Arriving {
    /// # Errors
    /// If what is said of the body makes no sense.
    pub(super) fn new(
        body: Incoming,
        parts: &Parts,
        stall_time_max: Duration,
        call: Call,
        counters: Arc<Counters>,
    ) -> S3Result<Self> {
        let content_sha256 =
            parts.headers.get("x-amz-content-sha256").map(|value| value.as_bytes()).unwrap_or_default();
        let chunks = framing(content_sha256);
        // With a framing there is none for XML; clients send it whole.
        let checked = parts.method == Method::POST && chunks.is_none();
        let said = if checked { Some(Said::of(parts, content_sha256)?) } else { None };
        let patience = Patience::new(stall_time_max);
        Ok(Self { body, chunks, ready: VecDeque::new(), said, patience, call, counters })
    }

    /// Takes what came.
    fn came(&mut self, bytes: Bytes) -> Result<(), Fault> {
        count(&self.counters.bytes_in, bytes.len());
        if let Some(said) = &mut self.said {
            said.update(&bytes);
        }
        match &mut self.chunks {
            Some(chunks) => chunks.take(bytes, &mut self.ready),
            None => {
                self.ready.push_back(bytes);
                Ok(())
            }
        }
    }

    /// Checks what can only be checked at the end.
    fn ended(&mut self) -> Result<(), Fault> {
        self.chunks.as_ref().map_or(Ok(()), Chunks::ended)?;
        self.said.take().map_or(Ok(()), Said::check)
    }

    fn failed(&self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        Poll::Ready(Some(Err(self.call.note(fault).into())))
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Poll::Ready(came) = Pin::new(&mut this.body).poll_frame(cx) else {
                return match this.patience.poll(cx) {
                    Poll::Ready(()) => this.failed(Fault::Stalled),
                    Poll::Pending => Poll::Pending,
                };
            };
            this.patience.renew();
            match came.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => {
                    if let Err(fault) = this.came(bytes) {
                        return this.failed(fault);
                    }
                    // Now, for who knows how long a body is does not ask for what comes after it.
                    if this.body.is_end_stream()
                        && let Err(fault) = this.ended()
                    {
                        return this.failed(fault);
                    }
                }
                // Trailers of HTTP itself say nothing here.
                Some(Ok(Err(_))) => {}
                Some(Err(_)) => return this.failed(Fault::Incomplete),
                None => {
                    return match this.ended() {
                        Ok(()) => Poll::Ready(None),
                        Err(fault) => this.failed(fault),
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // What was said of it is checked at its end, which must be seen for that.
        self.said.is_none() && self.ready.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.chunks.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// What was said of a body of XML, and how far it has come to it.
struct Said {
    sha256: Option<([u8; 32], Sha256)>,
    md5: Option<([u8; 16], Md5)>,
    promised: Option<(Promised, ChecksumHasher)>,
}

impl Said {
    fn of(parts: &Parts, content_sha256: &[u8]) -> S3Result<Self> {
        let mut sha256 = [0; 32];
        let sha256 = hex::decode_to_slice(content_sha256, &mut sha256).ok().map(|()| (sha256, Sha256::new()));
        let md5 = content_md5(&parts.headers)?.map(|digest| (digest, Md5::new()));
        // At the end of an upload in parts it is said of the object, not of the XML.
        let mut parameters = parts.uri.query().unwrap_or_default().split('&');
        let promised = if parameters.any(|parameter| matches!(parameter, "delete" | "delete=")) {
            Promised::of(&parts.headers)?
        } else {
            None
        };
        let promised = promised.map(|promised| {
            let hasher = promised.begin();
            (promised, hasher)
        });
        Ok(Self { sha256, md5, promised })
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some((_, hasher)) = &mut self.sha256 {
            hasher.update(bytes);
        }
        if let Some((_, hasher)) = &mut self.md5 {
            hasher.update(bytes);
        }
        if let Some((_, hasher)) = &mut self.promised {
            hasher.update(bytes);
        }
    }

    fn check(self) -> Result<(), Fault> {
        if self.sha256.is_some_and(|(digest, hasher)| <[u8; 32]>::from(hasher.finalize()) != digest) {
            return Err(Fault::Sha256);
        }
        if self.md5.is_some_and(|(digest, hasher)| <[u8; 16]>::from(hasher.finalize()) != digest) {
            return Err(Fault::Digest("Content-MD5"));
        }
        self.promised.map_or(Ok(()), |(promised, hasher)| promised.check(hasher, None))
    }
}
