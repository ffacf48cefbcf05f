//! Clients that stay with a target and with a target group, whichever worker they come to, and after a restart of the
//! platform.

use super::outside::{Outside, is_from};
use super::{Answer, WHO, answers, ask, deploy_named, rule};
use crate::harness::{Platform, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

/// Where clients stay with one of three servers outside.
const LEGACY: &str = "legacy.example.com";
/// Where they stay with one of two services.
const SHOP: &str = "shop.example.com";
/// Clients of each; more than a worker has to have for all targets to have one.
const CLIENTS: usize = 6;
/// How often each asks.
const ROUNDS: usize = 4;

/// A client that keeps its cookies, and the one that it came to first.
#[derive(Default)]
struct Client {
    cookies: BTreeMap<String, String>,
    home: String,
}

impl Client {
    fn ask(&mut self, at: &str, host: &str) -> Answer {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let line = pairs.join("; ");
        // Right after a start, a worker may not have all tasks yet.
        let answer = eventually("a client is answered", || {
            let answer = ask(at, WHO, &[("host", host), ("cookie", &line)]).ok();
            answer.filter(|answer| answer.status == 200)
        });
        for given in answer.headers.get_all("set-cookie") {
            let (pair, _) = given.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Comes to whoever answers, and stays there.
    fn settles(at: &str, host: &str) -> Self {
        let mut client = Self::default();
        let home = of(&client.ask(at, host));
        Self { home, ..client }
    }

    fn is_at_home(&mut self, at: &str, host: &str) {
        for _ in 0..ROUNDS {
            assert_eq!(of(&self.ask(at, host)), self.home, "of {:?}", self.cookies);
        }
    }
}

/// Who answered.
fn of(answer: &Answer) -> String {
    match answer.header("x-from") {
        "" => answer.text.trim().to_owned(),
        server => server.to_owned(),
    }
}

#[test]
fn clients_are_where_they_were_after_a_restart_of_the_platform() {
    let mut platform = Platform::start(&[]);
    let servers = ["one", "two", "three"].map(Outside::start);
    let targets = servers.each_ref().map(Outside::target).join(",");
    let create = ["target-group", "create", "legacy", "--outside", &targets, "--algorithm", "round-robin"];
    platform.ok(&[&create[..], &["--stickiness", "1h"]].concat());
    rule(&platform, "legacy", "10", &format!("host={LEGACY}"), &["--forward", "legacy"]);
    deploy_named(&platform, "blue");
    deploy_named(&platform, "green");
    let forward = ["--forward", "blue,green", "--stickiness", "1h"];
    rule(&platform, "shop", "20", &format!("host={SHOP}"), &forward);
    for server in ["one", "two", "three"] {
        answers(&platform.http, LEGACY, "/", |answer| is_from(answer, server));
    }
    for service in ["blue", "green"] {
        super::is_answered_by(&platform.http, SHOP, service);
    }

    let settle = |host: &str| [(); CLIENTS].map(|()| Client::settles(&platform.http, host));
    let (mut of_servers, mut of_services) = (settle(LEGACY), settle(SHOP));
    let homes: BTreeSet<_> = of_servers.iter().map(|client| &client.home).collect();
    assert_eq!(homes.len(), servers.len(), "all servers have clients");
    let mut all_are_at_home = |at: &str| {
        of_servers.iter_mut().for_each(|client| client.is_at_home(at, LEGACY));
        of_services.iter_mut().for_each(|client| client.is_at_home(at, SHOP));
    };
    all_are_at_home(&platform.http);
    let file = platform.data_dir().join("cookie.key");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&file).unwrap();

    platform.kill();
    let mut platform = platform.restart();
    answers(&platform.http, LEGACY, "/", |answer| answer.status == 200);
    for service in ["blue", "green"] {
        super::is_answered_by(&platform.http, SHOP, service);
    }
    all_are_at_home(&platform.http);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
    assert!(!platform.log().contains(key.trim()), "the key is in the log");

    // With another key, clients are strangers, and settle anew.
    platform.kill();
    std::fs::remove_file(&file).unwrap();
    let platform = platform.restart();
    answers(&platform.http, LEGACY, "/", |answer| answer.status == 200);
    assert_ne!(std::fs::read_to_string(&file).unwrap(), key);
    let mut stranger = Client { home: String::new(), ..of_servers.into_iter().next().unwrap() };
    stranger.home = of(&stranger.ask(&platform.http, LEGACY));
    stranger.is_at_home(&platform.http, LEGACY);
}
