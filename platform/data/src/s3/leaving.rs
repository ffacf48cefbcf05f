//! The body of a response, counted as it goes.

use super::caller::Call;
use super::counters::{Counters, count};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use s3s::{Body, StdError};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A response's body.
pub(super) struct Leaving {
    body: Body,
    counters: Arc<Counters>,
    /// It counts as under way until this is gone.
    _call: Call,
}

impl Leaving {
    pub(super) fn new(body: Body, counters: Arc<Counters>, call: Call) -> Self {
        Self { body, counters, _call: call }
    }
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            count(&self.counters.bytes_out, data.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
