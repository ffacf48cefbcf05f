//! One task's HTTP client: for hosts outside, and for whatever listens on a port of another task.
//!
//! Connections are streams of the task's own network interface, so that what may be reached, how often and how fast, and what is
//! written down of it is the same as for sockets. They are kept for requests to come, in HTTP/2 shared by them (hyper-util's
//! client does that), and no two tasks share any. A connection that the rules do not allow any more is cut by `net`.
//!
//! What always holds: a name is looked up and the address that it leads to is judged and connected to in one go, so that no
//! second answer of a name server gets around the rules; what a task has of connections, and what is held for each, is bounded
//! and counted as its memory; and the CPU time of its connections, TLS included, is charged to it.

use crate::context::Shared;
use crate::http::answer::{FetchedBody, Taken};
use crate::http::timeouts::Timeouts;
use crate::http::wire::{Carrier, Place, Wire};
use crate::http::{charged, errors, headers, tls};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::rt::Executor;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use send_wrapper::SendWrapper;
use skiff_ledger::MemoryClaim;
use skiff_net::{Duplex, NetError, Stream};
use skiff_sandbox::Guest;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

/// Connections that a task may have in a worker. One more waits until another has ended.
const CONNECTIONS_MAX: usize = 256;
/// What one takes of the task's memory, in bytes: the buffers of HTTP and TLS in both directions.
const CONNECTION_BYTES: u64 = 128 << 10;
/// Connections that may wait for requests to come.
const IDLE_MAX: usize = 32;
/// How long they do: less than servers usually keep them (5 s in Node.js and Apache), so that few requests meet a connection
/// that its server is just closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes that the head of an answer may have.
pub(crate) const HEADER_BYTES_MAX: usize = 64 << 10;
/// Bytes of HTTP/2 that may wait to be read by a guest: of one answer, and of a connection.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes of HTTP/2 that may wait to be sent, of one request.
const SEND_BUFFER_BYTES: u32 = 16 << 10;
/// What one request of HTTP/2 takes of the task's memory, in bytes: what may wait of it and of its answer.
const EXCHANGE_BYTES: u64 = (STREAM_WINDOW_BYTES + SEND_BUFFER_BYTES) as u64;
/// Addresses of a name that are tried, one after the other.
const ADDRESSES_MAX: usize = 8;
/// How long one of them is tried while there is another.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

/// A task's client. Lives on one thread, in a `LocalSet`.
pub(crate) struct Outside {
    connector: Connector,
    client: RefCell<Client<Connector, WasiBody>>,
    /// Held by each request until the last byte of its answer.
    active: Arc<()>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The network gave none.
    #[error(transparent)]
    Net(#[from] NetError),
    /// TLS failed.
    #[error("TLS failed")]
    Tls(#[source] io::Error),
    /// The host can't be in a certificate.
    #[error("a certificate can't be for this host")]
    NoServerName,
    /// The task's memory limit leaves no room for it.
    #[error("the task is out of memory")]
    OutOfMemory,
}

impl Outside {
    pub(crate) fn new(guest: &Guest, shared: &Rc<Shared>, tls: &ClientConfig) -> Self {
        let connector = Connector(SendWrapper::new(Rc::new(Means {
            guest: guest.clone(),
            shared: shared.clone(),
            tls: tls::of_task(tls),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        })));
        Self { client: RefCell::new(connector.client()), connector, active: Arc::default() }
    }

    /// Sends a request whose target is in absolute form, to whomever that names.
    pub(crate) async fn send(
        &self,
        mut request: Request<WasiBody>,
        timeouts: &Timeouts,
    ) -> Result<Response<WasiBody>, Error> {
        let (active, claim) = (self.active.clone(), self.claim(request.uri())?);
        let mut connection = capture_connection(&mut request);
        let mut answer = self.client().request(request);
        let at_once = tokio::select! {
            biased;
            answer = &mut answer => Some(answer),
            connected = timeout(timeouts.connect(), connection.wait_for_connection_metadata()) => {
                if connected.is_err() {
                    return Err(self.not_connected());
                }
                None
            }
        };
        let answer = match at_once {
            Some(answer) => answer,
            None => timeout(timeouts.first_byte(), answer).await.map_err(|_| Error::ConnectionReadTimeout)?,
        };
        let answer = answer.map_err(|error| errors::of_client(&error))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::HttpUpgradeFailed);
        }
        // The client's own bound counts what it reads at a time.
        if headers::bytes(answer.headers()) > HEADER_BYTES_MAX {
            return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(HEADER_BYTES_MAX).ok()));
        }
        let taken = Taken { _active: active, _claim: claim.filter(|_| answer.version() == Version::HTTP_2) };
        Ok(answer.map(|body| FetchedBody::new(body, timeouts.between_bytes(), taken).boxed_unsync()))
    }

    /// Claims what an exchange takes beyond its connection, if it may come to share one: HTTP/2 is spoken over TLS alone.
    fn claim(&self, uri: &Uri) -> Result<Option<MemoryClaim>, Error> {
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Ok(None);
        }
        let mut claim = self.connector.0.guest.claim();
        match claim.grow(EXCHANGE_BYTES) {
            true => Ok(Some(claim)),
            false => Err(errors::of_net(&NetError::OutOfMemory)),
        }
    }

    /// The client, without the connections that wait in it if there are too many or their places are needed: those are closed
    /// with the last that knows of them.
    fn client(&self) -> Client<Connector, WasiBody> {
        let open = CONNECTIONS_MAX - self.connector.0.places.available_permits();
        let active = Arc::strong_count(&self.active) - 1;
        let mut client = self.client.borrow_mut();
        if open == CONNECTIONS_MAX || open.saturating_sub(active) > IDLE_MAX {
            *client = self.connector.client();
        }
        client.clone()
    }

    fn not_connected(&self) -> Error {
        match self.connector.0.places.available_permits() {
            0 => Error::ConnectionLimitReached,
            _ => Error::ConnectionTimeout,
        }
    }
}

/// Opens connections for a task's client.
#[derive(Clone)]
struct Connector(SendWrapper<Rc<Means>>);

/// What connections are opened with.
struct Means {
    guest: Guest,
    shared: Rc<Shared>,
    tls: Arc<ClientConfig>,
    places: Arc<Semaphore>,
}

impl Connector {
    /// A client without any connection.
    fn client(&self) -> Client<Self, WasiBody> {
        Client::builder(Beside(self.0.guest.clone()))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_buf_size(HEADER_BYTES_MAX)
            .http2_max_header_list_size(HEADER_BYTES_MAX as u32)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_send_buf_size(SEND_BUFFER_BYTES as usize)
            .build(self.clone())
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<Wire>, ConnectError>> + Send>>;

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let means: Rc<Means> = (*self.0).clone();
        Box::pin(SendWrapper::new(async move { means.connect(&uri).await.map(TokioIo::new) }))
    }
}

impl Means {
    async fn connect(&self, uri: &Uri) -> Result<Wire, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let (name, port) = match uri.scheme() == Some(&Scheme::HTTPS) {
            true => (Some(tls::server_name(host).ok_or(ConnectError::NoServerName)?), 443),
            false => (None, 80),
        };
        let mut place = self.place().await?;
        let opened = self.open(host, uri.port_u16().unwrap_or(port)).await;
        let opened = opened.inspect_err(|error| self.shared.note_denied(&self.guest, error));
        let stream = Duplex::new(opened?);
        let carrier = match name {
            None => Carrier::Plain(stream),
            Some(name) => {
                let tls = tls::connect(self.tls.clone(), name, stream).await;
                Carrier::Tls(Box::new(tls.map_err(ConnectError::Tls)?))
            }
        };
        if carrier.speaks_http2() && !place.claim.grow(CONNECTION_WINDOW_BYTES.into()) {
            return Err(ConnectError::OutOfMemory);
        }
        Ok(Wire::new(carrier, place))
    }

    /// Waits for a place among the task's connections. Who asks bounds how long.
    async fn place(&self) -> Result<Place, ConnectError> {
        let permit = self.places.clone().acquire_owned().await.map_err(|_| NetError::Closed)?;
        let mut claim = self.guest.claim();
        match claim.grow(CONNECTION_BYTES) {
            true => Ok(Place { _permit: permit, claim }),
            false => Err(ConnectError::OutOfMemory),
        }
    }

    /// Looks a host up and connects to the first of its addresses that can be had. What is told of a failure is the first that
    /// was not a denial, if there is such.
    async fn open(&self, host: &str, port: u16) -> Result<Stream, NetError> {
        let interface = self.shared.network.interface(self.guest.task()).ok_or(NetError::Closed)?;
        let addresses = interface.resolve(host).await?;
        let count = addresses.len().min(ADDRESSES_MAX);
        let mut failure = None;
        for (index, address) in addresses.into_iter().take(count).enumerate() {
            let opening = interface.connect(None, SocketAddr::new(address, port));
            let is_last = index + 1 == count;
            let opened = match is_last {
                true => opening.await,
                false => timeout(ADDRESS_PATIENCE, opening).await.unwrap_or(Err(NetError::TimedOut)),
            };
            match opened {
                Ok(stream) => return Ok(stream),
                Err(error) if matches!(failure, None | Some(NetError::Denied(_))) => failure = Some(error),
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or(NetError::NameUnresolvable))
    }
}

/// Runs what a task's client does beside its requests, on the worker's thread.
#[derive(Clone)]
struct Beside(Guest);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Executor<Work> for Beside {
    fn execute(&self, work: Work) {
        tokio::task::spawn_local(charged(self.0.clone(), work));
    }
}
