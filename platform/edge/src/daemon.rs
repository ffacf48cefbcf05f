//! Requests to targets that are connected to, which are daemons and hosts outside: by HTTP/1.1 over a connection to the
//! target's own address and port, one that waits if there is one; or by HTTP/2, on one that requests share, as the target
//! group says ([`speaks`], [`http2`]); inside TLS, if it says so ([`tls`]). The `Host` stays the client's.
//!
//! A target may have closed the connection while it waited. So a request that was lost on one, without an answer, is
//! sent again on a new one: where nothing of it had left, or it may be repeated (RFC 9110, section 9.2.2) and nobody has
//! begun to read its body. On a new connection, and otherwise, it is sent once; another target may have it where nothing of
//! it had left.
//!
//! It deliberately does not check the answer but for what only matters on this hop; `handle` does that for all tasks. A
//! client's wish for another protocol is passed on to who speaks HTTP/1.1; if the target agrees, the connection becomes a
//! [`crate::tunnel`]. What always holds: nobody reads a request's body before its target takes it, so a client that waits for
//! `100 Continue` is told to go on only then.

mod endable;
mod failure;
mod head;
mod http2;
mod link;
mod pool;
mod probe;
mod shared;
mod speaks;
mod tls;
mod under_way;

pub(crate) use pool::{Left, Pool, Turn};
pub(crate) use probe::{ProbeError, probe, reach};
pub(crate) use speaks::{Http, Speaks};
pub(crate) use tls::Trust;

use crate::body::{Download, Upload};
use crate::config::Limits;
use crate::edge::Edge;
use crate::exchange::Exchange;
use crate::headers;
use crate::refusal::Refusal;
use crate::share::Place;
use bytes::Bytes;
use failure::{Failure, answer};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use link::Link;
use skiff_ports::body::{self, Body};
use skiff_ports::connect::{ConnectError, Connection, Origin};
use skiff_ports::invoke::InvokeError;
use std::rc::Rc;
use std::sync::Arc;

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
    /// It may have begun with the request, and failed: another may be tried if that may be repeated.
    Failed(Refusal),
    /// That is what the client is told: it is not this target's fault.
    Final(Refusal),
}

impl Miss {
    /// The same of this target: where what it had was cut, it is not the target that closed the connection.
    pub(crate) fn of(self, pool: &Pool) -> Self {
        let told = |refusal| match refusal {
            Refusal::BrokeOff | Refusal::Connect(ConnectError::Failed(_)) if pool.was_cut() => {
                Refusal::Deregistered
            }
            other => other,
        };
        match self {
            Self::Next(refusal) => Self::Next(refusal.map(told)),
            Self::Failed(refusal) => Self::Failed(told(refusal)),
            Self::Final(refusal) => Self::Final(told(refusal)),
        }
    }
}

impl From<InvokeError> for Miss {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::Gone => Self::Next(None),
            InvokeError::TimedOut { .. } | InvokeError::Failed(_) => Self::Failed(error.into()),
            InvokeError::Busy { .. } | InvokeError::TooLarge { .. } => Self::Final(error.into()),
        }
    }
}

impl From<ConnectError> for Miss {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Gone => Self::Next(None),
            ConnectError::Refused
            | ConnectError::Untrusted(_)
            | ConnectError::Unresolved(_)
            | ConnectError::TimedOut
            | ConnectError::Failed(_) => Self::Next(Some(error.into())),
            // The others' rules say the same.
            ConnectError::Denied(_) => Self::Final(error.into()),
        }
    }
}

impl From<Refusal> for Miss {
    fn from(refusal: Refusal) -> Self {
        match refusal.is_by_target() {
            true => Self::Failed(refusal),
            false => Self::Final(refusal),
        }
    }
}

/// Opens a connection to a target for a client, inside TLS if that is spoken there.
pub(crate) async fn connect(edge: &Edge, pool: &Pool) -> Result<Box<dyn Connection>, ConnectError> {
    let _opening = pool.opens();
    open(edge, pool).await
}

/// The same for whoever asks.
async fn open(edge: &Edge, pool: &Pool) -> Result<Box<dyn Connection>, ConnectError> {
    let (destination, speaks) = (pool.destination(), pool.speaks());
    let socket = edge.connect().connect(destination, Origin::LoadBalancer).await?;
    match speaks.tls {
        true => tls::secure(edge, destination, speaks, socket).await,
        false => Ok(socket),
    }
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
    let speaks = pool.speaks();
    head::check(&head, speaks, upgrade)?;
    let switch = match upgrade {
        Some(asked) => Some((asked, edge.share().take().ok_or(Refusal::TooManyTunnels)?)),
        None => None,
    };
    let mut turn = Turn::begin(pool.clone());
    if speaks.is_http2() {
        head::for_http2(&mut head, upload.as_deref(), speaks, exchange.takes_trailers());
        let (stream, response) = http2::ask(exchange, pool, &head, upload.as_ref()).await?;
        turn.answered_in(stream);
        exchange.has_turn(turn);
        return Ok(Answer::Response(received(response, limits)?));
    }
    head::for_http1(&mut head, upload.as_deref(), upgrade, exchange.takes_trailers());
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

/// Sends a request by HTTP/1.1 on the connection that `waiting` is, or else on a new one; gives the head of the answer, and
/// the connection on which the rest comes.
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
            match answer(link.ask(request(head, upload)), upload, limits).await {
                Ok(response) => return Ok((link, response)),
                Err(failure) => again(failure, spare, upload)?,
            }
        }
    };
    let socket = connect(edge, pool).await?;
    let mut link = Link::begin(&edge.daemons().http1, socket).await.map_err(|_| Refusal::BrokeOff)?;
    pool.has_under_way(link.driven());
    exchange.is_sent();
    let mut failure = match answer(link.ask(request), upload, limits).await {
        Ok(response) => return Ok((link, response)),
        Err(failure) => failure,
    };
    match failure.take_unsent() {
        // Another target may have it.
        Some(_) => Err(Miss::Next(Some(failure.refusal()))),
        None => Err(failure.refusal().into()),
    }
}

fn request(head: Parts, upload: Option<&Arc<Upload>>) -> Request<Body> {
    Request::from_parts(head, upload.map_or_else(body::empty, Upload::body))
}

/// The request to send once more, after it was lost on a connection that had waited; `spare` is its head, if it may be
/// repeated.
fn again(
    mut failure: Failure,
    spare: Option<Parts>,
    upload: Option<&Arc<Upload>>,
) -> Result<Request<Body>, Refusal> {
    if let Some(unsent) = failure.take_unsent() {
        return Ok(unsent);
    }
    let is_unread = upload.is_none_or(|upload| upload.is_untouched());
    match spare {
        Some(head) if is_unread && failure.was_closed() => Ok(request(head, upload)),
        Some(_) | None => Err(failure.refusal()),
    }
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

#[cfg(test)]
mod tests {
    /// Runs a test as a worker runs: one thread, a local set.
    pub(super) fn run(test: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test());
    }
}
