//! What the load balancer may, and what becomes of everything when a worker ends.

use crate::world::{World, open, read, run, write};
use skiff_net::NetError;
use skiff_ports::flows::Verdict;
use skiff_types::Direction;

#[test]
fn the_load_balancer_is_let_in_by_a_rule_and_as_long_as_there_is_one() {
    run(async {
        let world = World::new();
        let shop = world.http_task("default/shop", &["default"]);
        let network = world.network(0);
        assert_eq!(network.admit_balancer(shop, 80), Ok(()));
        world.set_group("default/default", &["all from self"]);
        for _ in 0..2 {
            let denied = network.admit_balancer(shop, 80).unwrap_err().to_string();
            assert!(denied.contains("tcp:80 from load-balancer"), "{denied}");
        }
        assert_eq!(world.totals(shop).net_denied, 2);
        let records = world.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!(
            (record.task, record.direction, record.verdict),
            (shop, Direction::Ingress, Verdict::Reject)
        );
        assert_eq!((record.peer.as_deref(), record.local.port()), (Some("load-balancer"), 80));
        world.set_group("default/front", &["tcp:80 from load-balancer"]);
        world.regroup(shop, &["front"]);
        assert_eq!(network.admit_balancer(shop, 80), Ok(()));
        world.end(shop);
        assert_eq!(network.admit_balancer(shop, 80), Err(NetError::Unreachable));
    });
}

#[test]
fn a_worker_that_ends_writes_down_what_was_open() {
    run(async {
        let world = World::new();
        let (web, shop) = (world.task("default/web", &["default"]), world.task("default/shop", &["default"]));
        let (ours, theirs) = open(&web, &shop, 80).await;
        write(&ours, "hello").await.unwrap();
        world.network(0).close();
        assert_eq!(read(&theirs).await, Err(NetError::Reset));
        let records = world.records();
        assert!(records.len() == 2 && records.iter().all(|record| !record.open), "{records:?}");
        assert_eq!(records.iter().map(|record| record.sent_bytes).sum::<u64>(), 5);
        for task in [web.task(), shop.task()] {
            assert_eq!((world.totals(task).net_open, world.totals(task).memory_bytes), (0, 0));
            assert!(world.network(0).interface(task).is_none());
        }
    });
}
