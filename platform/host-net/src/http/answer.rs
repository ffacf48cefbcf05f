//! The bodies of answers on their way to the guest that asked: of a task that was called, and of whoever was connected to.
//!
//! Nothing of them waits here; what waits behind them is charged to the task that asked, for as long as they are not
//! read or dropped: the called task's own account ends with its sandbox. Dropped before its end, a body ends what writes
//! it: the called guest, or the connection.

use crate::http::errors;
use crate::http::length::Length;
use crate::http::tally::Tally;
use crate::http::timeouts::Silence;
use crate::local::Local;
use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use skiff_ledger::MemoryClaim;
use skiff_ports::body::Body;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime_wasi_http::Error;

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// The answer of a task of this worker. Carries the call's [`Tally`] to the last byte.
pub(crate) struct CalledBody {
    /// `None` at its end; with what the task that asked is charged with for it.
    rest: Option<(Body, MemoryClaim)>,
    length: Length,
    tally: Tally,
    silence: Option<Silence>,
    /// Ends when the call is cut. Made when something has to be waited for.
    cut: Option<Local<LocalBoxFuture<'static, ()>>>,
}

impl CalledBody {
    pub(crate) fn new(
        body: Body,
        claim: MemoryClaim,
        length: Length,
        tally: Tally,
        silence: Option<Silence>,
    ) -> Self {
        Self { rest: Some((body, claim)), length, tally, silence, cut: None }
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let flow = self.tally.flow();
        let cut = self.cut.get_or_insert_with(|| Local::make(|| flow.cut().boxed_local()));
        cut.with_mut(|cut| cut.as_mut().poll(cx))
    }

    fn end_with(&mut self, end: Option<Error>) -> Polled {
        self.rest = None;
        Poll::Ready(end.map(Err))
    }
}

impl http_body::Body for CalledBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let Some((body, _)) = &mut this.rest else { return Poll::Ready(None) };
        if this.tally.flow().is_cut() {
            return this.end_with(Some(Error::ConnectionTerminated));
        }
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if !this.length.note(bytes as u64) {
                    return this.end_with(Some(Error::HttpResponseBodySize(None)));
                }
                this.tally.sent(bytes);
                if let Some(silence) = &mut this.silence {
                    silence.is_broken();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.end_with(Some(errors::of_body(error))),
            Poll::Ready(None) if this.length.is_kept() => this.end_with(None),
            Poll::Ready(None) => this.end_with(Some(Error::HttpResponseIncomplete)),
            Poll::Pending if this.poll_cut(cx).is_ready() => this.end_with(Some(Error::ConnectionTerminated)),
            Poll::Pending if this.silence.as_mut().is_some_and(|silence| silence.is_too_long(cx)) => {
                this.end_with(Some(Error::ConnectionReadTimeout))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

/// An answer that comes over a connection.
pub(crate) struct FetchedBody {
    /// `None` at its end; with what the exchange takes.
    rest: Option<(Incoming, Taken)>,
    silence: Silence,
}

/// What an exchange takes of its task's, until the last byte of its answer.
pub(crate) struct Taken {
    /// Tells the task's client that the connection is in use.
    pub(crate) _active: Arc<()>,
    /// Memory beyond what its connection takes, where several exchanges share that.
    pub(crate) _claim: Option<MemoryClaim>,
}

impl FetchedBody {
    pub(crate) fn new(body: Incoming, silence: Silence, taken: Taken) -> Self {
        Self { rest: Some((body, taken)), silence }
    }
}

impl http_body::Body for FetchedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let Some((body, _)) = &mut this.rest else { return Poll::Ready(None) };
        let end = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence.is_broken();
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => Some(errors::of_client(&error)),
            Poll::Ready(None) => None,
            Poll::Pending if this.silence.is_too_long(cx) => Some(Error::ConnectionReadTimeout),
            Poll::Pending => return Poll::Pending,
        };
        this.rest = None;
        Poll::Ready(end.map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}
