//! What the network of one worker is told at its start: who it is, its bounds, and what it stands on.
//!
//! Nothing here is read from a file. Every bound of this crate has its name here, but for those that follow from a
//! format.

use crate::resolve::Resolve;
use crate::wires::Wires;
use skiff_ledger::Ledger;
use skiff_ports::flows::FlowRecord;
use skiff_ports::network::NetworkSetup;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// All that one worker's network must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which worker this is: its row in the ledger.
    pub worker: u32,
    /// How many there are.
    pub workers: u32,
    /// What the virtual network spans, and where the platform itself listens.
    pub setup: NetworkSetup,
    /// Bounds on what guests may do.
    pub limits: Limits,
    /// Every address of the host itself, which no guest reaches unless a rule names it.
    pub host_addresses: Vec<IpAddr>,
}

/// What the network stands on.
pub struct Deps {
    /// The accounts of tasks.
    pub ledger: Ledger,
    /// Asks name servers.
    pub resolver: Rc<dyn Resolve>,
    /// Takes what is written down of flows.
    pub flow_log: Rc<dyn FlowLog>,
    /// The way to the other workers.
    pub wires: Wires,
}

/// Takes what is written down of flows.
pub trait FlowLog {
    /// Takes a record. It never blocks; who implements it bounds what may wait, and counts what is lost.
    fn record(&self, record: FlowRecord);
}

/// Bounds on what guests may do. Those "of a task" hold for each worker that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sockets of a task that are bound, listen, wait in a backlog or are connected.
    pub sockets_max: usize,
    /// Sockets of the kernel that all tasks of the worker have together, of which each takes a descriptor: one for each
    /// line to another worker, and for each socket to the outside. How many one task may have of them is in `kernel`.
    pub kernel_sockets_max: usize,
    /// Connections that wait to be accepted at one listener. One more is refused. Fewer than a task may have sockets,
    /// so that who only connects to a listener never takes all of its task's.
    pub backlog_max: usize,
    /// Bytes of a connection that wait to be read, in each direction.
    pub pipe_bytes_max: usize,
    /// Connections that a task may open in a second, over time; what comes faster waits.
    pub connects_per_second: u64,
    /// Connections that a task may open at once before that rate is asked for.
    pub connects_burst: u64,
    /// Connections of a task that are being opened: waiting for the rate, another worker or the outside.
    pub half_open_max: usize,
    /// Connections of other workers' tasks that wait for room in a task's backlogs. One more is refused.
    pub arriving_max: usize,
    /// From the wish to connect to the connection.
    pub connect_timeout: Duration,
    /// Connections of the platform itself to a task: of the load balancer's clients, and of operators. One more is refused.
    pub platform_connections_max: usize,
    /// Those of them that wait for room in the task's backlogs. One more is refused.
    pub platform_waiting_max: usize,
    /// Bytes that a task may exchange with the outside in a second, both directions together.
    pub outside_bytes_per_second: u64,
    /// Names that a task may have looked up in a second, over time; what comes faster waits.
    pub lookups_per_second: u64,
    /// Look-ups of a task that go on at once.
    pub lookups_at_once_max: usize,
    /// From a question for a name to the answer.
    pub lookup_timeout: Duration,
    /// Addresses of a name that are told to a guest.
    pub addresses_of_name_max: usize,
    /// Pairs of name and address that are remembered of a task, for rules that name hosts. The oldest goes first.
    pub names_remembered_max: usize,
    /// How long such a pair is remembered at least, however short a name server says.
    pub name_remembered_min: Duration,
    /// Datagrams that wait to be read at one socket. One more is lost, as datagrams are.
    pub datagrams_queued_max: usize,
    /// Bytes of a datagram (RFC 768 over IPv4: 65,535 less both heads).
    pub datagram_bytes_max: usize,
    /// Other sides of one UDP socket that are accounted for as flows of their own at once.
    pub datagram_flows_max: usize,
    /// How long a flow of datagrams may be silent before it counts as ended.
    pub datagram_flow_idle: Duration,
    /// How often open flows are written down, and what was denied again and again.
    pub flow_record_interval: Duration,
    /// Denied targets of a task that are remembered for that interval. What is denied beyond is only counted. There is
    /// no bound over all tasks, so that none hides what others are denied.
    pub denials_of_task_max: usize,
    /// Pairs of caller and called task between which calls are accounted for as one flow.
    pub call_pairs_max: usize,
    /// Connections of a task that are listed when somebody asks; the others are counted.
    pub connections_listed_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sockets_max: 4_096,
            kernel_sockets_max: 16_384,
            backlog_max: 1_024,
            pipe_bytes_max: 64 << 10,
            connects_per_second: 500,
            connects_burst: 1_000,
            half_open_max: 128,
            arriving_max: 1_024,
            connect_timeout: Duration::from_secs(10),
            platform_connections_max: 10_000,
            platform_waiting_max: 1_024,
            outside_bytes_per_second: 64 << 20,
            lookups_per_second: 100,
            lookups_at_once_max: 16,
            lookup_timeout: Duration::from_secs(5),
            addresses_of_name_max: 32,
            names_remembered_max: 1_024,
            name_remembered_min: Duration::from_secs(60),
            datagrams_queued_max: 64,
            datagram_bytes_max: 65_507,
            datagram_flows_max: 256,
            datagram_flow_idle: Duration::from_secs(60),
            flow_record_interval: Duration::from_secs(60),
            denials_of_task_max: 128,
            call_pairs_max: 16_384,
            connections_listed_max: 100,
        }
    }
}
