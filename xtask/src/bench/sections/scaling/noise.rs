//! The rate goes up and down by chance, around what the tasks are for: whether the count does.

use super::watch::{Counts, desired, reversals, watched};
use super::{PER_TASK, begin, drive, load};
use crate::bench::load::Load;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Arrivals, Bench};
use serde_json::json;
use skiff_driver::Outcome;
use std::time::{Duration, Instant};

/// The tasks that the mean rate is for.
const TASKS: u64 = 10;
/// By how much the rate of a second is more or less, at most: a part of it. Arrivals within it come by chance as well.
const SWING: f64 = 0.15;
/// How long it lasts, in seconds, and in a quick run.
const SECONDS: usize = 600;
const SECONDS_QUICKLY: usize = 30;
/// What chance follows from.
const SEED: u64 = 0x5eed;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let seconds = if bench.settings.quick { SECONDS_QUICKLY } else { SECONDS };
    let (mean, second) = (TASKS as f64 * PER_TASK, Duration::from_secs(1));
    let platform = begin(bench, TASKS)?;
    let mut chance = Chance(SEED);
    let loads = (0..seconds).map(|number| {
        let rate = mean * (1.0 + SWING * (2.0 * chance.next() - 1.0));
        Load { arrivals: Arrivals::Poisson, seed: number as u64 + 1, ..load(bench, &platform, rate, second) }
    });
    let origin = Instant::now();
    let (driven, seen) = watched(&platform, origin, || drive(bench, loads, second, origin))?;
    platform.stop()?;

    let counts = desired(&seen);
    let (failed, due) = driven
        .iter()
        .fold((0, 0), |(failed, due), (_, outcome)| (failed + outcome.errors.total(), due + outcome.due));
    println!("{counts:?}, {failed} of {due} requests failed");
    Ok(section(seconds, &seen, &counts, &driven, [failed, due]))
}

fn section(
    seconds: usize,
    seen: &[Counts],
    counts: &[u64],
    driven: &[(Duration, Outcome)],
    [failed, due]: [u64; 2],
) -> Section {
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let (least, most) = (counts.iter().min(), counts.iter().max());
    let count = |count: Option<&u64>| count.map_or_else(|| "-".to_owned(), u64::to_string);
    let worst_us = driven.iter().map(|(_, outcome)| outcome.latency.p99_us).fold(0.0, f64::max);
    let turns = reversals(counts);
    let outcomes: Vec<&Outcome> = driven.iter().map(|(_, outcome)| outcome).collect();
    Section {
        method: vec![format!(
            "noise: {seconds} seconds whose rates are {} requests a second, {:.0}% more or less by chance, with exponentially \
             distributed gaps, on {TASKS} tasks which are for {PER_TASK} each. A reversal is a change of the count that undoes a part \
             of the one before",
            TASKS as f64 * PER_TASK,
            SWING * 100.0
        )],
        tables: vec![Table {
            title: format!("{seconds} seconds of noise"),
            header: vec!["what", ""],
            rows: vec![
                row("changes of the count", counts.len().saturating_sub(1).to_string()),
                row("the least and the most tasks", format!("{} and {}", count(least), count(most))),
                row("reversals", turns.to_string()),
                row("requests that were due, and failed", format!("{due}, {failed}")),
                row("p99 of the worst second, ms", format!("{:.1}", worst_us / 1e3)),
            ],
        }],
        goals: vec![
            Goal::at_most(format!("reversals in {seconds} seconds of noise"), turns as f64, 0.0, ""),
            Goal::at_most("requests that failed in noise", failed as f64, 0.0, ""),
        ],
        data: json!({ "counts": seen, "seconds": outcomes }),
        ..Section::default()
    }
}

/// Numbers from 0 to 1 that follow from one: xorshift64* (Vigna, 2016).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}
