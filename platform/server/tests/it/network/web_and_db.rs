//! Two services of twenty tasks each, all on the same port: `web` needs `db`, and reaches it only while a rule on both sides
//! lets it; nobody else ever does. A change is seen by all of them, and cuts what is open.
//!
//! How soon is printed, and measured by `cargo xtask bench`.

use super::resp::Client;
use super::{free_port, run, servers};
use crate::harness::{Platform, eventually};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

/// Tasks of either service.
const TASKS: usize = 20;
/// Requests to `web`: so many that most of its tasks are asked.
const REQUESTS: usize = 40;
/// What it takes on either side.
const RULES: [[&str; 2]; 2] = [["web", "tcp:6379 to db"], ["db", "tcp:6379 from web"]];
/// What a task of `web` says when it is denied.
const KEPT_OUT: &str = "kept out: PermissionDenied";
/// And when it is not.
const REACHED: &str = "reached ";

/// All that each task of `web` has said, oldest first.
fn states(platform: &Platform) -> BTreeMap<String, Vec<String>> {
    let output = platform.run(&["logs", "web", "--output", "json"]);
    let mut states = BTreeMap::<String, Vec<String>>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        if line["stream"] == "stdout" {
            states.entry(text("task")).or_default().push(text("text"));
        }
    }
    states
}

/// Waits until all tasks of `web` are in a state, and prints how long the last took since then.
fn all_are(platform: &Platform, state: &str, since: Instant) {
    eventually(&format!("all tasks of web are in the state {state:?}"), || {
        let states = states(platform);
        let are = states.values().all(|said| said.last().is_some_and(|last| last.starts_with(state)));
        (are && states.len() == TASKS).then_some(())
    });
    println!("all of them are in the state {state:?} after {:.1?}", since.elapsed());
}

fn change(platform: &Platform, how: &str, [group, rule]: [&str; 2]) -> Instant {
    platform.ok(&["sg", how, group, rule]);
    Instant::now()
}

#[tokio::test]
async fn a_service_reaches_another_only_while_a_rule_lets_it() {
    let platform = Platform::start(&[]);
    let port = free_port();
    platform.ok(&["sg", "create", "web", "--rule", "all from load-balancer"]);
    platform.ok(&["sg", "create", "db", "--no-rules"]);
    let (count, listener) = (TASKS.to_string(), format!("tcp:{port}"));
    let size = ["--desired", &count, "--port", "6379", "--memory", "32MiB"];
    let db = ["--env", "MAXMEMORY=4mb", "--security-group", "db", "--listen", &listener];
    platform.deploy("kv", "db", &[&size[..], &db].concat());
    let web = ["--env", "DB=db.default.internal:6379", "--env", "PORT=6379", "--security-group", "web"];
    platform.deploy("web", "web", &[&size[..], &web].concat());
    let db = servers(&platform, "db");
    assert_eq!((db.len(), servers(&platform, "web").len()), (TASKS, TASKS));
    all_are(&platform, KEPT_OUT, Instant::now());

    change(&platform, "allow", RULES[0]);
    assert!(
        !states(&platform).values().flatten().any(|said| said.starts_with(REACHED)),
        "one side is not enough"
    );
    let allowed = change(&platform, "allow", RULES[1]);
    all_are(&platform, REACHED, allowed);
    for _ in 0..REQUESTS {
        let answer = platform.get("web", "/").await;
        assert!(answer.status == 200 && answer.text.starts_with(REACHED), "{}", answer.text);
    }
    let reached: HashSet<String> =
        states(&platform).into_values().filter_map(|mut said| said.pop()).collect();
    assert!(reached.len() > 1, "they are spread: {reached:?}");
    nobody_else_gets_in(&platform, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), db[0].v4).await;

    // Either side is enough to end it, and what was open has ended.
    for rule in RULES {
        let revoked = change(&platform, "revoke", rule);
        all_are(&platform, KEPT_OUT, revoked);
        for (task, said) in states(&platform) {
            let broke = said.iter().rposition(|line| line.starts_with("broke: "));
            let reached = said.iter().rposition(|line| line.starts_with(REACHED));
            assert!(broke > reached, "what {task} had open was cut: {said:?}");
        }
        all_were_cut(&platform, rule[0]);
        let allowed = change(&platform, "allow", rule);
        all_are(&platform, REACHED, allowed);
    }
}

/// Waits until the flow log says of every task of `web` that a rule of this group, which was revoked, has cut it off. Of a
/// connection between two workers, the one that hears of it first says why, and the other that it was reset.
fn all_were_cut(platform: &Platform, group: &str) {
    let missing = format!("skiff sg allow {group} ");
    eventually("all that were cut off are written down", || {
        let log = platform.ok(&["net", "flows", "--rejected", "--output", "json"]);
        let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let tasks: HashSet<String> = records.filter_map(|record| task_cut_off(&record, &missing)).collect();
        (tasks.len() == TASKS).then_some(())
    });
}

/// The task of `web` of whose connection a record says that it was cut, on either side of it.
fn task_cut_off(record: &Value, missing: &str) -> Option<String> {
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    // What was open has bytes; an attempt has none.
    if !text("note").contains(missing) || record["sent_bytes"].as_u64()? == 0 {
        return None;
    }
    match text("owner") {
        "default/web" => Some(text("task").to_owned()),
        _ => text("peer").strip_prefix("default/web ").map(str::to_owned),
    }
}

/// While `web` gets in: not the load balancer, by HTTP or by TCP; not a task of another group, nor one of a group that has the
/// same name in another namespace.
async fn nobody_else_gets_in(platform: &Platform, listener: SocketAddr, db: Ipv4Addr) {
    assert_eq!(platform.get("db", "/").await.status, 404);
    let denied = Client::connect(listener).and_then(|mut client| client.ask(&["PING"]));
    assert!(denied.is_err(), "{denied:?}");
    let denied = run(platform, "sockets", &[], &["connect", "db.default.internal:6379"]);
    assert_eq!(denied, ["failed: access-denied"]);
    platform.ok(&["sg", "create", "web", "--namespace", "other", "--rule", "tcp:6379 to default/db"]);
    let elsewhere = ["--namespace", "other", "--security-group", "web"];
    let denied = run(platform, "sockets-p3", &elsewhere, &["connect", &format!("{db}:6379")]);
    assert_eq!(denied, ["failed: access-denied"]);
}
