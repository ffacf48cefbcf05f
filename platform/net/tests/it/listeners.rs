//! Ports, and who takes connections at them.

use crate::world::{World, accept, any, at, listen, now, open, read, run, write};
use skiff_net::{Limits, NetError};
use skiff_types::Transport;
use std::collections::HashSet;

#[test]
fn every_task_has_every_port_to_itself() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let first = listen(&one, 80);
        let _second = listen(&two, 80);
        assert_eq!(first.local_address(), any(80), "as it was bound");
        assert_eq!(one.bind(Transport::Tcp, any(80)).unwrap_err(), NetError::AddressInUse);
        assert_eq!(one.bind(Transport::Tcp, at(&one, 80)).unwrap_err(), NetError::AddressInUse);
        assert!(one.bind(Transport::Udp, any(80)).is_ok(), "the other protocol's are others");
        drop(first);
        assert!(one.bind(Transport::Tcp, any(80)).is_ok(), "it is free at once");
    });
}

#[test]
fn a_task_binds_to_its_own_addresses_only() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let bind =
            |address: &str| one.bind(Transport::Tcp, address.parse().unwrap()).map(|port| port.local());
        for address in ["127.0.0.1:80", "192.0.2.1:80", "[::1]:80", &at(&two, 80).to_string()] {
            assert_eq!(bind(address), Err(NetError::AddressNotBindable), "{address}");
        }
        for address in ["224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80", "[::ffff:0.0.0.0]:80"] {
            assert_eq!(bind(address), Err(NetError::InvalidArgument), "{address}");
        }
        for address in [at(&one, 80), (one.address().v6, 80).into(), any(81), "[::]:82".parse().unwrap()] {
            assert_eq!(bind(&address.to_string()), Ok(address));
        }
        assert!(bind("0.0.0.0:0").unwrap().port() >= 49_152);
    });
}

#[test]
fn where_nobody_listens_a_connection_is_refused() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let _bound = two.bind(Transport::Tcp, any(80)).unwrap();
        for port in [80, 81] {
            assert_eq!(one.connect(None, at(&two, port)).await.unwrap_err(), NetError::Refused);
        }
        let nobody = "10.64.200.200:80".parse().unwrap();
        assert_eq!(one.connect(None, nobody).await.unwrap_err(), NetError::Unreachable);
        for address in ["0.0.0.0:80", "10.64.0.16:0", "224.0.0.1:80", "[::ffff:10.64.0.17]:80"] {
            let invalid = one.connect(None, address.parse().unwrap()).await;
            assert_eq!(invalid.unwrap_err(), NetError::InvalidArgument, "{address}");
        }
    });
}

#[test]
fn a_connection_that_waits_to_be_accepted_is_open() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let listener = listen(&two, 80);
        let ours = one.connect(None, at(&two, 80)).await.unwrap();
        write(&ours, "early").await.unwrap();
        let gone = one.connect(None, at(&two, 80)).await.unwrap();
        drop(gone);
        assert_eq!(read(&accept(&listener).await.unwrap()).await.unwrap(), "early");
        let end = read(&accept(&listener).await.unwrap()).await;
        assert!(end.unwrap().is_empty(), "it came, and went again");
        assert!(now(|context| listener.poll_accept(context)).is_none());
    });
}

#[test]
fn a_full_backlog_refuses_until_somebody_is_accepted() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let port = two.bind(Transport::Tcp, any(80)).unwrap();
        let listener = two.listen(port, 2).unwrap();
        let connect = || one.connect(None, at(&two, 80));
        let _waiting = [connect().await.unwrap(), connect().await.unwrap()];
        assert_eq!(connect().await.unwrap_err(), NetError::Refused);
        let _first = accept(&listener).await.unwrap();
        let _third = connect().await.unwrap();
        assert_eq!(connect().await.unwrap_err(), NetError::Refused);
        listener.set_backlog(3);
        connect().await.unwrap();
    });
}

#[test]
fn who_only_connects_never_takes_all_places_of_a_listeners_task() {
    assert!(2 * Limits::default().backlog_max <= Limits::default().sockets_max);
    run(async {
        let world = World::with(1, Limits { backlog_max: 2, sockets_max: 6, ..Limits::default() });
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let listener = listen(&two, 80);
        listener.set_backlog(usize::MAX);
        let connect = || one.connect(None, at(&two, 80));
        let _waiting = [connect().await.unwrap(), connect().await.unwrap()];
        assert_eq!(connect().await.unwrap_err(), NetError::Refused);
        let _own = two.bind(Transport::Tcp, any(81)).unwrap();
        let _accepted = accept(&listener).await.unwrap();
        let _third = connect().await.unwrap();
    });
}

#[test]
fn a_listener_that_goes_away_resets_what_waits() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let listener = listen(&two, 80);
        let ours = one.connect(None, at(&two, 80)).await.unwrap();
        drop(listener);
        assert_eq!(read(&ours).await, Err(NetError::Reset));
        assert_eq!(one.connect(None, at(&two, 80)).await.unwrap_err(), NetError::Refused);
        drop(ours);
        assert_eq!(world.totals(two.task()).memory_bytes, 0);
    });
}

#[test]
fn who_accepts_waits_for_the_next_connection() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let listener = listen(&two, 80);
        let connecting = async {
            tokio::task::yield_now().await;
            one.connect(None, at(&two, 80)).await.unwrap()
        };
        let (theirs, ours) = tokio::join!(accept(&listener), connecting);
        assert_eq!(theirs.unwrap().remote(), ours.local());
    });
}

#[test]
fn a_task_can_connect_to_itself_from_a_port_of_its_choice() {
    run(async {
        let world = World::new();
        let task = world.task("default/one", &["default"]);
        let listener = listen(&task, 80);
        let port = task.bind(Transport::Tcp, any(1_234)).unwrap();
        let ours = task.connect(Some(port), at(&task, 80)).await.unwrap();
        let theirs = accept(&listener).await.unwrap();
        assert_eq!((ours.local(), theirs.remote()), (at(&task, 1_234), at(&task, 1_234)));
        write(&ours, "myself").await.unwrap();
        assert_eq!(read(&theirs).await.unwrap(), "myself");
        assert_eq!(task.bind(Transport::Tcp, any(1_234)).unwrap_err(), NetError::AddressInUse);
        drop(ours);
        task.bind(Transport::Tcp, any(1_234)).unwrap();
    });
}

#[test]
fn a_port_of_another_task_or_family_or_protocol_is_no_port_to_connect_from() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let _listener = listen(&two, 80);
        let ports = [
            two.bind(Transport::Tcp, any(0)).unwrap(),
            one.bind(Transport::Tcp, "[::]:0".parse().unwrap()).unwrap(),
            one.bind(Transport::Udp, any(0)).unwrap(),
        ];
        for port in ports {
            let invalid = one.connect(Some(port), at(&two, 80)).await;
            assert_eq!(invalid.unwrap_err(), NetError::InvalidArgument);
        }
    });
}

#[test]
fn workers_give_out_different_ports_of_a_task_that_is_in_all_of_them() {
    run(async {
        let world = World::with(3, Limits::default());
        let task = world.http_task("default/web", &["default"]);
        let mut ports = HashSet::new();
        for worker in 0..3 {
            let interface = world.network(worker).interface(task).unwrap();
            for _ in 0..10 {
                let port = interface.bind(Transport::Tcp, any(0)).unwrap().local().port();
                assert_eq!(u32::from(port) % 3, worker);
                assert!(ports.insert(port));
            }
        }
        let home = world.task_in(2, "default/job", &["default"]).task();
        assert!(world.network(0).interface(home).is_none(), "a command task is in one worker");
    });
}

#[test]
fn what_goes_on_at_an_interface_can_be_seen() {
    run(async {
        let world = World::new();
        let [one, two] = ["default/one", "default/two"].map(|owner| world.task(owner, &["default"]));
        let _others = [listen(&two, 90), listen(&two, 9)];
        let (ours, _theirs) = open(&one, &two, 80).await;
        write(&ours, "12345").await.unwrap();
        let state = world.network(0).state(two.task());
        assert_eq!(state.listening, [(Transport::Tcp, 9), (Transport::Tcp, 90)]);
        assert_eq!((state.connection_count, state.connections.len()), (1, 1));
        let state = world.network(0).state(one.task());
        let [connection] = &state.connections[..] else { panic!("{state:?}") };
        assert_eq!((connection.sent_bytes, connection.remote, connection.open), (5, at(&two, 80), true));
        assert_eq!(connection.note, "default/default: all to self");
        assert_eq!(world.network(0).state(world.http_task("default/web", &["default"])), Default::default());
    });
}
