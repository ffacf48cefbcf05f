//! What the load balancer's own work costs on the way of a request: `cargo xtask bench inside`.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use skiff_edge::measured::{Heads, Routing};
use skiff_ledger::Ledger;
use skiff_ports::snapshot::{HostMatch, Route, Target};
use skiff_types::TaskId;
use std::hint::black_box;

/// A service on a host of its own.
fn route(number: u32, targets: u32) -> Route {
    let target = |slot| Target { task: TaskId::from_parts(1, [1; 10]), slot };
    Route {
        service: format!("default/s{number}").parse().expect("a name"),
        hosts: vec![HostMatch::Pattern(format!("s{number}.localhost").parse().expect("a host"))],
        paths: vec!["/".parse().expect("a path"), "/api/v1".parse().expect("a path")],
        targets: (0..targets).map(target).collect(),
    }
}

fn lookups(criterion: &mut Criterion) {
    let (ledger, _) = Ledger::create(2).expect("a ledger");
    for services in [1, 20_000] {
        let routes: Vec<Route> = (0..services).map(|number| route(number, 1)).collect();
        let routing = Routing::new(&routes, &ledger);
        let host = format!("s{}.localhost", services - 1);
        criterion.bench_function(&format!("routing/find one of {services} services"), |bencher| {
            bencher.iter(|| routing.target(black_box(&host), black_box("/api/v1/users")).expect("a target"));
        });
        criterion.bench_function(&format!("routing/miss among {services} services"), |bencher| {
            bencher.iter(|| assert!(routing.target(black_box("nobody.localhost"), "/").is_none()));
        });
    }
    for targets in [16, 1_000] {
        let routing = Routing::new(&[route(0, targets)], &ledger);
        criterion.bench_function(
            &format!("routing/find a service and one of its {targets} tasks"),
            |bencher| {
                bencher.iter(|| routing.target(black_box("s0.localhost"), "/").expect("a target"));
            },
        );
    }
}

fn header_maps(criterion: &mut Criterion) {
    let short = [("host", "hello.localhost"), ("user-agent", "driver")];
    let browser = [
        ("host", "hello.localhost"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en"),
        ("cookie", "a=1; b=2"),
        ("user-agent", "Mozilla/5.0"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let map = |headers: &[(&'static str, &'static str)]| -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        headers.iter().map(pair).collect()
    };
    let heads = Heads::default();
    for (what, headers) in [("a short", map(&short)), ("a browser's", map(&browser))] {
        criterion.bench_function(&format!("headers/{what} head made ready for the guest"), |bencher| {
            bencher.iter_batched_ref(
                || headers.clone(),
                |head| heads.make_ready(head),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, lookups, header_maps);
criterion_main!(benches);
