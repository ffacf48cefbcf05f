//! A stream of `net`, with TLS over it or not, as hyper wants one.
//!
//! Bytes are copied here, once each way: hyper and rustls read into buffers of their own.

use bytes::Bytes;
use hyper_util::client::legacy::connect::{Connected, Connection};
use send_wrapper::SendWrapper;
use skiff_ledger::MemoryClaim;
use skiff_net::{NetError, Stream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::client::TlsStream;

/// A connection of a task's HTTP client.
pub(crate) struct Wire {
    carrier: SendWrapper<Carrier>,
    speaks_http2: bool,
    _place: Place,
}

/// What a connection takes of its task's: one of the connections that it may have, and the memory that it needs.
pub(crate) struct Place {
    pub(crate) _permit: OwnedSemaphorePermit,
    pub(crate) claim: MemoryClaim,
}

/// What carries its bytes.
pub(crate) enum Carrier {
    Plain(Plain),
    Tls(Box<TlsStream<Plain>>),
}

impl Carrier {
    /// Whether both sides have agreed on HTTP/2.
    pub(crate) fn speaks_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(super::tls::HTTP_2),
        }
    }
}

impl Wire {
    pub(crate) fn new(carrier: Carrier, place: Place) -> Self {
        let speaks_http2 = carrier.speaks_http2();
        Self { carrier: SendWrapper::new(carrier), speaks_http2, _place: place }
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        match self.speaks_http2 {
            true => Connected::new().negotiated_h2(),
            false => Connected::new(),
        }
    }
}

/// The same call on whatever carries the connection.
macro_rules! carry {
    ($self:ident, $carrier:ident => $call:expr) => {
        match &mut *$self.carrier {
            Carrier::Plain($carrier) => {
                let $carrier = Pin::new($carrier);
                $call
            }
            Carrier::Tls($carrier) => {
                let $carrier = Pin::new(&mut **$carrier);
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        carry!(self, carrier => carrier.poll_read(cx, into))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        carry!(self, carrier => carrier.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carry!(self, carrier => carrier.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carry!(self, carrier => carrier.poll_shutdown(cx))
    }
}

/// A stream as tokio has them.
pub(crate) struct Plain(pub(crate) Stream);

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if into.remaining() > 0 {
            let bytes = ready!(self.0.poll_read(cx, into.remaining())).map_err(failed)?;
            into.put_slice(&bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let writable = ready!(self.0.poll_writable(cx)).map_err(failed)?;
        let written = &bytes[..bytes.len().min(writable)];
        self.0.write(Bytes::copy_from_slice(written)).map_err(failed)?;
        Poll::Ready(Ok(written.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written goes on its way by itself; to wait until the other side has read it would only delay the rest.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

/// Carries an error through what only knows those of I/O; [`super::errors`] finds it again.
fn failed(error: NetError) -> io::Error {
    io::Error::other(error)
}
