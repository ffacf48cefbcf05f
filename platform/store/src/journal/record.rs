//! How an event lies in its row, beside what has a column of its own. A published record never changes: it gains fields
//! that may be absent.

use serde::{Deserialize, Serialize};
use skiff_types::{
    AlarmMoment, AlarmState, AlarmStateChange, DeploymentEventName, DeploymentStateChange, Event,
    EventDetail, EventId, Group, Health, Name, Namespace, Resource, ScalingActivity, ServiceAction,
    ServiceActionName, StoppedReason, TaskDefinitionId, TaskId, TaskStateChange, TaskStatus,
};

/// An event without its id, its time and its namespace.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    resources: Vec<Resource>,
    message: String,
    detail: Detail,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Detail {
    Task(Task),
    Deployment { deployment: String, name: DeploymentEventName, reason: String },
    Service { name: ServiceActionName },
    Alarm { alarm: Name, before: Moment, after: Moment },
    Scaling(Scaling),
}

#[derive(Debug, Serialize, Deserialize)]
struct Task {
    task: TaskId,
    group: Group,
    definition: TaskDefinitionId,
    status: TaskStatus,
    health: Health,
    stop: Option<StoppedReason>,
    exit_code: Option<i32>,
    created_at_ms: u64,
    started_at_ms: Option<u64>,
    stopped_at_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Moment {
    state: State,
    reason: String,
    since_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Alarm,
    InsufficientData,
}

#[derive(Debug, Serialize, Deserialize)]
struct Scaling {
    before: u32,
    after: u32,
    min: u32,
    max: u32,
    began_at_ms: u64,
    ended_at_ms: u64,
    cause: String,
}

impl Record {
    /// The event, with what lay beside its record.
    pub(super) fn into_event(self, id: EventId, at_ms: u64, namespace: Namespace) -> Event {
        let Self { resources, message, detail } = self;
        Event { id, at_ms, namespace, resources, message, detail: detail.into() }
    }
}

impl From<Event> for Record {
    fn from(event: Event) -> Self {
        Self { resources: event.resources, message: event.message, detail: event.detail.into() }
    }
}

impl From<EventDetail> for Detail {
    fn from(detail: EventDetail) -> Self {
        match detail {
            EventDetail::TaskStateChange(task) => Self::Task(task.into()),
            EventDetail::DeploymentStateChange(DeploymentStateChange { deployment, name, reason }) => {
                Self::Deployment { deployment, name, reason }
            }
            EventDetail::ServiceAction(ServiceAction { name }) => Self::Service { name },
            EventDetail::AlarmStateChange(AlarmStateChange { alarm, before, after }) => {
                Self::Alarm { alarm, before: before.into(), after: after.into() }
            }
            EventDetail::ScalingActivity(activity) => Self::Scaling(activity.into()),
        }
    }
}

impl From<Detail> for EventDetail {
    fn from(detail: Detail) -> Self {
        match detail {
            Detail::Task(task) => Self::TaskStateChange(task.into()),
            Detail::Deployment { deployment, name, reason } => {
                Self::DeploymentStateChange(DeploymentStateChange { deployment, name, reason })
            }
            Detail::Service { name } => Self::ServiceAction(ServiceAction { name }),
            Detail::Alarm { alarm, before, after } => {
                let (before, after) = (before.into(), after.into());
                Self::AlarmStateChange(AlarmStateChange { alarm, before, after })
            }
            Detail::Scaling(activity) => Self::ScalingActivity(activity.into()),
        }
    }
}

/// Both ways between a type and its record, which have the same fields.
macro_rules! same_fields {
    ($domain:ident, $record:ident: $($field:ident),+) => {
        impl From<$domain> for $record {
            fn from($domain { $($field),+ }: $domain) -> Self {
                Self { $($field),+ }
            }
        }

        impl From<$record> for $domain {
            fn from($record { $($field),+ }: $record) -> Self {
                Self { $($field),+ }
            }
        }
    };
}

same_fields!(
    TaskStateChange, Task: task, group, definition, status, health, stop, exit_code, created_at_ms, started_at_ms,
    stopped_at_ms
);
same_fields!(ScalingActivity, Scaling: before, after, min, max, began_at_ms, ended_at_ms, cause);

impl From<AlarmMoment> for Moment {
    fn from(AlarmMoment { state, reason, since_ms }: AlarmMoment) -> Self {
        Self { state: state.into(), reason, since_ms }
    }
}

impl From<Moment> for AlarmMoment {
    fn from(Moment { state, reason, since_ms }: Moment) -> Self {
        Self { state: state.into(), reason, since_ms }
    }
}

impl From<AlarmState> for State {
    fn from(state: AlarmState) -> Self {
        match state {
            AlarmState::Ok => Self::Ok,
            AlarmState::Alarm => Self::Alarm,
            AlarmState::InsufficientData => Self::InsufficientData,
        }
    }
}

impl From<State> for AlarmState {
    fn from(state: State) -> Self {
        match state {
            State::Ok => Self::Ok,
            State::Alarm => Self::Alarm,
            State::InsufficientData => Self::InsufficientData,
        }
    }
}
