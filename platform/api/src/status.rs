//! The platform itself: its processes and whether it is well.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Listen, QualifiedName};

/// The platform's processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlatformStatus {
    /// Skiff's version.
    pub version: String,
    /// The supervisor's process.
    pub pid: u32,
    /// Since the supervisor started, in seconds.
    pub uptime_seconds: f64,
    /// CPU time of the supervisor, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory of the supervisor, in bytes.
    pub memory_bytes: u64,
    /// Where the load balancer listens: `host:port`.
    pub http: String,
    /// Where the API listens: `host:port`.
    pub api: String,
    /// Where buckets are reached by S3: `host:port`; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<String>,
    /// Where everything is kept.
    pub data_dir: String,
    /// The worker processes, by index.
    pub workers: Vec<WorkerStatus>,
    /// Where services of any namespace are reached beside HTTP, by port.
    #[serde(default)]
    pub listeners: Vec<ListenerStatus>,
}

/// A port of the load balancer that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerStatus {
    /// The port.
    #[schemars(with = "text::Listen")]
    pub listen: Listen,
    /// The service that asked for it.
    #[schemars(with = "text::QualifiedName")]
    pub service: QualifiedName,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    /// Its place, from 0.
    pub index: u32,
    /// Its process; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What it does.
    pub state: WorkerState,
    /// Since this process started, in seconds.
    pub uptime_seconds: f64,
    /// CPU time of this process, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// How often the process in this place died and was replaced.
    pub restarts: u64,
    /// Connections it holds.
    pub connections: u64,
    /// Requests it answered.
    pub requests: u64,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkerState {
    /// It has started and not yet acknowledged what it is to serve.
    Starting,
    /// It serves.
    Running,
    /// It finishes what is in flight.
    Draining,
    /// It is dead, and not yet replaced.
    Dead,
}

/// Whether the platform is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Answered with 200 for `READY`, with 503 for the others: then no new work should be sent.
    pub status: HealthState,
}

/// Whether the platform takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HealthState {
    /// Its workers do not serve yet.
    Starting,
    /// It takes work.
    Ready,
    /// It is shutting down.
    Draining,
}
