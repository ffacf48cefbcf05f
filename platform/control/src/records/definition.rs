//! Task definitions as they lie on disk.

use super::{CommandRecord, Stored, record};
use crate::keys;
use crate::model::Definition;
use serde::{Deserialize, Serialize};
use skiff_api::LimitsSpec;
use skiff_ports::runtime::{ComponentReport, Initialization};
use skiff_ports::store::Key;
use skiff_types::{
    CpuUnits, DEFAULT_STOP_TIMEOUT, Digest, HealthCheck, ImageReference, Kind, Limits, MemorySize, Name,
    Namespace, Restart, Reuse, Span, TaskDefinition, TaskDefinitionId, WasiGeneration,
};

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

impl Stored for Definition {
    const PREFIX: &'static str = "taskdef";
    type Record = DefinitionRecord;

    fn key(&self) -> Key {
        keys::definition(&self.namespace, &self.definition.id)
    }
}
