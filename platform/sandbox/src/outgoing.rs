//! Outgoing requests as they leave a sandbox, and their answers as they arrive: whose memory it is that crosses, and how far a
//! call between tasks has come.
//!
//! A request is made in its guest's polls, and read and freed outside of them, or in those of the guest that it is for;
//! with an answer it is the other way round. So what one side allocates and the other frees is told ([`crate::heap`]):
//! bodies byte by byte; and heads and trailers are copied, so that no two guests share memory of which nobody can say whose
//! it is. What does not grow with what a guest sends or gets (the few words of an error, the boxes that futures are in) is
//! not told.

use crate::call::crossing::{copy_of_answer_head, copy_of_head, frame_taken_in, frame_taken_out};
use crate::capability::Sent;
use crate::heap::{Crossed, apart};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use skiff_ports::invoke::HOPS_HEADER;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime_wasi_http::{Error, WasiBody};

type Answer = Box<dyn Future<Output = Result<Sent, Error>> + Send>;
type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// A request as others than its guest have it, of whom it says how far the call has come that it is a part of. To be called in
/// the guest's poll.
pub(crate) fn leaving(crossed: &Arc<Crossed>, hops: u32, request: Request<WasiBody>) -> Request<WasiBody> {
    let (mut own, body) = request.into_parts();
    if hops > 0 {
        own.headers.append(&HOPS_HEADER, HeaderValue::from(hops));
    }
    let crossed = crossed.clone();
    apart(|| {
        let body = LeavingBody { body: Some(body), crossed }.boxed_unsync();
        Request::from_parts(copy_of_head(&own), body)
    })
}

/// An answer as its guest has it.
pub(crate) fn arriving(crossed: &Arc<Crossed>, answer: Answer) -> Answer {
    let crossed = crossed.clone();
    apart(|| {
        Box::new(async move {
            let mut answer = Box::into_pin(answer);
            let arrived = answer.as_mut().await;
            apart(|| drop(answer));
            let (answer, rest) = arrived?;
            let (theirs, body) = answer.into_parts();
            let answer = crossed.given(|| {
                let body = ArrivingBody { body: Some(body), crossed: crossed.clone() }.boxed_unsync();
                Response::from_parts(copy_of_answer_head(&theirs), body)
            });
            apart(|| drop(theirs));
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
        polled.map(|frame| Some(frame?.map(|frame| frame_taken_out(crossed, frame))))
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
        // What it holds was its guest's, in whichever guest's poll it is dropped.
        self.crossed.given(|| self.body = None);
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
        let polled = apart(|| Pin::new(body).poll_frame(cx));
        polled.map(|frame| Some(frame?.map(|frame| frame_taken_in(crossed, frame))))
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
