//! TCP listeners: bytes to daemons and back, which daemon, and what ends a connection.

use crate::support::*;
use skiff_edge::{Limits, Listening};
use skiff_ports::connect::ConnectError;
use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Listens for `default/NAME`.
fn listen(bench: &Bench, name: &str) -> (Listening, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let service = format!("default/{name}").parse().unwrap();
    (bench.edge.listen_tcp(listener, service), address)
}

/// Waits until the other side has ended the connection, or reset it; true if it was a reset.
async fn is_reset(stream: &mut TcpStream) -> bool {
    let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await;
    ended.expect("it ends").is_err()
}

/// A daemon that repeats what it is sent, says how much that was, and ends.
fn counting() -> u16 {
    daemon(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        if let Ok(bytes) = tokio::io::copy(&mut reader, &mut writer).await {
            let _ = writer.write_all(format!("{bytes} bytes").as_bytes()).await;
        }
    })
}

#[test]
fn bytes_go_both_ways_and_each_side_ends_for_itself() {
    run(async {
        let bench = Bench::to(Limits::default(), &[(6, counting())]);
        let (_listening, address) = listen(&bench, "web");
        const BYTES: usize = 3 << 20;
        let sent: Vec<u8> = (0..BYTES).map(|index| (index / 7) as u8).collect();
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let copy = sent.clone();
        let writing = tokio::task::spawn_local(async move {
            writer.write_all(&copy).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        tokio::time::timeout(DEADLINE, reader.read_to_end(&mut received)).await.expect("it ends").unwrap();
        writing.await.unwrap();
        assert!(received[..BYTES] == sent[..], "what came back is not what was sent");
        assert_eq!(received[BYTES..], *b"3145728 bytes");
        let mut line = bench.wait_for_lines(1).await.remove(0);
        let fields = line.as_object_mut().unwrap();
        for name in ["time", "duration_us", "client_port"] {
            fields.remove(name);
        }
        assert_eq!(
            line,
            serde_json::json!({
                "listener": null, "client": "127.0.0.1", "method": "", "host": "", "path": "",
                "protocol": "TCP", "status": 0, "target_status": null, "bytes_in": BYTES,
                "bytes_out": BYTES + 13, "request_processing_us": null, "target_processing_us": null,
                "response_processing_us": null, "service": "default/web", "target_group": "default/web",
                "task": task_id(6).to_string(), "matched_rule_priority": "service",
                "actions_executed": "forward", "redirect_url": null, "request_id": "", "trace_id": null,
                "user_agent": null, "error": null,
            })
        );
        eventually("it is gone", || bench.edge.connections() == 0).await;
    });
}

#[test]
fn connections_are_spread_and_go_to_another_daemon_where_one_takes_none() {
    run(async {
        let asked: Rc<RefCell<Vec<u16>>> = Rc::default();
        let (seen, port) = (asked.clone(), counting());
        let connect = connects(move |_, of_task| {
            seen.borrow_mut().push(of_task);
            async move {
                match of_task {
                    1 => Err(ConnectError::Refused),
                    2 => Err(ConnectError::Gone),
                    _ => to_socket(port).await,
                }
            }
        });
        let bench = Bench::of(Limits::default(), says("no daemon"), connect);
        let (_listening, address) = listen(&bench, "web");
        let exchange = async || {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"x").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await, "x1 bytes");
        };
        bench.edge.route(&[daemons("web", &[(6, 6), (7, 7)])], &[]);
        for _ in 0..4 {
            exchange().await;
        }
        assert_eq!(asked.take(), [6, 7, 6, 7]);
        bench.ledger.task(7).row(0).net_inbound.add(1);
        for _ in 0..2 {
            exchange().await;
        }
        assert_eq!(asked.take(), [6, 6], "the one with fewer connections");
        bench.edge.route(&[daemons("web", &[(1, 1), (2, 2), (6, 6)])], &[]);
        exchange().await;
        assert_eq!(asked.take(), [1, 2, 6]);
    });
}

#[test]
fn who_can_not_be_led_anywhere_is_reset() {
    run(async {
        let denied = connects(|_, _| async { Err(ConnectError::Denied("rule 17".to_owned())) });
        let bench = Bench::of(Limits::default(), says("no daemon"), denied);
        bench.edge.route(&[daemons("web", &[(6, 80)])], &[]);
        let cases = [
            ("nobody", "no service default/nobody"),
            ("empty", "the service has no task at present that takes connections"),
            ("hello", "the service has no task at present that takes connections"),
            ("web", "the task's security groups do not let the load balancer in"),
        ];
        for (before, (name, error)) in cases.into_iter().enumerate() {
            let (_listening, address) = listen(&bench, name);
            let mut client = TcpStream::connect(address).await.unwrap();
            assert!(is_reset(&mut client).await, "{name}");
            let line = bench.wait_for_lines(before + 1).await.pop().unwrap();
            assert_eq!(
                (&line["service"], &line["error"]),
                (&format!("default/{name}").into(), &error.into())
            );
        }
    });
}

#[test]
fn a_listener_that_is_dropped_takes_no_more_and_what_it_took_goes_on() {
    run(async {
        let bench = Bench::to(Limits::default(), &[(6, counting())]);
        let (listening, address) = listen(&bench, "web");
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"one ").await.unwrap();
        assert_eq!(read_until(&mut client, "one ").await, "one ");
        assert_eq!((bench.edge.connections(), bench.ledger.worker(0).connections.get()), (1, 1));
        drop(listening);
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        client.write_all(b"two").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "two7 bytes");
    });
}

#[test]
fn connections_of_both_kinds_share_the_room_and_idle_ones_make_it() {
    run(async {
        let limits = Limits { connections_max: 1, ..Limits::default() };
        let bench = Bench::to(limits, &[(6, counting())]);
        let (_listening, address) = listen(&bench, "web");
        let mut idle = bench.connect().await;
        idle.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        read_until(&mut idle, "no daemon").await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"hi").await.unwrap();
        assert_eq!(read_until(&mut client, "hi").await, "hi");
        assert_eq!(read_to_end(&mut idle).await, "", "the idle one had to go");
    });
}

#[test]
fn at_most_half_of_the_room_is_theirs() {
    run(async {
        let limits = Limits { connections_max: 2, ..Limits::default() };
        let bench = Bench::to(limits, &[(6, counting())]);
        let (_listening, address) = listen(&bench, "web");
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"hi").await.unwrap();
        assert_eq!(read_until(&mut client, "hi").await, "hi");
        let mut http1 = bench.http1().await;
        for _ in 0..3 {
            let mut refused = TcpStream::connect(address).await.unwrap();
            assert!(is_reset(&mut refused).await);
            http1.ready().await.unwrap();
            assert_eq!(text(http1.send_request(get()).await.unwrap()).await, "no daemon");
        }
        let lines = bench.wait_for_lines(6).await;
        let refused = "this worker has as many connections without HTTP as it may";
        assert_eq!(lines.iter().filter(|line| line["error"] == refused).count(), 3, "{lines:?}");
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "2 bytes");
        eventually("its place is free", || bench.edge.connections() == 1).await;
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"hi").await.unwrap();
        assert_eq!(read_until(&mut next, "hi").await, "hi");
    });
}

#[test]
fn a_worker_without_room_leaves_connections_to_others_and_ends_with_a_drain() {
    run(async {
        let limits = Limits { connections_max: 1, ..Limits::default() };
        let full = Bench::with(limits, task(|_, _| std::future::pending()));
        let other = Bench::to(Limits::default(), &[(6, counting())]);
        let mut busy = full.connect().await;
        busy.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        eventually("it is asked", || full.ledger.worker(0).requests.get() == 1).await;
        let shared = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = shared.local_addr().unwrap();
        let listen = |bench: &Bench| {
            bench.edge.listen_tcp(shared.try_clone().unwrap(), "default/web".parse().unwrap())
        };
        let (_of_full, of_other) = (listen(&full), listen(&other));
        for _ in 0..8 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"x").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await, "x1 bytes");
        }
        drop((of_other, shared));
        let _waits = TcpStream::connect(address).await.unwrap();
        assert!(!full.edge.drain(Duration::from_millis(50)).await);
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}

/// A daemon that repeats what it is sent; tells whether its last connection was reset, once it has ended.
fn noting_resets() -> (u16, Rc<Cell<Option<bool>>>) {
    let was_reset = Rc::new(Cell::new(None));
    let note = was_reset.clone();
    let port = daemon(move |mut stream| {
        let note = note.clone();
        async move {
            let (mut reader, mut writer) = stream.split();
            note.set(Some(tokio::io::copy(&mut reader, &mut writer).await.is_err()));
        }
    });
    (port, was_reset)
}

#[test]
fn a_daemon_does_not_take_a_connection_that_was_broken_off_for_one_that_has_ended() {
    run(async {
        for (by, expected) in [("the end", false), ("a reset", true), ("silence", true), ("a drain", true)] {
            let (port, was_reset) = noting_resets();
            let silence_ms = if by == "silence" { 500 } else { 60_000 };
            let tunnel_idle_timeout = Duration::from_millis(silence_ms);
            let bench = Bench::to(Limits { tunnel_idle_timeout, ..Limits::default() }, &[(6, port)]);
            let (_listening, address) = listen(&bench, "web");
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"hi").await.unwrap();
            assert_eq!(read_until(&mut client, "hi").await, "hi");
            match by {
                "the end" => client.shutdown().await.unwrap(),
                "a reset" => {
                    client.set_zero_linger().unwrap();
                    drop(client);
                }
                "silence" => assert!(is_reset(&mut client).await),
                _ => assert!(!bench.edge.drain(Duration::from_millis(50)).await),
            }
            eventually(by, || was_reset.get().is_some()).await;
            assert_eq!(was_reset.get(), Some(expected), "by {by}");
        }
    });
}

#[test]
fn silence_and_a_drain_end_a_connection() {
    run(async {
        let idle = Limits { tunnel_idle_timeout: Duration::from_millis(500), ..Limits::default() };
        for (limits, error) in [
            (Limits::default(), "the load balancer stopped before the response ended"),
            (idle, "neither side sent anything for 500 ms"),
        ] {
            let bench = Bench::to(limits, &[(6, counting())]);
            let (_listening, address) = listen(&bench, "web");
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"hi").await.unwrap();
            assert_eq!(read_until(&mut client, "hi").await, "hi");
            if error.contains("stopped") {
                assert!(!bench.edge.drain(Duration::from_millis(50)).await);
            }
            assert!(is_reset(&mut client).await, "{error}");
            let line = &bench.wait_for_lines(1).await[0];
            assert_eq!((&line["error"], &line["bytes_in"]), (&error.into(), &2.into()));
        }
    });
}

#[test]
fn a_drain_waits_for_what_ends_by_itself_and_takes_no_more() {
    run(async {
        let ended = Rc::new(Cell::new(false));
        let flag = ended.clone();
        let port = daemon(move |mut stream| {
            let flag = flag.clone();
            async move {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                flag.set(true);
            }
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let (_listening, address) = listen(&bench, "web");
        let mut client = TcpStream::connect(address).await.unwrap();
        eventually("it is served", || bench.edge.connections() == 1).await;
        let edge = bench.edge.clone();
        let drained = tokio::task::spawn_local(async move { edge.drain(DEADLINE).await });
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!drained.is_finished());
        client.shutdown().await.unwrap();
        assert!(drained.await.unwrap());
        assert!(ended.get());
    });
}
