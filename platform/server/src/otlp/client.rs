//! One collector, as OTLP over HTTP speaks to it: a POST of a message, on a connection that is kept.
//!
//! It deliberately does not know how one connects (`outgoing` does), and keeps no message. What always holds: an answer says
//! whether the same may be sent again, as the specification has it.

use crate::outgoing::{AGENT, Destination, Requests, chain, connector};
use anyhow::Context;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Response, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;
use url::Url;

/// What is below a collector's URL (OpenTelemetry, "OTLP Exporter Configuration").
const PATH: [&str; 2] = ["v1", "traces"];
/// How long one export may take, connecting included: the default of OpenTelemetry's exporters.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is sent.
const PROTOBUF: &str = "application/x-protobuf";

/// Why an export failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// For people.
    pub(super) reason: String,
    pub(super) retry: Retry,
}

/// Whether the same may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It would fail again.
    Never,
    /// After so long, the collector says.
    After(Duration),
    /// After a while.
    Later,
}

/// A collector, and the connection to it.
pub(super) struct Client {
    collector: Destination,
    /// What it is told each time.
    headers: HeaderMap,
    /// One that waits.
    connection: Option<Requests>,
}

impl Client {
    /// For the collector at this URL, to which the path of traces is appended.
    ///
    /// # Errors
    /// If nobody can be connected to there.
    pub(super) fn new(url: &Url, more: &[(HeaderName, HeaderValue)]) -> anyhow::Result<Self> {
        let mut url = url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(PATH);
        }
        let collector =
            Destination::new(url, &connector()).context("nobody can be connected to at --otlp")?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in more {
            headers.append(name, value.clone());
        }
        Ok(Self { collector, headers, connection: None })
    }

    /// Sends a message; gives what the collector did not take of it, if it says so.
    pub(super) async fn send(
        &mut self,
        message: &Bytes,
    ) -> Result<Option<ExportTracePartialSuccess>, Failure> {
        let later = |reason| Failure { reason, retry: Retry::Later };
        let kept = self.connection.take();
        let asked = timeout(TIMEOUT, self.collector.post(kept, self.headers.clone(), message)).await;
        let asked = asked.map_err(|_| later(format!("no answer within {} s", TIMEOUT.as_secs())))?;
        let (connection, answer) = asked.map_err(|error| later(chain(&*error)))?;
        self.connection = Some(connection);
        outcome(&answer)
    }
}

/// Where the messages go; never what is said in headers or in a query, which may be a key.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.collector.shown())
    }
}

/// What an answer means (OTLP specification, "OTLP/HTTP Response").
fn outcome(answer: &Response<Bytes>) -> Result<Option<ExportTracePartialSuccess>, Failure> {
    let status = answer.status();
    if status.is_success() {
        // One that does not keep to the specification in what it says has taken it all the same.
        let said = ExportTraceServiceResponse::decode(answer.body().clone()).unwrap_or_default();
        return Ok(said.partial_success.filter(|part| part.rejected_spans > 0));
    }
    let retry = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => rest(answer.headers()).map_or(Retry::Later, Retry::After),
        _ => Retry::Never,
    };
    Err(Failure { reason: format!("it answers {status}"), retry })
}

/// How long a collector wants to rest, if it says so in seconds.
fn rest(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Client {
        let key = (HeaderName::from_static("x-key"), HeaderValue::from_static("secret"));
        Client::new(&url.parse().unwrap(), &[key]).unwrap()
    }

    #[track_caller]
    fn check(url: &str, target: &str) {
        let client = client(url);
        assert_eq!(client.collector.target(), target);
        assert_eq!(&client.headers["x-key"], "secret");
        let shown = client.to_string();
        assert!(!shown.contains("secret") && !shown.contains('?') && url.starts_with(&shown[..8]), "{shown}");
    }

    #[test]
    fn the_path_of_traces_is_appended() {
        check("http://127.0.0.1:4318", "/v1/traces");
        check("http://127.0.0.1:4318/", "/v1/traces");
        check("http://collector/a", "/a/v1/traces");
        check("https://example.com/a/b/?c=d#e", "/a/b/v1/traces?c=d");
    }

    #[test]
    fn an_answer_says_whether_the_same_may_be_sent_again() {
        let told = |status: u16, after: Option<&str>| {
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(after) = after {
                answer.headers_mut().insert(RETRY_AFTER, after.parse().unwrap());
            }
            outcome(&answer).map_err(|failure| failure.retry)
        };
        assert_eq!(told(200, None), Ok(None));
        for status in [429, 502, 503, 504] {
            assert_eq!(told(status, None), Err(Retry::Later), "{status}");
            assert_eq!(told(status, Some("7")), Err(Retry::After(Duration::from_secs(7))), "{status}");
            assert_eq!(told(status, Some("Fri, 31 Dec 2027 23:59:59 GMT")), Err(Retry::Later), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert_eq!(told(status, Some("7")), Err(Retry::Never), "{status}");
        }
    }

    #[test]
    fn a_collector_may_take_a_part() {
        let told = |rejected_spans: i64| {
            let part = ExportTracePartialSuccess { rejected_spans, error_message: "too old".to_owned() };
            let message = ExportTraceServiceResponse { partial_success: Some(part) };
            outcome(&Response::new(message.encode_to_vec().into())).unwrap()
        };
        assert_eq!(told(0), None, "that is a warning");
        assert_eq!(told(3).unwrap().error_message, "too old");
        let no_message = Response::new(Bytes::from_static(b"{}"));
        assert_eq!(outcome(&no_message).unwrap(), None);
    }
}
