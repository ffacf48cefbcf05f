//! A request's body on its way from the guest that calls to the task that is called.
//!
//! Nothing of it waits here: the called guest reads it out of what the calling guest has written, and how much that may be
//! is the sandbox's to bound.

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use skiff_ports::body::{Body, BodyError};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use wasmtime_wasi_http::WasiBody;

/// How much of a body was read. It is `Sync` only because bodies have to be; one thread uses it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadBytes(Arc<AtomicU64>);

impl ReadBytes {
    /// So far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The body to give to a task, and how much of it that reads; nothing, where there is none.
pub(crate) fn upload(body: WasiBody) -> (Body, Option<ReadBytes>) {
    if body.is_end_stream() {
        return (skiff_ports::body::empty(), None);
    }
    let read = ReadBytes::default();
    (Body::new(Upload { rest: Some(body), read: read.clone() }), Some(read))
}

/// A body as the called guest reads it.
struct Upload {
    /// `None` at its end.
    rest: Option<WasiBody>,
    read: ReadBytes,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.rest else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.read.0.fetch_add(bytes, Relaxed);
            }
            Poll::Ready(Some(Err(_)) | None) => self.rest = None,
            Poll::Pending => {}
        }
        polled.map_err(|error| BodyError::Connection(error.into()))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};

    #[tokio::test]
    async fn a_body_passes_whole_and_is_counted() {
        let full = |text: &'static str| {
            Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
        };
        let (body, read) = upload(full("four"));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "four");
        assert_eq!(read.unwrap().get(), 4);
        let (body, read) = upload(full(""));
        assert!(body.is_end_stream() && read.is_none());
    }
}
