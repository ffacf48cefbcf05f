//! The stream of events: whose, and as they look on the wire.

use super::Entrance;
use super::tasks::no_task;
use crate::error::ApiError;
use crate::events::Reading;
use crate::objects::ObjectError;
use futures::stream::{BoxStream, StreamExt};
use skiff_api::EventQuery;
use skiff_ports::journal::{EventFilter, JournalQuery, Take};
use skiff_types::{
    AlarmMoment, Event, EventDetail, Name, Namespace, QualifiedName, Resource, TaskStateChange, TaskStatus,
};
use std::io;

/// Events as they come.
pub(crate) type Events = BoxStream<'static, io::Result<skiff_api::Event>>;

impl Entrance {
    /// The events asked for, oldest first. Those of what is gone are there for as long as the journal has them.
    pub(crate) async fn read_events(
        &self,
        namespace: &Namespace,
        query: &EventQuery,
    ) -> Result<Events, ApiError> {
        if query.tail.is_some_and(|tail| tail > EventQuery::TAIL_MAX) {
            return Err(ApiError::invalid(format!("tail must be 0 to {}", EventQuery::TAIL_MAX)));
        }
        let filter = EventFilter {
            namespace: Some(namespace.clone()),
            services: query.services.clone(),
            task: query.task,
            types: query.types.clone(),
            since_ms: query.since_ms,
        };
        self.check_known(namespace, &filter).await?;
        let follow = query.follow.unwrap_or(false);
        let reading = Reading::new(self.context.clone(), filter, query.tail, follow);
        let events = futures::stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await? {
                Ok(event) => Some((Ok(wire(event)), Some(reading))),
                Err(error) => Some((Err(io::Error::other(error)), None)),
            }
        });
        Ok(events.boxed())
    }

    /// A service or a task that is not there, and of which there are no events, is a mistake, and not an empty answer.
    async fn check_known(&self, namespace: &Namespace, filter: &EventFilter) -> Result<(), ApiError> {
        let (services, task) = self.context.objects.read(|view| {
            let is_gone = |service: &&Name| {
                view.service(&QualifiedName::new(namespace.clone(), (*service).clone())).is_none()
            };
            let services: Vec<Name> = filter.services.iter().filter(is_gone).cloned().collect();
            (services, filter.task.filter(|task| view.task(namespace, *task).is_none()))
        });
        let namespaced = EventFilter { namespace: Some(namespace.clone()), ..EventFilter::default() };
        for service in services {
            let filter = EventFilter { services: vec![service.clone()], ..namespaced.clone() };
            if !self.is_told_of(filter).await? {
                return Err(ApiError::not_found(format!("there is no service {service} in {namespace}")));
            }
        }
        if let Some(task) = task
            && !self.is_told_of(EventFilter { task: Some(task), ..namespaced }).await?
        {
            return Err(no_task(namespace, task));
        }
        Ok(())
    }

    /// Whether there is any such event.
    async fn is_told_of(&self, filter: EventFilter) -> Result<bool, ApiError> {
        let query = JournalQuery { after: None, filter, take: Take::Newest(1) };
        let found = self.context.events.look(query).await.map_err(ObjectError::Store)?;
        Ok(!found.is_empty())
    }
}

pub(crate) fn wire(event: Event) -> skiff_api::Event {
    let event_type = event.detail.event_type();
    skiff_api::Event {
        id: event.id,
        time: time(event.at_ms),
        source: event_type.source(),
        namespace: event.namespace,
        detail: detail(event.detail, event.at_ms, event.resources.first()),
        resources: event.resources,
        message: event.message,
    }
}

fn detail(detail: EventDetail, at_ms: u64, first: Option<&Resource>) -> skiff_api::EventDetail {
    match detail {
        EventDetail::TaskStateChange(change) => skiff_api::EventDetail::TaskStateChange(task(change)),
        EventDetail::DeploymentStateChange(change) => {
            skiff_api::EventDetail::DeploymentStateChange(skiff_api::DeploymentStateChange {
                event_type: change.name.level(),
                event_name: change.name,
                deployment_id: change.deployment,
                updated_at: time(at_ms),
                reason: change.reason,
            })
        }
        EventDetail::ServiceAction(action) => {
            skiff_api::EventDetail::ServiceAction(skiff_api::ServiceAction {
                event_type: action.name.level(),
                event_name: action.name,
                created_at: time(at_ms),
            })
        }
        EventDetail::AlarmStateChange(change) => {
            skiff_api::EventDetail::AlarmStateChange(skiff_api::AlarmStateChange {
                alarm_name: change.alarm,
                previous_state: moment(change.before),
                state: moment(change.after),
            })
        }
        EventDetail::ScalingActivity(activity) => {
            skiff_api::EventDetail::ScalingActivity(skiff_api::ScalingActivity {
                start_time: time(activity.began_at_ms),
                end_time: time(activity.ended_at_ms),
                old_desired_capacity: activity.before,
                new_desired_capacity: activity.after,
                min_capacity: activity.min,
                max_capacity: activity.max,
                resource_id: first.cloned(),
                scaled_to_max: activity.after == activity.max,
                direction: match activity.after < activity.before {
                    true => skiff_api::ScalingDirection::ScaleIn,
                    false => skiff_api::ScalingDirection::ScaleOut,
                },
                cause: activity.cause,
            })
        }
    }
}

fn task(change: TaskStateChange) -> skiff_api::TaskStateChange {
    skiff_api::TaskStateChange {
        task: change.task,
        group: change.group,
        task_definition: change.definition,
        desired_status: if change.stop.is_some() { TaskStatus::Stopped } else { TaskStatus::Running },
        last_status: change.status,
        health_status: change.health.into(),
        stop_code: change.stop.as_ref().map(|stop| stop.code),
        stopped_reason: change.stop.map(|stop| stop.message),
        exit_code: change.exit_code,
        created_at: time(change.created_at_ms),
        started_at: change.started_at_ms.map(time),
        stopped_at: change.stopped_at_ms.map(time),
    }
}

fn moment(moment: AlarmMoment) -> skiff_api::AlarmMoment {
    skiff_api::AlarmMoment { value: moment.state, reason: moment.reason, timestamp: time(moment.since_ms) }
}

/// A point in time, given in milliseconds since 1970, as RFC 3339 in UTC.
fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    format!("{:.3}", at.unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use skiff_types::{EventId, ScalingActivity};

    #[test]
    fn an_event_looks_as_aws_has_it() {
        let service: QualifiedName = "shop/web".parse().unwrap();
        let activity = ScalingActivity {
            before: 5,
            after: 8,
            min: 2,
            max: 8,
            began_at_ms: 1_560_334_843_000,
            ended_at_ms: 1_560_335_020_000,
            cause: "requests per target were 400".to_owned(),
        };
        let event = Event {
            id: EventId::following(None, 1_560_335_020_000, [0; 8]),
            at_ms: 1_560_335_020_000,
            namespace: service.namespace.clone(),
            resources: vec![Resource::Service(service)],
            message: "scaled from 5 to 8 tasks: requests per target were 400".to_owned(),
            detail: EventDetail::ScalingActivity(activity),
        };
        let shown = wire(event);
        let expected = json!({
            "id": "016b4b36efe070008000000000000000",
            "time": "2019-06-12T10:23:40.000Z",
            "source": "skiff.application-autoscaling",
            "namespace": "shop",
            "resources": ["service/shop/web"],
            "message": "scaled from 5 to 8 tasks: requests per target were 400",
            "detail-type": "Application Auto Scaling Scaling Activity State Change",
            "detail": {
                "startTime": "2019-06-12T10:20:43.000Z",
                "endTime": "2019-06-12T10:23:40.000Z",
                "oldDesiredCapacity": 5,
                "newDesiredCapacity": 8,
                "minCapacity": 2,
                "maxCapacity": 8,
                "resourceId": "service/shop/web",
                "scaledToMax": true,
                "direction": "scale-out",
                "cause": "requests per target were 400",
            },
        });
        assert_eq!(serde_json::to_value(&shown).unwrap(), expected);
        assert_eq!(serde_json::from_value::<skiff_api::Event>(expected).unwrap(), shown);
    }
}
