//! The runtime port: what carries tasks out on a node.

use crate::balancer::BalancerChange;
use crate::guest_deliveries::{DeliverError, GuestDelivery, GuestOutcome};
use crate::metrics::GuestMetrics;
use crate::network::GroupRules;
use crate::snapshot::{HostMatch, TaskSpec, Version};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Digest, Kind, Listen, Name, NodeId, PathPrefix, Program, QualifiedName, Split, StoppedReason,
    TargetHealth, TaskAddress, TaskId, WasiGeneration,
};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Carries out tasks. Every call may be repeated.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Changes what runs and where requests go; all that is not named stays as it is. Returns at once; the version can
    /// be waited for.
    fn assign(&self, change: DesiredChange) -> Version;

    /// Ends when every living worker acts on `version` or a later one.
    async fn acknowledged(&self, version: Version);

    /// The next thing that happened to a task; waits for it. One caller only.
    async fn next_event(&self) -> TaskEvent;

    /// The next service that a request waits for which found no task of it; waits for one. Where the request goes on waiting
    /// it is said again and again, so what is lost is no loss. One caller only.
    async fn next_wanted(&self) -> QualifiedName;

    /// The next values that guests put for metrics of their own; waits for some. One caller only. Where tasks have no guests
    /// that could, there are never any.
    async fn next_metrics(&self) -> GuestMetrics {
        std::future::pending().await
    }

    /// Checks a program's component, and compiles it (and initialises it before, where it is a snapshot) unless its
    /// native code is kept already. Takes a `skiff compile` child.
    async fn prepare(&self, program: &Program) -> Result<ComponentReport, PrepareError>;

    /// Requests of an `http` task that have a sandbox or wait for one, or connections to a daemon that are open; 0 if it
    /// is not here.
    fn outstanding(&self, task: TaskId) -> u64;

    /// The targets of a target group, and how each of them is; of the one that a service is, too. None where there is no such
    /// group. A target that has left is among them as long as it may finish what it has. Asks nobody.
    fn target_health(&self, group: &QualifiedName) -> Vec<TargetReading>;

    /// Why nobody reaches a public listener at its port, if that could not be had when it was last tried, whether it is reached
    /// at another meanwhile, and what to do: in words for the operator. None as well where nothing was assigned of such a
    /// listener. Asks nobody.
    fn listener_problem(&self, listener: &Name) -> Option<String>;

    /// Removes the native code of all programs but those with these keys; says how many files went.
    async fn keep_native(&self, keys: &BTreeSet<Digest>) -> usize;

    /// Measures cold starts of an `http` task, `rounds` times, by calling it with a GET of `path`.
    async fn measure_cold_start(
        &self,
        task: TaskId,
        path: String,
        rounds: u32,
    ) -> Result<Vec<ColdStart>, String>;

    /// Gives a task's guest an event, messages or a request, and waits for what comes of it, no longer than the task's timeout
    /// allows. Of an `http` or `event` task any worker takes it, of a `command` the one that it lives in, beside its program.
    async fn deliver(&self, task: TaskId, delivery: GuestDelivery) -> Result<GuestOutcome, DeliverError> {
        let _ = (task, delivery);
        Err(DeliverError::Busy("no guests run here that anything could be given to".to_owned()))
    }

    /// Opens a connection to a port of a `command` task, for an operator, whatever the task's rules say. What the socket
    /// carries is what the connection does; it does not block. Dropping it ends the connection.
    async fn forward(&self, task: TaskId, port: u16) -> Result<UnixStream, ForwardError>;
}

/// A target of a target group, and how it is at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReading {
    /// A task's id, or an address as it prints.
    pub target: Arc<str>,
    /// The task, where it is one of the group's service.
    pub task: Option<TaskId>,
    /// Its health.
    pub health: TargetHealth,
    /// Requests that it has not answered, in all workers; of a daemon, connections that are open.
    pub outstanding: u64,
}

/// What a node is to do otherwise than before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredChange {
    /// Tasks to run. One that it knows already goes on: what a task runs never changes.
    pub tasks: Vec<DesiredTask>,
    /// Services whose routes are new or have changed, each whole.
    pub routes: Vec<DesiredRoute>,
    /// Services that have no routes any more.
    pub withdrawn: Vec<QualifiedName>,
    /// Tasks to end, whatever they do.
    pub ended: Vec<TaskId>,
    /// Security groups and interfaces.
    pub network: NetworkDesired,
    /// Listeners, certificates, rules and target groups. A listener has its port as long as nobody else on the node has it:
    /// one that is taken is tried again and again, and until then the listener stays where it was.
    pub balancer: BalancerChange,
}

impl DesiredChange {
    /// Whether all is to stay as it is.
    pub fn is_empty(&self) -> bool {
        let Self { tasks, routes, withdrawn, ended, network, balancer } = self;
        tasks.is_empty()
            && routes.is_empty()
            && withdrawn.is_empty()
            && ended.is_empty()
            && network.is_empty()
            && balancer.is_empty()
    }
}

/// What of the virtual network is to be otherwise than before; see [`crate::network::NetworkChange`]. It is one with the
/// change that it is in: a task that is told to run has its interface in the same change or in none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkDesired {
    /// Groups that are new or allow something else. Whatever group an interface is in was told before or is here, unless
    /// there is none of its name: then it allows nothing.
    pub groups: Vec<GroupRules>,
    /// Groups that are gone: they allow nothing.
    pub dissolved: Vec<QualifiedName>,
    /// Interfaces that are new or have changed, each whole; each of a task that was told to run. A task that ends leaves.
    pub interfaces: Vec<DesiredInterface>,
}

impl NetworkDesired {
    /// Whether all is to stay as it is.
    pub fn is_empty(&self) -> bool {
        let Self { groups, dissolved, interfaces } = self;
        groups.is_empty() && dissolved.is_empty() && interfaces.is_empty()
    }
}

/// A task's network interface; what else is in [`crate::network::NetworkInterface`] follows from its [`DesiredTask`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `network::NetworkInterface`")]
pub struct DesiredInterface {
    pub task: TaskId,
    pub address: TaskAddress,
    /// Sorted; of the namespace of the task's owner. None where it is not known which: then nothing is allowed.
    pub groups: Arc<[Name]>,
    pub ready: bool,
}

/// A task for a node; see [`crate::snapshot::Assignment`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `snapshot::Assignment`")]
pub struct DesiredTask {
    pub id: TaskId,
    pub owner: QualifiedName,
    pub in_service: bool,
    pub spec: Arc<TaskSpec>,
    pub life: u32,
    /// Where it runs.
    pub node: NodeId,
}

/// A service's routes and the tasks behind them; see [`crate::snapshot::Route`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `snapshot::Route`")]
pub struct DesiredRoute {
    pub service: QualifiedName,
    pub hosts: Vec<HostMatch>,
    pub paths: Vec<PathPrefix>,
    pub listen: Vec<Listen>,
    pub targets: Vec<TaskId>,
    pub split: Option<Split>,
    pub wakes: bool,
}

/// Something happened to a task, in one of its lives: that of its [`DesiredTask`]. It may be heard of late, when the task
/// lives anew under its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskEvent {
    /// A `command` task's program runs.
    Started {
        /// Which task.
        task: TaskId,
        /// In which life.
        life: u32,
    },
    /// It ended by itself: its program did, or its worker died, or its code could not be loaded.
    Ended {
        /// Which task.
        task: TaskId,
        /// In which life.
        life: u32,
        /// The program's exit code, if it got as far.
        exit_code: Option<i32>,
        /// Why.
        reason: StoppedReason,
    },
    /// The health of a task is otherwise than before: of a daemon whose program runs, or of a service's task that its target
    /// group checks.
    Health {
        /// Which task.
        task: TaskId,
        /// In which life.
        life: u32,
        /// Whether it is reached at its port, and passes its group's checks.
        healthy: bool,
        /// Why it is not, for people; empty if it is.
        reason: String,
    },
}

/// What the check of a component found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentReport {
    /// What its exports make of it.
    pub kind: Kind,
    /// Which WASI it speaks.
    pub generation: WasiGeneration,
    /// The interfaces it imports, by name and version, sorted.
    pub imports: Vec<String>,
    /// The interfaces it exports, by name and version, sorted.
    pub exports: Vec<String>,
    /// Bytes that one sandbox claims from the task's memory as soon as it is made; of a snapshot, with what its
    /// initialisation allocated.
    pub minimum_memory_bytes: u64,
    /// Size of the component, in bytes.
    pub component_bytes: u64,
    /// Size of its native code, in bytes; 0 where it was not compiled.
    pub native_bytes: u64,
    /// Time the compiler took, in milliseconds; 0 where the native code was kept already.
    pub compile_ms: u64,
    /// How the initialisation went, where it is a snapshot.
    pub initialization: Option<Initialization>,
}

/// How a component's initialisation went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialization {
    /// Time it took, in milliseconds.
    pub took_ms: u64,
    /// What it wrote to stdout and stderr, cut where that was long.
    pub output: String,
}

/// Why a component can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum PrepareError {
    /// The component itself: not a component, damaged, or it wants what Skiff does not offer. The user's to mend.
    #[error("{0}")]
    Refused(String),
    /// Compiling took more than its bound of memory or time.
    #[error("{0}")]
    TooCostly(String),
    /// The image's bytes are gone.
    #[error("the component {0} is not in the image store")]
    Missing(Digest),
    /// The image's bytes are not those that were pushed: the disk has changed them.
    #[error("the component {0} is damaged in the image store")]
    Damaged(Digest),
    /// The node's fault.
    #[error("the component could not be compiled: {0}")]
    Internal(String),
}

/// Why there is no connection to a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// No such `command` task is on this node, or no longer.
    #[error("the task is not running here")]
    Gone,
    /// The task could not be connected to. The text says why, for people.
    #[error("{0}")]
    Refused(String),
    /// The node can't at present. The text says why, for people.
    #[error("{0}")]
    Unavailable(String),
}

/// The stages of one cold start, each in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdStart {
    /// Native code on disk to a component that can be instantiated: read, check, map.
    pub load_ns: u64,
    /// A sandbox made: store, instance.
    pub instantiate_ns: u64,
    /// From the sandbox's first instruction to the response's head.
    pub first_byte_ns: u64,
    /// The same call to a task whose code is loaded: instantiate and first byte, as each request pays it.
    pub cold_request_ns: u64,
    /// The same call again in the same sandbox: what a request costs once a sandbox is alive.
    pub warm_request_ns: u64,
}
