//! Listeners beside the built-in one, accepted from: those of services, which lead to one service's daemons, and those
//! that were told of by name, which speak HTTP or carry bytes.
//!
//! All workers accept from the same socket, so each takes one connection at a time and lets the others have their chance;
//! a worker without room takes none. One of HTTP then goes to the worker that should have it ([`crate::accept`]); what
//! carries bytes stays ([`crate::tcp`]).
//!
//! It deliberately does not bind, nor know which services listen where. A socket may come before its listener is told of:
//! what connects meanwhile waits.

use crate::accept::{Came, check_accept_error, make_ready};
use crate::edge::Edge;
use crate::listener::Listener;
use crate::serving::Open;
use crate::tcp::{self, Leads};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use skiff_types::{ListenerProtocol, Name, QualifiedName};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A port that is listened on. Dropped, it accepts no more; what it has begun to serve goes on.
#[derive(Debug)]
pub struct Listening {
    accepting: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Edge {
    /// Has what connects to `listener` reach the daemons of `service`, whether there are any at present or not, until
    /// the edge drains. The socket may be shared with other workers. Must be called in a `LocalSet`.
    pub fn listen_tcp(self: &Rc<Self>, listener: std::net::TcpListener, service: QualifiedName) -> Listening {
        self.start_accepting(listener, Whose::Service(service))
    }

    /// Accepts for the listener of this name, whether it was told of already or not ([`Edge::balance`]), until the edge
    /// drains. The socket may be shared with other workers. Must be called in a `LocalSet`.
    pub fn listen(self: &Rc<Self>, listener: std::net::TcpListener, name: Name) -> Listening {
        // A socket that listens has one.
        if let Ok(address) = listener.local_addr() {
            self.listeners().accepts_at(&name, address.port());
        }
        self.start_accepting(listener, Whose::Listener(name))
    }

    fn start_accepting(self: &Rc<Self>, listener: std::net::TcpListener, whose: Whose) -> Listening {
        let edge = self.clone();
        let accepting = tokio::task::spawn_local(async move {
            if let Err(error) = accept(&edge, listener, &whose).await {
                tracing::error!(%error, ?whose, "this worker can't accept connections there any more");
            }
        });
        Listening { accepting }
    }
}

/// Whose socket it is.
#[derive(Debug)]
enum Whose {
    Service(QualifiedName),
    Listener(Name),
}

/// What becomes of the next connection.
enum Next {
    Http(Rc<Listener>),
    Bytes(Leads),
}

impl Whose {
    /// Nothing, if that is not known yet; nor where the listener is internal by now, which closes the socket soon.
    fn next(&self, edge: &Edge) -> Option<Next> {
        match self {
            Self::Service(name) => Some(Next::Bytes(Leads::ToService(name.clone()))),
            Self::Listener(name) => {
                let listener = edge.listeners().get(name).filter(|listener| !listener.is_internal())?;
                match listener.protocol() {
                    ListenerProtocol::Http | ListenerProtocol::Https => Some(Next::Http(listener)),
                    ListenerProtocol::Tcp => Some(Next::Bytes(Leads::As(listener))),
                }
            }
        }
    }
}

impl Next {
    /// Whether a connection can be taken. Who will be refused needs no room, and nobody is to go for it.
    fn may_be_taken(&self, edge: &Edge) -> bool {
        edge.has_room() || matches!(self, Self::Bytes(_)) && edge.share().is_full()
    }
}

async fn accept(edge: &Rc<Edge>, listener: std::net::TcpListener, whose: &Whose) -> io::Result<()> {
    let door = Door::new(listener)?;
    loop {
        let next = whose.next(edge);
        let may_take = || next.as_ref().is_some_and(|next| next.may_be_taken(edge));
        tokio::select! {
            biased;
            () = edge.drain_begun() => return Ok(()),
            () = edge.listeners().added() => {}
            () = edge.room(), if next.is_some() && !may_take() => {}
            ready = door.told.readable(), if next.is_some() && (may_take() || !edge.is_crowded()) => {
                ready?;
                match whose.next(edge) {
                    Some(next) if next.may_be_taken(edge) => take_next(edge, &door, next).await?,
                    Some(_) if door.anything_waits() => edge.make_room(),
                    Some(_) | None => {}
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Serves the connection that waits, unless another worker has taken it.
async fn take_next(edge: &Rc<Edge>, door: &Door, next: Next) -> io::Result<()> {
    match door.accept() {
        Ok((stream, peer)) => {
            serve(edge, stream, peer, next);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => check_accept_error(error).await,
    }
}

fn serve(edge: &Rc<Edge>, stream: TcpStream, peer: SocketAddr, next: Next) {
    match next {
        Next::Http(listener) => {
            let is_taken = edge.peers().is_some_and(|peers| peers.hand_over(&stream, Came::ToAnother, edge));
            if !is_taken {
                tokio::task::spawn_local(edge.serve_at(stream, peer, listener));
            }
        }
        Next::Bytes(leads) => {
            let open = match &leads {
                Leads::As(listener) => Open::new(edge, peer, listener.clone()),
                Leads::ToService(_) => Open::of_no_listener(edge, peer, edge.listeners().built_in().clone()),
            };
            // Fails only if the client is gone already, which serving it will show.
            let _ = stream.set_nodelay(true);
            tokio::task::spawn_local(async move { tcp::serve(&open, stream, leads).await });
        }
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
