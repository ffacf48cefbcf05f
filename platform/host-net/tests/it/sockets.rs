//! `wasi:sockets` of both generations: guests talk to each other, and to the test, which is a task of the network itself and
//! so sees what a guest's socket does to the other side.

use crate::world::{Guest, World};
use bytes::Bytes;
use skiff_net::{Interface, Limits, Listener, NetError, Stream};
use skiff_ports::flows::Verdict;
use skiff_ports::logs::LogStream;
use skiff_testbed::{on_one_thread, until};
use skiff_types::{Direction, MemorySize, TaskId, Transport};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};

const BOTH: [Guest; 2] = [Guest::Sockets, Guest::SocketsP3];
const PORT: u16 = 7000;
/// Bytes that are read or written at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Memory is charged in steps of 64 KiB: one that the guest's heap may be ahead, and two that its sockets may.
const MEMORY_SLACK_BYTES: u64 = 4 * (64 << 10);

/// Runs a program with this script.
fn start(world: &World, guest: Guest, service: &str, script: &[&str]) -> TaskId {
    world.run(guest, service, |spec| {
        spec.command.arguments = script.iter().map(|&word| word.to_owned()).collect();
        spec.limits.memory = MemorySize::from_mib(32);
    })
}

/// Runs a server, and waits until it listens; the task, and where.
async fn serve(world: &World, guest: Guest, script: &[&str]) -> (TaskId, SocketAddr) {
    let task = start(world, guest, "server", script);
    let lines = || world.lines(task, LogStream::Stdout);
    until("the server never listened", || {
        lines().iter().any(|line| line.starts_with("listening") || line.starts_with("bound"))
    })
    .await;
    (task, SocketAddr::new(world.address(task).v4.into(), PORT))
}

/// What a program says from its start to its end.
async fn said(world: &World, guest: Guest, script: &[&str]) -> Vec<String> {
    let task = start(world, guest, "client", script);
    world.end_of(task).await
}

async fn read(stream: &Stream) -> Result<Bytes, NetError> {
    poll_fn(|cx| stream.poll_read(cx, CHUNK_BYTES)).await
}

async fn read_to_end(stream: &Stream) -> Result<Vec<u8>, NetError> {
    let mut all = Vec::new();
    loop {
        let bytes = read(stream).await?;
        if bytes.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&bytes);
    }
}

async fn write(stream: &Stream, bytes: &[u8]) -> Result<(), NetError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = poll_fn(|cx| stream.poll_writable(cx)).await?;
        let (now, later) = rest.split_at(room.min(rest.len()));
        stream.write(Bytes::copy_from_slice(now))?;
        rest = later;
    }
    Ok(())
}

/// Has the test listen; where.
fn listen(interface: &Interface) -> (Listener, SocketAddr) {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let port = interface.bind(Transport::Tcp, any).expect("a free port");
    let listener = interface.listen(port, 128).expect("a listener");
    (listener, SocketAddr::new(interface.address().v4.into(), PORT))
}

async fn accept(listener: &Listener) -> Stream {
    poll_fn(|cx| listener.poll_accept(cx)).await.expect("the interface is open")
}

#[test]
fn each_generation_talks_to_each() {
    on_one_thread(async {
        for server in BOTH {
            for client in BOTH {
                let world = World::new(&BOTH);
                let (task, at) = serve(&world, server, &["echo", "7000", "1"]).await;
                let said = said(&world, client, &["send", &at.to_string(), "hello"]).await;
                let local = said[0].strip_prefix("connected ").unwrap().split_once(" to ").unwrap().0;
                assert_eq!(
                    said[1..],
                    ["sent 5 bytes", "received \"hello\"", "ended"],
                    "{client:?} to {server:?}"
                );
                let served = world.end_of(task).await;
                assert_eq!(
                    served[1..],
                    [format!("accepted {local} at {at}"), format!("ended {local} after 5 bytes")],
                    "{client:?} to {server:?}"
                );
            }
        }
    });
}

#[test]
fn a_half_that_has_ended_leaves_the_other_open() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (_, at) = serve(&world, guest, &["echo", "7000"]).await;
            let (_, interface) = world.play("test");
            let stream = interface.connect(None, at).await.expect("a connection");
            write(&stream, b"hello").await.unwrap();
            stream.shutdown_write();
            assert_eq!(read_to_end(&stream).await.unwrap(), b"hello", "{guest:?}");
            // And from the other side: the test ends its half first, and reads what comes after.
            let (listener, at) = listen(&interface);
            let task = start(&world, guest, "client", &["pour", &at.to_string(), "1000000"]);
            let stream = accept(&listener).await;
            stream.shutdown_write();
            assert_eq!(read_to_end(&stream).await.unwrap().len(), 1_000_000, "{guest:?}");
            let said = world.end_of(task).await;
            assert!(said[1].starts_with("sent 1000000 bytes"), "{guest:?}: {said:?}");
        }
    });
}

#[test]
fn a_reset_is_told_from_an_end() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (_, interface) = world.play("test");
            let (listener, at) = listen(&interface);
            for (breaks, last) in [(false, "ended"), (true, "broke: ")] {
                let task = start(&world, guest, "client", &["stay", &at.to_string(), "hello"]);
                let stream = accept(&listener).await;
                assert_eq!(read(&stream).await.unwrap(), "hello");
                write(&stream, b"hello").await.unwrap();
                world.line(task, "answered").await;
                if breaks {
                    stream.reset();
                }
                drop(stream);
                let said = world.end_of(task).await;
                assert!(said.last().unwrap().starts_with(last), "{guest:?}: {said:?}");
                if guest == Guest::SocketsP3 && breaks {
                    assert_eq!(said.last().unwrap(), "broke: connection-reset");
                }
            }
        }
    });
}

#[test]
fn a_guest_that_drops_what_it_has_not_read_resets_who_sent_it() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (task, at) = serve(&world, guest, &["reject", "7000"]).await;
            let (_, interface) = world.play("test");
            let stream = interface.connect(None, at).await.expect("a connection");
            write(&stream, b"hello").await.unwrap();
            world.line(task, "dropped").await;
            // Whether at once or with the next bytes, it comes.
            let error = loop {
                if let Err(error) = write(&stream, b"more").await {
                    break error;
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(error, NetError::Reset, "{guest:?}");
        }
    });
}

#[test]
fn what_a_guest_has_looked_at_and_not_read_is_unread() {
    on_one_thread(async {
        // What is dropped unread on WASI 0.3 is discarded, as `shutdown` does it.
        let world = World::new(&BOTH);
        let (task, at) = serve(&world, Guest::Sockets, &["reject", "7000"]).await;
        let (_, interface) = world.play("test");
        let stream = interface.connect(None, at).await.expect("a connection");
        // It waits for bytes by now, and so learns of all of them before it reads the first.
        world.line(task, "accepted").await;
        write(&stream, b"hello").await.unwrap();
        world.line(task, "dropped").await;
        assert_eq!(read(&stream).await, Err(NetError::Reset));
    });
}

#[test]
fn a_connection_that_a_guest_knew_of_and_did_not_accept_is_reset() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (task, at) = serve(&world, guest, &["glance", "7000"]).await;
            let (_, interface) = world.play("test");
            let stream = interface.connect(None, at).await.expect("a connection");
            world.end_of(task).await;
            assert_eq!(read(&stream).await, Err(NetError::Reset), "{guest:?}");
        }
    });
}

#[test]
fn a_guest_that_ends_or_is_ended_leaves_nothing_open() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (task, at) = serve(&world, guest, &["echo", "7000"]).await;
            let (_, interface) = world.play("test");
            let stream = interface.connect(None, at).await.expect("a connection");
            write(&stream, b"hello").await.unwrap();
            assert_eq!(read(&stream).await.unwrap(), "hello");
            world.leave_out(task);
            assert_eq!(read(&stream).await, Err(NetError::Reset), "{guest:?}");
            let held = || {
                let totals = world.slot(task).totals();
                (totals.net_open, totals.memory_bytes)
            };
            until("it holds something for ever", || held() == (0, 0)).await;
        }
    });
}

#[test]
fn who_reads_slowly_holds_back_who_writes() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (_, interface) = world.play("test");
            let (listener, at) = listen(&interface);
            let task = start(&world, guest, "client", &["pour", &at.to_string(), "4000000"]);
            let stream = accept(&listener).await;
            let sent = || world.slot(task).totals().net_sent_bytes;
            until("it sends nothing", || sent() > 0).await;
            let mut before = 0;
            while sent() != before {
                before = sent();
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
            assert!(before <= Limits::default().pipe_bytes_max as u64, "{guest:?}: {before} bytes wait");
            assert_eq!(read_to_end(&stream).await.unwrap().len(), 4_000_000, "{guest:?}");
        }
    });
}

#[test]
fn what_passes_through_is_on_nobodys_memory_for_long() {
    const BYTES: usize = 64 << 20;
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (task, at) = serve(&world, guest, &["echo", "7000"]).await;
            let (_, interface) = world.play("test");
            let memory_bytes = || world.slot(task).totals().memory_bytes;
            let pump = async |bytes: usize| {
                let stream = interface.connect(None, at).await.expect("a connection");
                let chunk = vec![b'x'; CHUNK_BYTES];
                let writing = async {
                    for _ in 0..bytes / CHUNK_BYTES {
                        write(&stream, &chunk).await.unwrap();
                    }
                    stream.shutdown_write();
                };
                let reading = async {
                    let mut count = 0;
                    loop {
                        match read(&stream).await.unwrap().len() {
                            0 => return count,
                            more => count += more,
                        }
                    }
                };
                let ((), count) = futures::join!(writing, reading);
                assert_eq!(count, bytes, "{guest:?}");
            };
            // What the guest's own memory grows by at first is no matter.
            pump(BYTES / 8).await;
            let before = memory_bytes();
            pump(BYTES).await;
            assert!(memory_bytes() <= before + MEMORY_SLACK_BYTES, "{guest:?}: {before}, {}", memory_bytes());
        }
    });
}

#[test]
fn connections_that_are_gone_are_on_nobodys_memory() {
    const COUNT: usize = 4_000;
    on_one_thread(async {
        for guest in BOTH {
            let limits =
                Limits { connects_per_second: 1_000_000, connects_burst: 1_000_000, ..Limits::default() };
            let world = World::with(&BOTH, &skiff_host_net::Config::default(), limits);
            let (task, at) = serve(&world, guest, &["echo", "7000"]).await;
            let (_, interface) = world.play("test");
            let talk = async |count: usize| {
                for _ in 0..count {
                    let stream = interface.connect(None, at).await.expect("a connection");
                    write(&stream, b"hello").await.unwrap();
                    stream.shutdown_write();
                    assert_eq!(read_to_end(&stream).await.unwrap(), b"hello");
                }
            };
            talk(COUNT / 10).await;
            let before = world.slot(task).totals().memory_bytes;
            talk(COUNT).await;
            until("the last is not gone", || world.slot(task).totals().net_open == 0).await;
            let after = world.slot(task).totals().memory_bytes;
            assert!(after <= before + MEMORY_SLACK_BYTES, "{guest:?}: {before}, {after}");
        }
    });
}

#[test]
fn who_is_denied_is_told_once_which_rule_is_missing() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (_, at) = serve(&world, guest, &["echo", "7000"]).await;
            world.set_rules("default", Vec::new());
            let task = start(&world, guest, "client", &["many", &at.to_string(), "1"]);
            assert_eq!(world.end_of(task).await, ["failed after 0: access-denied"], "{guest:?}");
            let remarks = world.lines(task, LogStream::Skiff);
            assert_eq!(remarks.len(), 1, "{guest:?}: {remarks:?}");
            assert!(remarks[0].contains("skiff sg allow default \"tcp:7000 to self\""), "{remarks:?}");
            let flows = world.flows(task);
            assert_eq!(flows.len(), 1, "{guest:?}: {flows:?}");
            assert_eq!((flows[0].verdict, flows[0].direction), (Verdict::Reject, Direction::Egress));
            assert_eq!((flows[0].remote, flows[0].count), (at, 1));
            assert_eq!(world.slot(task).totals().net_denied, 1);
        }
    });
}

#[test]
fn a_change_of_rules_cuts_what_is_open() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (server, at) = serve(&world, guest, &["echo", "7000"]).await;
            let client = start(&world, guest, "client", &["stay", &at.to_string(), "hello"]);
            world.line(client, "answered").await;
            world.set_rules("default", Vec::new());
            let said = world.end_of(client).await;
            assert!(said.last().unwrap().starts_with("broke: "), "{guest:?}: {said:?}");
            world.line(server, "broke ").await;
            for task in [client, server] {
                let flows = world.flows(task);
                assert_eq!(flows.last().unwrap().verdict, Verdict::Reject, "{guest:?}: {flows:?}");
            }
        }
    });
}

#[test]
fn datagrams_keep_their_bounds_and_say_where_they_come_from() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (_, at) = serve(&world, guest, &["udp-echo", "7000"]).await;
            let (_, interface) = world.play("test");
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let port = interface.bind(Transport::Udp, any).expect("a free port");
            let socket = interface.bind_udp(port).expect("a socket");
            let sizes = [0, 1, 1_400, Limits::default().datagram_bytes_max];
            for size in sizes {
                socket.send(Bytes::from(vec![b'x'; size]), Some(at)).expect("it is sent");
            }
            for size in sizes {
                let datagram = poll_fn(|cx| socket.poll_receive(cx)).await.expect("an answer");
                assert_eq!((datagram.bytes.len(), datagram.remote), (size, at), "{guest:?}");
            }
            for client in BOTH {
                let said = said(&world, client, &["udp", &at.to_string(), "hello", "10000"]).await;
                assert_eq!(
                    said[1..],
                    ["sends 5 bytes", &format!("received \"hello\" from {at}")],
                    "{client:?}"
                );
            }
        }
    });
}

#[test]
fn names_and_addresses_are_looked_up() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (task, _) = serve(&world, Guest::Sockets, &["echo", "7000"]).await;
            let address = world.address(task);
            world.resolve("example.com", "192.0.2.7".parse().unwrap());
            world.allow(&["tcp:443 to 192.0.2.0/24"]);
            let own = format!("resolved {} {}", address.v4, address.v6);
            let by_id = format!("{task}.task.internal");
            for (name, expected) in [
                ("server.default.internal", own.as_str()),
                (by_id.as_str(), own.as_str()),
                ("Example.COM", "resolved 192.0.2.7"),
                ("192.0.2.8", "resolved 192.0.2.8"),
                ("2001:db8::1", "resolved 2001:db8::1"),
                ("nobody.default.internal", "failed: name-unresolvable"),
                ("nobody.example", "failed: name-unresolvable"),
                ("a b", "failed: invalid-argument"),
            ] {
                assert_eq!(said(&world, guest, &["resolve", name]).await, [expected], "{guest:?} {name}");
            }
            world.set_ready(task, false);
            let said = said(&world, guest, &["resolve", "server.default.internal"]).await;
            assert_eq!(said, ["failed: temporary-resolver-failure"], "{guest:?}");
        }
    });
}

#[test]
fn what_the_network_can_not_do_has_its_error() {
    on_one_thread(async {
        for guest in BOTH {
            let world = World::new(&BOTH);
            let (task, at) = serve(&world, Guest::Sockets, &["echo", "7000"]).await;
            let closed = SocketAddr::new(at.ip(), PORT + 1).to_string();
            let v6 = SocketAddr::new(world.address(task).v6.into(), PORT).to_string();
            for (target, expected) in [
                (closed.as_str(), "connection-refused"),
                (v6.as_str(), "connection-refused"),
                ("10.64.1.250:7000", "remote-unreachable"),
                ("224.0.0.1:7000", "invalid-argument"),
                ("10.64.1.1:0", "invalid-argument"),
            ] {
                let said = said(&world, guest, &["connect", target]).await;
                assert_eq!(said, [format!("failed: {expected}")], "{guest:?} to {target}");
            }
        }
    });
}
