//! Calls within a worker, as flows.

use crate::world::{World, now, run};
use skiff_net::{Limits, NetError};
use skiff_ports::flows::Verdict;
use skiff_types::{Direction, TaskId};
use std::pin::pin;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(61);

/// A world in which `web` may call `shop`, and one task of each.
fn world() -> (World, TaskId, TaskId) {
    let world = World::new();
    world.set_group("default/web", &["tcp:80 to shop"]);
    world.set_group("default/shop", &["tcp:80 from web"]);
    let (web, shop) = (world.http_task("default/web", &["web"]), world.http_task("default/shop", &["shop"]));
    (world, web, shop)
}

#[test]
fn a_call_is_judged_like_a_connection() {
    run(async {
        let (world, web, shop) = world();
        let network = world.network(0);
        network.call(web, shop, 80).unwrap();
        let denied = network.call(shop, web, 80).unwrap_err().to_string();
        assert!(denied.contains("skiff sg allow shop \"tcp:80 to web\""), "{denied}");
        assert!(matches!(network.call(web, shop, 81), Err(NetError::Denied(_))));
        assert_eq!(world.totals(shop).net_denied, 1);
        world.end(shop);
        assert_eq!(network.call(web, shop, 80).unwrap_err(), NetError::Unreachable);
        assert_eq!(network.call(shop, web, 80).unwrap_err(), NetError::Closed);
    });
}

#[test]
fn all_calls_between_two_tasks_are_one_flow() {
    run(async {
        let (world, web, shop) = world();
        let network = world.network(0);
        for _ in 0..10 {
            let call = network.call(web, shop, 80).unwrap();
            call.sent(5);
            call.received(7);
        }
        assert_eq!(world.records(), []);
        assert_eq!(network.state(web).connection_count, 1);
        let totals = world.totals(web);
        assert_eq!((totals.net_connections, totals.net_open), (10, 1));
        assert_eq!((totals.net_sent_bytes, totals.net_received_bytes), (50, 70));
        assert_eq!(world.totals(shop).net_sent_bytes, 70);
        tokio::time::sleep(INTERVAL).await;
        let records = world.records();
        assert_eq!(records.len(), 2, "{records:?}");
        for record in &records {
            let (sent, received) = (record.sent_bytes, record.received_bytes);
            assert_eq!((record.count, record.open, record.verdict), (10, true, Verdict::Accept));
            match record.direction {
                Direction::Egress => assert_eq!((record.task, sent, received), (web, 50, 70)),
                Direction::Ingress => assert_eq!((record.task, sent, received), (shop, 70, 50)),
            }
        }
        tokio::time::sleep(INTERVAL).await;
        let records = world.records();
        assert!(
            records.len() == 2 && records.iter().all(|record| !record.open),
            "silent, it ended: {records:?}"
        );
        assert_eq!(world.totals(web).net_open, 0);
    });
}

#[test]
fn a_call_that_goes_on_keeps_its_flow_open() {
    run(async {
        let (world, web, shop) = world();
        let call = world.network(0).call(web, shop, 80).unwrap();
        tokio::time::sleep(3 * INTERVAL).await;
        assert_eq!((world.totals(web).net_open, call.is_cut()), (1, false));
        drop(call);
        tokio::time::sleep(2 * INTERVAL).await;
        assert_eq!(world.totals(web).net_open, 0);
    });
}

#[test]
fn a_change_of_rules_cuts_the_calls_under_way_and_denies_the_next() {
    run(async {
        let (world, web, shop) = world();
        let network = world.network(0);
        let calls = [network.call(web, shop, 80).unwrap(), network.call(web, shop, 80).unwrap()];
        let mut cut = pin!(calls[0].cut());
        assert!(now(|context| cut.as_mut().poll(context)).is_none());
        world.set_group("default/shop", &[] as &[&str]);
        cut.await;
        calls[1].cut().await;
        assert!(calls.iter().all(|call| call.is_cut()));
        calls[0].sent(1_000);
        let records = world.records();
        assert!(
            records.len() == 2 && records.iter().all(|record| record.verdict == Verdict::Reject),
            "{records:?}"
        );
        assert_eq!(world.totals(web).net_sent_bytes, 0, "what is cut counts no more");
        assert!(matches!(network.call(web, shop, 80), Err(NetError::Denied(_))));
        world.set_group("default/shop", &["tcp:80 from web"]);
        assert!(!network.call(web, shop, 80).unwrap().is_cut());
    });
}

#[test]
fn the_end_of_either_task_cuts_its_calls() {
    run(async {
        let (world, web, shop) = world();
        let network = world.network(0);
        let call = network.call(web, shop, 80).unwrap();
        let other = world.http_task("default/web", &["web"]);
        let other_call = network.call(other, shop, 80).unwrap();
        world.end(web);
        assert!(call.is_cut() && !other_call.is_cut());
        world.end(shop);
        other_call.cut().await;
    });
}

#[test]
fn beyond_the_bound_a_call_is_a_flow_of_its_own() {
    run(async {
        let world = World::with(1, Limits { call_pairs_max: 2, ..Limits::default() });
        let tasks: Vec<_> = (0..4).map(|_| world.http_task("default/web", &["default"])).collect();
        let network = world.network(0);
        let call = |to: usize| network.call(tasks[0], tasks[to], 80).unwrap();
        let calls = [call(1), call(2), call(3)];
        assert_eq!(world.totals(tasks[0]).net_open, 3);
        drop(calls);
        assert_eq!(world.totals(tasks[0]).net_open, 2, "the third was not kept");
        drop(call(3));
        assert_eq!(world.totals(tasks[0]).net_open, 1, "those on which there is no call made room");
    });
}
