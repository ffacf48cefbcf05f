//! Connections of TCP: each leads to a target of one group, byte for byte.
//!
//! Which group and which target is decided once for a connection. What it is that is spoken there, nobody looks at.
//!
//! It deliberately does not accept ([`crate::listening`]). A connection counts among the edge's as those of HTTP do: in
//! what a worker may hold, what it says of itself, and what a drain waits for; but only a share of them may be such
//! (`share`), and past that it is reset. It has a line in the access log when it ends, of the protocol `TCP`; its bytes
//! are the network's to count (`net`), as all between tasks are.

use crate::access_log::Line;
use crate::connection::Cut;
use crate::daemon::{self, Turn};
use crate::decision::{By, Ground};
use crate::edge::Edge;
use crate::group::{ATTEMPTS_MAX, Aim, Target};
use crate::listener::Listener;
use crate::refusal::Refusal;
use crate::relay::{Broken, Carried, Relay};
use crate::serving::Open;
use skiff_kit::clock::monotonic_ns;
use skiff_ports::connect::{ConnectError, Connection};
use skiff_types::{Action, QualifiedName};
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use tokio::net::TcpStream;

/// Where a connection leads to.
pub(crate) enum Leads {
    /// To a daemon of this service.
    ToService(QualifiedName),
    /// Where the default action of this listener forwards it to.
    As(Rc<Listener>),
}

/// Why a connection ended before both sides had ended it.
#[derive(Debug, thiserror::Error)]
enum TcpError {
    #[error("this worker has as many connections without HTTP as it may")]
    NoPlace,
    #[error("no service {0}")]
    NoService(QualifiedName),
    #[error("the listener does not forward connections")]
    NotForwarded,
    #[error(transparent)]
    NoGroup(#[from] Refusal),
    #[error("the service has no task at present that takes connections")]
    NoTarget,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Cut(#[from] Cut),
}

impl Leads {
    fn aim(&self, edge: &Edge) -> Result<Aim, TcpError> {
        match self {
            Self::ToService(name) => {
                let group = edge.service(name).ok_or_else(|| TcpError::NoService(name.clone()))?;
                Ok(Aim { algorithm: group.algorithm(), group, named: None })
            }
            Self::As(listener) => match listener.spec().as_ref().map(|spec| &spec.default_action) {
                Some(Action::Forward(forward)) => Ok(edge.aim(forward)?),
                Some(Action::Redirect(_) | Action::FixedResponse(_)) | None => Err(TcpError::NotForwarded),
            },
        }
    }

    /// By what a connection is led there.
    fn ground(&self) -> Option<Ground> {
        match self {
            Self::ToService(_) => Some(Ground::SERVICE),
            Self::As(listener) => listener.spec().as_ref().map(|spec| By::Default.does(&spec.default_action)),
        }
    }
}

/// Carries a connection's bytes to its end.
pub(crate) async fn serve(open: &Open, mut stream: TcpStream, leads: Leads) {
    let edge = open.edge();
    let begun_ns = monotonic_ns();
    // Fails only if the client is gone already, which serving it will show.
    let _ = stream.set_nodelay(true);
    // Busy from here on: its own silence bounds it.
    open.connection().request_began(false);
    let (carried, aim, reached) = (Carried::default(), OnceCell::new(), Cell::new(None));
    let carrying = async {
        let _place = edge.share().take().ok_or(TcpError::NoPlace)?;
        let found = leads.aim(edge)?;
        let (task, _turn) = connect(edge, aim.get_or_init(|| found), &reached).await?;
        let relay = Relay::new(edge.space(), &carried, edge.limits().tunnel_idle_timeout);
        relay.run(&mut stream, task).await.map_err(TcpError::from)
    };
    let ended = open.connection().unless_cut(carrying).await.map_err(TcpError::from).flatten();
    if ended.is_err() {
        // So that the client sees a reset, not the end of what it was sent.
        let _ = stream.set_zero_linger();
    }
    let Some(log) = edge.access_log() else { return };
    let group = aim.get().map(|aim: &Aim| &*aim.group);
    let service = match &leads {
        Leads::ToService(name) => Some(name.to_string()),
        Leads::As(_) => group.map(|group| group.label.to_string()),
    };
    let target = reached.get().and_then(|index: usize| group?.targets.get(index));
    let line = open.connection().line();
    let listener = match &leads {
        Leads::ToService(_) => None,
        Leads::As(_) => line.listener,
    };
    let named = aim.get().and_then(|aim: &Aim| aim.named.as_deref());
    log.write(Line {
        listener,
        protocol: "TCP",
        bytes_in: carried.from_client_bytes(),
        bytes_out: carried.from_task_bytes(),
        duration_us: monotonic_ns().saturating_sub(begun_ns) / 1_000,
        service: service.as_deref(),
        target_group: named.or(service.as_deref()),
        task: target.map(|target| &*target.label),
        target_port: target.and_then(Target::port_beside_label),
        ground: leads.ground(),
        error: ended.err().map(|error| error.to_string()).as_deref(),
        ..line
    });
}

/// Connects to the target whose turn it is, or to another if that can't take a connection; `reached` says which was tried
/// last. Of who is not in the ledger, it counts for as long as what is given with it lasts.
async fn connect(
    edge: &Edge,
    Aim { group, algorithm, .. }: &Aim,
    reached: &Cell<Option<usize>>,
) -> Result<(Box<dyn Connection>, Option<Turn>), TcpError> {
    let first = group.pick_for_connection(*algorithm, edge.chance()).ok_or(TcpError::NoTarget)?;
    let count = group.targets.len();
    let mut missed = TcpError::NoTarget;
    let indices = (first..first + count).map(|index| index % count);
    // An `http` task is called, and takes no connections.
    let connected_to = indices.filter_map(|index| Some((index, group.targets[index].pool()?)));
    for (index, pool) in connected_to.take(ATTEMPTS_MAX) {
        reached.set(Some(index));
        match daemon::connect(edge, pool).await {
            Ok(connection) => {
                let turn = group.targets[index].slot.is_none().then(|| Turn::begin(pool.clone()));
                return Ok((connection, turn));
            }
            Err(error @ (ConnectError::Gone | ConnectError::Refused)) => missed = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(missed)
}
