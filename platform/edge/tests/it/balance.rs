//! Targets that fail: another is asked where that may be, who fails again and again is left out by all workers, and who has
//! left its group has its time for what it has.

use crate::support::*;
use crate::told::*;
use http::{Response, StatusCode};
use skiff_edge::{Edge, Limits};
use skiff_ledger::{Ledger, MeterTotals};
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::body;
use skiff_ports::invoke::InvokeError;
use skiff_types::{Algorithm, ListenerProtocol, QualifiedName, Span, TargetGroupSpec};
use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The slot of the group's meter; those of its addresses are behind it.
const GROUP: u32 = 2;
const FIRST: u32 = 3;

/// A host that answers with a status and its name, and how often it was asked.
fn host(name: &'static str, status: u16) -> (u16, Rc<Cell<usize>>) {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    let port = http_daemon(move |_| {
        count.set(count.get() + 1);
        let mut response = Response::new(body::full(name));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        async move { response }
    });
    (port, asked)
}

/// A port where nobody listens any more.
fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A host that closes each connection once it has read a head, or never says anything.
fn mute(closes: bool) -> (u16, Rc<Cell<usize>>) {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    let port = daemon(move |mut stream| {
        let count = count.clone();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            count.set(count.get() + 1);
            if !closes {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
    });
    (port, asked)
}

/// The group `out` of these hosts, with meters, and all that is said of it beside that.
fn out_of(ports: &[u16], algorithm: Algorithm, settle: impl Fn(&mut TargetGroupSpec)) -> BalancerChange {
    let mut change = group("out", outside(ports), algorithm);
    settle(Arc::make_mut(&mut change.groups[0]));
    let name: QualifiedName = "default/out".parse().unwrap();
    let targets = ports
        .iter()
        .map(|port| Metered::Target { group: name.clone(), target: format!("127.0.0.1:{port}").into() });
    let meters = std::iter::once(Metered::Group(name.clone())).chain(targets);
    BalancerChange { meters: meters.zip(GROUP..).collect(), ..change }
}

fn in_turn(ports: &[u16]) -> BalancerChange {
    out_of(ports, Algorithm::RoundRobin, |_| ())
}

fn all() -> BalancerChange {
    rule("all", 1, &["path=/*"], forward(&["out"]))
}

/// An edge that forwards everything to these, one after the other.
fn bench(limits: Limits, ports: &[u16]) -> Bench {
    let bench = Bench::with(limits, says("a task"));
    bench.edge.balance(&in_turn(ports));
    bench.edge.balance(&all());
    bench
}

/// The status and the body of what is answered.
async fn asked(bench: &Bench, method: &str) -> (u16, String) {
    let raw = bench.raw(&asking(method, "/", "shop.example", "")).await;
    let (status, body) = answer(&raw);
    (status, body.to_owned())
}

fn totals(ledger: &Ledger, slot: u32) -> MeterTotals {
    ledger.meter(slot).totals()
}

#[test]
fn who_takes_no_connections_is_left_out_after_five_and_nobody_notices() {
    run(async {
        let (port, far) = host("far", 200);
        let bench = bench(Limits::default(), &[nobody(), port]);
        for _ in 0..40 {
            // Nothing of it had left, so it does not matter what it is.
            assert_eq!(asked(&bench, "POST").await, (200, "far".to_owned()));
        }
        assert_eq!(far.get(), 40);
        let [group, gone] = [GROUP, FIRST].map(|slot| totals(&bench.ledger, slot));
        assert_eq!((gone.target_errors, gone.retries, gone.ejections), (5, 5, 1));
        assert_eq!((group.target_errors, group.retries, group.ejections), (5, 5, 1));
    });
}

#[test]
fn another_answers_for_who_can_not_if_the_request_may_be_repeated() {
    run(async {
        for status in [502, 503, 504] {
            let ((bad, asked_bad), (good, _)) = (host("bad", status), host("good", 200));
            let bench = bench(Limits::default(), &[bad, good]);
            for whose_turn in ["bad", "good"] {
                assert_eq!(asked(&bench, "GET").await, (200, "good".to_owned()), "{whose_turn}");
            }
            assert_eq!(asked(&bench, "POST").await, (status, "bad".to_owned()), "as it is");
            assert_eq!(asked_bad.get(), 2);
            let line = &bench.wait_for_lines(1).await[0];
            assert_eq!(line["task"], format!("127.0.0.1:{good}"));
        }
        let (one, two) = (host("one", 503), host("two", 503));
        let bench = bench(Limits::default(), &[one.0, two.0]);
        assert_eq!(asked(&bench, "GET").await, (503, "two".to_owned()), "the last one's, as it is");
        // It is said by the code itself, not by who runs it.
        let (error, fine) = (host("error", 500), host("fine", 200));
        bench.edge.balance(&in_turn(&[error.0, fine.0]));
        assert_eq!(asked(&bench, "GET").await, (500, "error".to_owned()));
    });
}

#[test]
fn another_is_asked_where_a_connection_breaks_or_nothing_comes() {
    run(async {
        for (closes, status) in [(true, 502), (false, 504)] {
            let ((bad, asked_bad), (good, _)) = (mute(closes), host("good", 200));
            let limits = Limits { target_response_timeout: Duration::from_millis(300), ..Limits::default() };
            let bench = bench(limits, &[bad, good]);
            for whose_turn in ["bad", "good"] {
                assert_eq!(asked(&bench, "PUT").await, (200, "good".to_owned()), "{whose_turn}");
            }
            assert_eq!(asked(&bench, "POST").await.0, status, "nobody knows how far it came");
            assert_eq!(asked_bad.get(), 2);
            let group = totals(&bench.ledger, GROUP);
            assert_eq!((group.retries, group.target_errors), (1, 2));
        }
    });
}

#[test]
fn a_body_that_somebody_has_begun_to_read_is_sent_once() {
    run(async {
        let bad = http_daemon(|request| async move {
            let _ = http_body_util::BodyExt::collect(request.into_body()).await;
            let mut response = Response::new(body::full("bad"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        });
        let (good, asked_good) = host("good", 200);
        let bench = bench(Limits::default(), &[bad, good]);
        let raw = bench.raw(&(asking("PUT", "/", "a", "Content-Length: 3\r\n") + "abc")).await;
        assert_eq!(answer(&raw), (503, "bad"));
        assert_eq!(asked_good.get(), 0);
    });
}

#[test]
fn the_budget_bounds_how_often_requests_are_repeated() {
    run(async {
        const REQUESTS: usize = 300;
        let ((one, asked_one), (two, asked_two)) = (host("one", 503), host("two", 503));
        let bench = Bench::new(says("a task"));
        // Without meters nobody is left out: all of them fail for ever.
        bench.edge.balance(&group("out", outside(&[one, two]), Algorithm::RoundRobin));
        bench.edge.balance(&all());
        for _ in 0..REQUESTS {
            assert_eq!(asked(&bench, "GET").await.0, 503);
        }
        let repeated = asked_one.get() + asked_two.get() - REQUESTS;
        assert!((100..REQUESTS).contains(&repeated), "{repeated} of {REQUESTS} were repeated");
    });
}

#[test]
fn what_one_worker_learns_another_knows() {
    run(async {
        let (ledger, _) = Ledger::create(2).unwrap();
        let ((bad, asked_bad), (good, _)) = (host("bad", 503), host("good", 200));
        let worker = |number| {
            let edge = edge(number, Limits::default(), None, 80, says("a task"), &ledger);
            edge.balance(&in_turn(&[bad, good]));
            edge.balance(&all());
            edge
        };
        let (first, second) = (worker(0), worker(1));
        for _ in 0..10 {
            assert_eq!(asked_at(&first).await, (200, "good".to_owned()));
        }
        assert_eq!(asked_bad.get(), 5);
        for _ in 0..10 {
            assert_eq!(asked_at(&second).await, (200, "good".to_owned()));
        }
        assert_eq!(asked_bad.get(), 5, "the other worker need not find out itself");
        let ejections = ledger.meter(FIRST).rows().map(|row| row.ejections.get()).collect::<Vec<_>>();
        assert_eq!(ejections, [1, 0]);
    });
}

/// What an edge answers that accepts nothing.
async fn asked_at(edge: &Rc<Edge>) -> (u16, String) {
    let (mut near, far) = tokio::io::duplex(64 << 10);
    tokio::task::spawn_local(edge.serve_io(far, "127.0.0.1:9".parse().unwrap()));
    near.write_all(asking("GET", "/", "shop.example", "").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    near.read_to_end(&mut bytes).await.unwrap();
    let raw = String::from_utf8(bytes).unwrap();
    let (status, body) = answer(&raw);
    (status, body.to_owned())
}

#[test]
fn requests_that_another_worker_has_at_a_target_count() {
    run(async {
        let (ledger, _) = Ledger::create(2).unwrap();
        let (wait, waits) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let (go_on, count) = (wait.clone(), waits.clone());
        let slow = http_daemon(move |_| {
            count.set(count.get() + 1);
            let go_on = go_on.clone();
            async move {
                go_on.notified().await;
                Response::new(body::full("slow"))
            }
        });
        let (fast, _) = host("fast", 200);
        for daemon in [false, true] {
            let worker = |number| {
                let edge = edge(number, Limits::default(), None, 80, says("a task"), &ledger);
                match daemon {
                    false => edge.balance(&out_of(&[slow, fast], Algorithm::default(), |_| ())),
                    true => edge.route(&[daemons("out", &[(6, slow), (7, fast)])], &[]),
                }
                edge.balance(&all());
                edge
            };
            let (first, second) = (worker(0), worker(1));
            let before = waits.get();
            let asked_first = async {
                eventually("it is asked", || waits.get() == before + 1).await;
                for _ in 0..4 {
                    assert_eq!(asked_at(&second).await.1, "fast", "a daemon: {daemon}");
                }
                wait.notify_one();
            };
            assert_eq!(tokio::join!(asked_at(&first), asked_first).0.1, "slow");
            assert_eq!((ledger.task(6).balanced(), ledger.meter(FIRST).outstanding()), (0, 0));
        }
    });
}

#[test]
fn an_http_task_that_fails_is_not_repeated_but_left_out() {
    run(async {
        let seen: Rc<RefCell<Vec<_>>> = Rc::default();
        let asked_tasks = seen.clone();
        let bench = Bench::new(task(move |task, _| {
            asked_tasks.borrow_mut().push(task);
            async move {
                match task == task_id(4) {
                    true => Err(InvokeError::Failed("it trapped".to_owned())),
                    false => Ok(Response::new(body::full("fine"))),
                }
            }
        }));
        let mut failed = 0;
        for _ in 0..40 {
            let raw = bench.raw(&asking("GET", "/", "pair.localhost", "")).await;
            failed += usize::from(answer(&raw).0 == 502);
        }
        assert_eq!((failed, seen.borrow().len()), (5, 40), "each was asked once");
    });
}

#[test]
fn a_new_target_has_a_small_share_at_first() {
    run(async {
        let ((old, _), (new, asked_new)) = (host("old", 200), host("new", 200));
        let slow_start = Some(Span::from_ms(3_600_000));
        let bench = Bench::new(says("a task"));
        let change = out_of(&[old, new], Algorithm::RoundRobin, |spec| spec.slow_start = slow_start);
        bench.edge.balance(&change);
        bench.edge.balance(&all());
        let [of_old, of_new] = [FIRST, FIRST + 1].map(|slot| bench.ledger.meter(slot));
        assert!(of_new.target().began_ms.load(Relaxed) > 0);
        // That one is whole.
        of_old.target().began_ms.store(0, Relaxed);
        for _ in 0..200 {
            asked(&bench, "GET").await;
        }
        assert!((1..50).contains(&asked_new.get()), "{} of 200", asked_new.get());
    });
}

#[test]
fn what_a_target_has_that_leaves_is_cut_after_the_delay() {
    run(async {
        let delay =
            |ms| move |spec: &mut TargetGroupSpec| spec.deregistration_delay = Some(Span::from_ms(ms));
        let ((leaves, asked_it), (stays, _)) = (mute(false), host("stays", 200));
        let bench = bench(Limits::default(), &[leaves, stays]);
        let post = async {
            let (status, _, message) = refusal(&bench.raw(&asking("POST", "/", "a", "")).await);
            let cut = "the target was deregistered, and its deregistration delay was over before it answered";
            assert_eq!((status, message.as_str()), (502, cut));
        };
        let leave = async {
            eventually("it is asked", || asked_it.get() == 1).await;
            bench.edge.balance(&out_of(&[stays], Algorithm::RoundRobin, delay(50)));
            assert_eq!(asked(&bench, "GET").await, (200, "stays".to_owned()));
        };
        tokio::join!(post, leave);

        bench.edge.balance(&in_turn(&[leaves, stays]));
        let leave = async {
            eventually("it is asked", || asked_it.get() == 2).await;
            bench.edge.balance(&out_of(&[stays], Algorithm::RoundRobin, delay(0)));
        };
        let (raw, ()) = tokio::join!(asked(&bench, "GET"), leave);
        assert_eq!(raw, (200, "stays".to_owned()), "who may be repeated is asked of another");
        let errors = [GROUP, FIRST].map(|slot| totals(&bench.ledger, slot).target_errors);
        assert_eq!(errors, [0, 0], "it is no failure of who was cut");
    });
}

#[test]
fn a_body_and_bytes_without_http_are_cut_likewise() {
    run(async {
        let begins = daemon(|mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            // It says nothing more.
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi";
            stream.write_all(answer).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let bench = bench(Limits::default(), &[begins]);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let _listening = bench.edge.listen(socket, "other".parse().unwrap());
        bench.edge.balance(&listener("other", ListenerProtocol::Tcp, address.port(), forward(&["out"])));
        let mut http = bench.connect().await;
        let mut tcp = TcpStream::connect(address).await.unwrap();
        for stream in [&mut http, &mut tcp] {
            stream.write_all(asking("GET", "/", "a", "").as_bytes()).await.unwrap();
            assert!(read_until(stream, "\r\n\r\nhi").await.starts_with("HTTP/1.1 200 OK\r\n"));
        }
        let leaves = |spec: &mut TargetGroupSpec| spec.deregistration_delay = Some(Span::from_ms(20));
        bench.edge.balance(&out_of(&[nobody()], Algorithm::RoundRobin, leaves));
        for stream in [&mut http, &mut tcp] {
            assert_eq!(read_to_end(stream).await, "");
        }
        let lines = bench.wait_for_lines(2).await;
        let errors: Vec<&str> = lines.iter().map(|line| line["error"].as_str().unwrap()).collect();
        assert!(errors.iter().any(|error| error.contains("the target has left its group")), "{errors:?}");
    });
}

#[test]
fn connections_without_http_go_to_another_where_one_takes_none() {
    run(async {
        let port = daemon(|mut stream| async move { stream.write_all(b"hi").await.unwrap() });
        let bench = bench(Limits::default(), &[nobody(), port]);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let _listening = bench.edge.listen(socket, "other".parse().unwrap());
        bench.edge.balance(&listener("other", ListenerProtocol::Tcp, address.port(), forward(&["out"])));
        for _ in 0..20 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await, "hi");
        }
        let gone = totals(&bench.ledger, FIRST);
        assert_eq!((gone.target_errors, gone.retries, gone.ejections), (5, 5, 1));
    });
}

#[test]
fn a_group_of_a_service_has_its_own_way_to_choose() {
    run(async {
        let hosts = [host("a", 200), host("b", 200), host("c", 200)];
        let ports = hosts.each_ref().map(|(port, _)| *port);
        let bench = Bench::to(Limits::default(), &[(6, ports[0]), (7, ports[1]), (8, ports[2])]);
        let of_web = skiff_types::Targets::Service("default/web".parse().unwrap());
        bench.edge.balance(&group("web", of_web.clone(), Algorithm::WeightedRandom));
        bench.edge.balance(&group("turns", of_web, Algorithm::RoundRobin));
        bench.edge.balance(&rule("all", 1, &["path=/*"], forward(&["turns"])));
        let mut said = String::new();
        for _ in 0..6 {
            said += &asked(&bench, "GET").await.1;
        }
        assert_eq!(said, "abcabc");
        let line = &bench.wait_for_lines(1).await[0];
        assert_eq!(
            (&line["service"], &line["target_group"]),
            (&"default/web".into(), &"default/turns".into())
        );
    });
}
