//! What a neighbour that spins costs: a guest at 256 CPU units beside a native process that takes the same share.
//!
//! Each round measures `hello` alone, beside the spinning guest, and beside the native process, in turn. The native
//! process spins for 25 ms of each 100 ms, as the kernel's CPU controller holds a container to a quarter of a core by
//! default (`cpu.cfs_period_us`).

use crate::bench::load::Load;
use crate::bench::processes::Guard;
use crate::bench::report::{Goal, Plot, Section, Table};
use crate::bench::setup::{Bench, deploy_example, misbehave};
use crate::bench::stats::{Spread, number};
use crate::platform::Platform;
use serde::Serialize;
use serde_json::json;
use skiff_driver::Outcome;
use skiff_plot::{Curve, curves};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What the spinning guest is given, of 1024 units a core.
const SPINNER_UNITS: &str = "256";
/// The native spinner's period, and how much of it it spins.
const PERIOD: Duration = Duration::from_millis(100);
const SPIN: Duration = Duration::from_millis(25);
/// The first burst of a spinner is over by then: what follows is the share that it settles at.
const SETTLE: Duration = Duration::from_millis(500);
/// The load on `hello`, of what it saturates at alone.
const LOAD: f64 = 0.4;

/// A neighbour's effect in one round.
#[derive(Serialize)]
struct Round {
    alone: Outcome,
    guest: Outcome,
    native: Outcome,
    guest_share: f64,
}

/// Picks one of a round's outcomes.
type Case = fn(&Round) -> &Outcome;

const CASES: [(&str, Case); 3] = [
    ("alone", |round| &round.alone),
    ("beside a guest that spins at 256 units", |round| &round.guest),
    ("beside a native process that spins 25 ms of 100", |round| &round.native),
];

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    deploy_example(&platform, "hello")?;
    deploy_spinner(&platform, "spinner", SPINNER_UNITS)?;
    let hello =
        Load { core: Some(bench.cores.driver), ..Load::new(bench, &platform.http, "hello.localhost") };
    hello.run_soundly(bench)?;
    let rate = (hello.run_soundly(bench)?.answered_per_second * LOAD).floor();
    let hello = Load { rate: Some(rate), ..hello };
    let rounds: Vec<Round> =
        (0..bench.settings.rounds).map(|_| round(bench, &platform, &hello)).collect::<anyhow::Result<_>>()?;
    platform.stop()?;
    section(bench, &rounds, rate)
}

/// Deploys a component that spins when it is asked to.
pub(super) fn deploy_spinner(platform: &Platform, name: &str, units: &str) -> anyhow::Result<()> {
    let component = misbehave();
    let deploy = ["deploy", &component.to_string_lossy(), "--name", name];
    platform.skiff_output(&[&deploy[..], &["--cpu", units, "--timeout", "1h"]].concat()).map(drop)
}

/// Makes a spinner spin, until this is dropped.
pub(super) fn start_spinner(
    bench: &Bench,
    platform: &Platform,
    name: &str,
    connections: usize,
    core: Option<usize>,
) -> anyhow::Result<Guard> {
    let load = Load::new(bench, &platform.http, &format!("{name}.localhost"));
    Load { path: "/spin".to_owned(), connections, seconds: 3_600.0, core, ..load }.start(bench)
}

/// Makes a native process spin on the server's core, until this is dropped.
pub(super) fn start_native_spinner(bench: &Bench) -> anyhow::Result<Guard> {
    let program = std::env::current_exe()?;
    let spawn = || Ok(Guard(Command::new(program).arg("spin").spawn()?));
    bench.cores.on(Some(bench.cores.server), spawn)
}

/// CPU seconds that a service has used.
pub(super) fn cpu_seconds(platform: &Platform, service: &str) -> anyhow::Result<f64> {
    platform.metric(&format!(r#"skiff_cpu_seconds_total{{namespace="default",service="{service}"}}"#))
}

/// Spins for a quarter of the time, until it is killed: the native neighbour.
pub(crate) fn spin() -> ! {
    loop {
        let started = Instant::now();
        while started.elapsed() < SPIN {
            std::hint::spin_loop();
        }
        sleep(PERIOD.saturating_sub(started.elapsed()));
    }
}

fn round(bench: &Bench, platform: &Platform, hello: &Load) -> anyhow::Result<Round> {
    let alone = hello.run_soundly(bench)?;
    let spinning = start_spinner(bench, platform, "spinner", 1, hello.core)?;
    sleep(SETTLE);
    let (before, started) = (cpu_seconds(platform, "spinner")?, Instant::now());
    let guest = hello.run_soundly(bench)?;
    let guest_share = (cpu_seconds(platform, "spinner")? - before) / started.elapsed().as_secs_f64();
    drop(spinning);
    let spinning = start_native_spinner(bench)?;
    let native = hello.run_soundly(bench)?;
    drop(spinning);
    println!(
        "alone:\n{alone}\nbeside the guest, share {guest_share:.4}:\n{guest}\nbeside the process:\n{native}"
    );
    Ok(Round { alone, guest, native, guest_share })
}

fn section(bench: &Bench, rounds: &[Round], rate: f64) -> anyhow::Result<Section> {
    let row = |(name, of): &(&str, Case)| {
        let spread =
            |value: fn(&Outcome) -> f64| Spread::of(rounds.iter().map(|round| value(of(round)) / 1e3));
        let cells = [
            spread(|outcome| outcome.latency.p50_us),
            spread(|outcome| outcome.latency.p99_us),
            spread(|outcome| outcome.latency.p999_us),
        ];
        std::iter::once((*name).to_owned()).chain(cells.map(|cell| cell.to_string())).collect()
    };
    let rows = CASES.iter().map(row).collect();
    let shares = Spread::of(rounds.iter().map(|round| round.guest_share * 100.0));
    let p99 = |outcome: &Outcome| outcome.latency.p99_us;
    let ratio = Spread::of(rounds.iter().map(|round| p99(&round.guest) / p99(&round.native))).median;
    let lines = CASES.map(|(name, of)| {
        let points = of(&rounds[rounds.len() / 2]).latency.points.iter();
        Curve::of_quantiles(name, points.map(|point| (point.us / 1e3, point.quantile)))
    });
    let off = (shares.median - 25.0).abs();
    Ok(Section {
        title: "A neighbour that spins",
        method: vec![
            format!(
                "`hello` at {rate:.0} requests/s ({} of what it saturates at), {} gaps; platform and neighbour on one \
                 core, driver on another",
                number(LOAD),
                bench.settings.arrivals.word()
            ),
            format!("the guest's share of the core: {shares}%"),
        ],
        tables: vec![Table {
            title: "`hello` beside a spinner".to_owned(),
            header: vec!["`hello`", "p50 ms", "p99 ms", "p99.9 ms"],
            rows,
        }],
        plots: vec![Plot {
            title: "hello beside a spinner, one round".to_owned(),
            svg: curves("ms", &lines)?,
        }],
        goals: vec![
            Goal::at_most("a spinner of 256 units: points of its share off 25%", off, 1.0, ""),
            Goal::at_most("p99 beside the spinner, of that beside the native process", ratio, 2.0, ""),
        ],
        data: json!({ "rate": rate, "rounds": rounds }),
        ..Section::default()
    })
}
