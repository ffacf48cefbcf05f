//! `examples/orders`: orders that were answered are fulfilled once each, whatever is killed; what is no order is out of the way at
//! once; and who has nothing to do sleeps.

use crate::harness::{PATIENCE, Platform, eventually, guest_path};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// Orders that are placed; the platform is killed when half of them are.
const ORDERS: usize = 60;

/// A platform with all that the example's document says.
fn begin() -> Platform {
    let platform = Platform::start(&[]);
    for guest in ["orders", "fulfil"] {
        platform.ok(&["image", "push", guest_path(guest).to_str().unwrap(), "--name", guest]);
    }
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/orders/orders.yaml");
    platform.ok(&["apply", "-f", document.to_str().unwrap()]);
    platform
}

/// Places an order, as soon as orders are taken; its id.
async fn place(platform: &Platform, path: &str) -> String {
    let started = Instant::now();
    loop {
        let answer = platform.post("orders", path, Vec::new()).await;
        if answer.status == 202 {
            let id = answer.text.strip_prefix("order ").and_then(|text| text.split_once(':'));
            return id.unwrap_or_else(|| panic!("{}", answer.text)).0.to_owned();
        }
        assert!(started.elapsed() < PATIENCE, "{path} is answered with {}: {}", answer.status, answer.text);
    }
}

fn keys(platform: &Platform) -> BTreeSet<String> {
    let items = platform.json(&["table", "scan", "orders", "--prefix", "order/"]);
    items.as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

fn status(platform: &Platform, queue: &str) -> Value {
    platform.json(&["queue", "show", queue])["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_that_was_answered_is_fulfilled_once_over_a_kill() {
    let mut platform = begin();
    let mut answered = BTreeSet::new();
    for number in 0..ORDERS {
        if number == ORDERS / 2 {
            platform.kill();
            platform = platform.restart();
        }
        let id = place(&platform, &format!("/tea/{}", 100 + number)).await;
        assert!(answered.insert(format!("order/{id}")), "{id} is given twice");
    }
    eventually("all are fulfilled", || keys(&platform).is_superset(&answered).then_some(()));
    assert_eq!(keys(&platform), answered, "and no others");
    eventually("nothing waits", || {
        let status = status(&platform, "orders");
        (status["visible"] == 0 && status["in_flight"] == 0).then_some(())
    });
    assert_eq!(status(&platform, "orders-dead")["visible"], 0);
}

#[test]
fn what_is_no_order_is_out_of_the_way_at_once_and_who_has_nothing_to_do_sleeps() {
    let platform = begin();
    for body in ["no order", r#"{"product":"tea","cents":0}"#] {
        platform.ok(&["queue", "send", "orders", body]);
    }
    eventually("both are rejected", || (status(&platform, "orders-dead")["visible"] == 2).then_some(()));
    assert!(keys(&platform).is_empty());
    let dead = platform.json(&["queue", "receive", "orders-dead", "--max", "10", "--wait", "5s"]);
    for message in dead.as_array().unwrap() {
        assert_eq!((&message["dead_letter_source"], &message["receives"]), (&json!("orders"), &json!(1)));
    }
    eventually("nobody runs", || {
        (platform.json(&["service", "show", "fulfil"])["status"]["running"] == 0).then_some(())
    });
    platform.ok(&["queue", "send", "orders", r#"{"product":"cake","cents":300}"#]);
    eventually("it is fulfilled all the same", || (keys(&platform).len() == 1).then_some(()));
}
