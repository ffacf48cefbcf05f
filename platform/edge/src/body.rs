//! Bodies on their way through: a request's, which must make progress and stay in its bound, a daemon's, which must make
//! progress too, and a response's, which carries its [`Exchange`] to the last byte.

use crate::config::Limits;
use crate::connection::BodyId;
use crate::exchange::Exchange;
use crate::guard::Fault;
use crate::headers;
use crate::refusal::Refusal;
use crate::silence::Silence;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use skiff_kit::clock::monotonic_ns;
use skiff_ports::body::{Body, BodyError};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// What the edge knows of a request's body while a guest holds it. The port wants bodies that can be sent between
/// threads; these never are, so nothing here is ever waited for.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The body until somebody reads of it.
    untouched: Mutex<Option<Incoming>>,
    size_hint: SizeHint,
    received_bytes: AtomicU64,
    complete: AtomicBool,
    failure: AtomicU8,
    /// What is wrong with it as it came, if that is why it failed.
    fault: OnceLock<Fault>,
    limit_bytes: u64,
    /// Bytes and number of the trailers.
    trailers_max: (usize, usize),
    idle_timeout: Duration,
}

const NO_FAILURE: u8 = 0;
const TOO_LARGE: u8 = 1;
const IDLE: u8 = 2;
const BROKEN: u8 = 3;
const TRAILERS_TOO_LARGE: u8 = 4;

impl Upload {
    pub(crate) fn new(body: Incoming, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            size_hint: body.size_hint(),
            untouched: Mutex::new(Some(body)),
            received_bytes: AtomicU64::new(0),
            complete: AtomicBool::new(false),
            failure: AtomicU8::new(NO_FAILURE),
            fault: OnceLock::new(),
            limit_bytes: limits.request_body_bytes_max,
            trailers_max: (limits.header_bytes_max, limits.header_count_max),
            idle_timeout: limits.body_idle_timeout,
        })
    }

    /// The body to give to a guest. As long as none was read of, another guest can be given it.
    pub(crate) fn body(self: &Arc<Self>) -> Body {
        let silence = Silence::new(self.idle_timeout);
        Body::new(UploadBody { upload: self.clone(), incoming: None, begun: false, silence })
    }

    /// Whether nobody has begun to read it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.untouched.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// How many bytes it has, if the client said so.
    pub(crate) fn exact_bytes(&self) -> Option<u64> {
        self.size_hint.exact()
    }

    /// Bytes that were read so far.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Relaxed)
    }

    /// Whether all of it was read.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Relaxed)
    }

    /// How the body failed, if it did.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self.failure.load(Relaxed) {
            NO_FAILURE => None,
            TOO_LARGE => Some(Refusal::BodyTooLarge { limit_bytes: self.limit_bytes }),
            IDLE => Some(Refusal::BodyIdle { idle_ms: self.idle_ms() }),
            TRAILERS_TOO_LARGE => Some(Refusal::HeadersTooLarge { limit_bytes: self.trailers_max.0 }),
            _ => Some(self.fault.get().map_or(Refusal::BodyBroken, |fault| Refusal::Unsound(*fault))),
        }
    }

    fn idle_ms(&self) -> u64 {
        u64::try_from(self.idle_timeout.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request's body as a guest reads it.
struct UploadBody {
    upload: Arc<Upload>,
    incoming: Option<Incoming>,
    begun: bool,
    /// Lasts while the guest waits and the client sends nothing.
    silence: Silence,
}

impl UploadBody {
    fn fail(&mut self, failure: u8, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.upload.failure.store(failure, Relaxed);
        self.incoming = None;
        Poll::Ready(Some(Err(error)))
    }

    /// The last of it came.
    fn ended_with(&mut self, mut trailers: HeaderMap) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (bytes_max, count_max) = self.upload.trailers_max;
        if headers::bytes(&trailers) > bytes_max || trailers.len() > count_max {
            return self.fail(TRAILERS_TOO_LARGE, BodyError::Connection("its trailers are too large".into()));
        }
        headers::strip_of_heads(&mut trailers);
        self.upload.complete.store(true, Relaxed);
        self.incoming = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !std::mem::replace(&mut self.begun, true) {
            let mut untouched = self.upload.untouched.lock().unwrap_or_else(PoisonError::into_inner);
            let incoming = untouched.take();
            drop(untouched);
            self.incoming = incoming;
        }
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.heard();
                let frame = match frame.into_trailers() {
                    Ok(trailers) => return self.ended_with(trailers),
                    Err(frame) => frame,
                };
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                let received_bytes = self.upload.received_bytes.fetch_add(bytes, Relaxed) + bytes;
                let limit_bytes = self.upload.limit_bytes;
                if received_bytes > limit_bytes {
                    return self.fail(TOO_LARGE, BodyError::TooLarge { limit_bytes });
                }
                self.upload.complete.store(self.is_end_stream(), Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(fault) = fault(&error) {
                    let _ = self.upload.fault.set(fault);
                }
                self.fail(BROKEN, BodyError::Connection(error.into()))
            }
            Poll::Ready(None) => {
                self.upload.complete.store(true, Relaxed);
                self.incoming = None;
                Poll::Ready(None)
            }
            Poll::Pending if self.silence.poll_too_long(context).is_ready() => {
                let idle_ms = self.upload.idle_ms();
                self.fail(IDLE, BodyError::Idle { idle_ms })
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.begun && self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None if self.begun => SizeHint::with_exact(0),
            None => self.upload.size_hint,
        }
    }
}

/// What the guard found to be wrong with a body, if that is why it failed.
fn fault(error: &hyper::Error) -> Option<Fault> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref().copied()
}

/// The body of a daemon's answer.
pub(crate) struct Download {
    /// None once all of it came.
    incoming: Option<Incoming>,
    /// Bytes that the trailers may have.
    trailer_bytes_max: usize,
    /// Lasts while the client waits and the daemon sends nothing.
    silence: Silence,
}

impl Download {
    pub(crate) fn new(incoming: Incoming, limits: &Limits) -> Self {
        let silence = Silence::new(limits.target_response_timeout);
        Self { incoming: Some(incoming), trailer_bytes_max: limits.response_header_bytes_max, silence }
    }

    /// The last of it came.
    fn ended_with(&mut self, mut trailers: HeaderMap) -> Result<Frame<Bytes>, BodyError> {
        self.incoming = None;
        if headers::bytes(&trailers) > self.trailer_bytes_max {
            return Err(BodyError::Guest("the trailers of the task's answer are too large".to_owned()));
        }
        headers::strip_of_heads(&mut trailers);
        Ok(Frame::trailers(trailers))
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.heard();
                Poll::Ready(Some(match frame.into_trailers() {
                    Ok(trailers) => self.ended_with(trailers),
                    Err(frame) => Ok(frame),
                }))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Connection(error.into())))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self
                .silence
                .poll_too_long(context)
                .map(|()| Some(Err(BodyError::Idle { idle_ms: self.silence.bound_ms() }))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// What a response carries: its body, or nothing, where the connection goes on in another protocol.
pub(crate) struct Payload(pub(crate) Option<ResponseBody>);

impl http_body::Body for Payload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(ResponseBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), ResponseBody::size_hint)
    }
}

/// A response's body on its way to the client.
pub(crate) struct ResponseBody {
    id: BodyId,
    body: Body,
    exchange: Exchange,
    /// What the response's `content-length` says.
    expected_bytes: Option<u64>,
    /// What it gave last may not have been taken yet.
    waiting: bool,
    ended: bool,
}

impl ResponseBody {
    pub(crate) fn new(body: Body, exchange: Exchange, expected_bytes: Option<u64>) -> Self {
        let id = exchange.connection().new_body();
        Self { id, body, exchange, expected_bytes, waiting: false, ended: false }
    }

    fn gave(&mut self, bytes: usize) {
        self.exchange.sent(bytes as u64);
        self.exchange.connection().body_gave(self.id, monotonic_ns());
        self.waiting = true;
    }

    fn was_taken(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.exchange.connection().body_was_taken(self.id);
        }
    }

    fn is_complete(&self) -> bool {
        let length_was_sent = self.expected_bytes.is_some_and(|bytes| self.exchange.sent_bytes() >= bytes);
        self.ended || length_was_sent || self.body.is_end_stream()
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                // Nobody asks for more after trailers.
                self.ended = frame.is_trailers();
                self.gave(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Ready(Some(Err(error))) => {
                self.ended = true;
                self.exchange.broke_off(error.to_string());
            }
            Poll::Ready(None) => {
                self.ended = true;
                if self.expected_bytes.is_some_and(|bytes| self.exchange.sent_bytes() < bytes) {
                    self.exchange.broke_off("the response was shorter than its content-length".to_owned());
                }
            }
            Poll::Pending => self.was_taken(),
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

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.was_taken();
        match self.is_complete() {
            true => self.exchange.was_sent(),
            false => self.exchange.client_left(),
        }
    }
}
