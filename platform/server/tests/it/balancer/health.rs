//! Health checks of target groups: what is shown of targets, and what becomes of a service's tasks that are unhealthy.

use super::{WHO, ask, deploy_named, is_answered_by, rule};
use crate::harness::{Platform, eventually, free_port};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};

/// The targets of a group as JSON.
pub(super) fn targets(platform: &Platform, group: &str) -> Vec<Value> {
    let targets = platform.json(&["target-group", "targets", group]);
    targets.as_array().expect("a list").clone()
}

/// Each target's state, with the reason for it.
fn states(platform: &Platform, group: &str) -> Vec<String> {
    let state = |target: &Value| {
        let reason = target["reason"].as_str().unwrap_or("-");
        format!("{} {reason}", target["status"].as_str().unwrap())
    };
    targets(platform, group).iter().map(state).collect()
}

/// Waits until the targets of a group are in these states.
#[track_caller]
fn are_in_states(platform: &Platform, group: &str, expected: &[&str]) {
    let mut last = Vec::new();
    eventually(&format!("the targets of {group} are {expected:?}"), || {
        let states = states(platform, group);
        // So that a test that waits in vain shows what it got.
        if states != last {
            println!("{group}: {states:?}");
            last = states;
        }
        (last == expected).then_some(())
    });
}

/// Has the tasks of the service `app` be checked every second at a path.
fn check_app(platform: &Platform, path: &str) {
    let check = ["--health-check", path, "--health-interval", "1s", "--health-timeout", "900ms"];
    let counts = ["--healthy", "2", "--unhealthy", "2"];
    let create = ["target-group", "create", "app", "--service", "app"];
    platform.ok(&[&create[..], &check, &counts].concat());
}

#[test]
fn addresses_are_unused_until_something_leads_there_and_then_checked() {
    let platform = Platform::start(&[]);
    // Who connects waits to be accepted, which is enough.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (there, away) = (listener.local_addr().unwrap().port(), free_port());
    let hosts = format!("127.0.0.1:{there},127.0.0.1:{away}");
    let create = ["target-group", "create", "legacy", "--outside", &hosts];
    platform.ok(&create);
    are_in_states(&platform, "legacy", &["unused Target.NotInUse"; 2]);
    rule(&platform, "legacy", "10", "host=legacy.example.com", &["--forward", "legacy"]);
    are_in_states(&platform, "legacy", &["unavailable Target.HealthCheckDisabled"; 2]);
    let check = ["--health-check", "tcp", "--health-interval", "1s"];
    platform.ok(&[&create[..], &check].concat());
    eventually("one is healthy, the other is not", || {
        let targets = targets(&platform, "legacy");
        let of = |port: u16| {
            let name = format!("127.0.0.1:{port}");
            targets.iter().find(|target| target["target"] == *name).map(|target| target["status"].clone())
        };
        (of(there) == Some("healthy".into()) && of(away) == Some("unhealthy".into())).then_some(())
    });
    let table = platform.ok(&["target-group", "targets", "legacy"]);
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["TARGET", "STATUS", "REASON", "OUTSTANDING", "WHY"]);
    let line = table.lines().find(|line| line.contains("unhealthy")).unwrap();
    assert!(line.contains("Target.FailedHealthChecks") && line.ends_with("Health checks failed"), "{table}");
    let missing = platform.fails(&["target-group", "targets", "nobody"]);
    assert!(missing.contains("there is no target group nobody"), "{missing}");
}

#[test]
fn a_services_task_that_turns_unhealthy_is_replaced_and_requests_are_answered_all_the_while() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    are_in_states(&platform, "app", &["healthy -"]);
    check_app(&platform, "/status?code=200");
    let is_checked = || {
        let task = platform.json(&["task", "ls", "--service", "app", "--status", "RUNNING"]);
        (task[0]["health"] == "HEALTHY").then(|| task[0]["id"].clone())
    };
    let first = eventually("its first check has succeeded", is_checked);
    are_in_states(&platform, "app", &["healthy -"]);
    is_answered_by(&platform.http, "app.localhost", "app");

    check_app(&platform, "/status?code=503");
    eventually("another is in its place", || {
        let answer = ask(&platform.http, WHO, &[("host", "app.localhost")]).unwrap();
        assert_eq!((answer.status, answer.text.trim()), (200, "app"), "{answer:?}");
        let stopped = platform.json(&["task", "ls", "--service", "app", "--status", "STOPPED"]);
        let stopped = stopped.as_array().unwrap().iter().find(|task| task["id"] == first)?;
        stopped.to_string().contains("these codes: [503]").then_some(())
    });
    let shown = platform.json(&["service", "show", "app"]).to_string();
    assert!(shown.contains("is unhealthy: Health checks failed with these codes: [503]"), "{shown}");

    check_app(&platform, "/status?code=200");
    are_in_states(&platform, "app", &["healthy -"]);
    assert_ne!(targets(&platform, "app")[0]["task"], first);
}

#[test]
fn a_task_that_leaves_is_draining_for_as_long_as_it_has_requests() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    std::thread::scope(|scope| {
        let ask_slowly = || ask(&platform.http, "/sleep?ms=4000", &[("host", "app.localhost")]).unwrap();
        let slow = scope.spawn(ask_slowly);
        eventually("the request is under way", || {
            (targets(&platform, "app")[0]["outstanding"] == 1).then_some(())
        });
        platform.ok(&["scale", "app", "0", "--no-wait"]);
        are_in_states(&platform, "app", &["draining Target.DeregistrationInProgress"]);
        assert_eq!(slow.join().unwrap().status, 200);
    });
    are_in_states(&platform, "app", &[]);
}
