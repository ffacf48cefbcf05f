//! The objects as they lie on disk: JSON with a version, apart from the types that the program thinks in.
//!
//! It deliberately does not read or write the store. A record that can't be read is an error that says why; what to
//! do about it is the reader's business, and deleting it never is.

mod access;
mod alarm;
mod balancer;
mod bus;
mod consumer;
mod data;
mod deployment;
mod network;
mod placement;
mod scaling;

use crate::keys;
use crate::model::{Definition, Image, Service, ServiceEvent, ServiceNotes, TaskObject};
use bytes::Bytes;
use deployment::{DeploymentConfigurationRecord, RolloutRecord};
use placement::PlacementRecord;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skiff_api::LimitsSpec;
use skiff_plan::idle::Asleep;
use skiff_plan::rollout::Rollout;
use skiff_ports::runtime::{ComponentReport, Initialization};
use skiff_ports::store::{Durability, Key};
use skiff_types::{
    Command, CpuUnits, DEFAULT_STOP_TIMEOUT, DeploymentId, Digest, Group, Health, HealthCheck, HostPattern,
    ImageReference, Kind, Limits, Listen, MemorySize, Name, Namespace, NodeId, PathPrefix, QualifiedName,
    Restart, Reuse, ScaleToZero, ServiceEventName, ServiceSpec, Span, StopCode, StoppedReason, Task,
    TaskAddress, TaskDefinition, TaskDefinitionId, TaskId, TaskStatus, WasiGeneration,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// A newer Skiff wrote it.
    #[error("the record has version {0}, and this skiff knows versions up to {VERSION}: run the newer skiff")]
    Newer(u32),
    /// It is damaged.
    #[error("the record is damaged")]
    Damaged(#[source] serde_json::Error),
    /// It could not be written as JSON.
    #[error("the object can't be written")]
    Unwritable(#[source] serde_json::Error),
}

/// An object that has a key and a record.
pub(crate) trait Stored: Clone + Send + Sync + 'static {
    /// The first token of its keys.
    const PREFIX: &'static str;
    /// How it lies on disk.
    type Record: Serialize + DeserializeOwned + for<'a> From<&'a Self> + Into<Self>;

    /// Where it lies.
    fn key(&self) -> Key;

    /// What a write of it as it is is to outlive.
    fn durability(&self) -> Durability {
        Durability::Drive
    }

    /// Its record's bytes.
    fn encode(&self) -> Result<Bytes, RecordError> {
        let envelope = Envelope { version: VERSION, object: Self::Record::from(self) };
        serde_json::to_vec(&envelope).map(Bytes::from).map_err(RecordError::Unwritable)
    }

    /// Reads it from its record's bytes.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let version: VersionOnly = serde_json::from_slice(bytes).map_err(RecordError::Damaged)?;
        if version.version > VERSION {
            return Err(RecordError::Newer(version.version));
        }
        let envelope: Envelope<Self::Record> = serde_json::from_slice(bytes).map_err(RecordError::Damaged)?;
        Ok(envelope.object.into())
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    object: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Declares a record with the same fields as its object, and the way there and back.
macro_rules! record {
    ($record:ident = $object:path { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        #[derive(Serialize, Deserialize)]
        pub(crate) struct $record { $($(#[$meta])* $field: $type),* }

        impl From<&$object> for $record {
            fn from(object: &$object) -> Self {
                Self { $($field: object.$field.clone().into()),* }
            }
        }

        impl From<$record> for $object {
            fn from(record: $record) -> Self {
                Self { $($field: record.$field.into()),* }
            }
        }
    };
}

use record;

record!(
    ImageRecord = Image {
        namespace: Namespace,
        repository: String,
        tag: String,
        manifest: Digest,
        component: Digest,
        component_bytes: u64,
        created_at_ms: u64,
        updated_at_ms: u64,
    }
);

record!(
    LimitsRecord = Limits {
        cpu: CpuUnits,
        memory: MemorySize,
        timeout: Span,
        concurrency: u32,
        queue: u32,
        request_body: MemorySize,
        response_body: MemorySize,
        log_rate: MemorySize,
        #[serde(default)]
        reuse: Reuse,
    }
);

record!(RequestedRecord = LimitsSpec {
    cpu: Option<CpuUnits>,
    memory: Option<MemorySize>,
    timeout: Option<Span>,
    concurrency: Option<u32>,
    queue: Option<u32>,
    request_body: Option<MemorySize>,
    response_body: Option<MemorySize>,
    log_rate: Option<MemorySize>,
    reuse: Option<Reuse>,
});

record!(CommandRecord = Command {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdin: Option<String>,
});

record!(ReportRecord = ComponentReport {
    kind: Kind,
    generation: WasiGeneration,
    imports: Vec<String>,
    exports: Vec<String>,
    minimum_memory_bytes: u64,
    component_bytes: u64,
    native_bytes: u64,
    compile_ms: u64,
    initialization: Option<Initialization>,
});

record!(SpecRecord = ServiceSpec {
    name: Name,
    definition: TaskDefinitionId,
    desired: u32,
    hosts: Vec<HostPattern>,
    paths: Vec<PathPrefix>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    security_groups: Option<Vec<Name>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    listen: Vec<Listen>,
    #[serde(default)]
    deployment: DeploymentConfigurationRecord,
    #[serde(default)]
    scale_to_zero: ScaleToZero,
    #[serde(default, skip_serializing_if = "PlacementRecord::is_nothing")]
    placement: PlacementRecord,
});

record!(EventRecord = ServiceEvent {
    at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<ServiceEventName>,
    message: String,
    task: Option<TaskId>,
    stop_code: Option<StopCode>,
});

record!(AsleepRecord = Asleep { since_ms: u64, said_at_ms: u64 });

record!(StopRecord = StoppedReason { code: StopCode, message: String });

record!(AddressRecord = TaskAddress { v4: Ipv4Addr, v6: Ipv6Addr });

record!(
    HealthCheckRecord =
        HealthCheck { interval: Span, timeout: Span, healthy: u32, unhealthy: u32, start_period: Span }
);

/// What makes a definition one of daemons.
#[derive(Serialize, Deserialize)]
pub(crate) struct DaemonRecord {
    port: u16,
    health_check: HealthCheckRecord,
    stop_timeout: Span,
}

impl DaemonRecord {
    fn of(definition: &TaskDefinition) -> Option<Self> {
        let (health_check, stop_timeout) = (&definition.health_check, definition.stop_timeout);
        definition.port.map(|port| Self { port, health_check: health_check.into(), stop_timeout })
    }
}

/// A definition's record; the kind and the generation are those of its report.
#[derive(Serialize, Deserialize)]
pub(crate) struct DefinitionRecord {
    namespace: Namespace,
    id: TaskDefinitionId,
    image: ImageReference,
    component: Digest,
    requested: RequestedRecord,
    limits: LimitsRecord,
    command: CommandRecord,
    report: ReportRecord,
    #[serde(default)]
    snapshot: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    security_groups: Vec<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    daemon: Option<DaemonRecord>,
    #[serde(default)]
    restart: Restart,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Name>,
    created_at_ms: u64,
    deregistered: bool,
}

impl From<&Definition> for DefinitionRecord {
    fn from(object: &Definition) -> Self {
        Self {
            namespace: object.namespace.clone(),
            id: object.definition.id.clone(),
            image: object.definition.image.clone(),
            component: object.definition.component,
            requested: (&object.requested).into(),
            limits: (&object.definition.limits).into(),
            command: (&object.definition.command).into(),
            report: (&object.report).into(),
            snapshot: object.definition.snapshot,
            security_groups: object.definition.security_groups.clone(),
            daemon: DaemonRecord::of(&object.definition),
            restart: object.definition.restart,
            role: object.definition.role.clone(),
            created_at_ms: object.definition.created_at_ms,
            deregistered: object.deregistered,
        }
    }
}

impl From<DefinitionRecord> for Definition {
    fn from(record: DefinitionRecord) -> Self {
        let (port, health_check, stop_timeout) = match record.daemon {
            Some(DaemonRecord { port, health_check, stop_timeout }) => {
                (Some(port), HealthCheck::from(health_check), stop_timeout)
            }
            None => (None, HealthCheck::default(), DEFAULT_STOP_TIMEOUT),
        };
        let definition = TaskDefinition {
            id: record.id,
            image: record.image,
            component: record.component,
            kind: record.report.kind,
            generation: record.report.generation,
            limits: record.limits.into(),
            command: record.command.into(),
            snapshot: record.snapshot,
            security_groups: record.security_groups,
            port,
            health_check,
            stop_timeout,
            restart: record.restart,
            role: record.role,
            created_at_ms: record.created_at_ms,
        };
        Self {
            namespace: record.namespace,
            definition,
            requested: record.requested.into(),
            report: record.report.into(),
            deregistered: record.deregistered,
        }
    }
}

/// What a user said of a service.
#[derive(Serialize, Deserialize)]
pub(crate) struct ServiceRecord {
    namespace: Namespace,
    spec: SpecRecord,
    created_at_ms: u64,
    updated_at_ms: u64,
    deployed_at_ms: u64,
    #[serde(default)]
    previous: Option<TaskDefinitionId>,
    /// Absent where an older version wrote it: then it is made of when it was deployed.
    #[serde(default)]
    deployment: Option<DeploymentId>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aborted: Option<DeploymentId>,
    removed: bool,
}

impl From<&Service> for ServiceRecord {
    fn from(object: &Service) -> Self {
        Self {
            namespace: object.namespace.clone(),
            spec: (&object.spec).into(),
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
            deployed_at_ms: object.deployed_at_ms,
            previous: object.previous.clone(),
            deployment: Some(object.deployment),
            is_paused: object.is_paused,
            aborted: object.aborted,
            removed: object.removed,
        }
    }
}

impl From<ServiceRecord> for Service {
    fn from(record: ServiceRecord) -> Self {
        Self {
            namespace: record.namespace,
            spec: record.spec.into(),
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
            deployed_at_ms: record.deployed_at_ms,
            previous: record.previous,
            deployment: record
                .deployment
                .unwrap_or_else(|| DeploymentId::from_parts(record.deployed_at_ms, [0; 10])),
            is_paused: record.is_paused,
            aborted: record.aborted,
            removed: record.removed,
        }
    }
}

/// What Skiff notes of a service.
#[derive(Serialize, Deserialize)]
pub(crate) struct NotesRecord {
    service: QualifiedName,
    service_created_at_ms: u64,
    restarts: u64,
    counted: Vec<TaskId>,
    events: Vec<EventRecord>,
    definition: Option<TaskDefinitionId>,
    desired: u32,
    completed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rollout: Option<RolloutRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asleep: Option<AsleepRecord>,
}

impl From<&ServiceNotes> for NotesRecord {
    fn from(object: &ServiceNotes) -> Self {
        Self {
            service: object.service.clone(),
            service_created_at_ms: object.service_created_at_ms,
            restarts: object.restarts,
            counted: object.counted.clone(),
            events: object.events.iter().map(EventRecord::from).collect(),
            definition: object.definition.clone(),
            desired: object.desired,
            completed: object.completed,
            rollout: object.rollout.as_ref().map(RolloutRecord::from),
            asleep: object.asleep.as_ref().map(AsleepRecord::from),
        }
    }
}

impl From<NotesRecord> for ServiceNotes {
    fn from(record: NotesRecord) -> Self {
        Self {
            service: record.service,
            service_created_at_ms: record.service_created_at_ms,
            restarts: record.restarts,
            counted: record.counted,
            events: record.events.into_iter().map(ServiceEvent::from).collect(),
            definition: record.definition,
            desired: record.desired,
            completed: record.completed,
            rollout: record.rollout.map(Rollout::from),
            asleep: record.asleep.map(Asleep::from),
        }
    }
}

/// A task's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct TaskRecord {
    id: TaskId,
    namespace: Namespace,
    definition: TaskDefinitionId,
    kind: Kind,
    #[serde(default, skip_serializing_if = "PlacementRecord::is_nothing")]
    placement: PlacementRecord,
    group: Group,
    overrides: Option<CommandRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<AddressRecord>,
    status: TaskStatus,
    stop: Option<StopRecord>,
    exit_code: Option<i32>,
    #[serde(default)]
    health: Health,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_reason: Option<String>,
    #[serde(default)]
    restarts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_stop: Option<StopRecord>,
    attempt: u32,
    created_at_ms: u64,
    updated_at_ms: u64,
    start_after_ms: u64,
    started_at_ms: Option<u64>,
    /// Not written where it follows from the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ready_at_ms: Option<u64>,
    stopped_at_ms: Option<u64>,
}

/// When a task was ready that is so as soon as it runs; nothing of others.
fn ready_once_started(health: Health, started_at_ms: Option<u64>) -> Option<u64> {
    started_at_ms.filter(|_| health == Health::Unchecked)
}

impl From<&TaskObject> for TaskRecord {
    fn from(object: &TaskObject) -> Self {
        let task = &object.task;
        Self {
            id: task.id,
            namespace: task.namespace.clone(),
            definition: task.definition.clone(),
            kind: object.kind,
            placement: object.placement.clone().into(),
            group: task.group.clone(),
            overrides: task.overrides.as_ref().map(CommandRecord::from),
            node: task.node.clone(),
            address: task.address.as_ref().map(AddressRecord::from),
            status: task.status,
            stop: task.stop.as_ref().map(StopRecord::from),
            exit_code: task.exit_code,
            health: task.health,
            health_reason: task.health_reason.clone(),
            restarts: task.restarts,
            last_stop: task.last_stop.as_ref().map(StopRecord::from),
            attempt: task.attempt,
            created_at_ms: task.created_at_ms,
            updated_at_ms: object.updated_at_ms,
            start_after_ms: task.start_after_ms,
            started_at_ms: task.started_at_ms,
            ready_at_ms: task
                .ready_at_ms
                .filter(|_| ready_once_started(task.health, task.started_at_ms) != task.ready_at_ms),
            stopped_at_ms: task.stopped_at_ms,
        }
    }
}

impl From<TaskRecord> for TaskObject {
    fn from(record: TaskRecord) -> Self {
        let task = Task {
            id: record.id,
            namespace: record.namespace,
            definition: record.definition,
            group: record.group,
            overrides: record.overrides.map(Command::from),
            node: record.node,
            address: record.address.map(TaskAddress::from),
            status: record.status,
            stop: record.stop.map(StoppedReason::from),
            exit_code: record.exit_code,
            health: record.health,
            health_reason: record.health_reason,
            restarts: record.restarts,
            last_stop: record.last_stop.map(StoppedReason::from),
            attempt: record.attempt,
            created_at_ms: record.created_at_ms,
            start_after_ms: record.start_after_ms,
            started_at_ms: record.started_at_ms,
            ready_at_ms: record
                .ready_at_ms
                .or_else(|| ready_once_started(record.health, record.started_at_ms)),
            stopped_at_ms: record.stopped_at_ms,
        };
        let (kind, placement) = (record.kind, record.placement.into());
        Self { task, kind, placement, updated_at_ms: record.updated_at_ms }
    }
}

impl Stored for Image {
    const PREFIX: &'static str = "image";
    type Record = ImageRecord;

    fn key(&self) -> Key {
        keys::image(&self.namespace, &self.repository, &self.tag)
    }
}

impl Stored for Definition {
    const PREFIX: &'static str = "taskdef";
    type Record = DefinitionRecord;

    fn key(&self) -> Key {
        keys::definition(&self.namespace, &self.definition.id)
    }
}

impl Stored for Service {
    const PREFIX: &'static str = "service";
    type Record = ServiceRecord;

    fn key(&self) -> Key {
        keys::service(&self.name())
    }
}

impl Stored for ServiceNotes {
    const PREFIX: &'static str = "status";
    type Record = NotesRecord;

    fn key(&self) -> Key {
        keys::service_status(&self.service)
    }
}

impl Stored for TaskObject {
    const PREFIX: &'static str = "task";
    type Record = TaskRecord;

    fn key(&self) -> Key {
        keys::task(&self.task.namespace, self.task.id)
    }

    /// No program outlives the machine's power, and a service has its tasks begin anew then, however far they were known to be:
    /// until one is to stop, its steps are the platform's own, acknowledged to nobody, and wait for no drive; so a service that
    /// a request waits for wakes at once. That it is to stop may be a user's word, and a one-off task may not begin twice.
    ///
    /// A task that is made for an event is made again by that, until who makes it has seen its object on the drive.
    fn durability(&self) -> Durability {
        let has_begun = self.task.status > TaskStatus::Activating;
        let is_of_event = self.task.overrides.as_ref().is_some_and(|overrides| overrides.stdin.is_some());
        match self.task.group {
            Group::Service(_) if self.task.stop.is_none() => Durability::System,
            Group::Family(_) if is_of_event && !has_begun && self.task.stop.is_none() => Durability::System,
            Group::Service(_) | Group::Family(_) => Durability::Drive,
        }
    }
}

#[cfg(test)]
mod tests;
