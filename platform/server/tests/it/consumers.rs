//! Consumers of queues live, by the command line: a component that exports skiff:queues/consumer is given messages, as its role
//! allows, from no task to many, and through a kill.

use crate::harness::{Platform, eventually, signal};
use serde_json::{Value, json};

/// Messages that are sent before the platform is killed.
const SENT_BEFORE_KILL: usize = 200;

/// A queue `orders` with a dead-letter queue, a role that may receive of it, and a service of a component that consumes.
fn consuming(platform: &Platform, arguments: &[&str]) {
    platform.ok(&["queue", "create", "dead"]);
    let dead_letter = ["--dead-letter", "dead", "--receives", "50"];
    let create = ["queue", "create", "orders", "--visibility-timeout", "5s"];
    platform.ok(&[&create[..], &dead_letter[..]].concat());
    platform.ok(&["role", "put", "fulfil", "--allow", "queue:receive orders"]);
    platform.deploy("events", "fulfil", &[&["--role", "fulfil"], arguments].concat());
}

fn send(platform: &Platform, bodies: impl IntoIterator<Item = &'static str>) {
    let lines: Vec<String> = bodies.into_iter().map(|body| json!({ "body": body }).to_string()).collect();
    let batch = platform.dir().join("batch.jsonl");
    std::fs::write(&batch, lines.join("\n")).unwrap();
    platform.ok(&["queue", "send", "orders", "--batch", batch.to_str().unwrap()]);
}

fn holds(platform: &Platform, queue: &str) -> u64 {
    let status = platform.json(&["queue", "show", queue])["status"].clone();
    status["visible"].as_u64().unwrap() + status["in_flight"].as_u64().unwrap()
}

fn status(platform: &Platform) -> Value {
    platform.json(&["consumer", "show", "orders"])["status"].clone()
}

fn service(platform: &Platform) -> Value {
    platform.json(&["service", "show", "fulfil"])
}

#[test]
fn a_component_is_given_messages_and_says_what_becomes_of_each() {
    let platform = Platform::start(&[]);
    consuming(&platform, &[]);
    let missing = platform.fails(&["consumer", "put", "orders", "--queue", "nothing", "--service", "fulfil"]);
    assert!(missing.contains("skiff queue create nothing"), "{missing}");
    platform.ok(&["consumer", "put", "orders", "--queue", "orders", "--service", "fulfil", "--batch", "1"]);
    send(&platform, ["done", "attributes", "done", "trap", "done"]);
    eventually("what is done is gone, and what is rejected is buried", || {
        let status = status(&platform);
        (status["done"].as_u64() >= Some(3) && holds(&platform, "dead") == 1).then_some(())
    });
    let status = status(&platform);
    assert_eq!((&status["state"], &status["rejected"]), (&json!("ACTIVE"), &json!(1)));
    eventually("the trap is told of", || {
        let shown = platform.ok(&["consumer", "show", "orders"]);
        shown.contains("failed at messages").then_some(())
    });
    assert_eq!(holds(&platform, "orders"), 1, "what trapped comes again");
    let letter = platform.json(&["queue", "receive", "dead", "--wait", "5s"]);
    assert_eq!(
        (&letter[0]["body"], &letter[0]["dead_letter_source"]),
        (&json!("attributes"), &json!("orders"))
    );
    assert!(platform.ok(&["logs", "fulfil"]).contains("of orders, received 1 times"));
    assert!(platform.ok(&["consumer", "ls"]).contains("ACTIVE"));
    let removed = platform.fails(&["queue", "rm", "orders"]);
    assert!(removed.contains("skiff consumer rm orders"), "{removed}");
    platform.ok(&["consumer", "rm", "orders"]);
    platform.ok(&["queue", "rm", "orders"]);
}

#[test]
fn without_the_grant_nothing_is_taken_and_with_it_all_is() {
    let platform = Platform::start(&[]);
    consuming(&platform, &[]);
    platform.ok(&["role", "put", "fulfil", "--allow", "queue:send orders"]);
    send(&platform, ["done"]);
    platform.ok(&["consumer", "put", "orders", "--queue", "orders", "--service", "fulfil"]);
    let shown = platform.ok(&["consumer", "show", "orders"]);
    assert!(
        shown.contains("BLOCKED") && shown.contains("skiff role put fulfil --add \"queue:receive orders\""),
        "{shown}"
    );
    assert_eq!(holds(&platform, "orders"), 1);
    platform.ok(&["role", "put", "fulfil", "--add", "queue:receive orders"]);
    eventually("it is done", || (holds(&platform, "orders") == 0).then_some(()));
}

#[test]
fn the_backlog_brings_tasks_and_an_empty_queue_lets_the_service_sleep() {
    let platform = Platform::start(&[]);
    consuming(&platform, &["--scale-to-zero", "1s", "--desired", "1"]);
    platform.ok(&["consumer", "put", "orders", "--queue", "orders", "--service", "fulfil", "--batch", "1"]);
    platform.ok(&["scaling", "put", "fulfil", "--min", "0", "--max", "4", "--target", "BacklogPerTask=5"]);
    let sleeps = || {
        eventually("it is asleep and has no task", || {
            let status = service(&platform)["status"].clone();
            (status["asleep"] == true && status["running"] == 0).then_some(())
        });
    };
    sleeps();
    assert_eq!(status(&platform)["state"], "ASLEEP");
    send(&platform, ["done"; 500]);
    eventually("all is done", || (holds(&platform, "orders") == 0).then_some(()));
    assert_eq!(status(&platform)["done"], 500);
    sleeps();
    let series = platform.ok(&["metrics", "fulfil"]);
    assert!(series.contains("BacklogPerTask"), "{series}");
}

#[test]
fn what_was_sent_is_done_though_the_platform_is_killed() {
    let mut platform = Platform::start(&[]);
    consuming(&platform, &[]);
    platform.ok(&["consumer", "put", "orders", "--queue", "orders", "--service", "fulfil", "--batch", "2"]);
    send(&platform, ["done"; SENT_BEFORE_KILL]);
    eventually("some are done", || (status(&platform)["done"].as_u64() > Some(0)).then_some(()));
    signal(platform.pid(), "KILL");
    platform.kill();
    let platform = platform.restart();
    eventually("all are done", || (holds(&platform, "orders") == 0).then_some(()));
    assert_eq!(holds(&platform, "dead"), 0);
}
