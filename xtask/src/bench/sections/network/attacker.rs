//! What the neighbour of a task feels that attacks the network: `hello` alone, beside floods, beside the attacker of the
//! tests, and beside a native process that takes the same share of the core.
//!
//! The attacker of the tests tries all its ways out again and again.

use super::programs::{PORT, hear, serve, start, stop};
use crate::bench::load::Load;
use crate::bench::report::{Goal, Plot, Section, Table};
use crate::bench::sections::neighbours::start_native_spinner;
use crate::bench::setup::{Bench, deploy_example};
use crate::bench::stats::{Spread, number};
use crate::platform::Platform;
use serde::Serialize;
use serde_json::json;
use skiff_driver::Outcome;
use skiff_plot::{Curve, curves};
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

/// What an attacker is given: a quarter of a core.
const LIMITS: [&str; 4] = ["--cpu", "256", "--memory", "128MiB"];
/// The group of the attacker of the tests, which allows nothing.
const CLOSED: &str = "closed";
/// Connections that wait at the task that the floods are for, which accepts none.
const BACKLOG: u32 = 128;
/// The first burst of an attacker is over by then: what follows is the share that it settles at.
const SETTLE: Duration = Duration::from_millis(500);
/// The load on `hello`, of what it saturates at alone.
const LOAD: f64 = 0.2;
/// How many times its p99 alone its p99 beside an attacker may be.
const P99_RATIO_MAX: f64 = 2.0;
/// What no rule allowed of the floods, and of the attacker.
const DENIED: &str = r#"skiff_network_denied_total{namespace="default",service="family:"#;

/// One round.
#[derive(Serialize)]
struct Round {
    alone: Outcome,
    floods: Outcome,
    attacker: Outcome,
    native: Outcome,
    denied: f64,
}

type Case = (&'static str, fn(&Round) -> &Outcome);

const CASES: [Case; 4] = [
    ("alone", |round| &round.alone),
    ("beside floods", |round| &round.floods),
    ("beside the attacker", |round| &round.attacker),
    ("beside a native process that spins 25 ms of 100", |round| &round.native),
];
/// Those of them that are held to the bar.
const ATTACKS: Range<usize> = 1..3;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    deploy_example(&platform, "hello")?;
    platform.skiff_output(&["sg", "create", CLOSED, "--no-rules"])?;
    let mute = serve(&platform, "sockets", "mute", &format!("mute {PORT} {BACKLOG}"), &[])?;
    let target = mute[0].target();
    let hello =
        Load { core: Some(bench.cores.driver), ..Load::new(bench, &platform.http, "hello.localhost") };
    hello.run_soundly(bench)?;
    let rate = (hello.run_soundly(bench)?.answered_per_second * LOAD).floor();
    let hello = Load { rate: Some(rate), ..hello };
    let round = |_| round(bench, &platform, &hello, &target);
    let rounds = (0..bench.settings.rounds).map(round).collect::<anyhow::Result<Vec<_>>>()?;
    platform.stop()?;
    section(bench, &rounds, rate)
}

fn round(bench: &Bench, platform: &Platform, hello: &Load, target: &str) -> anyhow::Result<Round> {
    let alone = hello.run_soundly(bench)?;
    let denied_before = platform.metric_sum(DENIED)?;
    let flooding = start(platform, "traffic", &LIMITS, &["flood", target])?;
    hear(platform, &flooding, "flooding", 0)?;
    sleep(SETTLE);
    let floods = hello.run_soundly(bench)?;
    stop(platform, &flooding)?;
    let world = world_of(platform, target);
    let world: Vec<&str> = world.iter().map(String::as_str).collect();
    let closed = [&LIMITS[..], &["--security-group", CLOSED]].concat();
    let attacking = start(platform, "attacker", &closed, &world)?;
    sleep(SETTLE);
    let attacker = hello.run_soundly(bench)?;
    stop(platform, &attacking)?;
    let denied = platform.metric_sum(DENIED)? - denied_before;
    let spinning = start_native_spinner(bench)?;
    let native = hello.run_soundly(bench)?;
    drop(spinning);
    println!(
        "alone:\n{alone}\nbeside floods:\n{floods}\nbeside the attacker:\n{attacker}\nbeside the process:\n{native}\n\
         attempts denied: {denied:.0}"
    );
    Ok(Round { alone, floods, attacker, native, denied })
}

/// What the attacker must know: the ports of the platform, two that nobody listens at, and a task that nobody may reach.
fn world_of(platform: &Platform, target: &str) -> Vec<String> {
    let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
    let victim = target.split(':').next().unwrap_or_default();
    vec![
        format!("api={}", port(&platform.api)),
        format!("balancer={}", port(&platform.http)),
        "secret=9".to_owned(),
        "redirector=13".to_owned(),
        format!("victim={victim}"),
        "zone=attack.test".to_owned(),
        "may_ask=true".to_owned(),
        format!("rounds={}", u32::MAX),
    ]
}

fn section(bench: &Bench, rounds: &[Round], rate: f64) -> anyhow::Result<Section> {
    let row = |(name, of): &Case| {
        let spread = |value: fn(&Outcome) -> f64| {
            Spread::of(rounds.iter().map(|round| value(of(round)) / 1e3)).to_string()
        };
        vec![
            (*name).to_owned(),
            spread(|outcome| outcome.latency.p50_us),
            spread(|outcome| outcome.latency.p99_us),
            spread(|outcome| outcome.latency.p999_us),
            times_alone(rounds, *of).to_string(),
        ]
    };
    let goal = |(name, of): &Case| {
        Goal::at_most(
            format!("p99 of `hello` {name}, of that alone"),
            times_alone(rounds, *of),
            P99_RATIO_MAX,
            "",
        )
    };
    let lines = CASES.map(|(name, of)| {
        let points = of(&rounds[rounds.len() / 2]).latency.points.iter();
        Curve::of_quantiles(name, points.map(|point| (point.us / 1e3, point.quantile)))
    });
    let denied = Spread::of(rounds.iter().map(|round| round.denied));
    Ok(Section {
        method: vec![format!(
            "attacker: `hello` at {rate:.0} requests/s ({} of what it saturates at), {} gaps; platform and attacker, of 256 \
             units, on one core, driver on another; attempts that were denied in a round: {denied}",
            number(LOAD),
            bench.settings.arrivals.word()
        )],
        tables: vec![Table {
            title: "`hello` beside who attacks the network".to_owned(),
            header: vec!["`hello`", "p50 ms", "p99 ms", "p99.9 ms", "times the p99 alone"],
            rows: CASES.iter().map(row).collect(),
        }],
        plots: vec![Plot {
            title: "hello beside who attacks the network, one round".to_owned(),
            svg: curves("ms", &lines)?,
        }],
        goals: CASES[ATTACKS].iter().map(goal).collect(),
        data: json!({ "rate": rate, "rounds": rounds }),
        ..Section::default()
    })
}

/// The rounds' ratios of a p99 to that alone.
fn times_alone(rounds: &[Round], of: fn(&Round) -> &Outcome) -> Spread {
    let p99 = |outcome: &Outcome| outcome.latency.p99_us;
    Spread::of(rounds.iter().map(|round| p99(of(round)) / p99(&round.alone)))
}
