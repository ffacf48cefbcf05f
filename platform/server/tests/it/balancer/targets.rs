//! Target groups of others than services: servers outside, and tasks by their addresses.

use super::outside::{Outside, is_from};
use super::{answers, ask, has_status, rule};
use crate::harness::{Platform, eventually};

const HOST: &str = "legacy.example.com";
const CONDITION: &str = "host=legacy.example.com";

#[test]
fn servers_outside_are_asked_in_turn_over_connections_that_are_kept() {
    let platform = Platform::start(&["--workers", "1"]);
    let (one, two) = (Outside::start("one"), Outside::start("two"));
    let targets = format!("{},{}", one.target(), two.target());
    platform.ok(&["target-group", "create", "legacy", "--outside", &targets, "--algorithm", "round-robin"]);
    rule(&platform, "legacy", "10", CONDITION, &["--forward", "legacy"]);
    let at = &platform.http;
    for name in ["one", "two"] {
        let answer = answers(at, HOST, "/a?b=c", |answer| is_from(answer, name));
        let head = answer.text.to_ascii_lowercase();
        for line in ["get /a?b=c http/1.1", "host: legacy.example.com", "x-forwarded-for: 127.0.0.1"] {
            assert!(head.lines().any(|other| other == line), "{line:?} is not in {head}");
        }
    }
    let from_one = (0..20).filter(|_| is_from(&ask(at, "/", &[("host", HOST)]).unwrap(), "one")).count();
    assert_eq!(from_one, 10);
    let connections = [&one, &two].map(Outside::connections);
    assert!(connections.iter().all(|count| *count <= 5), "{connections:?} for two dozen requests");

    // One that is taken out is asked no more, and needs not be there.
    platform.ok(&["target-group", "create", "legacy", "--outside", &two.target()]);
    eventually("only the other is asked", || {
        let mut answers = (0..4).map(|_| ask(at, "/", &[("host", HOST)]).unwrap());
        answers.all(|answer| is_from(&answer, "two")).then_some(())
    });
    let shown = platform.json(&["target-group", "show", "legacy"]);
    assert_eq!(shown["targets"], serde_json::json!({ "outside": [two.target()] }), "{shown}");
    assert_eq!(shown["algorithm"], "round-robin", "what was not said stays: {shown}");
}

#[test]
fn a_server_outside_may_have_a_name_and_may_be_away() {
    let platform = Platform::start(&[]);
    let outside = Outside::start("one");
    let by_name = format!("localhost:{}", outside.port());
    platform.ok(&["target-group", "create", "legacy", "--outside", &by_name]);
    rule(&platform, "legacy", "10", CONDITION, &["--forward", "legacy"]);
    answers(&platform.http, HOST, "/", |answer| is_from(answer, "one"));
    let away = format!("127.0.0.1:{}", super::free_port());
    platform.ok(&["target-group", "create", "legacy", "--outside", &away]);
    has_status(&platform.http, HOST, "/", 502);
}

#[test]
fn a_target_group_of_a_services_name_says_how_its_tasks_are_chosen() {
    let platform = Platform::start(&[]);
    super::deploy_named(&platform, "app");
    let create = ["target-group", "create", "app", "--service", "app", "--algorithm", "round-robin"];
    platform.ok(&create);
    rule(&platform, "app", "10", "host=other.example.com", &["--forward", "app"]);
    super::is_answered_by(&platform.http, "other.example.com", "app");
    // A service stays a target group of its name.
    platform.ok(&["target-group", "rm", "app"]);
    super::is_answered_by(&platform.http, "other.example.com", "app");
    assert_eq!(platform.json(&["target-group", "ls"]), serde_json::json!([]));
}

#[test]
fn a_task_is_reached_by_its_address_while_it_is_there() {
    let platform = Platform::start(&[]);
    platform.deploy("http-daemon", "app", &["--port", "8080"]);
    let tasks = platform.json(&["task", "ls", "--service", "app", "--status", "RUNNING"]);
    let address = format!("{}:8080", tasks[0]["ipv4"].as_str().unwrap());
    platform.ok(&["target-group", "create", "one", "--address", &address]);
    rule(&platform, "one", "10", CONDITION, &["--forward", "one"]);
    let answer = answers(&platform.http, HOST, "/", |answer| answer.status == 200);
    assert!(answer.text.starts_with("Hello from a daemon"), "{answer:?}");
    // Nobody has the address then.
    platform.ok(&["scale", "app", "0"]);
    eventually("nobody answers", || {
        let status = ask(&platform.http, "/", &[("host", HOST)]).unwrap().status;
        [502, 503].contains(&status).then_some(())
    });
}
