//! The objects that `control` keeps: the domain's types together with what Skiff notes beside them.
//!
//! They know neither how they lie on disk (`records`) nor how they look on the wire (`entrance::views`).

mod access;
mod alarm;
mod balancer;
mod bus;
mod consumer;
mod data;
mod scaling;

pub(crate) use access::{AccessKey, Role, RolePolicy};
pub(crate) use alarm::{Alarm, AlarmNotes, AlarmTransition, Delivery};
pub(crate) use balancer::{
    Certificate, Declared, Imported, Listener, ListenerRule, TargetGroup, built_in_listener, built_in_name,
    groups_of, is_built_in,
};
#[cfg(test)]
pub(crate) use bus::tests::schedule as test_schedule;
pub(crate) use bus::{Bus, EventRule, EventSchedule, ScheduleNotes, StreamPosition, TimedSpec};
pub(crate) use consumer::Consumer;
pub(crate) use data::{Bucket, ItemTable, Kept, Queue};
pub(crate) use scaling::{Scaling, ScalingNotes, bounds_now};

use skiff_api::LimitsSpec;
use skiff_plan::idle::Asleep;
use skiff_plan::rollout::Rollout;
use skiff_ports::runtime::ComponentReport;
use skiff_types::{
    Command, DeploymentId, Digest, Group, ImageReference, Kind, Limits, Name, Namespace, NetworkSpec, NodeId,
    Placement, Program, QualifiedName, Rule, ServiceEventName, ServiceSpec, StopCode, Task, TaskAddress,
    TaskDefinition, TaskDefinitionId, TaskId, TaskStatus,
};

/// An image's tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) namespace: Namespace,
    pub(crate) repository: String,
    pub(crate) tag: String,
    pub(crate) manifest: Digest,
    pub(crate) component: Digest,
    pub(crate) component_bytes: u64,
    pub(crate) created_at_ms: u64,
    pub(crate) updated_at_ms: u64,
}

impl Image {
    /// `repository:tag`.
    pub(crate) fn reference(&self) -> ImageReference {
        ImageReference { repository: self.repository.clone(), tag: Some(self.tag.clone()), digest: None }
    }
}

/// A revision of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) namespace: Namespace,
    pub(crate) definition: TaskDefinition,
    /// The bounds as their user stated them.
    pub(crate) requested: LimitsSpec,
    pub(crate) report: ComponentReport,
    /// Its user took it back. It stays until there is a newer revision, so that its number is not given twice.
    pub(crate) deregistered: bool,
}

impl Definition {
    /// Sandboxes that one task can have at once: what its memory allows, its concurrency at most.
    pub(crate) fn sandboxes_max(&self) -> u32 {
        sandboxes_max(&self.definition.limits, &self.report)
    }
}

/// Sandboxes that a task with these limits can have at once.
pub(crate) fn sandboxes_max(limits: &Limits, report: &ComponentReport) -> u32 {
    let fit = limits.memory.bytes().checked_div(report.minimum_memory_bytes).unwrap_or(u64::MAX);
    u32::try_from(fit).unwrap_or(u32::MAX).min(limits.concurrency)
}

/// What a user said of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) namespace: Namespace,
    pub(crate) spec: ServiceSpec,
    pub(crate) created_at_ms: u64,
    pub(crate) updated_at_ms: u64,
    /// When its definition last changed.
    pub(crate) deployed_at_ms: u64,
    /// What it ran before that.
    pub(crate) previous: Option<TaskDefinitionId>,
    /// The deployment that its user asked for last.
    pub(crate) deployment: DeploymentId,
    /// Its user halted that deployment.
    pub(crate) is_paused: bool,
    /// The deployment that its user gave up.
    pub(crate) aborted: Option<DeploymentId>,
    /// It is being removed: its tasks end, then it goes.
    pub(crate) removed: bool,
}

impl Service {
    pub(crate) fn name(&self) -> QualifiedName {
        QualifiedName::new(self.namespace.clone(), self.spec.name.clone())
    }

    pub(crate) fn group(&self) -> Group {
        Group::Service(self.spec.name.clone())
    }
}

/// What Skiff notes of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceNotes {
    pub(crate) service: QualifiedName,
    /// When the service that they are about was created; a service that is created anew starts over.
    pub(crate) service_created_at_ms: u64,
    /// Tasks that ended by themselves and were replaced.
    pub(crate) restarts: u64,
    /// Those of them that are still kept, in order of their ids, so that none is counted twice.
    pub(crate) counted: Vec<TaskId>,
    /// Newest first; [`ServiceNotes::EVENTS_MAX`] at most.
    pub(crate) events: Vec<ServiceEvent>,
    /// The revision and the count that the last events were about.
    pub(crate) definition: Option<TaskDefinitionId>,
    pub(crate) desired: u32,
    /// Whether so many tasks of `definition` were seen to serve, and no others to run.
    pub(crate) completed: bool,
    /// How far the deployment is that its user asked for, or the one that Skiff put in its stead. Written before anything is
    /// done by it.
    pub(crate) rollout: Option<Rollout>,
    /// That it was put to sleep; whether it still sleeps, this alone does not say.
    pub(crate) asleep: Option<Asleep>,
}

impl ServiceNotes {
    /// Events kept of a service.
    pub(crate) const EVENTS_MAX: usize = 20;

    /// Of a service of which nothing was noted yet.
    pub(crate) fn new(service: QualifiedName, service_created_at_ms: u64) -> Self {
        Self {
            service,
            service_created_at_ms,
            restarts: 0,
            counted: vec![],
            events: vec![],
            definition: None,
            desired: 0,
            completed: false,
            rollout: None,
            asleep: None,
        }
    }

    /// How far a service's present deployment is, if it has begun.
    pub(crate) fn rollout_of(&self, service: &Service) -> Option<&Rollout> {
        let is_its = self.service_created_at_ms == service.created_at_ms;
        self.rollout.as_ref().filter(|rollout| is_its && rollout.for_ == service.deployment)
    }

    /// The last revision that completed beside the one that its user wants now.
    pub(crate) fn last_completed(&self, service: &Service) -> Option<&TaskDefinitionId> {
        let is_its = self.service_created_at_ms == service.created_at_ms;
        let rollout = self.rollout.as_ref().filter(|_| is_its)?;
        let is_other = |definition: &&TaskDefinitionId| **definition != service.spec.definition;
        rollout.last_completed().filter(is_other).or(rollout.completed.as_ref().filter(is_other))
    }

    /// Adds an event, and forgets the oldest if there are too many.
    pub(crate) fn note(&mut self, event: ServiceEvent) {
        self.events.insert(0, event);
        self.events.truncate(Self::EVENTS_MAX);
    }
}

/// Something that happened to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceEvent {
    pub(crate) at_ms: u64,
    /// What it is on the stream of events; absent where an older version noted it.
    pub(crate) name: Option<ServiceEventName>,
    pub(crate) message: String,
    pub(crate) task: Option<TaskId>,
    pub(crate) stop_code: Option<StopCode>,
}

impl ServiceEvent {
    /// Something that happened to the service itself, and to none of its tasks.
    pub(crate) fn new(at_ms: u64, name: impl Into<ServiceEventName>, message: String) -> Self {
        Self { at_ms, name: Some(name.into()), message, task: None, stop_code: None }
    }
}

/// A task, its kind and its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskObject {
    pub(crate) task: Task,
    pub(crate) kind: Kind,
    /// Where a one-off task may run; of others, their service says it.
    pub(crate) placement: Placement,
    pub(crate) updated_at_ms: u64,
}

impl TaskObject {
    /// The name that its logs and metrics go by.
    pub(crate) fn owner(&self) -> QualifiedName {
        let (Group::Service(name) | Group::Family(name)) = &self.task.group;
        QualifiedName::new(self.task.namespace.clone(), name.clone())
    }

    /// What it is started with: what its definition says, with its own overrides.
    pub(crate) fn command(&self, definition: &TaskDefinition) -> Command {
        let mut command = definition.command.clone();
        if let Some(overrides) = &self.task.overrides {
            command.arguments.clone_from(&overrides.arguments);
            command.environment.extend(overrides.environment.clone());
            command.stdin.clone_from(&overrides.stdin);
        }
        command
    }

    /// What it runs.
    pub(crate) fn program(&self, definition: &TaskDefinition) -> Program {
        definition.program(&self.command(definition).environment)
    }

    /// Its addresses, while nobody else can have them.
    pub(crate) fn address_in_use(&self) -> Option<TaskAddress> {
        self.task.address.filter(|_| self.task.status != TaskStatus::Stopped)
    }

    /// Whether a service started it.
    pub(crate) fn in_service(&self) -> bool {
        matches!(self.task.group, Group::Service(_))
    }
}

/// A security group, as somebody made or changed it. The default one of a namespace has no object until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecurityGroup {
    pub(crate) namespace: Namespace,
    pub(crate) name: Name,
    pub(crate) rules: Vec<Rule>,
    pub(crate) created_at_ms: u64,
    pub(crate) updated_at_ms: u64,
}

impl SecurityGroup {
    pub(crate) fn qualified(&self) -> QualifiedName {
        QualifiedName::new(self.namespace.clone(), self.name.clone())
    }
}

/// When addresses came back of tasks whose objects are gone; deleted once they may be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleasedAddresses {
    /// Random, in hexadecimal: nobody asks for one of them.
    pub(crate) id: String,
    /// With the time, in milliseconds since 1970. [`ReleasedAddresses::ADDRESSES_MAX`] at most, never none.
    pub(crate) addresses: Vec<(TaskAddress, u64)>,
}

impl ReleasedAddresses {
    /// Addresses in one object: as many as fit a value of the store well.
    pub(crate) const ADDRESSES_MAX: usize = 4_096;

    /// When the last of them came back, in milliseconds since 1970.
    pub(crate) fn latest_ms(&self) -> u64 {
        self.addresses.iter().map(|(_, at_ms)| *at_ms).max().unwrap_or(0)
    }
}

/// The virtual network: what it spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network {
    /// Fixed when the platform first started.
    pub(crate) spec: NetworkSpec,
    /// The cursor of the first node's subnet, as long as there was one node and its subnet had no object of its own.
    pub(crate) reserved_until: u32,
    pub(crate) created_at_ms: u64,
}

/// The part of the virtual network that a node has, and how far its addresses may have been given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSubnet {
    /// Which part, counted from 0.
    pub(crate) index: u32,
    /// Whose it is, or was, if that node is gone.
    pub(crate) node: NodeId,
    /// No address at or after this place was given since the cursor last went round; see `skiff_net::addresses`.
    pub(crate) reserved_until: u32,
    /// When the node got it.
    pub(crate) claimed_at_ms: u64,
}
