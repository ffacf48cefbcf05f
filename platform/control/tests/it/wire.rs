//! The API as HTTP: every operation answers as its OpenAPI document says, and every wrong call with a typed error.

use crate::fixture::{Platform, TOKEN, name, namespace, registration, until, wanted};
use crate::node::ECHO_PORT;
use http::StatusCode;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use skiff_api::{ErrorBody, ErrorCode, FORWARD_PROTOCOL, Operation, PutDeploymentConfiguration, PutService};
use skiff_types::TaskStatus;
use std::collections::BTreeSet;

fn request(platform: &Platform, operation: Operation, values: &[&str]) -> RequestBuilder {
    let url = format!("http://{}{}", platform.handle.api(), operation.path_with(values));
    reqwest::Client::new().request(operation.method(), url).bearer_auth(TOKEN)
}

async fn error_of(response: Response) -> ErrorCode {
    let status = response.status();
    assert!(response.headers().contains_key("x-request-id"));
    let body: ErrorBody = response.json().await.expect("a typed error");
    assert!(!body.error.message.is_empty());
    if status != StatusCode::METHOD_NOT_ALLOWED {
        assert_eq!(body.error.code.status(), status);
    }
    body.error.code
}

/// Checks answers against the document that the platform itself serves.
struct Contract {
    document: Value,
    seen: BTreeSet<Operation>,
}

impl Contract {
    async fn check(&mut self, operation: Operation, request: RequestBuilder) -> Value {
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, operation.success_status(), "{operation:?}: {text}");
        self.seen.insert(operation);
        let method = operation.method().as_str().to_ascii_lowercase();
        let answer = &self.document["paths"][operation.path()][&method]["responses"][status.as_str()];
        assert!(answer.is_object(), "{operation:?} does not say that it answers with {status}");
        let content = answer["content"].as_object();
        let schema =
            |media_type: &str| content.and_then(|content| content.get(media_type)).map(|c| &c["schema"]);
        if let Some(schema) = schema("application/json") {
            let value: Value = serde_json::from_str(&text).unwrap();
            self.validate(operation, schema, &value);
            return value;
        }
        if let Some(schema) = schema("application/x-ndjson") {
            for line in text.lines().filter(|line| !line.is_empty()) {
                self.validate(operation, schema, &serde_json::from_str(line).unwrap());
            }
        }
        Value::Null
    }

    /// Checks the beginning of an answer that does not end.
    async fn check_begin(&mut self, operation: Operation, request: RequestBuilder) {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), operation.success_status(), "{operation:?}");
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        self.seen.insert(operation);
    }

    fn validate(&self, operation: Operation, schema: &Value, value: &Value) {
        let schema = json!({ "allOf": [schema], "components": self.document["components"] });
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{operation:?} answered {value}: {errors:?}");
    }
}

#[tokio::test]
async fn every_operation_answers_as_the_document_says() {
    let platform = Platform::start().await;
    let document = request(&platform, Operation::GetOpenApi, &[]).send().await.unwrap();
    let mut contract = Contract { document: document.json().await.unwrap(), seen: BTreeSet::new() };
    let call = |operation, values: &[&str]| request(&platform, operation, values);
    for operation in [Operation::GetOpenApi, Operation::GetStatus, Operation::GetUsage, Operation::GetMetrics]
    {
        contract.check(operation, call(operation, &[])).await;
    }
    platform.handle.ready().await;
    contract.check(Operation::GetHealth, call(Operation::GetHealth, &[])).await;

    let image = ["default", "hello:v1"];
    let program = call(Operation::PushImage, &image).body("http");
    contract.check(Operation::PushImage, program).await;
    contract.check(Operation::GetImage, call(Operation::GetImage, &image)).await;
    contract.check(Operation::ListImages, call(Operation::ListImages, &["default"])).await;
    let register = call(Operation::RegisterTaskDefinition, &["default"]);
    let register = register.json(&registration("hello", "hello:v1"));
    contract.check(Operation::RegisterTaskDefinition, register).await;
    let list = Operation::ListTaskDefinitions;
    contract.check(list, call(list, &["default"])).await;
    let show = call(Operation::GetTaskDefinition, &["default", "hello"]).query(&[("reveal", "GREETING")]);
    let shown = contract.check(Operation::GetTaskDefinition, show).await;
    assert_eq!(shown["environment"]["GREETING"], "secret");

    let service = ["default", "hello"];
    let check = call(Operation::CheckService, &service).json(&wanted("hello", 1));
    contract.check(Operation::CheckService, check).await;
    let put = call(Operation::PutService, &service).json(&wanted("hello", 1));
    contract.check(Operation::PutService, put).await;
    platform.completed("hello").await;
    contract.check(Operation::GetService, call(Operation::GetService, &service)).await;
    contract.check(Operation::ListServices, call(Operation::ListServices, &["default"])).await;
    let measure = call(Operation::MeasureColdStarts, &service).json(&json!({ "requests": 3 }));
    let measured = contract.check(Operation::MeasureColdStarts, measure).await;
    assert_eq!(measured["samples"].as_array().unwrap().len(), 3);
    let scale = call(Operation::ScaleService, &service).json(&json!({ "desired": 2 }));
    contract.check(Operation::ScaleService, scale).await;
    let mut other = registration("hello", "hello:v1");
    other.arguments = vec!["x".to_owned()];
    let other = platform.client.register_task_definition(&namespace(), &other).await.unwrap();
    // Within these bounds no task may start or stop: what goes back is there to be halted.
    let narrow = PutDeploymentConfiguration { max_percent: Some(150), ..Default::default() };
    platform.put("hello", &other.id.to_string(), 1).await;
    platform.completed("hello").await;
    let body = PutService { deployment: Some(narrow), ..wanted(&other.id.to_string(), 1) };
    platform.client.put_service(&namespace(), &name("hello"), &body, None).await.unwrap();
    let back = call(Operation::RollbackService, &service).json(&json!({}));
    contract.check(Operation::RollbackService, back).await;
    contract.check(Operation::GetRollout, call(Operation::GetRollout, &service)).await;
    for action in ["PAUSE", "RESUME"] {
        let change = call(Operation::ChangeRollout, &service).json(&json!({ "action": action }));
        contract.check(Operation::ChangeRollout, change).await;
    }
    let back = platform.service("hello").await.spec.definition.to_string();
    let wide = PutDeploymentConfiguration { max_percent: Some(200), ..Default::default() };
    let body = PutService { deployment: Some(wide), ..wanted(&back, 1) };
    platform.client.put_service(&namespace(), &name("hello"), &body, None).await.unwrap();

    platform.push("job", "exit 0").await;
    platform.register("job", "job").await;
    let run = call(Operation::RunTask, &["default"]).json(&json!({ "definition": "job" }));
    let task = contract.check(Operation::RunTask, run).await;
    let id = task["id"].as_str().unwrap();
    let ended = platform.reaches(id.parse().unwrap(), TaskStatus::Stopped).await;
    platform.lines.write("default/job", ended.id, 5, "a line");
    contract.check(Operation::GetTask, call(Operation::GetTask, &["default", id])).await;
    contract.check(Operation::ListTasks, call(Operation::ListTasks, &["default"])).await;
    contract.check(Operation::StopTask, call(Operation::StopTask, &["default", id])).await;
    let logs = call(Operation::ReadLogs, &["default"]).query(&[("owner", "job")]);
    contract.check(Operation::ReadLogs, logs).await;
    contract.check(Operation::ReadEvents, call(Operation::ReadEvents, &["default"])).await;

    let group = ["default", "web"];
    let put = call(Operation::PutSecurityGroup, &group).json(&json!({ "rules": ["all from self"] }));
    contract.check(Operation::PutSecurityGroup, put).await;
    for operation in [Operation::AllowRule, Operation::RevokeRule] {
        let change = call(operation, &group).json(&json!({ "rule": "tcp:80 from default" }));
        contract.check(operation, change).await;
    }
    contract.check(Operation::GetSecurityGroup, call(Operation::GetSecurityGroup, &group)).await;
    let untouched = call(Operation::GetSecurityGroup, &["default", "default"]);
    contract.check(Operation::GetSecurityGroup, untouched).await;
    let list = Operation::ListSecurityGroups;
    contract.check(list, call(list, &["default"])).await;
    contract.check(Operation::DeleteSecurityGroup, call(Operation::DeleteSecurityGroup, &group)).await;
    let explain = call(Operation::ExplainConnection, &["default"]);
    let explain = explain.query(&[("from", "load-balancer"), ("to", "hello"), ("port", "80")]);
    assert_eq!(contract.check(Operation::ExplainConnection, explain).await["allowed"], true);
    let record = crate::network::record("default/hello", ended.id);
    platform.flows.0.lock().unwrap().push(record.clone());
    platform.flows.1.lock().unwrap().connections.push(record);
    contract.check(Operation::ReadFlows, call(Operation::ReadFlows, &["default"])).await;
    platform.completed("hello").await;
    let running = platform.running("hello").await.remove(0).id.to_string();
    let look = call(Operation::GetTaskNetwork, &["default", &running]);
    let look = contract.check(Operation::GetTaskNetwork, look).await;
    assert_eq!(look["connections"].as_array().unwrap().len(), 1);

    platform.deploy("cache", "daemon", 1).await;
    platform.completed("cache").await;
    let daemon = platform.running("cache").await.remove(0).id.to_string();
    let forward = call(Operation::ForwardTask, &["default", &daemon]).query(&[("port", ECHO_PORT)]);
    let forward = forward.header("connection", "upgrade").header("upgrade", FORWARD_PROTOCOL);
    contract.check(Operation::ForwardTask, forward).await;

    check_balancer(&platform, &mut contract).await;
    check_metrics(&platform, &mut contract).await;
    check_scaling(&platform, &mut contract).await;
    check_alarms(&platform, &mut contract).await;
    check_access(&platform, &mut contract).await;
    check_tables(&platform, &mut contract).await;
    check_queues(&platform, &mut contract).await;
    check_consumers(&platform, &mut contract).await;
    check_buses(&platform, &mut contract).await;
    let nodes = contract.check(Operation::ListNodes, call(Operation::ListNodes, &[])).await;
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1);

    let deregister = Operation::DeregisterTaskDefinition;
    contract.check(deregister, call(deregister, &["default", "job:1"])).await;
    contract.check(Operation::DeleteImage, call(Operation::DeleteImage, &image)).await;
    contract.check(Operation::DeleteService, call(Operation::DeleteService, &service)).await;
    assert_eq!(contract.seen, Operation::ALL.into(), "every operation was called");
}

/// The operations on the load balancer's parts.
async fn check_balancer(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let group = ["default", "legacy"];
    let limit = json!({ "requests_per_second": 100, "burst": 200, "concurrent": 20 });
    let body = json!({
        "targets": { "outside": ["192.0.2.7:80"] }, "tls": true, "stickiness": "1h", "slow_start": "30s",
        "deregistration_delay": "10s", "health_check": { "path": "/ready" }, "limit": limit,
    });
    let put = call(Operation::PutTargetGroup, &group).json(&body);
    contract.check(Operation::PutTargetGroup, put).await;
    contract.check(Operation::GetTargetGroup, call(Operation::GetTargetGroup, &group)).await;
    let list = Operation::ListTargetGroups;
    contract.check(list, call(list, &["default"])).await;
    contract.check(Operation::ListTargets, call(Operation::ListTargets, &group)).await;

    let forward = json!({ "forward": { "groups": [{ "group": "legacy", "weight": 2 }] } });
    let body = json!({ "protocol": "http", "port": 8090, "default_action": forward, "client_limit": limit });
    let put = call(Operation::PutListener, &["second"]).json(&body);
    contract.check(Operation::PutListener, put).await;
    for listener in ["second", "http"] {
        contract.check(Operation::GetListener, call(Operation::GetListener, &[listener])).await;
    }
    let listed = contract.check(Operation::ListListeners, call(Operation::ListListeners, &[])).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);

    let rule = ["default", "old"];
    let body = json!({
        "listener": "second",
        "priority": 10,
        "conditions": ["path=/old/*"],
        "action": { "redirect": { "to": "/new/#{path}" } },
    });
    contract.check(Operation::PutRule, call(Operation::PutRule, &rule).json(&body)).await;
    contract.check(Operation::GetRule, call(Operation::GetRule, &rule)).await;
    let list = call(Operation::ListRules, &["default"]).query(&[("listener", "second")]);
    let listed = contract.check(Operation::ListRules, list).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    for (path, taken_by) in [("/old/x", json!({ "rule": "default/old" })), ("/", json!("default_action"))] {
        let body = json!({ "method": "GET", "url": format!("http://example.org{path}") });
        let explain = call(Operation::ExplainRequest, &["second"]).json(&body);
        assert_eq!(contract.check(Operation::ExplainRequest, explain).await["taken_by"], taken_by);
    }
    contract.check(Operation::DeleteRule, call(Operation::DeleteRule, &rule)).await;
    let certificate = ["web"];
    let put =
        call(Operation::PutCertificate, &certificate).json(&crate::certificates::made_for("example.org"));
    let put = contract.check(Operation::PutCertificate, put).await;
    assert_eq!(put["domains"], json!(["example.org"]));
    contract.check(Operation::GetCertificate, call(Operation::GetCertificate, &certificate)).await;
    let listed = contract.check(Operation::ListCertificates, call(Operation::ListCertificates, &[])).await;
    assert!(!listed.to_string().contains("PRIVATE KEY"), "{listed}");
    contract.check(Operation::DeleteCertificate, call(Operation::DeleteCertificate, &certificate)).await;
    contract.check(Operation::DeleteListener, call(Operation::DeleteListener, &["second"])).await;
    contract.check(Operation::DeleteTargetGroup, call(Operation::DeleteTargetGroup, &group)).await;
}

/// The operations on metrics with a memory.
async fn check_metrics(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let set = json!({ "sample_count": 2, "sum": 3.5, "minimum": 1.0, "maximum": 2.5 });
    let body = json!({ "data": [
        { "metric": "queue/depth", "value": 7.25, "dimensions": "queue=mails" },
        { "metric": "queue/depth", "values": [1.0, 2.0], "counts": [3, 1] },
        { "metric": "jobs", "statistics": set },
    ] });
    contract.check(Operation::PutMetricData, call(Operation::PutMetricData, &["default"]).json(&body)).await;
    let listed = contract.check(Operation::ListMetrics, call(Operation::ListMetrics, &["default"])).await;
    assert!(listed["items"].as_array().unwrap().len() >= 3, "{listed}");
    let show = call(Operation::GetMetric, &["default", "queue/depth"]);
    let show = show.query(&[("dimensions", "queue=mails"), ("period", "1m"), ("statistic", "Maximum")]);
    let shown = contract.check(Operation::GetMetric, show).await;
    let points = shown["points"].as_array().unwrap();
    assert!(points.iter().any(|point| point["value"] == 7.25), "{shown}");
    let show = call(Operation::GetMetric, &["default", "runningtaskcount"]).query(&[("service", "hello")]);
    assert_eq!(contract.check(Operation::GetMetric, show).await["metric"], "RunningTaskCount");
}

/// The operations on alarms.
async fn check_alarms(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let alarm = ["default", "deep"];
    let body = json!({
        "metric": "queue/depth", "dimensions": "queue=mails", "period": "1s", "threshold": 7.5,
        "treat_missing_data": "notBreaching", "ok_actions": ["http://127.0.0.1:9/"],
    });
    contract.check(Operation::PutAlarm, call(Operation::PutAlarm, &alarm).json(&body)).await;
    // Without a value it is within its threshold.
    until("the alarm is evaluated", || async {
        let shown = call(Operation::GetAlarm, &alarm).send().await.unwrap().json::<Value>().await.unwrap();
        (shown["status"]["state"] == "OK").then_some(())
    })
    .await;
    contract.check(Operation::GetAlarm, call(Operation::GetAlarm, &alarm)).await;
    let listed = contract.check(Operation::ListAlarms, call(Operation::ListAlarms, &["default"])).await;
    assert_eq!(listed["items"][0]["threshold"], 7.5);
    let history = call(Operation::ListAlarmHistory, &alarm);
    let history = contract.check(Operation::ListAlarmHistory, history).await;
    assert_eq!(history["items"][0]["after"], "OK");
    contract.check(Operation::DeleteAlarm, call(Operation::DeleteAlarm, &alarm)).await;
}

/// The operations on roles and access keys.
async fn check_access(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let role = ["default", "thumbs"];
    let body = json!({ "allow": ["bucket:read uploads/*"], "policy": "forbid (principal, action, resource is Skiff::Bus);" });
    let put = contract.check(Operation::PutRole, call(Operation::PutRole, &role).json(&body)).await;
    assert!(put["cedar"].as_str().unwrap().contains("resource.key like \"*\""), "{put}");
    contract.check(Operation::GetRole, call(Operation::GetRole, &role)).await;
    let listed = contract.check(Operation::ListRoles, call(Operation::ListRoles, &["default"])).await;
    assert!(listed["items"][0].get("cedar").is_none(), "{listed}");
    let asked = [("action", "bucket:read"), ("name", "uploads"), ("path", "a/../%2f")];
    let explain = call(Operation::ExplainAccess, &role).query(&asked);
    let allowed = contract.check(Operation::ExplainAccess, explain).await;
    assert_eq!(allowed, json!({ "allowed": true, "by": "bucket:read uploads/*" }));
    let explain = call(Operation::ExplainAccess, &role).query(&[("action", "bus:put"), ("name", "default")]);
    let denied = contract.check(Operation::ExplainAccess, explain).await;
    assert_eq!((&denied["allowed"], &denied["grant"]), (&json!(false), &json!("bus:put default")));
    let create = call(Operation::CreateAccessKey, &["default"]).json(&json!({ "role": "thumbs" }));
    let created = contract.check(Operation::CreateAccessKey, create).await;
    let (id, secret) = (created["id"].as_str().unwrap(), created["secret"].as_str().unwrap());
    assert_eq!((id.len(), secret.len()), (20, 40));
    let keys = contract.check(Operation::ListAccessKeys, call(Operation::ListAccessKeys, &["default"])).await;
    assert!(keys.to_string().contains(id) && !keys.to_string().contains(secret), "{keys}");
    contract.check(Operation::DeleteAccessKey, call(Operation::DeleteAccessKey, &["default", id])).await;
    contract.check(Operation::DeleteRole, call(Operation::DeleteRole, &role)).await;
}

/// The operations on buckets and tables, and on items.
async fn check_tables(platform: &Platform, contract: &mut Contract) {
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
async fn check_queues(platform: &Platform, contract: &mut Contract) {
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
async fn check_consumers(platform: &Platform, contract: &mut Contract) {
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
async fn check_buses(platform: &Platform, contract: &mut Contract) {
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

/// The operations on scaling, of the service `hello`.
async fn check_scaling(platform: &Platform, contract: &mut Contract) {
    let call = |operation, values: &[&str]| request(platform, operation, values);
    let service = ["default", "hello"];
    let body = json!({
        "min": 3, "max": 9,
        "policies": [{ "target_tracking": { "name": "cpu", "metric": "CPUUtilization", "target": 60 } }],
        "schedules": [{ "name": "day", "schedule": "cron(0 8 ? * MON-FRI *)", "zone": "Europe/Berlin", "min": 4 }],
    });
    contract.check(Operation::PutScaling, call(Operation::PutScaling, &service).json(&body)).await;
    let activities = Operation::ListScalingActivities;
    until("the service has come to its bounds", || async {
        let answer = call(activities, &service).send().await.unwrap().json::<Value>().await.unwrap();
        (answer["items"][0]["after"] == 3).then_some(())
    })
    .await;
    contract.check(activities, call(activities, &service)).await;
    let shown = contract.check(Operation::GetScaling, call(Operation::GetScaling, &service)).await;
    assert_eq!(shown["policies"][0]["target_tracking"]["statistic"], "Average");
    contract.check(Operation::ListScaling, call(Operation::ListScaling, &["default"])).await;
    contract.check(Operation::GetService, call(Operation::GetService, &service)).await;
    contract.check(Operation::DeleteScaling, call(Operation::DeleteScaling, &service)).await;
}

#[tokio::test]
async fn the_token_is_asked_for() {
    let platform = Platform::start().await;
    for operation in Operation::ALL {
        let values: Vec<&str> = operation.path_parameters().iter().map(|_| "x").collect();
        let url = format!("http://{}{}", platform.handle.api(), operation.path_with(&values));
        let client = reqwest::Client::new();
        for wrong in [None, Some("Bearer wrong"), Some("Basic eDp5"), Some(TOKEN), Some("Bearer")] {
            let request = client.request(operation.method(), &url);
            let request = match wrong {
                Some(header) => request.header("authorization", header),
                None => request,
            };
            let response = request.send().await.unwrap();
            if operation.is_open() {
                assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{operation:?}");
            } else {
                assert_eq!(error_of(response).await, ErrorCode::Unauthenticated, "{operation:?}");
            }
        }
    }
}

/// Whether the document says that a call may be answered with this status; it says nothing of what is no operation.
fn is_documented(document: &Value, method: &Method, path: &str, status: StatusCode) -> bool {
    let path = path.split('?').next().unwrap();
    let is_of = |template: &str| {
        let parts = template.split('/').zip(path.split('/'));
        template.split('/').count() == path.split('/').count() && { parts }
            .all(|(part, given)| part.starts_with('{') || part == given)
    };
    let mut paths = document["paths"].as_object().unwrap().iter();
    let operation = paths.find(|(template, _)| is_of(template)).map(|(_, methods)| methods);
    match operation.and_then(|methods| methods.get(method.as_str().to_ascii_lowercase())) {
        Some(operation) => operation["responses"].get(status.as_str()).is_some(),
        None => matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED),
    }
}

#[tokio::test]
async fn wrong_calls_get_typed_errors() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    let base = format!("http://{}", platform.handle.api());
    let client = reqwest::Client::new();
    let document = request(&platform, Operation::GetOpenApi, &[]).send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    let send = async |method: Method, path: &str, body: &str| {
        let request =
            client.request(method.clone(), format!("{base}{path}")).bearer_auth(TOKEN).body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status();
        assert!(
            is_documented(&document, &method, path, status),
            "{method} {path}: {status} is in no document"
        );
        response
    };
    let services = "/v1/namespaces/default/services";
    let invalid = [
        (Method::PUT, format!("{services}/hello"), r#"{"definition":"hello","replicas":1}"#),
        (Method::PUT, format!("{services}/hello"), r#"{"definition":"hello:0"}"#),
        (Method::PUT, format!("{services}/hello"), "not json"),
        (Method::PUT, format!("{services}/hello"), ""),
        (Method::PUT, format!("{services}/hello"), r#"{"definition":"hello","desired":1001}"#),
        (Method::PUT, format!("{services}/Hello"), r#"{"definition":"hello"}"#),
        (Method::POST, format!("{services}/hello/scale"), r#"{"desired":-1}"#),
        (Method::GET, format!("{services}?limit=0"), ""),
        (Method::GET, format!("{services}?cursor=zz"), ""),
        (Method::GET, format!("{services}?colour=red"), ""),
        (Method::GET, "/v1/namespaces/default/tasks/xyz".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/logs".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/events?tail=10001".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/events?type=tasks".to_owned(), ""),
        (Method::POST, "/v1/namespaces/default/metrics".to_owned(), r#"{"data":[]}"#),
        (Method::POST, "/v1/namespaces/default/metrics".to_owned(), r#"{"data":[{"metric":"a"}]}"#),
        (Method::GET, "/v1/namespaces/default/metrics/a?period=1500ms".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/metrics/a?statistic=Mean".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/metrics/a?since_ms=0&period=1s".to_owned(), ""),
        (Method::PUT, "/v1/namespaces/default/security-groups/self".to_owned(), ""),
        (Method::PUT, "/v1/namespaces/default/security-groups/web".to_owned(), r#"{"rules":["tcp:80"]}"#),
        (Method::POST, "/v1/namespaces/default/security-groups/default/allow".to_owned(), "{}"),
        (Method::GET, "/v1/namespaces/default/network/explain?from=hello&to=hello".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/network/explain?from=hello&to=a..b&port=80".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/network/flows?tail=100001".to_owned(), ""),
        (Method::PUT, "/v1/listeners/http".to_owned(), r#"{"protocol":"tcp","port":8080}"#),
        (Method::PUT, "/v1/listeners/new".to_owned(), r#"{"protocol":"https","port":8443}"#),
        (Method::POST, "/v1/listeners/http/explain".to_owned(), r#"{"method":"GET","url":"example.org"}"#),
        (Method::PUT, "/v1/certificates/a".to_owned(), r#"{"certificate":"a","private_key":"b"}"#),
        (Method::PUT, "/v1/certificates/a".to_owned(), r#""-----BEGIN PRIVATE KEY-----""#),
        (
            Method::PUT,
            "/v1/namespaces/default/rules/a".to_owned(),
            r#"{"priority":1,"conditions":[],"action":{}}"#,
        ),
        (Method::PUT, "/v1/namespaces/default/target-groups/a".to_owned(), r#"{"targets":{"virtual":[]}}"#),
        (Method::GET, "/v1/namespaces/default/rules?priority=1".to_owned(), ""),
        (Method::GET, "/v1/namespaces/Default!/tasks".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/task-definitions/hello?reveal=HOME".to_owned(), ""),
        (Method::GET, "/v1/namespaces/%ff/tasks".to_owned(), ""),
    ];
    for (method, path, body) in invalid {
        let response = send(method.clone(), &path, body).await;
        assert_eq!(error_of(response).await, ErrorCode::InvalidArgument, "{method} {path} {body}");
    }
    let missing = [
        (Method::GET, "/v1/nowhere"),
        (Method::GET, "/v1/namespaces/default/services/other"),
        (Method::GET, "/v1/namespaces/other/services/hello"),
        (Method::GET, "/v1/namespaces/default/metrics/CPUUtilization?service=other"),
        (Method::GET, "/v1/namespaces/default/metrics/jobs?service=hello"),
        (Method::GET, "/v1/namespaces/default/tasks/0193f0c5c00070008000000000000001"),
        (Method::DELETE, "/v1/namespaces/default/images/other"),
        (Method::GET, "/v1/namespaces/default/security-groups/other"),
        (Method::DELETE, "/v1/namespaces/default/security-groups/other"),
        (Method::GET, "/v1/namespaces/default/network/explain?from=hello&to=other&port=80"),
        (Method::GET, "/v1/namespaces/default/network/flows?owner=other"),
        (Method::GET, "/v1/namespaces/default/events?service=other"),
        (Method::GET, "/v1/namespaces/default/events?task=0193f0c5c00070008000000000000001"),
        (Method::GET, "/v1/namespaces/default/tasks/0193f0c5c00070008000000000000001/network"),
        (Method::GET, "/v1/listeners/other"),
        (Method::DELETE, "/v1/listeners/other"),
        (Method::GET, "/v1/certificates/other"),
        (Method::DELETE, "/v1/certificates/other"),
        (Method::GET, "/v1/namespaces/default/rules/other"),
        (Method::DELETE, "/v1/namespaces/default/rules/other"),
        (Method::GET, "/v1/namespaces/default/target-groups/hello"),
        (Method::DELETE, "/v1/namespaces/default/target-groups/other"),
    ];
    for (method, path) in missing {
        assert_eq!(error_of(send(method, path, "").await).await, ErrorCode::NotFound, "{path}");
    }
    let wrong_method = send(Method::PATCH, "/v1/status", "").await;
    assert_eq!(wrong_method.status(), StatusCode::METHOD_NOT_ALLOWED);
    error_of(wrong_method).await;
    let large = "x".repeat(skiff_api::REQUEST_BYTES_MAX + 1);
    let response = send(Method::PUT, &format!("{services}/hello"), &large).await;
    assert_eq!(error_of(response).await, ErrorCode::TooLarge);
    let conditional = request(&platform, Operation::RunTask, &["default"]).header("if-match", "1");
    let response = conditional.json(&json!({ "definition": "hello" })).send().await.unwrap();
    assert_eq!(error_of(response).await, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn a_write_may_say_which_revision_it_expects() {
    let platform = Platform::start().await;
    let definition = platform.deploy("hello", "http", 1).await;
    let service = platform.service("hello").await;
    let put = |if_match: &str, desired: u32| {
        let request = request(&platform, Operation::PutService, &["default", "hello"]);
        let body = wanted(&definition.id.to_string(), desired);
        request.header("if-match", if_match).json(&body).send()
    };
    let response = put(&format!("\"{}\"", service.revision), 2).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    let stale = put(&service.revision.to_string(), 3).await.unwrap();
    assert_eq!(error_of(stale).await, ErrorCode::PreconditionFailed);
    assert_eq!(put(&tag, 3).await.unwrap().status(), StatusCode::OK);
    assert_eq!(put("*", 1).await.unwrap().status(), StatusCode::OK);
    assert_eq!(error_of(put("seven", 1).await.unwrap()).await, ErrorCode::InvalidArgument);
    let absent = request(&platform, Operation::PutService, &["default", "other"]).header("if-match", "*");
    let absent = absent.json(&wanted("hello", 1)).send().await.unwrap();
    assert_eq!(error_of(absent).await, ErrorCode::PreconditionFailed);
    assert_eq!(platform.service("hello").await.spec.desired, 1);
}

#[tokio::test]
async fn a_tag_is_moved_only_from_where_its_pusher_saw_it() {
    let platform = Platform::start().await;
    let push = |if_match: String, program: &'static str| {
        let request = request(&platform, Operation::PushImage, &["default", "app:latest"]);
        request.header("if-match", if_match).body(program).send()
    };
    assert_eq!(error_of(push("*".to_owned(), "http").await.unwrap()).await, ErrorCode::PreconditionFailed);
    platform.push("app", "http").await;
    let images = request(&platform, Operation::ListImages, &["default"]).send().await.unwrap();
    let seen = images.json::<Value>().await.unwrap()["items"][0]["revision"].to_string();
    assert_eq!(push(seen.clone(), "exit 0").await.unwrap().status(), StatusCode::OK);
    assert_eq!(error_of(push(seen, "http").await.unwrap()).await, ErrorCode::PreconditionFailed);
}

#[tokio::test]
async fn the_platforms_health_follows_its_life() {
    let platform = Platform::start().await;
    platform.handle.ready().await;
    let health = || request(&platform, Operation::GetHealth, &[]).send();
    assert_eq!(health().await.unwrap().json::<Value>().await.unwrap()["status"], "READY");
    platform.handle.wind_down();
    let response = health().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.json::<Value>().await.unwrap()["status"], "DRAINING");
}

#[tokio::test]
async fn a_restart_of_a_task_does_not_spoil_the_revision_its_user_read() {
    let platform = Platform::start().await;
    platform.deploy("worker", "daemon", 1).await;
    let service = platform.completed("worker").await;
    let task = platform.running("worker").await.remove(0);
    platform.node.end(task.id, None, skiff_types::StopCode::Trapped);
    platform.reaches(task.id, TaskStatus::Stopped).await;
    platform.completed("worker").await;
    assert_eq!(platform.service("worker").await.revision, service.revision);
}

#[tokio::test]
async fn a_request_id_is_kept_or_made() {
    let platform = Platform::start().await;
    let call = || request(&platform, Operation::GetStatus, &[]);
    let kept = call().header("x-request-id", "mine-17").send().await.unwrap();
    assert_eq!(kept.headers()["x-request-id"], "mine-17");
    let made = call().header("x-request-id", "not a good one").send().await.unwrap();
    assert_eq!(made.headers()["x-request-id"].len(), 32);
}

#[tokio::test]
async fn lists_page() {
    let platform = Platform::start().await;
    platform.push("job", "exit 0").await;
    platform.register("job", "job").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(platform.run("job").await.id);
    }
    made.sort_unstable();
    made.reverse();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let query = skiff_api::TaskListQuery { limit: Some(2), cursor, ..Default::default() };
        let page = platform.client.list_tasks(&namespace(), &query).await.unwrap();
        seen.extend(page.items.into_iter().map(|task| task.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
}
