//! Streams to the outside: over the kernel's sockets, by rules for addresses, at a rate.

use crate::world::{World, read, read_all, run, run_in_real_time, write};
use bytes::Bytes;
use skiff_net::{Interface, Limits, NetError, Stream};
use skiff_ports::network::NetworkSetup;
use skiff_types::{NetworkSpec, Transport};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Somebody outside who takes connections, and a task that may connect there.
async fn with_outside(world: &World) -> (TcpListener, SocketAddr, Interface) {
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let remote = outside.local_addr().unwrap();
    world.set_group("default/out", &[format!("tcp:{} to {}/32", remote.port(), remote.ip())]);
    let task = world.task("default/one", &["out"]);
    (outside, remote, task)
}

/// A connection to the outside: both ends.
async fn open(world: &World) -> (Stream, TcpStream, Interface) {
    let (outside, remote, task) = with_outside(world).await;
    let ours = task.connect(None, remote).await.unwrap();
    let (theirs, _) = outside.accept().await.unwrap();
    (ours, theirs, task)
}

#[test]
fn much_passes_both_ways_and_each_side_ends_for_itself() {
    run_in_real_time(async {
        let world = World::new();
        let (ours, mut theirs, task) = open(&world).await;
        let sent: Vec<u8> = (0..8 << 20).map(|place: u32| (place / 7) as u8).collect();
        let echo = async {
            let (mut reader, mut writer) = theirs.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let writing = async {
            write(&ours, sent.clone()).await.unwrap();
            ours.shutdown_write();
            assert_eq!(ours.write("more".into()), Err(NetError::Closed));
        };
        let ((), (), received) = tokio::join!(echo, writing, read_all(&ours));
        assert!(received.unwrap() == sent);
        let totals = world.totals(task.task());
        assert_eq!((totals.net_sent_bytes, totals.net_received_bytes), (8 << 20, 8 << 20));
        assert_eq!((totals.net_connections, totals.net_open), (1, 1));
    });
}

#[test]
fn addresses_are_told_as_they_are_in_the_virtual_network() {
    run_in_real_time(async {
        let world = World::new();
        let (ours, theirs, task) = open(&world).await;
        assert_eq!(ours.remote(), theirs.local_addr().unwrap());
        assert_eq!(ours.local().ip(), task.address().v4);
        assert!(ours.local().port() >= 49_152);
    });
}

#[test]
fn a_stream_that_is_dropped_ends_after_what_was_written() {
    run_in_real_time(async {
        let world = World::new();
        let (ours, mut theirs, _task) = open(&world).await;
        poll_fn(|context| ours.poll_writable(context)).await.unwrap();
        // More than the kernel takes at once.
        let mut written_bytes = 0;
        while let Some(room) = crate::world::now(|context| ours.poll_writable(context)) {
            let room = room.unwrap();
            ours.write(Bytes::from(vec![7; room])).unwrap();
            written_bytes += room;
        }
        drop(ours);
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), written_bytes);
    });
}

#[test]
fn a_reset_is_one_outside_too() {
    run_in_real_time(async {
        let world = World::new();
        let (ours, mut theirs, _task) = open(&world).await;
        ours.reset();
        assert_eq!(theirs.read(&mut [0; 10]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(read(&ours).await, Err(NetError::Reset));

        let (ours, mut theirs, _task) = open(&world).await;
        theirs.write_all(b"never read").await.unwrap();
        drop(ours);
        assert_eq!(theirs.read(&mut [0; 10]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

        let (ours, theirs, _task) = open(&world).await;
        theirs.set_zero_linger().unwrap();
        drop(theirs);
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(write(&ours, "more").await, Err(NetError::Reset));
    });
}

#[test]
fn where_nobody_listens_outside_a_connection_is_refused() {
    run_in_real_time(async {
        let world = World::new();
        let (outside, remote, task) = with_outside(&world).await;
        drop(outside);
        assert_eq!(task.connect(None, remote).await.unwrap_err(), NetError::Refused);
        assert_eq!(world.totals(task.task()).memory_bytes, 0, "nothing is left of it");
    });
}

#[test]
fn the_hosts_loopback_is_denied_unless_a_rule_names_it() {
    run_in_real_time(async {
        let world = World::new();
        let (_outside, remote, task) = with_outside(&world).await;
        world.set_group("default/out", &["all to 0.0.0.0/0", "all to ::/0"]);
        let error = task.connect(None, remote).await.unwrap_err();
        let NetError::Denied(sentence) = error else { panic!("{error}") };
        let command = format!("skiff sg allow out \"tcp:{} to 127.0.0.1/32\"", remote.port());
        assert!(sentence.contains(&command), "{sentence}");
        let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), remote.port());
        assert_eq!(task.connect(None, mapped).await.unwrap_err(), NetError::InvalidArgument);
        world.set_group("default/out", &["all to 127.0.0.0/8"]);
        task.connect(None, remote).await.unwrap();
    });
}

#[test]
fn a_door_of_the_platform_is_denied_unless_a_rule_names_its_very_port() {
    run_in_real_time(async {
        let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let door = outside.local_addr().unwrap();
        let setup = NetworkSetup { spec: NetworkSpec::default(), node_index: 0, own_doors: vec![door] };
        let world = World::with_setup(1, Limits::default(), setup);
        world.set_group("default/out", &["all to 127.0.0.1/32"]);
        let task = world.task("default/one", &["out"]);
        let error = task.connect(None, door).await.unwrap_err();
        assert!(matches!(error, NetError::Denied(_)), "{error}");
        world.set_group("default/out", &[format!("tcp:{} to 127.0.0.1/32", door.port())]);
        task.connect(None, door).await.unwrap();
    });
}

#[test]
fn a_listener_of_a_service_is_guarded_from_its_opening_on() {
    run_in_real_time(async {
        let world = World::new();
        let (outside, remote, task) = with_outside(&world).await;
        world.set_group("default/out", &[format!("all to {}/32", remote.ip())]);
        let ours = task.connect(None, remote).await.unwrap();
        let (theirs, _) = outside.accept().await.unwrap();
        assert!(!world.network(0).is_door(remote));
        world.network(0).set_listeners(&[remote]);
        assert!(world.network(0).is_door(remote));
        assert_eq!(read(&ours).await, Err(NetError::Reset), "it goes on");
        let error = task.connect(None, remote).await.unwrap_err();
        assert!(matches!(error, NetError::Denied(_)), "{error}");
        world.set_group("default/out", &[format!("tcp:{} to {}/32", remote.port(), remote.ip())]);
        task.connect(None, remote).await.unwrap();
        drop(theirs);
    });
}

#[test]
fn an_address_that_becomes_the_hosts_own_is_guarded_from_then_on() {
    run_in_real_time(async {
        let world = World::new();
        world.set_group("default/out", &["all to 192.0.2.0/24"]);
        let task = world.task("default/one", &["out"]);
        let remote: SocketAddr = "192.0.2.7:9".parse().unwrap();
        let port = task.bind(Transport::Udp, "0.0.0.0:0".parse().unwrap()).unwrap();
        let socket = task.bind_udp(port).unwrap();
        // Whether the kernel knows a way there makes no difference.
        let is_denied = || matches!(socket.send("x".into(), Some(remote)), Err(NetError::Denied(_)));
        assert!(!is_denied());
        assert_eq!(world.totals(task.task()).net_open, 1);
        world.network(0).set_host_addresses(&[remote.ip()]);
        assert_eq!(world.totals(task.task()).net_open, 0, "it goes on");
        assert!(is_denied());
        let error = task.connect(None, remote).await.unwrap_err();
        let NetError::Denied(sentence) = error else { panic!("{error}") };
        assert!(sentence.contains("192.0.2.7 is the host's own"), "{sentence}");
        world.network(0).set_host_addresses(&[]);
        assert!(!is_denied());
    });
}

#[test]
fn a_change_of_rules_cuts_a_stream_to_the_outside() {
    run_in_real_time(async {
        let world = World::new();
        let (ours, mut theirs, _task) = open(&world).await;
        let cutting = async {
            tokio::task::yield_now().await;
            world.set_group("default/out", &["tcp:1 to 127.0.0.1/32"]);
        };
        let (read, ()) = tokio::join!(read(&ours), cutting);
        assert_eq!(read, Err(NetError::Reset));
        assert_eq!(theirs.read(&mut [0; 10]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_passes_to_the_outside_is_held_to_a_rate() {
    run(async {
        const PIECE_BYTES: usize = 2_000;
        let limits = Limits { outside_bytes_per_second: 10_000, ..Limits::default() };
        let world = World::with(1, limits);
        let (ours, _theirs, _task) = open(&world).await;
        let began = Instant::now();
        for _ in 0..20 {
            write(&ours, vec![0; PIECE_BYTES]).await.unwrap();
        }
        // A second's worth may come at once, and one piece more.
        assert!(began.elapsed() >= Duration::from_millis(2_700), "{:?}", began.elapsed());
    });
}
