//! A service that changes at a steady rate of requests: rolling updates within each pair of bounds in turn, revisions that fail
//! and are rolled back, and other counts of tasks. What counts is that no request fails.
//!
//! The load comes in pieces, one right after the other, until the changes are done: a driver says what came of its requests only
//! in the end, and how long the changes take is not known before.

use super::app::{self, BOUNDS, DESIRED, HOST, NAME, PATH, UP};
use crate::bench::load::Load;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::{number, quantile};
use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use skiff_driver::Outcome;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Requests a second, in an open loop.
const RATE: f64 = 5_000.0;
/// Connections that they come by: some hundred are under way where a worker is slow for a moment.
const CONNECTIONS: usize = 256;
/// How long a piece of the load is, in seconds.
const PIECE_S: f64 = 5.0;
/// So long the load goes on before the first change.
const BEFORE: Duration = Duration::from_secs(1);
/// Changes of each kind, and in a quick run.
const UPDATES: (usize, usize) = (50, 6);
const ROLLBACKS: (usize, usize) = (10, 2);
const SCALINGS: (usize, usize) = (5, 1);
/// Between these counts it is scaled.
const COUNTS: [&str; 2] = ["40", "2"];

/// Changes of one kind, and the load meanwhile.
#[derive(Debug, Serialize)]
struct Phase {
    what: &'static str,
    /// How long each change took, in seconds.
    took_s: Vec<f64>,
    /// What came of each piece of the load.
    pieces: Vec<Outcome>,
}

impl Phase {
    fn failed(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.errors.total()).sum()
    }

    fn due(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.due).sum()
    }

    /// The worst of its pieces, in milliseconds.
    fn worst_ms(&self, of: impl Fn(&Outcome) -> f64) -> f64 {
        self.pieces.iter().map(of).fold(0.0, f64::max) / 1e3
    }

    fn row(&self) -> Vec<String> {
        let errors = self.pieces.iter().filter(|piece| piece.errors.total() > 0);
        let errors: Vec<String> = errors.map(|piece| piece.errors.to_string()).collect();
        let took = |share| number(quantile(self.took_s.iter().copied(), share));
        let late = self.pieces.iter().filter(|piece| !piece.driver.in_time).count();
        vec![
            self.what.to_owned(),
            self.took_s.len().to_string(),
            took(0.5),
            took(1.0),
            self.due().to_string(),
            self.failed().to_string(),
            if errors.is_empty() { "-".to_owned() } else { errors.join("; ") },
            number(self.worst_ms(|piece| piece.latency.p99_us)),
            number(self.worst_ms(|piece| piece.latency.max_us)),
            format!("{late} of {}", self.pieces.len()),
        ]
    }
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let times = |(full, quick): (usize, usize)| if bench.settings.quick { quick } else { full };
    let agent = ureq::Agent::new_with_defaults();
    let (platform, _) = bench.platform(None, &UP, &[])?;
    app::deploy(&platform, &agent)?;
    let load = Load {
        path: PATH.to_owned(),
        connections: CONNECTIONS,
        seconds: PIECE_S,
        rate: Some(RATE),
        ..Load::new(bench, &platform.http, HOST)
    };

    let updates = under_load(bench, &load, "rolling updates", times(UPDATES), |update| {
        let [least, most] = BOUNDS[update % BOUNDS.len()];
        let bounds = ["--min-healthy", least, "--max-percent", most];
        app::deploy_another(&platform, update + 1, &bounds)
    })?;
    let wide = ["--min-healthy", BOUNDS[0][0], "--max-percent", BOUNDS[0][1]];
    app::deploy_another(&platform, 0, &wide)?;
    app::wait_until_healthy(&platform, &agent)?;
    let what = "rollbacks by the circuit breaker";
    let rollbacks = under_load(bench, &load, what, times(ROLLBACKS), |_| app::deploy_trapping(&platform))?;
    let least = COUNTS[1];
    platform.skiff_output(&["scale", NAME, least])?;
    let (what, changes) = ("scalings, from 2 to 40 and from 40 to 2", COUNTS.len() * times(SCALINGS));
    let scalings = under_load(bench, &load, what, changes, |scaling| {
        platform.skiff_output(&["scale", NAME, COUNTS[scaling % COUNTS.len()]]).map(drop)
    })?;
    platform.stop()?;

    let phases = [updates, rollbacks, scalings];
    let goal = |phase: &Phase| {
        let what = format!("requests that failed: {} {}", phase.took_s.len(), phase.what);
        Goal::at_most(what, phase.failed() as f64, 0.0, "")
    };
    Ok(Section {
        title: "Services under change",
        method: vec![
            format!(
                "{RATE:.0} requests a second in an open loop over {CONNECTIONS} connections, in pieces of {PIECE_S} s one right \
                 after the other until the changes are done; platform with two workers and driver on all cores. Each request \
                 sleeps 5 ms in a fresh sandbox of `misbehave`, so that two dozen are always under way"
            ),
            format!(
                "{DESIRED} tasks, checked every second; rolling updates in turn at a minimum healthy and a maximum percent of \
                 100/200, 50/100 and 100/150, each by `skiff deploy`, which returns when it is stable; a revision that fails \
                 traps as it starts, and `skiff deploy` of it fails once the service is back; scaling by `skiff scale`"
            ),
        ],
        tables: vec![Table {
            title: format!("Changes at {RATE:.0} requests a second"),
            header: vec![
                "what",
                "changes",
                "each p50 s",
                "most s",
                "requests due",
                "failed",
                "why",
                "p99 ms, worst piece",
                "most ms",
                "pieces with a late driver",
            ],
            rows: phases.iter().map(Phase::row).collect(),
        }],
        goals: phases.iter().map(goal).collect(),
        data: json!({ "requests_per_second": RATE, "phases": phases }),
        ..Section::default()
    })
}

/// Makes so many changes, each by its number, under the load.
fn under_load(
    bench: &Bench,
    load: &Load,
    what: &'static str,
    times: usize,
    change: impl Fn(usize) -> anyhow::Result<()>,
) -> anyhow::Result<Phase> {
    let stop = AtomicBool::new(false);
    let (pieces, took_s) = std::thread::scope(|scope| {
        let driven = scope.spawn(|| drive(bench, load, &stop));
        std::thread::sleep(BEFORE);
        let changed = make(what, times, change);
        stop.store(true, Relaxed);
        (driven.join().expect("the load does not panic"), changed)
    });
    let phase = Phase { what, took_s: took_s?, pieces: pieces? };
    println!("{what}: {} of {} requests failed", phase.failed(), phase.due());
    Ok(phase)
}

/// Makes the changes, one after the other; how long each took, in seconds.
fn make(what: &str, times: usize, change: impl Fn(usize) -> anyhow::Result<()>) -> anyhow::Result<Vec<f64>> {
    let mut took_s = Vec::with_capacity(times);
    for time in 0..times {
        let began = Instant::now();
        change(time).with_context(|| format!("{what}, number {}", time + 1))?;
        took_s.push(began.elapsed().as_secs_f64());
    }
    Ok(took_s)
}

/// Piece after piece, until a piece has ended after the changes have.
fn drive(bench: &Bench, load: &Load, stop: &AtomicBool) -> anyhow::Result<Vec<Outcome>> {
    let mut pieces = Vec::new();
    while !stop.load(Relaxed) {
        pieces.push(load.run(bench)?);
    }
    Ok(pieces)
}
