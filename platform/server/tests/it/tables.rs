//! Tables live, by the command line: items written, read, counted and scanned, and what was written outlives a kill.

use crate::harness::{Platform, eventually, signal};
use serde_json::{Value, json};
use std::sync::Mutex;

/// Writes that are answered before the platform is killed.
const ANSWERED_BEFORE_KILL: usize = 25;

#[test]
fn items_are_written_read_counted_scanned_and_deleted() {
    let platform = Platform::start(&[]);
    let missing = platform.fails(&["table", "put", "rows", "a", "x"]);
    assert!(missing.contains("skiff table create rows"), "{missing}");
    platform.ok(&["table", "create", "rows"]);
    platform.ok(&["table", "put", "rows", "cat/1", "one"]);
    platform.ok(&["table", "put", "rows", "cat/2", "{\"width\":64}"]);
    assert_eq!(platform.ok(&["table", "get", "rows", "cat/2"]).trim_end(), "{\"width\":64}");
    let whole = platform.json(&["table", "get", "rows", "cat/1"]);
    assert_eq!((&whole["key"], &whole["value"]), (&json!("cat/1"), &json!("one")));
    let version = whole["version"].to_string();

    let refused = platform.fails(&["table", "put", "rows", "cat/1", "two", "--if-absent"]);
    assert!(refused.contains(&format!("it is in version {version}")), "{refused}");
    platform.ok(&["table", "put", "rows", "cat/1", "two", "--if-version", &version]);
    platform.fails(&["table", "put", "rows", "cat/1", "three", "--if-version", &version]);
    platform.ok(&["table", "put", "rows", "lock", "me", "--if-absent", "--expires", "1h"]);

    assert_eq!(platform.ok(&["table", "increment", "rows", "visits"]).trim_end(), "1");
    assert_eq!(platform.ok(&["table", "increment", "rows", "visits", "41"]).trim_end(), "42");
    assert!(platform.fails(&["table", "increment", "rows", "cat/1"]).contains("can't be counted with"));

    let keys = |arguments: &[&str]| -> Vec<Value> {
        let items = platform.json(&[&["table", "scan", "rows"], arguments].concat());
        items.as_array().unwrap().iter().map(|item| item["key"].clone()).collect()
    };
    assert_eq!(keys(&[]), ["cat/1", "cat/2", "lock", "visits"]);
    assert_eq!(keys(&["--prefix", "cat/"]), ["cat/1", "cat/2"]);
    assert_eq!(keys(&["--after", "cat/1", "--limit", "1"]), ["cat/2"]);
    let shown = platform.json(&["table", "show", "rows"]);
    assert_eq!(shown["status"]["items"], 4);

    platform.ok(&["table", "delete", "rows", "cat/1", "cat/2"]);
    assert!(platform.fails(&["table", "get", "rows", "cat/1"]).contains("there is no item \"cat/1\""));
    let exported = platform.ok(&["export"]);
    assert!(exported.contains("kind: table"), "{exported}");
    platform.ok(&["table", "rm", "rows"]);
    platform.ok(&["table", "create", "rows"]);
    assert_eq!(platform.json(&["table", "scan", "rows"]), json!([]), "of the one before nothing is seen");
}

#[test]
fn what_expires_is_gone() {
    let platform = Platform::start(&[]);
    platform.ok(&["table", "create", "rows"]);
    platform.ok(&["table", "put", "rows", "short", "x", "--expires", "300ms"]);
    platform.ok(&["table", "put", "rows", "long", "x", "--expires", "1h"]);
    eventually("it is gone", || {
        let items = platform.json(&["table", "scan", "rows"]);
        (items.as_array().unwrap().len() == 1).then_some(())
    });
    eventually("it is counted no more", || {
        (platform.json(&["table", "show", "rows"])["status"]["items"] == 1).then_some(())
    });
    platform.ok(&["table", "put", "rows", "short", "again", "--if-absent"]);
}

#[test]
fn every_write_that_was_answered_outlives_a_kill_and_an_increment_counts_once() {
    let mut platform = Platform::start(&[]);
    platform.ok(&["table", "create", "rows"]);
    let answered = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u32.. {
                let (key, value) = (format!("{number:05}"), format!("value {number}"));
                let put = platform.run(&["table", "put", "rows", &key, &value]);
                let counted = platform.run(&["table", "increment", "rows", "count"]);
                if !put.status.success() || !counted.status.success() {
                    return;
                }
                answered.lock().unwrap().push((key, value));
            }
        });
        eventually("some are answered", || {
            (answered.lock().unwrap().len() >= ANSWERED_BEFORE_KILL).then_some(())
        });
        signal(platform.pid(), "KILL");
    });
    platform.kill();
    let platform = platform.restart();
    let items = platform.json(&["table", "scan", "rows"]);
    let items = items.as_array().unwrap();
    let answered = answered.into_inner().unwrap();
    for (key, value) in &answered {
        let found = items.iter().find(|item| item["key"] == **key).map(|item| &item["value"]);
        assert_eq!(found, Some(&json!(value)), "{key} is lost");
    }
    let count: usize = platform.ok(&["table", "get", "rows", "count"]).trim_end().parse().unwrap();
    assert!((answered.len()..=answered.len() + 1).contains(&count), "{count} of {}", answered.len());
    let before = platform.json(&["table", "get", "rows", "count"])["version"].as_u64().unwrap();
    platform.ok(&["table", "put", "rows", "new", "x"]);
    assert!(platform.json(&["table", "get", "rows", "new"])["version"].as_u64().unwrap() > before);
}
