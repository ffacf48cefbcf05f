//! Bodies of requests and responses: whole in memory, or a stream of chunks that is pulled by whoever reads it.
//!
//! A stream never runs ahead of its reader by more than one chunk. A body sets no bound of its own: Skiff bounds
//! requests and responses from outside, and the component's memory bounds what it collects.

use crate::{Bytes, Error};
use bytes::Buf;
use futures_core::Stream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// The body of a request or a response.
///
/// ```
/// use skiff_sdk::Body;
///
/// # skiff_sdk::block_on(async {
/// let counting = Body::stream(async |mut out| {
///     for number in 1..=3 {
///         out.write(format!("{number}\n")).await;
///     }
///     Ok(())
/// });
/// assert_eq!(counting.text().await?, "1\n2\n3\n");
/// # Ok::<(), skiff_sdk::Error>(())
/// # }).unwrap();
/// ```
#[derive(Default)]
pub struct Body(Content);

enum Content {
    Whole(Bytes),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error>>>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Body {
    /// A body of no bytes.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that a function writes, chunk by chunk, as fast as its reader takes them. If it returns an error, or its
    /// reader goes away, the body ends there; the reader can tell an error from a proper end.
    ///
    /// The function starts with the first read, and is dropped with the body.
    pub fn stream<F>(write: F) -> Self
    where
        F: AsyncFnOnce(Writer) -> Result<(), Error> + 'static,
    {
        let slot = Rc::new(RefCell::new(Slot::default()));
        let writer = Writer { slot: slot.clone() };
        Self::new(Written { future: Some(Box::pin(async move { write(writer).await })), slot })
    }

    /// A body from a stream of chunks.
    pub fn from_stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + 'static,
        B: Into<Bytes>,
        E: Into<Error>,
    {
        Self::stream(async move |mut writer| {
            let mut stream = pin!(stream);
            while let Some(chunk) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
                writer.write(chunk.map_err(Into::into)?).await;
            }
            Ok(())
        })
    }

    /// A body from any other of the `http-body` crate.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Error: Into<Error>> + 'static,
    {
        Self(Content::Stream(Box::pin(Foreign(Box::pin(body)))))
    }

    /// The next chunk, or `None` at the end. Chunks are as they arrive: their borders mean nothing. Trailers are
    /// passed over.
    ///
    /// ```
    /// # skiff_sdk::block_on(async {
    /// # let mut body = skiff_sdk::Body::from("some bytes");
    /// let mut count = 0;
    /// while let Some(chunk) = body.chunk().await? {
    ///     count += chunk.len();
    /// }
    /// # assert_eq!(count, 10);
    /// # Ok::<(), skiff_sdk::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// All of its bytes, in memory.
    pub async fn collect(mut self) -> Result<Bytes, Error> {
        if let Content::Whole(bytes) = self.0 {
            return Ok(bytes);
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut all = [first, second].concat();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }

    /// All of its bytes as text; an error if they are no UTF-8.
    pub async fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8(self.collect().await?.into())?)
    }

    /// The bytes, where the body is whole in memory.
    #[cfg(target_family = "wasm")]
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match &self.0 {
            Content::Whole(bytes) => Some(bytes),
            Content::Stream(_) => None,
        }
    }

    /// The next frame, data or trailers.
    pub(crate) async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        poll_fn(|context| http_body::Body::poll_frame(Pin::new(self), context)).await
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Stream(stream) => stream.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(stream) => stream.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Content::Whole(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Content::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Content::Whole(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

/// Where the function of [`Body::stream`] puts its chunks.
pub struct Writer {
    slot: Rc<RefCell<Slot>>,
}

impl Writer {
    /// Hands a chunk over and waits until it is taken. It can't fail: if the reader goes away, so does the function
    /// that waits here.
    pub async fn write(&mut self, data: impl Into<Bytes>) {
        let data = data.into();
        if !data.is_empty() {
            self.send(Frame::data(data)).await;
        }
    }

    /// Hands the trailers over: headers that follow the last chunk.
    pub async fn trailers(&mut self, trailers: HeaderMap) {
        self.send(Frame::trailers(trailers)).await;
    }

    async fn send(&mut self, frame: Frame<Bytes>) {
        // An earlier write that was dropped half-way may have left its frame.
        self.emptied().await;
        self.slot.borrow_mut().frame = Some(frame);
        self.emptied().await;
    }

    async fn emptied(&self) {
        poll_fn(|context| {
            let mut slot = self.slot.borrow_mut();
            if slot.frame.is_none() {
                return Poll::Ready(());
            }
            slot.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What passes between a [`Writer`] and its body: at most one frame.
#[derive(Default)]
struct Slot {
    frame: Option<Frame<Bytes>>,
    writer: Option<Waker>,
}

type Writing = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// The body of [`Body::stream`]: the function's future is polled by reading the body.
struct Written {
    future: Option<Writing>,
    slot: Rc<RefCell<Slot>>,
}

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let done = match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Ready(Ok(())),
        };
        if let Poll::Ready(result) = &done {
            self.future = None;
            if result.is_err() {
                return done.map(|result| result.err().map(Err));
            }
        }
        let (frame, writer) = {
            let mut slot = self.slot.borrow_mut();
            (slot.frame.take(), slot.writer.take())
        };
        match (frame, done) {
            (Some(frame), _) => {
                if let Some(writer) = writer {
                    writer.wake();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            (None, Poll::Ready(_)) => Poll::Ready(None),
            (None, Poll::Pending) => Poll::Pending,
        }
    }
}

/// A body of another crate, its chunks and errors made ours.
struct Foreign<B>(Pin<Box<B>>);

impl<B: http_body::Body<Error: Into<Error>>> http_body::Body for Foreign<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(self.0.as_mut().poll_frame(context));
        let owned = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(owned)).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on;
    use std::cell::Cell;

    #[test]
    fn a_whole_body_is_one_chunk() {
        let mut body = Body::from("whole");
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(5));
        block_on(async move {
            assert_eq!(body.chunk().await.unwrap().unwrap(), "whole");
            assert!(body.chunk().await.unwrap().is_none());
        });
    }

    #[test]
    fn a_writer_is_never_more_than_a_chunk_ahead() {
        let written = Rc::new(Cell::new(0));
        let count = written.clone();
        let mut body = Body::stream(async move |mut out| {
            for _ in 0..3 {
                count.set(count.get() + 1);
                out.write("chunk").await;
            }
            Ok(())
        });
        assert_eq!(written.get(), 0);
        block_on(async move {
            for taken in 1..=3 {
                body.chunk().await.unwrap().unwrap();
                assert_eq!(written.get(), taken);
            }
            assert!(body.chunk().await.unwrap().is_none());
        });
    }

    #[test]
    fn an_error_comes_after_what_was_written() {
        let mut body = Body::stream(async |mut out| {
            out.write("").await;
            out.write("first").await;
            Err("broken".into())
        });
        block_on(async move {
            assert_eq!(body.chunk().await.unwrap().unwrap(), "first");
            assert_eq!(body.chunk().await.unwrap_err().to_string(), "broken");
            assert!(body.chunk().await.unwrap().is_none());
        });
    }

    #[test]
    fn a_writer_may_wait_inside_of_another_executor() {
        use futures_util::stream::{FuturesUnordered, StreamExt};
        let body = Body::stream(async |mut out| {
            let write = async move {
                out.write("one ").await;
                out.write("two").await;
            };
            let mut tasks = FuturesUnordered::from_iter([write]);
            while tasks.next().await.is_some() {}
            Ok(())
        });
        assert_eq!(block_on(body.text()).unwrap(), "one two");
    }

    #[test]
    fn streams_and_foreign_bodies_collect() {
        let chunks = ["one ", "two ", "three"].map(Ok::<_, Error>);
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let again = Body::new(body);
        assert_eq!(block_on(again.text()).unwrap(), "one two three");
        assert!(block_on(Body::from(vec![0xff]).text()).is_err());
    }

    #[test]
    fn trailers_follow_the_data() {
        let mut body = Body::stream(async |mut out| {
            out.write("data").await;
            out.trailers(HeaderMap::from_iter([(http::header::ETAG, "1".parse()?)])).await;
            Ok(())
        });
        block_on(async move {
            assert!(body.frame().await.unwrap().unwrap().is_data());
            assert!(body.frame().await.unwrap().unwrap().is_trailers());
            assert!(body.frame().await.is_none());
        });
    }
}
