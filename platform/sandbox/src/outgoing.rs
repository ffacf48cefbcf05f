//! Outgoing requests as they leave a sandbox, and their answers as they arrive: whose memory it is that crosses, and how far a
//! call between tasks has come.
//!
//! A request is made in its guest's polls, and read and freed outside of them; with an answer it is the other way round. So
//! what one side allocates and the other frees is told ([`crate::heap`]): bodies byte by byte; and a request's head is copied
//! where the sandbox lives long enough for heads to add up. Heads of answers, and what is small beside a body, are not told: a
//! guest that frees them is owed nothing for it.

use crate::account::Account;
use crate::call::crossing::copy_of_head;
use crate::capability::Sent;
use crate::heap::{Crossed, apart};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use skiff_types::Kind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime_wasi_http::{Error, WasiBody};

/// How many calls between tasks led to a request; set by whoever carries such calls out.
static HOPS: HeaderName = HeaderName::from_static("skiff-hops");

type Answer = Box<dyn Future<Output = Result<Sent, Error>> + Send>;
type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// How many calls led to a request with these headers.
pub(crate) fn hops(headers: &HeaderMap) -> u32 {
    headers.get(&HOPS).and_then(|hops| hops.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// A request as others than its guest have it, of whom it says how far the call has come that it is a part of. To be called in
/// the guest's poll.
pub(crate) fn leaving(
    account: &Account,
    crossed: &Arc<Crossed>,
    hops: u32,
    request: Request<WasiBody>,
) -> Request<WasiBody> {
    let (mut head, body) = request.into_parts();
    if hops > 0 {
        head.headers.append(&HOPS, HeaderValue::from(hops));
    }
    let limits = &account.spec.limits;
    if account.spec.kind == Kind::Command || limits.reuse.requests > 1 {
        head = {
            let theirs = head;
            apart(|| copy_of_head(&theirs))
        };
    }
    let crossed = crossed.clone();
    let body = apart(|| LeavingBody { body: Some(body), crossed }.boxed_unsync());
    Request::from_parts(head, body)
}

/// An answer as its guest has it.
pub(crate) fn arriving(crossed: &Arc<Crossed>, answer: Answer) -> Answer {
    let crossed = crossed.clone();
    apart(|| {
        Box::new(async move {
            let (answer, rest) = Box::into_pin(answer).await?;
            let answer = answer.map(|body| ArrivingBody { body: Some(body), crossed }.boxed_unsync());
            Ok::<Sent, Error>((answer, rest))
        })
    })
}

/// A request's body, which its guest writes and others read.
struct LeavingBody {
    body: Option<WasiBody>,
    crossed: Arc<Crossed>,
}

impl http_body::Body for LeavingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Self { body, crossed } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        let polled = crossed.counted(|| Pin::new(body).poll_frame(cx));
        crossed.left(data_bytes(&polled) as u64);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, |body| body.size_hint())
    }
}

impl Drop for LeavingBody {
    fn drop(&mut self) {
        self.crossed.counted(|| self.body = None);
    }
}

/// An answer's body, which others write and its guest reads. Until it is read, it is not the guest's.
struct ArrivingBody {
    body: Option<WasiBody>,
    crossed: Arc<Crossed>,
}

impl http_body::Body for ArrivingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Self { body, crossed } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        crossed.take_over(|| Pin::new(body).poll_frame(cx), data_bytes)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, |body| body.size_hint())
    }
}

impl Drop for ArrivingBody {
    fn drop(&mut self) {
        apart(|| self.body = None);
    }
}

fn data_bytes(polled: &Polled) -> usize {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
        _ => 0,
    }
}
