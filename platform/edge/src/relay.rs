//! Bytes both ways between a client and a task, whatever they mean: until both sides have ended, one can't go on, or
//! nothing comes any more. The clients are the load balancer's, and operators (`worker::forward`).
//!
//! What always holds: a task never takes a relay that broke, or was given up, for one whose client has ended.
//!
//! A side that ends what it sends is still sent to. Who sends slower than the other takes holds no buffer: all relays
//! of a thread read into one space, and keep only what was not taken at once, at most as much as the space has.

use crate::silence::Silence;
use bytes::{Buf, BytesMut};
use skiff_ports::connect::Connection;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at a time, and the most that a relay keeps in one direction.
const SPACE_BYTES: usize = 32 << 10;
/// How often one direction reads before others get their turn.
const ROUNDS_MAX: usize = 8;

/// Where relays of one thread read to; one is enough for all.
pub struct Space(RefCell<Box<[u8]>>);

impl Default for Space {
    fn default() -> Self {
        Self(RefCell::new(vec![0; SPACE_BYTES].into()))
    }
}

/// What came from either side. It can be read whatever became of the relay.
#[derive(Debug, Default)]
pub struct Carried {
    from_client: Cell<u64>,
    from_task: Cell<u64>,
}

impl Carried {
    /// Bytes that the client sent.
    pub fn from_client_bytes(&self) -> u64 {
        self.from_client.get()
    }

    /// Bytes that the task sent.
    pub fn from_task_bytes(&self) -> u64 {
        self.from_task.get()
    }
}

/// Why a relay ended before both sides had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The client.
    #[error("the client broke the connection off")]
    ByClient,
    /// The task.
    #[error("the task broke the connection off")]
    ByTask,
    /// Nobody, but neither had anything to say.
    #[error("neither side sent anything for {idle_ms} ms")]
    Silent {
        /// For how long, in milliseconds.
        idle_ms: u64,
    },
}

/// A relay that has not begun.
pub struct Relay<'a> {
    space: &'a Space,
    carried: &'a Carried,
    up: Half,
    down: Half,
    silence: Silence,
}

impl<'a> Relay<'a> {
    /// One that ends when both sides have sent nothing for `silence_max`.
    pub fn new(space: &'a Space, carried: &'a Carried, silence_max: Duration) -> Self {
        Self {
            space,
            carried,
            up: Half::default(),
            down: Half::default(),
            silence: Silence::new(silence_max),
        }
    }

    /// The same, with what was read of both sides already.
    pub(crate) fn after(mut self, from_client: &[u8], from_task: &[u8]) -> Self {
        self.up.keep(from_client, &self.carried.from_client);
        self.down.keep(from_task, &self.carried.from_task);
        self
    }

    /// Carries bytes until both sides have ended. Where it does not come to that, also because this is dropped, the task's
    /// connection is broken off; what becomes of the client's is the caller's to see to.
    pub async fn run<C>(mut self, client: &mut C, task: Box<dyn Connection>) -> Result<(), Broken>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut task = TaskEnd { connection: task, has_ended: false };
        let ended: Result<(), Broken> = poll_fn(|context| {
            let Self { space, carried, up, down, silence } = &mut self;
            let connection = &mut task.connection;
            let sent = up.poll_carry(context, client, connection, space, &carried.from_client);
            let up_polled = sent.map_err(|end| end.named(Broken::ByClient, Broken::ByTask))?;
            let sent = down.poll_carry(context, connection, client, space, &carried.from_task);
            let down_polled = sent.map_err(|end| end.named(Broken::ByTask, Broken::ByClient))?;
            if up_polled.is_ready() && down_polled.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if up.has_moved() | down.has_moved() {
                silence.heard();
            }
            silence.poll_too_long(context).map(|()| Err(Broken::Silent { idle_ms: silence.bound_ms() }))
        })
        .await;
        task.has_ended = ended.is_ok();
        ended
    }
}

/// The task's connection while it is relayed.
struct TaskEnd {
    connection: Box<dyn Connection>,
    /// Both sides have.
    has_ended: bool,
}

impl Drop for TaskEnd {
    fn drop(&mut self) {
        if !self.has_ended {
            self.connection.break_off();
        }
    }
}

/// The end that failed, of those that a direction leads from and to.
enum Failed {
    From,
    To,
}

impl Failed {
    fn named(&self, from: Broken, to: Broken) -> Broken {
        match self {
            Self::From => from,
            Self::To => to,
        }
    }
}

/// One direction.
#[derive(Default)]
struct Half {
    /// Was read, and not taken yet.
    kept: BytesMut,
    /// Nothing will be read any more.
    ended: bool,
    /// And that was passed on.
    shut: bool,
    /// Something was read or taken since somebody asked.
    moved: bool,
}

impl Half {
    fn keep(&mut self, bytes: &[u8], carried: &Cell<u64>) {
        self.kept.extend_from_slice(bytes);
        carried.set(carried.get() + bytes.len() as u64);
    }

    fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Carries what there is; ready when the end was passed on.
    fn poll_carry<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        space: &Space,
        carried: &Cell<u64>,
    ) -> Poll<Result<(), Failed>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS_MAX {
            ready!(self.poll_write_kept(context, to)).map_err(|_| Failed::To)?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(|_| Failed::To)?;
                self.shut = true;
                return Poll::Ready(Ok(()));
            }
            let mut bytes = space.0.borrow_mut();
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *from).poll_read(context, &mut buffer) {
                Poll::Ready(read) => read.map_err(|_| Failed::From)?,
                Poll::Pending => {
                    drop(bytes);
                    // Each time: what it took and holds (`watched`) may find no room later, and waits for this then.
                    ready!(Pin::new(&mut *to).poll_flush(context)).map_err(|_| Failed::To)?;
                    return Poll::Pending;
                }
            }
            let read = buffer.filled();
            self.ended = read.is_empty();
            self.moved = true;
            carried.set(carried.get() + read.len() as u64);
            if !self.ended {
                self.write_or_keep(context, to, read).map_err(|_| Failed::To)?;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write_kept<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let taken = ready!(Pin::new(&mut *to).poll_write(context, &self.kept))?;
            self.took(taken)?;
            self.kept.advance(taken);
            if self.kept.is_empty() {
                // Most are silent: they keep no space.
                self.kept = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_or_keep<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut W,
        bytes: &[u8],
    ) -> io::Result<()> {
        let taken = match Pin::new(to).poll_write(context, bytes) {
            Poll::Ready(taken) => {
                let taken = taken?;
                self.took(taken)?;
                taken
            }
            Poll::Pending => 0,
        };
        self.kept.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    fn took(&mut self, bytes: usize) -> io::Result<()> {
        self.moved = true;
        if bytes == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
