//! What is answered, and how soon, when twice as many requests come as can be answered.

use crate::bench::load::Load;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, deploy_example};
use crate::bench::stats::{Spread, number};
use serde_json::json;
use skiff_driver::Outcome;

/// So many times what saturates.
const TIMES: f64 = 2.0;
/// Connections by which requests come: what waits beyond as many waits in the driver.
const CONNECTIONS: usize = 1_000;
/// How long it is asked for nothing more than it can do before the next round, in seconds.
const RECOVERY_S: f64 = 2.0;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    deploy_example(&platform, "hello")?;
    let load = Load { core: Some(bench.cores.driver), ..Load::new(bench, &platform.http, "hello.localhost") };
    load.run_soundly(bench)?;
    let (mut peaks, mut over): (Vec<Outcome>, Vec<Outcome>) = Default::default();
    for _ in 0..bench.settings.rounds {
        let peak = load.run_soundly(bench)?;
        let rate = (peak.answered_per_second * TIMES).floor();
        let more = Load { rate: Some(rate), connections: CONNECTIONS, ..load.clone() };
        let outcome = more.run(bench)?;
        println!("peak {:.0}/s; at {rate:.0}/s:\n{outcome}", peak.answered_per_second);
        peaks.push(peak);
        over.push(outcome);
        // Until nothing is left of that.
        Load { seconds: RECOVERY_S, ..load.clone() }.run(bench)?;
    }
    platform.stop()?;
    let of = |outcomes: &[Outcome], value: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(value));
    let goodput = Spread::of(
        peaks.iter().zip(&over).map(|(peak, over)| over.answered_per_second / peak.answered_per_second),
    );
    let late = of(&over, |outcome| outcome.latency.p99_us / outcome.latency.p50_us);
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let refused: Vec<String> = over.iter().map(|outcome| outcome.errors.to_string()).collect();
    Ok(Section {
        method: vec![format!(
            "overload: `hello`; {} times what {} connections in a closed loop come to, in an open loop on {CONNECTIONS} \
             connections; platform on one core, driver on the other. Goodput is what was answered with 200 a second. \
             Latencies are of those answers, from the moment at which they were due",
            number(TIMES),
            bench.settings.connections
        )],
        tables: vec![Table {
            title: "Twice what saturates it".to_owned(),
            header: vec!["what", ""],
            rows: vec![
                row("peak, requests/s", of(&peaks, |outcome| outcome.answered_per_second).to_string()),
                row("goodput, requests/s", of(&over, |outcome| outcome.answered_per_second).to_string()),
                row("p50, ms", of(&over, |outcome| outcome.latency.p50_us / 1e3).to_string()),
                row("p99, ms", of(&over, |outcome| outcome.latency.p99_us / 1e3).to_string()),
                row("otherwise answered", refused.join("; ")),
            ],
        }],
        goals: vec![
            Goal::at_least("goodput at twice what saturates, of the peak", goodput, 0.9, ""),
            Goal::at_most("p99 of what is answered then, of its p50", late, 10.0, ""),
        ],
        data: json!({ "peaks": peaks, "over": over }),
        ..Section::default()
    })
}
