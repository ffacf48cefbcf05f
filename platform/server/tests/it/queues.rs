//! Queues live, by the command line: messages sent, received, deleted, buried and driven back, and those that were sent outlive
//! a kill.

use crate::harness::{Platform, eventually, signal};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Sends that are answered before the platform is killed.
const ANSWERED_BEFORE_KILL: usize = 25;

fn receive(platform: &Platform, queue: &str, arguments: &[&str]) -> Vec<Value> {
    let received = platform.json(&[&["queue", "receive", queue], arguments].concat());
    received.as_array().unwrap().clone()
}

fn status(platform: &Platform, queue: &str) -> (u64, u64) {
    let status = platform.json(&["queue", "show", queue])["status"].clone();
    (status["visible"].as_u64().unwrap(), status["in_flight"].as_u64().unwrap())
}

#[test]
fn a_message_is_sent_received_and_deleted() {
    let platform = Platform::start(&[]);
    let missing = platform.fails(&["queue", "send", "orders", "hello"]);
    assert!(missing.contains("skiff queue create orders"), "{missing}");
    platform.ok(&["queue", "create", "orders", "--visibility-timeout", "1h"]);
    platform.ok(&["queue", "send", "orders", "hello", "--attribute", "kind=order"]);
    let file = platform.dir().join("body");
    std::fs::write(&file, [0xff, 0x00]).unwrap();
    platform.ok(&["queue", "send", "orders", "--file", file.to_str().unwrap()]);
    assert_eq!(status(&platform, "orders"), (2, 0));

    let received = receive(&platform, "orders", &["--max", "10", "--wait", "5s"]);
    let bodies: BTreeSet<String> = received
        .iter()
        .map(|message| {
            let body = message.get("body").or(message.get("body_base64")).unwrap();
            body.as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(bodies, BTreeSet::from(["/wA=".to_owned(), "hello".to_owned()]));
    assert_eq!(received[0]["receives"], 1);
    assert_eq!(status(&platform, "orders"), (0, 2));
    assert_eq!(receive(&platform, "orders", &[]), Vec::<Value>::new(), "they are out of sight");
    for message in &received {
        platform.ok(&["queue", "delete", "orders", message["receipt"].as_str().unwrap()]);
    }
    assert_eq!(status(&platform, "orders"), (0, 0));
    assert!(platform.fails(&["queue", "delete", "orders", "nonsense"]).contains("not deleted"));
    platform.ok(&["queue", "send", "orders", "again"]);
    let received = receive(&platform, "orders", &["--delete"]);
    assert_eq!((&received[0]["body"], received[0].get("receipt")), (&json!("again"), None));
    assert_eq!(status(&platform, "orders"), (0, 0));
    platform.ok(&["queue", "send", "orders", "one"]);
    let received = receive(&platform, "orders", &[]);
    platform.ok(&["queue", "send", "orders", "two"]);
    let receipt = received[0]["receipt"].as_str().unwrap();
    let next = receive(&platform, "orders", &["--handled", receipt, "--handled", "nonsense"]);
    assert_eq!(next[0]["body"], "two");
    assert_eq!(status(&platform, "orders"), (0, 1), "the first is deleted");
    // Who lost the answer asks once more.
    let receipt = ["--handled", receipt, "--handled", next[0]["receipt"].as_str().unwrap()];
    assert_eq!(receive(&platform, "orders", &receipt), Vec::<Value>::new());
    assert_eq!(status(&platform, "orders"), (0, 0));
    platform.ok(&["queue", "rm", "orders"]);
    platform.ok(&["queue", "create", "orders"]);
    assert_eq!(status(&platform, "orders"), (0, 0));
}

#[test]
fn what_is_received_too_often_is_buried_and_driven_back() {
    let platform = Platform::start(&[]);
    platform.ok(&["queue", "create", "dead"]);
    let visibility = ["--visibility-timeout", "0ms"];
    let dead_letter = ["--dead-letter", "dead", "--receives", "2"];
    platform.ok(&[&["queue", "create", "orders"], &visibility[..], &dead_letter[..]].concat());
    assert!(platform.fails(&["queue", "rm", "dead"]).contains("has dead for its dead letters"));
    platform.ok(&["queue", "send", "orders", "poison"]);
    for receives in 1..=2 {
        let received = receive(&platform, "orders", &["--wait", "5s"]);
        assert_eq!((&received[0]["body"], &received[0]["receives"]), (&json!("poison"), &json!(receives)));
    }
    assert_eq!(receive(&platform, "orders", &[]), Vec::<Value>::new());
    let buried = receive(&platform, "dead", &["--wait", "5s", "--visibility-timeout", "0ms"]);
    assert_eq!((&buried[0]["body"], &buried[0]["dead_letter_source"]), (&json!("poison"), &json!("orders")));
    eventually("it is in sight again", || (status(&platform, "dead") == (1, 0)).then_some(()));
    platform.ok(&["queue", "redrive", "dead"]);
    assert_eq!(receive(&platform, "orders", &["--wait", "5s"])[0]["body"], "poison");

    let lines = (0..25)
        .map(|number| json!({ "body": format!("m{number}") }).to_string())
        .collect::<Vec<_>>()
        .join("\n");
    let batch = platform.dir().join("batch.jsonl");
    std::fs::write(&batch, lines).unwrap();
    platform.ok(&["queue", "send", "dead", "--batch", batch.to_str().unwrap()]);
    assert_eq!(platform.json(&["queue", "purge", "dead"])["messages"], 25);
    assert_eq!(status(&platform, "dead"), (0, 0));
}

#[test]
fn every_message_that_was_sent_outlives_a_kill_and_those_of_a_group_keep_their_order() {
    let mut platform = Platform::start(&[]);
    platform.ok(&["queue", "create", "steps", "--fifo", "--visibility-timeout", "1h"]);
    let answered = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u32.. {
                let (body, id) = (format!("m{number}"), format!("d{number}"));
                let send = ["queue", "send", "steps", &body, "--group", "a", "--dedup-id", &id];
                if !platform.run(&send).status.success() {
                    return;
                }
                answered.lock().unwrap().push(body);
            }
        });
        eventually("some are answered", || {
            (answered.lock().unwrap().len() >= ANSWERED_BEFORE_KILL).then_some(())
        });
        signal(platform.pid(), "KILL");
    });
    platform.kill();
    let platform = platform.restart();
    let answered = answered.into_inner().unwrap();
    let duplicate = platform.json(&["queue", "send", "steps", "m0", "--group", "a", "--dedup-id", "d0"]);
    assert_eq!(duplicate["is_duplicate"], true, "what was sent is known over a kill");
    let mut received = Vec::new();
    loop {
        let messages = receive(&platform, "steps", &["--max", "10", "--delete"]);
        if messages.is_empty() {
            break;
        }
        received.extend(messages.iter().map(|message| message["body"].as_str().unwrap().to_owned()));
    }
    // The last may have been sent without an answer.
    assert!((answered.len()..=answered.len() + 1).contains(&received.len()), "{received:?}");
    assert_eq!(received[..answered.len()], answered);
}

#[test]
fn what_a_queue_holds_drives_an_alarm() {
    let platform = Platform::start(&[]);
    platform.ok(&["queue", "create", "orders"]);
    let metric =
        ["alarm", "put", "deep", "ApproximateNumberOfMessagesVisible", "--dimension", "queue=orders"];
    platform.ok(&[&metric[..], &["--at-least", "2", "--statistic", "Maximum", "--period", "1s"]].concat());
    let reaches = |state: &str| {
        eventually(&format!("the alarm is {state}"), || {
            (platform.json(&["alarm", "show", "deep"])["status"]["state"] == state).then_some(())
        });
    };
    reaches("OK");
    platform.ok(&["queue", "send", "orders", "one"]);
    platform.ok(&["queue", "send", "orders", "two"]);
    reaches("ALARM");
    platform.ok(&["queue", "purge", "orders"]);
    reaches("OK");
}
