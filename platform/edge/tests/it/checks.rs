//! Health checks of targets: what is asked, when a target is healthy and when not, who is checked and by whom. Where no
//! socket is needed, time is paused, and passes as fast as there is nothing to do.

use crate::support::*;
use crate::told::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_edge::{Edge, Limits};
use skiff_ledger::Ledger;
use skiff_plan::target_health;
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::body::{self, Body};
use skiff_ports::connect::ConnectError;
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::runtime::TaskEvent;
use skiff_ports::snapshot::Route;
use skiff_types::{
    Algorithm, QualifiedName, Span, TargetGroupSpec, TargetHealthCheck, TargetProtocol, TaskId, Unresolved,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// Of a task that gives no answer.
const SILENT: u16 = 0;
/// Of a task that is busy.
const BUSY: u16 = 1;

/// Who was checked when, and what was said of it.
type Asked = Rc<RefCell<Vec<(TaskId, Instant)>>>;
type Said = Rc<RefCell<Vec<(TaskId, bool, String)>>>;

/// Runs a test with time standing still while anybody has something to do.
fn paused(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), test);
}

fn name(name: &str) -> QualifiedName {
    format!("default/{name}").parse().unwrap()
}

/// A check every second.
fn check(path: Option<&str>) -> TargetHealthCheck {
    TargetHealthCheck {
        path: path.map(Into::into),
        interval: Span::from_ms(1_000),
        timeout: Span::from_ms(400),
        healthy: 3,
        unhealthy: 2,
        ..TargetHealthCheck::default()
    }
}

/// The same a hundred times a second.
fn quick(check: TargetHealthCheck) -> TargetHealthCheck {
    TargetHealthCheck { interval: Span::from_ms(10), timeout: Span::from_ms(5_000), ..check }
}

/// The tasks of a service are checked so.
fn checked(service: &str, check: TargetHealthCheck) -> BalancerChange {
    let spec = TargetGroupSpec { health_check: Some(check), ..TargetGroupSpec::of_service(name(service)) };
    BalancerChange { groups: vec![Arc::new(spec)], ..BalancerChange::default() }
}

/// Has an edge check; gives what it says of services' tasks.
fn begin(edge: &Rc<Edge>) -> Said {
    let said = Said::default();
    let told = said.clone();
    edge.check_targets(Rc::new(move |event| {
        let TaskEvent::Health { task, life: 0, healthy, reason } = event else { panic!("{event:?}") };
        told.borrow_mut().push((task, healthy, reason));
    }));
    said
}

/// Whether a task was found healthy or unhealthy.
fn health(ledger: &Ledger, slot: u32) -> Option<bool> {
    target_health::is_healthy(ledger.task(slot).target().health.load(Relaxed))
}

/// Tasks that answer what they are asked for by checks with this status.
fn scripted(status: &Rc<Cell<u16>>, asked: &Asked) -> Rc<dyn Invoke> {
    let (status, asked) = (status.clone(), asked.clone());
    task(move |task, request| {
        let agent = request.headers()["user-agent"].to_str().unwrap();
        assert!(agent.starts_with("Skiff-HealthChecker/"), "{agent}");
        assert_eq!(request.uri().path(), "/ready");
        asked.borrow_mut().push((task, Instant::now()));
        let status = status.get();
        async move {
            match status {
                SILENT => std::future::pending().await,
                BUSY => Err(InvokeError::Busy { reason: "full".to_owned(), retry_after_s: 1 }),
                status => Ok(with_status(status, body::full("so it is"))),
            }
        }
    })
}

fn with_status(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// An edge whose `hello.localhost`, a task in slot 3, is checked at `/ready` and answers with this status.
fn bench(status: u16, check: TargetHealthCheck) -> (Bench, Rc<Cell<u16>>, Asked) {
    let (status, asked) = (Rc::new(Cell::new(status)), Asked::default());
    let bench = Bench::new(scripted(&status, &asked));
    bench.edge.balance(&checked("hello", check));
    (bench, status, asked)
}

#[test]
fn a_task_is_healthy_with_its_first_success_and_then_by_what_is_said_of_its_group() {
    paused(async {
        let (bench, status, asked) = bench(200, check(Some("/ready?now")));
        let count = || asked.borrow().len();
        let is = |expected| health(&bench.ledger, 3) == Some(expected);
        let began = Instant::now();
        let said = begin(&bench.edge);
        eventually("it is healthy", || is(true)).await;
        assert!(began.elapsed() < Duration::from_millis(100), "the first check is at once");
        assert_eq!(count(), 1);
        assert_ne!(bench.ledger.task(3).target().began_ms.load(Relaxed), 0);
        status.set(500);
        eventually("it is unhealthy", || is(false)).await;
        assert_eq!(count(), 3);
        status.set(200);
        eventually("it is healthy again", || is(true)).await;
        assert_eq!(count(), 6);
        let times: Vec<Instant> = asked.borrow().iter().map(|(_, at)| *at).collect();
        let gaps = times.windows(2).map(|two| two[1].duration_since(two[0]).as_millis());
        let gaps: Vec<u128> = gaps.collect();
        assert!(gaps.iter().all(|ms| (949..=1_052).contains(ms)), "{gaps:?}");
        let reason = "Health checks failed with these codes: [500]: 2 checks of /ready?now in a row failed";
        let of = |healthy, reason: &str| (task_id(3), healthy, reason.to_owned());
        assert_eq!(*said.borrow(), [of(true, ""), of(false, reason), of(true, "")]);
        assert_eq!(bench.ledger.task(3).totals().responses, [4, 0, 0, 2], "they count as the task's");
        assert_eq!(bench.logged().await, "", "but are nobody's requests");
    });
}

#[test]
fn a_task_that_gives_no_answer_in_time_fails() {
    paused(async {
        let (bench, _, asked) = bench(SILENT, check(Some("/ready")));
        let said = begin(&bench.edge);
        eventually("it is unhealthy", || health(&bench.ledger, 3) == Some(false)).await;
        assert_eq!(asked.borrow().len(), 2);
        let (_, healthy, reason) = said.borrow()[0].clone();
        assert!(!healthy && reason.starts_with("Request timed out: 2 checks"), "{reason}");
    });
}

#[test]
fn a_large_group_that_gives_no_answer_keeps_no_other_from_being_checked() {
    const CROWD: u32 = 100;
    const FIRST: u32 = 10;
    /// The most checks of one group at once, in one worker.
    const AT_ONCE_OF_GROUP_MAX: usize = 16;
    paused(async {
        let (under_way, most) = (Rc::new(()), Rc::new(Cell::new(0)));
        let (counted, seen) = (under_way.clone(), most.clone());
        // One of these for each check, and two that are the test's own.
        let count = |of: &Rc<()>| Rc::strong_count(of) - 2;
        let bench = Bench::new(task(move |task, _| {
            let one = (task != task_id(3)).then(|| counted.clone());
            seen.set(seen.get().max(count(&counted)));
            async move {
                match one {
                    Some(_one) => std::future::pending().await,
                    None => Ok(with_status(200, body::full("so it is"))),
                }
            }
        }));
        let slots: Vec<u32> = (FIRST..FIRST + CROWD).collect();
        bench.edge.route(&[route("crowd", &slots)], &[]);
        bench.edge.balance(&checked("crowd", check(Some("/ready"))));
        let began = Instant::now();
        begin(&bench.edge);
        eventually("the crowd is being checked", || count(&under_way) == AT_ONCE_OF_GROUP_MAX).await;
        bench.edge.balance(&checked("hello", check(Some("/ready"))));
        eventually("the other is healthy", || health(&bench.ledger, 3) == Some(true)).await;
        assert!(began.elapsed() < Duration::from_millis(400), "before any of the crowd's has ended");
        eventually("all of the crowd is unhealthy", || {
            slots.iter().all(|slot| health(&bench.ledger, *slot) == Some(false))
        })
        .await;
        assert_eq!(most.get(), AT_ONCE_OF_GROUP_MAX);
    });
}

#[test]
fn a_task_that_is_busy_is_neither_well_nor_unwell() {
    paused(async {
        let (bench, status, asked) = bench(BUSY, check(Some("/ready")));
        let said = begin(&bench.edge);
        eventually("it was asked often", || asked.borrow().len() == 5).await;
        assert_eq!((health(&bench.ledger, 3), said.borrow().len()), (None, 0));
        status.set(200);
        eventually("it is healthy", || health(&bench.ledger, 3) == Some(true)).await;
    });
}

#[test]
fn the_matcher_says_which_statuses_are_a_success() {
    paused(async {
        let matcher = "200-299,404".parse().unwrap();
        let (bench, status, _) = bench(404, TargetHealthCheck { matcher, ..check(Some("/ready")) });
        begin(&bench.edge);
        eventually("it is healthy", || health(&bench.ledger, 3) == Some(true)).await;
        status.set(301);
        eventually("it is unhealthy", || health(&bench.ledger, 3) == Some(false)).await;
    });
}

#[test]
fn who_nothing_leads_to_is_not_checked_and_neither_is_who_has_no_check() {
    paused(async {
        let (bench, _, asked) = bench(200, check(Some("/ready")));
        bench.edge.route(&[Route { hosts: Vec::new(), ..route("hidden", &[7]) }], &[]);
        bench.edge.balance(&checked("hidden", check(Some("/ready"))));
        begin(&bench.edge);
        let count = |slot| asked.borrow().iter().filter(|(task, _)| *task == task_id(slot)).count();
        eventually("others were checked", || count(3) == 4).await;
        assert_eq!((count(7), health(&bench.ledger, 7)), (0, None));
        bench.edge.balance(&rule("hidden", 7, &["path=/hidden"], forward(&["hidden"])));
        eventually("it is healthy", || health(&bench.ledger, 7) == Some(true)).await;
        bench.edge.balance(&no_rule("hidden"));
        let (hidden, hello) = (count(7), count(3));
        eventually("others were checked", || count(3) == hello + 4).await;
        assert_eq!(count(7), hidden);
        // The tasks of a service of which nobody said more.
        assert_eq!((count(4), count(5)), (0, 0));
        bench.edge.balance(&no_group("hello"));
        bench.edge.balance(&rule("hidden", 7, &["path=/hidden"], forward(&["hidden"])));
        let (hidden, hello) = (count(7), count(3));
        eventually("others were checked", || count(7) == hidden + 4).await;
        assert_eq!(count(3), hello);
    });
}

/// Asks an edge for `many.localhost`; which task answers.
async fn who_answers(edge: &Rc<Edge>) -> String {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::task::spawn_local(edge.serve_io(far, "127.0.0.1:9".parse().unwrap()));
    let (mut client, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::task::spawn_local(connection);
    text(client.send_request(request("GET", "http://many.localhost/", "")).await.unwrap()).await
}

#[test]
fn of_two_workers_one_checks_each_target_and_both_go_by_what_it_finds() {
    const SLOTS: [u32; 16] = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25];
    const SICK: u32 = 13;
    paused(async {
        let (ledger, _) = Ledger::create(2).unwrap();
        let asked = [(); 2].map(|()| Asked::default());
        let edges = [0, 1].map(|worker: usize| {
            let asked = asked[worker].clone();
            let invoke = task(move |task, request| {
                let is_check = request.uri().path() == "/ready";
                if is_check {
                    asked.borrow_mut().push((task, Instant::now()));
                }
                let status = if is_check && task == task_id(SICK) { 503 } else { 200 };
                async move { Ok(with_status(status, body::full(task.to_string()))) }
            });
            edge(worker, Limits::default(), None, 80, invoke, &ledger)
        });
        for edge in &edges {
            edge.route(&[route("many", &SLOTS)], &[]);
            edge.balance(&checked("many", check(Some("/ready"))));
        }
        let said = [&edges[0], &edges[1]].map(begin);
        let is_as_expected = |slot: &u32| health(&ledger, *slot) == Some(*slot != SICK);
        eventually("all are known", || SLOTS.iter().all(is_as_expected)).await;
        let tasks = |asked: &Asked| asked.borrow().iter().map(|(task, _)| *task).collect::<BTreeSet<_>>();
        let [first, second] = [&asked[0], &asked[1]].map(tasks);
        assert!(first.is_disjoint(&second) && !first.is_empty() && !second.is_empty());
        assert_eq!(first.len() + second.len(), SLOTS.len());
        let said = said.iter().flat_map(|said| said.borrow().clone());
        let unhealthy: Vec<TaskId> = said.filter(|(_, healthy, _)| !healthy).map(|(task, ..)| task).collect();
        assert_eq!(unhealthy, [task_id(SICK)], "once, by the one that checked it");
        for edge in &edges {
            for _ in 0..2 * SLOTS.len() {
                assert_ne!(who_answers(edge).await, task_id(SICK).to_string());
            }
        }
    });
}

#[test]
fn a_daemon_is_asked_at_its_port() {
    run(async {
        let (status, heads) = (Rc::new(Cell::new(200)), Rc::new(RefCell::new(Vec::<HeaderMap>::new())));
        let (answers, seen) = (status.clone(), heads.clone());
        let port = http_daemon(move |request| {
            assert_eq!((request.method().as_str(), request.uri().path()), ("GET", "/ready"));
            seen.borrow_mut().push(request.headers().clone());
            let status = answers.get();
            async move { with_status(status, body::full("so it is")) }
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        bench.edge.balance(&checked("web", quick(check(Some("/ready")))));
        let said = begin(&bench.edge);
        eventually("it is healthy", || health(&bench.ledger, 6) == Some(true)).await;
        let head = heads.borrow()[0].clone();
        assert_eq!(head["host"], format!("localhost:{port}"));
        assert!(head["user-agent"].to_str().unwrap().starts_with("Skiff-HealthChecker/"));
        status.set(503);
        eventually("it is unhealthy", || health(&bench.ledger, 6) == Some(false)).await;
        let reason = "Health checks failed with these codes: [503]: 2 checks of /ready in a row failed";
        assert_eq!(*said.borrow(), [(task_id(6), false, reason.to_owned())], "its own checks say the rest");
    });
}

#[test]
fn a_daemon_that_nobody_is_at_home_at_is_unhealthy() {
    run(async {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bench = Bench::to(Limits::default(), &[(6, closed)]);
        bench.edge.balance(&checked("web", quick(check(None))));
        let said = begin(&bench.edge);
        eventually("it is unhealthy", || !said.borrow().is_empty()).await;
        let reason = "Health checks failed: 2 checks in a row failed".to_owned();
        assert_eq!(*said.borrow(), [(task_id(6), false, reason)]);
    });
}

#[test]
fn of_a_name_that_leads_nowhere_it_is_told_what_was_answered() {
    run(async {
        for (answered, told_of_it) in [
            (Unresolved::NoSuchName, "there is no such name"),
            (Unresolved::NoAnswer, "no name server has an answer"),
        ] {
            let nowhere = connects(move |_, _| async move { Err(ConnectError::Unresolved(answered)) });
            let bench = Bench::of(Limits::default(), says("no daemon"), nowhere);
            bench.edge.route(&[daemons("web", &[(6, 80)])], &[]);
            bench.edge.balance(&checked("web", quick(check(None))));
            begin(&bench.edge);
            eventually("it is unhealthy", || health(&bench.ledger, 6) == Some(false)).await;
            let word = bench.ledger.task(6).target().health.load(Relaxed);
            let (target, judge) = ("api.example.org:443", target_health::Judge::Checks);
            let told = target_health::told(target, word, judge, true, false, false).description;
            let expected = format!("the name api.example.org can't be resolved: {told_of_it}");
            assert!(told.contains(&expected), "{told}");
            let (status, _, message) = refusal(&bench.raw(&asking("GET", "/", "web.localhost", "")).await);
            assert!(status == 502 && message.contains("the target's name can't be resolved"), "{message}");
        }
    });
}

#[test]
fn an_address_is_connected_to_once_something_leads_there() {
    run(async {
        let accepted = Rc::new(Cell::new(0));
        let count = accepted.clone();
        let port = daemon(move |_| {
            count.set(count.get() + 1);
            async {}
        });
        let bench = Bench::new(says("a task"));
        let target = Metered::Target { group: name("out"), target: format!("127.0.0.1:{port}").into() };
        let told = group("out", outside(&[port]), Algorithm::default());
        let spec = TargetGroupSpec {
            protocol: TargetProtocol::Tcp,
            health_check: Some(quick(check(None))),
            ..(*told.groups[0]).clone()
        };
        let groups = vec![Arc::new(spec)];
        bench.edge.balance(&BalancerChange { meters: vec![(target, 9)], groups, ..told });
        let said = begin(&bench.edge);
        let health = || target_health::is_healthy(bench.ledger.meter(9).target().health.load(Relaxed));
        bench.edge.balance(&rule("all", 1, &["path=/*"], forward(&["out"])));
        eventually("it is healthy", || health() == Some(true)).await;
        assert!(accepted.get() > 0 && said.borrow().is_empty(), "it is no service's task");
        bench.edge.balance(&no_rule("all"));
    });
}

/// A target that answers every call of gRPC with this code, in its head or behind its body.
fn grpc_daemon(code: &'static str, in_trailers: bool) -> u16 {
    daemon(move |stream| async move {
        let service = service_fn(move |request: hyper::Request<Incoming>| async move {
            assert_eq!(request.uri().path(), TargetHealthCheck::GRPC_METHOD);
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            let message = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(message, Bytes::from_static(&[0; 5]));
            let status = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static(code),
            )]);
            let mut response = Response::new(body::empty());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            if in_trailers {
                let with_trailers =
                    |body: Body| Body::new(body.with_trailers(std::future::ready(Some(Ok(status)))));
                return Ok::<_, Infallible>(response.map(with_trailers));
            }
            response.headers_mut().extend(status);
            Ok(response)
        });
        let http = hyper::server::conn::http2::Builder::new(Local);
        // Whoever asks may leave.
        let _ = http.serve_connection(TokioIo::new(stream), service).await;
    })
}

#[test]
fn a_target_of_grpc_is_called_and_its_code_counts() {
    run(async {
        for (code, in_trailers, expected) in [("12", false, true), ("12", true, true), ("14", true, false)] {
            let bench = Bench::to(Limits::default(), &[(6, grpc_daemon(code, in_trailers))]);
            let TargetHealthCheck { path, matcher, .. } = TargetHealthCheck::of(TargetProtocol::Grpc);
            let check = TargetHealthCheck { path, matcher, ..quick(check(None)) };
            let spec = TargetGroupSpec {
                protocol: TargetProtocol::Grpc,
                health_check: Some(check),
                ..TargetGroupSpec::of_service(name("web"))
            };
            let groups = vec![Arc::new(spec)];
            bench.edge.balance(&BalancerChange { groups, ..BalancerChange::default() });
            let said = begin(&bench.edge);
            eventually("it is known", || health(&bench.ledger, 6) == Some(expected)).await;
            if !expected {
                let (_, _, reason) = said.borrow()[0].clone();
                assert!(reason.starts_with("Health checks failed with these codes: [14]"), "{reason}");
            }
        }
    });
}
