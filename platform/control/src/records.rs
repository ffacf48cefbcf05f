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
mod definition;
mod deployment;
mod network;
mod placement;
mod scaling;
mod task;

use crate::keys;
use crate::model::{Image, Service, ServiceEvent, ServiceNotes};
use bytes::Bytes;
use deployment::{DeploymentConfigurationRecord, RolloutRecord};
use placement::PlacementRecord;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skiff_plan::idle::Asleep;
use skiff_plan::rollout::Rollout;
use skiff_ports::store::{Durability, Key};
use skiff_types::{
    Command, DeploymentId, Digest, HostPattern, Listen, Name, Namespace, PathPrefix, QualifiedName,
    ScaleToZero, ServiceEventName, ServiceSpec, StopCode, TaskDefinitionId, TaskId,
};
use std::collections::BTreeMap;

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

record!(CommandRecord = Command {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdin: Option<String>,
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

impl Stored for Image {
    const PREFIX: &'static str = "image";
    type Record = ImageRecord;

    fn key(&self) -> Key {
        keys::image(&self.namespace, &self.repository, &self.tag)
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

#[cfg(test)]
mod tests;
