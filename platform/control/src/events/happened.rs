//! What is recorded when: what a task's object, a service's notes and an alarm's change become on the stream of events.

use super::Events;
use crate::model::{ServiceEvent, ServiceNotes, TaskObject};
use skiff_plan::rollout::Rollout;
use skiff_types::{
    AlarmMoment, AlarmStateChange, DeploymentEventName, DeploymentStateChange, Event, EventDetail, EventId,
    Namespace, QualifiedName, Resource, ScalingActivity, ServiceAction, ServiceEventName, StoppedReason,
    Task, TaskStatus,
};

/// Something that happened: an event that has no id yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happened {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) namespace: Namespace,
    /// Whom it happened to: first the one itself, then what that is a part of.
    pub(crate) resources: Vec<Resource>,
    /// A sentence for people.
    pub(crate) message: String,
    pub(crate) detail: EventDetail,
}

impl Happened {
    /// An alarm came to another state; it happened when that began.
    pub(crate) fn of_alarm(alarm: &QualifiedName, before: AlarmMoment, after: AlarmMoment) -> Self {
        let message = format!(
            "the alarm {} went from {} to {}: {}",
            alarm.name, before.state, after.state, after.reason
        );
        Self {
            at_ms: after.since_ms,
            namespace: alarm.namespace.clone(),
            resources: vec![Resource::Alarm(alarm.clone())],
            message,
            detail: EventDetail::AlarmStateChange(AlarmStateChange {
                alarm: alarm.name.clone(),
                before,
                after,
            }),
        }
    }

    pub(crate) fn into_event(self, id: EventId) -> Event {
        let Self { at_ms, namespace, resources, message, detail } = self;
        Event { id, at_ms, namespace, resources, message, detail }
    }
}

impl Events {
    /// A task went on in its life, is to end, or changed its health: it is as `object` says.
    pub(crate) fn task(&self, object: &TaskObject) {
        let task = &object.task;
        let mut resources = vec![Resource::Task(task.namespace.clone(), task.id)];
        if object.in_service() {
            resources.push(Resource::Service(object.owner()));
        }
        self.record(Happened {
            at_ms: object.updated_at_ms,
            namespace: task.namespace.clone(),
            resources,
            message: sentence(task),
            detail: EventDetail::TaskStateChange(task.into()),
        });
    }

    /// A service has another count, because of this.
    pub(crate) fn scaled(&self, service: &QualifiedName, activity: &ScalingActivity) {
        let ScalingActivity { before, after, cause, .. } = activity;
        self.record(Happened {
            at_ms: activity.ended_at_ms,
            namespace: service.namespace.clone(),
            resources: vec![Resource::Service(service.clone())],
            message: format!("scaled from {before} to {after} tasks: {cause}"),
            detail: EventDetail::ScalingActivity(activity.clone()),
        });
    }

    /// Something was noted of a service: its notes became `after`.
    pub(crate) fn noted(&self, before: Option<&ServiceNotes>, after: &ServiceNotes) {
        let before = before.map_or(&[][..], |notes| &notes.events[..]);
        for event in added(before, &after.events).iter().rev() {
            if let Some(name) = event.name {
                self.record(of_service(after, event, name));
            }
        }
    }
}

/// The events that were put before those that were there, of which the oldest may be gone. Newest first.
fn added<'a>(before: &[ServiceEvent], after: &'a [ServiceEvent]) -> &'a [ServiceEvent] {
    let is_rest = |count: &usize| before.starts_with(&after[*count..]);
    let count = (0..after.len()).find(is_rest).unwrap_or(after.len());
    &after[..count]
}

fn of_service(notes: &ServiceNotes, event: &ServiceEvent, name: ServiceEventName) -> Happened {
    let namespace = notes.service.namespace.clone();
    let mut resources = vec![Resource::Service(notes.service.clone())];
    resources.extend(event.task.map(|task| Resource::Task(namespace.clone(), task)));
    let detail = match name {
        ServiceEventName::Deployment(name) => EventDetail::DeploymentStateChange(DeploymentStateChange {
            deployment: notes.rollout.as_ref().map(|rollout| deployment(rollout, name)).unwrap_or_default(),
            name,
            reason: event.message.clone(),
        }),
        ServiceEventName::Action(name) => EventDetail::ServiceAction(ServiceAction { name }),
    };
    Happened { at_ms: event.at_ms, namespace, resources, message: event.message.clone(), detail }
}

/// Of which deployment that is said: what failed is the one that was asked for, also where another is in its stead already.
fn deployment(rollout: &Rollout, name: DeploymentEventName) -> String {
    let id = match name {
        DeploymentEventName::Failed => rollout.for_,
        DeploymentEventName::InProgress | DeploymentEventName::Completed => rollout.id,
    };
    id.to_string()
}

/// What a task's state means to people.
fn sentence(task: &Task) -> String {
    let what = match (task.status, &task.stop) {
        (TaskStatus::Stopped, None) => "has stopped".to_owned(),
        (TaskStatus::Stopped, Some(stop)) => format!("has stopped ({}): {}", stop.code, stop.message),
        (_, Some(StoppedReason { code, message })) => {
            format!("is {}, to stop ({code}): {message}", task.status)
        }
        (TaskStatus::Running, None) => match &task.health_reason {
            Some(reason) => format!("is RUNNING and unhealthy: {reason}"),
            None => "is RUNNING".to_owned(),
        },
        (status, None) => format!("is {status}"),
    };
    format!("task {} of {} {what}", task.id.short(), task.definition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::ServiceActionName;

    #[test]
    fn what_was_noted_before_is_not_recorded_again() {
        let event = |at_ms: u64| ServiceEvent::new(at_ms, ServiceActionName::SteadyState, at_ms.to_string());
        let events = |range: std::ops::Range<u64>| range.rev().map(event).collect::<Vec<_>>();
        for (before, after, expected) in [
            (0..0, 0..0, 0..0),
            (0..0, 0..3, 0..3),
            (0..3, 0..3, 3..3),
            (0..3, 0..5, 3..5),
            // The oldest are gone.
            (0..20, 2..22, 20..22),
            (0..20, 30..50, 30..50),
        ] {
            let after = events(after);
            assert_eq!(added(&events(before), &after), events(expected));
        }
    }

    #[test]
    fn a_task_is_told_of_in_a_sentence() {
        let mut object = crate::events::tests::object("web", 5);
        let mut says = |status, stop: Option<&str>, expected: &str| {
            object.task.status = status;
            object.task.stop = stop.map(|message| StoppedReason {
                code: skiff_types::StopCode::Trapped,
                message: message.to_owned(),
            });
            let shown = sentence(&object.task);
            assert_eq!(shown, format!("task {} of web:3 {expected}", object.task.id.short()));
        };
        says(TaskStatus::Activating, None, "is ACTIVATING");
        says(TaskStatus::Running, None, "is RUNNING");
        says(TaskStatus::Running, Some("unreachable"), "is RUNNING, to stop (Trapped): unreachable");
        says(TaskStatus::Stopped, Some("unreachable"), "has stopped (Trapped): unreachable");
    }
}
