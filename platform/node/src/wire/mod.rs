//! What a supervisor and its workers say to each other, over a Unix stream socket.
//!
//! Both ends are the same build of the same program, so messages carry no version; their bytes are postcard's.

mod calls;
mod frame;
mod piece;
mod room;

pub use calls::{CALL_BYTES_MAX, CallReader, CallWriter, call_bytes, call_frame, call_frames, read_call};
pub use frame::{FRAME_BYTES_MAX, FrameReader, FrameWriter, frames};
pub use piece::{Gatherer, Piece, Received, pieces};
pub(crate) use room::{CALL_KIB_MIN, ROOM_KIB};
pub use room::{TASK_ROOM_KIB, room_kib};

use serde::{Deserialize, Serialize};
use skiff_ports::cookie::CookieKey;
use skiff_ports::flows::{FlowRecord, InterfaceState};
use skiff_ports::guest_deliveries::{DeliverError, GuestDelivery, GuestOutcome};
use skiff_ports::logs::LogLine;
use skiff_ports::metrics::GuestPoint;
use skiff_ports::network::NetworkSetup;
use skiff_ports::runtime::{ColdStart, TaskEvent};
use skiff_ports::snapshot::Version;
use skiff_ports::spans::{SampleShare, SpanRecord};
use skiff_ports::tls::TicketKeys;
use skiff_types::{Digest, Name, QualifiedName, TaskId};
use std::fmt;
use std::path::PathBuf;

/// Tells the answer to one question from that to another, on one socket.
pub type RequestId = u64;

/// From the supervisor to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToWorker {
    /// First of all. Comes with descriptors: the ledger, the listening socket, the worker's inbox of connections, the
    /// sending ends of all workers' inboxes in the order of their seats; then the same of the wires between workers: the
    /// worker's inbox, and the sending ends of all; then the data socket, for the calls of guests ([`call_frames`]).
    Hello(WorkerSetup),
    /// Act on this from now on; with the last piece of a difference, acknowledge its version.
    Change(Box<Piece>),
    /// The answer to [`FromWorker::FetchCode`]; with one descriptor if it is `Ok`.
    Code {
        /// Which question.
        request: RequestId,
        /// Why there is none.
        result: Result<(), String>,
    },
    /// Measure cold starts of a task.
    MeasureColdStart {
        /// To be named in the answer.
        request: RequestId,
        /// Which task.
        task: TaskId,
        /// The path to call.
        path: String,
        /// How often.
        rounds: u32,
    },
    /// Say what goes on at a task's network interface.
    InterfaceState {
        /// To be named in the answer.
        request: RequestId,
        /// Which task.
        task: TaskId,
    },
    /// Take connections at these ports, and at no others but that of the greeting. Comes with a descriptor for each, in
    /// order, after the change with the routes and listeners that lead on from there.
    Listeners(Vec<ListenerTold>),
    /// Make and open session tickets of TLS with these keys from now on. Comes before any listener.
    Tickets(TicketKeys),
    /// Open a connection to a task that lives in this worker, and pass on what goes through the descriptor that comes with
    /// this.
    Forward {
        /// To be named in the answer.
        request: RequestId,
        /// Which task.
        task: TaskId,
        /// Which port of it.
        port: u16,
    },
    /// Give a task's guest an event, messages or a request.
    Deliver {
        /// To be named in the answer.
        request: RequestId,
        /// Which task.
        task: TaskId,
        /// What.
        delivery: GuestDelivery,
    },
    /// Take no more connections, finish what is in flight within so many milliseconds, and say so.
    Drain {
        /// The time for it, in milliseconds.
        timeout_ms: u64,
    },
    /// Exit: nothing is in flight in any worker any more that could lead to this one's tasks.
    Exit,
}

/// A port that is listened at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerTold {
    /// Which port.
    pub port: u16,
    /// Who asked for it.
    pub leads: Leads,
}

/// Where connections at a port lead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Leads {
    /// To the daemons of a service, byte for byte.
    Service(QualifiedName),
    /// To a listener, which says what is spoken there and where to.
    Listener(Name),
}

impl fmt::Display for Leads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "the service {service}"),
            Self::Listener(listener) => write!(f, "the listener {listener}"),
        }
    }
}

/// What one worker has room for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WorkerRoom {
    /// Sandboxes at once.
    pub sandboxes_max: u32,
    /// Connections at once.
    pub connections_max: u32,
    /// Sockets at once that lead out of the worker: of tasks, and of the load balancer to hosts outside.
    pub sockets_max: u32,
    /// Components whose native code is mapped.
    pub components_max: u32,
    /// Mapped native code, in bytes.
    pub code_bytes_max: u64,
}

/// Where access logs go, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// The file.
    pub path: PathBuf,
    /// How its lines are written.
    pub format: AccessLogFormat,
}

/// How lines of an access log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLogFormat {
    /// Each as an object of JSON.
    Json,
    /// As Elastic Load Balancing does.
    Elb,
}

/// What a worker is told once, when it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerSetup {
    /// Its seat, from 0.
    pub worker: u32,
    /// What it has room for.
    pub room: WorkerRoom,
    /// Where and how to write the access log, if at all.
    pub access_log: Option<AccessLog>,
    /// What it must know of the network in any case.
    pub network: NetworkSetup,
    /// What it signs cookies with.
    pub cookie_key: CookieKey,
    /// Of which share of the traces that begin there it records spans; of none where it is to record none at all.
    pub spans: Option<SampleShare>,
}

/// From a worker to its supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromWorker {
    /// It acts on this version.
    Acknowledged(Version),
    /// It needs the native code of a program.
    FetchCode {
        /// To be named in the answer.
        request: RequestId,
        /// Which program, by its key.
        program: Digest,
    },
    /// Something happened to a task.
    Task(TaskEvent),
    /// A request waits for this service, of which it found no task.
    Wanted(QualifiedName),
    /// Guests wrote something.
    Logs(Vec<(QualifiedName, LogLine)>),
    /// Flows ended, or go on, or were denied.
    Flows {
        /// Of which this is known.
        records: Vec<FlowRecord>,
        /// Records before these that there was no room for.
        lost: u64,
    },
    /// The answer to [`ToWorker::InterfaceState`].
    InterfaceState {
        /// Which question.
        request: RequestId,
        /// What goes on there; nothing if it has no such interface.
        state: InterfaceState,
    },
    /// The answer to [`ToWorker::MeasureColdStart`].
    ColdStarts {
        /// Which question.
        request: RequestId,
        /// The samples, or why there are none.
        result: Result<Vec<ColdStart>, String>,
    },
    /// The answer to [`ToWorker::Forward`].
    Forwarded {
        /// Which question.
        request: RequestId,
        /// Why there is no connection, for people.
        result: Result<(), String>,
    },
    /// The answer to [`ToWorker::Deliver`].
    Delivered {
        /// Which question.
        request: RequestId,
        /// What came of it.
        result: Result<GuestOutcome, DeliverError>,
    },
    /// Nothing of its own is in flight any more, or the time for it is over; it waits for [`ToWorker::Exit`].
    Drained {
        /// Whether all that was in flight had ended in time.
        complete: bool,
    },
    /// Requests ended of which spans are recorded.
    Spans {
        /// Of which this is known.
        records: Vec<SpanRecord>,
        /// Records before these that there was no room for.
        lost: u64,
    },
    /// Guests put values of metrics of their own.
    Metrics {
        /// What came.
        points: Vec<GuestPoint>,
        /// Values before these that there was no room for.
        dropped: u64,
    },
}
