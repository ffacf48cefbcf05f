//! The two streams of a connection of `wasi:sockets/tcp` 0.2, over one stream of `net`.
//!
//! The socket and both streams share the connection, which ends with the last of them, as `wasmtime-wasi` has it: dropping a
//! stream alone tells the other side nothing. Bytes pass without a copy, but for small pieces, which are read together, since
//! each read costs the guest a call.
//!
//! What always holds: bytes that a guest writes are the network's from then on, and those that it reads are its own, in its
//! account too; a stream of which bytes were lost never ends in order.

use crate::local::Local;
use bytes::{Bytes, BytesMut};
use skiff_net::{NetError, Stream};
use skiff_sandbox::{given_away, lent};
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

/// Bytes that are read at once, at most.
const READ_BYTES_MAX: usize = 64 << 10;
/// Pieces of fewer bytes are copied together.
const GATHERED_BYTES_MAX: usize = 8 << 10;

/// A connection, as a socket and its streams share it.
#[derive(Clone)]
pub(super) struct Connection(Local<Rc<Inner>>);

struct Inner {
    stream: Stream,
    /// Not shut down by this side.
    reads: Cell<bool>,
    writes: Cell<bool>,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        let inner = Inner { stream, reads: Cell::new(true), writes: Cell::new(true) };
        Self(Local::make(|| Rc::new(inner)))
    }

    /// Its streams. There is one of each.
    pub(super) fn streams(&self) -> (Reader, Writer) {
        let reader = Reader { connection: self.clone(), peeked: None };
        (reader, Writer { connection: self.clone(), permit_bytes: 0 })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.0.get().stream.local()
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.0.get().stream.remote()
    }

    /// Breaks it off, because nobody has it.
    pub(super) fn reset(&self) {
        self.0.with(|inner| inner.stream.reset());
    }

    /// Reads no more; what waits is forgotten.
    pub(super) fn shutdown_read(&self) {
        self.0.with(|inner| {
            inner.reads.set(false);
            inner.stream.shutdown_read();
        });
    }

    /// Writes no more; the other side is told so after what was written.
    pub(super) fn shutdown_write(&self) {
        self.0.with(|inner| {
            inner.writes.set(false);
            inner.stream.shutdown_write();
        });
    }

    fn reads(&self) -> bool {
        self.0.get().reads.get()
    }

    fn poll_read(&self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetError>> {
        self.0.with(|inner| inner.stream.poll_read(cx, bytes_max)).map_ok(lent)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<usize, NetError>> {
        self.0.with(|inner| match inner.writes.get() {
            true => inner.stream.poll_writable(cx),
            false => Poll::Ready(Err(NetError::Closed)),
        })
    }

    fn write(&self, bytes: Bytes) -> Result<(), NetError> {
        given_away(bytes.len());
        self.0.with(|inner| {
            let written = inner.stream.write(bytes);
            if !matches!(written, Ok(()) | Err(NetError::Closed | NetError::Reset)) {
                inner.stream.reset();
            }
            written
        })
    }
}

/// The input stream of a connection.
pub(super) struct Reader {
    connection: Connection,
    /// What was there when somebody asked whether there is anything: bytes, none at the end, or why there are no more.
    peeked: Option<Result<Bytes, NetError>>,
}

impl Reader {
    fn poll_peek(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<()> {
        if self.peeked.is_none() && self.connection.reads() {
            self.peeked = Some(ready!(self.connection.poll_read(cx, bytes_max)));
        }
        Poll::Ready(())
    }

    /// The next piece that is there already; `None` if there is none yet.
    fn next(&mut self, bytes_max: usize) -> StreamResult<Option<Bytes>> {
        if self.poll_peek(&mut Context::from_waker(Waker::noop()), bytes_max).is_pending() {
            return Ok(None);
        }
        match self.peeked.take() {
            Some(Ok(mut bytes)) if !bytes.is_empty() => {
                if bytes.len() > bytes_max {
                    self.peeked = Some(Ok(bytes.split_off(bytes_max)));
                }
                Ok(Some(bytes))
            }
            Some(Err(error)) => {
                self.connection.shutdown_read();
                Err(stream_error(error))
            }
            Some(Ok(_)) | None => {
                self.connection.shutdown_read();
                Err(StreamError::Closed)
            }
        }
    }

    /// Whether the next piece is there already and small enough to be copied behind others.
    fn has_small_piece(&mut self, bytes_max: usize) -> bool {
        if bytes_max == 0 || self.poll_peek(&mut Context::from_waker(Waker::noop()), bytes_max).is_pending() {
            return false;
        }
        let small = 1..GATHERED_BYTES_MAX.min(bytes_max + 1);
        matches!(&self.peeked, Some(Ok(bytes)) if small.contains(&bytes.len()))
    }
}

/// What was looked at and not read is as unread as what still waits.
impl Drop for Reader {
    fn drop(&mut self) {
        let is_unread = matches!(&self.peeked, Some(Ok(bytes)) if !bytes.is_empty());
        if is_unread && self.connection.reads() {
            self.connection.0.with(|inner| inner.stream.leave_unread());
        }
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes_max = size.min(READ_BYTES_MAX);
        if !self.connection.reads() {
            self.peeked = None;
            return Err(StreamError::Closed);
        }
        if bytes_max == 0 {
            return Ok(Bytes::new());
        }
        let Some(first) = self.next(bytes_max)? else { return Ok(Bytes::new()) };
        if first.len() >= GATHERED_BYTES_MAX || !self.has_small_piece(bytes_max - first.len()) {
            return Ok(first);
        }
        let mut gathered = BytesMut::from(&first[..]);
        while self.has_small_piece(bytes_max - gathered.len())
            && let Some(piece) = self.next(bytes_max - gathered.len())?
        {
            gathered.extend_from_slice(&piece);
        }
        Ok(gathered.freeze())
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_peek(cx, READ_BYTES_MAX)).await;
    }
}

/// The output stream of a connection.
pub(super) struct Writer {
    connection: Connection,
    /// Bytes that the next write may have.
    permit_bytes: usize,
}

#[async_trait]
impl OutputStream for Writer {
    fn check_write(&mut self) -> StreamResult<usize> {
        self.permit_bytes = 0;
        self.permit_bytes = match self.connection.poll_writable(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(writable) => writable.map_err(stream_error)?,
            Poll::Pending => 0,
        };
        Ok(self.permit_bytes)
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > self.permit_bytes {
            // One that has ended permits nothing, and says why.
            self.check_write()?;
            return Err(StreamError::trap("more bytes were written than `check-write` had permitted"));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.permit_bytes = 0;
        self.connection.write(bytes).map_err(stream_error)
    }

    /// What was written is on its way already.
    fn flush(&mut self) -> StreamResult<()> {
        match self.connection.poll_writable(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Err(stream_error(error)),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    // The trait's own waits in the end until more could be written.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            let permit_bytes = self.write_ready().await?;
            self.write(bytes.split_to(bytes.len().min(permit_bytes)))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        poll_fn(|cx| self.connection.poll_writable(cx).map(|_| ())).await;
    }
}

/// What a guest is told by a stream; `network-error-code` takes the code out again.
fn stream_error(error: NetError) -> StreamError {
    match error {
        NetError::Closed => StreamError::Closed,
        NetError::Denied(_)
        | NetError::Refused
        | NetError::Reset
        | NetError::TimedOut
        | NetError::AddressInUse
        | NetError::AddressNotBindable
        | NetError::InvalidArgument
        | NetError::InvalidState
        | NetError::NotSupported
        | NetError::Unreachable
        | NetError::TooManySockets(_)
        | NetError::OutOfMemory
        | NetError::NameUnresolvable
        | NetError::TemporaryResolverFailure
        | NetError::DatagramTooLarge => StreamError::LastOperationFailed(wasmtime::Error::new(error)),
    }
}
