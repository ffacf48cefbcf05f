//! One health check of a target: what it is asked, and what its answer comes to.
//!
//! An `http` task is called as by any request, and what that takes is the task's; but it is no client's request, so it is
//! in no access log. All others are connected to, and asked by whatever they speak. It deliberately judges no answer.
//!
//! What always holds: a check ends within its timeout, and holds no more of an answer than its bound.

use super::prober::{Subject, To};
use crate::daemon::{self, Pool, ProbeError};
use crate::edge::Edge;
use crate::grpc;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::{StatusClass, TaskSlot};
use skiff_plan::target_health::Outcome;
use skiff_ports::body::{self, Body};
use skiff_ports::connect::ConnectError;
use skiff_ports::invoke::InvokeError;
use skiff_types::{TargetProtocol, TaskId};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

/// As whom the load balancer asks.
static AGENT: HeaderValue =
    HeaderValue::from_static(concat!("Skiff-HealthChecker/", env!("CARGO_PKG_VERSION")));
/// Bytes of a task's answer that are read: whoever says more was well enough to.
const BODY_BYTES_MAX: usize = 64 << 10;
/// A message of gRPC without a byte: not compressed, and how long it is.
static EMPTY_MESSAGE: [u8; 5] = [0; 5];

/// Checks a target once; nothing where nothing was learnt of it.
pub(super) async fn ask(edge: &Edge, subject: &Subject) -> Option<Outcome> {
    let (protocol, timeout) = (subject.protocol, subject.check.timeout.duration());
    let path = subject.check.path.as_deref();
    match (&subject.to, path) {
        // There is no port to connect to: it is there.
        (To::Task(_), None) => Some(Outcome::Connected),
        (To::Task(task), Some(path)) => called(edge, *task, (protocol, path), timeout, subject.slot()).await,
        (To::Pool(pool), Some(path)) if protocol != TargetProtocol::Tcp => {
            Some(answered(edge, pool, (protocol, path), timeout).await)
        }
        (To::Pool(pool), _) => Some(reached(edge, pool, timeout).await),
    }
}

/// Connects, and leaves.
async fn reached(edge: &Edge, pool: &Pool, timeout: Duration) -> Outcome {
    match daemon::reach(edge, pool, timeout).await {
        Ok(()) => Outcome::Connected,
        Err(error) => failed(&error),
    }
}

/// Asks by what is spoken there.
async fn answered(
    edge: &Edge,
    pool: &Pool,
    (protocol, path): (TargetProtocol, &str),
    timeout: Duration,
) -> Outcome {
    let Some(request) = request(protocol, path) else { return Outcome::Failed };
    match daemon::probe(edge, pool, request, timeout).await {
        Ok(probed) => outcome(protocol, probed.status, &probed.headers, &probed.trailers),
        Err(error) => failed(&error),
    }
}

/// What a check asks for: a path by HTTP, or a method of gRPC with an empty message; nothing if there is no request for that.
fn request(protocol: TargetProtocol, path: &str) -> Option<Request<Body>> {
    let request = Request::builder().uri(path).header(USER_AGENT, AGENT.clone());
    let request = match protocol {
        TargetProtocol::Grpc => request
            .method(Method::POST)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .body(body::full(&EMPTY_MESSAGE[..])),
        TargetProtocol::Http1 | TargetProtocol::Http2 | TargetProtocol::Tcp => request.body(body::empty()),
    };
    request.ok()
}

/// What an answer comes to. Who has no such method of gRPC says so, which is an answer, too.
fn outcome(
    protocol: TargetProtocol,
    status: StatusCode,
    headers: &HeaderMap,
    trailers: &HeaderMap,
) -> Outcome {
    match protocol {
        TargetProtocol::Http1 | TargetProtocol::Http2 | TargetProtocol::Tcp => {
            Outcome::Answered(status.as_u16())
        }
        // Who has nothing to say but that says it at once, in the head.
        TargetProtocol::Grpc => match grpc::status(trailers).or_else(|| grpc::status(headers)) {
            Some(code) if status == StatusCode::OK => Outcome::Answered(code),
            Some(_) | None => Outcome::Failed,
        },
    }
}

fn failed(error: &ProbeError) -> Outcome {
    match error {
        ProbeError::TimedOut | ProbeError::Connect(ConnectError::TimedOut) => Outcome::TimedOut,
        ProbeError::Connect(ConnectError::Unresolved(why)) => Outcome::Unresolved(*why),
        ProbeError::Connect(_) | ProbeError::Broken(_) | ProbeError::TooLarge => Outcome::Failed,
    }
}

/// Calls an `http` task; what comes of it counts as that of a request. One that is busy is not asked, and not known to be
/// unwell.
async fn called(
    edge: &Edge,
    task: TaskId,
    (protocol, path): (TargetProtocol, &str),
    timeout: Duration,
    slot: Option<&TaskSlot>,
) -> Option<Outcome> {
    let began_ns = monotonic_ns();
    let outcome = match request(protocol, path) {
        Some(mut request) => {
            // It knows itself by no other name.
            request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
            let calling = call(edge, task, protocol, request);
            tokio::time::timeout(timeout, calling).await.unwrap_or(Some(Outcome::TimedOut))?
        }
        None => Outcome::Failed,
    };
    if let Some(slot) = slot {
        let status = match outcome {
            Outcome::Answered(status) => status,
            Outcome::TimedOut => StatusCode::GATEWAY_TIMEOUT.as_u16(),
            Outcome::Connected | Outcome::Unresolved(_) | Outcome::Failed => StatusCode::BAD_GATEWAY.as_u16(),
        };
        let row = slot.row(edge.worker());
        let class = StatusClass::of(status) as usize;
        row.responses[class].add(1);
        row.checks[class].add(1);
        row.request_duration.record_ns(monotonic_ns().saturating_sub(began_ns));
    }
    Some(outcome)
}

async fn call(
    edge: &Edge,
    task: TaskId,
    protocol: TargetProtocol,
    request: Request<Body>,
) -> Option<Outcome> {
    match edge.invoke().invoke(task, request).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let trailers = read(body).await;
            Some(
                trailers.map_or(Outcome::Failed, |trailers| {
                    outcome(protocol, head.status, &head.headers, &trailers)
                }),
            )
        }
        Err(InvokeError::Gone | InvokeError::Busy { .. }) => None,
        Err(InvokeError::TimedOut { .. }) => Some(Outcome::TimedOut),
        Err(InvokeError::Failed(_) | InvokeError::TooLarge { .. }) => Some(Outcome::Failed),
    }
}

/// Reads a body to its end, or as far as it is read; gives what came behind it, and nothing if it broke off.
async fn read(mut body: Body) -> Option<HeaderMap> {
    let mut read_bytes = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.ok()?;
        read_bytes += frame.data_ref().map_or(0, Bytes::len);
        if read_bytes > BODY_BYTES_MAX {
            break;
        }
        if let Ok(trailers) = frame.into_trailers() {
            return Some(trailers);
        }
    }
    Some(HeaderMap::new())
}
