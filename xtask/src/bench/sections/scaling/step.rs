//! The rate leaps from 100 to 4,000 requests a second.
//!
//! The load comes in pieces of half a second, so that latencies are known by when their requests were due.

use super::watch::{Counts, watched};
use super::{PER_TASK, TASKS_MAX, begin, drive, load};
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::{Spread, number};
use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;
use skiff_driver::Outcome;
use std::time::{Duration, Instant};

/// Requests a second before and after.
const BEFORE: f64 = 100.0;
const AFTER: f64 = 4_000.0;
/// The length of a piece of the load.
const PIECE: Duration = Duration::from_millis(500);
/// How long each rate lasts, in pieces.
const PIECES_BEFORE: usize = 20;
const PIECES_AFTER: usize = 30;
/// Leaps, each of a platform of its own, and in a quick run.
const TRIALS: usize = 5;
const TRIALS_QUICKLY: usize = 1;
/// Where p99 is to be.
const P99_MS_MAX: f64 = 100.0;
/// When it is to be there again, and when capacity, in seconds.
const BACK_S_MAX: f64 = 3.0;
const CAPACITY_S_MAX: f64 = 2.0;

/// One leap; times are in milliseconds after it.
#[derive(Debug, Serialize)]
struct Leap {
    /// When the count was first another.
    decided_ms: f64,
    /// When all tasks ran that the policy is to have by then.
    capacity_ms: f64,
    /// From when on every piece had its p99 where it is to be, and no request failed.
    back_ms: f64,
    /// Requests that were refused or failed until then.
    refused: u64,
    counts: Vec<Counts>,
    pieces: Vec<Piece>,
}

/// What came of the requests that were due within half a second.
#[derive(Debug, Serialize)]
struct Piece {
    from_ms: f64,
    outcome: Outcome,
}

impl Piece {
    fn is_well(&self) -> bool {
        self.outcome.errors.total() == 0 && self.outcome.latency.p99_us <= P99_MS_MAX * 1e3
    }
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let trials = if bench.settings.quick { TRIALS_QUICKLY } else { TRIALS };
    let leaps = (0..trials).map(|_| leap(bench)).collect::<anyhow::Result<Vec<Leap>>>()?;
    let of = |value: fn(&Leap) -> f64| Spread::of(leaps.iter().map(value));
    let seconds = |ms: Spread| Spread { median: ms.median / 1e3, low: ms.low / 1e3, high: ms.high / 1e3 };
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let pieces: &[Piece] = leaps.first().map_or(&[], |leap| leap.pieces.as_slice());
    let piece_row = |piece: &Piece| {
        let Piece { from_ms, outcome } = piece;
        let late = if outcome.driver.in_time { "" } else { " (driver late)" };
        vec![
            number(from_ms / 1e3),
            outcome.due.to_string(),
            outcome.errors.to_string(),
            number(outcome.latency.p50_us / 1e3),
            format!("{}{late}", number(outcome.latency.p99_us / 1e3)),
        ]
    };
    let capacity = seconds(of(|leap| leap.capacity_ms));
    let back = seconds(of(|leap| leap.back_ms));
    Ok(Section {
        method: vec![format!(
            "step: {trials} times {BEFORE:.0} requests a second for {} s, then {AFTER:.0} for {} s, in an open loop; `skiff scaling \
             put web --min 2 --max 40 --target RequestCountPerTarget=6000`. A task answers two at once, 10 ms each, and refuses \
             what its queue has no room for. Platform with two workers and driver on all cores",
            (PIECE * PIECES_BEFORE as u32).as_secs(),
            (PIECE * PIECES_AFTER as u32).as_secs()
        )],
        tables: vec![
            Table {
                title: format!("A leap from {BEFORE:.0} to {AFTER:.0} requests a second"),
                header: vec!["what", "median (least–most)"],
                rows: vec![
                    row("until the count is another, s", seconds(of(|leap| leap.decided_ms)).to_string()),
                    row("until all the tasks run that it takes, s", capacity.to_string()),
                    row("until p99 is back for good, s", back.to_string()),
                    row("requests refused until then", of(|leap| leap.refused as f64).to_string()),
                ],
            },
            Table {
                title: "The first of them, by when requests were due".to_owned(),
                header: vec!["from s", "due", "failed", "p50 ms", "p99 ms"],
                rows: pieces.iter().map(piece_row).collect(),
            },
        ],
        goals: vec![
            Goal::at_most("capacity follows a leap, worst", capacity.high, CAPACITY_S_MAX, " s"),
            Goal::at_most(
                format!("p99 is below {P99_MS_MAX} ms again after a leap, worst"),
                back.high,
                BACK_S_MAX,
                " s",
            ),
        ],
        data: json!({ "p99_ms_max": P99_MS_MAX, "leaps": leaps }),
        ..Section::default()
    })
}

fn leap(bench: &Bench) -> anyhow::Result<Leap> {
    let platform = begin(bench, 2)?;
    let loads = |rate, pieces| (0..pieces).map(move |_| (rate, PIECE));
    let of = |(rate, time)| load(bench, &platform, rate, time);
    let calm = drive(bench, loads(BEFORE, PIECES_BEFORE).map(of), PIECE, Instant::now())?;
    let failed: u64 = calm.iter().map(|(_, outcome)| outcome.errors.total()).sum();
    ensure!(failed == 0, "{failed} requests failed at {BEFORE} a second, before the leap");
    let leapt = Instant::now();
    let drive = || drive(bench, loads(AFTER, PIECES_AFTER).map(of), PIECE, leapt);
    let (driven, counts) = watched(&platform, leapt, drive)?;
    platform.stop()?;

    let piece = |(from, outcome): (Duration, Outcome)| Piece { from_ms: from.as_secs_f64() * 1e3, outcome };
    let pieces: Vec<Piece> = driven.into_iter().map(piece).collect();
    // As many as are for what comes, but for the tenth that a policy bears.
    let wanted = ((AFTER / (1.1 * PER_TASK)).ceil() as u64).min(TASKS_MAX);
    let decided = counts.iter().find(|now| now.desired > 2).context("the count never was another")?;
    let enough = counts.iter().find(|now| now.running >= wanted);
    let enough = enough.with_context(|| format!("{wanted} tasks never ran: {counts:?}"))?;
    let unwell = pieces.iter().rposition(|piece| !piece.is_well());
    let back = pieces.get(unwell.map_or(0, |last| last + 1)).context("latencies never were back")?;
    let until = pieces.iter().take_while(|piece| piece.from_ms < back.from_ms);
    let leap = Leap {
        decided_ms: decided.at_ms,
        capacity_ms: enough.at_ms,
        back_ms: back.from_ms,
        refused: until.map(|piece| piece.outcome.errors.total()).sum(),
        counts,
        pieces,
    };
    println!(
        "another count after {:.0} ms, all tasks after {:.0} ms, p99 back after {:.0} ms, {} refused",
        leap.decided_ms, leap.capacity_ms, leap.back_ms, leap.refused
    );
    Ok(leap)
}
