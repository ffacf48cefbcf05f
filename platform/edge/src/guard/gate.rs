//! The guard at its place: between a connection's socket and who reads it. It keeps what may not pass yet, which is never
//! more than a head, and what one read of the socket brings beyond it.
//!
//! What hyper reads are whole heads, all of them sound. Where one is not, it reads no more, as if the client were silent:
//! the connection ends it then, and tells the client ([`crate::serving`]). A body that is not sound fails.

use super::{Blocks, Fault};
use crate::connection::Connection;
use bytes::{Buf, BytesMut};
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Bytes of room for what follows a head that came in part.
const READ_BYTES: usize = 2 << 10;

/// What a connection and its guard tell each other.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Requests that have ended.
    ended: Cell<u64>,
    /// Whether its socket is not read until the request in flight ends.
    halted: Cell<bool>,
    met: Cell<Option<Met>>,
    /// Whether load shedding has let the next request in already.
    is_let_in: Cell<bool>,
}

/// An unsound head that it is the turn of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Met {
    pub(crate) fault: Fault,
    /// Requests before it.
    requests: u64,
    /// Whether these were all answered, by answers that did not say that they are the last.
    pub(crate) may_be_told: bool,
}

impl Notes {
    /// A request has ended; says whether the connection's task has to look at its socket.
    pub(crate) fn request_ended(&self) -> bool {
        self.ended.set(self.ended.get() + 1);
        self.halted.take()
    }

    /// Whether there is no next request, but an unsound head.
    pub(crate) fn is_met(&self) -> bool {
        self.met.get().is_some()
    }

    /// Answers from here on say that they are the last.
    pub(crate) fn answers_no_more(&self) {
        if let Some(met) = self.met.get() {
            self.met.set(Some(Met { may_be_told: met.requests == self.ended.get(), ..met }));
        }
    }

    /// The next request is not to be refused for the load.
    pub(crate) fn lets_in(&self) {
        self.is_let_in.set(true);
    }

    /// Whether that was said of this request.
    pub(crate) fn was_let_in(&self) -> bool {
        self.is_let_in.take()
    }

    /// What there is instead of a next request, once.
    pub(crate) fn take(&self) -> Option<Met> {
        self.met.take()
    }
}

/// Lets bytes through.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// What looks at them; without it, all pass.
    blocks: Option<Blocks>,
    /// What was read of the socket and not by who reads here.
    waiting: BytesMut,
    /// Bytes of that which may pass.
    passed: usize,
}

impl Gate {
    /// Puts back what was read, so that it is read again. All of it must be put back.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        self.passed = self.waiting.len();
    }

    /// Looks at what passes from here on, and at what was put back.
    pub(crate) fn close(&mut self, head_bytes_max: usize) {
        let blocks = self.blocks.insert(Blocks::new(head_bytes_max));
        self.passed = blocks.pass(&self.waiting);
    }

    /// Looks at nothing any more: what was kept passes, and all that follows it.
    pub(crate) fn open(&mut self) {
        self.blocks = None;
        self.passed = self.waiting.len();
    }

    /// Waits until something is there to be read, and keeps it; false if the client has ended.
    pub(crate) fn poll_begun<S: AsyncRead>(
        &mut self,
        socket: Pin<&mut S>,
        connection: &Connection,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if !self.waiting.is_empty() {
            return Poll::Ready(Ok(true));
        }
        // None of it is kept while nothing comes.
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(socket.poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(false));
        }
        connection.socket_gave();
        self.passed = self.blocks.as_mut().map_or(read.len(), |blocks| blocks.pass(read));
        self.waiting.extend_from_slice(read);
        Poll::Ready(Ok(true))
    }

    /// Reads what may pass. A request that is whole, and whose turn it is, is shown to `turn_away` first, which says whether
    /// it has answered it: then it passes nowhere.
    pub(crate) fn poll_read<S: AsyncRead>(
        &mut self,
        mut socket: Pin<&mut S>,
        connection: &Connection,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        mut turn_away: impl FnMut(&[u8]) -> bool,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.passed > 0 {
                self.give(buffer);
                return Poll::Ready(Ok(()));
            }
            let Some(blocks) = &mut self.blocks else {
                let before = buffer.filled().len();
                ready!(socket.as_mut().poll_read(context, buffer))?;
                if buffer.filled().len() > before {
                    connection.socket_gave();
                }
                return Poll::Ready(Ok(()));
            };
            if let Some(fault) = blocks.fault() {
                return refuse(blocks, fault, &connection.guard);
            }
            if blocks.is_undecided() {
                if connection.guard.ended.get() == blocks.requests() {
                    blocks.http_goes_on();
                    self.passed = blocks.pass(&self.waiting);
                    continue;
                }
                if !self.waiting.is_empty() {
                    connection.guard.halted.set(true);
                    return Poll::Pending;
                }
            }
            let has_ended = if self.waiting.is_empty() {
                ready!(self.read(socket.as_mut(), connection, context, buffer, &mut turn_away))?
            } else {
                ready!(self.read_more(socket.as_mut(), connection, context))?
            };
            if has_ended {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Gives what may pass.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let bytes = self.passed.min(buffer.remaining());
        buffer.put_slice(&self.waiting[..bytes]);
        self.waiting.advance(bytes);
        self.passed -= bytes;
        if self.waiting.is_empty() {
            // Most connections are idle: they keep no space.
            self.waiting = BytesMut::new();
        }
    }

    /// Reads to where it is wanted, and takes away from there what may not pass; says whether the reader is to look: it
    /// has something now, or the client has ended.
    fn read<S: AsyncRead>(
        &mut self,
        socket: Pin<&mut S>,
        connection: &Connection,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        turn_away: impl FnOnce(&[u8]) -> bool,
    ) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        ready!(socket.poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        if read.is_empty() {
            return Poll::Ready(Ok(true));
        }
        connection.socket_gave();
        let passed = self.blocks.as_mut().map_or(read.len(), |blocks| blocks.pass(read));
        let is_one_request = self.blocks.as_ref().is_some_and(|blocks| {
            passed == read.len()
                && blocks.requests() == connection.guard.ended.get() + 1
                && blocks.is_between()
        });
        if is_one_request && turn_away(read) {
            buffer.set_filled(before);
            return Poll::Ready(Ok(false));
        }
        self.waiting.extend_from_slice(&read[passed..]);
        buffer.set_filled(before + passed);
        Poll::Ready(Ok(passed > 0))
    }

    /// Reads to what waits; says whether the client has ended.
    fn read_more<S: AsyncRead>(
        &mut self,
        socket: Pin<&mut S>,
        connection: &Connection,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        self.waiting.reserve(READ_BYTES);
        let bytes = ready!(poll_read_buf(socket, context, &mut self.waiting))?;
        if bytes == 0 {
            return Poll::Ready(Ok(true));
        }
        connection.socket_gave();
        self.passed = self.blocks.as_mut().map_or(self.waiting.len(), |blocks| blocks.pass(&self.waiting));
        Poll::Ready(Ok(false))
    }
}

/// Nothing more is read. hyper takes it for the failure of a body, or for silence before a head.
fn refuse(blocks: &Blocks, fault: Fault, notes: &Notes) -> Poll<io::Result<()>> {
    if blocks.fault_is_in_body() {
        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
    }
    if !notes.is_met() {
        notes.met.set(Some(Met { fault, requests: blocks.requests(), may_be_told: false }));
    }
    Poll::Pending
}
