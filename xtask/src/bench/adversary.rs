//! What the neighbour of each guest that misbehaves feels, beside what it feels of a native process that takes the same
//! share of the core; and how soon a guest in an endless loop ends once it is cancelled.
//!
//! The platform has one worker and is pinned to one core, the clients to the other. The cases are those of the integration
//! test. Each is asked for again and again while the neighbour is asked at a constant rate; then, in turn, the neighbour is
//! asked beside the native process. A bar that is missed fails the run, after the report is written.

#[path = "../../../platform/server/tests/it/adversarial/ask.rs"]
mod ask;
#[path = "../../../platform/server/tests/it/adversarial/cases.rs"]
mod cases;
#[path = "../../../platform/server/tests/it/cancellation/ended.rs"]
mod ended;
#[path = "../../../platform/server/tests/it/footprint.rs"]
mod footprint;
#[path = "../../../platform/server/tests/it/gauges.rs"]
mod gauges;
#[path = "../../../platform/server/tests/it/neighbour.rs"]
mod neighbour;

use super::isolation::pin;
use super::{Server, median, report};
use crate::platform::Platform;
use crate::shell::{build_guests, cargo, root, run};
use anyhow::{Context, bail};
use ask::{Outcome, ask};
use cases::{CASES, Case, LIMITS, SERVICES};
use footprint::Footprint;
use gauges::{AT_REST_AT_ZERO, gauge};
use neighbour::{Felt, Neighbour};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the neighbour is asked.
const NEIGHBOUR_PER_SECOND: u32 = 200;
/// A client that misbehaves asks no more often: it is the guest that is to do harm, not a flood of requests.
const ADVERSARY_INTERVAL: Duration = Duration::from_millis(20);
/// How many times its p99 beside a native process its p99 beside a guest may be.
const P99_RATIO_MAX: f64 = 2.0;
/// How long a guest may go on after it was cancelled.
const CANCELLED_MAX: Duration = Duration::from_millis(10);
/// How often each way to cancel is tried.
const CANCELLATIONS: usize = 10;
/// How long the worker may take to let go of what a case held.
const LET_GO_MAX: Duration = Duration::from_secs(15);
/// What requests of the cancelled services may take.
const CANCELLED_TIMEOUT: Duration = Duration::from_secs(1);

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
        let ratio = |(guest, native): &(Felt, Felt)| guest.p99.as_secs_f64() / native.p99.as_secs_f64();
        median(self.felt.iter().map(ratio).collect())
    }

    /// The bars that it misses.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.left_behind.clone();
        if !self.outcome.is(self.case.client) {
            faults.push(format!("the client got {}", self.outcome));
        }
        if !self.is_counted {
            faults.push(format!("it was not counted among {:?}", self.case.counted));
        }
        if self.p99_ratio() > P99_RATIO_MAX {
            faults
                .push(format!("the neighbour's p99 is {:.2} times that beside a process", self.p99_ratio()));
        }
        let failures = self.felt.iter().flat_map(|(guest, _)| &guest.failures);
        faults.extend(failures.map(|failure| format!("the neighbour was not served: {failure}")));
        faults.into_iter().map(|fault| format!("{} ({}): {fault}", self.case.what, self.service)).collect()
    }
}

/// Runs the cases and writes the report.
pub(super) fn measure(args: &super::Args) -> anyhow::Result<()> {
    build_guests()?;
    run(cargo("build").args(["--release", "--package", "skiff-server"]))?;
    let data = tempfile::tempdir()?;
    let ports = ["--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--workers", "1"];
    let (platform, _) =
        Platform::start(&root().join("target/release/skiff"), &data.path().join("data"), &ports)?;
    pin(platform.pid(), 0)?;
    pin(std::process::id(), 1)?;
    deploy(&platform, data.path(), "hello", "hello", &["--cpu", "4096"])?;
    for service in SERVICES {
        let arguments = [&LIMITS, service.arguments].concat();
        deploy(&platform, data.path(), service.component, service.name, &arguments)?;
        ask(&platform.http, service.name, &CASES[0]);
    }
    let neighbour = Neighbour::start(&platform.http, "hello", NEIGHBOUR_PER_SECOND);
    let chosen = |case: &&Case| args.only.as_ref().is_none_or(|only| case.what.contains(only.as_str()));
    let mut rows = Vec::new();
    for case in CASES.iter().filter(chosen) {
        for service in case.services {
            rows.push(row(args, &platform, &neighbour, case, service)?);
        }
    }
    drop(neighbour);
    let cancelled = cancelled(&platform, data.path())?;

    let mut faults: Vec<String> = rows.iter().flat_map(Row::faults).collect();
    for (what, times) in &cancelled {
        let most = times.iter().max().copied().unwrap_or_default();
        if most > CANCELLED_MAX {
            faults.push(format!("{what}: a guest went on for {most:?}"));
        }
    }
    let text = render(args, &rows, &cancelled, &faults)?;
    report::save("adversary", "Guests that misbehave, and their neighbour", &text)?;
    platform.stop()?;
    if !faults.is_empty() {
        bail!("{} bars are missed:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(())
}

/// `host:port` of its API.
fn api_address(platform: &Platform) -> &str {
    platform.api.trim_start_matches("http://")
}

fn deploy(
    platform: &Platform,
    data: &Path,
    component: &str,
    name: &str,
    arguments: &[&str],
) -> anyhow::Result<()> {
    let path = built(data, component)?;
    let path = path.to_str().context("a path of text")?;
    platform.skiff_output(&[&["deploy", path, "--name", name], arguments].concat())?;
    Ok(())
}

/// Where a component lies, made of its text if it is written by hand.
fn built(data: &Path, component: &str) -> anyhow::Result<PathBuf> {
    let guests = root().join("platform/server/tests/guests");
    if component.ends_with(".wat") {
        let path = data.join(component).with_extension("wasm");
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
    args: &super::Args,
    platform: &Platform,
    neighbour: &Neighbour,
    case: &'static Case,
    service: &'static str,
) -> anyhow::Result<Row> {
    let worker = platform.workers()?[0].0 as u32;
    let before = Footprint::of(worker).context("the worker is gone")?;
    let window = Duration::from_secs(args.seconds);
    let counted = || case.counted.metric().map(|metric| gauge(api_address(platform), metric, service));
    let counted_before = counted();
    let (mut outcome, mut felt, mut left_behind) = (Outcome::NoAnswer(String::new()), vec![], vec![]);
    for _ in 0..args.rounds {
        let began = Instant::now();
        let stop = AtomicBool::new(false);
        outcome = std::thread::scope(|scope| {
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
            adversary.join().expect("an adversary's client never panics")
        });
        let beside_guest = neighbour.felt_since(began);
        left_behind.extend(look_behind(platform, service, &before)?);

        let native = Server(Command::new(std::env::current_exe()?).arg("spin").spawn()?);
        pin(native.0.id(), 0)?;
        let began = Instant::now();
        std::thread::sleep(window);
        let beside_native = neighbour.felt_since(began);
        drop(native);
        felt.push((beside_guest, beside_native));
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

/// How long guests in endless loops went on, by what ended them and where they looped.
fn cancelled(platform: &Platform, data: &Path) -> anyhow::Result<Vec<(String, Vec<Duration>)>> {
    let api = api_address(platform);
    let mut measured = Vec::new();
    for (name, component, path, arguments) in ended::PLACES {
        let timeout = format!("{}ms", CANCELLED_TIMEOUT.as_millis());
        let timed = format!("{name}-timed");
        deploy(
            platform,
            data,
            component,
            name,
            &[&["--timeout", "60s", "--cpu", "1024"], arguments].concat(),
        )?;
        deploy(
            platform,
            data,
            component,
            &timed,
            &[&["--timeout", &timeout, "--cpu", "1024"], arguments].concat(),
        )?;
        let left = || ended::after_its_client(&platform.http, api, name, path);
        let late = || ended::after_its_timeout(&platform.http, &timed, path, CANCELLED_TIMEOUT);
        measured
            .push((format!("the client goes away, {name}"), (0..CANCELLATIONS).map(|_| left()).collect()));
        measured.push((format!("the timeout, {name}"), (0..CANCELLATIONS).map(|_| late()).collect()));
    }
    for component in ["misbehave-job", "job-p3"] {
        let path = built(data, component)?;
        let path = path.to_str().context("a path of text")?;
        let stopped = || {
            let task = platform.skiff_output(&["run", path, "--cpu", "1024", "--detach", "--", "spin"])?;
            anyhow::Ok(ended::after_its_stop(api, &platform.token, task.trim()))
        };
        let times: Vec<Duration> = (0..CANCELLATIONS).map(|_| stopped()).collect::<anyhow::Result<_>>()?;
        measured.push((format!("a stop, {component}"), times));
    }
    Ok(measured)
}

fn render(
    args: &super::Args,
    rows: &[Row],
    cancelled: &[(String, Vec<Duration>)],
    faults: &[String],
) -> anyhow::Result<String> {
    let mut text = String::new();
    let command = format!("cargo xtask bench adversary --rounds {} --seconds {}", args.rounds, args.seconds);
    report::preamble(&mut text, &command)?;
    writeln!(
        text,
        "- platform (1 worker) pinned to core 0, clients to core 1; each guest has 256 CPU units and is asked again and \
         again for {} s, {} rounds; the process spins 25 ms of 100\n- neighbour: `hello`, asked {NEIGHBOUR_PER_SECOND} \
         times a second, latency from when a request was due; ms, medians of the rounds\n- bars: p99 beside a guest at most \
         {P99_RATIO_MAX} times that beside a process, a cancelled guest ends within {} ms, nothing is left behind; missed: \
         {}\n",
        args.seconds,
        args.rounds,
        CANCELLED_MAX.as_millis(),
        faults.len(),
    )?;
    for fault in faults {
        writeln!(text, "  - {fault}")?;
    }
    writeln!(
        text,
        "| guest | service | its client gets | its log says | neighbour p50 | p99 | max | p99 beside a process | times | \
         left behind |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for row in rows {
        let of = |pick: fn(&(Felt, Felt)) -> Duration| {
            median(row.felt.iter().map(|felt| pick(felt).as_secs_f64() * 1e3).collect())
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} |",
            row.case.what,
            row.service,
            cell(&row.outcome.to_string()),
            cell(&row.log),
            of(|(guest, _)| guest.p50),
            of(|(guest, _)| guest.p99),
            of(|(guest, _)| guest.max),
            of(|(_, native)| native.p99),
            row.p99_ratio(),
            if row.left_behind.is_empty() { "nothing".to_owned() } else { cell(&row.left_behind.join("; ")) },
        )?;
    }
    writeln!(
        text,
        "\nA guest in an endless loop that is cancelled goes on for so long, in ms, of {CANCELLATIONS}:\n"
    )?;
    writeln!(text, "| what ends it, and where it loops | p50 | most |\n| --- | --- | --- |")?;
    for (what, times) in cancelled {
        let ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let most = ms.iter().copied().fold(0.0, f64::max);
        writeln!(text, "| {what} | {:.1} | {most:.1} |", median(ms))?;
    }
    Ok(text)
}

/// Text that fits into a table's cell.
fn cell(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    match line.char_indices().nth(CELL_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What of a text is shown.
const CELL_CHARACTERS_MAX: usize = 110;
