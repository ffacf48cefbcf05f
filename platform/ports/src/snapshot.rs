//! What a worker must know: what it runs, where requests go and who is in the network, told as differences between
//! versions. What is told of the load balancer's own parts is in [`crate::balancer`].

use crate::balancer::BalancerChange;
use crate::network::NetworkChange;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Command, Digest, HealthCheck, HostPattern, Kind, Limits, Listen, PathPrefix, QualifiedName, Split,
    TaskDefinitionId, TaskId, WasiGeneration,
};
use std::sync::Arc;

/// Counts the changes of one supervisor's life, from 1.
pub type Version = u64;

/// What one worker must know beyond what it was told before. To be carried out in the order of the fields, so that
/// a new task is in the routes before an old one leaves, and nothing leads to a service any more that is withdrawn; but
/// interfaces leave last of all, so that a task has its own for as long as it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What it was told last; 0 if nothing yet.
    pub base: Version,
    /// What it knows once it has carried this out.
    pub version: Version,
    /// What of the network is otherwise, whoever runs the tasks that it is about.
    pub network: NetworkChange,
    /// Tasks to run: those that are called, and the `command` tasks that live in this worker.
    pub assignments: Vec<Assignment>,
    /// Services whose routes are new or have changed, each whole.
    pub routes: Vec<Arc<Route>>,
    /// What of the load balancer's listeners, certificates, rules and target groups is otherwise.
    pub balancer: BalancerChange,
    /// Services that have no routes any more.
    pub withdrawn: Vec<QualifiedName>,
    /// Tasks to end.
    pub ended: Vec<TaskId>,
}

/// One task for one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// Its service, or the family of a one-off task: the name its logs and metrics go by.
    pub owner: QualifiedName,
    /// Whether `owner` is a service.
    pub in_service: bool,
    /// What to run.
    pub spec: Arc<TaskSpec>,
    /// The task's slot in the ledger.
    pub slot: u32,
    /// How often it was started again before: what happens to it is told of this life.
    pub life: u32,
}

/// All that running a task takes, worked out from its definition; shared by all tasks that run the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskSpec {
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
    /// Arguments, environment and standard input.
    pub command: Command,
    /// The port that a daemon listens on.
    pub port: Option<u16>,
    /// How a daemon's health is checked; says nothing without a port.
    pub health_check: HealthCheck,
}

/// A service's part of the routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The service.
    pub service: QualifiedName,
    /// Hosts. A service without routes of its own has `NAME.localhost` here, or nothing if it has listeners or others have
    /// what it asks for: then no request of HTTP leads to it but by a rule or a default action.
    pub hosts: Vec<HostMatch>,
    /// Path prefixes, never empty: `/` where the service names none.
    pub paths: Vec<PathPrefix>,
    /// Where it is reached beside HTTP.
    pub listen: Vec<Listen>,
    /// Its tasks that take requests or connections, each with its ledger slot; empty if none does at present.
    pub targets: Vec<Target>,
    /// How requests and connections are divided among them, where two revisions share them by weight. Those of its tasks that
    /// are not here do not count.
    pub split: Option<Split>,
    /// Whether a request that finds none waits for one: the service sleeps when nobody asks it, and is woken by being asked.
    pub wakes: bool,
}

/// Which hosts a route takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HostMatch {
    /// This host, or one label below this domain.
    Pattern(HostPattern),
    /// Every host: the service names paths but no hosts.
    Any,
}

/// A task that takes requests or connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The task.
    pub task: TaskId,
    /// Its slot in the ledger.
    pub slot: u32,
    /// Where a daemon is reached at its own address; an `http` task has none, and is called.
    pub port: Option<u16>,
}
