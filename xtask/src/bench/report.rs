//! The report of a run, as Markdown.

use super::{Args, Round, Subject};
use crate::shell::{output, root};
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

/// Writes `benches/results/throughput-DATE.md` and says so.
pub(super) fn write(
    args: &Args,
    subjects: &[Subject],
    cold_starts: &[(&str, String)],
    ready: Duration,
) -> anyhow::Result<()> {
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let (date, text) = (date.trim(), render(args, subjects, cold_starts, ready)?);
    let path = root().join(format!("benches/results/throughput-{date}.md"));
    std::fs::create_dir_all(path.parent().expect("has a folder"))?;
    std::fs::write(&path, format!("# Throughput and cold starts, {date}\n\n{text}"))?;
    println!("{text}\nwritten to benches/results/throughput-{date}.md");
    Ok(())
}

fn render(
    args: &Args,
    subjects: &[Subject],
    cold: &[(&str, String)],
    ready: Duration,
) -> anyhow::Result<String> {
    let mut text = String::new();
    let line = |program: &str, arguments: &[&str]| -> String {
        let said = output(Command::new(program).args(arguments)).unwrap_or_else(|_| "not found".to_owned());
        said.lines().next().unwrap_or_default().trim().to_owned()
    };
    let commit = line("git", &["-C", &root().to_string_lossy(), "rev-parse", "--short", "HEAD"]);
    let cores = std::thread::available_parallelism()?;
    writeln!(text, "- command: `cargo xtask bench --rounds {} --seconds {}`", args.rounds, args.seconds)?;
    writeln!(text, "- machine: {cores} cores, {}, Linux {}", cpu_model(), line("uname", &["-r"]))?;
    writeln!(
        text,
        "- versions: skiff at {commit}; {}; {}",
        line("wasmtime", &["--version"]),
        line("rustc", &["--version"])
    )?;
    writeln!(
        text,
        "- load: `wrk -t1 -c{} -d{}s` on the same machine, {} interleaved rounds, medians",
        args.connections, args.seconds, args.rounds
    )?;
    writeln!(
        text,
        "- skiff: release build, quotas, metrics, routing and access log on; ready {} ms after its start\n",
        ready.as_millis()
    )?;
    writeln!(text, "| server | requests/s | CPU µs per request | p50 ms | p99 ms | memory MiB (PSS) |")?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- |")?;
    for subject in subjects {
        let of = |field: fn(&Round) -> f64| median(subject.rounds.iter().map(field).collect());
        writeln!(
            text,
            "| {} | {:.0} | {:.1} | {:.2} | {:.2} | {:.0} |",
            subject.name,
            of(|round| round.requests_per_second),
            of(|round| round.cpu_us_per_request),
            of(|round| round.p50_ms),
            of(|round| round.p99_ms),
            of(|round| round.memory_mib),
        )?;
    }
    writeln!(text, "\nEvery round, CPU µs per request:\n")?;
    for subject in subjects {
        let rounds: Vec<String> =
            subject.rounds.iter().map(|round| format!("{:.1}", round.cpu_us_per_request)).collect();
        writeln!(text, "- {}: {}", subject.name, rounds.join(", "))?;
    }
    for (name, table) in cold {
        writeln!(
            text,
            "\n`skiff bench cold-start {name} --requests 500`:\n\n```text\n{}\n```",
            table.trim_end()
        )?;
    }
    Ok(text)
}

fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
