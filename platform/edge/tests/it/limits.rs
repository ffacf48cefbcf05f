//! Limits on rate and concurrency, over two workers of one node: of clients, rules, target groups and connections; and a
//! worker that has too much to do.

use crate::support::*;
use crate::told::*;
use http::Response;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use skiff_edge::{Edge, Limits};
use skiff_ledger::Ledger;
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::body;
use skiff_ports::invoke::Invoke;
use skiff_types::{Algorithm, BUILT_IN_LISTENER, Limit, ListenerProtocol};
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

// Slots of meters.
const LISTENER: u32 = 0;
const RULE: u32 = 1;
const GROUP: u32 = 2;

/// Two workers, which are told the same.
struct Node {
    edges: [Rc<Edge>; 2],
    ledger: Ledger,
}

impl Node {
    fn new(invoke: &Rc<dyn Invoke>) -> Self {
        let (ledger, _) = Ledger::create(2).unwrap();
        let edges = [0, 1].map(|worker| edge(worker, Limits::default(), None, 80, invoke.clone(), &ledger));
        let node = Self { edges, ledger };
        node.tell(BalancerChange {
            meters: vec![(Metered::built_in_listener(), LISTENER)],
            ..BalancerChange::default()
        });
        node
    }

    fn tell(&self, change: BalancerChange) {
        self.edges.iter().for_each(|edge| edge.balance(&change));
    }

    /// The built-in listener lets each client do so much, and answers what is no service's with `ok`.
    fn bound_clients(&self, limit: &str) {
        let mut change = listener(BUILT_IN_LISTENER, ListenerProtocol::Http, 80, respond(200, "ok"));
        let spec = Arc::make_mut(&mut change.listeners[0]);
        spec.client_limit = Some(self::limit(limit));
        spec.services = true;
        self.tell(change);
    }

    fn rejected(&self, slot: u32) -> u64 {
        self.ledger.meter(slot).totals().rejected
    }

    /// What a client at `peer` is answered by a worker, on a connection of its own.
    async fn ask(&self, worker: usize, peer: &str, host: &str) -> String {
        let mut client = connect(&self.edges[worker], peer).await;
        client.write_all(asking("GET", "/", host, "").as_bytes()).await.unwrap();
        read_to_end(&mut client).await
    }
}

/// A connection to a worker that seems to come from `peer`.
async fn connect(edge: &Rc<Edge>, peer: &str) -> TcpStream {
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(door.local_addr().unwrap()), door.accept());
    let peer = SocketAddr::new(peer.parse().unwrap(), 4321);
    tokio::task::spawn_local(edge.serve(accepted.unwrap().0, peer));
    client.unwrap()
}

/// Has what waits go on until all of these are answered.
async fn answered(go_on: &Notify, asked: Vec<JoinHandle<String>>) {
    while !asked.iter().all(JoinHandle::is_finished) {
        // Who was let in may not wait yet.
        go_on.notify_waiters();
        tokio::task::yield_now().await;
    }
    for asked in asked {
        assert_eq!(status(&asked.await.unwrap()), 200);
    }
}

fn limit(text: &str) -> Limit {
    text.parse().unwrap()
}

/// A task that answers once it is told to, as often as it was.
fn held(go_on: &Rc<Notify>) -> Rc<dyn Invoke> {
    let go_on = go_on.clone();
    task(move |_, _| {
        let go_on = go_on.clone();
        async move {
            go_on.notified().await;
            Ok(Response::new(body::full("hi")))
        }
    })
}

fn status(raw: &str) -> u16 {
    answer(raw).0
}

#[test]
fn a_client_is_bounded_over_all_workers() {
    run(async {
        let node = Node::new(&says("hi"));
        node.bound_clients("rate=1,burst=6");
        let (began, mut let_in) = (Instant::now(), 0);
        for round in 0..20 {
            let raw = node.ask(round % 2, "192.0.2.7", "anybody").await;
            if status(&raw) == 200 {
                let_in += 1;
                continue;
            }
            let message = "this client has sent more than 1 request a second to the listener http";
            assert_eq!(refusal(&raw), (429, "too_many_requests".to_owned(), message.to_owned()));
            assert!(raw.contains("\r\nretry-after: 1\r\n"), "{raw}");
        }
        let most = 6 + began.elapsed().as_secs() + 1;
        assert!((6..=most).contains(&let_in), "{let_in} were let in");
        assert_eq!(status(&node.ask(0, "192.0.2.8", "anybody").await), 200, "another client");
        eventually("they are counted", || node.rejected(LISTENER) == 20 - let_in).await;
    });
}

#[test]
fn a_network_of_ipv6_is_one_client_and_one_of_ipv4_another_however_it_is_written() {
    run(async {
        let node = Node::new(&says("hi"));
        node.bound_clients("concurrent=1");
        let cell = |address: &str| node.ledger.client("http", address.parse::<IpAddr>().unwrap()).unwrap();
        assert!(cell("2001:db8:1:2::1").claim_in_flight(1, 1) && cell("192.0.2.7").claim_in_flight(1, 1));
        for (peer, expected) in [
            ("2001:db8:1:2:ffff::9", 429),
            ("2001:db8:1:3::1", 200),
            ("::ffff:192.0.2.7", 429),
            ("192.0.2.8", 200),
        ] {
            assert_eq!(status(&node.ask(0, peer, "anybody").await), expected, "{peer}");
        }
    });
}

#[test]
fn what_a_client_has_under_way_is_bounded_and_given_back_when_it_ends() {
    run(async {
        let go_on = Rc::new(Notify::new());
        let node = Rc::new(Node::new(&held(&go_on)));
        node.bound_clients("concurrent=2");
        let under_way = || node.ledger.client("http", "192.0.2.7".parse().unwrap()).unwrap().in_flight();
        let ask = |worker: usize| {
            let node = node.clone();
            tokio::task::spawn_local(async move { node.ask(worker, "192.0.2.7", "hello.localhost").await })
        };
        let first = [ask(0), ask(1)];
        eventually("both are under way", || under_way() == 2).await;
        let raw = node.ask(0, "192.0.2.7", "hello.localhost").await;
        let message = "this client has 2 requests under way at the listener http, as many as one may have";
        assert_eq!(refusal(&raw), (429, "too_many_requests".to_owned(), message.to_owned()));
        answered(&go_on, first.into()).await;
        eventually("it has none", || under_way() == 0).await;
        let again = ask(1);
        eventually("the next is under way", || under_way() == 1).await;
        answered(&go_on, vec![again]).await;
    });
}

#[test]
fn what_a_dead_worker_had_under_way_bounds_nobody() {
    run(async {
        let node = Node::new(&says("hi"));
        node.bound_clients("concurrent=1");
        let client = node.ledger.client("http", "192.0.2.7".parse().unwrap()).unwrap();
        assert!(client.claim_in_flight(1, 1));
        assert_eq!(status(&node.ask(0, "192.0.2.7", "anybody").await), 429);
        node.ledger.close_worker(1, std::iter::empty());
        assert_eq!(status(&node.ask(0, "192.0.2.7", "anybody").await), 200);
    });
}

#[test]
fn a_rule_is_bounded_over_all_workers_and_what_it_does_not_take_is_not() {
    run(async {
        let node = Node::new(&says("hi"));
        let mut change = rule("few", 7, &["host=few.example"], respond(200, "few"));
        Arc::make_mut(&mut change.rules[0]).limit = Some(limit("rate=1,burst=2"));
        node.tell(change.clone());
        for _ in 0..8 {
            let raw = node.ask(0, "192.0.2.7", "few.example").await;
            assert_eq!(status(&raw), 200, "nobody counts for it yet");
        }
        change.meters = vec![(Metered::Rule("default/few".parse().unwrap()), RULE)];
        node.tell(change);
        let mut statuses = Vec::new();
        for round in 0..8 {
            let raw = node.ask(round % 2, "192.0.2.7", "few.example").await;
            if status(&raw) == 429 {
                assert_eq!(refusal(&raw).2, "more than 1 request a second came to the rule default/few");
            }
            statuses.push(status(&raw));
            assert_eq!(status(&node.ask(round % 2, "192.0.2.7", "hello.localhost").await), 200);
        }
        assert!(statuses.starts_with(&[200, 200]) && statuses.contains(&429), "{statuses:?}");
        let refused = statuses.iter().filter(|&&status| status == 429).count() as u64;
        eventually("they are counted", || node.rejected(RULE) == refused).await;
    });
}

#[test]
fn a_target_group_has_only_so_many_under_way_over_all_workers() {
    run(async {
        let go_on = Rc::new(Notify::new());
        let wait = go_on.clone();
        let port = http_daemon(move |_| {
            let wait = wait.clone();
            async move {
                wait.notified().await;
                Response::new(body::full("out"))
            }
        });
        let node = Rc::new(Node::new(&says("hi")));
        let mut change = group("out", outside(&[port]), Algorithm::RoundRobin);
        Arc::make_mut(&mut change.groups[0]).limit = Some(limit("concurrent=2"));
        change.meters = vec![(Metered::Group("default/out".parse().unwrap()), GROUP)];
        node.tell(change);
        node.tell(rule("out", 7, &["host=out.example"], forward(&["out"])));
        let ask = |worker: usize| {
            let node = node.clone();
            tokio::task::spawn_local(async move { node.ask(worker, "192.0.2.7", "out.example").await })
        };
        let first = [ask(0), ask(1)];
        let outstanding = || node.ledger.meter(GROUP).outstanding();
        eventually("both are under way", || outstanding() == 2).await;
        let raw = node.ask(1, "192.0.2.9", "out.example").await;
        let message = "the target group default/out has 2 requests under way, as many as it may have";
        assert_eq!(refusal(&raw), (429, "too_many_requests".to_owned(), message.to_owned()));
        answered(&go_on, first.into()).await;
        eventually("it has none", || outstanding() == 0).await;
        eventually("it is counted", || node.rejected(GROUP) == 1).await;
    });
}

#[test]
fn past_a_clients_connections_one_is_reset() {
    run(async {
        let bench = Bench::new(says("hi"));
        let port = daemon(|mut stream| async move {
            let (mut reader, mut writer) = stream.split();
            let _ = writer.write_all(b"hi").await;
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        bench.edge.balance(&group("out", outside(&[port]), Algorithm::RoundRobin));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut change = listener("db", ListenerProtocol::Tcp, address.port(), forward(&["out"]));
        Arc::make_mut(&mut change.listeners[0]).client_limit = Some(limit("concurrent=1"));
        change.meters = vec![(Metered::Listener("db".parse().unwrap()), LISTENER)];
        bench.edge.balance(&change);
        let _listening = bench.edge.listen(socket, "db".parse().unwrap());
        let mut first = TcpStream::connect(address).await.unwrap();
        assert_eq!(read_until(&mut first, "hi").await, "hi");
        let is_reset = async || {
            let mut more = match TcpStream::connect(address).await {
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
                Ok(more) => more,
            };
            let read =
                tokio::time::timeout(DEADLINE, more.read_u8()).await.expect("it ends, or says something");
            read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
        };
        assert!(is_reset().await);
        let line = bench.wait_for_lines(1).await.remove(0);
        assert_eq!(
            line["error"],
            "this client has 1 connection under way at the listener db, as many as one may have"
        );
        assert_eq!(bench.ledger.meter(LISTENER).totals().rejected, 1);
        first.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut first).await, "");
        bench.wait_for_lines(2).await;
        assert!(!is_reset().await);
    });
}

#[test]
fn new_connections_of_a_client_come_no_faster_than_they_may() {
    run(async {
        let bench = Bench::to(
            Limits::default(),
            &[(
                6,
                daemon(|mut stream| async move {
                    let _ = stream.write_all(b"hi").await;
                }),
            )],
        );
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut change = listener("db", ListenerProtocol::Tcp, address.port(), forward(&["web"]));
        Arc::make_mut(&mut change.listeners[0]).client_limit = Some(limit("rate=1,burst=3"));
        bench.edge.balance(&change);
        let _listening = bench.edge.listen(socket, "db".parse().unwrap());
        let (began, mut served) = (Instant::now(), 0);
        for _ in 0..12 {
            if let Ok(mut client) = TcpStream::connect(address).await {
                served += u64::from(read_to_end(&mut client).await == "hi");
            }
        }
        let most = 3 + began.elapsed().as_secs() + 1;
        assert!((3..=most).contains(&served), "{served} were served");
    });
}

/// What clients were told that ask again and again.
#[derive(Default)]
struct Told {
    answered: Cell<u64>,
    refused: Cell<u64>,
}

impl Told {
    fn is_enough(&self) -> bool {
        self.answered.get() >= 20 && self.refused.get() >= 20
    }

    /// Asks on one connection until that was said often enough.
    async fn keep_asking(&self, edge: &Rc<Edge>) {
        let (mut client, connection) =
            http1::handshake(TokioIo::new(connect(edge, "192.0.2.7").await)).await.unwrap();
        tokio::task::spawn_local(connection);
        let end = Instant::now() + DEADLINE;
        while !self.is_enough() {
            assert!(Instant::now() < end, "{} answered, {} refused", self.answered.get(), self.refused.get());
            client.ready().await.unwrap();
            let response = client.send_request(get()).await.unwrap();
            let (status, retry_after) =
                (response.status().as_u16(), response.headers().get("retry-after").cloned());
            let body = text(response).await;
            if status == 200 {
                self.answered.set(self.answered.get() + 1);
                continue;
            }
            assert_eq!((status, retry_after.unwrap().to_str().unwrap()), (503, "1"));
            assert!(body.contains(r#""code":"overloaded""#), "{body}");
            self.refused.set(self.refused.get() + 1);
        }
    }
}

#[test]
fn a_worker_that_cant_keep_up_refuses_a_share_and_answers_the_rest() {
    run(async {
        let busy = task(|_, _| async {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
            Ok(Response::new(body::full("hi")))
        });
        let bench = Bench::with(Limits { wait_target: Duration::from_millis(5), ..Limits::default() }, busy);
        bench.edge.balance(&BalancerChange {
            meters: vec![(Metered::built_in_listener(), LISTENER)],
            ..BalancerChange::default()
        });
        let told = Told::default();
        // Some 60 ms of work are always there.
        futures::future::join_all((0..30).map(|_| told.keep_asking(&bench.edge))).await;
        let (answered, refused) = (told.answered.get(), told.refused.get());
        let totals = || bench.ledger.meter(LISTENER).totals();
        eventually("they are counted", || totals().rejected == refused).await;
        assert_eq!(totals().requests, answered + refused);
        let lines = bench.wait_for_lines((answered + refused) as usize).await;
        let logged: Vec<_> = lines.iter().filter(|line| line["status"] == 503).collect();
        assert_eq!(logged.len() as u64, refused);
        for line in logged {
            let asked = ["method", "host", "path", "client"].map(|field| line[field].as_str().unwrap());
            assert_eq!(asked, ["GET", "hello.localhost", "/", "192.0.2.7"]);
            assert!(line["error"].as_str().unwrap().starts_with("more requests come"), "{line}");
        }
    });
}
