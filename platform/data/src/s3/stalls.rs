//! A connection whose peer must take what it is sent: a write that makes no way for too long is an error.
//!
//! Reads have no bound here: a connection that waits for its next request is the HTTP server's to bound, and one that sends a body
//! the body's.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long a wait has gone on, and how long it may.
pub(super) struct Patience {
    bound: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(bound: Duration) -> Self {
        Self { bound, waiting: None }
    }

    /// What was waited for has come.
    pub(super) fn renew(&mut self) {
        self.waiting = None;
    }

    /// It has not; ready once that was so for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let bound = self.bound;
        self.waiting.get_or_insert_with(|| Box::pin(sleep(bound))).as_mut().poll(cx)
    }
}

/// A connection whose writes have a bound.
pub(super) struct Taken {
    stream: TcpStream,
    patience: Patience,
}

impl Taken {
    pub(super) fn new(stream: TcpStream, bound: Duration) -> Self {
        Self { stream, patience: Patience::new(bound) }
    }

    fn bounded<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.patience.renew();
            return done;
        }
        self.patience.poll(cx).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take what it is sent"))
        })
    }
}

impl AsyncRead for Taken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.bounded(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
