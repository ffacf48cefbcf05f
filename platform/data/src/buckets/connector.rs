//! How `object_store` speaks to another's store: HTTP/1.1 over hyper and rustls, as everything here does.
//!
//! It trusts the public authorities, follows no redirection, and uses no proxy; without TLS it connects only where the options say
//! `allow_http`. Whether a request is tried again is `object_store`'s to say. What always holds: connecting, waiting for an answer's
//! head, and waiting for the next bytes of its body are each bounded.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Uri;
use http::header::{HeaderValue, USER_AGENT};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer's head may take, its request's body included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the next bytes of an answer may take.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection is kept that nobody uses.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that are kept though nobody uses them.
const POOL_IDLE_MAX: usize = 32;
/// Who asks, as others are told.
const AGENT: &str = concat!("skiff/", env!("CARGO_PKG_VERSION"));

/// Makes the clients that backends ask by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let may_be_plain = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let opener = Opener { tls: tls(), may_be_plain };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .build(opener);
        Ok(HttpClient::new(Service { client }))
    }
}

fn tls() -> TlsConnector {
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

/// One backend's client, with its connections.
#[derive(Debug)]
struct Service {
    client: Client<Opener, HttpRequestBody>,
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        let answer = match timeout(ANSWER_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            // What was refused or cut is tried again.
            Ok(Err(error)) if error.is_connect() => {
                return Err(HttpError::new(HttpErrorKind::Connect, error));
            }
            Ok(Err(error)) => return Err(HttpError::new(HttpErrorKind::Interrupted, error)),
            Err(late) => return Err(HttpError::new(HttpErrorKind::Timeout, late)),
        };
        let (head, body) = answer.into_parts();
        let late = Box::pin(sleep(BODY_IDLE_TIMEOUT));
        Ok(HttpResponse::from_parts(
            head,
            HttpResponseBody::new(AnswerBody { body, late, is_awaited: false }),
        ))
    }
}

/// An answer's body, whose bytes must keep coming while they are waited for.
struct AnswerBody {
    body: Incoming,
    late: Pin<Box<Sleep>>,
    /// Whether `late` counts: who takes long with the bytes that came has its time.
    is_awaited: bool,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.is_awaited = false;
            let interrupted = |error| HttpError::new(HttpErrorKind::Interrupted, error);
            return Poll::Ready(frame.map(|frame| frame.map_err(interrupted)));
        }
        if !self.is_awaited {
            self.is_awaited = true;
            self.late.as_mut().reset(Instant::now() + BODY_IDLE_TIMEOUT);
        }
        self.late.as_mut().poll(cx).map(|()| {
            let late = io::Error::new(io::ErrorKind::TimedOut, "no more bytes of the answer came");
            Some(Err(HttpError::new(HttpErrorKind::Timeout, late)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Opens connections.
#[derive(Clone)]
struct Opener {
    tls: TlsConnector,
    may_be_plain: bool,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("may_be_plain", &self.may_be_plain).finish_non_exhaustive()
    }
}

impl tower_service::Service<Uri> for Opener {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Wire>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let opener = self.clone();
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the connection was not made in time");
            timeout(CONNECT_TIMEOUT, opener.open(to)).await.map_err(late)?.map(TokioIo::new)
        })
    }
}

impl Opener {
    async fn open(&self, to: Uri) -> io::Result<Wire> {
        let refused = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let is_tls = to.scheme_str() == Some("https");
        if !is_tls && !self.may_be_plain {
            return Err(refused("the store is not asked without TLS: say https, or the option allow_http"));
        }
        let host = to.host().ok_or_else(|| refused("the store's address names no host"))?;
        // An address of IPv6 stands in brackets in a URL, and nowhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = to.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if !is_tls {
            return Ok(Wire::Plain(stream));
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| refused("no certificate can be for the host of the store's address"))?;
        Ok(Wire::Tls(Box::new(self.tls.connect(name, stream).await?)))
    }
}

/// A connection.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
