//! What a worker must know, as one versioned value: what it runs, and where requests go.

use serde::{Deserialize, Serialize};
use skiff_types::{
    Command, Digest, HostPattern, Kind, Limits, PathPrefix, QualifiedName, TaskDefinitionId, TaskId,
    WasiGeneration,
};

/// Counts the snapshots of one supervisor's life, from 1.
pub type Version = u64;

/// All that one worker must know. A newer one replaces an older one whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which one this is.
    pub version: Version,
    /// Every `http` task of the node, and the `command` tasks that live in this worker.
    pub assignments: Vec<Assignment>,
    /// Where requests go.
    pub routes: Vec<Route>,
}

/// One task for one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// What to run.
    pub task: TaskSpec,
    /// The task's slot in the ledger.
    pub slot: u32,
}

/// All that running a task takes, worked out from its definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The task.
    pub id: TaskId,
    /// Its service, or the family of a one-off task: the name its logs and metrics go by.
    pub owner: QualifiedName,
    /// Whether `owner` is a service.
    pub in_service: bool,
    /// Family and revision.
    pub definition: TaskDefinitionId,
    /// What the component's exports make of it.
    pub kind: Kind,
    /// Which WASI it speaks.
    pub generation: WasiGeneration,
    /// The key of the program to run: what its native code is asked for by.
    pub program: Digest,
    /// Bounds.
    pub limits: Limits,
    /// Arguments and environment.
    pub command: Command,
}

/// A service's part of the routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The service.
    pub service: QualifiedName,
    /// Hosts, never empty: a service without routes of its own has `NAME.localhost` here.
    pub hosts: Vec<HostMatch>,
    /// Path prefixes, never empty: `/` where the service names none.
    pub paths: Vec<PathPrefix>,
    /// Its tasks that take requests, each with its ledger slot; empty if none does at present.
    pub targets: Vec<Target>,
}

/// Which hosts a route takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HostMatch {
    /// This host, or one label below this domain.
    Pattern(HostPattern),
    /// Every host: the service names paths but no hosts.
    Any,
}

/// A task that takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The task.
    pub task: TaskId,
    /// Its slot in the ledger.
    pub slot: u32,
}
