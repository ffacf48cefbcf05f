//! Target groups of hosts outside: what crosses, which host is asked, connections that wait, and changes of the group.

use crate::support::*;
use crate::told::*;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_edge::Limits;
use skiff_ports::body;
use skiff_types::Algorithm;
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// A host that answers with its name once it may, and what it has seen.
struct Host {
    port: u16,
    /// Connections that were opened to it, and those that are.
    opened: Rc<Cell<usize>>,
    open: Rc<Cell<usize>>,
    asked: Rc<Cell<usize>>,
}

/// A host that answers at once.
fn host(name: &'static str) -> Host {
    slow_host(name, None)
}

/// A host that waits before each answer, if it is given something to wait for.
fn slow_host(name: &'static str, wait: Option<Rc<Notify>>) -> Host {
    let [opened, open, asked] = [(); 3].map(|()| Rc::new(Cell::new(0)));
    let counts = (opened.clone(), open.clone(), asked.clone());
    let port = daemon(move |stream| {
        let ((opened, open, asked), wait) = (counts.clone(), wait.clone());
        async move {
            opened.set(opened.get() + 1);
            open.set(open.get() + 1);
            let service = service_fn(move |_: Request<Incoming>| {
                asked.set(asked.get() + 1);
                let wait = wait.clone();
                async move {
                    if let Some(wait) = wait {
                        wait.notified().await;
                    }
                    Ok::<_, Infallible>(Response::new(body::full(name)))
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            // Whoever asks may leave.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            open.set(open.get() - 1);
        }
    });
    Host { port, opened, open, asked }
}

/// An edge that forwards everything to `default/out`.
fn bench(limits: Limits, ports: &[u16], algorithm: Algorithm) -> Bench {
    let bench = Bench::with(limits, says("a task"));
    bench.edge.balance(&group("out", outside(ports), algorithm));
    bench.edge.balance(&rule("all", 1, &["path=/*"], forward(&["out"])));
    bench
}

/// What the host that is asked answers.
async fn body_of(bench: &Bench) -> String {
    let raw = bench.raw(&asking("GET", "/", "shop.example", "")).await;
    answer(&raw).1.to_owned()
}

#[test]
fn a_host_outside_sees_the_clients_host_and_who_asks() {
    run(async {
        let port = daemon(|mut stream| async move {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            let length = head.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nKeep-Alive: x\r\n\r\n");
            stream.write_all((answer + &head).as_bytes()).await.unwrap();
        });
        let bench = bench(Limits::default(), &[port], Algorithm::RoundRobin);
        let headers = "X-Request-Id: mine\r\nTE: trailers\r\nSkiff-Caller: a/b\r\n";
        let raw = bench.raw(&asking("GET", "/a?b=c", "Shop.example:81", headers)).await;
        let (status, seen) = answer(&raw);
        assert_eq!(status, 200, "{raw}");
        let mut lines: Vec<&str> = seen.trim().lines().collect();
        assert_eq!(lines.remove(0), "GET /a?b=c HTTP/1.1");
        lines.sort_unstable();
        let forwarded_port = format!("x-forwarded-port: {}", bench.address.port());
        let expected = [
            "connection: te",
            "host: Shop.example:81",
            "te: trailers",
            "x-forwarded-for: 127.0.0.1",
            forwarded_port.as_str(),
            "x-forwarded-proto: http",
            "x-request-id: mine",
        ];
        let count = lines.len();
        lines.retain(|line| !line.starts_with("traceparent: 00-"));
        assert_eq!(count - lines.len(), 1, "{seen}");
        assert_eq!(lines, expected);
        assert!(!raw.to_ascii_lowercase().contains("keep-alive"), "{raw}");
        let line = &bench.wait_for_lines(1).await[0];
        assert_eq!((&line["service"], &line["status"]), (&"default/out".into(), &200.into()));
        assert_eq!(line["task"], format!("127.0.0.1:{port}"));
        // No task has it in its account.
        assert_eq!(bench.ledger.worker(0).platform_requests.get(), 1);
    });
}

#[test]
fn connections_wait_for_the_next_request_but_not_for_long() {
    run(async {
        let far = host("far");
        let limits = Limits { target_idle_timeout: Duration::from_secs(1), ..Limits::default() };
        let bench = bench(limits, &[far.port], Algorithm::LeastOutstandingRequests);
        for _ in 0..5 {
            assert_eq!(body_of(&bench).await, "far");
        }
        assert_eq!((far.opened.get(), far.asked.get()), (1, 5));
        eventually("it is closed", || far.open.get() == 0).await;
        assert_eq!(body_of(&bench).await, "far");
        assert_eq!((far.opened.get(), far.asked.get()), (2, 6));
    });
}

#[test]
fn hosts_take_turns_or_the_one_with_fewer_requests_is_asked() {
    run(async {
        let wait = Rc::new(Notify::new());
        let (slow, fast) = (slow_host("slow", Some(wait.clone())), host("fast"));
        let ports = [slow.port, fast.port];
        let bench = bench(Limits::default(), &ports, Algorithm::LeastOutstandingRequests);
        let request = asking("GET", "/", "shop.example", "");
        let first = bench.raw(&request);
        let others = async {
            eventually("it is asked", || slow.asked.get() == 1).await;
            for _ in 0..4 {
                assert_eq!(body_of(&bench).await, "fast");
            }
            wait.notify_one();
        };
        assert_eq!(answer(&tokio::join!(first, others).0), (200, "slow"));

        let hosts = [host("a"), host("b"), host("c")];
        let ports = hosts.each_ref().map(|host| host.port);
        bench.edge.balance(&group("out", outside(&ports), Algorithm::RoundRobin));
        let mut said = String::new();
        for _ in 0..6 {
            said += &body_of(&bench).await;
        }
        assert_eq!(said, "abcabc");
        bench.edge.balance(&group("out", outside(&ports), Algorithm::WeightedRandom));
        for _ in 0..60 {
            body_of(&bench).await;
        }
        assert!(hosts.iter().all(|host| host.asked.get() > 2), "each has its share");
    });
}

#[test]
fn another_host_is_tried_where_one_takes_no_connections() {
    run(async {
        let far = host("far");
        // Nobody listens there any more.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bench = bench(Limits::default(), &[closed, far.port], Algorithm::RoundRobin);
        for _ in 0..4 {
            assert_eq!(body_of(&bench).await, "far");
        }
        bench.edge.balance(&group("out", outside(&[closed]), Algorithm::RoundRobin));
        let (status, code, message) = refusal(&bench.raw(&asking("GET", "/", "shop.example", "")).await);
        assert_eq!((status, code.as_str()), (502, "task_failed"));
        assert!(message.contains("does not take connections"), "{message}");
    });
}

#[test]
fn a_change_of_the_group_fails_no_request_and_leaves_the_connections_of_who_stays() {
    run(async {
        let wait = Rc::new(Notify::new());
        let (leaves, stays) = (slow_host("leaves", Some(wait.clone())), host("stays"));
        let bench = bench(Limits::default(), &[leaves.port, stays.port], Algorithm::RoundRobin);
        let request = asking("GET", "/", "shop.example", "");
        let in_flight = bench.raw(&request);
        let changed = async {
            eventually("it is asked", || leaves.asked.get() == 1).await;
            assert_eq!(body_of(&bench).await, "stays");
            bench.edge.balance(&group("out", outside(&[stays.port]), Algorithm::RoundRobin));
            assert_eq!(body_of(&bench).await, "stays");
            bench.edge.balance(&no_group("out"));
            let (status, _, message) = refusal(&bench.raw(&request).await);
            assert!(status == 503 && message.contains("default/out"), "{message}");
            wait.notify_one();
        };
        assert_eq!(answer(&tokio::join!(in_flight, changed).0), (200, "leaves"));
        assert_eq!((leaves.opened.get(), stays.opened.get(), stays.asked.get()), (1, 1, 2));
    });
}

#[test]
fn a_client_and_a_host_outside_may_change_to_another_protocol() {
    run(async {
        let port = daemon(|mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let agreement =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
            stream.write_all(agreement).await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        let bench = bench(Limits::default(), &[port], Algorithm::RoundRobin);
        let mut client = bench.connect().await;
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        client.write_all(head).await.unwrap();
        assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "hello");
    });
}
