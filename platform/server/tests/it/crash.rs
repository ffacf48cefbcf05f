//! `kill -9` of `skiff up` at random instants: what was acknowledged is there, and nothing is half done.

use crate::harness::{PATIENCE, Platform};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often the platform is killed.
const KILLS: u64 = 50;

/// What the API has acknowledged of each service: its desired count, or that it is gone.
type Promised = BTreeMap<String, Option<u32>>;

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

/// Deploys, scales and removes until the platform is killed; says which services had a change that was not answered.
async fn change_until_killed(
    platform: &Platform,
    promised: &mut Promised,
    random: &mut Random,
    after: Duration,
) -> (BTreeSet<String>, u32) {
    let pid = platform.pid();
    let killer = tokio::task::spawn_blocking(move || {
        std::thread::sleep(after);
        crate::harness::signal(pid, "KILL");
    });
    let mut unsure = BTreeSet::new();
    while !killer.is_finished() {
        let name = format!("app-{}", random.below(4));
        let desired = random.below(3) as u32;
        let body = serde_json::json!({ "definition": "anchor", "desired": desired });
        let path = format!("/v1/namespaces/default/services/{name}");
        let remove = promised.get(&name).is_some_and(Option::is_some) && random.below(4) == 0;
        let url = format!("http://{}{path}", platform.api);
        let client = reqwest::Client::new();
        let request = if remove { client.delete(url) } else { client.put(url).json(&body) };
        match request.bearer_auth(&platform.token).send().await {
            Ok(response) if response.status().is_success() => {
                promised.insert(name, (!remove).then_some(desired));
            }
            Ok(response) if response.status().is_client_error() => {}
            _ => drop(unsure.insert(name)),
        }
    }
    killer.await.unwrap();
    (unsure, pid)
}

/// Every promise is kept; a change that was not acknowledged is there whole or not at all, and is promised from now on.
async fn check(platform: &Platform, promised: &mut Promised, unsure: BTreeSet<String>) {
    let started = Instant::now();
    loop {
        let list = platform.json(&["service", "ls"]);
        let items = list["items"].as_array().or(list.as_array()).unwrap().clone();
        let found: BTreeMap<String, u32> = items
            .iter()
            .map(|item| {
                (item["name"].as_str().unwrap().to_owned(), item["spec"]["desired"].as_u64().unwrap() as u32)
            })
            .collect();
        for name in &unsure {
            promised.insert(name.clone(), found.get(name).copied());
        }
        for (name, desired) in &*promised {
            assert_eq!(found.get(name), desired.as_ref(), "{name} of {promised:?}, found {found:?}");
        }
        // It settles: every service gets to its desired count.
        let settled = items.iter().all(|item| {
            let status = &item["status"];
            status["running"] == item["spec"]["desired"] && status["pending"] == 0 && status["stopping"] == 0
        });
        if settled {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "it never settled: {list}");
    }
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
