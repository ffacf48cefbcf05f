//! A connection's socket: notes on its connection what it does, tells which HTTP its client speaks, lets no more of HTTP/1
//! through than its guard does ([`crate::guard`]), and sends small answers together with others'.
//!
//! It closes slowly where a request's body was not read to its end: a socket that is closed while bytes arrive is reset,
//! and a reset can overtake the answer (RFC 9112, section 9.6). So it reads on for a while, and forgets what it reads.

use crate::connection::Connection;
use crate::door::Door;
use crate::guard::gate::Gate;
use crate::outbox::{Outbox, Sender};
use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are read and forgotten before a connection is closed, and as many at a time.
const LINGER_BYTES_MAX: usize = 16 << 20;
const LINGER_READ_BYTES: usize = 8 << 10;
/// Bytes of an answer that may wait for others; what is larger is sent as it comes.
const HELD_BYTES_MAX: usize = 4 << 10;

/// A socket that its connection watches.
pub(crate) struct Watched<S> {
    line: Rc<Line<S>>,
    outbox: Rc<Outbox>,
    /// What comes in goes through here.
    gate: Gate,
    /// Where requests are turned away; nowhere until HTTP/1 is guarded.
    door: Option<Door>,
    shut: bool,
    /// Whether nobody reads what its client may still be sending.
    lingers: bool,
    discarded_bytes: usize,
}

/// The way out, which the outbox shares.
struct Line<S> {
    socket: RefCell<S>,
    /// Goes out before anything else.
    held: RefCell<BytesMut>,
    /// Whether the outbox will send that.
    in_outbox: Cell<bool>,
    connection: Rc<Connection>,
}

impl<S> Watched<S> {
    pub(crate) fn new(socket: S, connection: Rc<Connection>, outbox: Rc<Outbox>) -> Self {
        let line = Line {
            socket: RefCell::new(socket),
            held: RefCell::default(),
            in_outbox: Cell::new(false),
            connection,
        };
        Self {
            line: Rc::new(line),
            outbox,
            gate: Gate::default(),
            door: None,
            shut: false,
            lingers: false,
            discarded_bytes: 0,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { line, gate, door, .. } = &mut *self;
        let mut is_answered = false;
        let turn_away = |request: &[u8]| {
            let mut held = line.held.borrow_mut();
            let door = door.as_ref().filter(|_| held.len() < HELD_BYTES_MAX);
            let answer = door.and_then(|door| door.turn_away(&line.connection, request));
            held.extend_from_slice(answer.as_deref().unwrap_or_default());
            is_answered |= answer.is_some();
            answer.is_some()
        };
        let mut socket = line.socket.borrow_mut();
        let polled = gate.poll_read(Pin::new(&mut *socket), &line.connection, context, buffer, turn_away);
        drop(socket);
        // Otherwise it is flushed by who reads here, who does so after each look at what there is to read.
        if is_answered && (self.line.in_outbox.get() || self.outbox.holds_answer()) {
            self.put_in_outbox();
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Watched<S> {
    /// Waits for what tells whether the client speaks HTTP/2. Must be asked before anything is read; nothing of it is
    /// lost for who reads then.
    pub(crate) async fn is_http2(&mut self) -> io::Result<bool> {
        let (mut begun, mut length) = ([0; HTTP2_PREFACE.len()], 0);
        while length < begun.len() {
            let bytes = self.read(&mut begun[length..]).await?;
            length += bytes;
            if bytes == 0 || begun[..length] != HTTP2_PREFACE[..length] {
                break;
            }
        }
        self.gate.put_back(&begun[..length]);
        let is_http2 = begun == *HTTP2_PREFACE;
        if is_http2 {
            self.line.connection.speaks_http2();
        }
        Ok(is_http2)
    }

    /// Lets only sound HTTP/1 through from here on, with heads of at most so many bytes, and not what is turned away at the
    /// door.
    pub(crate) fn guard(&mut self, head_bytes_max: usize, door: Door) {
        self.gate.close(head_bytes_max);
        self.door = Some(door);
    }

    /// Waits until the client has sent something, which is read by who reads then; false if it never will.
    pub(crate) fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Self { line, gate, .. } = self;
        let mut socket = line.socket.borrow_mut();
        gate.poll_begun(Pin::new(&mut *socket), &line.connection, context).map(|begun| begun.unwrap_or(false))
    }

    /// Lets everything through from here on.
    pub(crate) fn unguard(&mut self) {
        self.gate.open();
    }

    /// Reads until the client closes, or has sent too much. The time for it is bounded by the sweeper.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); LINGER_READ_BYTES];
        let mut socket = self.line.socket.borrow_mut();
        while self.discarded_bytes < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::uninit(&mut space);
            let read = ready!(Pin::new(&mut *socket).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.discarded_bytes += buffer.filled().len();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncWrite + Unpin> Line<S> {
    /// Writes to the socket itself.
    fn poll_write(
        &self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut *self.socket.borrow_mut()), context);
        self.connection.socket_answered(written.is_pending());
        written
    }

    /// Sends what is held.
    fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.held.borrow_mut();
        if held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !held.is_empty() {
            let written = self.poll_write(context, |socket, context| socket.poll_write(context, &held));
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => held.advance(bytes),
            }
        }
        // Most connections are idle: they keep no space.
        *held = BytesMut::new();
        self.poll_flush(context)
    }

    /// Has the socket send what it has taken, which one of TLS does not do by itself.
    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.socket.borrow_mut()).poll_flush(context);
        self.connection.socket_answered(flushed.is_pending());
        flushed
    }
}

impl<S: AsyncWrite + Unpin> Sender for Line<S> {
    fn send(&self) {
        self.in_outbox.set(false);
        // What the socket does not take at once, or fails of, is for the connection's task to find when it flushes.
        if !matches!(self.poll_send(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(()))) {
            self.connection.wake();
        }
    }
}

impl<S: AsyncWrite + Unpin + 'static> Watched<S> {
    /// Takes these bytes to be sent in a moment; if they are too many, or nothing else is going on, does not.
    fn hold(&self, buffers: &[io::IoSlice<'_>]) -> Option<usize> {
        let bytes = buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        let line = &self.line;
        let is_held = line.in_outbox.get();
        if line.held.borrow().len() + bytes > HELD_BYTES_MAX || !is_held && !self.outbox.holds_answer() {
            return None;
        }
        buffers.iter().for_each(|buffer| line.held.borrow_mut().extend_from_slice(buffer));
        self.put_in_outbox();
        Some(bytes)
    }

    /// Has the outbox send what is held.
    fn put_in_outbox(&self) {
        if !self.line.in_outbox.replace(true) {
            self.outbox.put(self.line.clone());
        }
    }

    /// Sends what is held, unless the outbox will.
    fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.in_outbox.get() { Poll::Ready(Ok(())) } else { self.line.poll_send(context) }
    }

    /// Sends these as the last bytes, and closes, though its client may still be sending.
    pub(crate) async fn end_with(&mut self, last: &[u8]) -> io::Result<()>
    where
        S: AsyncRead,
    {
        self.line.held.borrow_mut().extend_from_slice(last);
        self.lingers = true;
        self.shutdown().await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        if let Some(bytes) = self.hold(buffers) {
            return Poll::Ready(Ok(bytes));
        }
        ready!(self.line.poll_send(context))?;
        self.line.poll_write(context, |socket, context| socket.poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        self.line.socket.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        self.line.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(self.line.poll_send(context))?;
            let connection = &self.line.connection;
            if connection.guard.is_met() || connection.is_beginning_rest() {
                // Not yet: the client is to be told, or may go on.
                return Poll::Ready(Ok(()));
            }
            let shut = Pin::new(&mut *self.line.socket.borrow_mut()).poll_shutdown(context);
            self.line.connection.socket_answered(shut.is_pending());
            ready!(shut)?;
            self.shut = true;
            self.line.connection.closes();
        }
        if self.lingers || self.line.connection.lingers() {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Proto;
    use crate::listener::Listener;
    use std::io::IoSlice;
    use tokio::task::LocalSet;

    /// Takes what it is given, as long as it is open.
    #[derive(Clone, Default)]
    struct Socket {
        sent: Rc<RefCell<Vec<u8>>>,
        blocked: Rc<Cell<bool>>,
    }

    impl Socket {
        fn sent(&self) -> String {
            String::from_utf8(self.sent.borrow().clone()).unwrap()
        }
    }

    impl AsyncRead for Socket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.blocked.get() {
                return Poll::Pending;
            }
            // Never all at once.
            let bytes = &bytes[..bytes.len().div_ceil(2)];
            self.sent.borrow_mut().extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.sent.borrow_mut().extend_from_slice(b"|");
            Poll::Ready(Ok(()))
        }
    }

    fn connection() -> Rc<Connection> {
        let listener = Rc::new(Listener::built_in(Proto::Http, 80));
        Connection::new("127.0.0.1:1".parse().unwrap(), listener)
    }

    fn watched(outbox: &Rc<Outbox>) -> (Watched<Socket>, Socket) {
        let socket = Socket::default();
        let connection = connection();
        (Watched::new(socket.clone(), connection, outbox.clone()), socket)
    }

    fn write(watched: &mut Watched<Socket>, bytes: &str) -> Poll<usize> {
        let mut context = Context::from_waker(Waker::noop());
        let written = Pin::new(watched).poll_write_vectored(&mut context, &[IoSlice::new(bytes.as_bytes())]);
        written.map(Result::unwrap)
    }

    fn flush(watched: &mut Watched<Socket>) -> Poll<()> {
        Pin::new(watched).poll_flush(&mut Context::from_waker(Waker::noop())).map(Result::unwrap)
    }

    fn shut(watched: &mut Watched<Socket>) -> Poll<()> {
        Pin::new(watched).poll_shutdown(&mut Context::from_waker(Waker::noop())).map(Result::unwrap)
    }

    /// Runs `test` with an outbox that is always busy.
    fn busy(hold_ns_max: u64, test: impl AsyncFnOnce(Rc<Outbox>)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let outbox = Rc::new(Outbox::new(u64::MAX, hold_ns_max));
            test(outbox).await;
        });
    }

    #[test]
    fn what_tells_the_protocol_is_read_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let other = [&HTTP2_PREFACE[..20], b"not this"].concat();
            let whole = [&HTTP2_PREFACE[..], b"and more"].concat();
            for (bytes, is_http2) in [
                (&b"GET /"[..], false),
                (&b""[..], false),
                (&HTTP2_PREFACE[..9], false),
                (&other[..], false),
                (&whole[..], true),
            ] {
                // Two bytes at a time.
                let (mut client, socket) = tokio::io::duplex(2);
                let connection = connection();
                let mut watched = Watched::new(socket, connection, Rc::default());
                let sent = async move {
                    tokio::io::AsyncWriteExt::write_all(&mut client, bytes).await.unwrap();
                };
                let told = async {
                    let told = watched.is_http2().await.unwrap();
                    let mut read = Vec::new();
                    watched.read_to_end(&mut read).await.unwrap();
                    (told, read)
                };
                assert_eq!(tokio::join!(sent, told).1, (is_http2, bytes.to_vec()));
            }
        });
    }

    #[test]
    fn who_is_alone_does_not_wait() {
        let outbox = Rc::new(Outbox::new(0, 0));
        let (mut alone, socket) = watched(&outbox);
        assert_eq!(write(&mut alone, "answer"), Poll::Ready(3));
        assert_eq!(socket.sent(), "ans");
    }

    #[test]
    fn answers_leave_together_without_being_asked_again() {
        busy(u64::MAX, async |outbox| {
            let (mut first, first_socket) = watched(&outbox);
            let (mut second, second_socket) = watched(&outbox);
            assert_eq!(write(&mut first, "first"), Poll::Ready(5));
            assert_eq!(write(&mut second, "second,"), Poll::Ready(7));
            assert_eq!(flush(&mut second), Poll::Ready(()));
            assert_eq!(write(&mut second, "more"), Poll::Ready(4));
            drop(second);
            assert_eq!((first_socket.sent(), second_socket.sent()), (String::new(), String::new()));
            while second_socket.sent().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                (first_socket.sent().as_str(), second_socket.sent().as_str()),
                ("first", "second,more")
            );
        });
    }

    #[test]
    fn answers_leave_when_their_event_loop_ends() {
        let outbox = Rc::new(Outbox::new(u64::MAX, u64::MAX));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..2 {
            let (mut held, socket) = watched(&outbox);
            let written = LocalSet::new().block_on(&runtime, async { write(&mut held, "answer") });
            assert_eq!((written, socket.sent().as_str()), (Poll::Ready(6), "answer"));
        }
    }

    #[test]
    fn nothing_is_held_for_longer_than_its_time() {
        busy(0, async |outbox| {
            let (mut first, first_socket) = watched(&outbox);
            let (mut second, second_socket) = watched(&outbox);
            assert_eq!(write(&mut first, "first"), Poll::Ready(5));
            assert_eq!(first_socket.sent(), "");
            assert_eq!(write(&mut second, "second"), Poll::Ready(6));
            assert_eq!((first_socket.sent().as_str(), second_socket.sent().as_str()), ("first", "second"));
        });
    }

    #[test]
    fn what_is_held_goes_before_all_else() {
        busy(u64::MAX, async |outbox| {
            let (mut large, socket) = watched(&outbox);
            assert_eq!(write(&mut large, "head"), Poll::Ready(4));
            let body = "b".repeat(HELD_BYTES_MAX + 2);
            assert_eq!(write(&mut large, &body), Poll::Ready(body.len() / 2));
            assert_eq!(socket.sent().len(), 4 + body.len() / 2);
            assert!(socket.sent().starts_with("headb"));

            let (mut closing, socket) = watched(&outbox);
            assert_eq!(write(&mut closing, "bye"), Poll::Ready(3));
            assert_eq!(shut(&mut closing), Poll::Ready(()));
            assert_eq!(socket.sent(), "bye|");
        });
    }

    #[test]
    fn what_a_socket_does_not_take_is_left_to_its_connection() {
        busy(u64::MAX, async |outbox| {
            let (mut slow, socket) = watched(&outbox);
            socket.blocked.set(true);
            assert_eq!(write(&mut slow, "answer"), Poll::Ready(6));
            while slow.line.in_outbox.get() {
                tokio::task::yield_now().await;
            }
            assert_eq!((flush(&mut slow), write(&mut slow, "next")), (Poll::Pending, Poll::Pending));
            socket.blocked.set(false);
            assert_eq!(flush(&mut slow), Poll::Ready(()));
            assert_eq!(socket.sent(), "answer");
        });
    }
}
