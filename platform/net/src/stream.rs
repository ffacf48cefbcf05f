//! One end of a connection, whatever carries its bytes: memory, a line to another worker, or a socket to the outside.
//!
//! It counts what passes into its flow, and is what a guest's socket holds. How bytes wait, and what end and reset mean
//! below, is the carriers' (`pipe`, `line`, `outbound`), which all have the same calls.
//!
//! What always holds: after a flow was cut, every call says `Reset`; whoever waits is woken. Dropped, an end lets its
//! peer read what was written, then the end; or, where bytes were left unread, a reset, as kernels do (RFC 9293, 3.6.1
//! and RFC 2525, 2.17). All its memory, its port and its place among the task's sockets are given back with it.

use crate::error::NetError;
use crate::flow::{Ending, Flow, Reset};
use crate::interface::Port;
use crate::line::Line;
use crate::outbound::OutsideStream;
use crate::pipe;
use crate::platform::PlatformSeat;
use bytes::Bytes;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// What carries a stream's bytes. All three have the same calls: those of [`Stream`] by the same names, and `reset`, after
/// which every call says `Reset`, whoever waits is woken, and the other side is told.
pub(crate) enum Carrier {
    /// Memory of this worker.
    Pipe(pipe::End),
    /// A Unix socket to another worker.
    Line(Rc<Line>),
    /// A socket to the outside.
    Outside(Rc<OutsideStream>),
}

/// One end of a connection, a task's or the platform's. There is one waker each for reading and for writing: the last that
/// asked is woken.
pub struct Stream {
    carrier: Carrier,
    flow: Rc<Flow>,
    /// Held until the stream is dropped, and what was written is sent: the port that a task's end was connected from, or
    /// its share of its listener's.
    port: Option<Port>,
    /// Likewise what a connection of the platform takes of the task, in each worker that it goes through.
    seat: Option<Box<PlatformSeat>>,
    was_reset: Cell<bool>,
    /// See [`Self::leave_unread`].
    left_unread: Cell<bool>,
}

/// The same call on whatever carries the stream.
macro_rules! carry {
    ($self:ident, $carrier:ident => $call:expr) => {
        match &$self.carrier {
            Carrier::Pipe($carrier) => $call,
            Carrier::Line($carrier) => $call,
            Carrier::Outside($carrier) => $call,
        }
    };
}

impl Stream {
    /// A task's end of a connection with a task, with the platform or with the outside; and the platform's end of one that
    /// a task has opened to it, which takes a place among that task's sockets.
    pub(crate) fn new(carrier: Carrier, flow: Rc<Flow>, port: Port) -> Self {
        Self::holding(carrier, flow, Some(port), None)
    }

    /// Either end of a connection that the platform has opened; of two in one worker, one has the seat.
    pub(crate) fn by_platform(carrier: Carrier, flow: Rc<Flow>, seat: Option<PlatformSeat>) -> Self {
        Self::holding(carrier, flow, None, seat.map(Box::new))
    }

    fn holding(
        carrier: Carrier,
        flow: Rc<Flow>,
        port: Option<Port>,
        seat: Option<Box<PlatformSeat>>,
    ) -> Self {
        let (was_reset, left_unread) = (Cell::new(false), Cell::new(false));
        Self { carrier, flow, port, seat, was_reset, left_unread }
    }

    /// This side's address and port.
    pub fn local(&self) -> SocketAddr {
        self.flow.local()
    }

    /// The other side's.
    pub fn remote(&self) -> SocketAddr {
        self.flow.remote()
    }

    /// The next bytes, at most `bytes_max`, at least one; none at the end.
    ///
    /// # Errors
    /// `Reset`, after what was there before it has been read.
    pub fn poll_read(&self, context: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetError>> {
        let read = ready!(carry!(self, carrier => carrier.poll_read(context, bytes_max)));
        let bytes = self.noted(read)?;
        self.flow.received(bytes.len() as u64);
        Poll::Ready(Ok(bytes))
    }

    /// How many bytes may be written now, more than none.
    ///
    /// # Errors
    /// `Reset`, also where the other side reads no more; `Closed` after [`Self::shutdown_write`].
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<Result<usize, NetError>> {
        let writable = ready!(carry!(self, carrier => carrier.poll_writable(context)));
        Poll::Ready(self.noted(writable))
    }

    /// Writes all of it, at most as many bytes as [`Self::poll_writable`] said.
    ///
    /// # Errors
    /// `InvalidState` if it is more; `OutOfMemory` if the task's memory limit leaves no room for it; those of
    /// [`Self::poll_writable`].
    pub fn write(&self, bytes: Bytes) -> Result<(), NetError> {
        let length = bytes.len() as u64;
        self.noted(carry!(self, carrier => carrier.write(bytes)))?;
        self.flow.sent(length);
        Ok(())
    }

    /// Bytes that were read reach nobody, or not all is written that was to be: when the stream is dropped, it counts as
    /// one with bytes left unread.
    pub fn leave_unread(&self) {
        self.left_unread.set(true);
    }

    /// Reads no more: what waits and what comes is forgotten, and reading says that it is the end.
    pub fn shutdown_read(&self) {
        carry!(self, carrier => carrier.shutdown_read());
    }

    /// Writes no more: the other side reads the end after what was written.
    pub fn shutdown_write(&self) {
        carry!(self, carrier => carrier.shutdown_write());
    }

    /// Breaks it off for both sides, and forgets what waits.
    pub fn reset(&self) {
        self.was_reset.set(true);
        carry!(self, carrier => carrier.reset());
    }

    /// Notes that it was broken off, for the record of its end.
    fn noted<T>(&self, result: Result<T, NetError>) -> Result<T, NetError> {
        if matches!(result, Err(NetError::Reset | NetError::TimedOut)) {
            self.was_reset.set(true);
        }
        result
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let is_unread = self.left_unread.get() || carry!(self, carrier => carrier.is_unread());
        if !is_unread {
            // A guest that closes without having shut down means the end, as with kernels; the carrier itself would take
            // it for a stream that was cut off.
            self.shutdown_write();
        }
        let is_reset = is_unread || self.was_reset.get();
        self.flow.end(if is_reset { Ending::Reset } else { Ending::Closed });
        // The kernel's socket goes on for a while where not all is sent, and so do its places.
        let places = (self.port.take(), self.seat.take());
        match &self.carrier {
            Carrier::Pipe(_) => drop(places),
            Carrier::Line(line) => line.hold_while_sending(places),
            Carrier::Outside(stream) => stream.hold_while_sending(places),
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} to {})", self.local(), self.remote())
    }
}

impl Reset for Line {
    fn reset(&self) {
        Line::reset(self);
    }
}

impl Reset for OutsideStream {
    fn reset(&self) {
        OutsideStream::reset(self);
    }
}
