//! Internal listeners: connections that tasks open, in memory, served like those of sockets; and that nobody else comes there.

use crate::support::*;
use crate::told::*;
use skiff_edge::Limits;
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_types::{Action, ListenerProtocol, Name, Scheme};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PORT: u16 = 9000;
/// The task that connects.
const TASK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 64, 0, 17)), 50_000);
/// Bytes that may wait in a connection.
const ROOM_BYTES: usize = 64 << 10;

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

/// An internal listener where services' own hosts lead nowhere.
fn internal(name: &str, protocol: ListenerProtocol, default_action: Action) -> BalancerChange {
    let mut told = listener(name, protocol, PORT, default_action);
    told.listeners.iter_mut().for_each(|spec| Arc::make_mut(spec).scheme = Scheme::Internal);
    told
}

/// Connects to the internal listener of this name as a task does.
fn connect(bench: &Bench, to: &str) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(ROOM_BYTES);
    tokio::task::spawn_local(bench.edge.serve_internal(Box::new(theirs), TASK, &name(to)));
    ours
}

/// Sends a request that has its connection closed, and reads to the end.
async fn exchange(bench: &Bench, to: &str, request: &str) -> String {
    let mut stream = connect(bench, to);
    stream.write_all(request.as_bytes()).await.unwrap();
    read(&mut stream).await
}

async fn read(stream: &mut DuplexStream) -> String {
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("it ends").unwrap();
    answer
}

#[test]
fn a_task_is_served_by_the_listeners_rules_under_its_own_address() {
    run(async {
        let bench = Bench::new(echo());
        let told = internal("api", ListenerProtocol::Http, respond(404, "not here"));
        let meters = vec![(Metered::Listener(name("api")), 0)];
        bench.edge.balance(&BalancerChange { meters, ..told });
        assert_eq!(bench.edge.internal_listener_at(PORT), Some(name("api")));
        assert!(bench.edge.has_internal_listener(&name("api")));
        bench.edge.balance(&rule_of(
            "api",
            "only",
            7,
            &["path=/hello", "source=10.64.0.17/32"],
            forward(&["hello"]),
        ));
        let raw = exchange(&bench, "api", &asking("GET", "/hello", "api.listener.internal:9000", "")).await;
        assert_eq!(answer(&raw).0, 200, "{raw}");
        for line in ["x-forwarded-for: 10.64.0.17", "x-forwarded-port: 9000", "x-forwarded-proto: http"] {
            assert!(raw.contains(&format!("saw-{line}\r\n")), "{line:?} is not in {raw}");
        }
        let elsewhere = exchange(&bench, "api", &asking("GET", "/else", "a", "")).await;
        assert_eq!(answer(&elsewhere), (404, "not here"));
        let lines = bench.wait_for_lines(2).await;
        assert_eq!((&lines[0]["client"], &lines[0]["listener"]), (&"10.64.0.17".into(), &"api".into()));
        eventually("they are closed", || bench.ledger.meter(0).totals().connections == 0).await;
        let totals = bench.ledger.meter(0).totals();
        assert_eq!((totals.connections_total, totals.requests), (2, 2));
    });
}

#[test]
fn a_task_that_asks_too_much_is_no_reason_to_refuse_those_beside_it() {
    run(async {
        let bench = Bench::new(says("hi"));
        let mut told = internal("api", ListenerProtocol::Http, respond(200, "hi"));
        Arc::make_mut(&mut told.listeners[0]).client_limit = Some("concurrent=1".parse().unwrap());
        bench.edge.balance(&told);
        // The node's tasks are all of one /64.
        let task = |place: u16| {
            SocketAddr::new(Ipv6Addr::new(0xfd73, 0x6b69, 0x6666, 0, 0, 0, 0, place).into(), 50_000)
        };
        let busy = bench.ledger.client_by_address("api", task(17).ip()).unwrap();
        assert!(busy.claim_in_flight(0, 1));
        for (from, expected) in [(task(17), 429), (task(18), 200)] {
            let (mut ours, theirs) = tokio::io::duplex(ROOM_BYTES);
            tokio::task::spawn_local(bench.edge.serve_internal(Box::new(theirs), from, &name("api")));
            ours.write_all(asking("GET", "/", "a", "").as_bytes()).await.unwrap();
            assert_eq!(answer(&read(&mut ours).await).0, expected, "{from}");
        }
    });
}

#[test]
fn bytes_go_where_an_internal_listener_of_tcp_forwards_them() {
    run(async {
        let port = daemon(|mut stream| async move {
            let (mut reader, mut writer) = stream.split();
            writer.write_all(b"daemon: ").await.unwrap();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        bench.edge.balance(&internal("db", ListenerProtocol::Tcp, forward(&["web"])));
        let mut stream = connect(&bench, "db");
        stream.write_all(b"hi").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read(&mut stream).await, "daemon: hi");
        let line = bench.wait_for_lines(1).await.remove(0);
        assert_eq!((&line["client"], &line["listener"]), (&"10.64.0.17".into(), &"db".into()));
        assert_eq!((&line["protocol"], &line["bytes_in"]), (&"TCP".into(), &2.into()));
        eventually("it is gone", || bench.edge.connections() == 0).await;
    });
}

#[test]
fn who_finds_no_room_waits_until_an_idle_connection_has_left() {
    run(async {
        let bench = Bench::with(Limits { connections_max: 1, ..Limits::default() }, says("hi"));
        bench.edge.balance(&internal("api", ListenerProtocol::Http, forward(&["hello"])));
        let mut idle = bench.connect().await;
        idle.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        read_until(&mut idle, "hi").await;
        let raw = exchange(&bench, "api", &asking("GET", "/", "a", "")).await;
        assert_eq!(answer(&raw), (200, "hi"));
        assert_eq!(read_to_end(&mut idle).await, "", "it made room");
    });
}

#[test]
fn what_is_no_internal_listener_is_not_reached_by_tasks() {
    run(async {
        let bench = Bench::new(says("hi"));
        bench.edge.balance(&listener("other", ListenerProtocol::Http, PORT, forward(&["hello"])));
        assert_eq!(bench.edge.internal_listener_at(PORT), None);
        for to in ["other", "http", "nobody"] {
            assert!(!bench.edge.has_internal_listener(&name(to)), "{to}");
            assert_eq!(read(&mut connect(&bench, to)).await, "", "{to}");
        }
        bench.edge.balance(&internal("api", ListenerProtocol::Http, forward(&["hello"])));
        let mut open = connect(&bench, "api");
        open.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        open.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        bench.edge.balance(&no_listener("api"));
        assert!(read(&mut open).await.ends_with("hi"), "it ends after what was in flight");
        assert_eq!(read(&mut connect(&bench, "api")).await, "");
    });
}

#[test]
fn nobody_comes_to_an_internal_listener_by_a_socket() {
    run(async {
        let bench = Bench::new(says("hi"));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let told = |scheme| {
            let mut told = listener("api", ListenerProtocol::Http, address.port(), forward(&["hello"]));
            told.listeners.iter_mut().for_each(|spec| Arc::make_mut(spec).scheme = scheme);
            told
        };
        bench.edge.balance(&told(Scheme::Public));
        // As for the moment before the supervisor has closed it.
        let _listening = bench.edge.listen(socket, name("api"));
        let mut before = TcpStream::connect(address).await.unwrap();
        before.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_until(&mut before, "hi").await;
        bench.edge.balance(&told(Scheme::Internal));
        assert_eq!(read_to_end(&mut before).await, "", "who came while it was public leaves");
        eventually("it is gone", || bench.edge.connections() == 0).await;
        let mut waiting = TcpStream::connect(address).await.unwrap();
        waiting.write_all(asking("GET", "/", "a", "").as_bytes()).await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.edge.connections(), 0);
        bench.edge.balance(&told(Scheme::Public));
        assert_eq!(answer(&read_to_end(&mut waiting).await), (200, "hi"));
    });
}
