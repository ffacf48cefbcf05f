//! The load balancer as the API has it, and what the node is told: here what its parts have to do with each other and with services,
//! and the calls that all of these tests make; listeners, rules and target groups by themselves in modules of their own.

mod groups;
mod listeners;
mod rules;

use crate::fixture::{Platform, name, namespace, refused, registration, until, wanted};
use crate::node::Desired;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_api::{
    ClientError, ErrorCode, Listener, ListenerRule, PageQuery, PutService, RegisterTaskDefinition,
    TargetGroup,
};
use skiff_ports::store::{Expect, Key};
use skiff_types::Listen;

/// Where the load balancer is; see the fixture.
const HTTP_PORT: u16 = 8080;

fn body<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn forward(group: &str) -> Value {
    json!({ "forward": { "groups": [{ "group": group }] } })
}

fn respond(status: u16) -> Value {
    json!({ "fixed_response": { "status": status } })
}

async fn put_listener(platform: &Platform, listener: &str, value: Value) -> Result<Listener, ClientError> {
    platform.client.put_listener(&name(listener), &body(value), None).await
}

async fn put_rule(platform: &Platform, rule: &str, value: Value) -> Result<ListenerRule, ClientError> {
    platform.client.put_rule(&namespace(), &name(rule), &body(value), None).await
}

/// A rule of the built-in listener.
async fn simple_rule(
    platform: &Platform,
    rule: &str,
    priority: u32,
    condition: &str,
    action: Value,
) -> Result<ListenerRule, ClientError> {
    let value = json!({ "priority": priority, "conditions": [condition], "action": action });
    put_rule(platform, rule, value).await
}

async fn put_group(platform: &Platform, group: &str, value: Value) -> Result<TargetGroup, ClientError> {
    platform.client.put_target_group(&namespace(), &name(group), &body(value), None).await
}

async fn remove_listener(platform: &Platform, listener: &str) -> Result<(), ClientError> {
    platform.client.delete_listener(&name(listener), None).await
}

async fn remove_rule(platform: &Platform, rule: &str) -> Result<(), ClientError> {
    platform.client.delete_rule(&namespace(), &name(rule), None).await
}

async fn remove_group(platform: &Platform, group: &str) -> Result<(), ClientError> {
    platform.client.delete_target_group(&namespace(), &name(group), None).await
}

async fn remove_service(platform: &Platform, service: &str) -> Result<(), ClientError> {
    platform.client.delete_service(&namespace(), &name(service), None).await
}

/// A service of daemons without tasks.
async fn daemon(platform: &Platform, service: &str, listen: &[u16]) -> Result<(), ClientError> {
    platform.push(service, "daemon").await;
    let request = RegisterTaskDefinition { port: Some(6379), ..registration(service, service) };
    platform.client.register_task_definition(&namespace(), &request).await.unwrap();
    let listen = listen.iter().map(|port| Listen::Tcp(*port)).collect();
    let request = PutService { listen: Some(listen), ..wanted(service, 0) };
    platform.client.put_service(&namespace(), &name(service), &request, None).await.map(drop)
}

/// Waits until the node was told so.
async fn told(platform: &Platform, what: &str, is_so: impl Fn(&Desired) -> bool) {
    until(what, || async { is_so(&platform.node.desired()).then_some(()) }).await;
}

#[tokio::test]
async fn what_a_rule_leads_to_is_not_removed() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    platform.deploy("shop", "http", 0).await;
    put_group(&platform, "legacy", json!({ "targets": { "outside": ["192.0.2.7:80"] } })).await.unwrap();
    for (group, service) in [("front", "shop"), ("web", "web")] {
        put_group(&platform, group, json!({ "targets": { "service": service } })).await.unwrap();
    }
    for (rule, priority) in [("legacy", 10), ("front", 20), ("web", 30)] {
        simple_rule(&platform, rule, priority, "path=/*", forward(rule)).await.unwrap();
    }
    let are_told =
        |desired: &Desired| desired.balancer.groups.len() == 3 && desired.balancer.rules.len() == 3;
    told(&platform, "they are told", are_told).await;
    let not_now = ErrorCode::FailedPrecondition;
    let error = remove_group(&platform, "legacy").await;
    refused(error, not_now, "the rule default/legacy leads to the target group default/legacy");
    let error = remove_service(&platform, "shop").await;
    refused(error, not_now, "the rule default/front leads to the service default/shop");
    remove_rule(&platform, "front").await.unwrap();
    remove_group(&platform, "front").await.unwrap();
    remove_service(&platform, "shop").await.unwrap();

    // From here on the rule leads to the service of the group's name.
    remove_group(&platform, "web").await.unwrap();
    let error = remove_service(&platform, "web").await;
    refused(error, not_now, "the rule default/web leads to the service default/web");
    let left = platform.client.list_target_groups(&namespace(), &PageQuery::default()).await.unwrap();
    assert_eq!(left.items.len(), 1);

    let change = json!({ "protocol": "http", "port": HTTP_PORT, "default_action": forward("web") });
    put_listener(&platform, "http", change).await.unwrap();
    remove_rule(&platform, "web").await.unwrap();
    let error = remove_service(&platform, "web").await;
    refused(error, not_now, "the default action of the listener http leads to the service default/web");
    remove_listener(&platform, "http").await.unwrap();
    remove_service(&platform, "web").await.unwrap();
    remove_rule(&platform, "legacy").await.unwrap();
    remove_group(&platform, "legacy").await.unwrap();
    let are_gone =
        |desired: &Desired| desired.balancer.groups.is_empty() && desired.balancer.rules.is_empty();
    told(&platform, "all is gone", are_gone).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_service_stays_one_that_can_take_what_leads_to_it() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    daemon(&platform, "kv", &[]).await.unwrap();
    platform.push("job", "daemon").await;
    platform.register("job", "job").await;
    simple_rule(&platform, "api", 10, "path=/api/*", forward("web")).await.unwrap();
    let tcp = json!({ "protocol": "tcp", "port": 7000, "default_action": forward("kv") });
    put_listener(&platform, "db", tcp).await.unwrap();
    let put = async |service: &str, definition: &str| {
        platform.client.put_service(&namespace(), &name(service), &wanted(definition, 0), None).await
    };
    let not_now = ErrorCode::FailedPrecondition;
    let message = "the rule default/api leads to the service default/web: the service default/web takes no";
    refused(put("web", "job").await, not_now, message);
    let message = "the default action of the listener db leads to the service default/kv: a listener of tcp";
    refused(put("kv", "web").await, not_now, message);
    // A daemon takes requests as well.
    put("web", "kv").await.unwrap();
    remove_rule(&platform, "api").await.unwrap();
    put("web", "job").await.unwrap();
}

#[tokio::test]
async fn all_is_told_again_at_a_start_and_the_port_is_the_platforms() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    put_listener(&platform, "second", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    put_group(&platform, "legacy", json!({ "targets": { "outside": ["192.0.2.7:80"] } })).await.unwrap();
    simple_rule(&platform, "old", 20, "path=/old/*", forward("legacy")).await.unwrap();
    // As it is written where `--http` was another port.
    let key = Key::parse("listener.http").unwrap();
    let record = r#"{"version":1,"object":{"name":"http","protocol":"http","port":80,"scheme":"public","services":false,"default_action":{"fixed_response":{"status":503,"content_type":"text/plain","body":""}},"created_at_ms":1,"updated_at_ms":2}}"#;
    platform.disk.store.put(&key, record.into(), Expect::Absent).await.unwrap();
    told(&platform, "it is taken in", |desired| !desired.balancer.listeners[&name("http")].services).await;
    let before = platform.node.desired();
    let disk = platform.stop().await;

    let platform = Platform::start_on(disk).await;
    platform.handle.ready().await;
    let desired = platform.node.desired();
    assert_eq!(
        (&desired.balancer.listeners, &desired.balancer.rules),
        (&before.balancer.listeners, &before.balancer.rules)
    );
    assert_eq!((desired.balancer.groups.len(), desired.balancer.listeners.len()), (1, 2));
    assert_eq!(desired.balancer.listeners[&name("http")].port, HTTP_PORT);
    assert_eq!(platform.client.get_listener(&name("http")).await.unwrap().port, HTTP_PORT);
    platform.assert_node_is_content();
}

#[tokio::test]
async fn nothing_is_removed_that_what_can_not_be_read_may_need() {
    let platform = Platform::start().await;
    put_listener(&platform, "second", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    put_group(&platform, "legacy", json!({ "targets": { "outside": ["192.0.2.7:80"] } })).await.unwrap();
    simple_rule(&platform, "old", 20, "path=/old/*", forward("legacy")).await.unwrap();
    let key = Key::parse("rule.default.old").unwrap();
    platform.disk.store.put(&key, "damaged".into(), Expect::Any).await.unwrap();
    told(&platform, "it is passed over", |desired| desired.balancer.rules.is_empty()).await;
    for error in [remove_group(&platform, "legacy").await, remove_listener(&platform, "second").await] {
        refused(error, ErrorCode::FailedPrecondition, "the record rule.default.old can't be read");
    }
    let error = platform.client.get_rule(&namespace(), &name("old")).await;
    refused(error, ErrorCode::Internal, "the record rule.default.old can't be read");
}
