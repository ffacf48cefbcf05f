//! How a connection comes to be between two workers, and how it does not.

use crate::world::{World, accept, at, listen, read, run_in_real_time, write};
use skiff_net::{Interface, Limits, NetError};
use skiff_ports::network::NetworkChange;
use skiff_types::{Kind, Transport};
use std::net::SocketAddr;

/// Two workers with a task each.
fn world() -> (World, Interface, Interface) {
    let world = World::with(2, Limits::default());
    let one = world.task_in(0, "default/one", &["default"]);
    let two = world.task_in(1, "default/two", &["default"]);
    (world, one, two)
}

#[test]
fn where_nobody_listens_in_another_worker_a_connection_is_refused() {
    run_in_real_time(async {
        let (world, one, two) = world();
        assert_eq!(one.connect(None, at(&two, 80)).await.unwrap_err(), NetError::Refused);
        let port = two.bind(Transport::Tcp, "0.0.0.0:80".parse().unwrap()).unwrap();
        assert_eq!(
            one.connect(None, at(&two, 80)).await.unwrap_err(),
            NetError::Refused,
            "bound is not enough"
        );
        let listener = two.listen(port, 1).unwrap();
        let first = one.connect(None, at(&two, 80)).await.unwrap();
        assert_eq!(one.connect(None, at(&two, 80)).await.unwrap_err(), NetError::Refused, "no more may wait");
        drop(accept(&listener).await.unwrap());
        let second = one.connect(None, at(&two, 80)).await.unwrap();
        drop((first, second, listener));
        assert_eq!(world.totals(one.task()).net_open, 0);
    });
}

#[test]
fn both_sides_of_a_line_know_each_others_address() {
    run_in_real_time(async {
        let (_world, one, two) = world();
        let listener = listen(&two, 80);
        let ours = one.connect(None, at(&two, 80)).await.unwrap();
        let theirs = accept(&listener).await.unwrap();
        assert_eq!((ours.remote(), theirs.local()), (at(&two, 80), at(&two, 80)));
        assert_eq!((ours.local(), theirs.remote()), (theirs.remote(), ours.local()));
        assert_eq!(ours.local().ip(), at(&one, 0).ip());
    });
}

#[test]
fn the_worker_that_is_asked_judges_for_itself_and_says_what_is_missing() {
    run_in_real_time(async {
        let (world, _one, two) = world();
        world.set_group("default/app", &["tcp:80 to default"]);
        world.set_group("default/default", &["tcp:80 from app"]);
        let app = world.task_in(0, "default/app", &["app"]);
        let _listener = listen(&two, 80);
        // It has heard of a change that the one that asks does not know yet.
        let groups = vec![skiff_ports::network::GroupRules {
            group: "default/default".parse().unwrap(),
            rules: vec!["tcp:81 from app".parse().unwrap()],
        }];
        world.network(1).apply(NetworkChange { groups, ..NetworkChange::default() });
        let error = app.connect(None, at(&two, 80)).await.unwrap_err();
        let NetError::Denied(sentence) = error else { panic!("{error}") };
        assert!(sentence.contains("skiff sg allow default \"tcp:80 from app\""), "{sentence}");
        assert_eq!(world.totals(two.task()).net_denied, 1);
        assert_eq!(world.totals(app.task()).net_open, 0);
    });
}

#[test]
fn a_task_that_another_worker_has_not_heard_of_yet_waits_until_it_has() {
    run_in_real_time(async {
        let (world, _one, two) = world();
        let listener = listen(&two, 80);
        let told = world.describe(Kind::Command, Some(0), "default/new", &["default"]);
        let change = NetworkChange { interfaces: vec![told.clone()], ..NetworkChange::default() };
        world.network(0).apply(change.clone());
        let new = world.network(0).interface(told.task).unwrap();
        let telling = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            world.network(1).apply(change);
        };
        let (opened, ()) = tokio::join!(new.connect(None, at(&two, 80)), telling);
        let (ours, theirs) = (opened.unwrap(), accept(&listener).await.unwrap());
        write(&ours, "here").await.unwrap();
        assert_eq!(read(&theirs).await.unwrap(), "here");
    });
}

#[test]
fn a_port_that_a_worker_gave_out_leads_to_it() {
    run_in_real_time(async {
        let (world, one, two) = world();
        let everywhere = world.http_task("default/web", &["default"]);
        for worker in [0, 1] {
            let there = world.network(worker).interface(everywhere).unwrap();
            let port = there.bind(Transport::Tcp, "0.0.0.0:0".parse().unwrap()).unwrap();
            let remote: SocketAddr = at(&there, port.local().port());
            let listener = there.listen(port, 10).unwrap();
            for asks in [&one, &two] {
                let stream = asks.connect(None, remote).await.unwrap();
                let theirs = accept(&listener).await.unwrap();
                write(&stream, "found").await.unwrap();
                assert_eq!(read(&theirs).await.unwrap(), "found");
            }
        }
    });
}
