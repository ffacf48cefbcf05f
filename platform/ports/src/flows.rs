//! The flow log: who was connected with whom, and who was kept from it; after the flow logs of a VPC.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use skiff_types::{Direction, QualifiedName, TaskId, Transport};
use std::net::SocketAddr;

/// What became of an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The rules allowed it.
    Accept,
    /// They did not, or do not any more.
    Reject,
}

/// One flow, or one attempt, as one task's interface saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// When it began, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// When it ended, or this was written down while it goes on, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose interface.
    pub task: TaskId,
    /// That task's service or family.
    pub owner: QualifiedName,
    /// Which way it was opened, as seen from the interface.
    pub direction: Direction,
    /// By which protocol.
    pub transport: Transport,
    /// The interface's address and port.
    pub local: SocketAddr,
    /// The other side's.
    pub remote: SocketAddr,
    /// The task on the other side, or what else is known of it: a name that was looked up, `load-balancer`,
    /// `forward`, `listener NAME`, `platform`.
    pub peer: Option<String>,
    /// Bytes that went out of the interface since it began, or since the record before.
    pub sent_bytes: u64,
    /// Bytes that came in, likewise.
    pub received_bytes: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether it goes on.
    pub open: bool,
    /// The rule that allows it, or the one that is missing; how it ended.
    pub note: String,
    /// Attempts that this stands for: those like it within a minute are written down once.
    pub count: u32,
}

/// Which records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowQuery {
    /// Only those of this service or family.
    pub owner: Option<QualifiedName>,
    /// Only those in this namespace.
    pub namespace: Option<skiff_types::Namespace>,
    /// Only this task's.
    pub task: Option<TaskId>,
    /// Only with this verdict.
    pub verdict: Option<Verdict>,
    /// Only since this time, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only the last so many of those that are there.
    pub tail: Option<usize>,
    /// Go on with what comes.
    pub follow: bool,
}

/// Reads the flow log.
pub trait Flows: Send + Sync {
    /// The records asked for, oldest first; with `follow` the stream does not end by itself.
    fn read(&self, query: FlowQuery) -> BoxStream<'static, std::io::Result<FlowRecord>>;

    /// What goes on at a task's interface now: ports it listens on, and its open connections.
    fn open(&self, task: TaskId) -> BoxFuture<'_, Result<InterfaceState, String>>;
}

/// What goes on at a task's interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceState {
    /// Ports it listens on, and by which protocol.
    pub listening: Vec<(Transport, u16)>,
    /// Its open connections, the first of them where there are many.
    pub connections: Vec<FlowRecord>,
    /// How many there are.
    pub connection_count: u64,
}
