//! A request's body on its way from the guest that calls to the task that is called.
//!
//! Nothing of it waits here: the called guest reads it out of what the calling guest has written, and how much that may be
//! is the sandbox's to bound.
//!
//! What always holds: once the call is cut, not a byte more passes, whether or not anybody still reads the answer; a body
//! that is not as long as its head says does not end in order; and one that nobody has begun to read can be given to
//! another task.

use crate::http::length::Length;
use crate::local::Local;
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http_body::{Body as _, Frame, SizeHint};
use skiff_ports::body::{Body, BodyError};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use wasmtime_wasi_http::{Error, WasiBody};

/// Ends when the call is cut.
pub(crate) type Cut = Local<LocalBoxFuture<'static, ()>>;

/// How much of a body was read. It is `Sync` only because bodies have to be; one thread uses it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadBytes(Arc<AtomicU64>);

impl ReadBytes {
    /// So far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Where a body is that nobody has begun to read. It is `Sync` only because bodies have to be; one thread uses it.
#[derive(Clone)]
struct Unread(Arc<Mutex<Option<WasiBody>>>);

impl Unread {
    fn take(&self) -> Option<WasiBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, body: WasiBody) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }
}

/// The body of a request, for one task after the other.
pub(crate) struct Upload {
    /// `None` if the request has no body.
    unread: Option<Unread>,
    length: Length,
    read: ReadBytes,
}

impl Upload {
    /// A body of which the request's head says that it has so many bytes, if it says anything.
    ///
    /// # Errors
    /// `HttpRequestBodySize` if it is known to have more or fewer.
    pub(crate) fn new(body: WasiBody, promised_bytes: Option<u64>) -> Result<Self, Error> {
        let (length, exact_bytes) = (Length::new(promised_bytes), body.size_hint().exact());
        if !length.allows(exact_bytes) {
            return Err(Error::HttpRequestBodySize(exact_bytes));
        }
        let unread = (!body.is_end_stream()).then(|| Unread(Arc::new(Mutex::new(Some(body)))));
        Ok(Self { unread, length, read: ReadBytes::default() })
    }

    /// The body to give to a task; `cut` says when the call is cut. `None` if another task has begun to read it.
    pub(crate) fn body(&self, cut: impl FnOnce() -> Cut) -> Option<Body> {
        let Some(unread) = &self.unread else { return Some(skiff_ports::body::empty()) };
        let rest = Some(unread.take()?);
        let (unread, length, read) = (unread.clone(), self.length, self.read.clone());
        Some(Body::new(UploadBody { rest, is_begun: false, unread, length, read, cut: cut() }))
    }

    /// How much of it is read; nothing, where there is none.
    pub(crate) fn read(&self) -> Option<ReadBytes> {
        self.unread.as_ref().map(|_| self.read.clone())
    }
}

/// A body as the called guest reads it. Dropped before that begins to, it is there for another task.
struct UploadBody {
    /// `None` at its end.
    rest: Option<WasiBody>,
    is_begun: bool,
    unread: Unread,
    length: Length,
    read: ReadBytes,
    cut: Cut,
}

impl UploadBody {
    /// It ends, in order or by an error.
    fn end_with(&mut self, end: Option<Error>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.rest = None;
        Poll::Ready(end.map(|error| Err(BodyError::Connection(error.into()))))
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.rest else { return Poll::Ready(None) };
        this.is_begun = true;
        if this.cut.with_mut(|cut| cut.as_mut().poll(cx)).is_ready() {
            return this.end_with(Some(Error::ConnectionTerminated));
        }
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.read.0.fetch_add(bytes, Relaxed);
                match this.length.note(bytes) {
                    true => Poll::Ready(Some(Ok(frame))),
                    false => this.end_with(Some(Error::HttpRequestBodySize(Some(this.read.get())))),
                }
            }
            Poll::Ready(Some(Err(error))) => this.end_with(Some(error)),
            Poll::Ready(None) if this.length.is_kept() => this.end_with(None),
            Poll::Ready(None) => this.end_with(Some(Error::HttpRequestBodySize(Some(this.read.get())))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

impl Drop for UploadBody {
    fn drop(&mut self) {
        if !self.is_begun
            && let Some(body) = self.rest.take()
        {
            self.unread.put(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use http_body_util::{BodyExt, Full, StreamBody};

    fn full(text: &'static str) -> WasiBody {
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
    }

    /// A body whose length nobody knows before its end.
    fn streamed(pieces: &'static [&'static str]) -> WasiBody {
        let frame = |piece: &&'static str| Ok::<_, Error>(Frame::data(Bytes::from_static(piece.as_bytes())));
        StreamBody::new(futures::stream::iter(pieces.iter().map(frame))).boxed_unsync()
    }

    fn never() -> Cut {
        Local::make(|| std::future::pending().boxed_local())
    }

    async fn whole(body: Body) -> Result<Bytes, BodyError> {
        body.collect().await.map(|body| body.to_bytes())
    }

    #[tokio::test]
    async fn a_body_passes_whole_and_is_counted() {
        let upload = Upload::new(full("four"), None).unwrap();
        let body = upload.body(never).unwrap();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
        assert_eq!(whole(body).await.unwrap(), "four");
        assert_eq!(upload.read().unwrap().get(), 4);
        let upload = Upload::new(full(""), Some(0)).unwrap();
        assert!(upload.body(never).unwrap().is_end_stream() && upload.read().is_none());
    }

    #[tokio::test]
    async fn what_nobody_has_begun_to_read_is_there_for_the_next() {
        let upload = Upload::new(full("four"), None).unwrap();
        drop(upload.body(never).unwrap());
        let mut body = upload.body(never).unwrap();
        assert!(upload.body(never).is_none(), "it is given away");
        assert!(body.frame().await.unwrap().is_ok());
        drop(body);
        assert!(upload.body(never).is_none(), "it was read");
    }

    #[tokio::test]
    async fn a_call_that_is_cut_takes_no_more_of_it() {
        let (cut, is_cut) = tokio::sync::oneshot::channel();
        let upload = Upload::new(streamed(&["one", "two"]), None).unwrap();
        let cut_when_told = || Local::make(|| is_cut.map(drop).boxed_local());
        let mut body = upload.body(cut_when_told).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        cut.send(()).unwrap();
        assert!(matches!(body.frame().await, Some(Err(BodyError::Connection(_)))));
        assert!(body.frame().await.is_none());
        assert_eq!(upload.read().unwrap().get(), 3);
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_its_head_says() {
        for (promised_bytes, is_right) in [(6, true), (5, false), (7, false)] {
            let upload = Upload::new(streamed(&["one", "two"]), Some(promised_bytes)).unwrap();
            let read = whole(upload.body(never).unwrap()).await;
            assert_eq!(read.is_ok(), is_right, "{promised_bytes}");
        }
        for (body, promised_bytes) in [("four", 5), ("four", 3), ("", 1)] {
            let error = Upload::new(full(body), Some(promised_bytes)).err().unwrap();
            assert!(matches!(error, Error::HttpRequestBodySize(Some(_))), "{body:?}: {error}");
        }
    }
}
