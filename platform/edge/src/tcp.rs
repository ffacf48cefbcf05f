//! Connections of TCP: each leads to a target of one group, byte for byte.
//!
//! Which group and which target is decided once for a connection. What it is that is spoken there, nobody looks at.
//!
//! It deliberately does not accept ([`crate::listening`]). A connection counts among the edge's as those of HTTP do: in
//! what a worker may hold, what it says of itself, and what a drain waits for; but only a share of them may be such
//! (`share`), and past that, or past what a client or its target group may have ([`crate::limit`]), it is reset. It has a
//! line in the access log when it ends, of the protocol `TCP`; its bytes are the network's to count (`net`), as all between
//! tasks are.

use crate::access_log::Line;
use crate::connection::Cut;
use crate::daemon::{self, Left, Pool, Turn};
use crate::decision::{By, Ground};
use crate::edge::Edge;
use crate::group::{Aim, Load, Outcome, Target, Tried};
use crate::limit::{self, Exceeded, InFlight, Unit};
use crate::listener::Listener;
use crate::meters::OpenConnection;
use crate::refusal::Refusal;
use crate::relay::{Broken, Carried, Relay};
use crate::serving::Open;
use skiff_kit::clock::monotonic_ns;
use skiff_ports::connect::{ConnectError, Connection};
use skiff_types::{Action, QualifiedName};
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

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
    TooMany(#[from] Exceeded),
    #[error(transparent)]
    NoGroup(#[from] Refusal),
    #[error("the service has no task at present that takes connections")]
    NoTarget,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Left(#[from] Left),
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
                Ok(edge.divide(Aim::at(group), None))
            }
            Self::As(listener) => match listener.spec().as_ref().map(|spec| &spec.default_action) {
                Some(Action::Forward(forward)) => Ok(edge.divide(edge.aim(forward, None)?, None)),
                Some(Action::Redirect(_) | Action::FixedResponse(_)) | None => Err(TcpError::NotForwarded),
            },
        }
    }

    /// Lets a connection in, as far as its listener bounds those of a client; a port of a service bounds none.
    fn admit(&self, open: &Open) -> Result<Option<InFlight>, Exceeded> {
        match self {
            Self::ToService(_) => Ok(None),
            Self::As(_) => limit::of_client(open.edge(), open.connection(), Unit::Connections),
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
pub(crate) async fn serve<C: Connection>(open: &Open, mut stream: C, leads: Leads) {
    let edge = open.edge();
    let begun_ns = monotonic_ns();
    // Busy from here on: its own silence bounds it.
    open.connection().request_began(false);
    let (carried, aim, reached) = (Carried::default(), OnceCell::new(), Cell::new(None));
    let counted = OnceCell::new();
    let carrying = async {
        let _of_client = leads.admit(open)?;
        let _place = edge.share().take().ok_or(TcpError::NoPlace)?;
        let found = leads.aim(edge)?;
        let aim = aim.get_or_init(|| found);
        let _of_group = limit::of_group(edge, aim, Unit::Connections)?;
        let (task, turn) = connect(edge, aim, &reached).await?;
        counted.get_or_init(|| count(edge, aim, reached.get()));
        let relay = Relay::new(edge.space(), &carried, edge.limits().tunnel_idle_timeout);
        let target = turn.as_ref().map(|turn| &**turn.pool());
        let relayed = Pool::unless_left(target, relay.run(&mut stream, task)).await?;
        relayed.map_err(TcpError::from)
    };
    let ended = open.connection().unless_cut(carrying).await.map_err(TcpError::from).flatten();
    if matches!(ended, Err(TcpError::TooMany(_))) {
        reject(edge, &leads, aim.get());
    }
    if ended.is_err() {
        // So that the client sees a reset, not the end of what it was sent.
        stream.break_off();
    }
    let counted = counted.get().into_iter().flatten().flatten();
    for open in counted.chain(open.counted()) {
        open.carried(carried.from_client_bytes(), carried.from_task_bytes());
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

/// Counts a connection that was refused because there were too many; where it is its group's limit, at that too.
fn reject(edge: &Edge, leads: &Leads, aim: Option<&Aim>) {
    let listener = match leads {
        Leads::As(listener) => listener.meter().clone(),
        Leads::ToService(_) => None,
    };
    for meter in [listener.as_ref(), aim.and_then(|aim| aim.meter.as_ref())].into_iter().flatten() {
        meter.row(edge.worker()).rejected.add(1);
    }
}

/// Counts a connection at its target group, and at the address that it leads to.
fn count(edge: &Edge, aim: &Aim, reached: Option<usize>) -> [Option<OpenConnection>; 2] {
    let target = reached.and_then(|index| aim.group.targets.get(index)?.meter.as_ref());
    [aim.meter.as_ref(), target].map(|meter| Some(OpenConnection::begin(meter?, edge.worker())))
}

/// Connects to the target whose turn it is, or to another if that can't take a connection; `reached` says which was tried
/// last. Of who is not in the ledger, it counts for as long as what is given with it lasts.
async fn connect(
    edge: &Edge,
    aim: &Aim,
    reached: &Cell<Option<usize>>,
) -> Result<(Box<dyn Connection>, Option<Turn>), TcpError> {
    aim.group.budget.deposit();
    let (mut tried, mut missed) = (Tried::default(), TcpError::NoTarget);
    let mut next = aim.first(Load::Connections, edge.chance());
    while let Some(index) = next {
        let target = &aim.group.targets[index];
        let Some(pool) = target.pool() else { break };
        tried.add(index);
        reached.set(Some(index));
        let connected = daemon::connect(edge, pool).await;
        note(edge, aim, index, connected.as_ref().err());
        match connected {
            Ok(connection) => {
                let turn = target.slot.is_none().then(|| Turn::begin(pool.clone()));
                return Ok((connection, turn));
            }
            // The others' rules say the same.
            Err(error @ ConnectError::Denied(_)) => return Err(error.into()),
            Err(error) => {
                next = aim.another(Load::Connections, &tried, edge, error != ConnectError::Gone);
                missed = error.into();
            }
        }
    }
    Err(missed)
}

/// Learns of a target what came of connecting to it, and counts it if that failed.
fn note(edge: &Edge, aim: &Aim, index: usize, error: Option<&ConnectError>) {
    let target = &aim.group.targets[index];
    match error {
        Some(ConnectError::Denied(_)) => return,
        // Of a task, the routes will say so; of an address, nobody does.
        Some(ConnectError::Gone) if target.slot.is_some() => return,
        Some(_) | None => {}
    }
    let outcome = Outcome { has_failed: error.is_some(), response_us: None };
    aim.learn(index, outcome, edge.worker(), monotonic_ns());
    let meters = [aim.meter.as_ref(), target.meter.as_ref()];
    for meter in meters.into_iter().flatten().filter(|_| outcome.has_failed) {
        meter.row(edge.worker()).target_errors.add(1);
    }
}
