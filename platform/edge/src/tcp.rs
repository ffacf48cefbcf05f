//! TCP listeners: a connection leads to a daemon of one service, byte for byte.
//!
//! All workers accept from the same socket, so each takes one connection at a time and lets the others have their
//! chance. Which daemon is decided once for a connection. What it is that is spoken there, nobody looks at.
//!
//! It deliberately does not bind, nor know which services listen where. A connection counts among the edge's as those
//! of HTTP do: in what a worker may hold, what it says of itself, and what a drain waits for. It has a line in the
//! access log when it ends, of the protocol `TCP`; its bytes are the network's to count (`net`), as all between tasks
//! are.

use crate::accept::{check_accept_error, made_ready};
use crate::access_log::Line;
use crate::connection::Cut;
use crate::edge::Edge;
use crate::relay::{Broken, Carried, Relay};
use crate::routing::{ATTEMPTS_MAX, Service};
use crate::serving::Open;
use skiff_kit::clock::monotonic_ns;
use skiff_ports::connect::{ConnectError, Connection, Origin};
use skiff_types::QualifiedName;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
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
    let listener = made_ready(listener)?;
    loop {
        let accepted = tokio::select! {
            biased;
            () = edge.drain_begun() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                while !edge.has_room() {
                    edge.make_room();
                    edge.room().await;
                }
                let (open, service) = (Open::new(edge, peer), service.clone());
                tokio::task::spawn_local(async move { serve(&open, stream, service).await });
            }
            Err(error) => check_accept_error(error).await?,
        }
        tokio::task::yield_now().await;
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
        let service = service.as_ref().ok_or_else(|| TcpError::NoService(name.clone()))?;
        let mut task = connect(edge, service, &reached).await?;
        let relay = Relay::new(edge.space(), &carried, edge.limits().tunnel_idle_timeout);
        relay.run(&mut stream, &mut task).await.map_err(TcpError::from)
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
        match edge.connect().connect(target.id, pool.port(), Origin::LoadBalancer).await {
            Ok(connection) => return Ok(connection),
            Err(error @ (ConnectError::Gone | ConnectError::Refused)) => missed = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(missed)
}
