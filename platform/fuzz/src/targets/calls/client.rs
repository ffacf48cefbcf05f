//! A client of a guest: what it sends, how it takes the answer, and when it has enough.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use skiff_ports::body::{self, Body, BodyError};

/// What a client does, as three bytes say it.
pub(super) struct Client {
    sends: u8,
    takes: u8,
    number: u8,
}

/// What becomes of a call before it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    /// Nothing: it is waited for.
    None,
    /// The client leaves after so many turns.
    Leaves(u8),
    /// The task ends after so many turns.
    TaskEnds(u8),
}

impl Client {
    pub(super) fn new([sends, takes, number]: [u8; 3]) -> Self {
        Self { sends, takes, number }
    }

    /// Its request, with the program in its path.
    pub(super) fn request(&self, program: &[u8]) -> Request<Body> {
        let methods = [Method::GET, Method::POST, Method::HEAD, Method::CONNECT];
        let mut request = Request::new(self.body());
        *request.method_mut() = methods[usize::from(self.sends >> 6)].clone();
        *request.uri_mut() = format!("/{}", hex::encode(program)).parse().expect("a path of digits");
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("guest.test"));
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_bytes(b"b=\xff").expect("allowed in a header"));
        if self.sends & 0x20 != 0 {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(u16::from(self.number)));
        }
        request
    }

    fn body(&self) -> Body {
        let scale = if self.sends & 0x10 == 0 { 1 } else { 256 };
        let chunk_bytes = usize::from(self.number) * scale;
        let chunks = stream::iter(0..3).then(move |number| async move {
            tokio::task::yield_now().await;
            Ok(Frame::data(Bytes::from(vec![number; chunk_bytes])))
        });
        let rest: BoxStream<'static, Result<Frame<Bytes>, BodyError>> = match self.sends % 6 {
            0 => return body::empty(),
            1 => return body::full(vec![b'x'; chunk_bytes]),
            2 => stream::empty().boxed(),
            3 => stream::iter([Ok(Frame::trailers(trailers()))]).boxed(),
            4 => stream::iter([Err(BodyError::Idle { idle_ms: 1 })]).boxed(),
            _ => stream::pending().boxed(),
        };
        StreamBody::new(chunks.chain(rest)).boxed_unsync()
    }

    /// How the call is interrupted.
    pub(super) fn interruption(&self) -> Interruption {
        match self.takes % 5 {
            3 => Interruption::Leaves(self.number),
            4 => Interruption::TaskEnds(self.number),
            _ => Interruption::None,
        }
    }

    /// Whether it calls a task whose sandboxes serve several requests, with several calls.
    pub(super) fn calls_often(&self) -> bool {
        self.takes / 5 % 2 == 1
    }

    /// Takes the answer: all of it, none of it, or a part.
    pub(super) async fn take(&self, response: Response<Body>) {
        let mut body = response.into_body();
        let mut frames_left = match self.takes % 5 {
            1 => 0,
            2 => usize::from(self.number),
            _ => usize::MAX,
        };
        while frames_left > 0
            && let Some(Ok(_)) = body.frame().await
        {
            frames_left -= 1;
        }
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("1"))])
}
