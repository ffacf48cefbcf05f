//! One connection as its watcher sees it: what it is doing and since when, and when it has to go.
//!
//! Timers cost too much to set one for each request. So a connection only notes times as it goes ([`Connection`]),
//! [`crate::watched`] notes them for its socket, and the edge's sweeper looks at all connections a few times a second and
//! asks [`Activity::verdict`], a pure function.

use crate::access_log::Line;
use crate::config::Limits;
use crate::guard::gate::Notes;
use crate::listener::Listener;
use crate::tls::Session;
use crate::tunnel::Tunnel;
use http::HeaderValue;
use skiff_kit::clock::monotonic_ns;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How long a connection that was asked to close may take for it, in nanoseconds.
const CLOSE_GRACE_NS: u64 = 5_000_000_000;
/// The same for one that has sent nothing yet: its first request may be on its way.
const CLOSE_GRACE_FRESH_NS: u64 = 500_000_000;

/// Why a connection was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the client took too long to send a request's head")]
    SlowHead,
    #[error("the client took nothing of the response for too long")]
    SlowReader,
    #[error("the connection did not close in time")]
    SlowClose,
    #[error("the load balancer stopped before the response ended")]
    Drained,
    #[error("the client sent nothing, and others needed the room")]
    Crowded,
}

/// What a connection has been told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Finish what is in flight, then close. Who was never asked anything answers one request first.
    Finish,
    /// End now.
    Cut(Cut),
}

/// What to do with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    Close,
    Cut(Cut),
}

/// What a connection is doing. Times are of the monotonic clock; 0 means "not".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Activity {
    http2: bool,
    /// Whether any request's head was complete.
    was_asked: bool,
    /// Requests between the end of their head and the end of their response.
    active: u32,
    /// The first byte of an HTTP/1 head that is not complete, of what tells which HTTP it is, or of a handshake of TLS.
    head_since_ns: u64,
    /// The end of the last request, or the connection's start.
    idle_since_ns: u64,
    /// The socket takes nothing.
    blocked_since_ns: u64,
    /// Since when the response body waits that gave bytes longest ago which the client has not taken yet.
    body_waits_since_ns: u64,
    /// When it was asked to close.
    closing_since_ns: u64,
}

impl Activity {
    /// Whether a connection may go on at `now_ns`.
    pub(crate) fn verdict(&self, now_ns: u64, limits: &Limits) -> Verdict {
        let over = |since_ns: u64, limit: std::time::Duration| {
            since_ns != 0 && u128::from(now_ns.saturating_sub(since_ns)) >= limit.as_nanos()
        };
        let waits_since_ns = [self.body_waits_since_ns, self.blocked_since_ns];
        if waits_since_ns.into_iter().any(|since_ns| over(since_ns, limits.write_timeout)) {
            return Verdict::Cut(Cut::SlowReader);
        }
        if self.active > 0 {
            return Verdict::Keep;
        }
        if self.closing_since_ns != 0 {
            let is_fresh = !self.was_asked && self.head_since_ns == 0;
            let grace_ns = if is_fresh { CLOSE_GRACE_FRESH_NS } else { CLOSE_GRACE_NS };
            let late = now_ns.saturating_sub(self.closing_since_ns) >= grace_ns;
            return if late { Verdict::Cut(Cut::SlowClose) } else { Verdict::Keep };
        }
        if !self.http2 && over(self.head_since_ns, limits.header_read_timeout) {
            return Verdict::Cut(Cut::SlowHead);
        }
        if over(self.idle_since_ns, limits.keep_alive_timeout) { Verdict::Close } else { Verdict::Keep }
    }

    /// Since when it has been idle, in no way about to end.
    pub(crate) fn idle_since_ns(&self) -> Option<u64> {
        let is_idle = self.active == 0 && self.head_since_ns == 0 && self.closing_since_ns == 0;
        is_idle.then_some(self.idle_since_ns)
    }

    /// Whether a client of HTTP/1 has asked for nothing for so long that what serves it is better given back.
    fn is_rest_due(&self, now_ns: u64, limits: &Limits) -> bool {
        let idle_ns = u128::from(now_ns.saturating_sub(self.idle_since_ns));
        self.may_rest() && idle_ns >= limits.rest_after.as_nanos()
    }

    /// Whether nothing would be lost with what serves it.
    fn may_rest(&self) -> bool {
        let is_still = self.blocked_since_ns == 0 && self.body_waits_since_ns == 0;
        self.was_asked && !self.http2 && is_still && self.idle_since_ns().is_some()
    }

    /// How to end it for others' sake, if it is idle.
    pub(crate) fn way_out(&self, now_ns: u64) -> Order {
        let is_silent = !self.was_asked && now_ns.saturating_sub(self.idle_since_ns) >= CLOSE_GRACE_FRESH_NS;
        if is_silent { Order::Cut(Cut::Crowded) } else { Order::Finish }
    }
}

/// Whether an idle connection of HTTP/1 keeps what serves it, which is far more than itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Rest {
    #[default]
    None,
    /// It is not to.
    Due,
    /// It is being given back; the socket stays open.
    Begins,
    /// It has the socket alone.
    Rests,
}

/// A response body among those of one connection.
pub(crate) type BodyId = u64;

/// One connection. Shared by its task, its requests and the sweeper, all on one thread.
pub(crate) struct Connection {
    /// The client's address as a header, made once.
    pub(crate) client: HeaderValue,
    /// The same address; one of IPv4 as such.
    pub(crate) source: IpAddr,
    /// The client's port.
    port: u16,
    /// Where it came to.
    pub(crate) listener: Rc<Listener>,
    /// What was agreed on, where it speaks TLS.
    tls: OnceCell<Box<Session>>,
    /// Its place among the edge's connections.
    pub(crate) index: Cell<usize>,
    activity: Cell<Activity>,
    /// Response bodies that gave bytes which the client has not taken yet, with when that was.
    waiting: RefCell<Vec<(BodyId, u64)>>,
    bodies: Cell<BodyId>,
    /// What it and its guard tell each other.
    pub(crate) guard: Notes,
    /// Whether its client may still be sending what nobody reads.
    lingers: Cell<bool>,
    /// What it is to carry once HTTP has ended on it.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    rest: Cell<Rest>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, listener: Rc<Listener>) -> Rc<Self> {
        let source = peer.ip().to_canonical();
        Rc::new(Self {
            client: HeaderValue::try_from(source.to_string()).expect("an address makes a header"),
            source,
            port: peer.port(),
            listener,
            tls: OnceCell::new(),
            index: Cell::new(0),
            activity: Cell::new(Activity { idle_since_ns: monotonic_ns(), ..Activity::default() }),
            waiting: RefCell::new(Vec::new()),
            bodies: Cell::new(0),
            guard: Notes::default(),
            lingers: Cell::new(false),
            tunnel: RefCell::new(None),
            rest: Cell::default(),
            order: Cell::new(None),
            waker: RefCell::new(None),
        })
    }

    /// What it is doing.
    pub(crate) fn activity(&self) -> Activity {
        let longest = self.waiting.borrow().iter().map(|&(_, since_ns)| since_ns).min();
        Activity { body_waits_since_ns: longest.unwrap_or(0), ..self.activity.get() }
    }

    /// The id of the next response body.
    pub(crate) fn new_body(&self) -> BodyId {
        self.bodies.replace(self.bodies.get() + 1)
    }

    /// Tells it to end. A cut is final; asked to finish, it can still be cut.
    pub(crate) fn tell(&self, order: Order) {
        if matches!(self.order.get(), Some(Order::Cut(_))) || self.order.get() == Some(order) {
            return;
        }
        if order == Order::Finish {
            self.note(|activity| activity.closing_since_ns = monotonic_ns());
        }
        self.order.set(Some(order));
        self.wake();
    }

    /// Has what serves it given back, if its client has been idle for long enough.
    pub(crate) fn rest_if_due(&self, now_ns: u64, limits: &Limits) {
        if self.rest.get() == Rest::None && self.activity().is_rest_due(now_ns, limits) {
            self.rest.set(Rest::Due);
            self.wake();
        }
    }

    /// What serves it is there from here on.
    pub(crate) fn is_served(&self) {
        self.rest.set(Rest::None);
    }

    /// Whether what serves it is to be given back now.
    pub(crate) fn begins_rest(&self) -> bool {
        if self.rest.get() == Rest::Due {
            self.rest.set(if self.activity().may_rest() { Rest::Begins } else { Rest::None });
        }
        self.is_beginning_rest()
    }

    /// Whether that is under way.
    pub(crate) fn is_beginning_rest(&self) -> bool {
        self.rest.get() == Rest::Begins
    }

    /// What served it has been given back, if that was under way; says whether it was.
    pub(crate) fn came_to_rest(&self) -> bool {
        let rests = self.is_beginning_rest();
        if rests {
            self.rest.set(Rest::Rests);
        }
        rests
    }

    /// Whether it has its socket alone.
    pub(crate) fn rests(&self) -> bool {
        self.rest.get() == Rest::Rests
    }

    /// Has its task look at it once more.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// What it was told, for its task; which is woken by the next order.
    pub(crate) fn poll_order(&self, context: &Context<'_>) -> Option<Order> {
        let mut waker = self.waker.borrow_mut();
        match waker.as_ref() {
            Some(known) if known.will_wake(context.waker()) => {}
            _ => *waker = Some(context.waker().clone()),
        }
        self.order.get()
    }

    /// Runs `future` to its end, or says why the connection was cut off before.
    pub(crate) async fn unless_cut<F: Future>(&self, future: F) -> Result<F::Output, Cut> {
        let mut future = pin!(future);
        poll_fn(|context| match self.poll_order(context) {
            Some(Order::Cut(cut)) => Poll::Ready(Err(cut)),
            Some(Order::Finish) | None => future.as_mut().poll(context).map(Ok),
        })
        .await
    }

    /// Has it carry this as soon as the response in flight has gone out.
    pub(crate) fn goes_on_as(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(Box::new(tunnel));
    }

    /// What it is to carry from here on, if anything.
    pub(crate) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.borrow_mut().take()
    }

    /// Whether it is to close after the requests in flight.
    pub(crate) fn is_finishing(&self) -> bool {
        self.order.get().is_some()
    }

    /// Whether any request's head was complete.
    pub(crate) fn was_asked(&self) -> bool {
        self.activity.get().was_asked
    }

    /// Why it was cut off, if it was.
    pub(crate) fn cut(&self) -> Option<Cut> {
        match self.order.get() {
            Some(Order::Cut(cut)) => Some(cut),
            Some(Order::Finish) | None => None,
        }
    }

    /// A request's head is complete.
    pub(crate) fn request_began(&self, http2: bool) {
        self.note(|activity| {
            activity.http2 = http2;
            activity.was_asked = true;
            activity.active += 1;
            activity.head_since_ns = 0;
        });
    }

    /// A request is over; `unread` if more of its body may come.
    pub(crate) fn request_ended(&self, now_ns: u64, unread: bool) {
        self.lingers.set(unread);
        self.note(|activity| {
            activity.active -= 1;
            activity.idle_since_ns = now_ns;
            if activity.closing_since_ns != 0 {
                // The last bytes of its response have yet to go out.
                activity.closing_since_ns = now_ns;
            }
        });
        if self.guard.request_ended() {
            self.wake();
        }
    }

    /// A response body gave bytes, which wait for the client now.
    pub(crate) fn body_gave(&self, body: BodyId, now_ns: u64) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.iter_mut().find(|(other, _)| *other == body) {
            Some((_, since_ns)) => *since_ns = now_ns,
            None => waiting.push((body, now_ns)),
        }
    }

    /// What a response body gave was taken.
    pub(crate) fn body_was_taken(&self, body: BodyId) {
        self.waiting.borrow_mut().retain(|&(other, _)| other != body);
    }

    /// Whether its client may still be sending what nobody reads.
    pub(crate) fn lingers(&self) -> bool {
        self.lingers.get()
    }

    /// Its socket is shut for what goes out.
    pub(crate) fn closes(&self) {
        self.note(|activity| {
            if activity.closing_since_ns == 0 {
                activity.closing_since_ns = monotonic_ns();
            }
        });
    }

    fn note(&self, change: impl FnOnce(&mut Activity)) {
        let mut activity = self.activity.get();
        change(&mut activity);
        self.activity.set(activity);
    }

    /// Its handshake has ended: it is idle, and speaks TLS from here on.
    pub(crate) fn speaks_tls(&self, session: Session) {
        let _ = self.tls.set(Box::new(session));
        self.note(|activity| {
            activity.head_since_ns = 0;
            activity.idle_since_ns = monotonic_ns();
        });
    }

    /// What the access log says of each request of it.
    pub(crate) fn line(&self) -> Line<'_> {
        let line = Line {
            listener: Some(&self.listener),
            client: self.client.to_str().unwrap_or_default(),
            client_port: self.port,
            ..Line::default()
        };
        let Some(session) = self.tls.get() else { return line };
        Line {
            tls_protocol: Some(session.protocol),
            tls_cipher: Some(session.cipher),
            domain_name: session.host.as_deref(),
            certificate: session.certificate.as_ref(),
            is_resumed: session.is_resumed,
            ..line
        }
    }

    /// Its client has sent all that tells that it speaks HTTP/2.
    pub(crate) fn speaks_http2(&self) {
        self.note(|activity| {
            activity.http2 = true;
            activity.head_since_ns = 0;
        });
    }

    /// Bytes came out of its socket.
    pub(crate) fn socket_gave(&self) {
        let activity = self.activity.get();
        if activity.active == 0 && activity.head_since_ns == 0 && !activity.http2 {
            self.note(|activity| activity.head_since_ns = monotonic_ns());
        }
    }

    /// Its socket took bytes, or is `blocked`.
    pub(crate) fn socket_answered(&self, blocked: bool) {
        let since_ns = self.activity.get().blocked_since_ns;
        match (blocked, since_ns) {
            (true, 0) => self.note(|activity| activity.blocked_since_ns = monotonic_ns()),
            (false, 1..) => self.note(|activity| activity.blocked_since_ns = 0),
            (true, 1..) | (false, 0) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Proto;
    use std::time::Duration;

    fn connection(peer: &str) -> Rc<Connection> {
        Connection::new(peer.parse().unwrap(), Rc::new(Listener::built_in(Proto::Http, 80)))
    }

    const S: u64 = 1_000_000_000;

    fn limits() -> Limits {
        Limits {
            header_read_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            ..Limits::default()
        }
    }

    #[track_caller]
    fn check(activity: Activity, second: u64, verdict: Verdict) {
        assert_eq!(activity.verdict(second * S, &limits()), verdict, "{activity:?} at {second} s");
    }

    #[test]
    fn an_idle_connection_is_closed_and_then_cut() {
        let idle = Activity { idle_since_ns: S, was_asked: true, ..Activity::default() };
        check(idle, 75, Verdict::Keep);
        check(idle, 76, Verdict::Close);
        check(Activity { active: 1, ..idle }, 1_000, Verdict::Keep);
        let closing = Activity { closing_since_ns: 76 * S, ..idle };
        check(closing, 80, Verdict::Keep);
        check(closing, 81, Verdict::Cut(Cut::SlowClose));
        check(Activity { active: 1, ..closing }, 1_000, Verdict::Keep);
        let fresh = Activity { was_asked: false, ..closing };
        check(fresh, 76, Verdict::Keep);
        check(fresh, 77, Verdict::Cut(Cut::SlowClose));
        check(Activity { head_since_ns: 76 * S, ..fresh }, 80, Verdict::Keep);
    }

    #[test]
    fn who_is_idle_can_make_room_for_others() {
        let idle = Activity { idle_since_ns: S, was_asked: true, ..Activity::default() };
        assert_eq!((idle.idle_since_ns(), idle.way_out(2 * S)), (Some(S), Order::Finish));
        let fresh = Activity { was_asked: false, ..idle };
        assert_eq!(fresh.way_out(S + CLOSE_GRACE_FRESH_NS - 1), Order::Finish);
        assert_eq!(fresh.way_out(S + CLOSE_GRACE_FRESH_NS), Order::Cut(Cut::Crowded));
        for busy in [
            Activity { active: 1, ..idle },
            Activity { head_since_ns: 2 * S, ..idle },
            Activity { closing_since_ns: 2 * S, ..idle },
        ] {
            assert_eq!(busy.idle_since_ns(), None);
        }
    }

    #[test]
    fn a_slow_head_is_cut_on_http1_only() {
        let head = Activity { idle_since_ns: S, head_since_ns: 20 * S, ..Activity::default() };
        check(head, 29, Verdict::Keep);
        check(head, 30, Verdict::Cut(Cut::SlowHead));
        check(Activity { http2: true, ..head }, 30, Verdict::Keep);
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut() {
        let busy = Activity { idle_since_ns: S, active: 1, ..Activity::default() };
        check(Activity { blocked_since_ns: 5 * S, ..busy }, 34, Verdict::Keep);
        check(Activity { blocked_since_ns: 5 * S, ..busy }, 35, Verdict::Cut(Cut::SlowReader));
        let given = Activity { body_waits_since_ns: 5 * S, ..busy };
        check(given, 34, Verdict::Keep);
        check(given, 35, Verdict::Cut(Cut::SlowReader));
    }

    #[test]
    fn one_body_that_moves_does_not_speak_for_another() {
        let connection = connection("127.0.0.1:1");
        let (stuck, moving) = (connection.new_body(), connection.new_body());
        connection.body_gave(stuck, 5 * S);
        for second in 6..40 {
            connection.body_gave(moving, second * S);
            connection.body_was_taken(moving);
        }
        check(connection.activity(), 35, Verdict::Cut(Cut::SlowReader));
        connection.body_was_taken(stuck);
        check(Activity { idle_since_ns: S, ..connection.activity() }, 35, Verdict::Keep);
    }

    #[test]
    fn a_cut_is_final() {
        let connection = connection("[::ffff:10.0.0.1]:1");
        assert_eq!(connection.client, "10.0.0.1");
        assert_eq!(connection.source, IpAddr::from([10, 0, 0, 1]));
        let context = Context::from_waker(Waker::noop());
        assert_eq!(connection.poll_order(&context), None);
        connection.tell(Order::Finish);
        assert_eq!((connection.poll_order(&context), connection.cut()), (Some(Order::Finish), None));
        connection.tell(Order::Cut(Cut::SlowHead));
        connection.tell(Order::Finish);
        connection.tell(Order::Cut(Cut::Drained));
        assert_eq!(connection.cut(), Some(Cut::SlowHead));
    }
}
