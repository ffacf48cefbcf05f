//! The stream of events as newline-delimited JSON, in the shape and with the names that EventBridge has for those of ECS,
//! CloudWatch and Application Auto Scaling.

use crate::task::TaskHealth;
use crate::{several, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    AlarmState, DeploymentEventName, EventId, EventLevel, EventSource, EventType, Group, Name, Namespace,
    Resource, ServiceActionName, StopCode, TaskDefinitionId, TaskId, TaskStatus,
};

/// Query parameters of the events. With none of the first three they are those of the whole namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Only those about these services and about their tasks.
    #[serde(rename = "service", default, skip_serializing_if = "Vec::is_empty", with = "several")]
    #[schemars(with = "Option<text::Names>")]
    pub services: Vec<Name>,
    /// Only those about this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// Only those of these types.
    #[serde(rename = "type", default, skip_serializing_if = "Vec::is_empty", with = "several")]
    #[schemars(with = "Option<text::EventTypes>")]
    pub types: Vec<EventType>,
    /// Only what happened at or after this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Only the last so many of the events that are there: 0 to 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Go on with what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

impl EventQuery {
    /// The most that `tail` can ask for.
    pub const TAIL_MAX: u32 = 10_000;
}

/// Something that happened. On the wire each is one line of JSON; an empty line between them is a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its id; ids order as events were recorded.
    #[schemars(with = "text::EventId")]
    pub id: EventId,
    /// When it happened: RFC 3339, in UTC.
    pub time: String,
    /// Where it comes from.
    #[schemars(with = "text::EventSource")]
    pub source: EventSource,
    /// The namespace that it happened in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Whom it happened to: first the one itself, then what that is a part of.
    #[schemars(with = "Vec<text::Resource>")]
    pub resources: Vec<Resource>,
    /// What happened, for people.
    pub message: String,
    /// What happened, for programs.
    #[serde(flatten)]
    pub detail: EventDetail,
}

/// What an event says, by its `detail-type`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "detail-type", content = "detail")]
#[allow(missing_docs, reason = "each is the struct of its name")]
pub enum EventDetail {
    #[serde(rename = "ECS Task State Change")]
    TaskStateChange(TaskStateChange),
    #[serde(rename = "ECS Deployment State Change")]
    DeploymentStateChange(DeploymentStateChange),
    #[serde(rename = "ECS Service Action")]
    ServiceAction(ServiceAction),
    #[serde(rename = "CloudWatch Alarm State Change")]
    AlarmStateChange(AlarmStateChange),
    #[serde(rename = "Application Auto Scaling Scaling Activity State Change")]
    ScalingActivity(ScalingActivity),
}

/// A task as it is from now on. Times are RFC 3339, in UTC, here and below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskStateChange {
    /// Which.
    #[schemars(with = "text::TaskId")]
    pub task: TaskId,
    /// Who started it.
    #[schemars(with = "text::Group")]
    pub group: Group,
    /// What it runs.
    #[schemars(with = "text::TaskDefinitionId")]
    pub task_definition: TaskDefinitionId,
    /// `RUNNING`, or `STOPPED` once it is to end.
    #[schemars(with = "text::TaskStatus")]
    pub desired_status: TaskStatus,
    /// Where it is in its life.
    #[schemars(with = "text::TaskStatus")]
    pub last_status: TaskStatus,
    /// Whether it is reached at its port, or passes the checks of its target group.
    pub health_status: TaskHealth,
    /// Why it ended or is to end, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::StopCode>")]
    pub stop_code: Option<StopCode>,
    /// Why it ended or is to end, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    /// The program's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// When it was asked for.
    pub created_at: String,
    /// When it was `RUNNING` first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it was `STOPPED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<String>,
}

/// A deployment that began, completed or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStateChange {
    /// How bad it is.
    #[schemars(with = "text::EventLevel")]
    pub event_type: EventLevel,
    /// How far it is.
    #[schemars(with = "text::DeploymentEventName")]
    pub event_name: DeploymentEventName,
    /// The deployment's id.
    pub deployment_id: String,
    /// When that was.
    pub updated_at: String,
    /// Why, for people.
    pub reason: String,
}

/// Something else that happened to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAction {
    /// How bad it is.
    #[schemars(with = "text::EventLevel")]
    pub event_type: EventLevel,
    /// What.
    #[schemars(with = "text::ServiceActionName")]
    pub event_name: ServiceActionName,
    /// When.
    pub created_at: String,
}

/// An alarm that changed its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlarmStateChange {
    /// Which.
    #[schemars(with = "text::Name")]
    pub alarm_name: Name,
    /// What it was.
    pub previous_state: AlarmMoment,
    /// What it is.
    pub state: AlarmMoment,
}

/// What an alarm is, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmMoment {
    /// Its state.
    #[schemars(with = "text::AlarmState")]
    pub value: AlarmState,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub timestamp: String,
}

/// A scaling policy changed how many tasks a service has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingActivity {
    /// When that began.
    pub start_time: String,
    /// When it was done.
    pub end_time: String,
    /// How many it had.
    pub old_desired_capacity: u32,
    /// How many it has.
    pub new_desired_capacity: u32,
    /// The fewest that it may have.
    pub min_capacity: u32,
    /// The most that it may have.
    pub max_capacity: u32,
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Resource>")]
    pub resource_id: Option<Resource>,
    /// Whether it can have no more.
    pub scaled_to_max: bool,
    /// Which way.
    pub direction: ScalingDirection,
    /// Why, for people.
    pub cause: String,
}

/// Which way a service was scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScalingDirection {
    /// To fewer tasks.
    ScaleIn,
    /// To more.
    ScaleOut,
}
