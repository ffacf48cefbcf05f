//! A connection's bytes as who is at its other end means them, client or target, over those that its socket carries.
//!
//! What always holds: nothing is encrypted while the socket has not taken what was encrypted before. So who takes nothing
//! is seen to take nothing (`tokio_rustls` would take more for a while), and holds one write at most.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

/// A stream of TLS, whichever end of it this is.
pub(crate) trait TlsEnd: AsyncRead + AsyncWrite + Unpin {
    /// Whether anything was encrypted that the socket has not taken.
    fn has_unsent(&self) -> bool;
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsEnd for server::TlsStream<S> {
    fn has_unsent(&self) -> bool {
        self.get_ref().1.wants_write()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsEnd for client::TlsStream<S> {
    fn has_unsent(&self) -> bool {
        self.get_ref().1.wants_write()
    }
}

/// A connection that speaks TLS. What it took is sent for certain when it was flushed.
pub(crate) struct Encrypted<T>(pub(crate) T);

impl<T: TlsEnd> Encrypted<T> {
    /// Has the socket take what was encrypted.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.has_unsent() {
            return Pin::new(&mut self.0).poll_flush(context);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: TlsEnd> AsyncRead for Encrypted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<T: TlsEnd> AsyncWrite for Encrypted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.0).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    /// Says that nothing more is sent (close_notify), then closes the socket for what goes out.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
