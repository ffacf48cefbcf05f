//! What is refused, and that each refusal says whom it is about and what to do.

use super::{deploy_named, free_port, rule};
use crate::harness::Platform;

/// Runs a command that must fail; what it says must contain these.
#[track_caller]
fn refused(platform: &Platform, command: &str, parts: &[&str]) {
    let words: Vec<&str> = command.split(' ').collect();
    let said = platform.fails(&words);
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in what `skiff {command}` says: {said}");
    }
}

/// Runs a command that must be wrong usage.
#[track_caller]
fn wrong_usage(platform: &Platform, command: &str, part: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let output = platform.run(&words);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "skiff {command}: {said}");
    assert!(said.contains(part), "{part:?} is not in what `skiff {command}` says: {said}");
}

#[test]
fn a_port_is_one_listeners_alone() {
    let platform = Platform::start(&[]);
    let (port, kv) = (free_port(), free_port());
    platform.deploy("kv", "kv", &["--port", "6379", "--listen", &format!("tcp:{kv}")]);
    platform.ok(&["listener", "create", "first", "--port", &port.to_string()]);
    let create = |port: &str| format!("listener create second --port {port}");
    refused(&platform, &create(&port.to_string()), &["first", &port.to_string()]);
    refused(&platform, &create(&kv.to_string()), &["kv", &kv.to_string()]);
    for own in [&platform.http, &platform.api] {
        let port = own.rsplit(':').next().unwrap();
        refused(&platform, &create(port), &[port]);
    }
    let path = crate::harness::guest_path("kv");
    let deploy = ["deploy", path.to_str().unwrap(), "--name", "other", "--port", "6379"];
    let said = platform.fails(&[&deploy[..], &["--listen", &format!("tcp:{port}")]].concat());
    assert!(said.contains("first") && said.contains(&port.to_string()), "{said}");
    wrong_usage(&platform, "listener create second", "--port");
}

#[test]
fn what_the_built_in_listener_is_stays() {
    let platform = Platform::start(&[]);
    refused(&platform, &format!("listener create http --port {}", free_port()), &["http"]);
    refused(&platform, "listener create http --protocol tcp", &["http"]);
}

#[test]
fn a_listener_of_tcp_only_forwards_to_what_takes_connections() {
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &[]);
    platform.deploy("kv", "kv", &["--port", "6379"]);
    let port = free_port();
    let create = |action: &str| format!("listener create db --port {port} --protocol tcp{action}");
    refused(&platform, &create(""), &["forward"]);
    refused(&platform, &create(" --respond 404"), &["forward"]);
    refused(&platform, &create(" --forward hello"), &["hello"]);
    platform.ok(&create(" --forward kv").split(' ').collect::<Vec<_>>());
    refused(&platform, "rule create api --listener db --priority 1 --if path=* --forward kv", &["db"]);
}

#[test]
fn a_rule_has_its_own_priority_and_names_what_there_is() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    rule(&platform, "first", "10", "path=/a/*", &["--forward", "app"]);
    let second = |priority: &str, action: &str| {
        format!("rule create second --priority {priority} --if path=/b/* {action}")
    };
    refused(&platform, &second("10", "--forward app"), &["first", "10"]);
    refused(&platform, &second("20", "--forward nobodys"), &["nobodys"]);
    refused(&platform, &second("20", "--forward app,other/app"), &["other/app"]);
    refused(&platform, &second("20", "--forward app --listener nobodys"), &["nobodys"]);
    refused(&platform, &second("20", "--respond 302"), &["302"]);
    // The same rule may keep its place, and another listener has an order of its own.
    rule(&platform, "first", "10", "path=/c/*", &["--forward", "app"]);
    platform.ok(&["listener", "create", "extra", "--port", &free_port().to_string()]);
    platform.ok(&second("10", "--forward app --listener extra").split(' ').collect::<Vec<_>>());
    // No rule was made by what was refused.
    refused(&platform, "rule show third", &["third"]);
    refused(&platform, "rule rm third", &["third"]);

    for (command, part) in [
        (second("0", "--forward app"), "a priority from 1 to 50000"),
        (second("20", ""), "--forward"),
        (second("20", "--forward app --respond 404"), "cannot be used with"),
        (second("20", "--redirect ftp://a"), "where to redirect to"),
        ("rule create x --priority 1 --if cookie=a --respond 404".to_owned(), "a condition, like"),
    ] {
        wrong_usage(&platform, command.trim(), part);
    }
}

#[test]
fn what_is_named_is_not_removed() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    platform.ok(&["target-group", "create", "legacy", "--outside", "127.0.0.1:9"]);
    platform.ok(&["listener", "create", "extra", "--port", &free_port().to_string(), "--forward", "legacy"]);
    rule(&platform, "api", "10", "path=/a/*", &["--listener", "extra", "--forward", "app"]);
    refused(&platform, "rm app", &["api"]);
    refused(&platform, "target-group rm legacy", &["extra"]);
    refused(&platform, "listener rm extra", &["extra", "api"]);
    rule(&platform, "api", "10", "path=/a/*", &["--listener", "extra", "--forward", "legacy"]);
    platform.ok(&["rm", "app"]);
    refused(&platform, "target-group rm legacy", &["legacy"]);
    platform.ok(&["rule", "rm", "api"]);
    platform.ok(&["listener", "rm", "extra"]);
    platform.ok(&["target-group", "rm", "legacy"]);
    refused(&platform, "target-group show legacy", &["legacy"]);
    refused(&platform, "listener show extra", &["extra"]);
}

#[test]
fn a_target_group_that_can_not_be_is_refused() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    let outside = |more: &str| format!("target-group create legacy --outside 192.0.2.7:80 {more}");
    let of_service = |more: &str| format!("target-group create other --service app {more}");
    for (command, parts) in [
        (outside("--stickiness 8d"), ["stickiness can't be 8d", "from 1s to 7d"]),
        (outside("--slow-start 500ms"), ["slow_start can't be 500ms", "from 1s to 1h"]),
        (outside("--deregistration-delay 2h"), ["deregistration_delay can't be 2h", "from 0ms to 1h"]),
        (outside("--slow-start 30s --algorithm weighted-random"), ["weighted-random", "--no-slow-start"]),
        (outside("--protocol tcp --stickiness 1h"), ["stickiness", "speak tcp"]),
        (outside("--protocol tcp --slow-start 30s"), ["slow_start", "speak tcp"]),
        (
            outside("--health-interval 500ms"),
            ["the interval of a health check can't be 500ms", "from 1s to 5m"],
        ),
        (outside("--health-interval 2s --health-timeout 3s"), ["longer than its interval", "shorten"]),
        (outside("--health-timeout 1ms"), ["the timeout of a health check can't be 1ms", "from 100ms"]),
        (outside("--healthy 11"), ["healthy", "from 1 to 10"]),
        (outside("--unhealthy 0"), ["unhealthy", "from 1 to 10"]),
        (outside("--matcher 200"), ["by connecting", "give it a path"]),
        (outside("--health-check /a#b"), ["is not the path of a health check", "/ready"]),
        (outside("--protocol grpc --health-check /ready"), ["a method of gRPC", "Health/Check"]),
        (outside("--protocol grpc --matcher 200"), ["gRPC does not have", "from 0 to 99"]),
        (of_service("--tls"), ["tls is for targets outside", "--no-tls"]),
        (of_service("--health-check /"), ["health_check", "the target group of that name alone"]),
        (of_service("--slow-start 30s"), ["slow_start", "default/app"]),
        (of_service("--deregistration-delay 1s"), ["deregistration_delay", "default/app"]),
    ] {
        refused(&platform, &command, &parts);
    }
    for (command, part) in [
        (outside("--limit burst=5"), "a limit, like"),
        (outside("--limit rate=0"), "a limit, like"),
        (outside("--health-check ready"), "neither \"tcp\" nor a path"),
        (outside("--matcher 2xx"), "statuses"),
        (outside("--stickiness 1h --no-stickiness"), "cannot be used with"),
        (outside("--health-check / --no-health-check"), "cannot be used with"),
    ] {
        wrong_usage(&platform, &command, part);
    }
    refused(&platform, "target-group show legacy", &["legacy"]);
}

#[test]
fn what_counts_requests_is_not_for_connections_of_tcp() {
    let platform = Platform::start(&[]);
    platform.deploy("kv", "kv", &["--port", "6379"]);
    let create =
        |more: &str| format!("listener create db --port {} --protocol tcp --forward {more}", free_port());
    refused(&platform, &create("kv --stickiness 1h"), &["stickiness is for listeners of http"]);
    platform.ok(&["target-group", "create", "calls", "--outside", "192.0.2.7:80", "--protocol", "grpc"]);
    refused(&platform, &create("calls"), &["speak grpc", "give the group the protocol tcp"]);
    platform.ok(&["target-group", "create", "secure", "--outside", "192.0.2.7:443", "--tls"]);
    refused(&platform, &create("secure"), &["inside TLS", "--no-tls"]);
    // Of a limit it is connections that are counted.
    let bytes = ["target-group", "create", "bytes", "--outside", "192.0.2.7:80", "--protocol", "tcp"];
    platform.ok(&[&bytes[..], &["--limit", "rate=5,concurrent=2"]].concat());
    platform.ok(&create("bytes").split_whitespace().collect::<Vec<_>>());
    wrong_usage(
        &platform,
        "rule create a --priority 1 --if path=/ --respond 404 --stickiness 1h",
        "--stickiness",
    );
}
