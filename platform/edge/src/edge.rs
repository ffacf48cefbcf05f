//! The edge itself: holds the routing table, the listeners and the target groups, serves connections, watches over them,
//! drains.

use crate::accept::Peers;
use crate::access_log::{AccessLog, Line};
use crate::balance::Groups;
use crate::chance::Chance;
use crate::checks::Checks;
use crate::config::{Config, Limits};
use crate::connection::{Connection, Cut, Order, Verdict};
use crate::daemon::{self, Trust};
use crate::door::Form;
use crate::group::Group;
use crate::headers::RequestIds;
use crate::listener::{Listener, Listeners};
use crate::meters::Meters;
use crate::outbox::Outbox;
use crate::relay::Space;
use crate::routing::Table;
use crate::serving::{Http, Open, Spoken};
use crate::share::Share;
use crate::shed::Shed;
use crate::span::Spans;
use crate::sticky::Cookies;
use crate::tls::{self, Tls};
use crate::waiting::Waiting;
use rustls::RootCertStore;
use skiff_kit::Drain;
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::{Ledger, WorkerRow};
use skiff_ports::connect::Connect;
use skiff_ports::invoke::Invoke;
use skiff_ports::snapshot::Route;
use skiff_ports::spans::{SampleShare, SpanSink};
use skiff_types::QualifiedName;
use std::cell::{Cell, OnceCell, Ref, RefCell, RefMut};
use std::error::Error;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long a drain waits for connections to end that it has cut off.
const CUT_GRACE: Duration = Duration::from_millis(100);

/// Why an edge could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The access log.
    #[error("the access log can't be written")]
    AccessLog(#[source] std::io::Error),
}

/// What the edge works with.
pub struct Deps {
    /// Calls `http` tasks.
    pub invoke: Rc<dyn Invoke>,
    /// Connects to daemons, and to the outside.
    pub connect: Rc<dyn Connect>,
    /// Where requests are accounted for, and which task has how many.
    pub ledger: Ledger,
}

/// One worker's load balancer. See the crate.
pub struct Edge {
    config: Config,
    deps: Deps,
    table: RefCell<Table>,
    groups: RefCell<Groups>,
    listeners: Listeners,
    checks: Checks,
    meters: RefCell<Meters>,
    tls: RefCell<Tls>,
    cookies: RefCell<Cookies>,
    chance: Chance,
    http: Http,
    /// How targets that are connected to are spoken to.
    daemons: daemon::Http,
    /// Whom of them that speak TLS it trusts; nobody until it is told.
    trust: OnceCell<Trust>,
    space: Space,
    /// Of the connections, for those that carry bytes without HTTP.
    share: Share,
    shed: Rc<Shed>,
    /// How what is too much is answered.
    form: Form,
    /// Requests for services that sleep.
    waiting: Waiting,
    request_ids: RequestIds,
    access_log: Option<AccessLog>,
    /// Who takes spans of requests, if anybody does.
    spans: OnceCell<Spans>,
    outbox: Rc<Outbox>,
    connections: RefCell<Vec<Rc<Connection>>>,
    sweeps: Cell<bool>,
    drain: Drain,
    /// Told whenever a connection ends.
    room: Notify,
    /// Whether a connection has waited for that since the last one ended.
    crowded: Cell<bool>,
    /// Where other workers put connections for this one.
    inbox: OnceCell<OwnedFd>,
    /// Those other workers.
    peers: OnceCell<Rc<Peers>>,
}

impl Edge {
    /// An edge without routes, and with the built-in listener alone.
    pub fn new(config: Config, deps: Deps) -> Result<Rc<Self>, EdgeError> {
        let built_in = Listener::built_in(config.forwarded_proto, config.forwarded_port);
        let seed = || u64::from_le_bytes(skiff_kit::random::bytes());
        let access_log = config.access_log.as_ref().map(AccessLog::open).transpose();
        Ok(Rc::new(Self {
            table: RefCell::new(Table::of_worker(config.worker)),
            groups: RefCell::default(),
            listeners: Listeners::new(built_in),
            checks: Checks::new(),
            meters: RefCell::new(Meters::new(deps.ledger.clone())),
            tls: RefCell::new(Tls::new()),
            cookies: RefCell::new(Cookies::of_nobody()),
            chance: Chance::new(seed()),
            http: Http::new(&config.limits),
            daemons: daemon::Http::new(&config.limits),
            trust: OnceCell::new(),
            space: Space::default(),
            share: Share::of(config.limits.connections_max),
            shed: Rc::new(Shed::new(config.limits.wait_target)),
            form: Form::new(),
            waiting: Waiting::default(),
            request_ids: RequestIds::new(seed()),
            access_log: access_log.map_err(EdgeError::AccessLog)?,
            spans: OnceCell::new(),
            outbox: Rc::default(),
            connections: RefCell::default(),
            sweeps: Cell::new(false),
            drain: Drain::new(),
            room: Notify::new(),
            crowded: Cell::new(false),
            inbox: OnceCell::new(),
            peers: OnceCell::new(),
            config,
            deps,
        }))
    }

    /// Routes to these services as it is told here, and no more to those withdrawn; all others stay as they are. Requests
    /// that found their service go on with it.
    pub fn route<'a>(&self, routes: impl IntoIterator<Item = &'a Route>, withdrawn: &[QualifiedName]) {
        let mut table = self.table.borrow_mut();
        routes.into_iter().for_each(|route| {
            table.set(route, &self.deps.ledger);
            self.checks.note_route(route);
            self.waiting.has_changed(&route.service);
        });
        withdrawn.iter().for_each(|service| {
            table.remove(service);
            self.checks.note_withdrawn(service);
            self.waiting.has_changed(service);
        });
    }

    /// Trusts targets that speak TLS and show a certificate of one of these authorities. To be said once, before the first
    /// request; until then none of them is trusted.
    pub fn trust_in(&self, authorities: Arc<RootCertStore>) {
        let _ = self.trust.set(Trust::in_authorities(authorities));
    }

    /// Records spans of requests from now on: of all traces that a client records, and of this share of those that begin here.
    /// To be said once, before the first request; until then none is recorded.
    pub fn record_spans(&self, share: SampleShare, sink: Rc<dyn SpanSink>) {
        let _ = self.spans.set(Spans::new(share, sink));
    }

    /// Serves a connection of the built-in listener to its end; it counts from the call on. Must be called and run in a
    /// `LocalSet`.
    pub fn serve(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + use<> {
        self.serve_at(stream, peer, self.listeners.built_in().clone())
    }

    /// Serves whatever bytes come and go, as if it were a connection from `peer`, like [`Self::serve`].
    pub fn serve_io<S>(self: &Rc<Self>, stream: S, peer: SocketAddr) -> impl Future<Output = ()> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let open = Open::new(self, peer, self.listeners.built_in().clone());
        async move { open.serve(stream, Spoken::Untold).await }
    }

    /// Serves a connection of HTTP that came to `listener`, like [`Self::serve`].
    pub(crate) fn serve_at(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        listener: Rc<Listener>,
    ) -> impl Future<Output = ()> + use<> {
        // Fails only if the client is gone already, which serving it will show.
        let _ = stream.set_nodelay(true);
        let config = listener.tls();
        let open = Open::new(self, peer, listener);
        async move {
            match config {
                None => open.serve(stream, Spoken::Untold).await,
                // In a box, so that connections in clear stay small.
                Some(config) => Box::pin(tls::serve(&open, stream, config)).await,
            }
        }
    }

    /// Takes no more connections, lets every request in flight finish, and closes; what is not done after `timeout`
    /// is cut off. Says whether all ended by themselves.
    ///
    /// A connection that has sent nothing yet gets half a second for one request: it may be on its way.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.drain.begin();
        self.publish_connections();
        self.tell_all(Order::Finish);
        let in_time = self.drain.finish(timeout).await;
        if !in_time {
            self.tell_all(Order::Cut(Cut::Drained));
            self.drain.finish(CUT_GRACE).await;
        }
        self.flush_access_log().await;
        in_time
    }

    /// Ends when all that was logged so far is in the file.
    pub async fn flush_access_log(&self) {
        if let Some(log) = &self.access_log {
            log.flush().await;
        }
    }

    /// Lines of the access log that were lost because the disk was too slow or failed.
    pub fn access_log_lines_dropped(&self) -> u64 {
        self.access_log.as_ref().map_or(0, AccessLog::lines_dropped)
    }

    /// Connections that it holds open.
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Those of them whose clients have been idle for so long that nothing is kept of them but their sockets.
    pub fn connections_at_rest(&self) -> usize {
        self.connections.borrow().iter().filter(|connection| connection.rests()).count()
    }

    pub(crate) fn worker(&self) -> usize {
        self.config.worker
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.deps.ledger
    }

    pub(crate) fn worker_row(&self) -> &WorkerRow {
        self.deps.ledger.worker(self.config.worker)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    pub(crate) fn invoke(&self) -> &dyn Invoke {
        &*self.deps.invoke
    }

    pub(crate) fn connect(&self) -> &dyn Connect {
        &*self.deps.connect
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    pub(crate) fn daemons(&self) -> &daemon::Http {
        &self.daemons
    }

    pub(crate) fn trust(&self) -> &Trust {
        self.trust.get_or_init(|| Trust::in_authorities(Arc::new(RootCertStore::empty())))
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn share(&self) -> &Share {
        &self.share
    }

    pub(crate) fn shed(&self) -> &Rc<Shed> {
        &self.shed
    }

    pub(crate) fn form(&self) -> &Form {
        &self.form
    }

    pub(crate) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    pub(crate) fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    pub(crate) fn request_ids(&self) -> &RequestIds {
        &self.request_ids
    }

    pub(crate) fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.as_ref()
    }

    pub(crate) fn spans(&self) -> Option<&Spans> {
        self.spans.get()
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// What there is to check of targets.
    pub(crate) fn to_check(&self) -> &Checks {
        &self.checks
    }

    pub(crate) fn meters(&self) -> Ref<'_, Meters> {
        self.meters.borrow()
    }

    pub(crate) fn meters_mut(&self) -> RefMut<'_, Meters> {
        self.meters.borrow_mut()
    }

    pub(crate) fn tls(&self) -> RefMut<'_, Tls> {
        self.tls.borrow_mut()
    }

    pub(crate) fn cookies(&self) -> Ref<'_, Cookies> {
        self.cookies.borrow()
    }

    pub(crate) fn cookies_mut(&self) -> RefMut<'_, Cookies> {
        self.cookies.borrow_mut()
    }

    pub(crate) fn chance(&self) -> &Chance {
        &self.chance
    }

    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Rc<Group>> {
        self.table.borrow().find(host, path).cloned()
    }

    pub(crate) fn service(&self, name: &QualifiedName) -> Option<Rc<Group>> {
        self.table.borrow().service(name).cloned()
    }

    pub(crate) fn table(&self) -> RefMut<'_, Table> {
        self.table.borrow_mut()
    }

    pub(crate) fn groups(&self) -> RefMut<'_, Groups> {
        self.groups.borrow_mut()
    }

    /// Gives a connection its place among those that are watched and drained, until [`Self::leave`].
    pub(crate) fn enter(self: &Rc<Self>, connection: &Rc<Connection>) -> TaskTrackerToken {
        let mut connections = self.connections.borrow_mut();
        connection.index.set(connections.len());
        connections.push(connection.clone());
        drop(connections);
        self.publish_connections();
        self.start_sweeping();
        if self.drain.has_begun() {
            connection.tell(Order::Finish);
        }
        self.drain.token()
    }

    /// Takes a connection's place away.
    pub(crate) fn leave(&self, connection: &Connection) {
        let mut connections = self.connections.borrow_mut();
        let index = connection.index.get();
        connections.swap_remove(index);
        if let Some(moved) = connections.get(index) {
            moved.index.set(index);
        }
        drop(connections);
        self.publish_connections();
        self.crowded.set(false);
        self.room.notify_waiters();
    }

    /// Ends when a drain begins.
    pub(crate) async fn drain_begun(&self) {
        self.drain.begun().await;
    }

    /// Ends when a drain has begun and no connection is left.
    pub(crate) async fn drained(&self) {
        self.drain_begun().await;
        self.drain.finish(Duration::MAX).await;
    }

    pub(crate) fn has_room(&self) -> bool {
        self.connections() < self.config.limits.connections_max
    }

    /// Whether a connection waits for room.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.get()
    }

    /// Has the connection go that has been idle longest, now or as soon as one is idle, for another that waits: so whoever
    /// holds many of them keeps nobody out.
    pub(crate) fn make_room(&self) {
        self.crowded.set(true);
        let connections = self.connections.borrow();
        let idle = connections
            .iter()
            .filter_map(|connection| Some((connection.activity().idle_since_ns()?, connection)));
        if let Some((_, longest)) = idle.min_by_key(|(since_ns, _)| *since_ns) {
            longest.tell(longest.activity().way_out(monotonic_ns()));
        }
    }

    /// Ends when the next connection ends.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// Counts what waits in `inbox` as this worker's connections from now on.
    pub(crate) fn attach_inbox(&self, inbox: OwnedFd) {
        let _ = self.inbox.set(inbox);
        self.publish_connections();
    }

    /// Hands connections to these from now on, where they have fewer.
    pub(crate) fn attach_peers(&self, peers: Rc<Peers>) {
        let _ = self.peers.set(peers);
    }

    /// The other workers, once connections are handed to them.
    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.peers.get().map(|peers| &**peers)
    }

    /// Has the connections to this listener end after what is in flight.
    pub(crate) fn finish_all_of(&self, listener: &Rc<Listener>) {
        let connections = self.connections.borrow();
        let theirs = connections.iter().filter(|connection| Rc::ptr_eq(&connection.listener, listener));
        theirs.for_each(|connection| connection.tell(Order::Finish));
    }

    /// Writes down how many connections this worker has: those it holds, and those that wait in its inbox. Always
    /// the whole number, never a difference: others add to it when they hand one over, a dead worker's is set to 0,
    /// and none of that must add up to an error that stays.
    ///
    /// A worker that drains says that it is full, or it would be handed more and more.
    fn publish_connections(&self) {
        let waiting = self.inbox.get().and_then(|inbox| rustix::io::ioctl_fionread(inbox).ok()).unwrap_or(0);
        let held = self.connections() as u64 + waiting;
        let full = if self.drain.has_begun() { self.config.limits.connections_max as u64 } else { 0 };
        self.worker_row().connections.set(held.max(full));
    }

    fn tell_all(&self, order: Order) {
        self.connections.borrow().iter().for_each(|connection| connection.tell(order));
    }

    /// Looks at every connection; says whether there are any.
    fn sweep(&self) -> bool {
        let now_ns = monotonic_ns();
        for connection in self.connections.borrow().iter() {
            match connection.activity().verdict(now_ns, &self.config.limits) {
                Verdict::Keep => connection.rest_if_due(now_ns, &self.config.limits),
                Verdict::Close => connection.tell(Order::Finish),
                Verdict::Cut(cut) => connection.tell(Order::Cut(cut)),
            }
        }
        if self.is_crowded() {
            self.make_room();
        }
        self.publish_connections();
        if let Some(log) = &self.access_log {
            log.hand_over();
        }
        self.connections() > 0
    }

    fn start_sweeping(self: &Rc<Self>) {
        if !self.sweeps.replace(true) {
            let period = self.config.limits.sweep_period();
            tokio::task::spawn_local(sweep_while_connected(Rc::downgrade(self), period));
        }
    }

    /// Logs what no request came of.
    pub(crate) fn log_failure(&self, connection: &Connection, error: &hyper::Error) {
        if error.is_parse() {
            let status = if error.is_parse_too_large() { 431 } else { 400 };
            let detail = error.source().map_or_else(|| error.to_string(), |source| source.to_string());
            self.log_head(connection, status, &format!("the request is malformed: {detail}"));
        }
    }

    pub(crate) fn log_head(&self, connection: &Connection, status: u16, error: &str) {
        self.count_turned_away(connection, status);
        let Some(log) = &self.access_log else { return };
        log.write(Line { status, error: Some(error), ..connection.line() });
    }
}

async fn sweep_while_connected(edge: Weak<Edge>, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        let Some(edge) = edge.upgrade() else { return };
        if !edge.sweep() {
            edge.sweeps.set(false);
            return;
        }
    }
}
