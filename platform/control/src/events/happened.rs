//! What objects have to tell: what a task, and what is noted of a service, of its scaling and of an alarm, become on the stream of
//! events.
//!
//! An object is asked what it has to tell since it was so and so, which a mark says. A task says what it is now. What is noted of
//! others carries what happened last in a list of its own, and they tell all that came into it.
//! A mark lies in the journal: where another version made it another way, all objects would tell once more what they told.

use crate::model::{AlarmNotes, AlarmTransition, ScalingNotes, ServiceEvent, ServiceNotes, TaskObject};
use sha2::{Digest as _, Sha256};
use skiff_plan::rollout::Rollout;
use skiff_ports::journal::Mark;
use skiff_types::{
    AlarmMoment, AlarmStateChange, DeploymentEventName, DeploymentStateChange, Event, EventDetail, EventId,
    Namespace, QualifiedName, Resource, ScalingActivity, ServiceAction, ServiceEventName, StoppedReason,
    Task, TaskStatus,
};
use std::fmt::Display;

/// What an object has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tale {
    /// How far it is told then.
    pub(crate) mark: Mark,
    /// Oldest first.
    pub(crate) happened: Vec<Happened>,
}

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

impl TaskObject {
    /// It went on in its life, is to end, or changed its health, if it is another than it was told to be.
    pub(crate) fn tells(&self, told: Option<Mark>) -> Option<Tale> {
        let task = &self.task;
        let mark = mark_of_task(task);
        if told == Some(mark) {
            return None;
        }
        let mut resources = vec![Resource::Task(task.namespace.clone(), task.id)];
        if self.in_service() {
            resources.push(Resource::Service(self.owner()));
        }
        let happened = Happened {
            at_ms: self.updated_at_ms,
            namespace: task.namespace.clone(),
            resources,
            message: sentence(task),
            detail: EventDetail::TaskStateChange(task.into()),
        };
        Some(Tale { mark, happened: vec![happened] })
    }
}

impl ServiceNotes {
    /// What was noted of the service.
    pub(crate) fn tells(&self, told: Option<Mark>) -> Option<Tale> {
        let mark = |event: &ServiceEvent| {
            let ServiceEvent { at_ms, message, task, .. } = event;
            mark(&[at_ms, message, &or_nothing(task.as_ref())])
        };
        let (mark, news) = news(&self.events, mark, told)?;
        let happened = news.iter().rev().filter_map(|event| Some(of_service(self, event, event.name?)));
        Some(Tale { mark, happened: happened.collect() })
    }
}

impl ScalingNotes {
    /// The counts that the service was given.
    pub(crate) fn tells(&self, told: Option<Mark>) -> Option<Tale> {
        let mark = |activity: &ScalingActivity| {
            let ScalingActivity { before, after, began_at_ms, ended_at_ms, .. } = activity;
            mark(&[before, after, began_at_ms, ended_at_ms])
        };
        let (mark, news) = news(&self.activities, mark, told)?;
        let happened = news.iter().rev().map(|activity| of_scaling(&self.service, activity));
        Some(Tale { mark, happened: happened.collect() })
    }
}

impl AlarmNotes {
    /// The states that the alarm came to.
    pub(crate) fn tells(&self, told: Option<Mark>) -> Option<Tale> {
        let mark = |change: &AlarmTransition| {
            let AlarmTransition { at_ms, before, after, reason, .. } = change;
            mark(&[at_ms, before, after, reason])
        };
        let (mark, news) = news(&self.history, mark, told)?;
        let happened = (0..news.len()).rev().map(|place| {
            let change = &self.history[place];
            let (reason, since_ms) = match self.history.get(place + 1) {
                Some(before) => (before.reason.clone(), before.at_ms),
                None => (Self::NEW.to_owned(), self.alarm_created_at_ms),
            };
            let before = AlarmMoment { state: change.before, reason, since_ms };
            let (reason, since_ms) = (change.reason.clone(), change.at_ms);
            Happened::of_alarm(&self.alarm, before, AlarmMoment { state: change.after, reason, since_ms })
        });
        Some(Tale { mark, happened: happened.collect() })
    }
}

/// What came into a list, newest first, since its newest had the mark `told`: all of it, where none has it any more. With the
/// mark of its newest; nothing where that is told.
fn news<T>(list: &[T], mark: impl Fn(&T) -> Mark, told: Option<Mark>) -> Option<(Mark, &[T])> {
    let newest = mark(list.first()?);
    let known = list.iter().position(|one| told == Some(mark(one)));
    match known.unwrap_or(list.len()) {
        0 => None,
        count => Some((newest, &list[..count])),
    }
}

fn mark_of_task(task: &Task) -> Mark {
    let Task { status, health, health_reason, stop, exit_code, restarts, .. } = task;
    // As it is written in records, which no other version writes another way.
    let health = serde_json::to_string(health).unwrap_or_default();
    mark(&[
        status,
        &health,
        &or_nothing(health_reason.as_ref()),
        &or_nothing(stop.as_ref()),
        &or_nothing(exit_code.as_ref()),
        restarts,
    ])
}

fn or_nothing(value: Option<&impl Display>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// Tells what these make from all else.
fn mark(parts: &[&dyn Display]) -> Mark {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.to_string());
        hash.update([0]);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let (first, _) = hash.split_first_chunk::<8>().expect("a hash has more than eight bytes");
    Mark(u64::from_be_bytes(*first))
}

fn of_scaling(service: &QualifiedName, activity: &ScalingActivity) -> Happened {
    let ScalingActivity { before, after, cause, .. } = activity;
    Happened {
        at_ms: activity.ended_at_ms,
        namespace: service.namespace.clone(),
        resources: vec![Resource::Service(service.clone())],
        message: format!("scaled from {before} to {after} tasks: {cause}"),
        detail: EventDetail::ScalingActivity(activity.clone()),
    }
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
    use skiff_types::{AlarmState, ServiceActionName};

    /// The times of what is told, oldest first.
    fn times(tale: Option<Tale>) -> Vec<u64> {
        tale.into_iter().flat_map(|tale| tale.happened).map(|happened| happened.at_ms).collect()
    }

    #[test]
    fn what_was_noted_is_told_once() {
        let event = |at_ms: u64| ServiceEvent::new(at_ms, ServiceActionName::SteadyState, at_ms.to_string());
        let notes = |range: std::ops::Range<u64>| {
            let mut notes = ServiceNotes::new("default/web".parse().unwrap(), 1);
            notes.events = range.rev().map(event).collect();
            notes
        };
        for (before, after, expected) in [
            (0..0, 0..0, 0..0),
            (0..0, 0..3, 0..3),
            (0..3, 0..3, 3..3),
            (0..3, 0..5, 3..5),
            // The oldest are gone.
            (0..20, 2..22, 20..22),
            (0..20, 30..50, 30..50),
        ] {
            let told = notes(before).tells(None).map(|tale| tale.mark);
            assert_eq!(times(notes(after).tells(told)), Vec::from_iter(expected));
        }
        let mut old = notes(0..2);
        old.events[0].name = None;
        assert_eq!(times(old.tells(None)), [0], "an older version did not say what it is");
        assert_eq!(old.tells(old.tells(None).map(|tale| tale.mark)), None);
    }

    #[test]
    fn a_task_tells_what_it_has_become_and_nothing_twice() {
        let mut object = crate::events::tests::object("web", 5);
        let mut told = None;
        let mut tells = |object: &TaskObject| {
            let tale = object.tells(told);
            told = tale.as_ref().map(|tale| tale.mark).or(told);
            tale.map(|tale| tale.happened.len())
        };
        assert_eq!((tells(&object), tells(&object)), (Some(1), None));
        object.task.ready_at_ms = Some(7);
        object.updated_at_ms = 7;
        assert_eq!(tells(&object), None, "it is none other for that");
        let changes: [fn(&mut Task); 5] = [
            |task| task.health = skiff_types::Health::Unhealthy,
            |task| task.health_reason = Some("refused".to_owned()),
            |task| {
                let message = "unhealthy".to_owned();
                task.stop = Some(StoppedReason { code: skiff_types::StopCode::Unhealthy, message });
            },
            |task| task.restarts += 1,
            |task| task.status = TaskStatus::Stopped,
        ];
        for change in changes {
            change(&mut object.task);
            assert_eq!((tells(&object), tells(&object)), (Some(1), None), "{object:?}");
        }
    }

    #[test]
    fn an_alarm_tells_each_state_with_the_one_before() {
        let mut notes = crate::alarms::tests::notes("default/busy");
        assert_eq!(notes.tells(None), None, "it is as alarms are");
        let states = [AlarmState::InsufficientData, AlarmState::Ok, AlarmState::Alarm, AlarmState::Ok];
        let mut told = None;
        for (at_ms, states) in (10..).zip(states.windows(2)) {
            let (before, after) = (states[0], states[1]);
            let reason = at_ms.to_string();
            notes.change(AlarmTransition { at_ms, before, after, reason, value: None }, vec![]);
            let tale = notes.tells(told).unwrap();
            let [happened] = &tale.happened[..] else { panic!("{tale:?}") };
            let EventDetail::AlarmStateChange(change) = &happened.detail else { panic!("{happened:?}") };
            assert_eq!((change.before.state, change.after.state), (before, after));
            assert_eq!(change.before.since_ms, if at_ms == 10 { 1 } else { at_ms - 1 });
            told = Some(tale.mark);
        }
        assert_eq!(notes.tells(told), None);
        assert_eq!(times(notes.tells(None)), [10, 11, 12]);
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
