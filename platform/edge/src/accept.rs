//! Accepting at the built-in listener: every worker takes connections off the one listening socket, and the one that has
//! more than another hands what it accepts to that other. Other listeners of HTTP accept for themselves
//! ([`crate::listening`]), and hand over in the same way.
//!
//! A connection crosses as a descriptor (`SCM_RIGHTS`) through the other worker's *inbox*, a pair of Unix sockets
//! that the supervisor keeps open too: what waits there when a worker dies is served by the next one. A connection is
//! handed over once at most, and kept if that would mean waiting. Which listener it came to, its own port says.
//!
//! A worker that has no room for what it accepts, and no other to hand it to, keeps it waiting and closes the connection
//! that has been idle longest.
//!
//! How many connections a worker has, it writes down itself, those in its inbox included; whoever hands one over adds
//! it at once, so that a burst spreads evenly. A worker without a heartbeat is handed none.

use crate::edge::Edge;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::Ledger;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UnixDatagram};

/// How many connections another worker must have fewer, so that one is handed to it.
const HAND_OVER_SLACK: u64 = 1;
/// And how much fewer of one's own: one in so many. Keeps short-lived connections from going back and forth.
const HAND_OVER_SLACK_SHARE: u64 = 16;
/// How old a worker's last heartbeat may be, for it to be handed connections.
const PEER_SILENCE_MAX: Duration = Duration::from_secs(2);
/// Connections taken off an inbox in a row before others get their turn.
const INBOX_BATCH: usize = 16;
/// How long to accept none when descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection waits for its listener to be told of here, where another worker was told before.
const LISTENER_WAIT_MAX: Duration = Duration::from_secs(2);
/// Silence after which the kernel asks whether a client is still there.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The two ends of one worker's inbox.
#[derive(Debug)]
pub struct Inbox {
    /// Given to every worker.
    pub send: OwnedFd,
    /// Given to the worker whose inbox it is.
    pub receive: OwnedFd,
}

impl Inbox {
    /// Makes an inbox. It holds as many connections as the kernel's send buffer has room for, some 270.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (send, receive) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok(Self { send, receive })
    }
}

/// Takes connections for one worker.
#[derive(Debug)]
pub struct Acceptor {
    /// The socket that all workers share.
    pub listener: std::net::TcpListener,
    /// The receiving end of this worker's inbox.
    pub inbox: OwnedFd,
    /// The sending ends of all workers' inboxes, by worker; its own place is never used.
    pub peers: Vec<OwnedFd>,
    /// Which worker this is.
    pub worker: usize,
    /// Says which worker has how many connections.
    pub ledger: Ledger,
}

impl Acceptor {
    /// Accepts and serves until the edge drains; ends when it has. Must run in a `LocalSet`.
    ///
    /// Connections that wait to be accepted are left to other workers.
    pub async fn run(self, edge: Rc<Edge>) -> io::Result<()> {
        edge.attach_inbox(self.inbox.try_clone()?);
        make_ready(&self.listener)?;
        let listener = TcpListener::from_std(self.listener)?;
        // Only told by it when something waits, which is the same for all kinds of Unix sockets.
        let inbox = UnixDatagram::from_std(self.inbox.into())?;
        let peers = Rc::new(Peers { inboxes: self.peers, worker: self.worker, ledger: self.ledger });
        edge.attach_peers(peers.clone());
        let (mut inbox_is_open, mut waiting) = (true, None);
        loop {
            if edge.has_room()
                && let Some((stream, peer)) = waiting.take()
            {
                peers.take(stream, peer, &edge);
                continue;
            }
            tokio::select! {
                biased;
                () = edge.drain_begun() => break,
                () = edge.room(), if !edge.has_room() => {}
                ready = inbox.readable(), if inbox_is_open && (edge.has_room() || !edge.is_crowded()) => {
                    ready?;
                    match edge.has_room() {
                        true => inbox_is_open = empty_inbox(&inbox, &edge).await?,
                        false if anything_waits(&inbox) => edge.make_room(),
                        false => {}
                    }
                }
                accepted = listener.accept(), if waiting.is_none() => match accepted {
                    Ok((stream, peer)) if edge.has_room() => peers.take(stream, peer, &edge),
                    Ok((stream, _)) if peers.hand_over(&stream, Came::ToBuiltIn, &edge) => {}
                    Ok(accepted) => {
                        waiting = Some(accepted);
                        edge.make_room();
                    }
                    Err(error) => check_accept_error(error).await?,
                },
            }
        }
        drop(listener);
        if let Some((stream, peer)) = waiting {
            serve(stream, peer, &edge);
        }
        // What others handed over before they saw that this worker drains.
        while inbox_is_open {
            tokio::select! {
                biased;
                ready = inbox.readable(), if edge.has_room() => {
                    ready?;
                    inbox_is_open = empty_inbox(&inbox, &edge).await?;
                }
                () = edge.room(), if !edge.has_room() => {}
                () = edge.drained() => break,
            }
        }
        Ok(())
    }
}

/// Makes a listener one to accept with.
pub(crate) fn make_ready(listener: &std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // Both are handed down to what is accepted.
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, TCP_KEEP_ALIVE)?;
    Ok(())
}

/// Whether a connection waits in the inbox, which only says so until it was found empty.
fn anything_waits(inbox: &UnixDatagram) -> bool {
    let look = || match rustix::io::ioctl_fionread(inbox)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    };
    inbox.try_io(Interest::READABLE, look).is_ok()
}

/// Takes what waits in the inbox; false if nothing will ever come again.
async fn empty_inbox(inbox: &UnixDatagram, edge: &Rc<Edge>) -> io::Result<bool> {
    for _ in 0..INBOX_BATCH {
        if !edge.has_room() {
            return Ok(true);
        }
        match inbox.try_io(Interest::READABLE, || receive(inbox.as_fd())) {
            Ok(Received::Stream(stream, came)) => serve_received(stream, came, edge),
            Ok(Received::Nothing) => tracing::warn!("a connection was lost on its way between workers"),
            Ok(Received::End) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => check_accept_error(error).await?,
        }
    }
    tokio::task::yield_now().await;
    Ok(true)
}

/// Where a connection came to that crosses to another worker. One byte, so that the bytes that wait in an inbox are the
/// connections that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Came {
    ToBuiltIn = b'c',
    /// To the listener on its port.
    ToAnother = b'l',
}

/// The other workers, as far as connections are handed to them.
#[derive(Debug)]
pub(crate) struct Peers {
    inboxes: Vec<OwnedFd>,
    worker: usize,
    ledger: Ledger,
}

impl Peers {
    /// Serves a connection, or gives it to the worker that should have it.
    fn take(&self, stream: TcpStream, peer: SocketAddr, edge: &Rc<Edge>) {
        if !self.hand_over(&stream, Came::ToBuiltIn, edge) {
            serve(stream, peer, edge);
        }
    }

    /// Gives a connection to the worker that should have it; false if that is this one.
    pub(crate) fn hand_over(&self, stream: &TcpStream, came: Came, edge: &Edge) -> bool {
        let worker = self.choose(edge.connections() as u64);
        let sent = worker.filter(|&worker| send(self.inboxes[worker].as_fd(), stream.as_fd(), came).is_ok());
        if let Some(worker) = sent {
            self.ledger.worker(worker).connections.add(1);
        }
        sent.is_some()
    }

    fn choose(&self, own: u64) -> Option<usize> {
        let silence_ns = PEER_SILENCE_MAX.as_nanos() as u64;
        let now_ns = monotonic_ns();
        let workers = 0..self.inboxes.len().min(self.ledger.workers());
        let peers = workers.filter(|&worker| worker != self.worker).filter_map(|worker| {
            let row = self.ledger.worker(worker);
            let alive = now_ns.saturating_sub(row.heartbeat_ns.get()) <= silence_ns;
            alive.then(|| (worker, row.connections.get()))
        });
        worker_to_hand_to(own, peers)
    }
}

/// The worker that should have the next connection instead of one that holds `own`, of workers and what they hold.
fn worker_to_hand_to(own: u64, peers: impl Iterator<Item = (usize, u64)>) -> Option<usize> {
    let slack = HAND_OVER_SLACK + own / HAND_OVER_SLACK_SHARE;
    let (peer, connections) = peers.min_by_key(|&(_, connections)| connections)?;
    (connections.saturating_add(slack) <= own).then_some(peer)
}

fn serve(stream: TcpStream, peer: SocketAddr, edge: &Rc<Edge>) {
    tokio::task::spawn_local(edge.serve(stream, peer));
}

fn serve_received(stream: OwnedFd, came: Came, edge: &Rc<Edge>) {
    let stream = TcpStream::from_std(std::net::TcpStream::from(stream));
    // Its peer is not known any more if it has gone meanwhile.
    let Ok(stream) = stream else { return };
    let (Ok(peer), Ok(own)) = (stream.peer_addr(), stream.local_addr()) else { return };
    if came == Came::ToBuiltIn {
        return serve(stream, peer, edge);
    }
    match edge.listeners().at_port(own.port()) {
        Some(listener) => drop(tokio::task::spawn_local(edge.serve_at(stream, peer, listener))),
        None => drop(tokio::task::spawn_local(serve_late(stream, (own, peer), edge.clone()))),
    }
}

/// Serves a connection once its listener is known here; where that never comes true, nobody does.
async fn serve_late(stream: TcpStream, (own, peer): (SocketAddr, SocketAddr), edge: Rc<Edge>) {
    let known = async {
        loop {
            if let Some(listener) = edge.listeners().at_port(own.port()) {
                break listener;
            }
            edge.listeners().added().await;
        }
    };
    match tokio::time::timeout(LISTENER_WAIT_MAX, known).await {
        Ok(listener) => edge.serve_at(stream, peer, listener).await,
        Err(_) => tracing::warn!(port = own.port(), "a connection came from another worker to no listener"),
    }
}

fn send(inbox: BorrowedFd<'_>, stream: BorrowedFd<'_>, came: Came) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let streams = [stream];
    assert!(control.push(SendAncillaryMessage::ScmRights(&streams)), "there is space for one descriptor");
    let byte = [came as u8];
    sendmsg(inbox, &[IoSlice::new(&byte)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}

enum Received {
    Stream(OwnedFd, Came),
    /// A message without a descriptor: there was none left to receive it in.
    Nothing,
    /// Nobody can send any more.
    End,
}

fn receive(inbox: BorrowedFd<'_>) -> io::Result<Received> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = recvmsg(inbox, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut streams) = message
            && let Some(stream) = streams.next()
        {
            let came = if byte == [Came::ToAnother as u8] { Came::ToAnother } else { Came::ToBuiltIn };
            return Ok(Received::Stream(stream, came));
        }
    }
    Ok(if message.bytes == 0 { Received::End } else { Received::Nothing })
}

/// Waits where waiting helps; gives back what can't be mended.
pub(crate) async fn check_accept_error(error: io::Error) -> io::Result<()> {
    match Errno::from_io_error(&error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            tracing::warn!(%error, "no connection can be accepted at present");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            Ok(())
        }
        Some(Errno::BADF | Errno::NOTSOCK | Errno::INVAL | Errno::OPNOTSUPP) | None => Err(error),
        // All others are the one connection's failures (accept(2), "Error handling").
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[track_caller]
    fn check(own: u64, peers: &[u64], expected: Option<usize>) {
        assert_eq!(worker_to_hand_to(own, peers.iter().copied().enumerate()), expected);
    }

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        check(0, &[], None);
        check(0, &[0, 0], None);
        check(1, &[0], Some(0));
        check(1, &[1, 1], None);
        check(5, &[4, 3, 3], Some(1));
        check(32, &[30], None);
        check(32, &[29], Some(0));
        check(0, &[u64::MAX], None);
    }

    #[test]
    fn a_burst_spreads_evenly() {
        let (mut own, mut peers) = (0, [0; 3]);
        for _ in 0..400 {
            match worker_to_hand_to(own, peers.iter().copied().enumerate()) {
                Some(peer) => peers[peer] += 1,
                None => own += 1,
            }
        }
        assert!((95..=110).contains(&own) && peers.iter().all(|count| (90..=105).contains(count)));
    }

    #[test]
    fn a_connection_waits_in_an_inbox_and_a_full_inbox_takes_none() {
        let inbox = Inbox::new().unwrap();
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        send(inbox.send.as_fd(), theirs.as_fd(), Came::ToBuiltIn).unwrap();
        send(inbox.send.as_fd(), theirs.as_fd(), Came::ToAnother).unwrap();
        assert_eq!(rustix::io::ioctl_fionread(&inbox.receive).unwrap(), 2);
        drop(theirs);
        let Received::Stream(stream, Came::ToBuiltIn) = receive(inbox.receive.as_fd()).unwrap() else {
            panic!("no stream")
        };
        std::os::unix::net::UnixStream::from(stream).write_all(b"x").unwrap();
        let mut byte = [0];
        ours.read_exact(&mut byte).unwrap();
        let mut waiting = 1;
        while send(inbox.send.as_fd(), ours.as_fd(), Came::ToAnother).is_ok() {
            waiting += 1;
        }
        assert!((100..1_000).contains(&waiting), "{waiting} fit");
        drop(inbox.send);
        while waiting > 0 {
            let received = receive(inbox.receive.as_fd()).unwrap();
            assert!(matches!(received, Received::Stream(_, Came::ToAnother)));
            waiting -= 1;
        }
        assert!(matches!(receive(inbox.receive.as_fd()).unwrap(), Received::End));
    }
}
