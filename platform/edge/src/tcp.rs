//! TCP listeners: a connection leads to a daemon of one service, byte for byte.
//!
//! All workers accept from the same socket, so each takes one connection at a time and lets the others have their
//! chance; a worker without room takes none. Which daemon is decided once for a connection. What it is that is spoken
//! there, nobody looks at.
//!
//! It deliberately does not bind, nor know which services listen where. A connection counts among the edge's as those
//! of HTTP do: in what a worker may hold, what it says of itself, and what a drain waits for; but only a share of them may
//! be such (`share`), and past that it is reset. It has a line in the access log when it ends, of the protocol `TCP`; its
//! bytes are the network's to count (`net`), as all between tasks are.

use crate::accept::{check_accept_error, make_ready};
use crate::access_log::Line;
use crate::connection::Cut;
use crate::daemon;
use crate::edge::Edge;
use crate::relay::{Broken, Carried, Relay};
use crate::routing::{ATTEMPTS_MAX, Service};
use crate::serving::Open;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use skiff_kit::clock::monotonic_ns;
use skiff_ports::connect::{ConnectError, Connection};
use skiff_types::QualifiedName;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A port that is listened on. Dropped, it accepts no more; what it has begun to serve goes on.
#[derive(Debug)]
pub struct TcpListening {
    accepting: JoinHandle<()>,
}

impl Drop for TcpListening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Why a connection ended before both sides had ended it.
#[derive(Debug, thiserror::Error)]
enum TcpError {
    #[error("this worker has as many connections without HTTP as it may")]
    NoPlace,
    #[error("no service {0}")]
    NoService(QualifiedName),
    #[error("the service has no task at present that takes connections")]
    NoTarget,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Cut(#[from] Cut),
}

impl Edge {
    /// Has what connects to `listener` reach the daemons of `service`, whether there are any at present or not, until
    /// the edge drains. The socket may be shared with other workers. Must be called in a `LocalSet`.
    pub fn listen_tcp(
        self: &Rc<Self>,
        listener: std::net::TcpListener,
        service: QualifiedName,
    ) -> TcpListening {
        let edge = self.clone();
        let accepting = tokio::task::spawn_local(async move {
            if let Err(error) = accept(&edge, listener, &service).await {
                tracing::error!(%error, %service, "this worker can't accept TCP connections any more");
            }
        });
        TcpListening { accepting }
    }
}

async fn accept(edge: &Rc<Edge>, listener: std::net::TcpListener, service: &QualifiedName) -> io::Result<()> {
    let door = Door::new(listener)?;
    // Who will be refused needs no room, and nobody is to go for it.
    let may_take = || edge.has_room() || edge.share().is_full();
    loop {
        tokio::select! {
            biased;
            () = edge.drain_begun() => return Ok(()),
            () = edge.room(), if !may_take() => {}
            ready = door.told.readable(), if may_take() || !edge.is_crowded() => {
                ready?;
                match may_take() {
                    true => take_next(edge, &door, service).await?,
                    false if door.anything_waits() => edge.make_room(),
                    false => {}
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Serves the connection that waits, unless another worker has taken it.
async fn take_next(edge: &Rc<Edge>, door: &Door, service: &QualifiedName) -> io::Result<()> {
    match door.accept() {
        Ok((stream, peer)) => {
            let (open, service) = (Open::new(edge, peer), service.clone());
            tokio::task::spawn_local(async move { serve(&open, stream, service).await });
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => check_accept_error(error).await,
    }
}

/// A listener that shows whether a connection waits without taking it, so that it is left to others.
struct Door {
    listener: std::net::TcpListener,
    /// The same socket. Only told by it when something waits, which is the same for all kinds of sockets.
    told: TcpStream,
}

impl Door {
    fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        make_ready(&listener)?;
        let same = OwnedFd::from(listener.try_clone()?);
        Ok(Self { told: TcpStream::from_std(same.into())?, listener })
    }

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.told.try_io(Interest::READABLE, || self.listener.accept())?;
        stream.set_nonblocking(true)?;
        Ok((TcpStream::from_std(stream)?, peer))
    }

    /// The socket only says so until it was found empty, and others may have emptied it.
    fn anything_waits(&self) -> bool {
        let look = || {
            let mut asked = [PollFd::new(&self.listener, PollFlags::IN)];
            match poll(&mut asked, Some(&Timespec::default()))? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        };
        self.told.try_io(Interest::READABLE, look).is_ok()
    }
}

async fn serve(open: &Open, mut stream: TcpStream, name: QualifiedName) {
    let edge = open.edge();
    let begun_ns = monotonic_ns();
    // Fails only if the client is gone already, which serving it will show.
    let _ = stream.set_nodelay(true);
    // Busy from here on: its own silence bounds it.
    open.connection().request_began(false);
    let (carried, reached) = (Carried::default(), Cell::new(None));
    let service = edge.service(&name);
    let carrying = async {
        let _place = edge.share().take().ok_or(TcpError::NoPlace)?;
        let service = service.as_ref().ok_or_else(|| TcpError::NoService(name.clone()))?;
        let task = connect(edge, service, &reached).await?;
        let relay = Relay::new(edge.space(), &carried, edge.limits().tunnel_idle_timeout);
        relay.run(&mut stream, task).await.map_err(TcpError::from)
    };
    let ended = open.connection().unless_cut(carrying).await.map_err(TcpError::from).flatten();
    if ended.is_err() {
        // So that the client sees a reset, not the end of what it was sent.
        let _ = stream.set_zero_linger();
    }
    let Some(log) = edge.access_log() else { return };
    let target = reached.get().and_then(|index: usize| service.as_ref()?.targets.get(index));
    log.write(Line {
        client: open.connection().client.to_str().unwrap_or_default(),
        protocol: "TCP",
        bytes_in: carried.from_client_bytes(),
        bytes_out: carried.from_task_bytes(),
        duration_us: monotonic_ns().saturating_sub(begun_ns) / 1_000,
        service: Some(&name.to_string()),
        task: target.map(|target| &*target.label),
        error: ended.err().map(|error| error.to_string()).as_deref(),
        ..Line::default()
    });
}

/// Connects to the daemon with the fewest connections, or to another if it can't take one; `reached` says which was
/// tried last.
async fn connect(
    edge: &Edge,
    service: &Service,
    reached: &Cell<Option<usize>>,
) -> Result<Box<dyn Connection>, TcpError> {
    let first = service.pick_for_connection().ok_or(TcpError::NoTarget)?;
    let count = service.targets.len();
    let mut missed = TcpError::NoTarget;
    for attempt in 0..count.min(ATTEMPTS_MAX) {
        let index = (first + attempt) % count;
        let target = &service.targets[index];
        let Some(pool) = &target.pool else { continue };
        reached.set(Some(index));
        match daemon::connect(edge, target.id, pool).await {
            Ok(connection) => return Ok(connection),
            Err(error @ (ConnectError::Gone | ConnectError::Refused)) => missed = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(missed)
}
