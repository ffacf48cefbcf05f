//! How long requests take at a rate that every server can bear: half of what the slowest saturates at.

use crate::bench::compare::{Measure, pair, ratio};
use crate::bench::load::Load;
use crate::bench::report::{Goal, Plot, Section, Table};
use crate::bench::saturation::{round, warm_up};
use crate::bench::servers::{Fleet, Kind, Placement};
use crate::bench::setup::Bench;
use crate::bench::stats::Spread;
use anyhow::Context;
use serde_json::json;
use skiff_driver::Outcome;
use skiff_plot::{Curve, curves};

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let fleet = Fleet::start(bench, Placement::OneCore)?;
    let core = fleet.placement.driver_core(bench);
    let rate = match bench.settings.rate {
        Some(rate) => rate,
        None => half_of_the_slowest(bench, &fleet)?,
    };
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); fleet.servers.len()];
    for number in 1..=bench.settings.rounds {
        for (index, server, running) in fleet.running() {
            let load = Load { core, rate: Some(rate), ..Load::new(bench, &running.address, &running.host) };
            let outcome = load.run_soundly(bench)?;
            println!("round {number}: {}:\n{outcome}", server.name);
            outcomes[index].push(outcome);
        }
    }
    let section = section(bench, &fleet, &outcomes, rate)?;
    fleet.stop()?;
    Ok(section)
}

fn half_of_the_slowest(bench: &Bench, fleet: &Fleet) -> anyhow::Result<f64> {
    let core = fleet.placement.driver_core(bench);
    let mut slowest = f64::INFINITY;
    for (_, server, running) in fleet.running() {
        warm_up(bench, running, core)?;
        let saturated = round(bench, running, core)?.per_second;
        println!("{} saturates at {saturated:.0} requests/s", server.name);
        slowest = slowest.min(saturated);
    }
    // A rate that can be said again.
    let rate = (slowest / 2.0 / 10.0).floor() * 10.0;
    (rate.is_finite() && rate > 0.0).then_some(rate).context("no server answers fast enough to be measured")
}

fn section(bench: &Bench, fleet: &Fleet, outcomes: &[Vec<Outcome>], rate: f64) -> anyhow::Result<Section> {
    let of = |value: fn(&Outcome) -> f64| -> Vec<Option<Spread>> {
        outcomes.iter().map(|all| (!all.is_empty()).then(|| Spread::of(all.iter().map(value)))).collect()
    };
    let measures = [
        Measure { name: "p50 µs", less_is_better: true, of: of(|outcome| outcome.latency.p50_us) },
        Measure { name: "p99 µs", less_is_better: true, of: of(|outcome| outcome.latency.p99_us) },
        Measure { name: "p99.9 µs", less_is_better: true, of: of(|outcome| outcome.latency.p999_us) },
    ];
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for (index, server, _) in fleet.running() {
        let late = outcomes[index].iter().filter(|outcome| !outcome.driver.in_time).count();
        let mut row = vec![server.name.to_owned()];
        row.extend(measures.iter().filter_map(|measure| Some(measure.of[index]?.to_string())));
        row.push(if late == 0 {
            String::new()
        } else {
            format!("driver late in {late} of {}", outcomes[index].len())
        });
        rows.push(row);
        if let Some(middle) = middle(&outcomes[index]) {
            let points = middle.latency.points.iter().map(|point| (point.us, point.quantile));
            lines.push(Curve::of_quantiles(server.name, points));
        }
    }
    let what = "`hello`, fresh: p99 at half of the saturating rate, of `wasmtime serve`'s";
    let p99 = |outcome: &Outcome| outcome.latency.p99_us;
    let goals =
        pair(fleet, outcomes, Kind::Fresh02).map(|pair| Goal::at_most(what, ratio(pair, p99), 1.0, ""));
    let data = fleet.servers.iter().zip(outcomes);
    let data = data.map(|(server, outcomes)| json!({ "server": server.name, "rounds": outcomes }));
    let place = format!("at {rate:.0} requests/s");
    let header = vec!["server", "p50 µs", "p99 µs", "p99.9 µs", ""];
    Ok(Section {
        title: "Latency in an open loop",
        method: vec![
            format!(
                "{rate:.0} requests/s with {} gaps, whatever the server does; server on one core, driver on another",
                bench.settings.arrivals.word()
            ),
            "a latency counts from the moment at which the request was due, not from when it could be sent"
                .to_owned(),
            "a round in which the driver itself was late is marked".to_owned(),
        ],
        tables: vec![Table { title: format!("At {rate:.0} requests/s"), header, rows }],
        plots: vec![Plot {
            title: format!("Latency at {rate:.0} requests/s, the round with the median p99"),
            svg: curves("µs", &lines)?,
        }],
        goals: goals.into_iter().collect(),
        losses: measures.iter().flat_map(|measure| measure.losses(fleet, &place)).collect(),
        left_out: fleet.left_out().iter().map(|what| format!("latency of {what}")).collect(),
        data: json!({ "rate": rate, "servers": data.collect::<Vec<_>>() }),
    })
}

/// The outcome with the median p99.
fn middle(outcomes: &[Outcome]) -> Option<&Outcome> {
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by(|a, b| a.latency.p99_us.total_cmp(&b.latency.p99_us));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}
