//! What one call costs inside one thread, without HTTP: wall and CPU time per call of a guest, for a look with `perf`.
//!
//! `cargo run -p skiff-sandbox --example call_cost -- [hello|p2|p3] [CALLS]`. It asserts nothing.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/support.rs"]
mod support;

use skiff_kit::clock;
use skiff_testbed::on_one_thread;
use support::{Guest, World};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let guest = match arguments.next().as_deref() {
        Some("p2") => Guest::Misbehave,
        Some("p3") => Guest::MisbehaveP3,
        _ => Guest::Hello,
    };
    let calls: u32 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(50_000);
    on_one_thread(async {
        let world = World::new(1_000, &[guest]);
        let task = world.run(guest, |_| {});
        let mut ns = Vec::new();
        let began_cpu_ns = clock::process_cpu_ns();
        let began_guest_ns = world.sandboxes.guest_cpu_ns();
        for _ in 0..calls {
            let began_ns = clock::monotonic_ns();
            world.text(task, "/").await.expect("an answer");
            ns.push(clock::monotonic_ns() - began_ns);
        }
        let cpu_ns = clock::process_cpu_ns() - began_cpu_ns;
        let guest_ns = world.sandboxes.guest_cpu_ns() - began_guest_ns;
        ns.sort_unstable();
        let us = |ns: u64| ns as f64 / 1_000.0;
        let at = |share: f64| us(ns[(ns.len() as f64 * share) as usize]);
        println!("{guest:?}: p50 {:.1} µs, p99 {:.1} µs by the clock", at(0.5), at(0.99));
        let per_call = |ns: u64| us(ns) / f64::from(calls);
        println!("CPU a call: {:.1} µs, of which the guest's {:.1} µs", per_call(cpu_ns), per_call(guest_ns));
        let rounds = world.sandboxes.measure_cold_start(task, "/".to_owned(), 200).await.expect("rounds");
        let median = |of: fn(&skiff_ports::runtime::ColdStart) -> u64| {
            let mut all: Vec<u64> = rounds.iter().map(of).collect();
            all.sort_unstable();
            us(all[all.len() / 2])
        };
        println!(
            "cold start p50: load {:.1} µs, instantiate {:.1} µs, first byte {:.1} µs, warm {:.1} µs",
            median(|round| round.load_ns),
            median(|round| round.instantiate_ns),
            median(|round| round.first_byte_ns),
            median(|round| round.warm_request_ns),
        );
    });
}
