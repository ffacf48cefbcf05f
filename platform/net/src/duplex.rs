//! A stream as the rest of Rust's world reads and writes: `AsyncRead` and `AsyncWrite` of tokio.
//!
//! It adds nothing to what `stream` says of ends and resets: shut down, it writes no more and may go on to read; dropped,
//! it ends, by a reset where bytes were left unread, or it was broken off. It deliberately buffers nothing: what is
//! written is on its way, so there is nothing to flush.

use crate::error::NetError;
use crate::stream::Stream;
use bytes::BytesMut;
use skiff_ports::connect::Connection;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of a connection. There is one waker each for reading and for writing, as with [`Stream`].
#[derive(Debug)]
pub struct Duplex(Stream);

impl Duplex {
    /// Of a stream.
    pub fn new(stream: Stream) -> Self {
        Self(stream)
    }

    /// This side's address and port.
    pub fn local(&self) -> SocketAddr {
        self.0.local()
    }

    /// The other side's.
    pub fn remote(&self) -> SocketAddr {
        self.0.remote()
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let bytes = ready!(self.0.poll_read(context, into.remaining())).map_err(io_error)?;
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    /// What fits of all parts goes as one piece.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked_bytes = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        if asked_bytes == 0 {
            return Poll::Ready(Ok(0));
        }
        let room_bytes = ready!(self.0.poll_writable(context)).map_err(io_error)?;
        let length = asked_bytes.min(room_bytes);
        let mut piece = BytesMut::with_capacity(length);
        for part in parts {
            let left_bytes = length - piece.len();
            piece.extend_from_slice(&part[..left_bytes.min(part.len())]);
        }
        Poll::Ready(self.0.write(piece.freeze()).map(|()| length).map_err(io_error))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

impl Connection for Duplex {
    /// What was written before can still be read.
    fn break_off(&mut self) {
        self.0.leave_unread();
    }
}

/// The kind that a kernel's socket would have.
fn io_error(error: NetError) -> io::Error {
    let kind = match &error {
        NetError::Denied(_) => ErrorKind::PermissionDenied,
        NetError::Refused => ErrorKind::ConnectionRefused,
        NetError::Reset => ErrorKind::ConnectionReset,
        NetError::TimedOut => ErrorKind::TimedOut,
        NetError::AddressInUse => ErrorKind::AddrInUse,
        NetError::AddressNotBindable => ErrorKind::AddrNotAvailable,
        NetError::InvalidArgument | NetError::DatagramTooLarge => ErrorKind::InvalidInput,
        NetError::NotSupported => ErrorKind::Unsupported,
        NetError::Unreachable => ErrorKind::HostUnreachable,
        NetError::OutOfMemory => ErrorKind::OutOfMemory,
        NetError::NameUnresolvable => ErrorKind::NotFound,
        NetError::Closed => ErrorKind::BrokenPipe,
        NetError::InvalidState | NetError::TooManySockets(_) | NetError::TemporaryResolverFailure => {
            ErrorKind::Other
        }
    };
    io::Error::new(kind, error)
}
