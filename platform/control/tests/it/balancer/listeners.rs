//! Listeners: the built-in one, those that come and go, internal ones, and what none can be.

use super::*;
use skiff_types::{ListenerProtocol, Scheme};

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
        desired
            .balancer
            .listeners
            .get(&name("http"))
            .is_some_and(|spec| spec.services && spec.port == HTTP_PORT)
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
    told(&platform, "it is otherwise", |desired| !desired.balancer.listeners[&name("http")].services).await;

    let stale = platform.client.delete_listener(&http, Some(changed.revision)).await;
    assert_eq!(stale.unwrap_err().code(), Some(ErrorCode::PreconditionFailed));
    remove_listener(&platform, "http").await.unwrap();
    assert_eq!(platform.client.get_listener(&http).await.unwrap(), shown);
    told(&platform, "it is as it was", |desired| desired.balancer.listeners[&name("http")].services).await;
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
    told(&platform, "both are there", |desired| desired.balancer.listeners.len() == 3).await;
    let query = PageQuery { limit: Some(2), cursor: None };
    let first = platform.client.list_listeners(&query).await.unwrap();
    let query = PageQuery { cursor: first.next_cursor, ..query };
    let rest = platform.client.list_listeners(&query).await.unwrap();
    let names: Vec<String> =
        first.items.iter().chain(&rest.items).map(|listener| listener.name.to_string()).collect();
    assert_eq!(names, ["db", "http", "second"]);

    put_listener(&platform, "second", json!({ "protocol": "http", "port": 8091 })).await.unwrap();
    told(&platform, "it is elsewhere", |desired| desired.balancer.listeners[&name("second")].port == 8091)
        .await;
    put_listener(&platform, "third", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    for listener in ["second", "third", "db"] {
        remove_listener(&platform, listener).await.unwrap();
    }
    told(&platform, "the built-in one is left", |desired| desired.balancer.listeners.len() == 1).await;
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
        let api = desired.balancer.listeners.get(&name("api"));
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
    told(&platform, "all reach it", |desired| {
        desired.balancer.listeners[&name("api")].scheme == Scheme::Public
    })
    .await;
    let built_in = put_listener(&platform, "http", internal(HTTP_PORT)).await;
    refused(built_in, ErrorCode::InvalidArgument, "for everybody");
    platform.assert_node_is_content();
}
