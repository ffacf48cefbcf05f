//! Task definitions: what a user says to run, and what Skiff made of it.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    CpuUnits, Digest, ImageReference, Kind, MemorySize, Name, Namespace, Restart, Reuse, Span,
    TaskDefinitionId, WasiGeneration,
};
use std::collections::BTreeMap;

/// Registers the next revision of a family.
///
/// A request that says the same as the family's newest revision, about the same component, answers with that revision
/// and registers none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterTaskDefinition {
    /// The name that the revisions share.
    #[schemars(with = "text::Name")]
    pub family: Name,
    /// What to run. A tag is resolved now: a revision keeps its component.
    #[schemars(with = "text::ImageReference")]
    pub image: ImageReference,
    /// Bounds; those left out get their defaults.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Arguments after the program's name, for a `command` task.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Run the component's initialisation now, and let each sandbox start from where that ended.
    #[serde(default)]
    pub snapshot: bool,
    /// Security groups of its tasks, 16 at most; a service may name others. The default one where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::Name>")]
    pub security_groups: Vec<Name>,
    /// The port that its tasks listen on: makes them daemons, whose health is checked there and to which the load balancer
    /// leads. For a `command` component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// How the health of a daemon is checked; what is left out gets its default.
    #[serde(default)]
    pub health_check: HealthCheckSpec,
    /// How long a daemon's open connections may take to end once it is to stop, 1 hour at most; 30 seconds where nothing is
    /// said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub stop_timeout: Option<Span>,
    /// What becomes of a one-off task of it whose program ended; a service starts another task in any case.
    #[serde(default)]
    #[schemars(with = "text::Restart")]
    pub restart: Restart,
    /// The role that its tasks act as: what they may do with buckets, tables, queues, buses and secrets. Nothing where none is
    /// named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub role: Option<Name>,
}

/// How a user says that a daemon's health is to be checked: a connection to its port is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheckSpec {
    /// Between two checks: 100 ms to 1 hour; 10 seconds where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub interval: Option<Span>,
    /// How long one check may take: 10 ms to 1 minute; 2 seconds where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub timeout: Option<Span>,
    /// How many checks in a row must succeed before an unhealthy task is healthy again: 1 to 100; 2 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<u32>,
    /// How many checks in a row must fail before a task is unhealthy: 1 to 100; 3 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<u32>,
    /// From the program's start, 1 hour at most: before the first check that succeeds, failures within it don't count. 30
    /// seconds where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub start_period: Option<Span>,
}

/// How a daemon's health is checked, defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// Between two checks.
    #[schemars(with = "text::Span")]
    pub interval: Span,
    /// How long one check may take.
    #[schemars(with = "text::Span")]
    pub timeout: Span,
    /// How many checks in a row must succeed before an unhealthy task is healthy again.
    pub healthy: u32,
    /// How many checks in a row must fail before a task is unhealthy.
    pub unhealthy: u32,
    /// From the program's start: before the first check that succeeds, failures within it don't count.
    #[schemars(with = "text::Span")]
    pub start_period: Span,
}

/// The bounds that a user states.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// A ceiling on CPU time: 1024 units are one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::CpuUnits>")]
    pub cpu: Option<CpuUnits>,
    /// Memory of the task over all its sandboxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::MemorySize>")]
    pub memory: Option<MemorySize>,
    /// From a request's arrival to its last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub timeout: Option<Span>,
    /// Sandboxes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Requests that may wait for a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Bytes of one request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::MemorySize>")]
    pub request_body: Option<MemorySize>,
    /// Bytes of one response's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::MemorySize>")]
    pub response_body: Option<MemorySize>,
    /// Bytes of stdout and stderr per second, of which each line takes 128 beside its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::MemorySize>")]
    pub log_rate: Option<MemorySize>,
    /// Requests that one sandbox serves; a fresh one for each where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Reuse>")]
    pub reuse: Option<Reuse>,
}

/// The bounds that hold, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskLimits {
    /// A ceiling on CPU time: 1024 units are one core.
    #[schemars(with = "text::CpuUnits")]
    pub cpu: CpuUnits,
    /// Memory of the task over all its sandboxes.
    #[schemars(with = "text::MemorySize")]
    pub memory: MemorySize,
    /// From a request's arrival to its last byte.
    #[schemars(with = "text::Span")]
    pub timeout: Span,
    /// Sandboxes at once.
    pub concurrency: u32,
    /// Requests that may wait for a sandbox; the next one is refused with 503.
    pub queue: u32,
    /// Bytes of one request's body.
    #[schemars(with = "text::MemorySize")]
    pub request_body: MemorySize,
    /// Bytes of one response's body.
    #[schemars(with = "text::MemorySize")]
    pub response_body: MemorySize,
    /// Bytes of stdout and stderr per second, of which each line takes 128 beside its text; what is over is dropped and
    /// counted.
    #[schemars(with = "text::MemorySize")]
    pub log_rate: MemorySize,
    /// Requests that one sandbox serves.
    #[serde(default)]
    #[schemars(with = "text::Reuse")]
    pub reuse: Reuse,
}

/// What the check of a component found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// The component's digest.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// What its exports make of it.
    #[schemars(with = "text::Kind")]
    pub kind: Kind,
    /// Which WASI it speaks.
    #[schemars(with = "text::WasiGeneration")]
    pub generation: WasiGeneration,
    /// The interfaces it imports, by name and version, sorted.
    pub imports: Vec<String>,
    /// The interfaces it exports, by name and version, sorted.
    pub exports: Vec<String>,
    /// Bytes that one sandbox claims from the task's memory as soon as it is made.
    pub minimum_memory_bytes: u64,
    /// Size of the component in bytes.
    pub component_bytes: u64,
    /// Size of its native code in bytes.
    pub native_bytes: u64,
    /// Time the compiler took, in milliseconds; 0 where the native code was kept already.
    pub compile_ms: u64,
}

/// How a component's initialisation went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Initialization {
    /// Time it took, in milliseconds.
    pub took_ms: u64,
    /// What it wrote to stdout and stderr, cut where that was long.
    pub output: String,
}

/// One revision of a family. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskDefinition {
    /// `FAMILY:REVISION`.
    #[schemars(with = "text::TaskDefinitionId")]
    pub id: TaskDefinitionId,
    /// The boundary it lives in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// The image as its user named it.
    #[schemars(with = "text::ImageReference")]
    pub image: ImageReference,
    /// The bounds that its user stated.
    pub requested_limits: LimitsSpec,
    /// Arguments after the program's name.
    pub arguments: Vec<String>,
    /// Environment variables; a value is `null` unless `reveal` asked for it by name.
    pub environment: BTreeMap<String, Option<String>>,
    /// The bounds that hold.
    pub limits: TaskLimits,
    /// The component that the image held when the revision was registered.
    pub component: Component,
    /// Whether its sandboxes start from a snapshot.
    #[serde(default)]
    pub snapshot: bool,
    /// How the initialisation went, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// Security groups of its tasks, where their service names none; the default one where none is named.
    #[serde(default)]
    #[schemars(with = "Vec<text::Name>")]
    pub security_groups: Vec<Name>,
    /// The port that its tasks listen on; absent where they are no daemons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How their health is checked; absent where they are no daemons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// How long their open connections may take to end once they are to stop; absent where they are no daemons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub stop_timeout: Option<Span>,
    /// What becomes of a one-off task of it whose program ended.
    #[serde(default)]
    #[schemars(with = "text::Restart")]
    pub restart: Restart,
    /// The role that its tasks act as; absent where they may do nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub role: Option<Name>,
    /// How many sandboxes one task can have at once: what its memory allows, `concurrency` at most.
    pub sandboxes_max: u32,
    /// When it was registered, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// Query parameters of the list of task definitions, newest revision of each family first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinitionListQuery {
    /// Only this family's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub family: Option<Name>,
    /// Most items to answer with: 1 to 1000; 100 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Query parameters of one task definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinitionQuery {
    /// Names of environment variables whose values are to be shown, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reveal: Option<String>,
}
