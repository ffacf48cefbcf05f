//! Tasks as they lie on disk.

use super::placement::PlacementRecord;
use super::{CommandRecord, Stored, record};
use crate::keys;
use crate::model::TaskObject;
use serde::{Deserialize, Serialize};
use skiff_ports::store::{Durability, Key};
use skiff_types::{
    Command, Group, Health, Kind, Namespace, NodeId, StopCode, StoppedReason, Task, TaskAddress,
    TaskDefinitionId, TaskId, TaskStatus,
};
use std::net::{Ipv4Addr, Ipv6Addr};

record!(StopRecord = StoppedReason { code: StopCode, message: String });

record!(AddressRecord = TaskAddress { v4: Ipv4Addr, v6: Ipv6Addr });

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
