//! Target groups: what they say, what none can be, and whose name is whose.

use super::*;
use skiff_types::QualifiedName;

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
    let spec = |desired: &Desired| desired.balancer.groups.get(&group).cloned();
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
