//! One request to a target that is no client's, or one connection to it: what health checks ask with.
//!
//! A connection is opened for each and closed with it: it says whether the target takes connections. It deliberately
//! knows no exchange, counts nothing, and judges no answer. What always holds: it ends within its time, and holds no more of an
//! answer than its bound.
//!
//! How to ask: [`reach`] connects, with TLS if the target speaks that; [`probe`] sends a request too, whose target is a path
//! (`/health`), with the method, headers and body as given. Without a `Host` it names the target itself.

use super::pool::Pool;
use super::shared::Shared;
use super::{Link, head, open};
use crate::edge::Edge;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use skiff_ports::body::Body;
use skiff_ports::connect::{ConnectError, Destination};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

/// Bytes of an answer that are read for the trailers that follow them.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What a target said.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Of who speaks HTTP/2 or gRPC; of HTTP/1.1, no body is read.
    pub(crate) trailers: HeaderMap,
}

/// Why it said nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("there was no answer in time")]
    TimedOut,
    #[error("the connection broke, or what came was no answer")]
    Broken(#[from] hyper::Error),
    #[error("the answer is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
}

/// Connects to who is there, and leaves.
pub(crate) async fn reach(edge: &Edge, pool: &Pool, timeout: Duration) -> Result<(), ProbeError> {
    let opened = tokio::time::timeout(timeout, open(edge, pool)).await;
    Ok(opened.map_err(|_| ProbeError::TimedOut)?.map(drop)?)
}

/// Sends this request to who is there; gives the head of the answer, and the trailers. Must be called in a `LocalSet`.
pub(crate) async fn probe(
    edge: &Edge,
    pool: &Pool,
    request: Request<Body>,
    timeout: Duration,
) -> Result<Probed, ProbeError> {
    let probed = tokio::time::timeout(timeout, ask(edge, pool, request)).await;
    probed.map_err(|_| ProbeError::TimedOut)?
}

async fn ask(edge: &Edge, pool: &Pool, request: Request<Body>) -> Result<Probed, ProbeError> {
    let speaks = pool.speaks();
    let (mut head, body) = request.into_parts();
    head.headers.entry(HOST).or_insert_with(|| authority(pool.destination()));
    let socket = open(edge, pool).await?;
    if !speaks.is_http2() {
        head::for_http1(&mut head, None, None, false);
        let mut link = Link::begin(&edge.daemons().http1, socket).await?;
        let answer = link.ask(Request::from_parts(head, body)).await;
        let answer = answer.map_err(|error| error.into_error())?;
        return Ok(probed(answer).0);
    }
    head::for_http2(&mut head, None, speaks, true);
    let shared = Shared::begin(&edge.daemons().http2, socket).await?;
    let mut stream = shared.stream(edge.limits()).ok_or(ConnectError::Refused)?;
    let answer = stream.ask(Request::from_parts(head, body)).await;
    let answer = answer.map_err(|error| error.into_error())?;
    let (mut probed, incoming) = probed(answer);
    probed.trailers = trailers(incoming).await?;
    Ok(probed)
}

/// What the head says, and what comes after it.
fn probed(answer: Response<Incoming>) -> (Probed, Incoming) {
    let (head, incoming) = answer.into_parts();
    (Probed { status: head.status, headers: head.headers, trailers: HeaderMap::new() }, incoming)
}

/// Reads a body to its end for what comes after it.
async fn trailers(mut incoming: Incoming) -> Result<HeaderMap, ProbeError> {
    let mut read_bytes = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
        let frame = frame?;
        read_bytes += frame.data_ref().map_or(0, Bytes::len);
        if read_bytes > BODY_BYTES_MAX {
            return Err(ProbeError::TooLarge);
        }
        if let Ok(trailers) = frame.into_trailers() {
            return Ok(trailers);
        }
    }
    Ok(HeaderMap::new())
}

/// Who is there, as a request names it. A task knows itself by no other name.
fn authority(destination: &Destination) -> HeaderValue {
    let text = match destination {
        Destination::Outside(outside) => outside.to_string(),
        Destination::Virtual(address) => address.to_string(),
        Destination::Task { port, .. } => format!("localhost:{port}"),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("localhost"))
}
