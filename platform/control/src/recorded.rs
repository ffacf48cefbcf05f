//! What an object in the store says, for who looks at a store from outside: the simulator, which checks what a control plane
//! does by what it writes.
//!
//! It deliberately shows no more of an object than such a look needs.

use crate::model::{Service, ServiceNotes, TaskObject};
use crate::records::Stored;
use skiff_plan::rollout::Rollout;
use skiff_ports::store::Key;
use skiff_types::{DeploymentId, QualifiedName, ServiceSpec, Task};

/// An object, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// A task.
    Task(Box<Task>),
    /// A service.
    Service(Box<RecordedService>),
    /// How far a service's deployment is.
    Rollout {
        /// Which service.
        service: QualifiedName,
        /// That; none before its first look.
        rollout: Option<Box<Rollout>>,
    },
    /// One of another type.
    Other,
}

/// What a user said of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedService {
    /// Its name.
    pub name: QualifiedName,
    /// What it is to be.
    pub spec: ServiceSpec,
    /// The deployment that its user asked for last.
    pub deployment: DeploymentId,
    /// That deployment is halted.
    pub is_paused: bool,
    /// It is being removed.
    pub removed: bool,
}

/// Reads the object under a key; `None` if its record can't be read.
pub fn recorded(key: &Key, value: &[u8]) -> Option<Recorded> {
    let prefix = key.tokens().next();
    Some(if prefix == Some(TaskObject::PREFIX) {
        Recorded::Task(Box::new(TaskObject::decode(value).ok()?.task))
    } else if prefix == Some(Service::PREFIX) {
        let service = Service::decode(value).ok()?;
        let name = service.name();
        let Service { spec, deployment, is_paused, removed, .. } = service;
        Recorded::Service(Box::new(RecordedService { name, spec, deployment, is_paused, removed }))
    } else if prefix == Some(ServiceNotes::PREFIX) {
        let ServiceNotes { service, rollout, .. } = ServiceNotes::decode(value).ok()?;
        Recorded::Rollout { service, rollout: rollout.map(Box::new) }
    } else {
        Recorded::Other
    })
}
