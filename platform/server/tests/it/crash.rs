//! `kill -9` of `skiff up` at random instants: what was acknowledged is there, and nothing is half done.

use crate::harness::{PATIENCE, Platform};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the platform is killed.
const KILLS: u64 = 50;

/// A service's desired count; none if it is gone, or on its way out.
type Desired = Option<u32>;

/// What the API has acknowledged of each service.
type Promised = BTreeMap<String, Desired>;

/// What was asked for of each service and not answered.
type Unsure = BTreeMap<String, Vec<Desired>>;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_change_is_lost() {
    let seed = std::env::var("SKIFF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
    println!("SKIFF_SEED={seed}");
    let mut random = Random(seed);
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "anchor", &[]);
    let mut promised: Promised = [("anchor".to_owned(), Some(1))].into();
    for _ in 0..KILLS {
        let after = Duration::from_micros(random.below(60_000));
        let (unsure, pid) = change_until_killed(&platform, &mut promised, &mut random, after).await;
        assert_eq!(pid, platform.pid());
        platform.kill();
        platform = platform.restart();
        check(&platform, &mut promised, unsure).await;
    }
    assert_eq!(platform.get("anchor", "/count").await.status, 200);
}

/// Deploys, scales and removes until the platform is killed; says which changes were not answered.
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
        let name = format!("app-{}", random.below(4));
        let desired = random.below(3) as u32;
        let body = serde_json::json!({ "definition": "anchor", "desired": desired });
        let path = format!("/v1/namespaces/default/services/{name}");
        let remove = promised.get(&name).is_some_and(Option::is_some) && random.below(4) == 0;
        let url = format!("http://{}{path}", platform.api);
        let client = reqwest::Client::new();
        let request = if remove { client.delete(url) } else { client.put(url).json(&body) };
        let asked = (!remove).then_some(desired);
        match request.bearer_auth(&platform.token).send().await {
            Ok(response) if response.status().is_success() => drop(promised.insert(name, asked)),
            Ok(response) => panic!("{name} to {asked:?}: {}", response.text().await.unwrap()),
            Err(_) => unsure.entry(name).or_default().push(asked),
        }
    }
    killer.await.unwrap();
    (unsure, pid)
}

/// Every promise is kept; a change that was not acknowledged is there whole or not at all, and is promised from now on.
async fn check(platform: &Platform, promised: &mut Promised, mut unsure: Unsure) {
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
