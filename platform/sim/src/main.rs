//! `skiff-sim`: runs seeds of the simulator, or a million tasks. `cargo xtask sim` builds and starts it.

use clap::Parser;
use skiff_sim::{Options, Report, ScaleOptions, Seen, run, scale};
use std::num::ParseIntError;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Runs the control plane in simulated worlds, and checks what it promises at each step.
#[derive(Parser)]
#[command(name = "skiff-sim", bin_name = "cargo xtask sim")]
struct Args {
    /// Run this seed.
    #[arg(long, conflicts_with_all = ["seeds", "scale"])]
    seed: Option<u64>,
    /// Print what happened, line by line.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run these seeds, the last one apart, like 0..300.
    #[arg(long, value_name = "FROM..TO", value_parser = seeds, default_value = "0..300")]
    seeds: (u64, u64),
    /// Begin no more seeds after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,
    /// Say how much there was in each seed.
    #[arg(long)]
    steps: bool,
    /// Run a million tasks on thousands of nodes, and say how much memory that took.
    #[arg(long, conflicts_with = "seeds")]
    scale: bool,
    /// How many tasks, with --scale.
    #[arg(long, default_value_t = ScaleOptions::default().tasks, requires = "scale")]
    tasks: u32,
    /// How many nodes, with --scale.
    #[arg(long, default_value_t = ScaleOptions::default().nodes, requires = "scale")]
    nodes: u32,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("two numbers, like 0..300")?;
    let number = |text: &str| text.parse().map_err(|error: ParseIntError| format!("{text:?}: {error}"));
    Ok((number(from)?, number(to)?))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let is_good = if args.scale {
        println!("{}", scale(&ScaleOptions { tasks: args.tasks, nodes: args.nodes }));
        true
    } else if let Some(seed) = args.seed {
        run_one(seed, args.trace)
    } else {
        run_all(&args)
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(seed: u64, trace: bool) -> bool {
    let report = run(&Options { seed, trace, sabotage: None });
    print!("{}", report.trace);
    println!("{}", line(&report));
    tell(&report)
}

/// Runs seeds on all cores; stops at the first that fails.
fn run_all(args: &Args) -> bool {
    let (from, to) = args.seeds;
    let (next, began) = (AtomicU64::new(from), Instant::now());
    let time = args.within.map(Duration::from_secs);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, reports) = mpsc::channel();
    let (mut seen, mut count, mut is_good) = (Seen::default(), 0_u64, true);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while time.is_none_or(|time| began.elapsed() < time) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= to || sender.send(run(&Options { seed, ..Options::default() })).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for report in reports {
            count += 1;
            seen += report.seen;
            if args.steps {
                println!("{}", line(&report));
            }
            if !tell(&report) {
                is_good = false;
                next.store(to, Relaxed);
            }
        }
    });
    println!("{count} seeds of {from}..{to} in {:.1} s: {}", began.elapsed().as_secs_f64(), amount(&seen));
    is_good
}

/// Says what was broken, and how to see it again; false if anything was.
fn tell(report: &Report) -> bool {
    if report.violations.is_empty() {
        return true;
    }
    eprintln!("seed {} fails:", report.seed);
    report.violations.iter().for_each(|violation| eprintln!("  {violation}"));
    eprintln!("to see it again: cargo xtask sim --seed {} --trace", report.seed);
    false
}

fn line(report: &Report) -> String {
    let (steps, hash) = report.steps;
    format!("seed {}: {steps} steps ({hash:016x}), {}", report.seed, amount(&report.seen))
}

fn amount(seen: &Seen) -> String {
    let Seen { writes, tasks, completed, failed, requests, waited, runs, scenes, deaths, elapsed_ms } = seen;
    let elapsed_s = elapsed_ms / 1_000;
    format!(
        "{writes} writes, {tasks} tasks, {completed} rollouts completed, {failed} failed, {requests} requests ({waited} waited), \
         {runs} runs, {scenes} scenes, {deaths} deaths of the plane, {elapsed_s} s of simulated time"
    )
}
