//! What a `wasi:http` request from one task to another costs, beside what the called task's own sandbox takes.
//!
//! One sandbox of the caller sends thousands of requests, one after the other, within one request of ours. So what all of
//! the platform's processes use meanwhile, by the kernel's count, is the cost of the calls: the caller's side, the way, and
//! the callee's sandboxes. The callee's account says what of it those take.

use crate::bench::load::Load;
use crate::bench::processes::cpu;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::sections::neighbours::cpu_seconds;
use crate::bench::setup::{AMPLE, Bench, deploy_example, guest};
use crate::bench::stats::Spread;
use crate::platform::Platform;
use anyhow::bail;
use serde::Serialize;
use serde_json::json;

/// Who calls whom, of each generation of WASI.
const PAIRS: [Pair; 2] = [
    Pair { wasi: "WASI 0.2", caller: "fetch", callee: "hello" },
    Pair { wasi: "WASI 0.3", caller: "fetch-p3", callee: "hello-p3" },
];
/// Calls of a round for each second that it is to take, about.
const CALLS_PER_SECOND: f64 = 20_000.0;
/// How many times the CPU time of the callee's own sandbox a call may cost.
const RATIO_MAX: f64 = 1.2;

struct Pair {
    wasi: &'static str,
    /// A guest of the tests.
    caller: &'static str,
    /// An example.
    callee: &'static str,
}

/// CPU time of one round, in microseconds for each call.
#[derive(Debug, Serialize)]
struct Round {
    /// Of all the platform's processes, by the kernel's count.
    all_us: f64,
    /// Of the callee's account, and of the caller's.
    callee_us: f64,
    caller_us: f64,
    /// The same of requests to the callee from outside, through the load balancer.
    balanced_us: f64,
    balanced_callee_us: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.all_us / self.callee_us
    }

    fn ratio_without_caller(&self) -> f64 {
        (self.all_us - self.caller_us) / self.callee_us
    }
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    for pair in &PAIRS {
        deploy_example(&platform, pair.callee)?;
        let caller = guest(pair.caller);
        let deploy = ["deploy", &caller.to_string_lossy(), "--name", pair.caller, "--timeout", "1h"];
        platform.skiff_output(&[&deploy[..], &AMPLE].concat())?;
        round(bench, &platform, pair)?;
    }
    let mut rounds: [Vec<Round>; 2] = Default::default();
    for number in 1..=bench.settings.rounds {
        for (pair, rounds) in PAIRS.iter().zip(&mut rounds) {
            let round = round(bench, &platform, pair)?;
            println!("round {number}: {}: {round:.1?}", pair.wasi);
            rounds.push(round);
        }
    }
    platform.stop()?;
    Ok(section(bench, &rounds))
}

/// How many calls a round has.
fn calls(bench: &Bench) -> u64 {
    (bench.settings.seconds * CALLS_PER_SECOND) as u64
}

fn round(bench: &Bench, platform: &Platform, Pair { caller, callee, .. }: &Pair) -> anyhow::Result<Round> {
    let calls = calls(bench);
    let path = format!("/again?url=http://{callee}.default.internal/&times={calls}");
    let used = || anyhow::Ok([cpu_seconds(platform, callee)?, cpu_seconds(platform, caller)?]);
    // What asking for the accounts costs lies outside of what the kernel's count is asked for.
    let accounts_before = used()?;
    let before = cpu(platform.pid())?;
    let answer = platform.get(caller, &path)?;
    let all = cpu(platform.pid())? - before;
    let accounts = used()?;
    if !answer.starts_with(&format!("{calls} answers")) {
        bail!("{caller} says of {calls} calls of {callee}: {answer}");
    }
    let us_of = |seconds: f64, count: f64| seconds * 1e6 / count;
    let each_us = |seconds: f64| us_of(seconds, calls as f64);

    let load = Load::new(bench, &platform.http, &format!("{callee}.localhost"));
    let load = Load { core: Some(bench.cores.driver), ..load };
    let account_before = cpu_seconds(platform, callee)?;
    let before = cpu(platform.pid())?;
    let outcome = load.run_soundly(bench)?;
    let balanced = cpu(platform.pid())? - before;
    let account = cpu_seconds(platform, callee)?;
    Ok(Round {
        all_us: each_us(all.as_secs_f64()),
        callee_us: each_us(accounts[0] - accounts_before[0]),
        caller_us: each_us(accounts[1] - accounts_before[1]),
        balanced_us: us_of(balanced.as_secs_f64(), outcome.answered as f64),
        balanced_callee_us: us_of(account - account_before, outcome.answered as f64),
    })
}

fn section(bench: &Bench, rounds: &[Vec<Round>; 2]) -> Section {
    let row = |(pair, rounds): (&Pair, &Vec<Round>)| {
        let of = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value)).to_string();
        vec![
            format!("`{}` calls `{}` ({})", pair.caller, pair.callee, pair.wasi),
            of(|round| round.all_us),
            of(|round| round.callee_us),
            of(|round| round.caller_us),
            of(Round::ratio),
            of(Round::ratio_without_caller),
            of(|round| round.balanced_us),
            of(|round| round.balanced_callee_us),
        ]
    };
    let goal = |(pair, rounds): (&Pair, &Vec<Round>)| {
        let what = format!("a call ({}): CPU, of what the callee's own sandbox takes", pair.wasi);
        Goal::at_most(what, Spread::of(rounds.iter().map(Round::ratio)), RATIO_MAX, "")
    };
    let pairs = || PAIRS.iter().zip(rounds);
    let data = pairs().map(|(pair, rounds)| json!({ "wasi": pair.wasi, "rounds": rounds }));
    Section {
        method: vec![format!(
            "calls: one sandbox of the caller sends {} requests to `http://NAME.default.internal/`, one after the other, and \
             reads each answer; in one worker on one core. CPU of all processes by the kernel's count, with the caller's; \
             what the callee's sandboxes take, by its account",
            calls(bench)
        )],
        tables: vec![Table {
            title: "A call from task to task: CPU µs for each".to_owned(),
            header: vec![
                "calls",
                "all processes",
                "callee's account",
                "caller's account",
                "all, of the callee's",
                "all but the caller's, of the callee's",
                "through the load balancer, all processes",
                "callee's account",
            ],
            rows: pairs().map(row).collect(),
        }],
        goals: pairs().map(goal).collect(),
        data: data.collect::<Vec<_>>().into(),
        ..Section::default()
    }
}
