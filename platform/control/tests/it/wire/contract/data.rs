//! The calls that tables, buckets, queues and buses answer, and who is given what those hold.

use super::*;

/// The operations on buckets and tables, and on items.
pub(super) async fn check_tables(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let bucket = ["default", "uploads"];
    let put =
        contract.check(Operation::PutBucket, call(Operation::PutBucket, &bucket).json(&json!({}))).await;
    assert_eq!((&put["bus"], &put["status"]["objects"]), (&json!("default"), &json!(0)));
    contract.check(Operation::GetBucket, call(Operation::GetBucket, &bucket)).await;
    contract.check(Operation::ListBuckets, call(Operation::ListBuckets, &["default"])).await;
    let delete = call(Operation::DeleteBucket, &bucket).query(&[("force", "true")]);
    contract.check(Operation::DeleteBucket, delete).await;

    let table = ["default", "rows"];
    contract.check(Operation::PutTable, call(Operation::PutTable, &table).json(&json!({}))).await;
    let writes = json!({ "writes": [
        { "key": "a", "value": "x", "expires_in": "5m", "if_absent": true }, { "key": "b/1", "value_base64": "/w==" },
    ] });
    let written =
        contract.check(Operation::WriteItems, call(Operation::WriteItems, &table).json(&writes)).await;
    assert_eq!(written, json!({ "versions": [1, 2] }));
    let again = call(Operation::WriteItems, &table).json(&writes).send().await.unwrap();
    assert_eq!(error_of(again).await, ErrorCode::PreconditionFailed);
    let get = call(Operation::GetItems, &table).json(&json!({ "keys": ["b/1", "nothing"] }));
    let got = contract.check(Operation::GetItems, get).await;
    assert_eq!(got, json!({ "items": [{ "key": "b/1", "value_base64": "/w==", "version": 2 }, null] }));
    let increment = call(Operation::IncrementItem, &table).json(&json!({ "key": "n", "delta": -3 }));
    assert_eq!(contract.check(Operation::IncrementItem, increment).await, json!({ "value": -3 }));
    let scan = call(Operation::ScanItems, &table).query(&[("prefix", "b/"), ("limit", "1")]);
    assert_eq!(contract.check(Operation::ScanItems, scan).await["items"][0]["key"], "b/1");
    contract.check(Operation::GetTable, call(Operation::GetTable, &table)).await;
    contract.check(Operation::ListTables, call(Operation::ListTables, &["default"])).await;
    contract.check(Operation::DeleteTable, call(Operation::DeleteTable, &table)).await;
}

/// The operations on queues, and on messages.
pub(super) async fn check_queues(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let queue = ["default", "orders"];
    let body = json!({ "visibility_timeout": "2m", "message_max": "64KiB" });
    let put = contract.check(Operation::PutQueue, call(Operation::PutQueue, &queue).json(&body)).await;
    assert_eq!(
        (&put["retention"], &put["message_max"], &put["fifo"]),
        (&json!("4d"), &json!("64KiB"), &json!(false))
    );
    let body = json!({ "messages": [{ "body": "hello", "attributes": { "kind": "order" } }, { "body_base64": "/w==" }] });
    let sent =
        contract.check(Operation::SendMessages, call(Operation::SendMessages, &queue).json(&body)).await;
    assert_eq!(sent["messages"].as_array().unwrap().len(), 2);
    let receive = || call(Operation::ReceiveMessages, &queue).json(&json!({ "max": 2, "wait": "0ms" }));
    let received = contract.check(Operation::ReceiveMessages, receive()).await;
    assert!(received.get("handled").is_none(), "{received}");
    assert_eq!(
        (&received["messages"][0]["body"], &received["messages"][1]["body_base64"]),
        (&json!("hello"), &json!("/w=="))
    );
    let receipt = |at: usize| received["messages"][at]["receipt"].clone();
    let body = json!({ "changes": [{ "receipt": receipt(0), "visibility_timeout": "0ms" }] });
    let changed = call(Operation::ChangeVisibility, &queue).json(&body);
    assert_eq!(contract.check(Operation::ChangeVisibility, changed).await, json!({ "outcomes": [{}] }));
    let body = json!({ "receipts": [receipt(1), "stale"] });
    let deleted =
        contract.check(Operation::DeleteMessages, call(Operation::DeleteMessages, &queue).json(&body)).await;
    assert!(
        deleted["outcomes"][0].get("error").is_none() && deleted["outcomes"][1]["error"].is_string(),
        "{deleted}"
    );
    let shown = contract.check(Operation::GetQueue, call(Operation::GetQueue, &queue)).await;
    assert_eq!((&shown["status"]["visible"], &shown["status"]["in_flight"]), (&json!(1), &json!(0)));
    contract.check(Operation::ListQueues, call(Operation::ListQueues, &["default"])).await;

    let dead = ["default", "dead"];
    contract.check(Operation::PutQueue, call(Operation::PutQueue, &dead).json(&json!({}))).await;
    let redrive = call(Operation::RedriveQueue, &queue).json(&json!({ "to": "dead" }));
    assert_eq!(contract.check(Operation::RedriveQueue, redrive).await, json!({ "messages": 1 }));
    let purged = contract.check(Operation::PurgeQueue, call(Operation::PurgeQueue, &dead)).await;
    assert_eq!(purged, json!({ "messages": 1 }));
    let receive =
        call(Operation::ReceiveMessages, &queue).json(&json!({ "wait": "0ms", "handled": ["stale"] }));
    let received = contract.check(Operation::ReceiveMessages, receive).await;
    assert!(received["handled"][0]["error"].is_string() && received["messages"] == json!([]), "{received}");
    contract.check(Operation::DeleteQueue, call(Operation::DeleteQueue, &queue)).await;
}

/// The operations on consumers of queues.
pub(super) async fn check_consumers(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let consumer = ["default", "orders"];
    call(Operation::PutQueue, &consumer).json(&json!({})).send().await.unwrap();
    platform.push("fulfil", "consumer").await;
    platform.register("fulfil", "fulfil").await;
    platform.put("fulfil", "fulfil", 0).await;
    let body = json!({ "queue": "orders", "service": "fulfil", "batch": 5 });
    let put =
        contract.check(Operation::PutConsumer, call(Operation::PutConsumer, &consumer).json(&body)).await;
    assert_eq!((&put["batch"], &put["concurrency"]), (&json!(5), &json!(1)));
    assert_eq!(put["status"]["state"], "BLOCKED", "its tasks have no role");
    contract.check(Operation::GetConsumer, call(Operation::GetConsumer, &consumer)).await;
    contract.check(Operation::ListConsumers, call(Operation::ListConsumers, &["default"])).await;
    contract.check(Operation::DeleteConsumer, call(Operation::DeleteConsumer, &consumer)).await;
}

/// The operations on buses, their rules and targets, on schedules, and on events.
pub(super) async fn check_buses(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let (bus, rule, schedule) = (["default", "audit"], ["default", "orders-placed"], ["default", "sweep"]);
    contract.check(Operation::PutBus, call(Operation::PutBus, &bus).json(&json!({}))).await;
    contract.check(Operation::GetBus, call(Operation::GetBus, &bus)).await;
    let listed = contract.check(Operation::ListBuses, call(Operation::ListBuses, &["default"])).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");

    let pattern = json!({ "source": ["shop"], "detail": { "total": [{ "numeric": [">", 10] }] } });
    let body = json!({ "bus": "audit", "pattern": pattern });
    let put = contract.check(Operation::PutEventRule, call(Operation::PutEventRule, &rule).json(&body)).await;
    assert_eq!((&put["enabled"], &put["targets"]), (&json!(true), &json!([])));
    let hello = json!({ "to": { "service": { "name": "hello" } }, "input": { "path": "$.detail" }, "concurrency": 3 });
    let target = ["default", "orders-placed", "hello"];
    let put = call(Operation::PutEventTarget, &target).json(&hello);
    let put = contract.check(Operation::PutEventTarget, put).await;
    assert_eq!(put["targets"][0]["to"]["service"]["path"], "/");
    contract.check(Operation::GetEventRule, call(Operation::GetEventRule, &rule)).await;
    let list = call(Operation::ListEventRules, &["default"]).query(&[("bus", "audit")]);
    let listed = contract.check(Operation::ListEventRules, list).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let event = json!({ "source": "shop", "detail": { "total": 11 } });
    let body = json!({ "pattern": pattern, "event": event });
    let tested = call(Operation::TestEventPattern, &[]).json(&body);
    assert_eq!(contract.check(Operation::TestEventPattern, tested).await, json!({ "matches": true }));

    let event = json!({ "specversion": "1.0", "id": "1", "source": "shop", "type": "Order Placed", "data": { "total": 7 } });
    let put = call(Operation::PutEvents, &bus).header("content-type", "application/cloudevents+json");
    let put = contract.check(Operation::PutEvents, put.body(event.to_string())).await;
    assert_eq!(put, json!({ "event_ids": ["1"] }));
    contract.check_begin(Operation::TailEvents, call(Operation::TailEvents, &bus)).await;

    contract.check(Operation::DeleteEventTarget, call(Operation::DeleteEventTarget, &target)).await;
    contract.check(Operation::DeleteEventRule, call(Operation::DeleteEventRule, &rule)).await;
    contract.check(Operation::DeleteBus, call(Operation::DeleteBus, &bus)).await;

    let body = json!({ "schedule": "cron(0 9 ? * MON-FRI *)", "zone": "Europe/Berlin", "target": hello });
    let put = call(Operation::PutEventSchedule, &schedule).json(&body);
    let put = contract.check(Operation::PutEventSchedule, put).await;
    assert_eq!((put["status"]["next_ms"].as_array().unwrap().len(), &put["missed"]), (3, &json!("once")));
    contract.check(Operation::GetEventSchedule, call(Operation::GetEventSchedule, &schedule)).await;
    contract.check(Operation::ListEventSchedules, call(Operation::ListEventSchedules, &["default"])).await;
    contract.check(Operation::DeleteEventSchedule, call(Operation::DeleteEventSchedule, &schedule)).await;
}
