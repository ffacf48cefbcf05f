//! `skiff events`: a person and a program read what happened, while it happens and after a `kill -9`.

use crate::harness::{Platform, eventually};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// The events that a command prints, one to a line.
fn events(platform: &Platform, arguments: &[&str]) -> Vec<Value> {
    let text = platform.ok(&[&["events", "--output", "json"], arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The states of a service's tasks that were told of.
fn states(events: &[Value]) -> Vec<&str> {
    let tasks = events.iter().filter(|event| event["detail-type"] == "ECS Task State Change");
    tasks.map(|event| event["detail"]["lastStatus"].as_str().unwrap()).collect()
}

#[test]
fn what_happens_is_followed_and_outlives_the_platform() {
    let mut platform = Platform::start(&[]);
    let mut follower =
        platform.command(&["events", "-f", "--output", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    platform.deploy("misbehave", "web", &["--desired", "2"]);
    let mut running = 0;
    while running < 2 {
        let line = lines.next().expect("the stream goes on").unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        let is_running = event["detail-type"] == "ECS Task State Change"
            && event["detail"]["lastStatus"] == "RUNNING"
            && event["detail"]["desiredStatus"] == "RUNNING";
        running += usize::from(is_running);
    }
    let _ = follower.kill();
    follower.wait().unwrap();

    let steady = eventually("the service is steady", || {
        let told = events(&platform, &["--service", "web", "--type", "service"]);
        told.into_iter().find(|event| event["detail"]["eventName"] == "SERVICE_STEADY_STATE")
    });
    assert_eq!(steady["source"], "skiff.ecs");
    assert_eq!(steady["resources"][0], "service/default/web");
    let before = events(&platform, &["--service", "web"]);
    assert!(states(&before).contains(&"PROVISIONING") && states(&before).contains(&"RUNNING"), "{before:?}");
    let lines = platform.ok(&["events", "--service", "web"]);
    assert!(lines.lines().all(|line| line.contains(" skiff.ecs ")), "{lines}");
    assert!(lines.contains(" is RUNNING"), "{lines}");

    // Whatever of the end of one of them was told when it is killed.
    platform.ok(&["scale", "web", "1"]);
    platform.kill();
    let platform = platform.restart();
    let after = events(&platform, &["--service", "web"]);
    assert_eq!(after[..before.len()], before, "what was told of before the kill is there");
    platform.ok(&["rm", "web"]);
    eventually("the end of each of its tasks is told of, once", || {
        let told = events(&platform, &["--service", "web"]);
        (states(&told).iter().filter(|state| **state == "STOPPED").count() == 2).then_some(())
    });
    assert!(platform.fails(&["events", "--service", "nobody"]).contains("there is no service nobody"));
}

#[test]
fn who_follows_is_told_that_the_platform_stopped() {
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "web", &[]);
    for is_killed in [false, true] {
        let mut follower = platform.command(&["events", "-f", "--type", "task", "--type", "service"]);
        let mut follower = follower.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It follows once it has shown what there is; its output stays open until it has ended.
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        assert!(lines.next().expect("what there is").unwrap().contains("skiff.ecs"));
        if is_killed {
            platform.kill();
        } else {
            platform.terminate();
            platform.wait();
        }
        lines.for_each(drop);
        let output = follower.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("tells no more: it stopped") && !said.contains("may be done"), "{said}");
        platform = platform.restart();
    }
}
