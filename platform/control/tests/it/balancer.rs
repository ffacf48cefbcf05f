//! The load balancer as the API has it: listeners, rules, target groups, what explains them; and what the node is told.

use crate::fixture::{Platform, name, namespace, refused, registration, until, wanted};
use crate::node::Desired;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_api::{
    ClientError, ErrorCode, Listener, ListenerRule, ListenerRuleListQuery, PageQuery, PutService,
    RegisterTaskDefinition, RequestExplanation, TakenBy, TargetGroup,
};
use skiff_ports::store::{Expect, Key};
use skiff_types::{Listen, ListenerProtocol, QualifiedName, Scheme};

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

async fn explained(platform: &Platform, listener: &str, url: &str, headers: Value) -> RequestExplanation {
    let request = body(json!({ "method": "GET", "url": url, "headers": headers }));
    platform.client.explain_request(&name(listener), &request).await.unwrap()
}

#[tokio::test]
async fn a_listener_says_that_its_port_can_not_be_had() {
    let platform = Platform::start().await;
    platform.node.take_port(9_000);
    let busy = |port: u16| json!({ "protocol": "http", "port": port });
    let made = put_listener(&platform, "busy", busy(9_000)).await.unwrap();
    assert_eq!(made.problem.as_deref(), Some("somebody else has 9000"));
    let listed = platform.client.list_listeners(&PageQuery::default()).await.unwrap().items;
    let problems: Vec<bool> = listed.iter().map(|listener| listener.problem.is_some()).collect();
    assert_eq!(problems, [true, false], "the built-in one has none");
    assert_eq!(put_listener(&platform, "busy", busy(9_001)).await.unwrap().problem, None);
    assert_eq!(platform.client.get_listener(&name("busy")).await.unwrap().problem, None);
}

#[tokio::test]
async fn the_built_in_listener_is_there_and_keeps_its_place() {
    let platform = Platform::start().await;
    let http = name("http");
    told(&platform, "it is told from the start", |desired| {
        desired.listeners.get(&name("http")).is_some_and(|spec| spec.services && spec.port == HTTP_PORT)
    })
    .await;
    let shown = platform.client.get_listener(&http).await.unwrap();
    assert_eq!((shown.revision, shown.port, shown.services, shown.rules), (0, HTTP_PORT, true, 0));
    assert_eq!((shown.protocol, shown.scheme), (ListenerProtocol::Http, Scheme::Public));
    assert_eq!(serde_json::to_value(&shown.default_action).unwrap()["fixed_response"]["status"], 404);
    assert_eq!((shown.created_at_ms, shown.updated_at_ms), (None, None));
    let listed = platform.client.list_listeners(&PageQuery::default()).await.unwrap().items;
    assert_eq!(listed, std::slice::from_ref(&shown));
    refused(remove_listener(&platform, "http").await, ErrorCode::FailedPrecondition, "is always there");

    for wrong in [
        json!({ "protocol": "http", "port": 80 }),
        json!({ "protocol": "tcp", "port": HTTP_PORT, "default_action": forward("web") }),
    ] {
        let result = put_listener(&platform, "http", wrong).await;
        refused(result, ErrorCode::InvalidArgument, "for everybody: where it is, `skiff up --http` says");
    }
    let change = json!({ "protocol": "http", "port": HTTP_PORT, "services": false });
    let changed = put_listener(&platform, "http", change.clone()).await.unwrap();
    assert!(changed.revision > 0 && !changed.services && changed.created_at_ms.is_some());
    assert_eq!(changed.default_action, shown.default_action, "what is left out stays");
    assert_eq!(put_listener(&platform, "http", change).await.unwrap(), changed, "it says the same");
    let change = json!({ "protocol": "http", "port": HTTP_PORT, "default_action": respond(503) });
    assert!(!put_listener(&platform, "http", change).await.unwrap().services);
    told(&platform, "it is otherwise", |desired| !desired.listeners[&name("http")].services).await;

    let stale = platform.client.delete_listener(&http, Some(changed.revision)).await;
    assert_eq!(stale.unwrap_err().code(), Some(ErrorCode::PreconditionFailed));
    remove_listener(&platform, "http").await.unwrap();
    assert_eq!(platform.client.get_listener(&http).await.unwrap(), shown);
    told(&platform, "it is as it was", |desired| desired.listeners[&name("http")].services).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn listeners_come_and_go() {
    let platform = Platform::start().await;
    daemon(&platform, "kv", &[]).await.unwrap();
    let made = put_listener(&platform, "second", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    assert!(made.services && made.scheme == Scheme::Public);
    let tcp = json!({ "protocol": "tcp", "port": 6380, "default_action": forward("kv") });
    let made = put_listener(&platform, "db", tcp).await.unwrap();
    assert!(!made.services);
    told(&platform, "both are there", |desired| desired.listeners.len() == 3).await;
    let query = PageQuery { limit: Some(2), cursor: None };
    let first = platform.client.list_listeners(&query).await.unwrap();
    let query = PageQuery { cursor: first.next_cursor, ..query };
    let rest = platform.client.list_listeners(&query).await.unwrap();
    let names: Vec<String> =
        first.items.iter().chain(&rest.items).map(|listener| listener.name.to_string()).collect();
    assert_eq!(names, ["db", "http", "second"]);

    put_listener(&platform, "second", json!({ "protocol": "http", "port": 8091 })).await.unwrap();
    told(&platform, "it is elsewhere", |desired| desired.listeners[&name("second")].port == 8091).await;
    put_listener(&platform, "third", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    for listener in ["second", "third", "db"] {
        remove_listener(&platform, listener).await.unwrap();
    }
    told(&platform, "the built-in one is left", |desired| desired.listeners.len() == 1).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_listener_that_can_not_be_is_refused() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    platform.deploy("job", "daemon", 0).await;
    daemon(&platform, "kv", &[6379]).await.unwrap();
    put_listener(&platform, "second", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    let tcp = |group: &str| json!({ "protocol": "tcp", "port": 7000, "default_action": forward(group) });
    let http =
        |port: u16, action: Value| json!({ "protocol": "http", "port": port, "default_action": action });
    let (invalid, conflict) = (ErrorCode::InvalidArgument, ErrorCode::Conflict);
    let (missing, not_now) = (ErrorCode::NotFound, ErrorCode::FailedPrecondition);
    let cases = [
        (json!({ "protocol": "http", "port": 0 }), invalid, "port is 0"),
        (json!({ "protocol": "http", "port": HTTP_PORT }), invalid, "Skiff itself listens at the port 8080"),
        (json!({ "protocol": "http", "port": 8090 }), conflict, "already taken by the listener second"),
        (json!({ "protocol": "http", "port": 6379 }), conflict, "already taken by the service default/kv"),
        (json!({ "protocol": "https", "port": 8443 }), invalid, "shows its clients a certificate"),
        (
            json!({ "protocol": "http", "port": 7000, "certificates": ["a"] }),
            invalid,
            "are for listeners of https",
        ),
        (
            json!({ "protocol": "https", "port": 7000, "certificates": ["a", "a"] }),
            invalid,
            "a certificate twice",
        ),
        (
            json!({ "protocol": "https", "port": 7000, "certificates": ["a"] }),
            missing,
            "there is no certificate a",
        ),
        (json!({ "protocol": "tcp", "port": 7000 }), invalid, "can do nothing but forward"),
        (
            json!({ "protocol": "tcp", "port": 7000, "default_action": respond(200) }),
            invalid,
            "nothing but forward",
        ),
        (
            json!({ "protocol": "tcp", "port": 7000, "services": true }),
            invalid,
            "services is for listeners of http",
        ),
        (tcp("web"), not_now, "the tasks of the service default/web listen on none"),
        (tcp("nobody"), missing, "there is no target group or service default/nobody"),
        (http(7000, forward("job")), not_now, "the service default/job takes no requests"),
        (http(7000, forward("other/web")), missing, "there is no target group or service other/web"),
        (http(7000, respond(307)), invalid, "can't have the status 307"),
    ];
    for (value, code, message) in cases {
        refused(put_listener(&platform, "new", value).await, code, message);
    }
    refused(
        daemon(&platform, "kv", &[8090]).await,
        conflict,
        "the port 8090 is already taken by the listener second",
    );
    let listeners = platform.client.list_listeners(&PageQuery::default()).await.unwrap();
    assert_eq!(listeners.items.len(), 2, "none of them was made");
}

#[tokio::test]
async fn an_internal_listener_takes_no_port_of_the_node() {
    let platform = Platform::start().await;
    daemon(&platform, "kv", &[6379]).await.unwrap();
    put_listener(&platform, "second", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    let internal = |port: u16| json!({ "protocol": "http", "port": port, "scheme": "internal" });
    // What others have on the node, a service, a listener and Skiff itself, is nothing to it.
    for port in [6379, 8090, HTTP_PORT] {
        let made = put_listener(&platform, "api", internal(port)).await.unwrap();
        assert_eq!((made.scheme, made.port), (Scheme::Internal, port));
    }
    let taken = put_listener(&platform, "other", internal(HTTP_PORT)).await;
    refused(taken, ErrorCode::Conflict, "already taken by the internal listener api");
    // Nor is its port anything to them.
    put_listener(&platform, "api", internal(7000)).await.unwrap();
    put_listener(&platform, "third", json!({ "protocol": "http", "port": 7000 })).await.unwrap();
    put_listener(&platform, "api", internal(7001)).await.unwrap();
    daemon(&platform, "kv", &[7001]).await.unwrap();
    told(&platform, "it is told", |desired| {
        let api = desired.listeners.get(&name("api"));
        api.is_some_and(|spec| (spec.scheme, spec.port) == (Scheme::Internal, 7001))
    })
    .await;

    let kept = put_listener(&platform, "api", json!({ "protocol": "http", "port": 7001 })).await.unwrap();
    assert_eq!(kept.scheme, Scheme::Internal, "what is left out stays");
    let public = |port: u16| json!({ "protocol": "http", "port": port, "scheme": "public" });
    let taken = put_listener(&platform, "api", public(7001)).await;
    refused(taken, ErrorCode::Conflict, "already taken by the service default/kv");
    let own = put_listener(&platform, "api", public(HTTP_PORT)).await;
    refused(own, ErrorCode::InvalidArgument, "Skiff itself listens at the port 8080");
    put_listener(&platform, "api", public(7002)).await.unwrap();
    told(&platform, "all reach it", |desired| desired.listeners[&name("api")].scheme == Scheme::Public).await;
    let built_in = put_listener(&platform, "http", internal(HTTP_PORT)).await;
    refused(built_in, ErrorCode::InvalidArgument, "for everybody");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn rules_are_told_in_whatever_order_they_are_made() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    put_listener(&platform, "second", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    let made = simple_rule(&platform, "late", 20, "path=/late/*", forward("web")).await.unwrap();
    assert_eq!((made.listener.as_str(), made.priority, made.conditions.len()), ("http", 20, 1));
    let shown = json!({ "forward": { "groups": [{ "group": "default/web", "weight": 1 }] } });
    assert_eq!(serde_json::to_value(&made.action).unwrap(), shown);
    simple_rule(&platform, "early", 10, "host=*.example.com", respond(200)).await.unwrap();
    told(&platform, "both are there", |desired| desired.rules.len() == 2).await;
    let get = async || platform.client.get_rule(&namespace(), &name("late")).await.unwrap();
    assert_eq!(get().await, made);
    assert_eq!(platform.client.get_listener(&name("http")).await.unwrap().rules, 2);

    let moved = json!({
        "listener": "second", "priority": 10, "conditions": ["path=/late/*"], "action": forward("web"),
    });
    let moved = put_rule(&platform, "late", moved).await.unwrap();
    assert!(moved.revision > made.revision && moved.created_at_ms == made.created_at_ms);
    let list = async |listener: Option<&str>| {
        let query = ListenerRuleListQuery { listener: listener.map(name), ..Default::default() };
        let page = platform.client.list_rules(&namespace(), &query).await.unwrap();
        page.items.iter().map(|rule| rule.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(None).await, ["early", "late"]);
    assert_eq!(list(Some("http")).await, ["early"]);
    assert_eq!(list(Some("second")).await, ["late"]);
    let late: QualifiedName = "default/late".parse().unwrap();
    told(&platform, "it is another's", |desired| desired.rules[&late].listener == name("second")).await;

    let error = remove_listener(&platform, "second").await;
    refused(error, ErrorCode::FailedPrecondition, "the listener second has the rule default/late");
    let tcp = json!({ "protocol": "tcp", "port": 8090, "default_action": forward("web") });
    let error = put_listener(&platform, "second", tcp).await;
    refused(error, ErrorCode::FailedPrecondition, "a listener of tcp has no rules");
    remove_rule(&platform, "late").await.unwrap();
    remove_listener(&platform, "second").await.unwrap();
    refused(remove_rule(&platform, "late").await, ErrorCode::NotFound, "there is no rule late");
    told(&platform, "one is left", |desired| desired.rules.len() == 1 && desired.listeners.len() == 1).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_rule_that_can_not_be_is_refused() {
    let platform = Platform::start().await;
    platform.deploy("job", "daemon", 0).await;
    daemon(&platform, "kv", &[]).await.unwrap();
    let tcp = json!({ "protocol": "tcp", "port": 7000, "default_action": forward("kv") });
    put_listener(&platform, "db", tcp).await.unwrap();
    simple_rule(&platform, "first", 10, "path=/*", respond(200)).await.unwrap();
    put_group(&platform, "bytes", json!({ "targets": { "outside": ["192.0.2.7:80"] }, "protocol": "tcp" }))
        .await
        .unwrap();
    let rule = |priority: u32, conditions: Vec<String>, action: Value| json!({ "priority": priority, "conditions": conditions, "action": action });
    let one = || vec!["path=/*".to_owned()];
    let many = vec![format!("path={}", vec!["/a"; 65].join(","))];
    let of = |listener: &str| json!({ "listener": listener, "priority": 1, "conditions": ["path=/*"], "action": respond(200) });
    let (invalid, missing, not_now) =
        (ErrorCode::InvalidArgument, ErrorCode::NotFound, ErrorCode::FailedPrecondition);
    let taken = "the priority 10 of the listener http is already taken by the rule default/first";
    let cases = [
        (rule(10, one(), respond(200)), ErrorCode::Conflict, taken),
        (rule(0, one(), respond(200)), invalid, "a priority from 1 to 50000"),
        (rule(1, vec![], respond(200)), invalid, "a rule without conditions would take everything"),
        (
            rule(1, vec!["path=/*".to_owned(); 9], respond(200)),
            invalid,
            "9 conditions are more than a rule can have: 8",
        ),
        (rule(1, many, respond(200)), invalid, "the conditions have 65 values together"),
        (of("nobody"), missing, "there is no listener nobody; make it with `skiff listener create nobody"),
        (of("db"), not_now, "the listener db speaks tcp"),
        (rule(1, one(), forward("nobody")), missing, "there is no target group or service default/nobody"),
        (rule(1, one(), forward("job")), not_now, "the service default/job takes no requests"),
        (rule(1, one(), forward("bytes")), not_now, "the targets of the group default/bytes speak tcp"),
    ];
    for (value, code, message) in cases {
        refused(put_rule(&platform, "new", value).await, code, message);
    }
    // One that is there may stay where it is, and go where nobody is.
    simple_rule(&platform, "first", 10, "path=/a", respond(201)).await.unwrap();
    simple_rule(&platform, "first", 11, "path=/a", respond(201)).await.unwrap();
    simple_rule(&platform, "new", 10, "path=/a", respond(202)).await.unwrap();
}

#[tokio::test]
async fn a_target_group_that_can_not_be_is_refused() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    daemon(&platform, "kv", &[]).await.unwrap();
    let targets = |targets: Value| json!({ "targets": targets });
    let (invalid, missing) = (ErrorCode::InvalidArgument, ErrorCode::NotFound);
    let cases = [
        (targets(json!({ "virtual": ["192.0.2.7:80"] })), invalid, "is no address of the virtual network"),
        (targets(json!({ "outside": ["10.64.0.16:80"] })), invalid, "is an address of the virtual network"),
        (
            targets(json!({ "outside": ["127.0.0.1:8080"] })),
            invalid,
            "Skiff itself listens at 127.0.0.1:8080",
        ),
        (
            targets(json!({ "outside": ["[::ffff:127.0.0.1]:8080"] })),
            invalid,
            "Skiff itself listens at [::ffff:127.0.0.1]:8080",
        ),
        (targets(json!({ "outside": ["0.0.0.0:8080"] })), invalid, "Skiff itself listens at 0.0.0.0:8080"),
        (targets(json!({ "outside": [] })), invalid, "name 1 to 1000"),
        (
            targets(json!({ "service": "nobody" })),
            missing,
            "there is no target group or service default/nobody",
        ),
        (
            json!({ "targets": { "service": "web" }, "health_check": {} }),
            invalid,
            "by the target group of that name",
        ),
        (json!({ "targets": { "service": "web" }, "tls": true }), invalid, "tls is for targets outside"),
        (
            json!({ "targets": { "outside": ["192.0.2.7:80"] }, "protocol": "tcp", "stickiness": "1h" }),
            invalid,
            "stickiness is for targets that requests are sent to",
        ),
    ];
    for (value, code, message) in cases {
        refused(put_group(&platform, "new", value).await, code, message);
    }

    // What leads to one must be able to do so after a change, too.
    let outside = json!({ "targets": { "outside": ["192.0.2.7:80"] }, "algorithm": "round-robin" });
    put_group(&platform, "legacy", outside).await.unwrap();
    simple_rule(&platform, "old", 10, "path=/old/*", forward("legacy")).await.unwrap();
    let tcp = json!({ "targets": { "outside": ["192.0.2.7:80"] }, "protocol": "tcp" });
    let error = put_group(&platform, "legacy", tcp).await;
    let message = "the rule default/old leads to the target group default/legacy: the targets";
    refused(error, ErrorCode::FailedPrecondition, message);
    let listener = json!({ "protocol": "tcp", "port": 7000, "default_action": forward("kv") });
    put_listener(&platform, "db", listener).await.unwrap();
    // A listener of tcp passes on whatever its clients speak.
    for protocol in ["grpc", "http2"] {
        let request = json!({ "targets": { "service": "kv" }, "protocol": protocol });
        let message = format!(
            "the default action of the listener db leads to the target group default/kv: the targets of the group \
             default/kv speak {protocol}"
        );
        refused(put_group(&platform, "kv", request).await, ErrorCode::FailedPrecondition, &message);
    }
    let outside = |tls: bool| json!({ "targets": { "outside": ["192.0.2.7:80"] }, "tls": tls });
    put_group(&platform, "far", outside(false)).await.unwrap();
    let listener = json!({ "protocol": "tcp", "port": 7001, "default_action": forward("far") });
    put_listener(&platform, "far", listener).await.unwrap();
    let message = "the targets of the group default/far are spoken to inside TLS";
    let error = put_group(&platform, "far", outside(true)).await;
    refused(error, ErrorCode::FailedPrecondition, message);
    let changed =
        put_group(&platform, "legacy", json!({ "targets": { "virtual": ["10.64.0.16:80"] } })).await;
    let algorithm = serde_json::to_value(changed.unwrap().algorithm).unwrap();
    assert_eq!(algorithm, "round-robin", "what is left out stays");
}

#[tokio::test]
async fn a_name_is_a_services_or_that_of_a_group_of_other_targets() {
    let platform = Platform::start().await;
    for service in ["web", "shop"] {
        platform.deploy(service, "http", 0).await;
    }
    let conflict = ErrorCode::Conflict;
    for targets in [json!({ "service": "shop" }), json!({ "outside": ["192.0.2.7:80"] })] {
        let error = put_group(&platform, "web", json!({ "targets": targets })).await;
        refused(error, conflict, "default/web is a service, and its tasks are meant by whatever forwards");
    }
    put_group(&platform, "web", json!({ "targets": { "service": "web" } })).await.unwrap();
    put_group(&platform, "other", json!({ "targets": { "service": "default/shop" } })).await.unwrap();

    let put = async |service: &str, definition: &str| {
        platform.client.put_service(&namespace(), &name(service), &wanted(definition, 0), None).await
    };
    refused(put("other", "web").await, conflict, "default/other is a target group of other targets");
    remove_group(&platform, "other").await.unwrap();
    put("other", "web").await.unwrap();
    // What was said of a service's tasks stays for the next one of that name.
    remove_service(&platform, "web").await.unwrap();
    platform.gone("web").await;
    put("web", "shop").await.unwrap();
    platform.assert_node_is_content();
}

#[tokio::test]
async fn how_long_a_services_tasks_drain_is_what_was_said_or_their_definitions_to_say() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    let put = async |more: Value| {
        let mut request = json!({ "targets": { "service": "web" } });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let shown = serde_json::to_value(put_group(&platform, "web", request).await.unwrap()).unwrap();
        shown.get("deregistration_delay").cloned()
    };
    assert_eq!(put(json!({})).await, None);
    let said = Some("5m".into());
    assert_eq!(put(json!({ "deregistration_delay": "5m" })).await, said, "what addresses have, and said");
    assert_eq!(put(json!({ "stickiness": "1h" })).await, said);
    assert_eq!(put(json!({ "deregistration_delay": null })).await, None);
    // Addresses have no definition.
    let outside = json!({ "targets": { "outside": ["192.0.2.7:80"] } });
    let shown = put_group(&platform, "legacy", outside).await.unwrap();
    assert_eq!(serde_json::to_value(shown).unwrap()["deregistration_delay"], "5m");
}

#[tokio::test]
async fn what_a_target_group_says_is_told_and_taken_away() {
    let platform = Platform::start().await;
    let group: QualifiedName = "default/legacy".parse().unwrap();
    let targets = json!({ "outside": ["192.0.2.7:443"] });
    let whole = json!({
        "targets": targets, "protocol": "http2", "tls": true, "algorithm": "round-robin", "stickiness": "1h",
        "slow_start": "30s", "deregistration_delay": "10s",
        "health_check": {
            "path": "/ready", "interval": "5s", "timeout": "1s", "healthy": 3, "unhealthy": 4,
            "matcher": "200-299",
        },
        "limit": { "requests_per_second": 100, "burst": 200, "concurrent": 20 },
    });
    let made = put_group(&platform, "legacy", whole.clone()).await.unwrap();
    let shown = serde_json::to_value(&made).unwrap();
    for (setting, value) in whole.as_object().unwrap() {
        assert_eq!(&shown[setting], value, "{setting}");
    }
    let spec = |desired: &Desired| desired.target_groups.get(&group).cloned();
    told(&platform, "it is told whole", |desired| {
        spec(desired).is_some_and(|spec| spec.tls && spec.limit.is_some() && spec.health_check.is_some())
    })
    .await;
    assert_eq!(put_group(&platform, "legacy", json!({ "targets": targets })).await.unwrap(), made);

    let nothing = json!({
        "targets": targets, "tls": false, "stickiness": null, "slow_start": null, "health_check": null,
        "limit": null,
    });
    let changed = serde_json::to_value(put_group(&platform, "legacy", nothing).await.unwrap()).unwrap();
    for setting in ["stickiness", "slow_start", "health_check", "limit"] {
        assert_eq!(changed.get(setting), None);
    }
    assert_eq!((&changed["tls"], &changed["deregistration_delay"]), (&false.into(), &"10s".into()));
    told(&platform, "nothing is left of it", |desired| {
        spec(desired).is_some_and(|spec| spec.stickiness.is_none() && spec.limit.is_none())
    })
    .await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn limits_of_listeners_and_rules_are_told_and_taken_away() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    daemon(&platform, "kv", &[]).await.unwrap();
    let limit = json!({ "requests_per_second": 5, "burst": 9 });
    let listener = |more: Value| {
        let mut request = json!({ "protocol": "http", "port": HTTP_PORT });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let made = put_listener(&platform, "http", listener(json!({ "client_limit": limit }))).await.unwrap();
    assert_eq!(serde_json::to_value(made.client_limit).unwrap(), limit);
    told(&platform, "it is told", |desired| desired.listeners[&name("http")].client_limit.is_some()).await;
    let kept = put_listener(&platform, "http", listener(json!({ "services": false }))).await.unwrap();
    assert_eq!(kept.client_limit, made.client_limit);
    let none = put_listener(&platform, "http", listener(json!({ "client_limit": null }))).await.unwrap();
    assert_eq!(none.client_limit, None);
    told(&platform, "it is gone", |desired| desired.listeners[&name("http")].client_limit.is_none()).await;

    let rule = |more: Value| {
        let mut request = json!({ "priority": 10, "conditions": ["path=/*"], "action": forward("web") });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let made = put_rule(&platform, "api", rule(json!({ "limit": limit }))).await.unwrap();
    assert_eq!(serde_json::to_value(made.limit).unwrap(), limit);
    let api: QualifiedName = "default/api".parse().unwrap();
    let is_limited = |desired: &Desired| desired.rules.get(&api).is_some_and(|spec| spec.limit.is_some());
    told(&platform, "the rule is told", is_limited).await;
    let without = put_rule(&platform, "api", rule(json!({}))).await.unwrap();
    assert_eq!(without.limit, None, "a rule is all that is said");

    let invalid = ErrorCode::InvalidArgument;
    let tcp = |more: Value| {
        let mut request = json!({ "protocol": "tcp", "port": 7000, "default_action": forward("kv") });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let sticky = json!({ "forward": { "groups": [{ "group": "kv" }], "stickiness": "1h" } });
    let result = put_listener(&platform, "db", tcp(json!({ "default_action": sticky }))).await;
    refused(result, invalid, "stickiness is for listeners of http");
    let result = put_rule(&platform, "api", rule(json!({ "limit": {} }))).await;
    refused(result, invalid, "a limit limits nothing");
    platform.assert_node_is_content();
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
    let are_told = |desired: &Desired| desired.target_groups.len() == 3 && desired.rules.len() == 3;
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
    let are_gone = |desired: &Desired| desired.target_groups.is_empty() && desired.rules.is_empty();
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
async fn it_is_explained_what_takes_a_request() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    put_group(&platform, "legacy", json!({ "targets": { "outside": ["192.0.2.7:80"] } })).await.unwrap();
    simple_rule(&platform, "closed", 5, "source=192.0.2.0/24", respond(403)).await.unwrap();
    simple_rule(&platform, "beta", 10, "header:x-beta=y*", respond(200)).await.unwrap();
    simple_rule(&platform, "old", 20, "path=/old/*", forward("legacy")).await.unwrap();
    let steps = |explanation: &RequestExplanation| {
        let failed = |condition: &skiff_types::Condition| condition.to_string();
        let steps = explanation.steps.iter();
        steps.map(|step| step.failed.as_ref().map_or("takes it".to_owned(), failed)).collect::<Vec<_>>()
    };
    let old = explained(&platform, "http", "http://WEB.localhost:8080/old/x?y", json!([])).await;
    assert_eq!(steps(&old), ["source=192.0.2.0/24", "header:x-beta=y*", "takes it"]);
    assert_eq!(old.taken_by, TakenBy::Rule("default/old".parse().unwrap()));
    let shown = json!([{
        "target_group": "default/legacy", "weight": 1, "targets": { "outside": ["192.0.2.7:80"] },
    }]);
    assert_eq!(serde_json::to_value(&old.target_groups).unwrap(), shown);
    let beta = explained(&platform, "http", "http://web.localhost/old/x", json!([["X-Beta", "YES"]])).await;
    assert_eq!((steps(&beta).len(), beta.target_groups.len()), (2, 0));

    let service = explained(&platform, "http", "/", json!([["host", "web.localhost"]])).await;
    assert_eq!(
        (service.steps.len(), &service.taken_by),
        (3, &TakenBy::Service("default/web".parse().unwrap()))
    );
    let shown =
        json!([{ "target_group": "default/web", "weight": 1, "targets": { "service": "default/web" } }]);
    assert_eq!(serde_json::to_value(&service.target_groups).unwrap(), shown);
    let nobody = explained(&platform, "http", "http://nobody.localhost/", json!([])).await;
    assert_eq!(nobody.taken_by, TakenBy::DefaultAction);
    assert_eq!(serde_json::to_value(&nobody.action).unwrap()["fixed_response"]["status"], 404);

    let alone =
        json!({ "protocol": "http", "port": 8090, "services": false, "default_action": forward("web") });
    put_listener(&platform, "second", alone).await.unwrap();
    let last = explained(&platform, "second", "http://web.localhost/old/x", json!([])).await;
    assert_eq!((last.steps.len(), &last.taken_by), (0, &TakenBy::DefaultAction));
    assert_eq!(last.target_groups.len(), 1);
    let request = body(json!({ "method": "GET", "url": "http://a/" }));
    let error = platform.client.explain_request(&name("nobody"), &request).await;
    refused(error, ErrorCode::NotFound, "there is no listener nobody");
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
    told(&platform, "it is taken in", |desired| !desired.listeners[&name("http")].services).await;
    let before = platform.node.desired();
    let disk = platform.stop().await;

    let platform = Platform::start_on(disk).await;
    platform.handle.ready().await;
    let desired = platform.node.desired();
    assert_eq!((&desired.listeners, &desired.rules), (&before.listeners, &before.rules));
    assert_eq!((desired.target_groups.len(), desired.listeners.len()), (1, 2));
    assert_eq!(desired.listeners[&name("http")].port, HTTP_PORT);
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
    told(&platform, "it is passed over", |desired| desired.rules.is_empty()).await;
    for error in [remove_group(&platform, "legacy").await, remove_listener(&platform, "second").await] {
        refused(error, ErrorCode::FailedPrecondition, "the record rule.default.old can't be read");
    }
    let error = platform.client.get_rule(&namespace(), &name("old")).await;
    refused(error, ErrorCode::Internal, "the record rule.default.old can't be read");
}
