//! Where tasks run, on the one node that there is: what it is, what of it is used, and what happens where it will not do.

use crate::harness::{Platform, eventually};

fn failures(platform: &Platform, service: &str) -> Vec<String> {
    let shown = platform.json(&["service", "show", service]);
    let events = shown["status"]["events"].as_array().unwrap().clone();
    let messages = events.iter().map(|event| event["message"].as_str().unwrap().to_owned());
    messages.filter(|message| message.contains("no node has a place")).collect()
}

#[tokio::test]
async fn tasks_go_where_their_constraints_let_them_and_the_reason_is_said_where_they_can_not() {
    let zone = ["--attribute", "zone=a", "--overcommit-cpu", "100"];
    let platform = Platform::start(&zone);
    platform.deploy("misbehave", "here", &["--constraint", "memberOf(attribute:zone == a)"]);
    assert_eq!(platform.get("here", "/count").await.status, 200);
    let task = platform.json(&["task", "ls", "--service", "here"])[0].clone();
    assert_eq!(task["node"], "local");
    let shown = platform.ok(&["task", "show", task["id"].as_str().unwrap()]);
    assert!(shown.lines().any(|line| line.starts_with("Node") && line.ends_with("local")), "{shown}");

    let nodes = platform.json(&["nodes", "ls"]);
    let node = &nodes[0];
    assert_eq!((&node["id"], &node["attributes"]["zone"]), (&"local".into(), &"a".into()));
    assert_eq!(node["used"]["tasks"], 1);
    assert_eq!(node["room"]["cpu_units"], node["capacity"]["cpu_units"].as_u64().unwrap() * 100);
    assert!(platform.ok(&["nodes", "ls"]).contains("zone=a"));

    let elsewhere = ["--constraint", "memberOf(attribute:zone == b)", "--no-wait"];
    platform.deploy("misbehave", "there", &elsewhere);
    eventually("the service says that there is no place", || {
        (failures(&platform, "there").len() == 1).then_some(())
    });
    let shown = platform.ok(&["service", "show", "there"]);
    assert!(shown.contains("memberOf(attribute:zone == b)"), "{shown}");
    assert!(platform.json(&["task", "ls", "--service", "there"]).as_array().unwrap().is_empty());

    // Over a restart nothing moves: the same node is there, with the same tasks.
    let mut platform = platform;
    platform.kill();
    let platform = platform.restart_with(&["--attribute", "zone=b"]);
    eventually("the other one runs now", || {
        let tasks = platform.json(&["task", "ls", "--service", "there", "--status", "RUNNING"]);
        (tasks.as_array().unwrap().len() == 1).then_some(())
    });
    let kept = eventually("what is placed keeps its place", || {
        let tasks = platform.json(&["task", "ls", "--service", "here", "--status", "RUNNING"]);
        tasks.as_array().unwrap().first().cloned()
    });
    assert_eq!((&kept["id"], &kept["node"]), (&task["id"], &"local".into()));
}

#[test]
fn a_command_that_runs_nowhere_says_why() {
    let platform = Platform::start(&[]);
    let job = platform.component("misbehave-job");
    let error =
        platform.fails(&["run", job.to_str().unwrap(), "--constraint", "memberOf(attribute:zone == b)"]);
    assert!(error.contains("no node has a place for the task") && error.contains("zone"), "{error}");
}
