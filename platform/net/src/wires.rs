//! The way between the workers of a node: each has an inbox, and every other can put messages into it.
//!
//! A message wants to open a line to a task of that worker, with one end of a fresh pair of sockets (`SCM_RIGHTS`), or
//! is a datagram. An inbox is a pair of Unix sockets (`SOCK_SEQPACKET`) that the supervisor keeps open too, like the ones
//! that `edge` hands connections over in: what waits there when a worker dies, the next one gets. What wants to open a line
//! waits for room in a full inbox; a datagram is lost there, and takes only the first quarter of it, so that a flood
//! of them keeps nobody from opening lines.
//!
//! It deliberately judges nothing: the worker that gets a message asks its own rules, and says who may enter.
//!
//! What always holds: workers believe each other who sends a message, since they run no code but the platform's; whoever
//! opens a line gets an answer, or sees that the worker that should give it is gone.

use crate::charge::Charge;
use crate::error::NetError;
use crate::line::{self, Answer, Line};
use crate::socket::net_error;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use skiff_ports::connect::Origin;
use skiff_types::TaskId;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Bytes of a message before a datagram's own.
const HEAD_BYTES_MAX: usize = 128;
/// Bytes of a datagram that an inbox takes: more than a guest may send.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Messages taken off an inbox in a row before others get their turn.
const INBOX_BATCH: usize = 32;
/// How long to take no message when descriptors or memory have run out.
const INBOX_PAUSE: Duration = Duration::from_millis(50);

/// Who wants to open a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Opener {
    /// A task.
    Task(TaskId),
    /// The platform itself, on somebody's behalf.
    Platform(Origin),
}

/// The wish to open a line, in the words of the side that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// Who wants to connect.
    pub(crate) from: Opener,
    /// Its address and port; the platform's port is chosen by the worker that is asked.
    pub(crate) local: SocketAddr,
    /// Where it wants to connect to.
    pub(crate) remote: SocketAddr,
}

/// A datagram on its way to a task of another worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// The task that sent it.
    pub(crate) from: TaskId,
    /// Its address and port.
    pub(crate) local: SocketAddr,
    /// Where it goes.
    pub(crate) remote: SocketAddr,
    /// What it carries.
    pub(crate) bytes: Bytes,
}

/// Takes what comes in for a worker's tasks.
pub(crate) trait Receiver {
    /// Somebody in another worker wants to connect. Whoever drops `caller` without a word refuses.
    fn opening(&self, opening: Opening, caller: Caller);

    /// Another worker's task has sent a datagram.
    fn datagram(&self, datagram: Datagram);
}

/// Who wants to open a line, and waits for the answer.
#[derive(Debug)]
pub(crate) struct Caller(OwnedFd);

impl Caller {
    /// Lets it in: here is this side's end, which charges what waits to be sent.
    ///
    /// # Errors
    /// `Reset` if it has given up meanwhile; those of a worker that has run out of descriptors or memory.
    pub(crate) fn accept(self, charge: Rc<Charge>) -> Result<Line, NetError> {
        line::answer(&self.0, Answer::Accepted)?;
        Line::new(self.0, charge)
    }

    /// Tells it that nobody listens there.
    pub(crate) fn refuse(self) {
        // Who has given up needs no answer.
        let _ = line::answer(&self.0, Answer::Refused);
    }

    /// Tells it which rule is missing.
    pub(crate) fn deny(self, sentence: &str) {
        let _ = line::answer(&self.0, Answer::Denied(sentence));
    }
}

/// What precedes the bytes of a datagram in a message.
#[derive(Debug, Serialize, Deserialize)]
enum Head {
    Opening(Opening),
    Datagram { from: TaskId, local: SocketAddr, remote: SocketAddr },
}

/// One worker's inbox, and the ways into the others'.
#[derive(Debug)]
pub struct Wires {
    /// Only told by these when something waits or has room, which is the same for all kinds of Unix sockets.
    inbox: RefCell<Option<UnixDatagram>>,
    peers: Vec<UnixDatagram>,
    worker: u32,
}

impl Wires {
    /// Of the receiving end of a worker's own inbox and the sending ends of all workers' inboxes, by worker; its own place
    /// among them is never used. All are sockets of kind `SOCK_SEQPACKET` that do not block. Within a runtime.
    pub fn new(inbox: OwnedFd, peers: Vec<OwnedFd>, worker: u32) -> io::Result<Self> {
        let told_by = |socket: OwnedFd| UnixDatagram::from_std(socket.into());
        Ok(Self {
            inbox: RefCell::new(Some(told_by(inbox)?)),
            peers: peers.into_iter().map(told_by).collect::<io::Result<_>>()?,
            worker,
        })
    }

    /// Of the one worker of a node.
    pub fn alone() -> Self {
        Self { inbox: RefCell::new(None), peers: Vec::new(), worker: 0 }
    }

    /// Reads this worker's inbox for `receiver`, as long as it lives. Must run in a `LocalSet`.
    pub(crate) fn start<R: Receiver + 'static>(&self, receiver: Weak<R>) {
        if let Some(inbox) = self.inbox.take() {
            tokio::task::spawn_local(async move {
                if let Err(error) = read(&inbox, &receiver).await {
                    tracing::error!(%error, "nothing more comes from other workers");
                }
            });
        }
    }

    /// Opens a line to a task in another worker, whose end here charges what waits to be sent. Waits for the answer as
    /// long as it takes: who has waited long enough drops this.
    ///
    /// # Errors
    /// `Denied` and `Refused` as the other worker answers, `Refused` also if it is gone before it does.
    pub(crate) async fn open(
        &self,
        worker: u32,
        opening: Opening,
        charge: Rc<Charge>,
    ) -> Result<Line, NetError> {
        let peer = self.peer(worker).ok_or(NetError::Unreachable)?;
        let head = postcard::to_stdvec(&Head::Opening(opening)).expect("an opening can be written down");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| net_error(&error.into()))?;
        let message = [IoSlice::new(&head)];
        let mut sent = send(peer.as_fd(), &message, Some(theirs.as_fd()));
        // The kernel says that there is room again only once there is much.
        while sent == Err(Errno::AGAIN) {
            peer.writable().await.map_err(|error| net_error(&error))?;
            sent =
                once_ready(peer, Interest::WRITABLE, || send(peer.as_fd(), &message, Some(theirs.as_fd())));
        }
        sent.map_err(|error| match error {
            // Too many descriptors are on their way (unix(7)): as if there were too many here.
            Errno::TOOMANYREFS => net_error(&Errno::MFILE.into()),
            error => net_error(&error.into()),
        })?;
        // So that the other end closes when the other worker lets go of it.
        drop(theirs);
        let line = Line::new(ours, charge)?;
        poll_fn(|cx| line.poll_answer(cx)).await?;
        Ok(line)
    }

    /// Sends a datagram to a task in another worker, if there is room on the way; says whether it was.
    pub(crate) fn send(&self, worker: u32, datagram: &Datagram) -> bool {
        let Some(peer) = self.peer(worker) else { return false };
        let Datagram { from, local, remote, ref bytes } = *datagram;
        let head = Head::Datagram { from, local, remote };
        let head = postcard::to_stdvec(&head).expect("a datagram's head can be written down");
        bytes.len() <= DATAGRAM_BYTES_MAX
            && has_much_room(peer.as_fd())
            && send(peer.as_fd(), &[IoSlice::new(&head), IoSlice::new(bytes)], None).is_ok()
    }

    fn peer(&self, worker: u32) -> Option<&UnixDatagram> {
        self.peers.get(worker as usize).filter(|_| worker != self.worker)
    }
}

/// Does what a socket was said to be ready for. If it is not, the next wait is for the kernel to say so again.
fn once_ready<T>(
    socket: &UnixDatagram,
    interest: Interest,
    step: impl FnOnce() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let done = socket.try_io(interest, || step().map_err(io::Error::from));
    done.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
}

/// Whether no more than a quarter of an inbox is taken: only then the kernel says that it is writable
/// (`unix_writable` in net/unix/af_unix.c).
fn has_much_room(inbox: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut asked = [PollFd::from_borrowed_fd(inbox, PollFlags::OUT)];
    poll(&mut asked, Some(&at_once)).is_ok() && asked[0].revents().contains(PollFlags::OUT)
}

fn send(
    inbox: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    socket: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = socket.as_slice();
    if !sockets.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(sockets)), "there is space for one descriptor");
    }
    sendmsg(inbox, parts, &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Hands on what comes, until nobody wants it any more or nobody can send any more.
async fn read<R: Receiver>(inbox: &UnixDatagram, receiver: &Weak<R>) -> io::Result<()> {
    let mut buffer = vec![0; HEAD_BYTES_MAX + DATAGRAM_BYTES_MAX];
    loop {
        inbox.readable().await?;
        for _ in 0..INBOX_BATCH {
            let Some(receiver) = receiver.upgrade() else { return Ok(()) };
            match once_ready(inbox, Interest::READABLE, || receive(inbox.as_fd(), &mut buffer)) {
                Ok(Received::Opening(opening, caller)) => receiver.opening(opening, caller),
                Ok(Received::Datagram(datagram)) => receiver.datagram(datagram),
                Ok(Received::Nothing) => tracing::warn!("a message was lost on its way between workers"),
                Ok(Received::End) => return Ok(()),
                Err(Errno::AGAIN) => break,
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    tracing::warn!(%error, "no message of other workers can be taken at present");
                    tokio::time::sleep(INBOX_PAUSE).await;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        tokio::task::yield_now().await;
    }
}

enum Received {
    Opening(Opening, Caller),
    Datagram(Datagram),
    /// A message that makes no sense, or without its descriptor: there was none left to receive it in.
    Nothing,
    /// Nobody can send any more.
    End,
}

fn receive(inbox: BorrowedFd<'_>, buffer: &mut [u8]) -> rustix::io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = recvmsg(inbox, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut socket = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message {
            socket = sockets.next().or(socket);
        }
    }
    if message.bytes == 0 {
        return Ok(Received::End);
    }
    let is_whole = !message.flags.contains(ReturnFlags::TRUNC);
    let read = postcard::take_from_bytes(&buffer[..message.bytes]);
    Ok(match (read, socket) {
        (Ok((Head::Opening(opening), _)), Some(socket)) => Received::Opening(opening, Caller(socket)),
        (Ok((Head::Datagram { from, local, remote }, bytes)), _) if is_whole => {
            let bytes = Bytes::copy_from_slice(bytes);
            Received::Datagram(Datagram { from, local, remote, bytes })
        }
        _ => Received::Nothing,
    })
}

#[cfg(test)]
mod tests;
