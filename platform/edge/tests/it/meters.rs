//! What the ledger's meters count at listeners, rules, target groups and the addresses in them.

use crate::support::*;
use crate::told::*;
use http::{Response, StatusCode};
use skiff_edge::Limits;
use skiff_ledger::MeterTotals;
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::body;
use skiff_types::{Algorithm, ListenerProtocol, QualifiedName};
use std::net::TcpListener;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

// Slots of meters.
const LISTENER: u32 = 0;
const RULE: u32 = 1;
const GROUP: u32 = 2;
/// Of the first address; the others' are behind it.
const TARGET: u32 = 3;
const ALL: [u32; 4] = [LISTENER, RULE, GROUP, TARGET];

fn name(name: &str) -> QualifiedName {
    format!("default/{name}").parse().unwrap()
}

/// The same change, with the meters of what comes with it.
fn with(change: BalancerChange, meters: &[(Metered, u32)]) -> BalancerChange {
    BalancerChange { meters: meters.to_vec(), ..change }
}

/// An edge whose built-in listener has a meter.
fn metered(bench: Bench) -> Bench {
    bench.edge.balance(&with(BalancerChange::default(), &[(Metered::built_in_listener(), LISTENER)]));
    bench
}

/// Tells of the group `out` with its meters.
fn tell_group(bench: &Bench, ports: &[u16], algorithm: Algorithm) {
    let target =
        |port: &u16| Metered::Target { group: name("out"), target: format!("127.0.0.1:{port}").into() };
    let mut meters = vec![(Metered::Group(name("out")), GROUP)];
    meters.extend(ports.iter().map(target).zip(TARGET..));
    bench.edge.balance(&with(group("out", outside(ports), algorithm), &meters));
}

/// One that forwards everything to these by the rule `all`; all of it has meters.
fn bench(ports: &[u16]) -> Bench {
    let bench = metered(Bench::new(says("a task")));
    tell_group(&bench, ports, Algorithm::RoundRobin);
    let all = rule("all", 9, &["path=/*"], forward(&["out"]));
    bench.edge.balance(&with(all, &[(Metered::Rule(name("all")), RULE)]));
    bench
}

fn totals(bench: &Bench, slot: u32) -> MeterTotals {
    bench.ledger.meter(slot).totals()
}

/// Waits until so many requests have ended at the listener.
async fn ended(bench: &Bench, requests: u64) {
    eventually("they have ended", || totals(bench, LISTENER).requests == requests).await;
}

#[test]
fn a_request_counts_at_its_listener_its_rule_its_group_and_the_address_that_answered() {
    run(async {
        let port = http_daemon(|request| async move {
            let mut response = Response::new(body::full("four"));
            if request.uri().path() == "/missing" {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            response
        });
        let bench = bench(&[port]);
        assert_eq!(answer(&bench.raw(&asking("GET", "/", "a", "")).await), (200, "four"));
        assert_eq!(answer(&bench.raw(&asking("GET", "/missing", "a", "")).await).0, 404);
        let post = asking("POST", "/", "a", "Content-Length: 5\r\n") + "hello";
        assert_eq!(answer(&bench.raw(&post).await).0, 200);
        ended(&bench, 3).await;
        for slot in ALL {
            let totals = totals(&bench, slot);
            assert_eq!((totals.requests, totals.target_responses), (3, [2, 0, 1, 0]), "{slot}");
            assert_eq!((totals.balancer_responses, totals.rejected), ([0; 4], 0), "{slot}");
            assert_eq!((totals.received_bytes, totals.sent_bytes), (5, 12), "{slot}");
            assert_eq!((totals.target_response_time.count(), totals.target_errors), (3, 0), "{slot}");
            assert_eq!(totals.outstanding, 0, "{slot}");
        }
        eventually("they are closed", || totals(&bench, LISTENER).connections == 0).await;
        assert_eq!(totals(&bench, LISTENER).connections_total, 3);
    });
}

#[test]
fn what_the_load_balancer_answers_itself_is_apart() {
    run(async {
        let bench = metered(Bench::new(says("a task")));
        let moved = rule("moved", 7, &["path=/moved"], redirect("https://example.org:443/new"));
        bench.edge.balance(&with(moved, &[(Metered::Rule(name("moved")), RULE)]));
        assert_eq!(answer(&bench.raw(&asking("GET", "/moved", "a", "")).await).0, 301);
        assert_eq!(answer(&bench.raw(&asking("GET", "/", "nowhere", "")).await).0, 404);
        assert_eq!(answer(&bench.raw("BAD\r\n\r\n").await).0, 400);
        // A task answers as any target does.
        assert_eq!(answer(&bench.raw(&asking("GET", "/", "hello.localhost", "")).await).0, 200);
        ended(&bench, 4).await;
        let listener = totals(&bench, LISTENER);
        assert_eq!((listener.target_responses, listener.balancer_responses), ([1, 0, 0, 0], [0, 1, 2, 0]));
        assert_eq!(listener.target_response_time.count(), 1);
        let rule = totals(&bench, RULE);
        assert_eq!((rule.requests, rule.target_responses), (1, [0; 4]));
        assert_eq!(rule.balancer_responses, [0, 1, 0, 0]);
    });
}

#[test]
fn a_request_is_outstanding_until_it_ends_or_its_client_has_left() {
    run(async {
        let (asked, go_on) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (tell, wait) = (asked.clone(), go_on.clone());
        let port = http_daemon(move |_| {
            let (tell, wait) = (tell.clone(), wait.clone());
            async move {
                tell.notify_one();
                wait.notified().await;
                Response::new(body::full("at last"))
            }
        });
        let bench = bench(&[port]);
        let outstanding =
            |bench: &Bench| [RULE, GROUP, TARGET].map(|slot| bench.ledger.meter(slot).outstanding());
        let request = asking("GET", "/", "a", "");
        let meanwhile = async {
            asked.notified().await;
            assert_eq!(outstanding(&bench), [1; 3]);
            assert_eq!(totals(&bench, LISTENER).connections, 1);
            go_on.notify_one();
        };
        assert_eq!(answer(&tokio::join!(bench.raw(&request), meanwhile).0), (200, "at last"));
        ended(&bench, 1).await;
        assert_eq!(outstanding(&bench), [0; 3]);

        let mut client = bench.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        asked.notified().await;
        assert_eq!(outstanding(&bench), [1; 3]);
        drop(client);
        ended(&bench, 2).await;
        assert_eq!(outstanding(&bench), [0; 3]);
        let group = totals(&bench, GROUP);
        assert_eq!((group.target_responses, group.balancer_responses), ([1, 0, 0, 0], [0; 4]));
    });
}

#[test]
fn connections_that_fail_count_at_who_was_to_be_reached() {
    run(async {
        let far = http_daemon(|_| async { Response::new(body::full("far")) });
        // Nobody listens there any more.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bench = bench(&[closed, far]);
        for _ in 0..2 {
            assert_eq!(answer(&bench.raw(&asking("GET", "/", "a", "")).await), (200, "far"));
        }
        ended(&bench, 2).await;
        let [group, of_closed, of_far] = [GROUP, TARGET, TARGET + 1].map(|slot| totals(&bench, slot));
        assert!(of_closed.target_errors > 0 && of_closed.target_errors == group.target_errors);
        assert_eq!(group.retries, of_closed.target_errors, "each was sent on to the other");
        assert_eq!((of_closed.requests, of_far.requests, group.requests), (0, 2, 2));
        assert_eq!((of_closed.outstanding, of_far.outstanding), (0, 0));

        tell_group(&bench, &[closed], Algorithm::RoundRobin);
        assert_eq!(answer(&bench.raw(&asking("GET", "/", "a", "")).await).0, 502);
        ended(&bench, 3).await;
        let after = totals(&bench, GROUP);
        assert_eq!(after.balancer_responses, [0, 0, 0, 1]);
        assert!(after.target_errors > group.target_errors);
    });
}

#[test]
fn an_answer_that_is_refused_is_the_load_balancers() {
    run(async {
        let port = daemon(|mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n";
            let _ = stream.write_all(answer).await;
        });
        let bench = bench(&[port]);
        assert_eq!(answer(&bench.raw(&asking("GET", "/", "a", "")).await).0, 502);
        ended(&bench, 1).await;
        for slot in [RULE, GROUP, TARGET] {
            let totals = totals(&bench, slot);
            let responses = (totals.target_responses, totals.balancer_responses);
            assert_eq!(responses, ([0; 4], [0, 0, 0, 1]), "{slot}");
        }
        assert!(totals(&bench, GROUP).target_errors > 0);
    });
}

#[test]
fn connections_of_tcp_count_at_their_listener_their_group_and_their_address() {
    run(async {
        let port = daemon(|mut stream| async move {
            let (mut reader, mut writer) = stream.split();
            writer.write_all(b"hi").await.unwrap();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        let bench = metered(Bench::to(Limits::default(), &[(6, port)]));
        tell_group(&bench, &[port], Algorithm::RoundRobin);
        const OTHER: u32 = 9;
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let other: skiff_types::Name = "other".parse().unwrap();
        let _listening = bench.edge.listen(socket, other.clone());
        let told = listener("other", ListenerProtocol::Tcp, address.port(), forward(&["out"]));
        bench.edge.balance(&with(told, &[(Metered::Listener(other), OTHER)]));
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut hi = [0; 2];
        client.read_exact(&mut hi).await.unwrap();
        for slot in [OTHER, GROUP, TARGET] {
            let totals = totals(&bench, slot);
            assert_eq!((totals.connections, totals.connections_total), (1, 1), "{slot}");
        }
        client.write_all(b"five!").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "five!");
        for slot in [OTHER, GROUP, TARGET] {
            eventually("it is closed", || totals(&bench, slot).connections == 0).await;
            let totals = totals(&bench, slot);
            assert_eq!((totals.received_bytes, totals.sent_bytes, totals.requests), (5, 7, 0), "{slot}");
        }
        // A port that is a service's own is no listener's.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let _listening = bench.edge.listen_tcp(socket, name("web"));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "hi");
        assert_eq!(totals(&bench, LISTENER).connections_total, 0);
    });
}

#[test]
fn what_has_no_meter_is_served_and_what_left_counts_no_more() {
    run(async {
        let port = http_daemon(|_| async { Response::new(body::full("four")) });
        let bench = bench(&[port]);
        let request = asking("GET", "/", "a", "");
        assert_eq!(answer(&bench.raw(&request).await).0, 200);
        bench.edge.balance(&no_rule("all"));
        bench.edge.balance(&no_group("out"));
        // Both are there again, but there was no meter left for them.
        bench.edge.balance(&group("out", outside(&[port]), Algorithm::RoundRobin));
        bench.edge.balance(&rule("all", 9, &["path=/*"], forward(&["out"])));
        assert_eq!(answer(&bench.raw(&request).await).0, 200);
        ended(&bench, 2).await;
        for slot in [RULE, GROUP, TARGET] {
            assert_eq!(totals(&bench, slot).requests, 1, "{slot}");
        }
    });
}
