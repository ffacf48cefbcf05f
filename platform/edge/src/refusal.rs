//! Why the edge answers a request itself: every reason, its status, its code for programs, its sentence for people.

use crate::guard::Fault;
use crate::headers::REQUEST_ID;
use crate::limit::Exceeded;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::ext::ReasonPhrase;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::Serialize;
use skiff_ports::connect::ConnectError;
use skiff_ports::invoke::InvokeError;

/// Seconds after which to try again where a service has no task at present.
const NO_TARGET_RETRY_AFTER_S: u32 = 1;
/// The same where too many wait for a service that sleeps.
const WAKING_RETRY_AFTER_S: u32 = 1;
/// The same where a worker has too much to do.
const OVERLOADED_RETRY_AFTER_S: u32 = 1;
/// Characters of a client's own words that an answer repeats.
const ECHO_CHARS_MAX: usize = 200;

/// Why a request was not answered by a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    #[error("the request is malformed: {0}")]
    Unsound(Fault),
    #[error("this port speaks TLS: the request is to be sent by https://, not by http://")]
    InClear,
    #[error("no service answers on host {host:?} and path {path:?}")]
    NoRoute { host: String, path: String },
    #[error("the request's headers are larger than {limit_bytes} bytes")]
    HeadersTooLarge { limit_bytes: usize },
    #[error("the request has more than {limit} headers")]
    TooManyHeaders { limit: usize },
    #[error("the request body is larger than {limit_bytes} bytes")]
    BodyTooLarge { limit_bytes: u64 },
    #[error("the request body made no progress for {idle_ms} ms")]
    BodyIdle { idle_ms: u64 },
    #[error("the connection failed while the request body was read")]
    BodyBroken,
    #[error("{0} is not supported by this load balancer")]
    NotSupported(&'static str),
    #[error("too many connections speak another protocol than HTTP at present")]
    TooManyTunnels,
    #[error(transparent)]
    TooManyRequests(#[from] Exceeded),
    #[error(
        "more requests come at present than can be answered in good time; this one is one of those that are not"
    )]
    Overloaded,
    #[error("the service {service} has no task running at present")]
    NoTarget { service: String },
    #[error("the service {service} slept, and had no task running within {limit_ms} ms")]
    NotAwake { service: String, limit_ms: u64 },
    #[error("the service {service} is being woken, and {limit} requests wait for it already")]
    TooManyWaiting { service: String, limit: usize },
    #[error("none of the addresses of the target group {group} can be reached at present")]
    NoAddress { group: String },
    #[error("no target group and no service is named {name}, where the request is to be forwarded to")]
    NoGroup { name: String },
    #[error("all target groups that the request could be forwarded to have the weight 0")]
    NoWeight,
    #[error("the target's answer is not valid HTTP: {0}")]
    BadAnswer(&'static str),
    #[error("the target closed the connection before it answered")]
    BrokeOff,
    #[error("the target was deregistered, and its deregistration delay was over before it answered")]
    Deregistered,
    #[error("the target did not begin to answer within {limit_ms} ms")]
    NoAnswer { limit_ms: u64 },
    #[error("the request can't be passed on to this target group: {0}")]
    Incompatible(&'static str),
    #[error(transparent)]
    Task(#[from] InvokeError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

#[derive(Serialize)]
struct Answer<'a> {
    error: AnswerError<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnswerError<'a> {
    code: &'a str,
    message: &'a str,
}

impl Refusal {
    /// No route for what the client asked, with so much of it as an answer may repeat.
    pub(crate) fn no_route(host: &str, path: &str) -> Self {
        let cut = |text: &str| text.chars().take(ECHO_CHARS_MAX).collect();
        Self::NoRoute { host: cut(host), path: cut(path) }
    }

    /// What was wrong with the request's bytes, if that is why.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Unsound(fault) => Some(*fault),
            _ => None,
        }
    }

    /// Whether it is the connection to the target, or what came by it, that is at fault.
    pub(crate) fn is_by_target(&self) -> bool {
        matches!(self, Self::BadAnswer(_) | Self::BrokeOff | Self::NoAnswer { .. } | Self::Connect(_))
    }

    /// Whether it is because of how many requests there are, not of this one.
    pub(crate) fn is_for_load(&self) -> bool {
        matches!(self, Self::TooManyRequests(_) | Self::Overloaded | Self::TooManyWaiting { .. })
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::HeadersTooLarge { .. }
            | Self::TooManyHeaders { .. }
            | Self::Unsound(Fault::TooLarge { .. }) => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large")
            }
            Self::Malformed(_) | Self::Unsound(_) | Self::InClear | Self::BodyBroken => {
                (StatusCode::BAD_REQUEST, "bad_request")
            }
            Self::NoRoute { .. } => (StatusCode::NOT_FOUND, "no_route"),
            Self::BodyTooLarge { .. } | Self::Task(InvokeError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
            }
            Self::BodyIdle { .. } => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::NotSupported(_) => (StatusCode::NOT_IMPLEMENTED, "not_supported"),
            Self::Incompatible(_) => (incompatible_protocol(), "incompatible_protocol"),
            Self::TooManyTunnels => (StatusCode::SERVICE_UNAVAILABLE, "too_many_connections"),
            Self::TooManyRequests(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::TooManyWaiting { .. } => (StatusCode::SERVICE_UNAVAILABLE, "too_many_waiting"),
            Self::NotAwake { .. } => (StatusCode::GATEWAY_TIMEOUT, "wake_timeout"),
            Self::NoTarget { .. }
            | Self::NoAddress { .. }
            | Self::NoGroup { .. }
            | Self::NoWeight
            | Self::Task(InvokeError::Gone)
            | Self::Connect(ConnectError::Gone) => (StatusCode::SERVICE_UNAVAILABLE, "no_target"),
            Self::Task(InvokeError::Busy { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "task_busy"),
            Self::BadAnswer(_)
            | Self::BrokeOff
            | Self::Deregistered
            | Self::Task(InvokeError::Failed(_))
            | Self::Connect(
                ConnectError::Denied(_)
                | ConnectError::Refused
                | ConnectError::Untrusted(_)
                | ConnectError::Unresolved(_)
                | ConnectError::Failed(_),
            ) => (StatusCode::BAD_GATEWAY, "task_failed"),
            Self::NoAnswer { .. }
            | Self::Task(InvokeError::TimedOut { .. })
            | Self::Connect(ConnectError::TimedOut) => (StatusCode::GATEWAY_TIMEOUT, "task_timeout"),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status_and_code().0
    }

    /// What HTTP/1.1 says beside a status for which HTTP has no words.
    pub(crate) fn reason(&self) -> Option<ReasonPhrase> {
        const INCOMPATIBLE_PROTOCOL: &[u8] = b"Incompatible Protocol Versions";
        matches!(self, Self::Incompatible(_)).then(|| ReasonPhrase::from_static(INCOMPATIBLE_PROTOCOL))
    }

    /// The headers of the answer, but for the request id.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let retry_after_s = match self {
            Self::NoTarget { .. }
            | Self::NoAddress { .. }
            | Self::Task(InvokeError::Gone)
            | Self::Connect(ConnectError::Gone) => Some(NO_TARGET_RETRY_AFTER_S),
            Self::Task(InvokeError::Busy { retry_after_s, .. }) => Some(*retry_after_s),
            Self::TooManyWaiting { .. } => Some(WAKING_RETRY_AFTER_S),
            Self::TooManyRequests(exceeded) => Some(exceeded.retry_after_s()),
            Self::Overloaded => Some(OVERLOADED_RETRY_AFTER_S),
            _ => None,
        };
        if let Some(seconds) = retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers
    }

    /// What the access log says beyond what the client is told: of a certificate, which names hosts.
    pub(crate) fn detail(&self) -> Option<&str> {
        match self {
            Self::Connect(ConnectError::Untrusted(detail)) => Some(detail),
            _ => None,
        }
    }

    /// The body of the answer.
    pub(crate) fn json(&self, message: &str, request_id: &HeaderValue) -> Vec<u8> {
        let error = AnswerError { code: self.status_and_code().1, message };
        let answer = Answer { error, request_id: request_id.to_str().unwrap_or_default() };
        serde_json::to_vec(&answer).expect("text makes JSON")
    }

    /// The whole answer as HTTP/1.1 has it, where nobody else writes it: the last on its connection.
    pub(crate) fn last_answer(&self, request_id: &HeaderValue) -> Vec<u8> {
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
        let date = date.map(|date| format!("date: {date}\r\n")).unwrap_or_default();
        self.answer(request_id, &format!("connection: close\r\n{date}")).0
    }

    /// The whole answer as HTTP/1.1 has it, where nobody else writes it, with these lines among its headers; and how many
    /// bytes of it are its body.
    pub(crate) fn answer(&self, request_id: &HeaderValue, lines: &str) -> (Vec<u8>, usize) {
        let (status, body) = (self.status(), self.json(&self.to_string(), request_id));
        let mut headers = self.headers();
        headers.insert(&REQUEST_ID, request_id.clone());
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let reason = status.canonical_reason().unwrap_or_default();
        let mut answer = format!("HTTP/1.1 {} {reason}\r\n{lines}", status.as_str()).into_bytes();
        for (name, value) in &headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                answer.extend_from_slice(part);
            }
        }
        answer.extend_from_slice(b"\r\n");
        answer.extend_from_slice(&body);
        (answer, body.len())
    }
}

/// ELBv2's status for a protocol that the target group does not speak; HTTP has none.
fn incompatible_protocol() -> StatusCode {
    const STATUS: u16 = 464;
    StatusCode::from_u16(STATUS).expect("a status has three digits")
}
