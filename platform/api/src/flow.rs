//! The flow log as newline-delimited JSON, and what goes on at one task's network interface.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Direction, Name, QualifiedName, TaskId, Transport};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Query parameters of the flow log. With neither `owner` nor `task` it is that of the whole namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowQuery {
    /// Only those of this service's tasks, or of this family's one-off tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub owner: Option<Name>,
    /// Only this task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// Only what was allowed, or what was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Only what was written down at or after this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Only the last so many of the records that are there: 0 to 100000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Go on with what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

impl FlowQuery {
    /// The most that `tail` can ask for.
    pub const TAIL_MAX: u32 = 100_000;
}

/// What became of an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The rules allowed it.
    Accept,
    /// They did not, or do not any more.
    Reject,
}

/// One flow, or one attempt, as one task's interface saw it: written down at its end, and every minute while it goes on.
/// On the wire each is one line of JSON; an empty line between them is a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowRecord {
    /// When it began, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// When it ended, or this was written down while it goes on, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose interface.
    #[schemars(with = "text::TaskId")]
    pub task: TaskId,
    /// That task's service or family.
    #[schemars(with = "text::QualifiedName")]
    pub owner: QualifiedName,
    /// Which way it was opened, as seen from the interface.
    #[schemars(with = "text::Direction")]
    pub direction: Direction,
    /// By which protocol.
    #[schemars(with = "text::Transport")]
    pub transport: Transport,
    /// The interface's address and port.
    pub local: SocketAddr,
    /// The other side's.
    pub remote: SocketAddr,
    /// The task on the other side, or what else is known of it: a name that was looked up, `load-balancer`, an internal
    /// listener as `listener NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// A task's network interface, and what goes on at it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskNetwork {
    /// Its address in the virtual network; absent of a task that ended before it could get one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Its other address there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// The security groups that it is in, sorted.
    #[schemars(with = "Vec<text::Name>")]
    pub security_groups: Vec<Name>,
    /// Ports it listens on.
    pub listening: Vec<ListeningPort>,
    /// Its open connections, the first of them where there are many.
    pub connections: Vec<FlowRecord>,
    /// How many there are.
    pub connection_count: u64,
}

/// A port that a task listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListeningPort {
    /// By which protocol.
    #[schemars(with = "text::Transport")]
    pub transport: Transport,
    /// Which.
    pub port: u16,
}
