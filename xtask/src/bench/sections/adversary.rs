//! What the neighbour of each guest that misbehaves feels, beside what it feels of a native process that takes the same
//! share of the core; and how soon a guest in an endless loop ends once it is cancelled.
//!
//! The cases are those of the integration test. Each is asked for again and again while the neighbour is asked at a
//! constant rate; then, in turn, the neighbour is asked beside the native process.

#[path = "../../../../platform/server/tests/it/adversarial/ask.rs"]
mod ask;
mod cancelled;
#[path = "../../../../platform/server/tests/it/adversarial/cases.rs"]
mod cases;
#[path = "../../../../platform/server/tests/it/footprint.rs"]
mod footprint;
#[path = "../../../../platform/server/tests/it/gauges.rs"]
mod gauges;
#[path = "../../../../platform/server/tests/it/neighbour.rs"]
mod neighbour;

use super::neighbours::start_native_spinner;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, deploy_example};
use crate::bench::stats::{Spread, number};
use crate::platform::Platform;
use crate::shell::root;
use anyhow::Context;
use ask::{Outcome, ask};
use cancelled::Cancelled;
use cases::{CASES, Case, LIMITS, SERVICES};
use footprint::Footprint;
use gauges::{AT_REST_AT_ZERO, gauge};
use neighbour::{Felt, Neighbour};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the neighbour is asked.
const NEIGHBOUR_PER_SECOND: u32 = 200;
/// A client that misbehaves asks no more often: it is the guest that is to do harm, not a flood of requests.
const ADVERSARY_INTERVAL: Duration = Duration::from_millis(20);
/// How many times its p99 beside a native process its p99 beside a guest may be.
const P99_RATIO_MAX: f64 = 2.0;
/// What is so well within the bar in its first round needs no other.
const P99_RATIO_CLEAR: f64 = 1.5;
/// There are a hundred guests: more rounds, or longer ones, take hours.
const ROUNDS_MAX: usize = 3;
const SECONDS_MAX: f64 = 3.0;
/// How long the worker may take to let go of what a case held.
const LET_GO_MAX: Duration = Duration::from_secs(15);
/// What of a text is shown in a table.
const CELL_CHARACTERS_MAX: usize = 110;

/// What one case showed.
struct Row {
    case: &'static Case,
    service: &'static str,
    outcome: Outcome,
    log: String,
    is_counted: bool,
    /// By round: beside the guest, and beside the native process.
    felt: Vec<(Felt, Felt)>,
    left_behind: Vec<String>,
}

impl Row {
    fn p99_ratio(&self) -> f64 {
        p99_ratio(&self.felt)
    }

    /// What is not as it should be.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.left_behind.clone();
        if !self.outcome.is(self.case.client) {
            faults.push(format!("the client got {}", self.outcome));
        }
        if !self.is_counted {
            faults.push(format!("it was not counted among {:?}", self.case.counted));
        }
        let failures = self.felt.iter().flat_map(|(guest, _)| &guest.failures);
        faults.extend(failures.map(|failure| format!("the neighbour was not served: {failure}")));
        faults.into_iter().map(|fault| format!("{} ({}): {fault}", self.case.what, self.service)).collect()
    }

    fn cells(&self) -> Vec<String> {
        let ms = |pick: fn(&(Felt, Felt)) -> Duration| {
            number(Spread::of(self.felt.iter().map(|felt| pick(felt).as_secs_f64() * 1e3)).median)
        };
        let left_behind = match &self.left_behind[..] {
            [] => "nothing".to_owned(),
            left => cell(&left.join("; ")),
        };
        vec![
            self.case.what.to_owned(),
            self.service.to_owned(),
            cell(&self.outcome.to_string()),
            cell(&self.log),
            ms(|(guest, _)| guest.p50),
            ms(|(guest, _)| guest.p99),
            ms(|(guest, _)| guest.max),
            ms(|(_, native)| native.p99),
            number(self.p99_ratio()),
            left_behind,
        ]
    }
}

/// The median of the rounds.
fn p99_ratio(felt: &[(Felt, Felt)]) -> f64 {
    let ratio = |(guest, native): &(Felt, Felt)| guest.p99.as_secs_f64() / native.p99.as_secs_f64();
    Spread::of(felt.iter().map(ratio)).median
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    deploy_example(&platform, "hello")?;
    for service in SERVICES {
        let arguments = [&LIMITS, service.arguments].concat();
        deploy(bench, &platform, service.component, service.name, &arguments)?;
        ask(&platform.http, service.name, &CASES[0]);
    }
    let on_drivers_core = || Ok(Neighbour::start(&platform.http, "hello", NEIGHBOUR_PER_SECOND));
    let neighbour = bench.cores.on(Some(bench.cores.driver), on_drivers_core)?;
    let only = bench.settings.only.as_deref();
    let mut rows = Vec::new();
    for case in CASES.iter().filter(|case| only.is_none_or(|only| case.what.contains(only))) {
        for service in case.services {
            rows.push(row(bench, &platform, &neighbour, case, service)?);
        }
    }
    drop(neighbour);
    let cancelled = cancelled::measure(bench, &platform)?;
    platform.stop()?;
    Ok(section(bench, &rows, &cancelled))
}

fn rounds(bench: &Bench) -> usize {
    bench.settings.rounds.min(ROUNDS_MAX)
}

fn seconds(bench: &Bench) -> f64 {
    bench.settings.seconds.min(SECONDS_MAX)
}

/// `host:port` of its API.
fn api_address(platform: &Platform) -> &str {
    platform.api.trim_start_matches("http://")
}

fn deploy(
    bench: &Bench,
    platform: &Platform,
    component: &str,
    name: &str,
    arguments: &[&str],
) -> anyhow::Result<()> {
    let path = built(bench.folder(), component)?;
    let path = path.to_str().context("a path of text")?;
    platform.skiff_output(&[&["deploy", path, "--name", name], arguments].concat())?;
    Ok(())
}

/// Where a component lies, made of its text if it is written by hand.
fn built(folder: &Path, component: &str) -> anyhow::Result<PathBuf> {
    let guests = root().join("platform/server/tests/guests");
    if component.ends_with(".wat") {
        let path = folder.join(component).with_extension("wasm");
        std::fs::write(&path, wat::parse_file(guests.join("wat").join(component))?)?;
        return Ok(path);
    }
    let release = "target/wasm32-wasip2/release";
    let places = [guests.join(release), root().join("examples").join(release)];
    let names = [format!("{component}.wasm"), format!("{}.wasm", component.replace('-', "_"))];
    let paths = places.iter().flat_map(|place| names.iter().map(|name| place.join(name)));
    paths.into_iter().find(|path| path.is_file()).with_context(|| format!("{component} is not built"))
}

fn row(
    bench: &Bench,
    platform: &Platform,
    neighbour: &Neighbour,
    case: &'static Case,
    service: &'static str,
) -> anyhow::Result<Row> {
    let worker = platform.workers()?[0].0 as u32;
    let before = Footprint::of(worker).context("the worker is gone")?;
    let window = Duration::from_secs_f64(seconds(bench));
    let counted = || case.counted.metric().map(|metric| gauge(api_address(platform), metric, service));
    let counted_before = counted();
    let (mut outcome, mut felt, mut left_behind) = (Outcome::NoAnswer(String::new()), vec![], vec![]);
    for _ in 0..rounds(bench) {
        let began = Instant::now();
        let stop = AtomicBool::new(false);
        let misbehave = || {
            std::thread::scope(|scope| {
                let adversary = scope.spawn(|| {
                    let first = ask(&platform.http, service, case);
                    while !stop.load(Ordering::Relaxed) {
                        let due = Instant::now() + ADVERSARY_INTERVAL;
                        ask(&platform.http, service, case);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                    first
                });
                std::thread::sleep(window);
                stop.store(true, Ordering::Relaxed);
                Ok(adversary.join().expect("an adversary's client never panics"))
            })
        };
        outcome = bench.cores.on(Some(bench.cores.driver), misbehave)?;
        let beside_guest = neighbour.felt_since(began);
        left_behind.extend(look_behind(platform, service, &before)?);

        let native = start_native_spinner(bench)?;
        let began = Instant::now();
        std::thread::sleep(window);
        let beside_native = neighbour.felt_since(began);
        drop(native);
        felt.push((beside_guest, beside_native));
        if felt.len() == 1 && p99_ratio(&felt) <= P99_RATIO_CLEAR {
            break;
        }
    }
    let is_counted = counted_before.is_none() || counted() > counted_before;
    let log = last_log_line(platform, service, case)?;
    let row = Row { case, service, outcome, log, is_counted, felt, left_behind };
    for (beside_guest, beside_native) in &row.felt {
        println!("{} ({service}): {beside_guest}; beside a process {beside_native}", case.what);
    }
    Ok(row)
}

/// What a case left, once all had time to let go.
fn look_behind(platform: &Platform, service: &str, before: &Footprint) -> anyhow::Result<Vec<String>> {
    let api = api_address(platform);
    let began = Instant::now();
    loop {
        let mut found: Vec<String> = AT_REST_AT_ZERO
            .iter()
            .filter(|metric| gauge(api, metric, service) != 0.0)
            .map(|metric| format!("{metric} is not zero"))
            .collect();
        match Footprint::of(before.pid) {
            None => return Ok(vec!["the worker died".to_owned()]),
            Some(now) if now.descriptors > before.descriptors || now.threads > before.threads => {
                found.push(format!("{now:?} instead of {before:?}"));
            }
            Some(_) => {}
        }
        if found.is_empty() || began.elapsed() > LET_GO_MAX {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The last line that tells the user why, if there is anything to tell.
fn last_log_line(platform: &Platform, service: &str, case: &Case) -> anyhow::Result<String> {
    if case.log.is_empty() {
        return Ok(String::new());
    }
    let text = platform.skiff_output(&["logs", service, "--tail", "2000"])?;
    let line = text.lines().rev().find(|line| line.contains(case.log));
    // What comes before is the task's id.
    Ok(line.and_then(|line| line.split_once("| ")).map(|(_, said)| said.to_owned()).unwrap_or_default())
}

fn section(bench: &Bench, rows: &[Row], cancelled: &[Cancelled]) -> Section {
    let faults: Vec<String> = rows.iter().flat_map(Row::faults).collect();
    let worst = rows.iter().max_by(|left, right| left.p99_ratio().total_cmp(&right.p99_ratio()));
    let mut goals =
        vec![Goal::at_most("guests that did other than they should", faults.len() as f64, 0.0, "")];
    goals.extend(worst.map(|worst| {
        let what = format!("p99 beside any guest, of that beside the native process ({})", worst.case.what);
        Goal::at_most(what, worst.p99_ratio(), P99_RATIO_MAX, "")
    }));
    goals.push(cancelled::goal(cancelled));
    Section {
        title: "Guests that misbehave, and their neighbour",
        method: vec![
            format!(
                "each guest has 256 CPU units and is asked again and again for {} s, {} rounds, but one alone where the first's \
                 ratio is at most {P99_RATIO_CLEAR}; the native process spins 25 ms of 100; platform, guest and process on one core, \
                 clients on another",
                number(seconds(bench)),
                rounds(bench)
            ),
            format!(
                "neighbour: `hello`, asked {NEIGHBOUR_PER_SECOND} times a second, latency from when a request was due; ms, \
                 medians of the rounds"
            ),
        ],
        tables: vec![
            Table {
                title: "`hello` beside guests that misbehave".to_owned(),
                header: vec![
                    "guest",
                    "service",
                    "its client gets",
                    "its log says",
                    "neighbour p50",
                    "p99",
                    "most",
                    "p99 beside a process",
                    "times",
                    "left behind",
                ],
                rows: rows.iter().map(Row::cells).collect(),
            },
            cancelled::table(cancelled),
        ],
        goals,
        data: json!({
            "faults": faults,
            "p99_ratios": rows.iter().map(|row| (row.case.what, row.service, row.p99_ratio())).collect::<Vec<_>>(),
        }),
        left_out: faults,
        ..Section::default()
    }
}

/// Text that fits into a table's cell.
fn cell(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    match line.char_indices().nth(CELL_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
