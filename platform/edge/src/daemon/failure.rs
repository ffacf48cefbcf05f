//! Waiting for the head of a target's answer; and what it means where none comes: what the client is told, and whether the
//! target may have begun with the request.

use crate::body::Upload;
use crate::config::Limits;
use crate::refusal::Refusal;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use skiff_ports::body::Body;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Why a connection gave no answer.
pub(super) enum Failure {
    /// It broke, or what came was no answer.
    Lost(Box<TrySendError<Request<Body>>>),
    /// Nothing came.
    Silent { limit_ms: u64 },
}

impl Failure {
    /// What the client is told.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Silent { limit_ms } => Refusal::NoAnswer { limit_ms: *limit_ms },
            Self::Lost(error) if error.error().is_parse_too_large() => {
                Refusal::BadAnswer("its head is too large")
            }
            Self::Lost(error) if error.error().is_parse() => Refusal::BadAnswer("its head is malformed"),
            Self::Lost(error) if of_http2(error.error()).is_some_and(h2::Error::is_library) => {
                Refusal::BadAnswer("it is no HTTP/2")
            }
            Self::Lost(_) => Refusal::BrokeOff,
        }
    }

    /// Whether the connection was closed or reset before there was an answer.
    pub(super) fn was_closed(&self) -> bool {
        match self {
            Self::Silent { .. } => false,
            Self::Lost(error) => was_closed(error.error()),
        }
    }

    /// Whether the target of HTTP/2 certainly did not begin with the request.
    pub(super) fn was_left_out(&self) -> bool {
        let Self::Lost(error) = self else { return false };
        let is_unsent = error.message().is_some();
        // What hyper says of a stream that had yet to be opened when the connection ended.
        let was_waiting = error.error().is_user();
        is_unsent || was_waiting || of_http2(error.error()).is_some_and(leaves_out)
    }

    /// The request, if nothing of it was sent.
    pub(super) fn take_unsent(&mut self) -> Option<Request<Body>> {
        match self {
            Self::Silent { .. } => None,
            Self::Lost(error) => error.take_message(),
        }
    }
}

/// Waits for the head of the answer, as long as the target takes of the body or may still think.
pub(super) async fn answer(
    asked: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>>,
    upload: Option<&Arc<Upload>>,
    limits: &Limits,
) -> Result<Response<Incoming>, Failure> {
    let timeout = limits.target_response_timeout;
    let received_bytes = || upload.map_or(0, |upload| upload.received_bytes());
    let mut answered = pin!(asked);
    let mut late = pin!(tokio::time::sleep(timeout));
    let mut known_bytes = received_bytes();
    loop {
        tokio::select! {
            biased;
            answered = &mut answered => return answered.map_err(|error| Failure::Lost(Box::new(error))),
            () = &mut late => {}
        }
        let bytes = received_bytes();
        if bytes == known_bytes {
            return Err(Failure::Silent { limit_ms: ms(timeout) });
        }
        known_bytes = bytes;
        late.as_mut().reset(Instant::now() + timeout);
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn was_closed(error: &hyper::Error) -> bool {
    let by_socket = error.source().is_some_and(|source| source.is::<io::Error>());
    let by_http2 = of_http2(error).is_some_and(|error| error.is_go_away() && error.is_remote());
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || by_socket || by_http2
}

/// What HTTP/2 says of a failure.
fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// Whether the other side says that it did not begin with a stream (RFC 9113, section 8.7). Of streams that its GOAWAY does
/// not leave out, that is not said: they go on, or end with the connection.
fn leaves_out(error: &h2::Error) -> bool {
    let was_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (error.is_go_away() || was_refused)
}
