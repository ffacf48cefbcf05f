//! Buses: what rules lead to, who may put, and what stays as long as something leads to it. The buses are the real ones.

use crate::fixture::{Platform, TOKEN, name, namespace, until};
use reqwest::StatusCode;
use serde_json::{Value, json};
use skiff_api::{
    ClientError, CreateAccessKey, ErrorCode, EventRule, EventTarget, Operation, PutBus, PutEventRule,
    PutEventSchedule, PutQueue, PutRole, ReceiveMessages, Task, TaskListQuery,
};
use skiff_types::Name;

const BUS: &str = "default";

async fn put_rule(platform: &Platform, rule: &str, body: Value) -> Result<EventRule, ClientError> {
    let body: PutEventRule = serde_json::from_value(body).unwrap();
    platform.client.put_event_rule(&namespace(), &name(rule), &body, None).await
}

async fn put_queue(platform: &Platform, queue: &str) {
    platform.client.put_queue(&namespace(), &name(queue), &PutQueue::default(), None).await.unwrap();
}

/// Puts an event of an order.
async fn put_order(platform: &Platform, order: &str) {
    let detail = json!({ "order": order }).to_string();
    let entries =
        json!({ "Entries": [{ "Source": "shop", "DetailType": "Order Placed", "Detail": detail }] });
    let (here, bus, body) = (namespace(), name(BUS), entries.to_string().into());
    let put = platform.client.put_events(&here, &bus, "application/json", body).await.unwrap();
    assert_eq!(put.event_ids.len(), 1);
}

/// The next message of a queue, with its attributes.
async fn message(platform: &Platform, queue: &str) -> (Value, Value) {
    let receive =
        ReceiveMessages { delete: true, ..serde_json::from_value(json!({ "wait": "0ms" })).unwrap() };
    let receive = &receive;
    let message = until("a message", || async move {
        let received = platform.client.receive_messages(&namespace(), &name(queue), receive).await.unwrap();
        received.messages.into_iter().next()
    })
    .await;
    let body = serde_json::from_str(message.body.as_deref().unwrap()).unwrap();
    (body, serde_json::to_value(message.attributes).unwrap())
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>, code: ErrorCode, says: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), Some(code), "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn what_a_rule_takes_goes_to_its_queue_and_nothing_else() {
    let platform = Platform::start().await;
    put_queue(&platform, "orders").await;
    let pattern = json!({ "source": ["shop"], "detail": { "order": [{ "prefix": "a" }] } });
    let target =
        json!({ "id": "orders", "to": { "queue": { "name": "orders" } }, "input": { "path": "$.detail" } });
    put_rule(&platform, "placed", json!({ "pattern": pattern, "targets": [target] })).await.unwrap();
    put_order(&platform, "b-1").await;
    put_order(&platform, "a-1").await;
    assert_eq!(message(&platform, "orders").await.0, json!({ "order": "a-1" }));
    let disabled = json!({ "pattern": pattern, "enabled": false });
    let rule = put_rule(&platform, "placed", disabled).await.unwrap();
    assert_eq!(rule.targets.len(), 1, "targets that are left out stay");
    put_order(&platform, "a-2").await;
    put_rule(&platform, "placed", json!({ "pattern": pattern })).await.unwrap();
    put_order(&platform, "a-3").await;
    assert_eq!(message(&platform, "orders").await.0, json!({ "order": "a-3" }));
}

#[tokio::test]
async fn what_two_rules_make_of_one_event_comes_to_another_bus_twice() {
    let platform = Platform::start().await;
    put_queue(&platform, "orders").await;
    platform.client.put_bus(&namespace(), &name("audit"), &PutBus::default(), None).await.unwrap();
    let target =
        json!({ "id": "orders", "to": { "queue": { "name": "orders" } }, "input": { "path": "$.detail" } });
    let all = json!({ "bus": "audit", "pattern": { "source": ["shop"] }, "targets": [target] });
    put_rule(&platform, "audited", all).await.unwrap();
    for rule in ["a", "b"] {
        let target =
            json!({ "id": "audit", "to": { "bus": "audit" }, "input": { "constant": { "by": rule } } });
        put_rule(&platform, rule, json!({ "pattern": { "source": ["shop"] }, "targets": [target] }))
            .await
            .unwrap();
    }
    put_order(&platform, "1").await;
    let by = [message(&platform, "orders").await.0, message(&platform, "orders").await.0];
    assert!(by.contains(&json!({ "by": "a" })) && by.contains(&json!({ "by": "b" })), "{by:?}");
}

#[tokio::test]
async fn what_can_not_be_delivered_goes_to_the_dead_letter_queue() {
    let platform = Platform::start().await;
    put_queue(&platform, "dead").await;
    platform.push("job:latest", "exit 0").await;
    platform.register("job", "job:latest").await;
    let target = json!({
        "id": "job", "to": { "task": { "definition": "job", "environment": { "ORDER": "$.detail.order" } } },
        "dead_letter": "dead",
    });
    put_rule(&platform, "placed", json!({ "pattern": { "source": ["shop"] }, "targets": [target] }))
        .await
        .unwrap();
    platform.client.deregister_task_definition(&namespace(), &"job:1".parse().unwrap()).await.unwrap();
    put_order(&platform, "1").await;
    let (event, attributes) = message(&platform, "dead").await;
    assert_eq!(event["detail"], json!({ "order": "1" }));
    let said = |attribute: &str| attributes[attribute].as_str().unwrap().to_owned();
    assert_eq!((said("ERROR_CODE").as_str(), said("RULE_NAME").as_str()), ("REFUSED", "default/placed"));
    assert!(said("ERROR_MESSAGE").contains("no task definition"), "{attributes}");
}

#[tokio::test]
async fn a_task_is_run_for_each_event() {
    let platform = Platform::start().await;
    platform.push("job:latest", "exit 0").await;
    platform.register("job", "job:latest").await;
    let target =
        json!({ "id": "job", "to": { "task": { "definition": "job", "arguments": ["$.detail.order"] } } });
    put_rule(&platform, "placed", json!({ "pattern": { "source": ["shop"] }, "targets": [target] }))
        .await
        .unwrap();
    for order in ["1", "2", "3"] {
        put_order(&platform, order).await;
    }
    let query = TaskListQuery { stopped: Some(true), ..TaskListQuery::default() };
    let query = &query;
    let tasks: Vec<Task> = until("each has run", || async {
        let tasks = platform.client.list_tasks(&namespace(), query).await.unwrap().items;
        (tasks.len() == 3).then_some(tasks)
    })
    .await;
    assert!(tasks.iter().all(|task| task.exit_code == Some(0)), "{tasks:?}");
}

#[tokio::test]
async fn an_access_key_may_put_what_its_role_allows_and_nothing_else() {
    let platform = Platform::start().await;
    let role: PutRole = serde_json::from_value(json!({ "allow": ["bus:put audit"] })).unwrap();
    platform.client.put_role(&namespace(), &name("hook"), &role, None).await.unwrap();
    platform.client.put_bus(&namespace(), &name("audit"), &PutBus::default(), None).await.unwrap();
    let key = CreateAccessKey { role: name("hook") };
    let key = platform.client.create_access_key(&namespace(), &key).await.unwrap();
    let event =
        json!({ "specversion": "1.0", "id": "1", "source": "shop", "type": "a", "data": 1 }).to_string();
    let put = async |operation: Operation, bus: &str, shown: String, body: String| {
        let path = operation.path_with(&["default", bus]);
        let url = format!("http://{}{path}", platform.handle.api());
        let request = reqwest::Client::new().request(operation.method(), url).bearer_auth(shown);
        let kind = if body.contains("Entries") { "application/json" } else { "application/cloudevents+json" };
        request.header("content-type", kind).body(body).send().await.unwrap().status()
    };
    let shown = format!("{}:{}", key.id, key.secret);
    assert_eq!(put(Operation::PutEvents, "audit", shown.clone(), event.clone()).await, StatusCode::OK);
    assert_eq!(put(Operation::PutEvents, BUS, shown.clone(), event.clone()).await, StatusCode::FORBIDDEN);
    assert_eq!(put(Operation::PutEvents, BUS, TOKEN.to_owned(), event.clone()).await, StatusCode::OK);
    // An entry that names another bus needs the right for that.
    let entry = json!({ "Source": "a", "DetailType": "b", "Detail": "{}", "EventBusName": BUS });
    let entries = json!({ "Entries": [entry] }).to_string();
    assert_eq!(put(Operation::PutEvents, "audit", shown.clone(), entries).await, StatusCode::FORBIDDEN);
    // What Skiff alone can know to have happened, nobody else says.
    let own = json!({ "Source": "skiff.s3", "DetailType": "Object Created", "Detail": "{}" });
    let own = json!({ "Entries": [own] }).to_string();
    assert_eq!(put(Operation::PutEvents, "audit", shown.clone(), own).await, StatusCode::BAD_REQUEST);
    for wrong in
        [format!("{}:wrong", key.id), key.secret.clone(), format!("{}:", key.id), format!(":{}", key.secret)]
    {
        assert_eq!(put(Operation::PutEvents, "audit", wrong, event.clone()).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(put(Operation::GetBus, "audit", shown.clone(), String::new()).await, StatusCode::UNAUTHORIZED);
    platform.client.delete_access_key(&namespace(), &key.id).await.unwrap();
    assert_eq!(put(Operation::PutEvents, "audit", shown, event).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_something_leads_to_stays() {
    let platform = Platform::start().await;
    put_queue(&platform, "orders").await;
    let (here, audit, orders) = (namespace(), name("audit"), name("orders"));
    let target = || json!({ "id": "a", "to": { "queue": { "name": "orders" } } });
    let missing =
        put_rule(&platform, "a", json!({ "bus": "audit", "pattern": "{\"source\":[\"a\"]}" })).await;
    refused(missing, ErrorCode::NotFound, "skiff bus create audit");
    platform.client.put_bus(&here, &audit, &PutBus::default(), None).await.unwrap();
    let body = json!({ "bus": "audit", "pattern": { "source": ["a"] }, "targets": [target()] });
    put_rule(&platform, "a", body).await.unwrap();
    let remove_bus = async || platform.client.delete_bus(&here, &audit, None).await;
    let remove_queue = async || platform.client.delete_queue(&here, &orders, None).await;
    refused(
        remove_bus().await,
        ErrorCode::FailedPrecondition,
        "the rule default/a takes events from the bus audit",
    );
    refused(
        remove_queue().await,
        ErrorCode::FailedPrecondition,
        "a target of the rule default/a leads to the queue",
    );
    platform.client.delete_event_rule(&here, &name("a"), None).await.unwrap();
    remove_bus().await.unwrap();
    remove_queue().await.unwrap();
    let default = platform.client.delete_bus(&here, &name(BUS), None).await;
    refused(default, ErrorCode::FailedPrecondition, "is always there");
}

#[tokio::test]
async fn what_no_rule_and_no_target_can_be_is_refused() {
    let platform = Platform::start().await;
    let invalid = ErrorCode::InvalidArgument;
    refused(put_rule(&platform, "a", json!({ "pattern": { "source": "shop" } })).await, invalid, "source");
    put_rule(&platform, "a", json!({ "pattern": { "source": ["shop"] } })).await.unwrap();
    let put = async |target: Value| {
        let target: EventTarget = serde_json::from_value(target).unwrap();
        platform.client.put_event_target(&namespace(), &name("a"), &name("b"), &target, None).await
    };
    let missing = ErrorCode::NotFound;
    refused(put(json!({ "to": { "queue": { "name": "q" } } })).await, missing, "skiff queue create q");
    refused(put(json!({ "to": { "service": { "name": "s" } } })).await, missing, "no service s");
    refused(put(json!({ "to": { "task": { "definition": "t" } } })).await, missing, "no task definition t");
    refused(put(json!({ "to": { "bus": "other" } })).await, missing, "no bus other");
    refused(put(json!({ "to": { "bus": BUS } })).await, invalid, "name another bus");
    let path = json!({ "to": { "webhook": "https://example.com/" }, "input": { "path": "detail" } });
    refused(put(path).await, invalid, "is not a path into an event");
    let good = put(json!({ "to": { "webhook": "https://example.com/" } })).await.unwrap();
    assert_eq!(good.targets[0].id.as_ref().map(Name::as_str), Some("b"));
    let unknown = platform.client.delete_event_target(&namespace(), &name("a"), &name("c"), None).await;
    refused(unknown, missing, "has no target c");
    let never: PutEventSchedule = serde_json::from_value(json!({
        "schedule": "cron(0 9 31 2 ? *)", "target": { "to": { "webhook": "https://example.com/" } },
    }))
    .unwrap();
    let never = platform.client.put_event_schedule(&namespace(), &name("never"), &never, None).await;
    refused(never, invalid, "names no time that ever comes");
}

#[tokio::test]
async fn rules_and_schedules_outlive_the_platform() {
    let platform = Platform::start().await;
    put_queue(&platform, "orders").await;
    let target =
        json!({ "id": "orders", "to": { "queue": { "name": "orders" } }, "input": { "path": "$.detail" } });
    let body = json!({ "pattern": { "source": ["shop"] }, "targets": [target] });
    let rule = put_rule(&platform, "placed", body).await.unwrap();
    let body: PutEventSchedule = serde_json::from_value(json!({
        "schedule": "rate(1 day)", "target": { "to": { "queue": { "name": "orders" } } },
    }))
    .unwrap();
    let schedule =
        platform.client.put_event_schedule(&namespace(), &name("daily"), &body, None).await.unwrap();
    let platform = Platform::start_on(platform.stop().await).await;
    assert_eq!(platform.client.get_event_rule(&namespace(), &name("placed")).await.unwrap(), rule);
    let shown = platform.client.get_event_schedule(&namespace(), &name("daily")).await.unwrap();
    assert_eq!(shown.status.next_ms, schedule.status.next_ms, "a rate goes on from when it began");
    put_order(&platform, "1").await;
    assert_eq!(message(&platform, "orders").await.0, json!({ "order": "1" }));
}
