//! Settings of target groups, listeners and rules by the command line: given, shown, kept by what does not speak of them,
//! taken away. What they do is tested elsewhere.

use super::{deploy_named, rule};
use crate::harness::Platform;
use serde_json::{Value, json};

/// The arguments of such a command.
fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

#[test]
fn a_target_group_keeps_what_is_not_spoken_of() {
    let platform = Platform::start(&[]);
    let create = |more: &str| {
        let command = format!("target-group create legacy --outside 192.0.2.7:80{more}");
        platform.ok(&words(&command));
        platform.json(&["target-group", "show", "legacy"])
    };
    let new = create("");
    let absent = ["stickiness", "slow_start", "health_check", "limit"];
    for setting in absent {
        assert_eq!(new.get(setting), None, "{new}");
    }
    assert_eq!((&new["protocol"], &new["tls"]), (&"http1".into(), &false.into()));
    assert_eq!(new["deregistration_delay"], "5m");

    let settings: [(&str, &str, &str, Value); 9] = [
        ("protocol", " --protocol http2", " --protocol http1", "http2".into()),
        ("tls", " --tls", " --no-tls", true.into()),
        (
            "algorithm",
            " --algorithm round-robin",
            " --algorithm least-outstanding-requests",
            "round-robin".into(),
        ),
        ("stickiness", " --stickiness 1h", " --no-stickiness", "1h".into()),
        ("slow_start", " --slow-start 30s", " --no-slow-start", "30s".into()),
        ("deregistration_delay", " --deregistration-delay 10s", " --deregistration-delay 5m", "10s".into()),
        (
            "limit",
            " --limit rate=100,burst=200,concurrent=20",
            " --no-limit",
            json!({ "requests_per_second": 100, "burst": 200, "concurrent": 20 }),
        ),
        (
            "health_check",
            " --health-check /ready --health-interval 5s --health-timeout 1s --healthy 3 --unhealthy 4 --matcher 200-299",
            " --no-health-check",
            json!({
                "path": "/ready", "interval": "5s", "timeout": "1s", "healthy": 3, "unhealthy": 4,
                "matcher": "200-299",
            }),
        ),
        ("targets", "", "", json!({ "outside": ["192.0.2.7:80"] })),
    ];
    for (setting, given, _, value) in &settings {
        assert_eq!(create(given)[setting], *value, "{given}");
    }
    let kept = create("");
    for (setting, _, _, value) in &settings {
        assert_eq!(kept[setting], *value);
    }
    let shown = platform.ok(&["target-group", "show", "legacy"]);
    for part in
        ["http2 in TLS", "/ready answers 200-299 within 1s, every 5s", "rate=100,burst=200,concurrent=20"]
    {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    // A part of a check alone.
    let longer = create(" --health-interval 1m");
    assert_eq!(
        (&longer["health_check"]["interval"], &longer["health_check"]["path"]),
        (&"1m".into(), &"/ready".into())
    );
    let connecting = create(" --health-check tcp");
    assert_eq!(connecting["health_check"].get("path"), None, "{connecting}");

    let mut last = Value::Null;
    for (_, _, taken_away, _) in &settings {
        last = create(taken_away);
    }
    for setting in absent {
        assert_eq!(last.get(setting), None, "{last}");
    }
    assert_eq!((&last["tls"], &last["protocol"]), (&false.into(), &"http1".into()));
}

#[test]
fn a_group_of_grpc_is_checked_by_its_codes() {
    let platform = Platform::start(&[]);
    let create = |more: &str| {
        let command = format!("target-group create calls --outside 192.0.2.7:80 --protocol grpc{more}");
        platform.ok(&words(&command));
        platform.json(&["target-group", "show", "calls"])["health_check"].clone()
    };
    let check = create(" --unhealthy 3");
    assert_eq!((&check["path"], &check["matcher"]), (&"/AWS.ALB/healthcheck".into(), &"12".into()));
    let check = create(" --health-check /grpc.health.v1.Health/Check --matcher 0");
    assert_eq!((&check["matcher"], &check["unhealthy"]), (&"0".into(), &3.into()));
}

#[test]
fn a_service_is_checked_and_left_by_the_group_of_its_own_name() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    let own =
        "target-group create app --service app --health-check / --slow-start 10s --deregistration-delay 1s";
    platform.ok(&words(own));
    let shared = "target-group create other --service app --stickiness 1h --limit concurrent=5 --algorithm round-robin";
    platform.ok(&words(shared));
    let shown = platform.json(&["target-group", "show", "other"]);
    assert_eq!((&shown["stickiness"], &shown["limit"]["concurrent"]), (&"1h".into(), &5.into()));
}

#[test]
fn limits_of_listeners_and_rules_are_given_and_taken_away() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    platform.ok(&words("listener create http --client-limit rate=1000,concurrent=100"));
    let limit = json!({ "requests_per_second": 1000, "concurrent": 100 });
    assert_eq!(platform.json(&["listener", "show", "http"])["client_limit"], limit);
    platform.ok(&words("listener create http --respond 404"));
    assert_eq!(platform.json(&["listener", "show", "http"])["client_limit"], limit);
    assert!(platform.ok(&["listener", "show", "http"]).contains("rate=1000,concurrent=100"));
    platform.ok(&words("listener create http --no-client-limit"));
    assert_eq!(platform.json(&["listener", "show", "http"]).get("client_limit"), None);

    let forward = ["--forward", "app=3,old=1"];
    platform.ok(&words("target-group create old --outside 192.0.2.7:80"));
    rule(
        &platform,
        "api",
        "10",
        "path=/*",
        &[&forward[..], &["--stickiness", "2h", "--limit", "rate=500"]].concat(),
    );
    let shown = platform.json(&["rule", "show", "api"]);
    assert_eq!(shown["limit"], json!({ "requests_per_second": 500 }));
    assert_eq!(shown["action"]["forward"]["stickiness"], "2h");
    let text = platform.ok(&["rule", "show", "api"]);
    assert!(text.contains("sticky for 2h") && text.contains("rate=500"), "{text}");
    // A rule becomes what is said.
    rule(&platform, "api", "10", "path=/*", &forward);
    let shown = platform.json(&["rule", "show", "api"]);
    assert_eq!((shown.get("limit"), shown["action"]["forward"].get("stickiness")), (None, None));
}
