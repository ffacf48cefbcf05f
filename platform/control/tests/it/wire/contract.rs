//! Every operation, called once, answers as the document says that the platform itself serves.

mod balancer;
mod data;

use super::*;
use crate::fixture::{name, registration, until};
use crate::node::ECHO_PORT;
use skiff_api::{FORWARD_PROTOCOL, PutDeploymentConfiguration, PutService};
use std::collections::BTreeSet;

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

    balancer::check_balancer(&platform, &mut contract).await;
    check_metrics(&platform, &mut contract).await;
    check_scaling(&platform, &mut contract).await;
    check_alarms(&platform, &mut contract).await;
    check_access(&platform, &mut contract).await;
    data::check_tables(&platform, &mut contract).await;
    data::check_queues(&platform, &mut contract).await;
    data::check_consumers(&platform, &mut contract).await;
    data::check_buses(&platform, &mut contract).await;
    let nodes = contract.check(Operation::ListNodes, call(Operation::ListNodes, &[])).await;
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1);

    let deregister = Operation::DeregisterTaskDefinition;
    contract.check(deregister, call(deregister, &["default", "job:1"])).await;
    contract.check(Operation::DeleteImage, call(Operation::DeleteImage, &image)).await;
    contract.check(Operation::DeleteService, call(Operation::DeleteService, &service)).await;
    assert_eq!(contract.seen, Operation::ALL.into(), "every operation was called");
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
