//! Requests to targets that are connected to, which are daemons and hosts outside: HTTP/1.1 over a connection to the
//! target's own address and port, one that waits if there is one. The `Host` stays the client's.
//!
//! A target may have closed the connection while it waited. So a request that was lost on one, without an answer, is
//! sent again on a new one: where nothing of it had left, or it may be repeated (RFC 9110, section 9.2.2) and nobody has
//! begun to read its body. On a new connection, and otherwise, it is sent once.
//!
//! It deliberately does not check the answer but for what only matters on this hop; `handle` does that for all tasks. A
//! client's wish for another protocol is passed on; if the target agrees, the connection becomes a [`crate::tunnel`].

mod pool;

pub(crate) use pool::{Pool, Turn};

use crate::body::{Download, Upload};
use crate::config::Limits;
use crate::edge::Edge;
use crate::exchange::Exchange;
use crate::headers;
use crate::refusal::Refusal;
use crate::share::Place;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1;
use pool::Link;
use skiff_ports::body::{self, Body};
use skiff_ports::connect::{ConnectError, Connection, Origin};
use skiff_ports::invoke::InvokeError;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a task made of a request.
pub(crate) enum Answer {
    /// It answers.
    Response(Response<Body>),
    /// It speaks another protocol from here on.
    Switch(Box<Switch>),
}

impl Answer {
    /// The status that it answers with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Response(response) => response.status(),
            Self::Switch(switch) => switch.head.status(),
        }
    }
}

/// A target's agreement to speak another protocol.
pub(crate) struct Switch {
    /// The head of its answer, as the client may see it but for the request id.
    pub(crate) head: Response<()>,
    pub(crate) task: Box<dyn Connection>,
    /// What it has said already in the other protocol.
    pub(crate) ahead: Bytes,
    pub(crate) turn: Turn,
    /// Among the connections without HTTP.
    pub(crate) place: Place,
}

/// Why a target gave no answer.
pub(crate) enum Miss {
    /// It never had the request: another may be tried. With why, where that is not that it is gone.
    Next(Option<Refusal>),
    /// That is what the client is told.
    Final(Refusal),
}

impl From<InvokeError> for Miss {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::Gone => Self::Next(None),
            error => Self::Final(error.into()),
        }
    }
}

impl From<ConnectError> for Miss {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Gone => Self::Next(None),
            ConnectError::Refused => Self::Next(Some(error.into())),
            ConnectError::Denied(_) | ConnectError::TimedOut | ConnectError::Failed(_) => {
                Self::Final(error.into())
            }
        }
    }
}

impl From<Refusal> for Miss {
    fn from(refusal: Refusal) -> Self {
        Self::Final(refusal)
    }
}

/// How connections to targets speak HTTP.
pub(crate) fn http(limits: &Limits) -> http1::Builder {
    /// hyper's own bound.
    const BUFFER_BYTES_MIN: usize = 8 << 10;
    let mut http = http1::Builder::new();
    http.max_buf_size(limits.buffer_bytes_max.max(BUFFER_BYTES_MIN));
    http
}

/// Opens a connection to a target for a client.
pub(crate) async fn connect(edge: &Edge, pool: &Pool) -> Result<Box<dyn Connection>, ConnectError> {
    let _opening = pool.opens();
    edge.connect().connect(pool.destination(), Origin::LoadBalancer).await
}

/// Lets a target answer. `upgrade` are the protocols that the client asks to change to.
pub(crate) async fn ask(
    edge: &Edge,
    exchange: &mut Exchange,
    pool: &Rc<Pool>,
    mut head: Parts,
    upgrade: Option<&HeaderValue>,
) -> Result<Answer, Miss> {
    let (limits, upload) = (edge.limits(), exchange.upload().cloned());
    let switch = match upgrade {
        Some(asked) => Some((asked, edge.share().take().ok_or(Refusal::TooManyTunnels)?)),
        None => None,
    };
    let mut turn = Turn::begin(pool.clone());
    make_ready(&mut head, upload.as_deref(), upgrade);
    // Another protocol is spoken on a connection of its own: it does not come back.
    let waiting = if upgrade.is_none() { pool.take(limits) } else { None };
    let (link, response) = sent(edge, exchange, pool, waiting, head, upload.as_ref()).await?;
    if let Some((asked, place)) = switch
        && response.status() == StatusCode::SWITCHING_PROTOCOLS
    {
        let head = switching(response, asked, limits)?;
        let (task, ahead) = link.into_parts().await.ok_or(Refusal::BrokeOff)?;
        return Ok(Answer::Switch(Box::new(Switch { head, task, ahead, turn, place })));
    }
    // hyper speaks HTTP/1.0 to who did so before, and leaves out a body of unknown length then, without a word.
    turn.answered_on(link, response.version() == Version::HTTP_11);
    exchange.has_turn(turn);
    Ok(Answer::Response(received(response, limits)?))
}

/// Sends a request on the connection that `waiting` is, or else on a new one; gives the head of the answer, and the
/// connection on which the rest comes.
async fn sent(
    edge: &Edge,
    exchange: &mut Exchange,
    pool: &Pool,
    waiting: Option<Link>,
    head: Parts,
    upload: Option<&Arc<Upload>>,
) -> Result<(Link, Response<Incoming>), Miss> {
    let limits = edge.limits();
    let request = match waiting {
        None => request(head, upload),
        Some(mut link) => {
            let spare = head.method.is_idempotent().then(|| head.clone());
            exchange.is_sent();
            match send(&mut link, request(head, upload), upload, limits).await {
                Ok(response) => return Ok((link, response)),
                Err(failure) => again(failure, spare, upload)?,
            }
        }
    };
    let socket = connect(edge, pool).await?;
    let mut link = Link::begin(edge.daemons(), socket).await.map_err(|_| Refusal::BrokeOff)?;
    exchange.is_sent();
    let response = send(&mut link, request, upload, limits).await;
    Ok((link, response.map_err(|failure| failure.refusal())?))
}

/// Makes a head as the next hop must see it.
fn make_ready(head: &mut Parts, upload: Option<&Upload>, upgrade: Option<&HeaderValue>) {
    head.version = Version::HTTP_11;
    head.uri = match head.uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    };
    // RFC 9112, section 3.2: empty where there is no authority.
    head.headers.entry(HOST).or_insert(HeaderValue::from_static(""));
    // There is one way to say how long the body is.
    match upload.map(Upload::exact_bytes) {
        Some(Some(bytes)) => {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        Some(None) => {
            head.headers.remove(CONTENT_LENGTH);
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        None if head.headers.contains_key(CONTENT_LENGTH) => {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        None => {}
    }
    if let Some(upgrade) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, upgrade.clone());
    }
}

fn request(head: Parts, upload: Option<&Arc<Upload>>) -> Request<Body> {
    Request::from_parts(head, upload.map_or_else(body::empty, Upload::body))
}

/// Why a connection gave no answer.
enum Failure {
    /// It broke, or what came was no answer.
    Lost(Box<TrySendError<Request<Body>>>),
    /// Nothing came.
    Silent { limit_ms: u64 },
}

impl Failure {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Silent { limit_ms } => Refusal::NoAnswer { limit_ms: *limit_ms },
            Self::Lost(error) if error.error().is_parse_too_large() => {
                Refusal::BadAnswer("its head is too large")
            }
            Self::Lost(error) if error.error().is_parse() => Refusal::BadAnswer("its head is malformed"),
            Self::Lost(_) => Refusal::BrokeOff,
        }
    }
}

/// Sends a request and waits for the head of the answer, as long as the target takes of the body or may still think.
async fn send(
    link: &mut Link,
    request: Request<Body>,
    upload: Option<&Arc<Upload>>,
    limits: &Limits,
) -> Result<Response<Incoming>, Failure> {
    let timeout = limits.target_response_timeout;
    let received_bytes = || upload.map_or(0, |upload| upload.received_bytes());
    let mut answered = pin!(link.ask(request));
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

/// The request to send once more, after it was lost on a connection that had waited; `spare` is its head, if it may be
/// repeated.
fn again(
    failure: Failure,
    spare: Option<Parts>,
    upload: Option<&Arc<Upload>>,
) -> Result<Request<Body>, Refusal> {
    let refusal = failure.refusal();
    let Failure::Lost(mut error) = failure else { return Err(refusal) };
    if let Some(unsent) = error.take_message() {
        return Ok(unsent);
    }
    let is_unread = upload.is_none_or(|upload| upload.is_untouched());
    match spare {
        Some(head) if is_unread && was_closed(error.error()) => Ok(request(head, upload)),
        Some(_) | None => Err(refusal),
    }
}

/// Whether a connection was closed or reset before there was an answer.
fn was_closed(error: &hyper::Error) -> bool {
    let by_socket = error.source().is_some_and(|source| source.is::<io::Error>());
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || by_socket
}

/// Takes off an answer what concerned the framing of this hop.
fn received(response: Response<Incoming>, limits: &Limits) -> Result<Response<Body>, Refusal> {
    let (mut head, incoming) = response.into_parts();
    unframe(&mut head.headers)?;
    Ok(Response::from_parts(head, Body::new(Download::new(incoming, limits))))
}

/// RFC 9112, section 6.3: a transfer coding goes before a length, which an intermediary must take out.
fn unframe(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = match (codings.next(), codings.next()) {
        (None, _) => return Ok(()),
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if !is_chunked {
        return Err(Refusal::BadAnswer("its transfer-encoding is another than chunked"));
    }
    headers.remove(CONTENT_LENGTH);
    Ok(())
}

/// The head that tells a client of the target's agreement, if that is one.
fn switching(
    response: Response<Incoming>,
    asked: &HeaderValue,
    limits: &Limits,
) -> Result<Response<()>, Refusal> {
    let mut headers = response.into_parts().0.headers;
    let agreed = headers::upgrade_agreed(asked, &headers)
        .ok_or(Refusal::BadAnswer("it changes to a protocol that it was not asked for"))?;
    if headers::bytes(&headers) > limits.response_header_bytes_max {
        return Err(Refusal::BadAnswer("its headers are too large"));
    }
    headers::strip_hop_by_hop(&mut headers);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, agreed);
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *head.headers_mut() = headers;
    Ok(head)
}
