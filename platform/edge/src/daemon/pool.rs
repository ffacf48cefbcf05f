//! The connections to one target: those that wait for a request, and counts of the requests it has, and of the connections
//! that are being opened.
//!
//! It does not open connections, and bounds only those that wait; a request that finds none has one of its own. What
//! always holds: a connection that waits for longer than its timeout is never used, and none waits for a target that has
//! left its group.

use crate::config::Limits;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Parts, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use skiff_kit::clock::monotonic_ns;
use skiff_ports::body::Body;
use skiff_ports::connect::{Connection, Destination};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;

type Io = TokioIo<Box<dyn Connection>>;

/// A connection to a target on which HTTP is spoken. It ends when it is dropped.
pub(crate) struct Link {
    sender: SendRequest<Body>,
    driver: JoinHandle<hyper::Result<Parts<Io>>>,
}

impl Link {
    /// Begins to speak HTTP. Must be called in a `LocalSet`.
    pub(crate) async fn begin(http: &Builder, socket: Box<dyn Connection>) -> hyper::Result<Self> {
        let (sender, connection) = http.handshake(TokioIo::new(socket)).await?;
        Ok(Self { sender, driver: tokio::task::spawn_local(connection.without_shutdown()) })
    }

    /// Asks. The error holds the request if nothing of it was sent.
    pub(crate) fn ask(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        self.sender.try_send_request(request)
    }

    /// What is left once the target has agreed to another protocol: the connection, and what was read of it.
    pub(crate) async fn into_parts(mut self) -> Option<(Box<dyn Connection>, Bytes)> {
        let Parts { io, read_buf, .. } = (&mut self.driver).await.ok()?.ok()?;
        Some((io.into_inner(), read_buf))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The connections to one target. Lives on one thread.
pub(crate) struct Pool {
    destination: Destination,
    /// Those that wait, the one that has waited longest first.
    idle: RefCell<Vec<Idle>>,
    requests: Cell<u64>,
    opening: Cell<u64>,
    closed: Cell<bool>,
    expires: Cell<bool>,
}

struct Idle {
    link: Link,
    since_ns: u64,
}

impl Pool {
    /// No connection yet to who is there.
    pub(crate) fn new(destination: Destination) -> Self {
        let (idle, requests, opening, closed, expires) = Default::default();
        Self { destination, idle, requests, opening, closed, expires }
    }

    /// Where the target is.
    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Requests that it has from this worker.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Connections that this worker is opening to it; nobody else knows of them yet.
    pub(crate) fn opening(&self) -> u64 {
        self.opening.get()
    }

    /// Another is being opened, until this is dropped.
    pub(crate) fn opens(&self) -> Opening<'_> {
        self.opening.set(self.opening.get() + 1);
        Opening(&self.opening)
    }

    /// Connections that wait for a request.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// The target has left: no connection is kept for it from here on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        drop(self.idle.take());
    }

    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// A connection that has waited, the shortest if there are several.
    pub(crate) fn take(&self, limits: &Limits) -> Option<Link> {
        let now_ns = monotonic_ns();
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.pop() {
            if candidate.link.sender.is_ready() && !candidate.is_old(now_ns, limits.target_idle_timeout) {
                return Some(candidate.link);
            }
        }
        None
    }

    fn put(self: &Rc<Self>, link: Link, limits: &Limits) {
        let mut idle = self.idle.borrow_mut();
        if self.closed.get() || link.sender.is_closed() || idle.len() >= limits.target_idle_connections_max {
            return;
        }
        idle.push(Idle { link, since_ns: monotonic_ns() });
        if !self.expires.replace(true) {
            tokio::task::spawn_local(expire(Rc::downgrade(self), limits.target_idle_timeout));
        }
    }

    /// Drops those that have waited too long, or have ended; says whether any are left.
    fn drop_old(&self, timeout: Duration) -> bool {
        let now_ns = monotonic_ns();
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.is_old(now_ns, timeout) && !idle.link.sender.is_closed());
        !idle.is_empty()
    }
}

/// A connection that is being opened.
pub(crate) struct Opening<'a>(&'a Cell<u64>);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Idle {
    fn is_old(&self, now_ns: u64, timeout: Duration) -> bool {
        u128::from(now_ns.saturating_sub(self.since_ns)) >= timeout.as_nanos()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("destination", &self.destination).finish_non_exhaustive()
    }
}

async fn expire(pool: Weak<Pool>, timeout: Duration) {
    /// Looks in the time that one connection may wait.
    const LOOKS: u32 = 4;
    loop {
        tokio::time::sleep(timeout / LOOKS).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.drop_old(timeout) {
            pool.expires.set(false);
            return;
        }
    }
}

/// One request that a target has, or a connection without HTTP to one that is in no ledger: counts among its requests until
/// it is dropped, and holds the connection it came on.
pub(crate) struct Turn {
    pool: Rc<Pool>,
    link: Option<Link>,
    /// Whether another request may come on it.
    may_wait: bool,
}

impl Turn {
    pub(crate) fn begin(pool: Rc<Pool>) -> Self {
        pool.requests.set(pool.requests.get() + 1);
        Self { pool, link: None, may_wait: false }
    }

    /// The answer comes on this connection, which ends with the turn unless it may wait and is kept.
    pub(crate) fn answered_on(&mut self, link: Link, may_wait: bool) {
        (self.link, self.may_wait) = (Some(link), may_wait);
    }

    /// Request and answer are over: the connection waits for the next, if it may.
    pub(crate) fn keep(mut self, limits: &Limits) {
        if let Some(link) = self.link.take_if(|_| self.may_wait) {
            self.pool.put(link, limits);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pool.requests.set(self.pool.requests.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::service::service_fn;
    use skiff_ports::body;

    fn run(test: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test());
    }

    /// A connection to a target that answers everything.
    async fn link() -> Link {
        let (near, far) = tokio::io::duplex(4096);
        let answer = |_: Request<Incoming>| async { Ok::<_, hyper::Error>(Response::new(body::empty())) };
        let http = hyper::server::conn::http1::Builder::new();
        tokio::task::spawn_local(http.serve_connection(TokioIo::new(far), service_fn(answer)));
        let mut link = Link::begin(&Builder::new(), Box::new(near)).await.unwrap();
        link.sender.ready().await.unwrap();
        link
    }

    fn pool() -> Rc<Pool> {
        Rc::new(Pool::new(Destination::Outside("example.org:80".parse().unwrap())))
    }

    fn keep(pool: &Rc<Pool>, link: Link, limits: &Limits) {
        let mut turn = Turn::begin(pool.clone());
        assert_eq!(pool.requests(), 1);
        turn.answered_on(link, true);
        turn.keep(limits);
        assert_eq!(pool.requests(), 0);
    }

    #[test]
    fn connections_that_wait_are_bounded_in_number_and_time() {
        run(async || {
            let timeout = Duration::from_millis(20);
            let limits =
                Limits { target_idle_connections_max: 2, target_idle_timeout: timeout, ..Limits::default() };
            let pool = pool();
            for _ in 0..3 {
                keep(&pool, link().await, &limits);
            }
            assert_eq!(pool.idle(), 2);
            while pool.idle() > 0 {
                tokio::task::yield_now().await;
            }
            let gone = Limits { target_idle_timeout: Duration::ZERO, ..limits };
            let link = link().await;
            pool.idle.borrow_mut().push(Idle { link, since_ns: monotonic_ns() });
            assert!(pool.take(&gone).is_none(), "it is too old although nobody has looked yet");
        });
    }

    #[test]
    fn a_connection_that_has_ended_is_not_given_out() {
        run(async || {
            let (pool, limits) = (pool(), Limits::default());
            keep(&pool, link().await, &limits);
            let ended = link().await;
            ended.driver.abort();
            keep(&pool, ended, &limits);
            while pool.idle.borrow().iter().all(|idle| !idle.link.sender.is_closed()) {
                tokio::task::yield_now().await;
            }
            assert!(pool.take(&limits).is_some_and(|link| link.sender.is_ready()));
            assert!(pool.take(&limits).is_none());
        });
    }

    #[test]
    fn nothing_waits_for_a_target_that_has_left() {
        run(async || {
            let (pool, limits) = (pool(), Limits::default());
            keep(&pool, link().await, &limits);
            let late = link().await;
            pool.close();
            assert_eq!(pool.idle(), 0);
            keep(&pool, late, &limits);
            assert_eq!(pool.idle(), 0);
        });
    }
}
