//! What a TCP stream between two guests moves for a second of CPU time: through the platform's network, and through the
//! kernel's loopback with the same two guests under `wasmtime run`.
//!
//! One guest pours bytes, the other reads them to the end. CPU is that of all processes that have a part in it, from the
//! start of the one that pours to its end; who reads runs all the time. Both hosts have compiled the guests before.

use super::programs::{PORT, run, serve};
use crate::bench::peers::{self, NO_WASMTIME, wasmtime_program};
use crate::bench::processes::{Guard, cpu};
use crate::bench::report::{Goal, Plot, Section, Table};
use crate::bench::servers::{Placement, Running};
use crate::bench::setup::{Bench, guest};
use crate::bench::stats::{Spread, number};
use crate::platform::Platform;
use crate::shell::output;
use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::json;
use skiff_plot::{Bar, bars};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The same two guests on each generation of WASI: their component, and what `wasmtime` must be told to run and compile it.
const GENERATIONS: [Generation; 2] = [
    Generation {
        wasi: "WASI 0.2",
        component: "sockets",
        run: &["-Scli,tcp,inherit-network,allow-ip-name-lookup"],
        compile: &[],
    },
    Generation {
        wasi: "WASI 0.3",
        component: "sockets-p3",
        run: &["-Scli,p3,tcp,inherit-network,allow-ip-name-lookup", "-Wcomponent-model-async"],
        compile: &["-Wcomponent-model-async"],
    },
];
/// Bytes of a round for each second that it is to take, about.
const BYTES_PER_SECOND: f64 = 2048.0 * (1 << 20) as f64;
/// Bytes of the first round, that nobody counts.
const BYTES_TO_WARM_UP: u64 = 1 << 30;
/// The reading task is given more CPU units than all that run beside it for a while, so that the other is put into another
/// worker where there is one.
const READER: [&str; 4] = ["--cpu", "4096", "--memory", "256MiB"];
const WRITER: [&str; 4] = ["--cpu", "2048", "--memory", "256MiB"];
/// What each worker uses at least of the CPU time if both have a part in it.
const PART_MIN: f64 = 0.1;
/// How many times as many bytes a stream is to move for the same CPU time, in one worker and across two.
const RATIOS_MIN: [f64; 2] = [2.0, 1.0];

struct Generation {
    wasi: &'static str,
    component: &'static str,
    run: &'static [&'static str],
    compile: &'static [&'static str],
}

/// Where the two ends of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// In one worker, on one core; with `wasmtime`, two processes on one core.
    Together,
    /// In two workers, on all cores; with `wasmtime`, two processes on all cores.
    Apart,
}

const ENDS: [Ends; 2] = [Ends::Together, Ends::Apart];

/// What moves the bytes.
enum Carrier {
    Skiff { platform: Platform, target: String },
    Kernel { program: PathBuf, code: PathBuf, reader: Running },
}

/// One way to have a stream.
struct Way {
    name: String,
    generation: &'static Generation,
    ends: Ends,
    carrier: Carrier,
    rounds: Vec<Round>,
}

/// What one round showed.
#[derive(Debug, Clone, Copy, Serialize)]
struct Round {
    bytes_per_cpu_second: f64,
    bytes_per_second: f64,
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let bytes = (bench.settings.seconds * BYTES_PER_SECOND) as u64;
    let (mut ways, mut left_out) = (Vec::new(), Vec::new());
    for generation in &GENERATIONS {
        for ends in ENDS {
            ways.push(skiff(bench, generation, ends)?);
            match kernel(bench, generation, ends) {
                Ok(way) => ways.push(way),
                Err(error) => left_out.push(format!("{}: {error:#}", name_of(false, generation, ends))),
            }
        }
    }
    for way in &ways {
        way.pour(bench, BYTES_TO_WARM_UP).with_context(|| way.name.clone())?;
    }
    for number in 1..=bench.settings.rounds {
        for way in &mut ways {
            let round = way.pour(bench, bytes).with_context(|| way.name.clone())?;
            println!("round {number}: {}: {round:.0?}", way.name);
            way.rounds.push(round);
        }
    }
    let section = section(&ways, bytes, left_out)?;
    for way in ways {
        if let Carrier::Skiff { platform, .. } = way.carrier {
            platform.stop()?;
        }
    }
    Ok(section)
}

fn name_of(ours: bool, Generation { wasi, .. }: &Generation, ends: Ends) -> String {
    let (who, place) = match (ours, ends) {
        (true, Ends::Together) => ("skiff", "in one worker, on one core"),
        (true, Ends::Apart) => ("skiff", "across two workers, on all cores"),
        (false, Ends::Together) => ("wasmtime run", "over loopback, on one core"),
        (false, Ends::Apart) => ("wasmtime run", "over loopback, on all cores"),
    };
    format!("{who}, {wasi}, {place}")
}

/// A platform with a task that reads.
fn skiff(bench: &Bench, generation: &'static Generation, ends: Ends) -> anyhow::Result<Way> {
    let (core, workers) = match ends {
        Ends::Together => (Some(bench.cores.server), "1"),
        Ends::Apart => (None, "2"),
    };
    let (platform, _) = bench.platform(core, &["--workers", workers], &[])?;
    let readers = serve(&platform, generation.component, "reader", &format!("sink {PORT}"), &READER)?;
    let target = readers[0].target();
    let carrier = Carrier::Skiff { platform, target };
    Ok(Way { name: name_of(true, generation, ends), generation, ends, carrier, rounds: Vec::new() })
}

/// A `wasmtime` that reads, with the guest compiled ahead.
fn kernel(bench: &Bench, generation: &'static Generation, ends: Ends) -> anyhow::Result<Way> {
    let program = wasmtime_program().context(NO_WASMTIME)?;
    // A file of its own: whoever runs it has it mapped.
    let code = bench.folder().join(format!("{}-{ends:?}.cwasm", generation.component));
    let component = guest(generation.component);
    output(
        Command::new(&program).arg("compile").args(generation.compile).arg("-o").arg(&code).arg(component),
    )?;
    let placement = match ends {
        Ends::Together => Placement::OneCore,
        Ends::Apart => Placement::AllCores,
    };
    let reader = peers::start(bench, placement, |address| {
        let port = address.rsplit(':').next().unwrap_or_default();
        let mut command = wasmtime_run(&program, generation);
        command.arg(&code).args(["sink", port]);
        command
    })?;
    let carrier = Carrier::Kernel { program, code, reader };
    Ok(Way { name: name_of(false, generation, ends), generation, ends, carrier, rounds: Vec::new() })
}

fn wasmtime_run(program: &Path, generation: &Generation) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--allow-precompiled"]).args(generation.run);
    command
}

impl Way {
    fn is_ours(&self) -> bool {
        matches!(self.carrier, Carrier::Skiff { .. })
    }

    /// Moves so many bytes.
    fn pour(&self, bench: &Bench, bytes: u64) -> anyhow::Result<Round> {
        let (said, used) = match &self.carrier {
            Carrier::Skiff { platform, target } => {
                let before = used_by_each(platform)?;
                let all_before = cpu(platform.pid())?;
                let script = ["pour", target, &bytes.to_string()];
                let said = run(platform, self.generation.component, &WRITER, &script)?;
                let used = cpu(platform.pid())? - all_before;
                self.check_places(&before, &used_by_each(platform)?)?;
                (said, used)
            }
            Carrier::Kernel { program, code, reader } => {
                let core = (self.ends == Ends::Together).then_some(bench.cores.server);
                let mut command = wasmtime_run(program, self.generation);
                command.arg(code).args(["pour", &reader.address, &bytes.to_string()]);
                let before = cpu(reader.pid)?;
                let (said, writer) = bench.cores.on(core, || to_its_end(&mut command))?;
                (said, cpu(reader.pid)? - before + writer)
            }
        };
        let ms = said.lines().find_map(|line| {
            let ms = line.strip_prefix(&format!("sent {bytes} bytes in "))?.strip_suffix(" ms")?;
            ms.parse::<f64>().ok()
        });
        let ms = ms.with_context(|| format!("it said {said:?}"))?;
        Ok(Round {
            bytes_per_cpu_second: bytes as f64 / used.as_secs_f64(),
            bytes_per_second: bytes as f64 * 1e3 / ms.max(1.0),
        })
    }

    /// An error if the two tasks were not where they were to be: CPU time of each worker before and after.
    fn check_places(&self, before: &[Duration], after: &[Duration]) -> anyhow::Result<()> {
        if self.ends == Ends::Together {
            return Ok(());
        }
        let used: Vec<f64> = after
            .iter()
            .zip(before)
            .map(|(after, before)| after.saturating_sub(*before).as_secs_f64())
            .collect();
        let all: f64 = used.iter().sum();
        if used.iter().any(|used| *used < all * PART_MIN) {
            bail!("the two tasks were to be in two workers, which used {used:?} s");
        }
        Ok(())
    }
}

/// CPU time of each worker.
fn used_by_each(platform: &Platform) -> anyhow::Result<Vec<Duration>> {
    platform.workers()?.into_iter().map(|(pid, _)| cpu(pid as u32)).collect()
}

/// Runs a program to its end: what it printed, and the CPU time that it used.
fn to_its_end(command: &mut Command) -> anyhow::Result<(String, Duration)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Guard(command.spawn().context("`wasmtime` can't be started")?);
    let mut said = String::new();
    child.0.stdout.take().context("its output is piped")?.read_to_string(&mut said)?;
    // It has ended, and until somebody waits for it the kernel still knows what it used.
    let used = cpu(child.0.id())?;
    let status = child.0.wait()?;
    if !status.success() {
        bail!("`wasmtime` ended with {status}, and said {said:?}");
    }
    Ok((said, used))
}

fn section(ways: &[Way], bytes: u64, left_out: Vec<String>) -> anyhow::Result<Section> {
    const GB: f64 = 1e9;
    let (mut rows, mut goals, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    for way in ways {
        let of = |value: fn(&Round) -> f64| Spread::of(way.rounds.iter().map(|round| value(round) / GB));
        let times = peer_of(ways, way).map(|peer| ratio(way, peer));
        rows.push(vec![
            way.name.clone(),
            of(|round| round.bytes_per_cpu_second).to_string(),
            of(|round| round.bytes_per_second).to_string(),
            times.map_or_else(String::new, |times| times.to_string()),
        ]);
        let Some(times) = times else { continue };
        let what = format!("{}: bytes per CPU second, of `wasmtime run`'s over loopback", way.name);
        goals.push(Goal::at_least(what, times, RATIOS_MIN[way.ends as usize], ""));
        if times.median < 1.0 {
            losses.push(format!(
                "a stream, {}: {} times the bytes per CPU second",
                way.name,
                number(times.median)
            ));
        }
    }
    let bar = |way: &Way| {
        let Spread { median, low, high } =
            Spread::of(way.rounds.iter().map(|round| round.bytes_per_cpu_second / GB));
        Bar { label: way.name.clone(), value: median, low, high, marked: way.is_ours() }
    };
    let plot = bars("GB per CPU second", &ways.iter().map(bar).collect::<Vec<_>>())?;
    let data = ways.iter().map(|way| json!({ "way": way.name, "rounds": way.rounds }));
    Ok(Section {
        method: vec![format!(
            "streams: one guest pours {} MiB in pieces of 64 KiB, the other reads them to the end; CPU of all processes, from \
             the start of the one that pours to its end, code compiled before; GB are 10^9 bytes",
            bytes >> 20
        )],
        tables: vec![Table {
            title: "A stream between two guests".to_owned(),
            header: vec![
                "the guests",
                "GB per CPU second",
                "GB/s by the clock",
                "times the bytes per CPU second",
            ],
            rows,
        }],
        plots: vec![Plot { title: "A stream between two guests".to_owned(), svg: plot }],
        goals,
        losses,
        left_out,
        data: data.collect::<Vec<_>>().into(),
        ..Section::default()
    })
}

/// What one of ours is compared with.
fn peer_of<'w>(ways: &'w [Way], ours: &Way) -> Option<&'w Way> {
    let is_peer = |way: &&Way| {
        !way.is_ours() && way.ends == ours.ends && way.generation.component == ours.generation.component
    };
    ours.is_ours().then(|| ways.iter().find(is_peer)).flatten()
}

/// The rounds' ratios: rounds of one number ran one after the other.
fn ratio(ours: &Way, theirs: &Way) -> Spread {
    let pairs = ours.rounds.iter().zip(&theirs.rounds);
    Spread::of(pairs.map(|(ours, theirs)| ours.bytes_per_cpu_second / theirs.bytes_per_cpu_second))
}
