//! The two halves of a connection as streams of WASI 0.3, and connections that come in as a stream of sockets.
//!
//! A half lives as long as its stream: when that is dropped, the half is shut down, as `wasi:sockets` has it; the connection
//! itself ends with the last of its socket and its streams. Bytes are copied once, between the guest's memory and the
//! network's.
//!
//! What always holds: the future of a half is told exactly once how it ended; what was taken from the network waits here until
//! the guest reads it or drops the stream; a connection of which bytes were lost never ends in order.

use super::bindings::types::ErrorCode;
use super::tcp::{Listening, TcpSocket};
use super::view;
use crate::local::Local;
use bytes::Bytes;
use skiff_net::{NetError, Stream};
use skiff_sandbox::SandboxState;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use wasmtime::component::{Destination, Resource, Source, StreamConsumer, StreamProducer, StreamResult};
use wasmtime::{AsContextMut, StoreContextMut};

/// Bytes that are read at once for whoever asks without a word on how many.
const READ_BYTES: usize = 64 << 10;

/// How a half of a connection ended.
pub(super) type End = Result<(), ErrorCode>;

/// A connection, as a socket and its streams share it.
pub(super) type Connection = Local<Rc<Stream>>;

/// A half of a connection, and who is told how it ended.
struct Half {
    connection: Connection,
    told: oneshot::Sender<End>,
}

impl Half {
    fn tell(self, end: End) {
        // The guest may not want to know.
        _ = self.told.send(end);
    }
}

/// Takes what a guest sends.
pub(super) struct Sending(Option<Half>);

impl Sending {
    pub(super) fn new(connection: Connection, told: oneshot::Sender<End>) -> Self {
        Self(Some(Half { connection, told }))
    }

    fn end(&mut self, end: End) {
        if let Some(half) = self.0.take() {
            half.connection.with(|stream| stream.shutdown_write());
            half.tell(end);
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl StreamConsumer<SandboxState> for Sending {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'_, SandboxState>,
        mut source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Some(half) = &self.0 else { return Poll::Ready(Ok(StreamResult::Dropped)) };
        let mut bytes = source.reborrow().as_direct(store.as_context_mut());
        match half.connection.with(|stream| poll_write(stream, cx, bytes.remaining())) {
            Poll::Ready(Ok(count)) => {
                bytes.mark_read(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Err(error)) => {
                let code = view(store.data_mut()).told(error);
                self.end(Err(code));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Writes as much as there is room for; of nothing, whether there is any room.
fn poll_write(stream: &Stream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, NetError>> {
    let room = ready!(stream.poll_writable(cx))?;
    let count = room.min(bytes.len());
    if count > 0
        && let Err(error) = stream.write(Bytes::copy_from_slice(&bytes[..count]))
    {
        if !matches!(error, NetError::Closed | NetError::Reset) {
            stream.reset();
        }
        return Poll::Ready(Err(error));
    }
    Poll::Ready(Ok(count))
}

/// Gives a guest what comes.
pub(super) struct Receiving {
    half: Option<Half>,
    /// What came when the guest asked whether there is anything, or could not take the whole of it.
    unread: Option<Local<Bytes>>,
}

impl Receiving {
    pub(super) fn new(connection: Connection, told: oneshot::Sender<End>) -> Self {
        Self { half: Some(Half { connection, told }), unread: None }
    }

    fn end(&mut self, end: End) {
        if let Some(half) = self.half.take() {
            half.connection.with(|stream| stream.shutdown_read());
            half.tell(end);
        }
    }

    /// Sees to it that there is something unread; false if nothing will ever come again, and nobody listens for how the
    /// half ended.
    fn poll_unread(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<bool, NetError>> {
        let Some(half) = &self.half else { return Poll::Ready(Ok(false)) };
        if self.unread.is_some() {
            return Poll::Ready(Ok(true));
        }
        let bytes = ready!(half.connection.with(|stream| stream.poll_read(cx, bytes_max)))?;
        if bytes.is_empty() {
            self.end(Ok(()));
            return Poll::Ready(Ok(false));
        }
        self.unread = Some(Local::new(bytes));
        Poll::Ready(Ok(true))
    }

    /// Moves what is unread, as far as there is room for it.
    fn read(&mut self, into: &mut [u8]) -> usize {
        let Some(unread) = &mut self.unread else { return 0 };
        let (count, is_all) = unread.with_mut(|bytes| {
            let count = into.len().min(bytes.len());
            into[..count].copy_from_slice(&bytes.split_to(count));
            (count, bytes.is_empty())
        });
        if is_all {
            self.unread = None;
        }
        count
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl StreamProducer<SandboxState> for Receiving {
    type Item = u8;
    // Bytes go directly where they are read.
    type Buffer = Option<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, SandboxState>,
        mut destination: Destination<'a, u8, Option<u8>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let room = destination.remaining(store.as_context_mut());
        let bytes_max = room.filter(|room| *room > 0).unwrap_or(READ_BYTES);
        match self.poll_unread(cx, bytes_max) {
            Poll::Ready(Ok(true)) => {
                // Without room it was only asked whether there is anything.
                if room != Some(0) {
                    let mut space = destination.reborrow().as_direct(store.as_context_mut(), READ_BYTES);
                    let count = self.read(space.remaining());
                    space.mark_written(count);
                }
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Ok(false)) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Ready(Err(error)) => {
                let code = view(store.data_mut()).told(error);
                self.end(Err(code));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Gives a guest the connections that come in.
pub(super) struct Incoming {
    listening: Local<Rc<Listening>>,
    /// Accepted when the guest asked whether there is one.
    next: Option<Connection>,
}

impl Incoming {
    pub(super) fn new(listening: Local<Rc<Listening>>) -> Self {
        Self { listening, next: None }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        if self.next.is_none() {
            let accepted = ready!(self.listening.with(|listening| listening.listener.poll_accept(cx)))?;
            self.next = Some(Local::make(|| Rc::new(accepted)));
        }
        Poll::Ready(Ok(()))
    }
}

/// Who waits in a backlog that is closed is reset, and so is who was taken out of it for a guest that left.
impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(connection) = &self.next {
            connection.with(|stream| stream.reset());
        }
    }
}

impl StreamProducer<SandboxState> for Incoming {
    type Item = Resource<TcpSocket>;
    type Buffer = Option<Self::Item>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, SandboxState>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        loop {
            match self.poll_next(cx) {
                Poll::Ready(Ok(())) => {}
                // The task has no interface any more.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            }
            // Without room it was only asked whether there is one.
            if destination.remaining(store.as_context_mut()) == Some(0) {
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            let Some(connection) = self.next.take() else { continue };
            let socket = TcpSocket::accepted(connection.clone(), self.listening.get());
            if let Ok(socket) = view(store.data_mut()).table.push(socket) {
                destination.set_buffer(Some(socket));
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            // The guest has no room for one more resource, for which whoever connects can't be the reason that it ends.
            connection.with(|stream| stream.reset());
        }
    }
}
