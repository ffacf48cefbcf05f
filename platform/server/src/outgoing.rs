//! Somebody outside whom the supervisor posts to: HTTP/1.1, on a connection that may be kept.
//!
//! Inside TLS, the public authorities are trusted. It deliberately follows no redirection, does not compress, and bounds no time:
//! who posts does. What always holds: an answer is read within a bound.

use anyhow::Context;
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

/// Who posts, as others are told.
pub(crate) const AGENT: &str = concat!("skiff/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A connection that posts can be made on.
pub(crate) type Requests = SendRequest<Full<Bytes>>;
pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// Where somebody is.
pub(crate) struct Destination {
    url: Url,
    /// Its host without brackets, and its port.
    address: (String, u16),
    /// As its header says it.
    host: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Destination {
    /// Who is at a URL of HTTP or HTTPS.
    ///
    /// # Errors
    /// If nobody can be connected to there.
    pub(crate) fn new(url: Url, connector: &TlsConnector) -> anyhow::Result<Self> {
        let (address, name) = match url.host().context("it names no host")? {
            Host::Domain(name) => (name.to_owned(), ServerName::try_from(name.to_owned()).ok()),
            Host::Ipv4(address) => (address.to_string(), Some(IpAddr::from(address).into())),
            Host::Ipv6(address) => (address.to_string(), Some(IpAddr::from(address).into())),
        };
        let port = url.port_or_known_default().context("it names no port")?;
        let tls = match url.scheme() {
            "https" => {
                let name = name.context("it names a host that no certificate can be for")?;
                Some((connector.clone(), name))
            }
            _ => None,
        };
        let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])?;
        Ok(Self { url, address: (address, port), host, tls })
    }

    /// Its URL for people: never what is said in a query, which may be a key.
    pub(crate) fn shown(&self) -> &str {
        &self.url[..Position::AfterPath]
    }

    /// What is asked for there.
    pub(crate) fn target(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }

    /// Posts a body, on the connection that was kept if there is one that still stands. Gives the connection back with the answer.
    pub(crate) async fn post(
        &self,
        kept: Option<Requests>,
        headers: HeaderMap,
        body: &Bytes,
    ) -> Result<(Requests, Response<Bytes>), AnyError> {
        let mut requests = match ready(kept).await {
            Some(requests) => requests,
            None => self.connect().await?,
        };
        let mut request = Request::post(self.target()).body(Full::new(body.clone()))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.host.clone());
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

/// A connection that was kept, if the other side has not closed it.
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

/// Speaks TLS to those whom a public authority vouches for.
pub(crate) fn connector() -> TlsConnector {
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

/// An error and what it comes from.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
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

    #[track_caller]
    fn check(url: &str, target: &str, host: &str, address: (&str, u16)) {
        let destination = Destination::new(url.parse().unwrap(), &connector()).unwrap();
        assert_eq!((destination.target(), destination.host.to_str().unwrap()), (target, host));
        assert_eq!((destination.address.0.as_str(), destination.address.1), address);
        assert_eq!(destination.tls.is_some(), url.starts_with("https:"));
        let shown = destination.shown();
        assert!(!shown.contains('?') && url.starts_with(shown.trim_end_matches('/')), "{shown}");
    }

    #[test]
    fn a_url_says_whom_to_connect_to_and_what_to_ask_for() {
        check("http://127.0.0.1:4318", "/", "127.0.0.1:4318", ("127.0.0.1", 4318));
        check("http://hooks/a", "/a", "hooks", ("hooks", 80));
        check("https://example.com/a/b/?c=d#e", "/a/b/?c=d", "example.com", ("example.com", 443));
        check("https://[::1]:4318/", "/", "[::1]:4318", ("::1", 4318));
    }
}
