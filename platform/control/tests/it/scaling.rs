//! How counts move by themselves: by what comes, by alarms and within bounds; not of what sleeps; through a death at any write.

use crate::crash::Mortal;
use crate::fixture::{Disk, Platform, name, namespace, until, wanted};
use crate::node::Node;
use futures::StreamExt;
use serde_json::{Value, json};
use skiff_api::{
    ClientError, ErrorCode, EventDetail, EventQuery, MetricDatum, PageQuery, PutAlarm, PutMetricData,
    PutScaling, PutService, ScaleService, Scaling, ScalingChange, Service,
};
use skiff_control::{Readings, TaskReading};
use skiff_ledger::Totals;
use skiff_types::{ScaleToZero, TaskId};
use std::sync::Arc;
use std::time::Instant;

fn body(more: Value) -> PutScaling {
    let mut body = json!({ "min": 1, "max": 10 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(body).unwrap()
}

impl Platform {
    async fn put_scaling(&self, more: Value) -> Result<Scaling, ClientError> {
        self.client.put_scaling(&namespace(), &name("hello"), &body(more), None).await
    }

    async fn activities(&self) -> Vec<ScalingChange> {
        let (client, query) = (&self.client, PageQuery::default());
        client.list_scaling_activities(&namespace(), &name("hello"), &query).await.unwrap().items
    }

    /// Waits until `hello` is to have so many tasks, and has them.
    async fn has(&self, count: u32) -> Service {
        until(&format!("it has {count} tasks"), || async {
            let service = self.service("hello").await;
            (service.spec.desired == count && service.status.running == count).then_some(service)
        })
        .await
    }

    /// Has a task have so many requests that wait for their answers.
    fn waits(&self, task: TaskId, in_flight: u64) {
        let totals = Totals { in_flight, ..Totals::default() };
        let owner = "default/hello".parse().unwrap();
        let living = vec![TaskReading { task, owner, in_service: true, totals }];
        *self.meters.0.lock().unwrap() = Readings { living, ended: vec![] };
    }

    async fn put_depth(&self, depth: f64) {
        let datum = MetricDatum {
            metric: "queue/depth".parse().unwrap(),
            dimensions: Default::default(),
            at_ms: None,
            value: Some(depth),
            values: None,
            counts: None,
            statistics: None,
        };
        self.client.put_metric_data(&namespace(), &PutMetricData { data: vec![datum] }).await.unwrap();
    }
}

fn code<T>(result: Result<T, ClientError>) -> Option<ErrorCode> {
    result.err().and_then(|error| error.code())
}

#[tokio::test]
async fn tasks_follow_what_comes_though_nothing_is_answered() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    let deployment = platform.completed("hello").await.status.deployment.id;
    let task = platform.running("hello").await.remove(0).id;
    // 100 a second for each task.
    let load = json!({ "name": "load", "metric": "RequestCountPerTarget", "target": 6_000 });
    platform.put_scaling(json!({ "policies": [{ "target_tracking": load }] })).await.unwrap();

    let began = Instant::now();
    let scaled = until("it has more tasks", || async {
        platform.waits(task, began.elapsed().as_millis() as u64 * 45 / 100);
        let service = platform.service("hello").await;
        (service.spec.desired > 1).then_some(service)
    })
    .await;
    // The oldest: more of it may have come meanwhile.
    let first = until("that is noted", || async { platform.activities().await.pop() }).await;
    assert_eq!((first.before, first.min, first.max), (1, 1, 10));
    assert!((2..=10).contains(&first.after), "450 a second come, or what came of a part of one: {first:?}");
    assert!(first.cause.starts_with("RequestCountPerTarget takes "), "{}", first.cause);
    assert!(first.cause.ends_with("(policy load)"), "{}", first.cause);
    assert_eq!(scaled.status.deployment.id, deployment, "it is no other deployment");
    assert_eq!(scaled.spec.definition.to_string(), "hello:1");

    until("a service event says why", || async {
        let events = platform.service("hello").await.status.events;
        let said = format!("scaling from 1 to a desired count of {}: {}", first.after, first.cause);
        events.iter().any(|event| event.message == said).then_some(())
    })
    .await;
    let activity = until("it is on the stream", || async {
        let events = platform.client.read_events(&namespace(), &EventQuery::default()).await.unwrap();
        let events: Vec<_> = events.map(|event| event.unwrap()).collect().await;
        events.into_iter().find_map(|event| {
            let EventDetail::ScalingActivity(activity) = event.detail else { return None };
            Some((event.message, activity))
        })
    })
    .await;
    assert_eq!(activity.0, format!("scaled from 1 to {} tasks: {}", first.after, first.cause));
    assert_eq!((activity.1.old_desired_capacity, activity.1.new_desired_capacity), (1, first.after));
    platform.assert_node_is_content();
}

#[tokio::test]
async fn bounds_hold_whoever_says_how_many() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    platform.completed("hello").await;
    platform.put_scaling(json!({ "min": 3, "max": 5 })).await.unwrap();
    platform.has(3).await;
    let changes = until("that is noted", || async {
        let changes = platform.activities().await;
        (!changes.is_empty()).then_some(changes)
    })
    .await;
    assert_eq!((changes[0].before, changes[0].after), (1, 3));
    assert_eq!(changes[0].cause, "its bounds are 3 and 5 tasks");

    for (asked, expected) in [(9, 5), (0, 3), (4, 4)] {
        let scale = ScaleService { desired: asked };
        let scaled = platform.client.scale_service(&namespace(), &name("hello"), &scale, None).await.unwrap();
        assert_eq!(scaled.spec.desired, expected, "{asked}");
    }
    platform.has(4).await;
    let shown = platform.service("hello").await.status.scaling.unwrap();
    assert_eq!((shown.min, shown.max, shown.desired), (3, 5, 4));
    let second = platform.deploy("hello", "http two", 1).await;
    let service = platform.has(4).await;
    assert_eq!(service.spec.definition, second.id, "a deploy keeps the count");

    platform.put_scaling(json!({ "min": 1, "max": 2 })).await.unwrap();
    platform.completed("hello").await;
    platform.has(2).await;
    platform.client.delete_scaling(&namespace(), &name("hello"), None).await.unwrap();
    let gone = platform.client.get_scaling(&namespace(), &name("hello")).await;
    assert_eq!(code(gone), Some(ErrorCode::NotFound));
    let scale = ScaleService { desired: 6 };
    platform.client.scale_service(&namespace(), &name("hello"), &scale, None).await.unwrap();
    platform.has(6).await;
    assert!(platform.service("hello").await.status.scaling.is_none());
}

#[tokio::test]
async fn a_step_is_taken_while_its_alarm_is_in_alarm_and_an_alarm_that_is_followed_stays() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    platform.completed("hello").await;
    let busy = json!({
        "metric": "queue/depth", "statistic": "Maximum", "period": "1s", "threshold": 10,
        "treat_missing_data": "notBreaching",
    });
    let busy: PutAlarm = serde_json::from_value(busy).unwrap();
    platform.client.put_alarm(&namespace(), &name("busy"), &busy, None).await.unwrap();
    let step = json!({
        "name": "more", "alarm": "busy", "cooldown": "1h",
        "steps": [{ "lower": 0, "upper": 100, "change": 2 }, { "lower": 100, "change": 7 }],
    });
    platform.put_scaling(json!({ "policies": [{ "step": step }] })).await.unwrap();
    let refused = platform.client.delete_alarm(&namespace(), &name("busy"), None).await;
    assert_eq!(code(refused), Some(ErrorCode::FailedPrecondition));

    until("the smaller step is taken", || async {
        platform.put_depth(20.0).await;
        (platform.service("hello").await.spec.desired == 3).then_some(())
    })
    .await;
    // Within the cooldown what was added is a part of what is added next.
    until("the larger step is taken", || async {
        platform.put_depth(500.0).await;
        let changes = platform.activities().await;
        changes.iter().any(|change| (change.before, change.after) == (3, 8)).then_some(())
    })
    .await;
    let causes: Vec<String> = platform.activities().await.into_iter().map(|change| change.cause).collect();
    assert!(causes.iter().all(|cause| cause.contains("the alarm busy is in ALARM by ")), "{causes:?}");
    platform.client.delete_scaling(&namespace(), &name("hello"), None).await.unwrap();
    platform.client.delete_alarm(&namespace(), &name("busy"), None).await.unwrap();
}

#[tokio::test]
async fn what_can_not_be_followed_is_refused() {
    let platform = Platform::start().await;
    assert_eq!(code(platform.put_scaling(json!({})).await), Some(ErrorCode::NotFound));
    platform.push("hello", "http").await;
    platform.register("hello", "hello").await;
    let put = async |scale_to_zero| {
        let request = PutService { scale_to_zero: Some(scale_to_zero), ..wanted("hello", 1) };
        platform.client.put_service(&namespace(), &name("hello"), &request, None).await
    };
    put(ScaleToZero::Never).await.unwrap();
    let follows =
        json!({ "policies": [{ "step": { "name": "a", "alarm": "busy", "steps": [{ "change": 1 }] } }] });
    assert_eq!(code(platform.put_scaling(follows).await), Some(ErrorCode::NotFound));
    let requests = json!({ "name": "a", "metric": "RequestCount", "target": 100 });
    for bad in [
        json!({ "min": 0 }),
        json!({ "min": 11 }),
        json!({ "policies": [{ "target_tracking": requests }] }),
        json!({ "schedules": [{ "name": "a", "schedule": "rate(1 day)", "zone": "Europe/Atlantis", "min": 2 }] }),
        json!({ "schedules": [{ "name": "a", "schedule": "cron(0 0 31 2 ? *)", "min": 2 }] }),
        json!({ "schedules": [{ "name": "a", "schedule": "rate(1 day)" }] }),
    ] {
        assert_eq!(code(platform.put_scaling(bad.clone()).await), Some(ErrorCode::InvalidArgument), "{bad}");
    }
    // A request wakes what scales to zero, so that it may have none.
    let idling = ScaleToZero::After("1h".parse().unwrap());
    put(idling).await.unwrap();
    platform.put_scaling(json!({ "min": 0 })).await.unwrap();
    assert_eq!(code(put(ScaleToZero::Never).await), Some(ErrorCode::FailedPrecondition));
    put(idling).await.unwrap();
}

#[tokio::test]
async fn a_service_that_sleeps_is_left_alone_until_it_is_awake() {
    let platform = Platform::start().await;
    platform.push("hello", "http").await;
    platform.register("hello", "hello").await;
    let idling = ScaleToZero::After(ScaleToZero::LEAST);
    let request = PutService { scale_to_zero: Some(idling), ..wanted("hello", 1) };
    platform.client.put_service(&namespace(), &name("hello"), &request, None).await.unwrap();
    platform.completed("hello").await;
    until("it is asleep", || async { platform.service("hello").await.status.asleep.then_some(()) }).await;
    let asleep = platform.service("hello").await;
    platform.put_scaling(json!({ "min": 3 })).await.unwrap();
    let began = Instant::now();
    until("several seconds were measured", || async {
        (began.elapsed() > 3 * ScaleToZero::LEAST.duration()).then_some(())
    })
    .await;
    let service = platform.service("hello").await;
    assert_eq!((service.status.asleep, service.revision), (true, asleep.revision), "it was not touched");
    until("it is awake, and has its fewest tasks", || async {
        // It may have fallen asleep again.
        platform.node.want("default/hello");
        let service = platform.service("hello").await;
        (service.spec.desired == 3 && service.status.running == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn scaling_goes_with_its_service() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    platform.put_scaling(json!({ "min": 2 })).await.unwrap();
    platform.has(2).await;
    platform.client.delete_service(&namespace(), &name("hello"), None).await.unwrap();
    // At once, before anybody has looked.
    platform.put("hello", "hello", 1).await;
    let found = platform.client.get_scaling(&namespace(), &name("hello")).await;
    assert_eq!(code(found), Some(ErrorCode::NotFound), "it was another service's");
    platform.completed("hello").await;
    assert_eq!(platform.service("hello").await.spec.desired, 1);
    platform.put_scaling(json!({ "min": 2 })).await.unwrap();
    platform.has(2).await;
    let listed = platform.client.list_scaling(&namespace(), &PageQuery::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}

/// The platform dies at each write of a scaling, once before it is done and once after: the service comes to its count, once.
#[tokio::test]
async fn what_was_decided_is_carried_out_over_a_death_and_once() {
    for does_the_last in [false, true] {
        for writes in 1..=6 {
            let disk = Disk::new();
            let platform = Platform::start_on(disk.clone()).await;
            platform.deploy("hello", "http", 1).await;
            platform.completed("hello").await;
            platform.stop().await;

            let store = Arc::new(Mortal::new(disk.store.clone(), i64::MAX, does_the_last));
            let node = Arc::new(Node::new(disk.images.clone()));
            let mortal = Platform::start_with(Disk { store: store.clone(), ..disk.clone() }, node).await;
            mortal.handle.ready().await;
            store.dies_after(writes);
            // The call itself may be cut short.
            let _ = mortal.put_scaling(json!({ "min": 3 })).await;
            until("it has died, or all is done", || async {
                let found = mortal.client.get_service(&namespace(), &name("hello")).await;
                let is_done = found.is_ok_and(|service| service.status.running == 3);
                (store.is_dead() || is_done).then_some(())
            })
            .await;
            mortal.stop().await;

            let platform = Platform::start_on(disk).await;
            platform.put_scaling(json!({ "min": 3 })).await.unwrap();
            platform.has(3).await;
            let changes = until("it is noted", || async {
                let changes = platform.activities().await;
                (!changes.is_empty()).then_some(changes)
            })
            .await;
            let counts: Vec<(u32, u32)> =
                changes.iter().map(|change| (change.before, change.after)).collect();
            assert_eq!(counts, [(1, 3)], "death at {writes}, {does_the_last}");
            platform.assert_node_is_content();
            platform.stop().await;
        }
    }
}
