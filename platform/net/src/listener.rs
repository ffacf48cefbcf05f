//! A port that takes connections, and those that wait to be accepted.
//!
//! A connection in the backlog is open for who made it, as with kernels: it may write, and may have gone again. What
//! waits is bounded; one more waits a while for room, as if its first segment were sent again, and is refused then.
//!
//! What always holds: a connection is judged before it gets here; closing resets what waits, and wakes who would accept.

use crate::error::NetError;
use crate::interface::Port;
use crate::socket::Waiting;
use crate::stream::Stream;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a connection waits for room in a full backlog: what a kernel waits before it asks again (RFC 6298, section 2).
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// A listening socket. One waker: the last that asked is woken.
pub struct Listener {
    backlog: Rc<Backlog>,
    port: Port,
}

/// What waits to be accepted at a port.
pub(crate) struct Backlog {
    waiting: RefCell<VecDeque<Stream>>,
    count_max: Cell<usize>,
    is_closed: Cell<bool>,
    acceptor: Waiting,
    /// Told for each connection that is taken out.
    room: Notify,
}

impl Listener {
    pub(crate) fn new(port: Port, count_max: usize) -> Self {
        let backlog = Rc::new(Backlog {
            waiting: RefCell::default(),
            count_max: Cell::new(count_max),
            is_closed: Cell::new(false),
            acceptor: Waiting::default(),
            room: Notify::new(),
        });
        port.listen(&backlog);
        Self { backlog, port }
    }

    /// The address as it was bound, and the port.
    pub fn local_address(&self) -> SocketAddr {
        self.port.local()
    }

    /// How many connections may wait: at least one, and at most what the platform allows. More than that may wait already.
    pub fn set_backlog(&self, count_max: usize) {
        self.backlog.count_max.set(self.port.backlog_max(count_max));
    }

    /// The connection that has waited longest.
    ///
    /// # Errors
    /// `Closed` once the task's interface is.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<Stream, NetError>> {
        let next = self.backlog.waiting.borrow_mut().pop_front();
        match next {
            Some(stream) => {
                self.backlog.room.notify_one();
                Poll::Ready(Ok(stream))
            }
            None if self.backlog.is_closed.get() => Poll::Ready(Err(NetError::Closed)),
            None => {
                self.backlog.acceptor.wait(context);
                Poll::Pending
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.backlog.close();
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({})", self.local_address())
    }
}

impl Backlog {
    pub(crate) fn has_room(&self) -> bool {
        !self.is_closed.get() && self.waiting.borrow().len() < self.count_max.get()
    }

    /// Waits a while for room.
    pub(crate) async fn wait_for_room(&self) {
        let room = async {
            while !self.has_room() && !self.is_closed.get() {
                self.room.notified().await;
            }
        };
        // Whoever waited looks at what has become of it.
        let _ = timeout(ROOM_PATIENCE, room).await;
    }

    /// Puts a connection at the end. Only where there is room.
    pub(crate) fn push(&self, stream: Stream) {
        self.waiting.borrow_mut().push_back(stream);
        self.acceptor.wake();
    }

    /// Takes no more, and resets what waits.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        let waiting = self.waiting.take();
        waiting.iter().for_each(Stream::reset);
        drop(waiting);
        self.acceptor.wake();
        self.room.notify_waiters();
    }
}
