//! What holds of datagrams: between tasks of a worker, of two workers, and with the outside.

use crate::world::{Wakes, World, any, at, now, run, run_in_real_time};
use bytes::Bytes;
use skiff_net::{Datagram, Interface, Limits, NetError, UdpSocket};
use skiff_ports::flows::Verdict;
use skiff_types::{Direction, Transport};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::Context;
use std::time::Duration;
use tokio::time::sleep;

fn bind(task: &Interface, port: u16) -> UdpSocket {
    task.bind_udp(task.bind(Transport::Udp, any(port)).unwrap()).unwrap()
}

async fn receive(socket: &UdpSocket) -> Result<Datagram, NetError> {
    poll_fn(|context| socket.poll_receive(context)).await
}

/// What waits to be read.
fn waiting(socket: &UdpSocket) -> Vec<Bytes> {
    std::iter::from_fn(|| now(|context| socket.poll_receive(context)))
        .map(|datagram| datagram.unwrap().bytes)
        .collect()
}

fn is_denied<T>(result: Result<T, NetError>) -> bool {
    matches!(result, Err(NetError::Denied(_)))
}

/// A client and a server, that may be asked and no more.
fn client_and_server(world: &World, worker_of_server: u32) -> (Interface, Interface) {
    world.set_group("default/client", &["udp:53 to server"]);
    world.set_group("default/server", &["udp:53 from client"]);
    (
        world.task("default/client", &["client"]),
        world.task_in(worker_of_server, "default/server", &["server"]),
    )
}

#[test]
fn a_datagram_says_where_it_came_from_and_is_answered() {
    for workers in [1, 2] {
        run_in_real_time(async {
            let world = World::with(workers, Limits::default());
            let (client, server) = client_and_server(&world, workers - 1);
            let (asks, answers) = (bind(&client, 0), bind(&server, 53));
            asks.send("question".into(), Some(at(&server, 53))).unwrap();
            let question = receive(&answers).await.unwrap();
            assert_eq!(question.bytes, "question");
            assert_eq!(question.remote, at(&client, asks.local().port()));
            // No rule lets the server send by itself, but it may answer.
            answers.send("answer".into(), Some(question.remote)).unwrap();
            let answer = receive(&asks).await.unwrap();
            assert_eq!((answer.bytes, answer.remote), ("answer".into(), at(&server, 53)));
        });
    }
}

#[test]
fn datagrams_keep_their_bounds_and_may_be_empty() {
    for workers in [1, 2] {
        run_in_real_time(async {
            let world = World::with(workers, Limits::default());
            let (client, server) = client_and_server(&world, workers - 1);
            let (asks, answers) = (bind(&client, 0), bind(&server, 53));
            for length in [0, 1, 1_500, 65_507] {
                asks.send(vec![7; length].into(), Some(at(&server, 53))).unwrap();
                assert_eq!(receive(&answers).await.unwrap().bytes, vec![7; length]);
            }
            let too_large = asks.send(vec![7; 65_508].into(), Some(at(&server, 53)));
            assert_eq!(too_large, Err(NetError::DatagramTooLarge));
        });
    }
}

#[test]
fn who_is_connected_has_to_do_with_one_other_side_only() {
    run(async {
        let world = World::new();
        let tasks =
            ["default/one", "default/two", "default/three"].map(|owner| world.task(owner, &["default"]));
        let [one, two, three] = tasks.each_ref().map(|task| bind(task, 53));
        let [to_one, to_two, to_three] = tasks.each_ref().map(|task| at(task, 53));
        assert_eq!(one.local(), any(53));
        assert_eq!(one.send("nobody".into(), None), Err(NetError::InvalidArgument));
        three.send("forgotten".into(), Some(to_one)).unwrap();
        one.connect(to_two).unwrap();
        assert_eq!((one.local(), one.remote()), (to_one, Some(to_two)));
        three.send("unwanted".into(), Some(to_one)).unwrap();
        two.send("wanted".into(), Some(to_one)).unwrap();
        assert_eq!(waiting(&one), ["wanted"]);
        one.send("by default".into(), None).unwrap();
        one.send("by name".into(), Some(to_two)).unwrap();
        assert_eq!(one.send("elsewhere".into(), Some(to_three)), Err(NetError::InvalidArgument));
        assert_eq!(waiting(&two), ["by default", "by name"]);
        one.disconnect().unwrap();
        assert_eq!(one.disconnect(), Err(NetError::InvalidState));
        three.send("wanted again".into(), Some(to_one)).unwrap();
        assert_eq!(waiting(&one), ["wanted again"]);
    });
}

#[test]
fn only_an_address_of_a_host_can_be_sent_to() {
    run(async {
        let world = World::new();
        let task = world.task("default/one", &["default"]);
        let socket = bind(&task, 53);
        for remote in
            ["0.0.0.0:53", "10.64.0.16:0", "255.255.255.255:53", "224.0.0.1:53", "[fd73:6b69:6666::10]:53"]
        {
            let remote: SocketAddr = remote.parse().unwrap();
            assert_eq!(socket.send("x".into(), Some(remote)), Err(NetError::InvalidArgument), "{remote}");
            assert_eq!(socket.connect(remote), Err(NetError::InvalidArgument), "{remote}");
        }
        let nobody = "10.64.9.9:53".parse().unwrap();
        assert_eq!(socket.send("x".into(), Some(nobody)), Err(NetError::Unreachable));
    });
}

#[test]
fn what_finds_no_socket_is_lost() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let socket = bind(&one, 0);
        socket.send("lost".into(), Some(at(&two, 53))).unwrap();
        let late = bind(&two, 53);
        assert!(waiting(&late).is_empty());
        socket.send("found".into(), Some(at(&two, 53))).unwrap();
        assert_eq!(waiting(&late), ["found"]);
    });
}

#[test]
fn a_task_can_send_to_itself() {
    run(async {
        let world = World::new();
        let task = world.task("default/one", &["default"]);
        let socket = bind(&task, 53);
        socket.send("to myself".into(), Some(at(&task, 53))).unwrap();
        assert_eq!(waiting(&socket), ["to myself"]);
    });
}

#[test]
fn over_ipv6_it_is_another_port() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let v6 = |task: &Interface| {
            let port = task.bind(Transport::Udp, "[::]:53".parse().unwrap()).unwrap();
            task.bind_udp(port).unwrap()
        };
        let (ours, theirs, theirs_v4) = (v6(&one), v6(&two), bind(&two, 53));
        ours.send("over six".into(), Some((two.address().v6, 53).into())).unwrap();
        let datagram = receive(&theirs).await.unwrap();
        assert_eq!((datagram.bytes, datagram.remote), ("over six".into(), (one.address().v6, 53).into()));
        assert!(waiting(&theirs_v4).is_empty());
    });
}

#[test]
fn what_waits_is_bounded_in_number_and_bytes_and_charged_to_who_is_to_read_it() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let (sends, reads) = (bind(&one, 0), bind(&two, 53));
        let send = |bytes: Vec<u8>| sends.send(bytes.into(), Some(at(&two, 53))).unwrap();
        (0..200).for_each(|number| send(vec![number]));
        let first: Vec<Vec<u8>> = (0..64).map(|number| vec![number]).collect();
        assert_eq!(waiting(&reads), first, "the newest are lost");
        let before = world.totals(two.task()).memory_bytes;
        (0..10).for_each(|_| send(vec![0; 65_507]));
        let held = world.totals(two.task()).memory_bytes - before;
        assert!((100_000..300_000).contains(&held), "{held} bytes are charged");
        assert!(world.totals(one.task()).memory_bytes <= 64 << 10);
        assert_eq!(waiting(&reads).len(), 3);
        drop(reads);
        assert_eq!(world.totals(two.task()).memory_bytes, 0);
    });
}

#[test]
fn what_a_task_has_no_memory_for_is_lost() {
    run(async {
        let world = World::new();
        let one = world.task("default/one", &["default"]);
        let small = world.task_with_memory("default/small", 80 << 10);
        let (sends, reads) = (bind(&one, 0), bind(&small, 53));
        for _ in 0..3 {
            sends.send(vec![0; 60_000].into(), Some(at(&small, 53))).unwrap();
        }
        assert_eq!(waiting(&reads).len(), 1);
    });
}

#[test]
fn what_no_rule_allows_is_denied_and_noted() {
    run(async {
        let world = World::new();
        let (client, server) = client_and_server(&world, 0);
        let (asks, answers) = (bind(&client, 0), bind(&server, 53));
        let _other_port = bind(&server, 54);
        assert!(is_denied(asks.send("x".into(), Some(at(&server, 54)))));
        let NetError::Denied(sentence) =
            answers.send("unasked".into(), Some(at(&client, asks.local().port()))).unwrap_err()
        else {
            panic!("it is denied")
        };
        assert!(sentence.contains("skiff sg allow server"), "{sentence}");
        assert!(waiting(&asks).is_empty());
        let denied: Vec<_> =
            world.records().into_iter().filter(|record| record.verdict == Verdict::Reject).collect();
        assert_eq!(denied.len(), 2);
        assert_eq!((denied[0].task, denied[0].remote), (client.task(), at(&server, 54)));
        assert_eq!((denied[1].task, denied[1].transport), (server.task(), Transport::Udp));
        assert_eq!(world.totals(client.task()).net_denied, 1);
    });
}

#[test]
fn the_receiving_side_asks_for_itself() {
    run_in_real_time(async {
        let world = World::with(2, Limits::default());
        let (client, server) = client_and_server(&world, 1);
        let (asks, answers) = (bind(&client, 0), bind(&server, 53));
        // The other worker has heard of a change that this one does not know yet.
        let group = "default/server".parse().unwrap();
        let change = skiff_ports::network::NetworkChange { dissolved: vec![group], ..Default::default() };
        world.network(1).apply(change);
        asks.send("denied there".into(), Some(at(&server, 53))).unwrap();
        while world.totals(server.task()).net_denied == 0 {
            tokio::task::yield_now().await;
        }
        world.set_group("default/server", &["udp:53 from client", "all to self"]);
        asks.send("allowed".into(), Some(at(&server, 53))).unwrap();
        assert_eq!(receive(&answers).await.unwrap().bytes, "allowed");
        assert_eq!(world.totals(server.task()).net_denied, 1);
    });
}

#[test]
fn a_change_of_rules_ends_what_they_allow_no_more() {
    run(async {
        let world = World::new();
        let (client, server) = client_and_server(&world, 0);
        let (asks, answers) = (bind(&client, 0), bind(&server, 53));
        asks.send("question".into(), Some(at(&server, 53))).unwrap();
        assert_eq!(waiting(&answers), ["question"]);
        world.set_group("default/client", &["tcp:1 to server"]);
        assert!(is_denied(answers.send("answer".into(), Some(at(&client, asks.local().port())))));
        assert!(is_denied(asks.send("question".into(), Some(at(&server, 53)))));
        world.set_group("default/client", &["udp:53 to server"]);
        asks.send("again".into(), Some(at(&server, 53))).unwrap();
        assert_eq!(waiting(&answers), ["again"]);
    });
}

#[test]
fn answers_are_allowed_until_nothing_has_passed_for_a_while() {
    run(async {
        let world = World::new();
        let (client, server) = client_and_server(&world, 0);
        let (asks, answers) = (bind(&client, 0), bind(&server, 53));
        let to_client = Some(at(&client, asks.local().port()));
        asks.send("question".into(), Some(at(&server, 53))).unwrap();
        for _ in 0..3 {
            sleep(Duration::from_secs(59)).await;
            answers.send("answer".into(), to_client).unwrap();
        }
        assert_eq!(waiting(&asks).len(), 3);
        sleep(Duration::from_secs(60)).await;
        assert!(is_denied(answers.send("too late".into(), to_client)));
    });
}

#[test]
fn each_other_side_is_a_flow_that_ends_when_it_is_silent_or_there_are_too_many() {
    run(async {
        let limits = Limits { datagram_flows_max: 2, ..Limits::default() };
        let world = World::with(1, limits);
        let server = world.task("default/server", &["default"]);
        let answers = bind(&server, 53);
        let clients = [0; 3].map(|_| world.task("default/client", &["default"]));
        let sockets = clients.each_ref().map(|client| bind(client, 1_000));
        for socket in &sockets {
            socket.send("four".into(), Some(at(&server, 53))).unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        let state = world.network(0).state(server.task());
        assert_eq!((state.connection_count, state.listening), (2, vec![(Transport::Udp, 53)]));
        let of_server = |records: Vec<skiff_ports::flows::FlowRecord>| -> Vec<_> {
            records.into_iter().filter(|record| record.task == server.task() && !record.open).collect()
        };
        let records = of_server(world.records());
        assert_eq!(records.len(), 1, "the one that was silent for longest had to go");
        assert_eq!(records[0].remote, at(&clients[0], 1_000));
        assert_eq!((records[0].direction, records[0].received_bytes), (Direction::Ingress, 4));
        sleep(Duration::from_secs(180)).await;
        assert_eq!(world.network(0).state(server.task()).connection_count, 0);
        assert_eq!(of_server(world.records()).len(), 2, "silence is an end");
        assert_eq!(world.totals(server.task()).net_received_bytes, 12);
        drop(answers);
        assert_eq!(world.totals(server.task()).net_open, 0);
    });
}

#[test]
fn the_end_of_a_task_closes_its_sockets_and_wakes_who_waits() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let (ours, theirs) = (bind(&one, 53), bind(&two, 53));
        theirs.send("never read".into(), Some(at(&one, 53))).unwrap();
        ours.send("read".into(), Some(at(&two, 53))).unwrap();
        assert_eq!(waiting(&theirs), ["read"]);
        let (wakes, waker) = Wakes::new();
        assert!(theirs.poll_receive(&mut Context::from_waker(&waker)).is_pending());
        world.end(two.task());
        assert_eq!(wakes.count(), 1);
        assert_eq!(receive(&theirs).await, Err(NetError::Closed));
        assert_eq!(theirs.send("more".into(), Some(at(&one, 53))), Err(NetError::Closed));
        assert_eq!(theirs.connect(at(&one, 53)), Err(NetError::Closed));
        assert_eq!(ours.send("more".into(), Some(at(&two, 53))), Err(NetError::Unreachable));
        assert_eq!(waiting(&ours), ["never read"], "what had come is there");
    });
}

#[test]
fn a_socket_is_bound_to_its_tasks_own_port_of_its_protocol() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let tcp = one.bind(Transport::Tcp, any(53)).unwrap();
        assert_eq!(one.bind_udp(tcp).unwrap_err(), NetError::InvalidArgument);
        let udp = one.bind(Transport::Udp, any(53)).unwrap();
        assert_eq!(two.bind_udp(udp).unwrap_err(), NetError::InvalidArgument);
        let socket = bind(&one, 53);
        assert_eq!(one.bind(Transport::Udp, any(53)).unwrap_err(), NetError::AddressInUse);
        drop(socket);
        bind(&one, 53);
    });
}

/// A socket outside, and a task that may send to it.
async fn with_outside(world: &World) -> (tokio::net::UdpSocket, SocketAddr, Interface) {
    let outside = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let remote = outside.local_addr().unwrap();
    world.set_group("default/out", &[format!("udp:{} to {}/32", remote.port(), remote.ip())]);
    let task = world.task("default/one", &["out"]);
    (outside, remote, task)
}

#[test]
fn the_outside_answers_and_no_one_else_there_is_heard() {
    run_in_real_time(async {
        let world = World::new();
        let (outside, remote, task) = with_outside(&world).await;
        let socket = bind(&task, 5_000);
        let answer = async {
            let mut question = [0; 100];
            let (length, from) = outside.recv_from(&mut question).await.unwrap();
            assert_eq!(&question[..length], b"question");
            let stranger = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            stranger.send_to(b"forged", from).await.unwrap();
            outside.send_to(b"answer", from).await.unwrap();
        };
        // It waits before there is anything outside to wait for.
        let (answered, ()) = tokio::join!(receive(&socket), async {
            socket.send("question".into(), Some(remote)).unwrap();
            answer.await;
        });
        assert_eq!(answered, Ok(Datagram { bytes: "answer".into(), remote }));
        assert!(waiting(&socket).is_empty());
        assert_eq!(socket.local(), any(5_000));
        let totals = world.totals(task.task());
        assert_eq!((totals.net_sent_bytes, totals.net_received_bytes), (8, 6));
    });
}

#[test]
fn the_outside_is_denied_unless_a_rule_names_it() {
    run_in_real_time(async {
        let world = World::new();
        let (outside, remote, task) = with_outside(&world).await;
        world.set_group("default/out", &["all to 0.0.0.0/0"]);
        let socket = bind(&task, 0);
        assert!(is_denied(socket.send("x".into(), Some(remote))), "loopback is not the Internet");
        assert_eq!(outside.try_recv(&mut [0; 10]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn what_goes_outside_is_held_to_a_rate() {
    run(async {
        let limits = Limits { outside_bytes_per_second: 10_000, ..Limits::default() };
        let world = World::with(1, limits);
        let (_outside, remote, task) = with_outside(&world).await;
        let socket = bind(&task, 0);
        let began = tokio::time::Instant::now();
        for _ in 0..50 {
            poll_fn(|context| socket.poll_sendable(context)).await.unwrap();
            socket.send(vec![0; 1_000].into(), Some(remote)).unwrap();
        }
        // A second's worth may come at once, and one datagram more.
        assert!(began.elapsed() >= Duration::from_millis(3_800), "{:?}", began.elapsed());
    });
}
