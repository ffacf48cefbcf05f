//! One collector, as OTLP over HTTP speaks to it: a POST of a message, on a connection that is kept.
//!
//! HTTP/1.1 alone, which every collector takes, and what it answers is read within a bound. Inside TLS, the public authorities
//! are trusted. It deliberately follows no redirection, and does not compress. What always holds: an answer says whether the
//! same may be sent again, as the specification has it.

use anyhow::Context;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

/// What is below a collector's URL (OpenTelemetry, "OTLP Exporter Configuration").
const PATH: [&str; 2] = ["v1", "traces"];
/// How long one export may take, connecting included: the default of OpenTelemetry's exporters.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What is sent.
const PROTOBUF: &str = "application/x-protobuf";
/// Who sends it.
const AGENT: &str = concat!("skiff/", env!("CARGO_PKG_VERSION"));

type Requests = SendRequest<Full<Bytes>>;
type AnyError = Box<dyn Error + Send + Sync>;

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
    collector: Collector,
    /// One that waits.
    connection: Option<Requests>,
}

/// Where a collector is, and what it is told each time.
struct Collector {
    url: Url,
    /// Its host without brackets, and its port.
    address: (String, u16),
    tls: Option<(TlsConnector, ServerName<'static>)>,
    headers: HeaderMap,
}

impl Client {
    /// For the collector at this URL, to which the path of traces is appended.
    ///
    /// # Errors
    /// If nobody can be connected to there.
    pub(super) fn new(url: &Url, more: &[(HeaderName, HeaderValue)]) -> anyhow::Result<Self> {
        Ok(Self { collector: Collector::new(url, more)?, connection: None })
    }

    /// Sends a message; gives what the collector did not take of it, if it says so.
    pub(super) async fn send(
        &mut self,
        message: &Bytes,
    ) -> Result<Option<ExportTracePartialSuccess>, Failure> {
        let later = |reason| Failure { reason, retry: Retry::Later };
        let kept = self.connection.take();
        let asked = timeout(TIMEOUT, self.collector.ask(kept, message)).await;
        let asked = asked.map_err(|_| later(format!("no answer within {} s", TIMEOUT.as_secs())))?;
        let (connection, answer) = asked.map_err(|error| later(chain(&*error)))?;
        self.connection = Some(connection);
        outcome(&answer)
    }
}

/// Where the messages go; never what is said in headers or in a query, which may be a key.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.collector.url[..Position::AfterPath])
    }
}

impl Collector {
    fn new(url: &Url, more: &[(HeaderName, HeaderValue)]) -> anyhow::Result<Self> {
        let mut url = url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(PATH);
        }
        let (host, name) = match url.host().context("--otlp names no host")? {
            Host::Domain(name) => (name.to_owned(), ServerName::try_from(name.to_owned()).ok()),
            Host::Ipv4(address) => (address.to_string(), Some(IpAddr::from(address).into())),
            Host::Ipv6(address) => (address.to_string(), Some(IpAddr::from(address).into())),
        };
        let port = url.port_or_known_default().context("--otlp names no port")?;
        let tls = match url.scheme() {
            "https" => {
                let name = name.context("--otlp names a host that no certificate can be for")?;
                Some((connector(), name))
            }
            _ => None,
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in more {
            headers.append(name, value.clone());
        }
        Ok(Self { url, address: (host, port), tls, headers })
    }

    async fn ask(
        &self,
        kept: Option<Requests>,
        message: &Bytes,
    ) -> Result<(Requests, Response<Bytes>), AnyError> {
        let mut requests = match ready(kept).await {
            Some(requests) => requests,
            None => self.connect().await?,
        };
        let target = &self.url[Position::BeforePath..Position::AfterQuery];
        let mut request = Request::post(target).body(Full::new(message.clone()))?;
        *request.headers_mut() = self.headers.clone();
        let (head, body) = requests.send_request(request).await?.into_parts();
        // To its end, so that the connection can be used again.
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok((requests, Response::from_parts(head, body)))
    }

    async fn connect(&self) -> Result<Requests, AnyError> {
        let (host, port) = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => begin(stream).await,
            Some((connector, name)) => begin(connector.connect(name.clone(), stream).await?).await,
        }
    }
}

/// A connection that was kept, if the collector has not closed it.
async fn ready(kept: Option<Requests>) -> Option<Requests> {
    let mut requests = kept?;
    requests.ready().await.ok()?;
    Some(requests)
}

async fn begin<S>(stream: S) -> Result<Requests, AnyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Whoever asks on it learns how it failed.
        let _ = connection.await;
    });
    Ok(requests)
}

fn connector() -> TlsConnector {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // Named, since several may be linked.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the versions that rustls has")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
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

/// An error and what it comes from.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Client {
        let key = (HeaderName::from_static("x-key"), HeaderValue::from_static("secret"));
        Client::new(&url.parse().unwrap(), &[key]).unwrap()
    }

    #[track_caller]
    fn check(url: &str, target: &str, host: &str, address: (&str, u16)) {
        let client = client(url);
        let Collector { url: at, address: (name, port), tls, headers } = &client.collector;
        assert_eq!(&at[Position::BeforePath..Position::AfterQuery], target);
        assert_eq!((&headers[HOST], &headers["x-key"]), (&host.parse().unwrap(), &"secret".parse().unwrap()));
        assert_eq!((name.as_str(), *port), address);
        assert_eq!(tls.is_some(), url.starts_with("https:"));
        let shown = client.to_string();
        assert!(!shown.contains("secret") && !shown.contains('?') && url.starts_with(&shown[..8]), "{shown}");
    }

    #[test]
    fn the_path_of_traces_is_appended() {
        check("http://127.0.0.1:4318", "/v1/traces", "127.0.0.1:4318", ("127.0.0.1", 4318));
        check("http://127.0.0.1:4318/", "/v1/traces", "127.0.0.1:4318", ("127.0.0.1", 4318));
        check("http://collector/a", "/a/v1/traces", "collector", ("collector", 80));
        check("https://example.com/a/b/?c=d#e", "/a/b/v1/traces?c=d", "example.com", ("example.com", 443));
        check("https://[::1]:4318/", "/v1/traces", "[::1]:4318", ("::1", 4318));
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
