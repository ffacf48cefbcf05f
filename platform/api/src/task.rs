//! Tasks: one running copy of a task definition each.

use crate::PutPlacement;
use crate::text::{self, TaskDefinitionReference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Group, Health, Kind, Name, Namespace, NodeId, StopCode, TaskDefinitionId, TaskId, TaskStatus,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Runs a one-off task of a `command` definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunTask {
    /// What to run; the newest revision where none is given.
    #[schemars(with = "text::TaskDefinitionReferenceText")]
    pub definition: TaskDefinitionReference,
    /// Replaces the definition's arguments for this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<String>>,
    /// Adds to the definition's environment for this task.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// On which nodes it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PutPlacement>,
}

/// Stops a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopTask {
    /// Why, for people; becomes part of the stopped reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// End it at once, whatever requests and connections it still has; also one that finishes them already.
    #[serde(default)]
    pub now: bool,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its id: 32 hexadecimal digits.
    #[schemars(with = "text::TaskId")]
    pub id: TaskId,
    /// The boundary it lives in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// The store's revision.
    pub revision: u64,
    /// What it runs.
    #[schemars(with = "text::TaskDefinitionId")]
    pub definition: TaskDefinitionId,
    /// What it does.
    #[schemars(with = "text::Kind")]
    pub kind: Kind,
    /// Who started it: `service:NAME`, or `family:NAME` for a one-off task.
    #[schemars(with = "text::Group")]
    pub group: Group,
    /// Arguments that replace the definition's; absent where none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<String>>,
    /// Names of the environment variables that were added for this task.
    #[serde(default)]
    pub environment_names: Vec<String>,
    /// The node that it was placed on; absent where it ended before it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::NodeId>")]
    pub node: Option<NodeId>,
    /// Its address in the virtual network, its own until it is `STOPPED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Its other address there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// The security groups that it is in, sorted.
    #[serde(default)]
    #[schemars(with = "Vec<text::Name>")]
    pub security_groups: Vec<Name>,
    /// Where it is in its life.
    #[schemars(with = "text::TaskStatus")]
    pub status: TaskStatus,
    /// Why it ended or is to end, for programs; absent while it is to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::StopCode>")]
    pub stop_code: Option<StopCode>,
    /// Why it ended or is to end, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    /// The program's exit code; absent for `http` tasks and for programs that did not get that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether it is reached at its port, or passes the checks of its target group.
    #[serde(default)]
    pub health: TaskHealth,
    /// Why it is not, for people; absent where it is, and where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_reason: Option<String>,
    /// How often it was started again, by what its definition says; a service starts another task instead.
    #[serde(default)]
    pub restarts: u32,
    /// Why it ended before it was started again for the last time, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::StopCode>")]
    pub last_stop_code: Option<StopCode>,
    /// Why it ended before it was started again for the last time, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stopped_reason: Option<String>,
    /// How many times in a row its place failed before this start: tasks before it, or its own starts before.
    pub attempt: u32,
    /// What it has used.
    pub usage: TaskUsage,
    /// When it was asked for, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
    /// When it was `RUNNING` first, since it was started for the last time; in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
    /// When it was `STOPPED`, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at_ms: Option<u64>,
}

/// Whether a task is reached at its port, or passes the checks of its target group, in ECS's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskHealth {
    /// Nobody checks it, it was not reached yet, or it has ended.
    #[default]
    Unknown,
    /// It is.
    Healthy,
    /// It is not any more, or was not in time.
    Unhealthy,
}

impl From<Health> for TaskHealth {
    fn from(health: Health) -> Self {
        match health {
            Health::Unchecked | Health::Starting => Self::Unknown,
            Health::Healthy => Self::Healthy,
            Health::Unhealthy => Self::Unhealthy,
        }
    }
}

impl std::fmt::Display for TaskHealth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        })
    }
}

/// What a task has used, over all workers. All zero once its accounts are closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskUsage {
    /// CPU time in its guests and host calls, in seconds.
    pub cpu_seconds: f64,
    /// Time it was held back by its CPU units, in seconds.
    pub throttled_seconds: f64,
    /// Memory it holds, in bytes.
    pub memory_bytes: u64,
    /// The most memory it held, in bytes.
    pub memory_peak_bytes: u64,
    /// Sandboxes it has.
    pub sandboxes: u64,
    /// Requests it answers at present, or that wait for a sandbox.
    pub in_flight: u64,
    /// Requests it answered.
    pub requests: u64,
    /// Of these, those answered with a status of 500 or above.
    pub requests_failed: u64,
}

/// Query parameters of the list of tasks, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskListQuery {
    /// Only this service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub service: Option<Name>,
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskStatus>")]
    pub status: Option<TaskStatus>,
    /// `true`: only those that have ended; `false`: only those that have not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,
    /// Most items to answer with: 1 to 1000; 100 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
