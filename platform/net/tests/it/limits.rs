//! Every bound, and that what was held is given back.

use crate::world::{World, accept, any, at, listen, now, open, read_all, run, run_in_real_time};
use skiff_net::{Limits, NetError};
use skiff_ports::connect::Origin;
use skiff_types::{TaskId, Transport};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// Connections that are open at once.
const MANY: usize = 50_000;
/// What they may cost the process. The bar is 1 GB with all that guests and `host-net` have of them.
const MANY_BYTES_MAX: u64 = 200 << 20;

#[test]
fn a_task_has_no_more_sockets_than_it_may() {
    run(async {
        let world = World::with(1, Limits { sockets_max: 3, ..Limits::default() });
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let listener = listen(&two, 80);
        let full = Err(NetError::TooManySockets("sockets of one task"));
        let ports: Vec<_> = (0..3).map(|_| one.bind(Transport::Tcp, any(0)).unwrap()).collect();
        assert_eq!(one.bind(Transport::Udp, any(0)).map(|port| port.local()), full);
        assert_eq!(one.connect(None, at(&two, 80)).await.map(|_| any(0)), full);
        let mut streams = Vec::new();
        for port in ports {
            match streams.len() < 2 {
                // Who is bound has its place already; those that wait to be accepted have one each on the other side.
                true => streams.push(one.connect(Some(port), at(&two, 80)).await.unwrap()),
                false => {
                    let refused = one.connect(Some(port), at(&two, 80)).await;
                    assert_eq!(refused.unwrap_err(), NetError::Refused, "there is no room at the other side");
                }
            }
        }
        drop((streams, listener));
        for task in [&one, &two] {
            let ports: Vec<_> = (0..3).map(|_| task.bind(Transport::Tcp, any(0)).unwrap()).collect();
            drop(ports);
            assert_eq!(world.totals(task.task()).memory_bytes, 0);
        }
    });
}

#[test]
fn what_is_still_being_sent_has_its_place() {
    run_in_real_time(async {
        let world = World::with(2, Limits { sockets_max: 2, ..Limits::default() });
        let one = world.task_in(0, "default/one", &["default"]);
        let two = world.task_in(1, "default/two", &["default"]);
        let (ours, theirs) = open(&one, &two, 80).await;
        let _bound = one.bind(Transport::Tcp, any(0)).unwrap();
        // More than the kernel takes.
        while let Some(room) = now(|context| ours.poll_writable(context)) {
            ours.write(vec![0; room.unwrap()].into()).unwrap();
        }
        drop(ours);
        let full = Err(NetError::TooManySockets("sockets of one task"));
        assert_eq!(one.bind(Transport::Tcp, any(0)).map(|port| port.local()), full);
        read_all(&theirs).await.unwrap();
        one.bind(Transport::Tcp, any(0)).unwrap();
    });
}

#[test]
fn connections_of_other_workers_that_wait_for_room_are_bounded() {
    run_in_real_time(async {
        let world = World::with(2, Limits { arriving_max: 1, ..Limits::default() });
        let one = world.task_in(0, "default/one", &["default"]);
        let two = world.task_in(1, "default/two", &["default"]);
        let listener = listen(&two, 80);
        listener.set_backlog(1);
        let _first = one.connect(None, at(&two, 80)).await.unwrap();
        let third = async {
            let third = one.connect(None, at(&two, 80)).await;
            drop(accept(&listener).await.unwrap());
            third
        };
        let (second, third) = tokio::join!(one.connect(None, at(&two, 80)), third);
        assert_eq!(third.unwrap_err(), NetError::Refused);
        second.unwrap();
    });
}

#[test]
fn lines_and_what_leads_outside_are_bounded_for_a_task_and_for_all_and_charged() {
    const LINE_BYTES: u64 = 32 << 10;
    run_in_real_time(async {
        let world = World::with(2, Limits { kernel_sockets_max: 4, ..Limits::default() });
        let tasks = |worker| [1, 2].map(|_| world.task_in(worker, "default/any", &["default"]));
        let ([one, two], [three, four]) = (tasks(0), tasks(1));
        let listeners = [&three, &four].map(|task| listen(task, 80));
        let first = one.connect(None, at(&three, 80)).await.unwrap();
        let second = one.connect(None, at(&four, 80)).await.unwrap();
        for task in [&one, &three] {
            assert!(world.totals(task.task()).memory_bytes >= LINE_BYTES);
        }
        let of_task = NetError::TooManySockets("sockets of one task that lead out of its worker");
        assert_eq!(one.connect(None, at(&three, 80)).await.unwrap_err(), of_task);
        let third = two.connect(None, at(&three, 80)).await.unwrap();
        // The last place is the platform's.
        let of_all = NetError::TooManySockets("sockets of all tasks that lead out of one worker");
        assert_eq!(two.connect(None, at(&four, 80)).await.unwrap_err(), of_all);
        let begin = || world.network(0).connect_from(Origin::LoadBalancer, four.task(), 80);
        let fourth = begin().await.unwrap();
        let none = NetError::TooManySockets("connections that lead out of one worker");
        assert_eq!(begin().await.unwrap_err(), none);
        // Within the worker there is no such bound.
        let _inside = listen(&two, 81);
        one.connect(None, at(&two, 81)).await.unwrap();
        // What is gone makes room, on both sides.
        drop((first, second));
        for listener in &listeners {
            drop(accept(listener).await.unwrap());
        }
        let again = two.connect(None, at(&four, 80)).await.unwrap();
        drop((third, fourth, again, listeners));
        for task in [&one, &three, &four] {
            assert_eq!(world.totals(task.task()).memory_bytes, 0);
        }
    });
}

#[test]
fn flows_of_datagrams_are_charged_and_given_back() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let bind = || one.bind_udp(one.bind(Transport::Udp, any(0)).unwrap()).unwrap();
        let sockets: Vec<_> = (0..16).map(|_| bind()).collect();
        for socket in &sockets {
            (1..=256).for_each(|port| socket.send("x".into(), Some(at(&two, port))).unwrap());
        }
        let held = world.totals(one.task());
        assert!(held.net_open == 16 * 256 && held.memory_bytes >= 16 * 256 * 512, "{held:?}");
        drop(sockets);
        assert_eq!((world.totals(one.task()).memory_bytes, world.totals(one.task()).net_open), (0, 0));
    });
}

#[test]
fn connections_beyond_the_rate_wait_for_their_turn() {
    run(async {
        let limits = Limits { connects_per_second: 10, connects_burst: 5, ..Limits::default() };
        let world = World::with(1, limits);
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let listener = listen(&two, 80);
        let began = Instant::now();
        for _ in 0..25 {
            let ours = one.connect(None, at(&two, 80)).await.unwrap();
            drop((ours, accept(&listener).await.unwrap()));
        }
        let took_ms = began.elapsed().as_millis();
        assert!((1_800..2_300).contains(&took_ms), "{took_ms} ms");
    });
}

#[test]
fn attempts_that_wait_are_bounded_in_number_and_time() {
    run(async {
        let limits = Limits {
            connects_per_second: 1,
            connects_burst: 1,
            half_open_max: 2,
            connect_timeout: Duration::from_millis(500),
            ..Limits::default()
        };
        let world = World::with(1, limits);
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let _listener = listen(&two, 80);
        let connect = || one.connect(None, at(&two, 80));
        let first = [connect().await.unwrap(), connect().await.unwrap()];
        let mut context = Context::from_waker(Waker::noop());
        let (mut second, mut third) = (connect(), connect());
        assert!(
            second.as_mut().poll(&mut context).is_pending() && third.as_mut().poll(&mut context).is_pending()
        );
        let many = NetError::TooManySockets("connections of one task that are being opened");
        assert_eq!(connect().await.unwrap_err(), many);
        drop(second);
        let began = Instant::now();
        assert_eq!(connect().await.unwrap_err(), NetError::TimedOut);
        assert_eq!(third.await.unwrap_err(), NetError::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(1));
        drop(first);
        assert_eq!(world.totals(one.task()).memory_bytes, 0, "what was given up holds nothing");
    });
}

#[test]
fn the_end_of_a_task_ends_its_attempts() {
    run(async {
        let limits = Limits { connects_per_second: 1, connects_burst: 1, ..Limits::default() };
        let world = World::with(1, limits);
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let _listener = listen(&two, 80);
        let connect = || one.connect(None, at(&two, 80));
        let _first = [connect().await.unwrap(), connect().await.unwrap()];
        let mut waiting = pin!(connect());
        assert!(now(|context| waiting.as_mut().poll(context)).is_none());
        world.end(one.task());
        assert_eq!(waiting.await.unwrap_err(), NetError::Closed);
    });
}

#[test]
fn denied_targets_that_are_remembered_are_bounded_for_each_task_by_itself() {
    run(async {
        let world = World::with(1, Limits { denials_of_task_max: 5, ..Limits::default() });
        let tasks: Vec<_> = (0..50).map(|_| world.task("default/any", &["default"])).collect();
        let (one, two) = (&tasks[0], &tasks[49]);
        for task in &tasks {
            for port in 1..=20 {
                let target = ([192_u8, 0, 2, 1], port).into();
                assert!(matches!(task.connect(None, target).await, Err(NetError::Denied(_))));
            }
        }
        let records = world.records();
        let written = |task: TaskId| records.iter().filter(|record| record.task == task).count();
        assert!(tasks.iter().all(|task| written(task.task()) == 5), "none hides what others are denied");
        assert_eq!((world.totals(one.task()).net_denied, world.totals(two.task()).net_denied), (20, 20));
        // What is not tried again makes room.
        tokio::time::sleep(Duration::from_secs(121)).await;
        drop(world.records());
        assert!(two.connect(None, ([192_u8, 0, 2, 2], 1).into()).await.is_err());
        assert_eq!(world.records().len(), 1);
    });
}

#[test]
fn a_writer_never_has_more_waiting_than_a_pipe_holds() {
    run(async {
        let limits = Limits { pipe_bytes_max: 10_000, ..Limits::default() };
        let world = World::with(1, limits);
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let (ours, theirs) = open(&one, &two, 80).await;
        assert_eq!(ours.write(vec![0; 10_001].into()), Err(NetError::InvalidState));
        let mut taken = 0;
        while let Some(room) = now(|context| ours.poll_writable(context)) {
            // By single bytes, so that what a piece costs counts most.
            assert!(room.unwrap() > 0);
            ours.write(vec![0].into()).unwrap();
            taken += 1;
        }
        assert!(taken < 100, "{taken} single bytes");
        while now(|context| theirs.poll_read(context, usize::MAX)).is_some() {}
        assert!(now(|context| ours.poll_writable(context)).is_some());
    });
}

#[test]
fn very_many_connections_fit_in_little_memory_and_leave_nothing_behind() {
    run(async {
        let limits =
            Limits { connects_per_second: 1_000_000_000, connects_burst: 1_000_000, ..Limits::default() };
        let world = World::with(1, limits);
        let resident_bytes = || {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
        };
        let before_bytes = resident_bytes();
        let (mut tasks, mut streams) = (Vec::new(), Vec::new());
        while streams.len() < 2 * MANY {
            let [client, server] =
                ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
            let listener = listen(&server, 80);
            for _ in 0..4_000.min(MANY - streams.len() / 2) {
                streams.push(client.connect(None, at(&server, 80)).await.unwrap());
                streams.push(accept(&listener).await.unwrap());
            }
            tasks.push((client, server));
        }
        let used_bytes = resident_bytes().saturating_sub(before_bytes);
        assert!(used_bytes < MANY_BYTES_MAX, "{MANY} connections take {used_bytes} bytes");
        let open: u64 = tasks.iter().map(|(client, _)| world.totals(client.task()).net_open).sum();
        assert_eq!(open, MANY as u64);
        drop(streams);
        for task in tasks.iter().flat_map(|(client, server)| [client, server]) {
            let totals = world.totals(task.task());
            assert_eq!((totals.net_open, totals.memory_bytes), (0, 0));
            assert_eq!(world.network(0).state(task.task()), Default::default());
        }
    });
}
