//! Measures Skiff beside its peers and writes a report: Markdown, a page with plots, and the raw data.
//!
//! Servers are measured in interleaved rounds, each warmed up before its first; a row is the median of its rounds. A
//! wrong answer fails the run. A section that fails is named in the report with its reason, and the others go on.

mod compare;
mod cores;
mod disk;
mod http;
mod load;
mod machine;
mod peers;
mod processes;
mod report;
mod saturation;
pub(crate) mod sections;
mod servers;
mod setup;
mod stats;

use crate::shell::root;
use anyhow::bail;
use clap::ValueEnum;
use machine::Machine;
use report::{Report, Section};
use sections::Name;
use setup::{Arrivals, Bench};
use std::path::PathBuf;

/// How to measure.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                          everything: an hour and more, and the builds
  cargo xtask bench throughput latency       two sections
  cargo xtask bench --quick                  a short form of everything, to try whether it works")]
pub(crate) struct Args {
    /// What to measure [default: everything]
    #[arg(value_enum, value_name = "SECTION")]
    sections: Vec<Name>,
    /// Few, short rounds and small numbers: to try it, not to believe it
    #[arg(long)]
    quick: bool,
    /// Rounds of each server, interleaved [default: 5; quick: 2]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Seconds of load in a round [default: 5; quick: 1]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Connections held open
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: usize,
    /// Requests per second in `latency` [default: half of what the slowest server saturates at, and for those that a goal
    /// compares half of what the slower of the two does]
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// How requests of an open loop arrive
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    arrivals: Arrivals,
    /// Only servers whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Measure this `skiff` instead of the one that is built here
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// A further argument for `skiff up`, like --up=--workers=2; may be given many times
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    up: Vec<String>,
    /// Sandboxes alive at once in `density` [default: 10000; quick: 200]
    #[arg(long, value_name = "N")]
    sandboxes: Option<usize>,
    /// Idle services in `services` [default: 20000; quick: 200]
    #[arg(long, value_name = "N")]
    services: Option<usize>,
    /// Distinct components of those services [default: 100; quick: 5]
    #[arg(long, value_name = "N")]
    components: Option<usize>,
    /// What is switched off, one after the other, in `quotas`
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "epoch,cpu,memory,heap")]
    without: Vec<String>,
    /// Where the report goes
    #[arg(long, value_name = "DIR", default_value = "benches/results")]
    out: PathBuf,
}

/// Measures what is asked for.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let everything = args.sections.is_empty();
    let names = if everything { Name::value_variants() } else { &args.sections[..] };
    let bench = Bench::prepare(args)?;
    let (mut sections, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        let word = word(*name);
        println!("\n== {word}");
        sections.push(name.measure(&bench).unwrap_or_else(|error| {
            let reason = format!("{word}: it failed: {error:#}");
            eprintln!("error: {reason}");
            failed.push(word.clone());
            Section { title: "Failed", left_out: vec![reason], ..Section::default() }
        }));
    }
    let words = || names.iter().map(|name| word(*name)).collect::<Vec<_>>();
    let stem = if everything { "all".to_owned() } else { words().join("-") };
    let report = Report {
        date: report::today()?,
        command: command(),
        machine: Machine::read(&bench, args.binary.is_some())?,
        settings: bench.settings.clone(),
        sections,
    };
    report.save(&root().join(&args.out), &stem)?;
    if !failed.is_empty() {
        bail!("{} failed; the report says why, and has the rest", failed.join(", "));
    }
    Ok(())
}

fn word(name: Name) -> String {
    name.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The command that this is, as one would type it; of a path only its last part.
fn command() -> String {
    let words = std::env::args().skip(1).map(|word| match word.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None => word,
    });
    std::iter::once("cargo xtask".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
