//! What each type of event says, for programs.

use super::{DeploymentEventName, EventType, ServiceActionName};
use crate::{AlarmState, Group, Health, Name, StoppedReason, Task, TaskDefinitionId, TaskId, TaskStatus};

/// What an event says. Its variant is its `detail-type`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the struct of its name")]
pub enum EventDetail {
    TaskStateChange(TaskStateChange),
    DeploymentStateChange(DeploymentStateChange),
    ServiceAction(ServiceAction),
    AlarmStateChange(AlarmStateChange),
    ScalingActivity(ScalingActivity),
}

impl EventDetail {
    /// Of which type such an event is.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::TaskStateChange(_) => EventType::Task,
            Self::DeploymentStateChange(_) => EventType::Deployment,
            Self::ServiceAction(_) => EventType::Service,
            Self::AlarmStateChange(_) => EventType::Alarm,
            Self::ScalingActivity(_) => EventType::Scaling,
        }
    }
}

/// A task as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStateChange {
    /// Which.
    pub task: TaskId,
    /// Who started it.
    pub group: Group,
    /// What it runs.
    pub definition: TaskDefinitionId,
    /// Where it is in its life.
    pub status: TaskStatus,
    /// What is known of its health.
    pub health: Health,
    /// Why it is to stop, if it is.
    pub stop: Option<StoppedReason>,
    /// The program's exit code, if it has one.
    pub exit_code: Option<i32>,
    /// When it was asked for, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was `RUNNING` first, in milliseconds since 1970.
    pub started_at_ms: Option<u64>,
    /// When it was `STOPPED`, in milliseconds since 1970.
    pub stopped_at_ms: Option<u64>,
}

impl From<&Task> for TaskStateChange {
    fn from(task: &Task) -> Self {
        Self {
            task: task.id,
            group: task.group.clone(),
            definition: task.definition.clone(),
            status: task.status,
            health: task.health,
            stop: task.stop.clone(),
            exit_code: task.exit_code,
            created_at_ms: task.created_at_ms,
            started_at_ms: task.started_at_ms,
            stopped_at_ms: task.stopped_at_ms,
        }
    }
}

/// A deployment that began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentStateChange {
    /// The deployment's id.
    pub deployment: String,
    /// How far it is.
    pub name: DeploymentEventName,
    /// Why, for people.
    pub reason: String,
}

/// Something that happened to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceAction {
    /// What.
    pub name: ServiceActionName,
}

/// An alarm that changed its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmStateChange {
    /// Which.
    pub alarm: Name,
    /// What it was.
    pub before: AlarmMoment,
    /// What it is.
    pub after: AlarmMoment,
}

/// What an alarm is, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmMoment {
    /// Its state.
    pub state: AlarmState,
    /// Why, for people.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// A scaling policy changed how many tasks a service has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingActivity {
    /// How many it had.
    pub before: u32,
    /// How many it has.
    pub after: u32,
    /// The fewest that it may have.
    pub min: u32,
    /// The most that it may have.
    pub max: u32,
    /// When that began, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// When it was done, in milliseconds since 1970.
    pub ended_at_ms: u64,
    /// Why, for people.
    pub cause: String,
}
