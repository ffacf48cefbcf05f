//! How long requests take at a rate that all who are asked can bear.
//!
//! There are two trials: every server at half of what the slowest saturates at, and the two that the goal compares at half
//! of what the slower of them does. A server that is slow for reasons of its own would else hide what the two do under load.

use crate::bench::compare::{Measure, pair, places, ratio};
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

/// What the goal is about.
const COMPARED: Kind = Kind::Fresh02;

/// Some servers, asked at one rate.
struct Trial {
    whose: &'static str,
    /// Requests per second.
    rate: f64,
    /// By the server's place in the fleet; those of a server that was not asked are none.
    outcomes: Vec<Vec<Outcome>>,
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let fleet = Fleet::start(bench, Placement::OneCore)?;
    let all: Vec<usize> = fleet.running().map(|(place, ..)| place).collect();
    let mut trials = Vec::new();
    if let Some(rate) = bench.settings.rate {
        trials.push(trial(bench, &fleet, "all", rate, &all)?);
    } else {
        let saturated = saturated(bench, &fleet)?;
        trials.push(trial(bench, &fleet, "all", half_of_the_slowest(&saturated, &all)?, &all)?);
        if let Some(two) = places(&fleet, COMPARED) {
            let rate = half_of_the_slowest(&saturated, &two)?;
            trials.push(trial(bench, &fleet, "those of the goal", rate, &two)?);
        }
    }
    let section = section(bench, &fleet, &trials)?;
    fleet.stop()?;
    Ok(section)
}

/// What each server saturates at, by its place in the fleet.
fn saturated(bench: &Bench, fleet: &Fleet) -> anyhow::Result<Vec<f64>> {
    let core = fleet.placement.driver_core(bench);
    let mut saturated = vec![0.0; fleet.servers.len()];
    for (place, server, running) in fleet.running() {
        warm_up(bench, running, core)?;
        saturated[place] = round(bench, running, core)?.per_second;
        println!("{} saturates at {:.0} requests/s", server.name, saturated[place]);
    }
    Ok(saturated)
}

/// A rate that can be said again.
fn half_of_the_slowest(saturated: &[f64], places: &[usize]) -> anyhow::Result<f64> {
    let slowest = places.iter().map(|place| saturated[*place]).fold(f64::INFINITY, f64::min);
    let rate = (slowest / 2.0 / 10.0).floor() * 10.0;
    (rate.is_finite() && rate > 0.0).then_some(rate).context("no server answers fast enough to be measured")
}

fn trial(
    bench: &Bench,
    fleet: &Fleet,
    whose: &'static str,
    rate: f64,
    places: &[usize],
) -> anyhow::Result<Trial> {
    let core = fleet.placement.driver_core(bench);
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); fleet.servers.len()];
    for number in 1..=bench.settings.rounds {
        for (place, server, running) in fleet.running().filter(|(place, ..)| places.contains(place)) {
            let load = Load { core, rate: Some(rate), ..Load::new(bench, &running.address, &running.host) };
            let outcome = load.run_soundly(bench)?;
            println!("round {number}: {} at {rate:.0} requests/s:\n{outcome}", server.name);
            outcomes[place].push(outcome);
        }
    }
    Ok(Trial { whose, rate, outcomes })
}

fn section(bench: &Bench, fleet: &Fleet, trials: &[Trial]) -> anyhow::Result<Section> {
    let rates: Vec<String> =
        trials.iter().map(|trial| format!("{:.0} requests/s for {}", trial.rate, trial.whose)).collect();
    let mut section = Section {
        title: "Latency in an open loop",
        method: vec![
            format!(
                "{}, with {} gaps, whatever the server does; server on one core, driver on another",
                rates.join(", and "),
                bench.settings.arrivals.word()
            ),
            "a latency counts from the moment at which the request was due, not from when it could be sent"
                .to_owned(),
            "a round in which the driver itself was late is marked".to_owned(),
        ],
        left_out: fleet.left_out().iter().map(|what| format!("latency of {what}")).collect(),
        data: trials.iter().map(|trial| data(fleet, trial)).collect(),
        ..Section::default()
    };
    for trial in trials {
        add(&mut section, fleet, trial)?;
    }
    // Of the last trial: the two at their own rate, unless a rate was given for all.
    let p99 = |outcome: &Outcome| outcome.latency.p99_us;
    if let Some(Trial { rate, outcomes, .. }) = trials.last()
        && let Some(pair) = pair(fleet, outcomes, COMPARED)
    {
        let half = if bench.settings.rate.is_none() { ", half of what the slower saturates at" } else { "" };
        let what = format!("`hello`, fresh: p99 at {rate:.0} requests/s{half}, of `wasmtime serve`'s");
        section.goals.push(Goal::at_most(what, ratio(pair, p99), 1.0, ""));
    }
    Ok(section)
}

fn data(fleet: &Fleet, trial: &Trial) -> serde_json::Value {
    let servers = fleet.servers.iter().zip(&trial.outcomes).filter(|(_, outcomes)| !outcomes.is_empty());
    let servers = servers.map(|(server, outcomes)| json!({ "server": server.name, "rounds": outcomes }));
    json!({ "rate": trial.rate, "servers": servers.collect::<Vec<_>>() })
}

/// Adds a trial's table, plot and losses.
fn add(section: &mut Section, fleet: &Fleet, trial: &Trial) -> anyhow::Result<()> {
    let Trial { whose, rate, outcomes } = trial;
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
    for (place, server, _) in fleet.running() {
        let Some(middle) = middle(&outcomes[place]) else { continue };
        let late = outcomes[place].iter().filter(|outcome| !outcome.driver.in_time).count();
        let mut row = vec![server.name.to_owned()];
        row.extend(measures.iter().filter_map(|measure| Some(measure.of[place]?.to_string())));
        row.push(if late == 0 {
            String::new()
        } else {
            format!("driver late in {late} of {}", outcomes[place].len())
        });
        rows.push(row);
        let points = middle.latency.points.iter().map(|point| (point.us, point.quantile));
        lines.push(Curve::of_quantiles(server.name, points));
    }
    let place = format!("at {rate:.0} requests/s");
    section.tables.push(Table {
        title: format!("At {rate:.0} requests/s: {whose}"),
        header: vec!["server", "p50 µs", "p99 µs", "p99.9 µs", ""],
        rows,
    });
    section.plots.push(Plot {
        title: format!("Latency {place}, the round with the median p99"),
        svg: curves("µs", &lines)?,
    });
    section.losses.extend(measures.iter().flat_map(|measure| measure.losses(fleet, &place)));
    Ok(())
}

/// The outcome with the median p99.
fn middle(outcomes: &[Outcome]) -> Option<&Outcome> {
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by(|a, b| a.latency.p99_us.total_cmp(&b.latency.p99_us));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}
