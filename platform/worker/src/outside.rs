//! The load balancer's way to hosts outside: the kernel's own sockets.
//!
//! A name is resolved as the host's own programs would have it; of its addresses one after the other is tried, each for its
//! share of the time that is left. It deliberately judges nothing else than whether the way leads back to the platform:
//! whoever may write a target group says where it leads.
//!
//! What always holds: there are no more such sockets than places for them, for which `plan::capacity` has descriptors; no
//! name server is asked for a name under `.internal`; nobody is connected to a port of the platform itself, its API or a
//! listener, which would run in circles, or take a client's request for one from the host.

use futures::future::LocalBoxFuture;
use skiff_net::{InternalName, NetError, Resolve};
use skiff_ports::connect::{ConnectError, Connection};
use skiff_types::{Outside, Unresolved};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// The part of a worker's sockets that lead out of it which is kept for these: one in so many.
const SOCKETS_SHARE: usize = 4;
/// How long an attempt may take, with the name's resolution and all of its addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// How many sockets to the outside the load balancer may have, of all that may lead out of the worker.
pub(crate) fn places(sockets_max: usize) -> usize {
    (sockets_max / SOCKETS_SHARE).min(Semaphore::MAX_PERMITS)
}

/// Connects to hosts outside.
pub(crate) struct Outward {
    resolver: Rc<dyn Resolve>,
    places: Arc<Semaphore>,
    is_own: IsOwn,
}

/// Whether the platform itself listens at an address.
type IsOwn = Rc<dyn Fn(SocketAddr) -> bool>;

impl Outward {
    /// Over so many sockets at once; `is_own` says where the platform itself listens.
    pub(crate) fn new(resolver: Rc<dyn Resolve>, places: usize, is_own: IsOwn) -> Self {
        Self { resolver, places: Arc::new(Semaphore::new(places)), is_own }
    }

    pub(crate) fn connect(
        &self,
        to: &Outside,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, ConnectError>> {
        let (resolver, places, to) = (self.resolver.clone(), self.places.clone(), to.clone());
        let is_own = self.is_own.clone();
        Box::pin(async move {
            let place = places.try_acquire_owned().map_err(|_| {
                ConnectError::Failed("this worker has no room for more connections to the outside".to_owned())
            })?;
            let end = Instant::now() + CONNECT_TIMEOUT;
            let found = timeout_at(end, addresses(&*resolver, &to)).await;
            let found = found.unwrap_or(Err(ConnectError::TimedOut))?;
            let (own, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| is_own(*address));
            let opened = open(&others, end).await;
            let socket = opened.map_err(|failure| if own.is_empty() { failure } else { leads_back() })?;
            Ok(Box::new(Outgoing { socket, _place: place }) as Box<dyn Connection>)
        })
    }
}

/// The addresses to try.
async fn addresses(resolver: &dyn Resolve, to: &Outside) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = to.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, to.port)]);
    }
    if InternalName::parse(&to.host) != Ok(None) {
        return Err(ConnectError::Failed("its name is none of a host outside".to_owned()));
    }
    let resolved = resolver.resolve(&to.host).await.map_err(unresolved)?;
    let addresses = resolved.addresses.into_iter().take(ADDRESSES_MAX);
    Ok(addresses.map(|address| SocketAddr::new(address, to.port)).collect())
}

/// What whoever connects is told of what the resolver said.
fn unresolved(error: NetError) -> ConnectError {
    match error {
        NetError::NameUnresolvable => ConnectError::Unresolved(Unresolved::NoSuchName),
        NetError::TemporaryResolverFailure => ConnectError::Unresolved(Unresolved::NoAnswer),
        error => ConnectError::Failed(error.to_string()),
    }
}

/// Why nobody is connected to where an address is the platform's own, and no other one can be connected to: it says more than
/// what went wrong with those.
fn leads_back() -> ConnectError {
    ConnectError::Failed("it leads back to Skiff itself, which listens at that address and port".to_owned())
}

/// Connects to the first address that can be connected to until then; what went wrong with the last, if there is none.
async fn open(addresses: &[SocketAddr], end: Instant) -> Result<TcpStream, ConnectError> {
    let mut failure = ConnectError::Failed("its name leads to no address".to_owned());
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = end.saturating_duration_since(Instant::now()) / left;
        let opened = timeout(share, TcpStream::connect(*address)).await;
        // What is written is to leave at once: it is what a client has sent.
        let opened = opened.map(|socket| socket.and_then(|socket| socket.set_nodelay(true).map(|()| socket)));
        failure = match opened {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => connect_error(&error),
            Err(_) => ConnectError::TimedOut,
        };
    }
    Err(failure)
}

/// What whoever connects is told.
fn connect_error(error: &io::Error) -> ConnectError {
    match error.kind() {
        // Nobody takes connections there at present; another target may.
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable => ConnectError::Refused,
        ErrorKind::TimedOut => ConnectError::TimedOut,
        _ => ConnectError::Failed(error.to_string()),
    }
}

/// A socket to the outside, and its place.
struct Outgoing {
    socket: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Outgoing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

skiff_kit::write_through!([] Outgoing, socket);

impl Connection for Outgoing {
    fn break_off(&mut self) {
        self.socket.break_off();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use skiff_net::Resolved;
    use std::cell::RefCell;
    use std::future::{pending, ready};
    use std::net::TcpListener;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Leads every name to these addresses, or gives no answer ever if there are none, or fails so; and remembers what it was
    /// asked.
    #[derive(Default)]
    struct Names {
        addresses: Vec<IpAddr>,
        failure: Option<NetError>,
        asked: RefCell<Vec<String>>,
    }

    impl Resolve for Names {
        fn resolve(&self, name: &str) -> LocalBoxFuture<'static, Result<Resolved, NetError>> {
            self.asked.borrow_mut().push(name.to_owned());
            if let Some(failure) = self.failure.clone() {
                return ready(Err(failure)).boxed_local();
            }
            let (addresses, valid_for) = (self.addresses.clone(), Duration::from_secs(60));
            match addresses.is_empty() {
                true => pending().boxed_local(),
                false => ready(Ok(Resolved { addresses, valid_for })).boxed_local(),
            }
        }
    }

    fn names(addresses: &[&str]) -> Rc<Names> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Rc::new(Names { addresses, ..Names::default() })
    }

    /// With one place, where the platform listens nowhere.
    fn outward(names: Rc<Names>) -> Outward {
        Outward::new(names, 1, Rc::new(|_| false))
    }

    /// Who listens at a port of this machine's first address, and at none of its others.
    fn listening() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    async fn failure(outward: &Outward, to: &str) -> ConnectError {
        let connected = outward.connect(&to.parse().unwrap()).await;
        connected.err().expect("it is connected")
    }

    #[tokio::test]
    async fn the_addresses_of_a_name_are_tried_one_after_the_other() {
        let (listener, port) = listening();
        let names = names(&["127.0.0.2", "127.0.0.1"]);
        let outward = outward(names.clone());
        let to = format!("example.org:{port}").parse().unwrap();
        let mut ours = outward.connect(&to).await.unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        ours.write_all(b"ping").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).await.unwrap();
        assert_eq!((heard.as_str(), names.asked.take()), ("ping", vec!["example.org".to_owned()]));
        drop(listener);
        drop(ours);
        assert_eq!(failure(&outward, &to.to_string()).await, ConnectError::Refused);
    }

    #[tokio::test]
    async fn an_address_is_not_resolved_and_a_name_of_the_virtual_network_neither() {
        let (listener, port) = listening();
        let names = names(&["127.0.0.1"]);
        let outward = outward(names.clone());
        drop(outward.connect(&format!("127.0.0.1:{port}").parse().unwrap()).await.unwrap());
        drop(listener);
        let refused = failure(&outward, &format!("127.0.0.1:{port}")).await;
        assert_eq!(refused, ConnectError::Refused);
        for name in ["web.default.internal:80", "what.internal:80"] {
            let failed = failure(&outward, name).await;
            assert!(failed.to_string().ends_with("its name is none of a host outside"), "{failed}");
        }
        assert!(names.asked.borrow().is_empty());
    }

    #[tokio::test]
    async fn what_leads_back_to_the_platform_is_not_connected_to() {
        let (own, port) = listening();
        let address = own.local_addr().unwrap();
        let of = |addresses: &[&str]| Outward::new(names(addresses), 1, Rc::new(move |to| to == address));
        for (outward, to) in [
            (of(&["127.0.0.1"]), format!("example.org:{port}")),
            (of(&["127.0.0.1", "127.0.0.1"]), format!("example.org:{port}")),
            (of(&[]), address.to_string()),
            // Nobody listens at the others.
            (of(&["127.0.0.1", "127.0.0.2"]), format!("example.org:{port}")),
            (of(&["127.0.0.2", "127.0.0.1"]), format!("example.org:{port}")),
        ] {
            let failed = failure(&outward, &to).await;
            assert!(failed.to_string().contains("it leads back to Skiff itself"), "{failed}");
        }
        own.set_nonblocking(true).unwrap();
        assert_eq!(own.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came");
        // Who else has the name is connected to, and so is who else is on the host.
        let _beside = TcpListener::bind(("127.0.0.2", port)).unwrap();
        let both = of(&["127.0.0.1", "127.0.0.2"]);
        let to_both = both.connect(&format!("example.org:{port}").parse().unwrap()).await;
        drop(to_both.unwrap());
        let (_listener, other) = listening();
        of(&["127.0.0.1"]).connect(&format!("example.org:{other}").parse().unwrap()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_answer_is_given_up() {
        let (outward, began) = (outward(names(&[])), Instant::now());
        assert_eq!(failure(&outward, "example.org:80").await, ConnectError::TimedOut);
        assert_eq!(began.elapsed().as_secs(), CONNECT_TIMEOUT.as_secs());
    }

    #[tokio::test]
    async fn it_is_told_what_came_of_resolving_a_name() {
        for (said, expected) in [
            (NetError::NameUnresolvable, Unresolved::NoSuchName),
            (NetError::TemporaryResolverFailure, Unresolved::NoAnswer),
        ] {
            let names = Rc::new(Names { failure: Some(said), ..Names::default() });
            let failed = failure(&outward(names), "example.org:80").await;
            assert_eq!(failed, ConnectError::Unresolved(expected));
        }
    }

    #[tokio::test]
    async fn a_connection_has_its_place_until_it_is_dropped() {
        let (_listener, port) = listening();
        let outward = outward(names(&[]));
        let to = format!("127.0.0.1:{port}");
        let first = outward.connect(&to.parse().unwrap()).await.unwrap();
        let full = failure(&outward, &to).await;
        assert!(full.to_string().ends_with("no room for more connections to the outside"), "{full}");
        drop(first);
        outward.connect(&to.parse().unwrap()).await.unwrap();
    }
}
