//! The connections to one target: those of HTTP/1.1 that wait for a request, those of HTTP/2 that requests share, and counts
//! of the requests it has, and of the connections that are being opened.
//!
//! It does not open connections, and bounds only those that wait; a request that finds none has one of its own, or of
//! HTTP/2 the next that is opened. What always holds: a connection that waits for longer than its timeout is never used,
//! and none waits for a target that has left its group. What is under way to such a one goes on, for as long as it is told.

use super::http2::Coming;
use super::link::Link;
use super::shared::{Shared, Stream};
use super::speaks::Speaks;
use super::under_way::{Driven, UnderWay};
use crate::config::Limits;
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::TaskSlot;
use skiff_ports::connect::Destination;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Why what a target had was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the target has left its group, and had its time for what it had")]
pub(crate) struct Left;

/// The connections to one target. Lives on one thread.
pub(crate) struct Pool {
    destination: Destination,
    speaks: Speaks,
    /// Those of HTTP/1.1 that wait, the one that has waited longest first.
    idle: RefCell<Vec<Idle>>,
    /// Those of HTTP/2.
    shared: RefCell<Vec<Rc<Shared>>>,
    /// The next of these, while it is being opened.
    coming: RefCell<Option<Rc<Coming>>>,
    requests: Cell<u64>,
    opening: Cell<u64>,
    /// A task, whose requests all workers count in its slot; and which worker this is.
    counted_at: RefCell<Option<(TaskSlot, usize)>>,
    under_way: UnderWay,
    closed: Cell<bool>,
    expires: Cell<bool>,
}

struct Idle {
    link: Link,
    since_ns: u64,
}

impl Pool {
    /// No connection yet to who is there.
    pub(crate) fn new(destination: Destination, speaks: Speaks) -> Self {
        Self {
            destination,
            speaks,
            idle: RefCell::default(),
            shared: RefCell::default(),
            coming: RefCell::default(),
            requests: Cell::default(),
            opening: Cell::default(),
            counted_at: RefCell::default(),
            under_way: UnderWay::default(),
            closed: Cell::default(),
            expires: Cell::default(),
        }
    }

    /// Where the target is.
    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// What it speaks.
    pub(crate) fn speaks(&self) -> Speaks {
        self.speaks
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

    /// Connections that wait for a request, or are shared.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.idle.borrow().len() + self.shared.borrow().len()
    }

    /// Requests to it are counted in the slot of this task, until it leaves.
    pub(crate) fn count_at(&self, slot: &TaskSlot, worker: usize) {
        self.counted_at.borrow_mut().get_or_insert_with(|| (slot.clone(), worker));
    }

    /// The target has left: no connection is kept for it from here on, and what it still has counts no more, since its slot
    /// may be another's soon.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        drop(self.idle.take());
        drop(self.shared.take());
        let requests = self.requests.get();
        if let Some((slot, worker)) = self.counted_at.take().filter(|_| requests > 0) {
            slot.row(worker).balanced.subtract(requests);
        }
    }

    /// The target has left, and what it has is cut after this time. To be called in a `LocalSet` if it has anything.
    pub(crate) fn deregister(self: &Rc<Self>, delay: Duration) {
        let was_closed = self.closed.get();
        self.close();
        if !was_closed && self.requests.get() + self.opening.get() > 0 {
            let pool = Rc::downgrade(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(delay).await;
                if let Some(pool) = pool.upgrade() {
                    pool.under_way.cut();
                }
            });
        }
    }

    /// Whether the target has left.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether it has, and what it still had was cut.
    pub(crate) fn was_cut(&self) -> bool {
        self.under_way.was_cut()
    }

    /// A connection to it on which HTTP is spoken.
    pub(super) fn has_under_way(&self, driven: Driven) {
        self.under_way.add(driven);
    }

    /// Runs `future` to its end, unless the target that it is about leaves and has had its time for what it has.
    pub(crate) async fn unless_left<F: Future>(target: Option<&Self>, future: F) -> Result<F::Output, Left> {
        let Some(target) = target else { return Ok(future.await) };
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = target.under_way.is_cut() => Err(Left),
        }
    }

    fn count(&self, more: bool) {
        let (requests, counted_at) = (self.requests.get(), self.counted_at.borrow());
        self.requests.set(if more { requests + 1 } else { requests - 1 });
        if let Some((slot, worker)) = &*counted_at {
            let balanced = &slot.row(*worker).balanced;
            if more { balanced.add(1) } else { balanced.subtract(1) }
        }
    }

    /// A connection that has waited, the shortest if there are several.
    pub(crate) fn take(&self, limits: &Limits) -> Option<Link> {
        let now_ns = monotonic_ns();
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.pop() {
            if candidate.link.is_ready() && !candidate.is_old(now_ns, limits.target_idle_timeout) {
                return Some(candidate.link);
            }
        }
        None
    }

    fn put(self: &Rc<Self>, link: Link, limits: &Limits) {
        let mut idle = self.idle.borrow_mut();
        if self.closed.get() || link.is_closed() || idle.len() >= limits.target_idle_connections_max {
            return;
        }
        idle.push(Idle { link, since_ns: monotonic_ns() });
        drop(idle);
        self.expire_after(limits.target_idle_timeout);
    }

    /// A place on a connection of HTTP/2, if one has room: the first, so that those beyond what is needed come to wait.
    pub(super) fn stream(&self, limits: &Limits) -> Option<Stream> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| !shared.is_closed());
        shared.iter().find_map(|shared| shared.stream(limits))
    }

    /// Keeps a connection of HTTP/2 for requests to come.
    pub(super) fn share(self: &Rc<Self>, shared: Rc<Shared>, limits: &Limits) {
        if !self.closed.get() {
            self.shared.borrow_mut().push(shared);
            self.expire_after(limits.target_http2_idle_timeout);
        }
    }

    /// The connection of HTTP/2 that is being opened, if there is one.
    pub(super) fn coming(&self) -> Option<Rc<Coming>> {
        self.coming.borrow().clone()
    }

    /// Such a connection is being opened, or none any more.
    pub(super) fn expects(&self, coming: Option<Rc<Coming>>) {
        *self.coming.borrow_mut() = coming;
    }

    /// Has those dropped in time that wait for longer than this.
    fn expire_after(self: &Rc<Self>, timeout: Duration) {
        if !self.expires.replace(true) {
            tokio::task::spawn_local(expire(Rc::downgrade(self), timeout));
        }
    }

    /// Drops those that have waited too long, or have ended; says whether any are left.
    fn drop_old(&self, timeout: Duration) -> bool {
        let now_ns = monotonic_ns();
        let (mut idle, mut shared) = (self.idle.borrow_mut(), self.shared.borrow_mut());
        idle.retain(|idle| !idle.is_old(now_ns, timeout) && !idle.link.is_closed());
        shared.retain(|shared| !shared.is_old(now_ns, timeout) && !shared.is_closed());
        !idle.is_empty() || !shared.is_empty()
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
/// it is dropped, and holds what its answer comes on.
pub(crate) struct Turn {
    pool: Rc<Pool>,
    /// A connection, and whether another request may come on it.
    link: Option<(Link, bool)>,
    /// A place on one that is shared.
    _stream: Option<Stream>,
}

impl Turn {
    pub(crate) fn begin(pool: Rc<Pool>) -> Self {
        pool.count(true);
        Self { pool, link: None, _stream: None }
    }

    /// The answer comes on this connection, which ends with the turn unless it may wait and is kept.
    pub(crate) fn answered_on(&mut self, link: Link, may_wait: bool) {
        self.link = Some((link, may_wait));
    }

    /// The answer comes on this stream, which ends with the turn; its connection does not.
    pub(super) fn answered_in(&mut self, stream: Stream) {
        self._stream = Some(stream);
    }

    /// The connections to the target.
    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Request and answer are over: the connection waits for the next, if it may.
    pub(crate) fn keep(mut self, limits: &Limits) {
        if let Some((link, true)) = self.link.take() {
            self.pool.put(link, limits);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pool.count(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::run;
    use crate::serving::LocalExecutor;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use skiff_ports::body;
    use skiff_types::TargetProtocol;

    async fn answer(_: Request<Incoming>) -> Result<Response<body::Body>, hyper::Error> {
        Ok(Response::new(body::empty()))
    }

    /// A connection to a target that answers everything.
    async fn link() -> Link {
        let (near, far) = tokio::io::duplex(4096);
        let http = hyper::server::conn::http1::Builder::new();
        tokio::task::spawn_local(http.serve_connection(TokioIo::new(far), service_fn(answer)));
        let http = hyper::client::conn::http1::Builder::new();
        let mut link = Link::begin(&http, Box::new(near)).await.unwrap();
        link.ready().await;
        link
    }

    /// The same by HTTP/2.
    async fn shared() -> Rc<Shared> {
        let (near, far) = tokio::io::duplex(4096);
        let http = hyper::server::conn::http2::Builder::new(LocalExecutor);
        tokio::task::spawn_local(http.serve_connection(TokioIo::new(far), service_fn(answer)));
        let http = hyper::client::conn::http2::Builder::new(LocalExecutor);
        Shared::begin(&http, Box::new(near)).await.unwrap()
    }

    fn pool(protocol: TargetProtocol) -> Rc<Pool> {
        let destination = Destination::Outside("example.org:80".parse().unwrap());
        Rc::new(Pool::new(destination, Speaks { protocol, tls: false }))
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
            let pool = pool(TargetProtocol::Http1);
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
            let (pool, limits) = (pool(TargetProtocol::Http1), Limits::default());
            keep(&pool, link().await, &limits);
            let ended = link().await;
            ended.end();
            keep(&pool, ended, &limits);
            while pool.idle.borrow().iter().all(|idle| !idle.link.is_closed()) {
                tokio::task::yield_now().await;
            }
            assert!(pool.take(&limits).is_some_and(|link| link.is_ready()));
            assert!(pool.take(&limits).is_none());
        });
    }

    #[test]
    fn nothing_waits_for_a_target_that_has_left() {
        run(async || {
            let (pool, limits) = (pool(TargetProtocol::Http1), Limits::default());
            keep(&pool, link().await, &limits);
            pool.share(shared().await, &limits);
            assert_eq!(pool.idle(), 2);
            let (late, late_shared) = (link().await, shared().await);
            pool.close();
            assert_eq!(pool.idle(), 0);
            keep(&pool, late, &limits);
            pool.share(late_shared, &limits);
            assert_eq!(pool.idle(), 0);
        });
    }

    #[test]
    fn a_connection_is_shared_until_it_is_full_and_goes_when_nobody_needs_it() {
        run(async || {
            let limits = Limits {
                target_http2_streams_max: 2,
                target_http2_idle_timeout: Duration::from_millis(20),
                ..Limits::default()
            };
            let pool = pool(TargetProtocol::Http2);
            assert!(pool.stream(&limits).is_none(), "there is none yet");
            pool.share(shared().await, &limits);
            let mut turn = Turn::begin(pool.clone());
            turn.answered_in(pool.stream(&limits).unwrap());
            let second = pool.stream(&limits).unwrap();
            assert!(pool.stream(&limits).is_none(), "it is full");
            drop(second);
            turn.keep(&limits);
            assert!(pool.stream(&limits).is_some());
            while pool.idle() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}
