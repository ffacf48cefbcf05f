//! Stickiness: clients that stay with a target of a group, and with a group among those of an action.

use crate::support::*;
use crate::told::*;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Response};
use skiff_edge::sticky::{Cookies, Terms, key_of};
use skiff_edge::{Config, Deps, Edge, Limits, Proto};
use skiff_kit::clock::unix_ms;
use skiff_ledger::Ledger;
use skiff_ports::balancer::BalancerChange;
use skiff_ports::body;
use skiff_ports::cookie::CookieKey;
use skiff_types::{Action, Algorithm, Forward, Span, Targets};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const KEY: CookieKey = CookieKey([5; 32]);
const HOUR: Span = Span::from_ms(3_600_000);
const NAMES: [&str; 3] = ["one", "two", "three"];

/// A host outside that answers with its name.
fn host(name: &'static str) -> u16 {
    http_daemon(move |_| async move { Response::new(body::full(name)) })
}

/// A group whose clients stay for an hour, if they do.
fn keeping(name: &str, targets: Targets, stickiness: Option<Span>) -> BalancerChange {
    let mut change = group(name, targets, Algorithm::RoundRobin);
    Arc::make_mut(&mut change.groups[0]).stickiness = stickiness;
    change
}

/// Forwards to these, whose clients stay for an hour.
fn forward_keeping(groups: &[&str]) -> Action {
    let Action::Forward(forward) = forward(groups) else { panic!("it forwards") };
    Action::Forward(Forward { stickiness: Some(HOUR), ..forward })
}

/// An edge that forwards everything to `default/out`, which keeps its clients.
fn bench(ports: &[u16]) -> Bench {
    let bench = Bench::new(says("a task"));
    bench.edge.set_cookie_key(&KEY);
    bench.edge.balance(&keeping("out", outside(ports), Some(HOUR)));
    bench.edge.balance(&rule("all", 1, &["path=/*"], forward(&["out"])));
    bench
}

/// The cookies that an answer gives.
fn given(raw: &str) -> Vec<&str> {
    let (head, _) = raw.split_once("\r\n\r\n").unwrap();
    head.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).collect()
}

/// A client that keeps its cookies.
#[derive(Default)]
struct Client(BTreeMap<String, String>);

impl Client {
    fn with(name: &str, value: &str) -> Self {
        Self([(name.to_owned(), value.to_owned())].into())
    }

    /// One that was given this.
    fn given(cookie: &HeaderValue) -> Self {
        let mut client = Self::default();
        client.keep(cookie.to_str().unwrap());
        client
    }

    fn keep(&mut self, cookie: &str) {
        let (pair, _) = cookie.split_once(';').unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Its cookies, as it sends them.
    fn line(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { String::new() } else { format!("Cookie: {}\r\n", pairs.join("; ")) }
    }

    /// Who answers.
    async fn ask(&mut self, bench: &Bench) -> String {
        self.ask_host(bench, "shop.example").await
    }

    async fn ask_host(&mut self, bench: &Bench, host: &str) -> String {
        let raw = bench.raw(&asking("GET", "/", host, &self.line())).await;
        given(&raw).into_iter().for_each(|cookie| self.keep(cookie));
        let (status, body) = answer(&raw);
        assert_eq!(status, 200, "{raw}");
        body.to_owned()
    }

    /// The one that answers so often.
    async fn stays(&mut self, bench: &Bench, times: usize) -> String {
        let first = self.ask(bench).await;
        for _ in 0..times {
            assert_eq!(self.ask(bench).await, first);
        }
        first
    }
}

/// All that answer a client that brings the same again and again, whatever it is given.
async fn who_answers(bench: &Bench, cookies: &[(&str, &str)]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..NAMES.len() * 3 {
        let own = cookies.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        names.insert(Client(own.collect()).ask(bench).await);
    }
    names
}

fn all() -> BTreeSet<String> {
    NAMES.map(String::from).into()
}

#[test]
fn a_client_stays_with_its_target_and_others_are_spread() {
    run(async {
        let bench = bench(&NAMES.map(host));
        let mut clients = [(); 3].map(|()| Client::default());
        let mut names = BTreeSet::new();
        for client in &mut clients {
            names.insert(client.stays(&bench, 5).await);
        }
        assert_eq!(names, all());
        let raw = bench.raw(&asking("GET", "/", "shop.example", &clients[0].line())).await;
        let [cookie] = given(&raw)[..] else { panic!("not one cookie: {raw}") };
        assert!(cookie.starts_with("SKIFFALB="), "{cookie}");
        assert!(cookie.ends_with("; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
        assert!(!cookie.contains("127.0.0.1") && !cookie.contains("out"), "{cookie}");
    });
}

#[test]
fn who_keeps_no_clients_gives_no_cookie_and_takes_none() {
    run(async {
        let ports = NAMES.map(host);
        let bench = bench(&ports);
        let mut client = Client::default();
        client.stays(&bench, 3).await;
        bench.edge.balance(&keeping("out", outside(&ports), None));
        let value = client.0["SKIFFALB"].clone();
        assert_eq!(who_answers(&bench, &[("SKIFFALB", &value)]).await, all());
        let mut other = Client::default();
        other.ask(&bench).await;
        assert!(other.0.is_empty());
        // Nor does who is no target.
        bench.edge.balance(&keeping("out", outside(&ports), Some(HOUR)));
        bench.edge.balance(&rule("none", 2, &["path=/*"], respond(200, "the rule")));
        bench.edge.balance(&no_rule("all"));
        assert_eq!(other.ask(&bench).await, "the rule");
        bench.edge.balance(&keeping("out", outside(&[]), Some(HOUR)));
        bench.edge.balance(&rule("none", 2, &["path=/*"], forward(&["out"])));
        let raw = bench.raw(&asking("GET", "/", "shop.example", "")).await;
        assert_eq!((answer(&raw).0, given(&raw)), (503, vec![]));
    });
}

#[test]
fn where_its_target_is_gone_another_has_the_client_for_good() {
    run(async {
        let ports = NAMES.map(host);
        let bench = bench(&ports);
        let mut client = Client::default();
        let first = client.stays(&bench, 2).await;
        let gone = NAMES.iter().position(|name| *name == first).unwrap();
        let left: Vec<u16> = (0..3).filter(|place| *place != gone).map(|place| ports[place]).collect();
        bench.edge.balance(&keeping("out", outside(&left), Some(HOUR)));
        let second = client.stays(&bench, 4).await;
        assert_ne!(second, first);
        bench.edge.balance(&keeping("out", outside(&ports), Some(HOUR)));
        assert_eq!(client.stays(&bench, 4).await, second);
    });
}

#[test]
fn the_cookie_is_that_of_the_target_that_answered() {
    run(async {
        // Nobody listens there.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let one = host("one");
        let bench = bench(&[nobody, one]);
        let (cookies, now_s) = (Cookies::new(&KEY), unix_ms() / 1_000);
        for _ in 0..4 {
            let mut client = Client::default();
            assert_eq!(client.ask(&bench).await, "one");
            let pair = format!("SKIFFALB={}", client.0["SKIFFALB"]);
            let headers = [(COOKIE, HeaderValue::try_from(pair).unwrap())].into_iter().collect();
            let named = cookies.target_of(&headers, "default/out", now_s);
            assert_eq!(named, Some(key_of(format!("127.0.0.1:{one}"))));
        }
    });
}

#[test]
fn a_client_stays_with_a_group_and_there_with_a_target() {
    run(async {
        let bench = Bench::new(says("a task"));
        let (blue, green) = ([host("blue"), host("azure")], [host("green"), host("lime")]);
        bench.edge.balance(&keeping("blue", outside(&blue), None));
        bench.edge.balance(&keeping("green", outside(&green), None));
        bench.edge.balance(&rule("all", 1, &["path=/*"], forward_keeping(&["blue", "green"])));
        let is_blue = |name: &str| ["blue", "azure"].contains(&name);
        let mut client = Client::default();
        let first = is_blue(&client.ask(&bench).await);
        for _ in 0..20 {
            assert_eq!(is_blue(&client.ask(&bench).await), first);
        }
        assert_eq!(client.0.keys().collect::<Vec<_>>(), ["SKIFFALBTG"]);
        // A group without weight has nobody, and who comes to another stays there.
        let weights = if first { ["blue=0", "green=9"] } else { ["blue=9", "green=0"] };
        bench.edge.balance(&rule("all", 1, &["path=/*"], forward_keeping(&weights)));
        assert_eq!(is_blue(&client.ask(&bench).await), !first);
        bench.edge.balance(&rule("all", 1, &["path=/*"], forward_keeping(&["blue", "green"])));
        for _ in 0..20 {
            assert_eq!(is_blue(&client.ask(&bench).await), !first);
        }
        for (name, ports) in [("blue", blue), ("green", green)] {
            bench.edge.balance(&keeping(name, outside(&ports), Some(HOUR)));
        }
        client.stays(&bench, 10).await;
        assert_eq!(client.0.keys().collect::<Vec<_>>(), ["SKIFFALB", "SKIFFALBTG"]);
    });
}

#[test]
fn what_nobody_signed_is_passed_over() {
    run(async {
        let bench = bench(&NAMES.map(host));
        let mut client = Client::default();
        client.ask(&bench).await;
        let value = &client.0["SKIFFALB"];
        let changed = value.replacen(&value[40..41], if &value[40..41] == "A" { "B" } else { "A" }, 1);
        for forged in ["", "1", &"A".repeat(56), &changed, &value[1..], "\"", "=;="] {
            assert_eq!(who_answers(&bench, &[("SKIFFALB", forged)]).await, all(), "{forged:?}");
            let mut forger = Client::with("SKIFFALB", forged);
            forger.stays(&bench, 3).await;
            assert_ne!(forger.0["SKIFFALB"], forged);
        }
    });
}

#[test]
fn whoever_has_the_key_knows_the_client() {
    run(async {
        let ports = NAMES.map(host);
        let (one, other, stranger) = (bench(&ports), bench(&ports), bench(&ports));
        stranger.edge.set_cookie_key(&CookieKey([6; 32]));
        let mut client = Client::default();
        let first = client.stays(&one, 2).await;
        assert_eq!(client.stays(&other, 4).await, first);
        let value = client.0["SKIFFALB"].clone();
        assert_eq!(who_answers(&stranger, &[("SKIFFALB", &value)]).await, all());
    });
}

#[test]
fn a_cookie_holds_for_its_time_and_its_group() {
    run(async {
        let ports = NAMES.map(host);
        let bench = bench(&ports);
        let (cookies, now_s) = (Cookies::new(&KEY), unix_ms() / 1_000);
        let target = key_of(format!("127.0.0.1:{}", ports[1]));
        let cookie = |group: &str, begun_s: u64| {
            cookies.set_target(group, target, &Terms { now_s: begun_s, lasts: HOUR, is_secure: false })
        };
        let mut client = Client::given(&cookie("default/out", now_s));
        assert_eq!(client.stays(&bench, 4).await, "two");
        for other in [cookie("default/out", now_s - 3_600), cookie("default/other", now_s)] {
            let client = Client::given(&other);
            assert_eq!(who_answers(&bench, &[("SKIFFALB", &client.0["SKIFFALB"])]).await, all());
        }
    });
}

#[test]
fn what_a_client_and_a_target_say_of_cookies_passes_as_it_is() {
    run(async {
        let port = http_daemon(|request| async move {
            let cookies = request.headers().get_all("cookie").iter().map(|value| value.to_str().unwrap());
            let mut response = Response::new(body::full(cookies.collect::<Vec<_>>().join("|")));
            for own in ["a=1; Path=/x", "SKIFFALB=mine"] {
                response.headers_mut().append(SET_COOKIE, HeaderValue::from_static(own));
            }
            response
        });
        let bench = bench(&[port]);
        let line = "Cookie: x=1; SKIFFALB=theirs; y\r\n";
        let raw = bench.raw(&asking("GET", "/", "shop.example", line)).await;
        assert_eq!(answer(&raw), (200, "x=1; SKIFFALB=theirs; y"));
        let [own, mine, ours] = given(&raw)[..] else { panic!("not three cookies: {raw}") };
        assert_eq!((own, mine), ("a=1; Path=/x", "SKIFFALB=mine"));
        assert!(ours.starts_with("SKIFFALB=") && ours.contains("; Max-Age=3600;"), "{ours}");
    });
}

#[test]
fn a_service_keeps_its_clients_however_they_come_to_it() {
    run(async {
        let naming = task(|id, _| async move {
            let slot = [4, 5].into_iter().find(|&slot| task_id(slot) == id).unwrap();
            Ok(Response::new(body::full(slot.to_string())))
        });
        let bench = Bench::new(naming);
        let pair = || Targets::Service("default/pair".parse().unwrap());
        bench.edge.balance(&keeping("pair", pair(), Some(HOUR)));
        bench.edge.balance(&keeping("other-name", pair(), Some(HOUR)));
        bench.edge.balance(&rule("by-name", 1, &["host=name.example"], forward(&["pair"])));
        bench.edge.balance(&rule("by-group", 2, &["host=group.example"], forward(&["other-name"])));
        for host in ["pair.localhost", "name.example", "group.example"] {
            let mut clients = [(); 2].map(|()| Client::default());
            let mut first = Vec::new();
            for client in &mut clients {
                first.push(client.ask_host(&bench, host).await);
            }
            assert_ne!(first[0], first[1], "{host}");
            for (client, first) in clients.iter_mut().zip(&first) {
                for _ in 0..5 {
                    assert_eq!(client.ask_host(&bench, host).await, *first, "{host}");
                }
            }
        }
        // By its own name it is one group, whatever leads there; by another name it is another.
        let mut client = Client::default();
        let first = client.ask_host(&bench, "pair.localhost").await;
        assert_eq!(client.ask_host(&bench, "name.example").await, first);
        let before = client.0["SKIFFALB"].clone();
        client.ask_host(&bench, "group.example").await;
        assert_ne!(client.0["SKIFFALB"], before);
    });
}

#[test]
fn cookies_in_several_lines_of_http2_are_found() {
    run(async {
        let bench = bench(&NAMES.map(host));
        let mut client = Client::default();
        let first = client.stays(&bench, 1).await;
        let mut sender = bench.http2().await;
        for _ in 0..4 {
            let mut request = get();
            for crumb in ["a=1", &format!("SKIFFALB={}", client.0["SKIFFALB"]), "b=2"] {
                request.headers_mut().append("cookie", crumb.parse().unwrap());
            }
            let answer = sender.send_request(request).await.unwrap();
            assert!(answer.headers().contains_key(SET_COOKIE));
            assert_eq!(text(answer).await, first);
        }
    });
}

#[test]
fn where_clients_speak_tls_the_cookie_is_for_tls_alone() {
    run(async {
        let (ledger, _) = Ledger::create(1).unwrap();
        let limits = Limits { wait_target: DEADLINE, ..Limits::default() };
        let forwarded_proto = Proto::Https;
        let config = Config { worker: 0, limits, access_log: None, forwarded_proto, forwarded_port: 443 };
        let deps = Deps { invoke: says("a task"), connect: by_sockets(), ledger };
        let edge = Edge::new(config, deps).unwrap();
        edge.balance(&keeping("out", outside(&[host("one")]), Some(HOUR)));
        edge.balance(&rule("all", 1, &["path=/*"], forward(&["out"])));
        let (mut near, far) = tokio::io::duplex(64 << 10);
        tokio::task::spawn_local(edge.serve_io(far, "127.0.0.1:1".parse().unwrap()));
        near.write_all(asking("GET", "/", "shop.example", "").as_bytes()).await.unwrap();
        let mut raw = String::new();
        near.read_to_string(&mut raw).await.unwrap();
        assert!(given(&raw)[0].ends_with("; SameSite=Lax; Secure"), "{raw}");
    });
}
