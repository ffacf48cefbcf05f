//! Connections of the platform itself: the load balancer's, those of operators, and probes; to a daemon in the worker that
//! connects, and to one in another.

use crate::world::{World, accept, any, at, listen, now, read, read_all, run, run_in_real_time, write};
use skiff_net::{Duplex, Interface, Limits, NetError, Stream};
use skiff_ports::connect::{Connection, Origin};
use skiff_ports::flows::Verdict;
use skiff_types::{Direction, TaskId, Transport};
use std::collections::HashSet;
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

const PORT: u16 = 6379;
/// The platform's own address in the node's subnet.
const PLATFORM: &str = "10.64.0.1";
/// No rule for the load balancer.
const SELF_ONLY: &[&str] = &["all from self"];

/// Runs a test with a daemon in the worker that connects to it, and with one in another worker.
fn to_each(limits: &Limits, test: impl AsyncFn(&World, &Interface)) {
    run(async {
        let world = World::with(1, limits.clone());
        let daemon = world.task_in(0, "default/redis", &["default"]);
        test(&world, &daemon).await;
    });
    run_in_real_time(async {
        let world = World::with(2, limits.clone());
        let daemon = world.task_in(1, "default/redis", &["default"]);
        test(&world, &daemon).await;
    });
}

/// Connects from the first worker.
async fn connect(world: &World, origin: Origin, task: TaskId) -> Result<Stream, NetError> {
    world.network(0).connect_from(origin, task, PORT).await
}

/// Connections that the task has of others, as a stop waits for their end.
fn outstanding(world: &World, task: TaskId) -> u64 {
    world.ledger.task(world.told(task).slot).outstanding()
}

#[test]
fn a_daemon_is_reached_wherever_it_lives_and_sees_the_platforms_address() {
    to_each(&Limits::default(), async |world, daemon| {
        let listener = listen(daemon, PORT);
        let mut ours = Duplex::new(connect(world, Origin::LoadBalancer, daemon.task()).await.unwrap());
        let theirs = accept(&listener).await.unwrap();
        assert_eq!((theirs.local(), theirs.remote().ip().to_string().as_str()), (at(daemon, PORT), PLATFORM));
        assert!(theirs.remote().port() >= 49_152);
        assert_eq!(outstanding(world, daemon.task()), 1);
        ours.write_all(b"PING\r\n").await.unwrap();
        ours.shutdown().await.unwrap();
        assert_eq!(read_all(&theirs).await.unwrap(), b"PING\r\n");
        write(&theirs, "+PONG\r\n").await.unwrap();
        drop(theirs);
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"+PONG\r\n");
        let records = world.records();
        let [record] = &records[..] else { panic!("one flow, the task's: {records:?}") };
        assert_eq!((record.task, record.direction), (daemon.task(), Direction::Ingress));
        assert_eq!((record.received_bytes, record.sent_bytes), (6, 7));
        assert_eq!((record.verdict, record.peer.as_deref()), (Verdict::Accept, Some("load-balancer")));
        assert!(record.note.contains("load-balancer") && record.note.ends_with("; closed"), "{record:?}");
        drop((ours, listener));
        let totals = world.totals(daemon.task());
        assert_eq!((totals.net_connections, totals.net_open, totals.net_inbound), (1, 0, 0));
        assert_eq!((outstanding(world, daemon.task()), totals.memory_bytes), (0, 0));
    });
}

#[test]
fn the_load_balancer_needs_a_rule_and_an_operator_does_not() {
    to_each(&Limits::default(), async |world, daemon| {
        world.set_group("default/default", SELF_ONLY);
        let listener = listen(daemon, PORT);
        let denied = connect(world, Origin::LoadBalancer, daemon.task()).await.unwrap_err();
        let NetError::Denied(sentence) = denied else { panic!("{denied}") };
        assert!(sentence.contains("tcp:6379 from load-balancer"), "{sentence}");
        assert_eq!(world.totals(daemon.task()).net_denied, 1);
        let records = world.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.verdict, record.peer.as_deref()), (Verdict::Reject, Some("load-balancer")));

        let ours = connect(world, Origin::Forward, daemon.task()).await.unwrap();
        let theirs = accept(&listener).await.unwrap();
        write(&ours, "hi").await.unwrap();
        assert_eq!(read(&theirs).await.unwrap(), "hi");
        drop((ours, theirs));
        let records = world.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.verdict, record.peer.as_deref()), (Verdict::Accept, Some("forward")));
        assert_eq!((record.received_bytes, record.note.as_str()), (2, "closed"));
    });
}

#[test]
fn a_rule_that_is_revoked_cuts_the_load_balancer_and_no_operator() {
    to_each(&Limits::default(), async |world, daemon| {
        let listener = listen(daemon, PORT);
        let balanced = connect(world, Origin::LoadBalancer, daemon.task()).await.unwrap();
        let balanced_there = accept(&listener).await.unwrap();
        let forwarded = connect(world, Origin::Forward, daemon.task()).await.unwrap();
        let forwarded_there = accept(&listener).await.unwrap();
        world.set_group("default/default", SELF_ONLY);
        assert_eq!(read(&balanced).await, Err(NetError::Reset));
        assert_eq!(read(&balanced_there).await, Err(NetError::Reset));
        let records = world.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.verdict, record.open), (Verdict::Reject, false));
        assert!(record.note.contains("tcp:6379 from load-balancer"), "{record:?}");
        write(&forwarded, "still here").await.unwrap();
        assert_eq!(read(&forwarded_there).await.unwrap(), "still here");
        assert_eq!(outstanding(world, daemon.task()), 1);
    });
}

#[test]
fn a_task_that_ends_takes_the_platforms_connections_with_it() {
    to_each(&Limits::default(), async |world, daemon| {
        let listener = listen(daemon, PORT);
        let ours = connect(world, Origin::LoadBalancer, daemon.task()).await.unwrap();
        let waiting = connect(world, Origin::Forward, daemon.task()).await.unwrap();
        let theirs = accept(&listener).await.unwrap();
        world.end(daemon.task());
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(read(&waiting).await, Err(NetError::Reset));
        assert_eq!(read(&theirs).await, Err(NetError::Reset));
        let totals = world.totals(daemon.task());
        assert_eq!((totals.net_inbound, totals.memory_bytes), (0, 0), "before anybody let go of anything");
        let gone = connect(world, Origin::LoadBalancer, daemon.task()).await;
        assert_eq!(gone.unwrap_err(), NetError::Unreachable);
    });
}

#[test]
fn who_does_not_listen_refuses_and_either_family_will_do() {
    to_each(&Limits::default(), async |world, daemon| {
        let refused = connect(world, Origin::LoadBalancer, daemon.task()).await;
        assert_eq!(refused.unwrap_err(), NetError::Refused);
        let port = daemon.bind(Transport::Tcp, "[::]:6379".parse().unwrap()).unwrap();
        let listener = daemon.listen(port, 10).unwrap();
        let ours = connect(world, Origin::LoadBalancer, daemon.task()).await.unwrap();
        let theirs = accept(&listener).await.unwrap();
        assert_eq!(theirs.local(), (daemon.address().v6, PORT).into());
        assert!(theirs.remote().is_ipv6());
        write(&theirs, "found").await.unwrap();
        assert_eq!(read(&ours).await.unwrap(), "found");
        drop(listener);
        let refused = connect(world, Origin::Forward, daemon.task()).await;
        assert_eq!(refused.unwrap_err(), NetError::Refused);
    });
}

#[test]
fn the_platforms_connections_are_bounded_apart_from_the_tasks_own_sockets() {
    let limits = Limits { platform_connections_max: 3, sockets_max: 1, ..Limits::default() };
    to_each(&limits, async |world, daemon| {
        // The task has no more sockets of its own.
        let listener = listen(daemon, PORT);
        assert!(daemon.bind(Transport::Tcp, any(0)).is_err());
        let mut open = Vec::new();
        for _ in 0..3 {
            let ours = connect(world, Origin::LoadBalancer, daemon.task()).await.unwrap();
            open.push((ours, accept(&listener).await.unwrap()));
        }
        let remotes: HashSet<_> = open.iter().map(|(_, theirs)| theirs.remote()).collect();
        assert_eq!(remotes.len(), 3, "each comes from another port");
        for origin in [Origin::LoadBalancer, Origin::Forward] {
            let more = connect(world, origin, daemon.task()).await.unwrap_err();
            assert!(matches!(more, NetError::TooManySockets(_) | NetError::Refused), "{more}");
        }
        open.pop();
        connect(world, Origin::LoadBalancer, daemon.task()).await.unwrap();
    });
}

#[test]
fn what_finds_no_room_waits_a_while_and_only_so_many_do() {
    run(async {
        let world = World::with(1, Limits { platform_waiting_max: 1, ..Limits::default() });
        let daemon = world.task("default/redis", &["default"]);
        let port = daemon.bind(Transport::Tcp, any(PORT)).unwrap();
        let listener = daemon.listen(port, 1).unwrap();
        let begin = || world.network(0).connect_from(Origin::LoadBalancer, daemon.task(), PORT);
        let _first = begin().await.unwrap();
        let mut second = begin();
        assert!(now(|context| second.as_mut().poll(context)).is_none());
        assert_eq!(begin().await.unwrap_err(), NetError::Refused, "one waits already");
        let _accepted = accept(&listener).await.unwrap();
        let second = second.await.unwrap();
        let began = Instant::now();
        assert_eq!(begin().await.unwrap_err(), NetError::Refused, "nobody accepts");
        assert!(began.elapsed() >= Duration::from_secs(1));
        drop(second);
    });
}

#[test]
fn what_waits_is_charged_to_the_called_task() {
    run(async {
        let world = World::new();
        let daemon = world.task_with_memory("default/redis", 40 << 10);
        let listener = listen(&daemon, PORT);
        let ours = connect(&world, Origin::LoadBalancer, daemon.task()).await.unwrap();
        let theirs = accept(&listener).await.unwrap();
        let mut ours = Duplex::new(ours);
        ours.write_all(&[0; 30 << 10]).await.unwrap();
        let held = world.totals(daemon.task()).memory_bytes;
        assert!((30 << 10..=40 << 10).contains(&held), "{held}");
        let error = ours.write_all(&[0; 10 << 10]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        drop((ours, theirs, listener));
        assert_eq!(world.totals(daemon.task()).memory_bytes, 0);
    });
}

#[test]
fn a_duplex_carries_everything_and_ends_like_a_stream() {
    to_each(&Limits::default(), async |world, daemon| {
        let listener = listen(daemon, PORT);
        let open = async || {
            let ours = connect(world, Origin::LoadBalancer, daemon.task()).await.unwrap();
            (Duplex::new(ours), accept(&listener).await.unwrap())
        };
        let sent: Vec<u8> = (0..1_000_000_usize).map(|place| (place * 7 + place / 251) as u8).collect();
        let (mut ours, theirs) = open().await;
        let writing = async {
            ours.write_all(&sent).await.unwrap();
            ours.shutdown().await.unwrap();
            ours.write(b"more").await.unwrap_err().kind()
        };
        let (kind, received) = tokio::join!(writing, read_all(&theirs));
        assert!(received.unwrap() == sent);
        assert_eq!(kind, ErrorKind::BrokenPipe);

        let (mut ours, theirs) = open().await;
        let parts = [IoSlice::new(b"two "), IoSlice::new(b""), IoSlice::new(b"parts")];
        assert_eq!(ours.write_vectored(&parts).await.unwrap(), 9);
        assert_eq!(read(&theirs).await.unwrap(), "two parts", "as one piece");
        theirs.reset();
        assert_eq!(ours.read(&mut [0; 10]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

        let (ours, theirs) = open().await;
        write(&theirs, "never read").await.unwrap();
        drop(ours);
        assert_eq!(read(&theirs).await, Err(NetError::Reset));

        let (mut ours, theirs) = open().await;
        ours.write_all(b"half of").await.unwrap();
        assert_eq!(read(&theirs).await.unwrap(), "half of");
        ours.break_off();
        drop(ours);
        assert_eq!(read(&theirs).await, Err(NetError::Reset), "that was not all");
    });
}

#[test]
fn a_probe_finds_who_takes_connections_and_leaves_no_trace() {
    run(async {
        let world = World::new();
        world.set_group("default/default", SELF_ONLY);
        let daemon = world.task("default/redis", &["default"]);
        let (network, task) = (world.network(0), daemon.task());
        assert_eq!(network.probe(task, PORT).await, Err(NetError::Refused));
        let listener = listen(&daemon, PORT);
        assert_eq!(network.probe(task, PORT).await, Ok(()));
        let theirs = accept(&listener).await.unwrap();
        assert_eq!(theirs.remote().ip().to_string(), PLATFORM);
        assert!(read(&theirs).await.unwrap().is_empty(), "it has ended");
        assert_eq!((outstanding(&world, task), network.state(task).connection_count), (0, 0));
        drop((theirs, listener));
        let totals = world.totals(task);
        assert_eq!((totals.net_connections, totals.net_open, totals.memory_bytes), (0, 0, 0));
        assert_eq!((totals.net_denied, world.records()), (0, vec![]));
        world.end(task);
        assert_eq!(network.probe(task, PORT).await, Err(NetError::Unreachable));
    });
}

#[test]
fn a_probe_waits_for_room_in_a_backlog_and_has_a_seat_where_all_others_are_taken() {
    run(async {
        let world = World::with(2, Limits { platform_connections_max: 1, ..Limits::default() });
        let daemon = world.task("default/redis", &["default"]);
        let task = daemon.task();
        let port = daemon.bind(Transport::Tcp, any(PORT)).unwrap();
        let listener = daemon.listen(port, 1).unwrap();
        let _first = connect(&world, Origin::LoadBalancer, task).await.unwrap();
        let mut probe = Box::pin(world.network(0).probe(task, PORT));
        assert!(timeout(Duration::from_secs(5), &mut probe).await.is_err(), "there is no room");
        let _accepted = accept(&listener).await.unwrap();
        assert_eq!(probe.await, Ok(()));
        drop(accept(&listener).await.unwrap());
        let second = connect(&world, Origin::LoadBalancer, task).await;
        assert!(matches!(second, Err(NetError::TooManySockets(_))), "{second:?}");
        let elsewhere = world.network(1).probe(task, PORT).await;
        assert_eq!(elsewhere, Err(NetError::Unreachable), "it lives in the first");
    });
}
