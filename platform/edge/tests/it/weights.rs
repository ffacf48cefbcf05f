//! Requests that two revisions of a service share by weight, and the hosts that lead to the one that comes alone.

use crate::support::*;
use skiff_edge::Limits;
use skiff_ports::snapshot::{HostMatch, Route};
use skiff_types::Split;
use std::rc::Rc;

const REQUESTS: u64 = 600;

/// `shop.localhost` with a task of blue in slot 3 and one of green in slot 4, where `green.localhost` leads to; so many
/// requests of a hundred go to green.
fn shop(percent: u16) -> Route {
    let mut route = route("shop", &[3, 4]);
    let test_host = "green.localhost".parse().unwrap();
    route.hosts.push(HostMatch::Pattern("green.localhost".parse().unwrap()));
    Route { split: Some(Split { percent, green: vec![task_id(4)], test_hosts: vec![test_host] }), ..route }
}

fn answered(bench: &Bench, slot: u32) -> u64 {
    bench.ledger.task(slot).totals().responses.iter().sum()
}

/// Sends so many requests to a host; how many of them blue answered, and how many green.
async fn ask(bench: &Bench, host: &str, requests: u64) -> (u64, u64) {
    let before = [3, 4].map(|slot| answered(bench, slot));
    for _ in 0..requests {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = bench.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let told = || [3, 4].map(|slot| answered(bench, slot));
    eventually("all are counted", || told().iter().sum::<u64>() == before.iter().sum::<u64>() + requests)
        .await;
    let [blue, green] = told();
    (blue - before[0], green - before[1])
}

#[test]
fn requests_go_by_weight_and_a_test_host_leads_to_green_alone() {
    run(async {
        let bench = Rc::new(Bench::with(Limits::default(), says("hello")));
        for (percent, least, most) in [(0, 0, 0), (25, 90, 210), (100, REQUESTS, REQUESTS), (0, 0, 0)] {
            bench.edge.route(&[shop(percent)], &[]);
            let (blue, green) = ask(&bench, "shop.localhost", REQUESTS).await;
            assert!((least..=most).contains(&green), "{percent}%: {blue} and {green}");
            assert_eq!(ask(&bench, "green.localhost", 5).await, (0, 5), "{percent}%");
        }
        let both = Route { split: None, ..shop(0) };
        bench.edge.route(&[both], &[]);
        let (blue, green) = ask(&bench, "green.localhost", 20).await;
        assert!(
            blue > 0 && green > 0,
            "once nothing is divided, it is a host like others: {blue} and {green}"
        );
    });
}
