//! `kill -9` of `skiff up` at random instants: what was acknowledged is there, and nothing is half done.

use crate::harness::{PATIENCE, Platform, guest_path};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the platform is killed.
const KILLS: u64 = 50;

/// A service's desired count; none if it is gone, or on its way out.
type Desired = Option<u32>;

/// What the API has acknowledged.
struct Promised {
    services: BTreeMap<String, Desired>,
    /// Images and task definitions, each as its whole answer: from then on it never changes.
    kept: Vec<Value>,
}

/// What was asked for of each service and not answered.
type Unsure = BTreeMap<String, Vec<Desired>>;

/// What a change is about.
#[derive(Debug)]
enum Change {
    /// A service, which is to be so.
    Service(String, Desired),
    /// A new image or a new task definition.
    New,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_change_is_lost() {
    let seed = std::env::var("SKIFF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
    println!("SKIFF_SEED={seed}");
    let mut random = Random(seed);
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "anchor", &[]);
    let services = [("anchor".to_owned(), Some(1))].into();
    let mut promised = Promised { services, kept: Vec::new() };
    for _ in 0..KILLS {
        let after = Duration::from_micros(random.below(60_000));
        let (unsure, pid) = change_until_killed(&platform, &mut promised, &mut random, after).await;
        assert_eq!(pid, platform.pid());
        platform.kill();
        platform = platform.restart();
        check(&platform, &mut promised, unsure).await;
    }
    assert_eq!(platform.get("anchor", "/count").await.status, 200);
    assert!(!promised.kept.is_empty(), "no image and no task definition was ever acknowledged");
}

/// Pushes, registers, deploys, scales and removes until the platform is killed; says which changes of services were not
/// answered.
async fn change_until_killed(
    platform: &Platform,
    promised: &mut Promised,
    random: &mut Random,
    after: Duration,
) -> (Unsure, u32) {
    let pid = platform.pid();
    let killer = tokio::task::spawn_blocking(move || {
        std::thread::sleep(after);
        crate::harness::signal(pid, "KILL");
    });
    let mut unsure = Unsure::new();
    while !killer.is_finished() {
        let (change, request) = any_change(platform, promised, random);
        match (change, request.bearer_auth(&platform.token).send().await) {
            (change, Ok(response)) if !response.status().is_success() => {
                panic!("{change:?}: {}", response.text().await.unwrap())
            }
            (Change::Service(name, asked), Ok(_)) => drop(promised.services.insert(name, asked)),
            (Change::Service(name, asked), Err(_)) => unsure.entry(name).or_default().push(asked),
            (Change::New, Ok(response)) => promised.kept.extend(response.json::<Value>().await),
            (Change::New, Err(_)) => {}
        }
    }
    killer.await.unwrap();
    (unsure, pid)
}

/// A change, and the request for it: of eight one is a push, one registers, the others concern services.
fn any_change(platform: &Platform, promised: &Promised, random: &mut Random) -> (Change, RequestBuilder) {
    let client = reqwest::Client::new();
    let url = |path: String| format!("http://{}/v1/namespaces/default/{path}", platform.api);
    // Asked for again, under the same number, until it is acknowledged.
    let number = promised.kept.len();
    match random.below(8) {
        0 => {
            let component = std::fs::read(guest_path("misbehave")).unwrap();
            (Change::New, client.put(url(format!("images/anchor:v{number}"))).body(component))
        }
        1 => {
            let environment = json!({ "NUMBER": number.to_string() });
            let body = json!({ "family": "anchor", "image": "anchor:latest", "environment": environment });
            (Change::New, client.post(url("task-definitions".to_owned())).json(&body))
        }
        _ => {
            let name = format!("app-{}", random.below(4));
            let desired = random.below(3) as u32;
            let url = url(format!("services/{name}"));
            let is_there = promised.services.get(&name).is_some_and(Option::is_some);
            if is_there && random.below(4) == 0 {
                return (Change::Service(name, None), client.delete(url));
            }
            let body = json!({ "definition": "anchor", "desired": desired });
            (Change::Service(name, Some(desired)), client.put(url).json(&body))
        }
    }
}

/// Every promise is kept; a change that was not acknowledged is there whole or not at all, and is promised from now on.
async fn check(platform: &Platform, promised: &mut Promised, mut unsure: Unsure) {
    let listed = [["image", "ls"], ["taskdef", "ls"]].map(|list| platform.json(&list));
    let is_listed = |kept: &Value| listed.iter().any(|list| list.as_array().unwrap().contains(kept));
    for kept in &promised.kept {
        assert!(is_listed(kept), "{kept} is not as it was acknowledged: {listed:?}");
    }
    let promised = &mut promised.services;
    let started = Instant::now();
    loop {
        let list = platform.json(&["service", "ls"]);
        let items = list.as_array().unwrap();
        let found: BTreeMap<&str, u32> =
            items.iter().filter(|item| item["status"]["state"] == "ACTIVE").map(named).collect();
        for (name, asked) in std::mem::take(&mut unsure) {
            let before = promised.get(&name).copied().flatten();
            let now = found.get(&*name).copied();
            assert!(
                now == before || asked.contains(&now),
                "{name}: {before:?}, then {asked:?}, found {now:?}"
            );
            promised.insert(name, now);
        }
        for (name, desired) in &*promised {
            assert_eq!(found.get(&**name), desired.as_ref(), "{name} of {promised:?}, found {found:?}");
        }
        // It settles: every service gets to its desired count, and what was removed goes.
        let settled = items.iter().all(|item| {
            let status = &item["status"];
            status["state"] == "ACTIVE"
                && status["running"] == item["spec"]["desired"]
                && status["pending"] == 0
                && status["stopping"] == 0
        });
        if settled {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "it never settled: {list}");
    }
}

fn named(item: &Value) -> (&str, u32) {
    (item["name"].as_str().unwrap(), item["spec"]["desired"].as_u64().unwrap() as u32)
}

/// A small seeded generator (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}
