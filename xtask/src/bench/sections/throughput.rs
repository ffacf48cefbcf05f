//! How many requests a second, and what each costs, beside every peer.

use crate::bench::compare::{Measure, pair, ratio};
use crate::bench::report::{Goal, Section, Table};
use crate::bench::saturation::{Round, round, warm_up};
use crate::bench::servers::{Fleet, Kind, Placement};
use crate::bench::setup::Bench;
use crate::bench::stats::Spread;
use serde_json::json;

/// The measure that a driver at its limit falsifies.
const RATE: &str = "requests/s";

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let mut section = Section {
        title: "Throughput and CPU per request",
        method: vec![
            "a closed loop from one thread of `skiff-driver`; each request is sent when its connection has its last \
             answer"
                .to_owned(),
            "a rate marked with * is the driver's: it was the limit. CPU per request holds all the same".to_owned(),
        ],
        ..Section::default()
    };
    let mut data = Vec::new();
    for placement in [Placement::OneCore, Placement::AllCores] {
        let fleet = Fleet::start(bench, placement)?;
        let rounds = rounds(bench, &fleet)?;
        add(&mut section, bench, &fleet, &rounds)?;
        let by_name = fleet.servers.iter().zip(&rounds);
        let by_name = by_name.map(|(server, rounds)| json!({ "server": server.name, "rounds": rounds }));
        data.push(json!({ "placement": placement, "servers": by_name.collect::<Vec<_>>() }));
        fleet.stop()?;
    }
    section.data = data.into();
    Ok(section)
}

/// All rounds by server, the servers in turn within each.
fn rounds(bench: &Bench, fleet: &Fleet) -> anyhow::Result<Vec<Vec<Round>>> {
    let core = fleet.placement.driver_core(bench);
    for (_, _, running) in fleet.running() {
        warm_up(bench, running, core)?;
    }
    let mut rounds = vec![Vec::new(); fleet.servers.len()];
    for number in 1..=bench.settings.rounds {
        for (index, server, running) in fleet.running() {
            let result = round(bench, running, core)?;
            println!("round {number}: {}: {result:.1?}", server.name);
            rounds[index].push(result);
        }
    }
    Ok(rounds)
}

fn add(section: &mut Section, bench: &Bench, fleet: &Fleet, rounds: &[Vec<Round>]) -> anyhow::Result<()> {
    let of = |value: fn(&Round) -> f64| -> Vec<Option<Spread>> {
        rounds.iter().map(|all| (!all.is_empty()).then(|| Spread::of(all.iter().map(value)))).collect()
    };
    let measures = [
        Measure { name: RATE, less_is_better: false, of: of(|round| round.per_second) },
        Measure {
            name: "CPU µs per request",
            less_is_better: true,
            of: of(|round| round.cpu_us_per_request),
        },
        Measure { name: "p50 ms", less_is_better: true, of: of(|round| round.p50_ms) },
        Measure { name: "p99 ms", less_is_better: true, of: of(|round| round.p99_ms) },
        Measure { name: "memory MiB (PSS)", less_is_better: true, of: of(|round| round.memory_mib) },
    ];
    let place = match fleet.placement {
        Placement::OneCore => "server on one core, driver on another".to_owned(),
        Placement::AllCores => format!("server and driver on all {} cores", bench.cores.count),
    };
    let row = |index: usize| -> Vec<String> {
        let limited = rounds[index].iter().any(|round| !round.driver_in_time);
        let cell = |measure: &Measure<'_>| match measure.of[index] {
            None => "not measured".to_owned(),
            Some(rate) if limited && measure.name == RATE => format!("{rate} *"),
            Some(spread) => spread.to_string(),
        };
        std::iter::once(fleet.servers[index].name.to_owned()).chain(measures.iter().map(cell)).collect()
    };
    let header = std::iter::once("server").chain(measures.iter().map(|measure| measure.name)).collect();
    let rows = (0..fleet.servers.len()).map(row).collect();
    section.tables.push(Table { title: format!("Saturated, {place}"), header, rows });
    for measure in &measures[..2] {
        section.plots.push(measure.plot(fleet, format!("{}, {place}", measure.name))?);
    }
    section.losses.extend(measures.iter().flat_map(|measure| measure.losses(fleet, &place)));
    section.goals.extend(goals(fleet, rounds, &place));
    // The same in each placement.
    if fleet.placement == Placement::AllCores {
        section.left_out.extend(fleet.left_out());
    }
    Ok(())
}

/// What is to be shown in each placement.
fn goals(fleet: &Fleet, rounds: &[Vec<Round>], place: &str) -> Vec<Goal> {
    let name = |what: &str| format!("{what} ({place})");
    let mut goals = Vec::new();
    let cpu = |round: &Round| round.cpu_us_per_request;
    if let Some(pair) = pair(fleet, rounds, Kind::Fresh02) {
        let what = name("`hello`, fresh: CPU per request, of `wasmtime serve`'s");
        goals.push(Goal::at_most(what, ratio(pair, cpu), 0.35, ""));
        let what = name("`hello`, fresh: requests/s, of `wasmtime serve`'s");
        goals.push(Goal::at_least(what, ratio(pair, |round| round.per_second), 2.5, ""));
    }
    let workerd = fleet.servers.iter().position(|server| server.name.starts_with("workerd"));
    let ours = fleet.servers.iter().position(|server| server.ours && server.kind == Kind::Fresh02);
    if let (Some(workerd), Some(ours)) = (workerd, ours)
        && let (theirs @ [_, ..], ours @ [_, ..]) = (&rounds[workerd][..], &rounds[ours][..])
    {
        let what = name("`hello`, fresh: CPU per request, of workerd's in one reused isolate");
        goals.push(Goal::at_most(what, ratio((ours, theirs), cpu), 1.0, ""));
    }
    if let Some(pair) = pair(fleet, rounds, Kind::Reuse03) {
        let what = name("`hello-p3`, reuse 128 x 16: CPU per request, of `wasmtime serve`'s");
        goals.push(Goal::at_most(what, ratio(pair, cpu), 0.70, ""));
    }
    goals
}
