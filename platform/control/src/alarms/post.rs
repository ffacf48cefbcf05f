//! What is posted of a change of an alarm's state: the event, in the shape of EventBridge's "CloudWatch Alarm State Change".
//!
//! It is what the stream of events has, with its version and with what the alarm watches. It posts nothing itself.

use crate::entrance::wire;
use crate::events::Happened;
use crate::model::Delivery;
use serde_json::{Map, Value, json};
use skiff_kit::random::SharedRandom;
use skiff_types::{AlarmAction, AlarmSpec, AlarmState, EventId, MetricOf};

/// The version of the shape, as EventBridge counts them.
const VERSION: &str = "0";
/// Where what Skiff measures comes from, as CloudWatch calls a namespace of metrics.
const METRICS: &str = "Skiff";

/// What is to be posted where, of an alarm that has come to this state.
pub(crate) fn posts(
    spec: &AlarmSpec,
    state: AlarmState,
    happened: &Happened,
    random: &SharedRandom,
) -> Vec<Delivery> {
    let post = |action: &AlarmAction| match action {
        AlarmAction::Webhook(url) => {
            let id = EventId::following(None, happened.at_ms, random.bytes());
            let body = body(spec, happened.clone(), id);
            Delivery { id: id.to_string(), url: url.clone(), body, since_ms: happened.at_ms }
        }
    };
    spec.actions.on(state).iter().map(post).collect()
}

fn body(spec: &AlarmSpec, happened: Happened, id: EventId) -> String {
    let mut event = serde_json::to_value(wire(happened.into_event(id))).expect("an event is JSON");
    event["version"] = VERSION.into();
    event["detail"]["configuration"] = configuration(spec);
    event.to_string()
}

/// What an alarm watches. Of a namespace and dimensions as CloudWatch has them: what Skiff measures has those of ECS.
fn configuration(spec: &AlarmSpec) -> Value {
    let metric = &spec.metric;
    let mut dimensions: Map<String, Value> =
        metric.dimensions.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
    let namespace = match &metric.of {
        MetricOf::Service(service) => {
            dimensions.insert("ServiceName".to_owned(), service.name.as_str().into());
            METRICS.to_owned()
        }
        MetricOf::Task(task) => {
            dimensions.insert("TaskId".to_owned(), task.to_string().into());
            METRICS.to_owned()
        }
        MetricOf::Custom(namespace) => namespace.to_string(),
    };
    json!({
        "metrics": [{
            "id": "m1",
            "metricStat": {
                "metric": { "namespace": namespace, "name": metric.metric, "dimensions": dimensions },
                "period": spec.period.ms() / 1_000,
                "stat": spec.statistic,
            },
            "returnData": true,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::tests::alarm;
    use skiff_kit::random::SystemRandom;
    use skiff_types::{AlarmActions, AlarmMoment};
    use std::sync::Arc;

    #[test]
    fn a_change_looks_as_event_bridge_has_it() {
        let moment =
            |state, reason: &str, since_ms| AlarmMoment { state, reason: reason.to_owned(), since_ms };
        let webhook = |url: &str| AlarmAction::Webhook(url.parse().unwrap());
        let actions = AlarmActions {
            alarm: vec![webhook("http://a/"), webhook("http://b/")],
            ..AlarmActions::default()
        };
        let spec = AlarmSpec { actions, ..(*alarm("shop/busy").spec).clone() };
        let happened = Happened::of_alarm(
            &spec.name,
            moment(AlarmState::Ok, "calm", 1_000),
            moment(AlarmState::Alarm, "too much", 1_560_335_020_000),
        );
        let random = SharedRandom::new(Arc::new(SystemRandom));
        assert!(posts(&spec, AlarmState::Ok, &happened, &random).is_empty());
        let posts = posts(&spec, AlarmState::Alarm, &happened, &random);
        let urls: Vec<&str> = posts.iter().map(|post| post.url.as_str()).collect();
        assert_eq!(urls, ["http://a/", "http://b/"]);
        assert_ne!(posts[0].id, posts[1].id);
        let body: Value = serde_json::from_str(&posts[0].body).unwrap();
        let expected = json!({
            "version": "0",
            "id": posts[0].id,
            "time": "2019-06-12T10:23:40.000Z",
            "source": "skiff.cloudwatch",
            "namespace": "shop",
            "resources": ["alarm/shop/busy"],
            "message": "the alarm busy went from OK to ALARM: too much",
            "detail-type": "CloudWatch Alarm State Change",
            "detail": {
                "alarmName": "busy",
                "configuration": {
                    "metrics": [{
                        "id": "m1",
                        "metricStat": {
                            "metric": {
                                "namespace": "Skiff",
                                "name": "CPUUtilization",
                                "dimensions": { "ServiceName": "web" },
                            },
                            "period": 10,
                            "stat": "Average",
                        },
                        "returnData": true,
                    }],
                },
                "previousState": { "value": "OK", "reason": "calm", "timestamp": "1970-01-01T00:00:01.000Z" },
                "state": { "value": "ALARM", "reason": "too much", "timestamp": "2019-06-12T10:23:40.000Z" },
            },
        });
        assert_eq!(body, expected);
    }
}
