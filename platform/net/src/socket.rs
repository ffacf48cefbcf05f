//! A stream socket of the kernel, read and written in the polls of whoever asks for it: no task stands between.
//!
//! What the kernel does not take at once waits here, one write at most and what ends the stream, charged to whose socket it
//! is; and a task that lives as long as anything waits goes on with it. So nothing that was written depends on being asked
//! for again, nor on the socket being kept: what is dropped after its end is still sent, for [`LINGER_MAX`] at most.
//!
//! It deliberately knows neither frames (`line`) nor rates (`outbound`), and counts nothing.
//!
//! What always holds: a socket that was reset is closed at that moment, whoever still has it; who waits for it is woken.

use crate::charge::Charge;
use crate::error::NetError;
use bytes::{BufMut, Bytes, BytesMut};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_util::io::poll_read_buf;

/// How long what was written is still offered to a kernel that does not take it, once nobody has the socket any more.
const LINGER_MAX: Duration = Duration::from_secs(30);
/// What is read at once of what nobody wants to read, in bytes.
const FORGOTTEN_BYTES_AT_ONCE: usize = 16 << 10;
/// What is read of it before others get their turn, in bytes.
const FORGOTTEN_BYTES_OF_A_TURN: usize = 256 << 10;
/// What is read of it in all, in bytes: nobody is charged for the time that takes. Who goes on sending after that to a
/// side that said that it reads no more has its socket reset, as by a kernel whose program is gone.
pub(crate) const FORGOTTEN_BYTES_MAX: usize = 16 << 20;

/// What differs between kinds of stream sockets.
pub(crate) trait Kernel: AsyncRead + AsFd + Unpin + 'static {
    /// What is sent last of all by whoever ends a stream in order.
    const LAST: &'static [u8];

    /// Whether it may be read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether it may be written.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Writes as much as the kernel takes.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Tells the other side that nothing more comes, after [`Self::LAST`].
    fn end(&self) -> io::Result<()>;

    /// Makes it a reset when it is closed.
    fn close_by_reset(&self);
}

impl Kernel for UnixStream {
    const LAST: &'static [u8] = &crate::line::END;

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(cx)
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(parts)
    }

    fn end(&self) -> io::Result<()> {
        // The last frame has said so.
        Ok(())
    }

    fn close_by_reset(&self) {
        // Without the last frame, it is one.
    }
}

impl Kernel for TcpStream {
    const LAST: &'static [u8] = &[];

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(cx)
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(parts)
    }

    fn end(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self, rustix::net::Shutdown::Write)?)
    }

    fn close_by_reset(&self) {
        if let Err(error) = self.set_zero_linger() {
            tracing::debug!(%error, "a connection to the outside ends in order instead of by a reset");
        }
    }
}

/// Whoever waits for something: the one who asked last.
#[derive(Debug, Default)]
pub(crate) struct Waiting(RefCell<Option<Waker>>);

impl Waiting {
    /// Waits, in the place of whoever did before.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        let is_known = self.0.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !is_known {
            let waker = cx.waker().clone();
            let before = self.0.replace(Some(waker));
            // With nothing borrowed: what goes with it may want to wake whoever waits here.
            drop(before);
        }
    }

    /// Wakes whoever waits.
    pub(crate) fn wake(&self) {
        let waker = self.0.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// One stream socket. Lives on one thread, in a `LocalSet`.
pub(crate) struct Socket<S: Kernel>(Rc<Shared<S>>);

struct Shared<S> {
    /// Gone once it was reset.
    kernel: RefCell<Option<S>>,
    /// What the kernel has not taken yet.
    unsent: RefCell<VecDeque<Bytes>>,
    /// As much of it as was charged.
    charged_bytes: Cell<u64>,
    charge: Rc<Charge>,
    writing: Cell<Writing>,
    /// Why nothing can be written any more.
    failed: RefCell<Option<NetError>>,
    /// Whether a task goes on with what is unsent.
    is_flushing: Cell<bool>,
    is_abandoned: Cell<bool>,
    /// What is to be let go of once all is sent.
    held: RefCell<Option<Box<dyn Any>>>,
    reader: Waiting,
    writer: Waiting,
    flusher: Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// To be ended once all is sent.
    Ending,
    Ended,
}

impl<S: Kernel> Socket<S> {
    /// A socket that charges what waits to be sent.
    pub(crate) fn new(kernel: S, charge: Rc<Charge>) -> Self {
        Self(Rc::new(Shared {
            kernel: RefCell::new(Some(kernel)),
            unsent: RefCell::default(),
            charged_bytes: Cell::new(0),
            charge,
            writing: Cell::new(Writing::Open),
            failed: RefCell::default(),
            is_flushing: Cell::new(false),
            is_abandoned: Cell::new(false),
            held: RefCell::default(),
            reader: Waiting::default(),
            writer: Waiting::default(),
            flusher: Waiting::default(),
        }))
    }

    /// Reads at most `bytes_max` behind what `into` has; 0 if nothing will ever come again.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        bytes_max: usize,
    ) -> Poll<Result<usize, NetError>> {
        self.0.poll_read(cx, into, bytes_max)
    }

    /// Reads and forgets what comes, so that the other side does not wait for somebody to read it. After
    /// [`FORGOTTEN_BYTES_MAX`] it is a reset.
    pub(crate) fn forget_incoming(&self) {
        tokio::task::spawn_local(forget(self.0.clone()));
    }

    /// Bytes that came in and were not read.
    pub(crate) fn unread_bytes(&self) -> u64 {
        let kernel = self.0.kernel.borrow();
        kernel.as_ref().and_then(|kernel| rustix::io::ioctl_fionread(kernel).ok()).unwrap_or(0)
    }

    /// Whether the next write may come. Whoever asks is woken when it may.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.0.check_writing()?;
        let kernel = self.0.kernel.borrow();
        let ready = match kernel.as_ref() {
            Some(kernel) if !self.0.is_flushing.get() => kernel.poll_writable(cx),
            _ => Poll::Pending,
        };
        if ready.is_pending() {
            self.0.writer.wait(cx);
        }
        ready.map_err(|error| net_error(&error))
    }

    /// Writes `head` and `body`. What the kernel does not take now waits, and so does the next write.
    pub(crate) fn write(&self, head: &[u8], body: Bytes) -> Result<(), NetError> {
        let shared = &self.0;
        shared.check_writing()?;
        if shared.is_flushing.get() {
            return Err(NetError::InvalidState);
        }
        let length = head.len() + body.len();
        shared.charge.take(length as u64)?;
        let written = shared.try_write(&[IoSlice::new(head), IoSlice::new(&body)]);
        let taken = written.as_ref().map_or(length, |written| *written);
        shared.charge.give_back(taken as u64);
        shared.charged_bytes.update(|charged| charged + (length - taken) as u64);
        let rest_of_head = head.get(written?..).unwrap_or_default();
        let rest_of_body = body.slice(taken.saturating_sub(head.len())..);
        for rest in [Bytes::copy_from_slice(rest_of_head), rest_of_body] {
            if !rest.is_empty() {
                shared.unsent.borrow_mut().push_back(rest);
            }
        }
        self.go_on();
        Ok(())
    }

    /// Ends this side of the stream in order, after all that was written.
    pub(crate) fn end(&self) {
        if self.0.writing.get() == Writing::Open && self.0.failed.borrow().is_none() {
            self.0.writing.set(Writing::Ending);
            if !S::LAST.is_empty() {
                self.0.unsent.borrow_mut().push_back(Bytes::from_static(S::LAST));
            }
            if !self.0.is_flushing.get() && self.0.try_flush().is_err() {
                self.go_on();
            }
        }
    }

    /// Whether this side was ended in order, even if not all is sent.
    pub(crate) fn is_ended(&self) -> bool {
        self.0.writing.get() != Writing::Open
    }

    /// Has whoever asks woken when it is reset, in the place of who waits to read.
    pub(crate) fn wait_to_read(&self, cx: &Context<'_>) {
        self.0.reader.wait(cx);
    }

    /// Has whoever asks woken when it is reset, in the place of who waits to write.
    pub(crate) fn wait_to_write(&self, cx: &Context<'_>) {
        self.0.writer.wait(cx);
    }

    /// Whether it was reset from this side.
    pub(crate) fn is_reset(&self) -> bool {
        self.0.kernel.borrow().is_none()
    }

    /// Closes it now, so that the other side sees a reset.
    pub(crate) fn reset(&self) {
        self.0.reset();
    }

    /// Keeps something until all that was written is sent, or given up: so that who drops socket after socket has no more
    /// of the kernel's than it may.
    pub(crate) fn hold_while_sending<T: 'static>(&self, held: T) {
        if self.0.is_flushing.get() && !self.is_reset() {
            self.0.held.replace(Some(Box::new(held)));
        }
    }

    fn go_on(&self) {
        if !self.0.unsent.borrow().is_empty() && !self.0.is_flushing.replace(true) {
            tokio::task::spawn_local(flush(self.0.clone()));
        }
    }
}

impl<S: Kernel> Drop for Socket<S> {
    fn drop(&mut self) {
        self.0.is_abandoned.set(true);
        self.0.flusher.wake();
        self.0.reader.wake();
    }
}

impl<S: Kernel> Shared<S> {
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        bytes_max: usize,
    ) -> Poll<Result<usize, NetError>> {
        let mut kernel = self.kernel.borrow_mut();
        let Some(kernel) = kernel.as_mut() else { return Poll::Ready(Err(NetError::Reset)) };
        // Asked first, so that a connection on which nothing comes holds no memory to read into.
        let ready = kernel.poll_readable(cx).map_err(|error| net_error(&error))?;
        let read = match ready {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                into.reserve(bytes_max);
                poll_read_buf(Pin::new(kernel), cx, &mut into.limit(bytes_max))
            }
        };
        if read.is_pending() {
            self.reader.wait(cx);
        }
        read.map_err(|error| net_error(&error))
    }

    fn check_writing(&self) -> Result<(), NetError> {
        match &*self.failed.borrow() {
            Some(error) => Err(error.clone()),
            None if self.writing.get() != Writing::Open => Err(NetError::Closed),
            None => Ok(()),
        }
    }

    /// Writes what the kernel takes, maybe nothing.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> Result<usize, NetError> {
        let kernel = self.kernel.borrow();
        let Some(kernel) = kernel.as_ref() else { return Err(NetError::Reset) };
        match kernel.try_write(parts) {
            Err(error) if is_passing(&error) => Ok(0),
            Err(error) => Err(self.fail(net_error(&error))),
            Ok(written) => Ok(written),
        }
    }

    fn fail(&self, error: NetError) -> NetError {
        self.unsent.borrow_mut().clear();
        self.gone(u64::MAX);
        self.failed.borrow_mut().get_or_insert(error).clone()
    }

    /// So many of the bytes that waited wait no more.
    fn gone(&self, bytes: u64) {
        let charged_bytes = self.charged_bytes.get();
        // The last frame is not charged.
        let bytes = bytes.min(charged_bytes);
        self.charged_bytes.set(charged_bytes - bytes);
        self.charge.give_back(bytes);
    }

    /// Sends what waits; an error if the kernel does not take all of it now. What can't be sent at all is given up.
    fn try_flush(&self) -> Result<(), WouldBlock> {
        loop {
            let first = self.unsent.borrow().front().cloned();
            let Some(first) = first else { break };
            let Ok(written) = self.try_write(&[IoSlice::new(&first)]) else { break };
            self.gone(written as u64);
            if written < first.len() {
                if let Some(first) = self.unsent.borrow_mut().front_mut() {
                    *first = first.slice(written..);
                }
                if written == 0 {
                    return Err(WouldBlock);
                }
            } else {
                self.unsent.borrow_mut().pop_front();
            }
        }
        if self.writing.get() == Writing::Ending {
            self.writing.set(Writing::Ended);
            let ended = self.kernel.borrow().as_ref().map_or(Ok(()), Kernel::end);
            if let Err(error) = ended {
                self.fail(net_error(&error));
            }
        }
        Ok(())
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        while self.try_flush().is_err() {
            let kernel = self.kernel.borrow();
            let Some(kernel) = kernel.as_ref() else { break };
            if let Err(error) = ready!(kernel.poll_writable(cx)) {
                self.fail(net_error(&error));
            }
        }
        Poll::Ready(())
    }

    fn reset(&self) {
        let kernel = self.kernel.borrow_mut().take();
        if let Some(kernel) = kernel {
            kernel.close_by_reset();
            drop(kernel);
            self.fail(NetError::Reset);
        }
        for waiting in [&self.reader, &self.writer, &self.flusher] {
            waiting.wake();
        }
    }
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        self.charge.give_back(self.charged_bytes.get());
    }
}

struct WouldBlock;

/// Goes on with what is unsent until all is sent, or until that has taken too long after the socket was dropped.
async fn flush<S: Kernel>(shared: Rc<Shared<S>>) {
    let mut linger: Option<Pin<Box<Sleep>>> = None;
    let is_sent = poll_fn(|cx| {
        if shared.poll_flush(cx).is_ready() {
            return Poll::Ready(true);
        }
        shared.flusher.wait(cx);
        match shared.is_abandoned.get() {
            true => {
                linger.get_or_insert_with(|| Box::pin(sleep(LINGER_MAX))).as_mut().poll(cx).map(|()| false)
            }
            false => Poll::Pending,
        }
    });
    if !is_sent.await {
        shared.reset();
    }
    shared.is_flushing.set(false);
    drop(shared.held.take());
    shared.writer.wake();
}

/// Reads until the end, or until the socket was dropped; resets it if that is too much.
async fn forget<S: Kernel>(shared: Rc<Shared<S>>) {
    let mut left_bytes = FORGOTTEN_BYTES_MAX;
    while let Some(forgotten_bytes) = forget_some(&shared).await {
        left_bytes = left_bytes.saturating_sub(forgotten_bytes);
        if left_bytes == 0 {
            return shared.reset();
        }
        tokio::task::yield_now().await;
    }
}

/// Reads what comes until it is enough for one turn; `None` at the end, or once the socket was dropped.
async fn forget_some<S: Kernel>(shared: &Shared<S>) -> Option<usize> {
    let mut buffer = BytesMut::new();
    let mut forgotten_bytes = 0;
    poll_fn(|cx| {
        while forgotten_bytes < FORGOTTEN_BYTES_OF_A_TURN {
            if shared.is_abandoned.get() {
                return Poll::Ready(None);
            }
            buffer.clear();
            match ready!(shared.poll_read(cx, &mut buffer, FORGOTTEN_BYTES_AT_ONCE)) {
                Ok(bytes @ 1..) => forgotten_bytes += bytes,
                Ok(0) | Err(_) => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(forgotten_bytes))
    })
    .await
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What a guest is told of a failure that the kernel reports.
pub(crate) fn net_error(error: &io::Error) -> NetError {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => NetError::Refused,
        Some(Errno::TIMEDOUT) => NetError::TimedOut,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL) => {
            NetError::Unreachable
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            NetError::Denied("the host's own network does not allow it".into())
        }
        Some(Errno::MFILE | Errno::NFILE) => NetError::TooManySockets("descriptors of the worker"),
        Some(Errno::NOMEM | Errno::NOBUFS) => NetError::OutOfMemory,
        Some(Errno::MSGSIZE) => NetError::DatagramTooLarge,
        Some(Errno::AFNOSUPPORT) => NetError::NotSupported,
        _ => NetError::Reset,
    }
}
