//! A stream of `net`, with TLS over it or not, as hyper wants one.
//!
//! Bytes are copied on the way, once each way, by `net`'s `Duplex`: hyper and rustls read into buffers of their own.
//! Errors of `net` pass as those of I/O, with what they were inside, where [`super::errors`] finds it again.

use hyper_util::client::legacy::connect::{Connected, Connection};
use send_wrapper::SendWrapper;
use skiff_ledger::MemoryClaim;
use skiff_net::Duplex;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
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
    Plain(Duplex),
    Tls(Box<TlsStream<Duplex>>),
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
