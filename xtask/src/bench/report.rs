//! The report of a run, as Markdown.

use super::{Args, Round, Subject, median};
use crate::shell::{output, root};
use procfs::{CpuInfo, Current};
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

/// Writes the report of the throughput rounds.
pub(super) fn write(
    args: &Args,
    subjects: &[Subject],
    cold_starts: &[(&str, String)],
    ready: Duration,
) -> anyhow::Result<()> {
    save("throughput", "Throughput and cold starts", &render(args, subjects, cold_starts, ready)?)
}

/// Writes `benches/results/NAME-DATE.md` and says so.
pub(super) fn save(name: &str, title: &str, text: &str) -> anyhow::Result<()> {
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let file = format!("benches/results/{name}-{}.md", date.trim());
    let path = root().join(&file);
    std::fs::create_dir_all(path.parent().expect("has a folder"))?;
    std::fs::write(&path, format!("# {title}, {}\n\n{text}", date.trim()))?;
    println!("{text}\nwritten to {file}");
    Ok(())
}

/// How it was measured: the command, the machine, the versions.
pub(super) fn preamble(text: &mut String, command: &str) -> anyhow::Result<()> {
    let line = |program: &str, arguments: &[&str]| -> String {
        let said = output(Command::new(program).args(arguments)).unwrap_or_else(|_| "not found".to_owned());
        said.lines().next().unwrap_or_default().trim().to_owned()
    };
    let commit = line("git", &["-C", &root().to_string_lossy(), "rev-parse", "--short", "HEAD"]);
    // All of the machine's, even if this process may use fewer.
    let processors = CpuInfo::current()?;
    let (cores, model) = (processors.num_cores(), processors.model_name(0).unwrap_or("unknown processor"));
    let (wasmtime, rustc) = (line("wasmtime", &["--version"]), line("rustc", &["--version"]));
    writeln!(text, "- command: `{command}`")?;
    writeln!(text, "- machine: {cores} cores, {model}, Linux {}", line("uname", &["-r"]))?;
    writeln!(text, "- versions: skiff at {commit}, release build; {wasmtime}; {rustc}")?;
    Ok(())
}

fn render(
    args: &Args,
    subjects: &[Subject],
    cold: &[(&str, String)],
    ready: Duration,
) -> anyhow::Result<String> {
    let mut text = String::new();
    preamble(&mut text, &format!("cargo xtask bench --rounds {} --seconds {}", args.rounds, args.seconds))?;
    writeln!(
        text,
        "- load: `wrk -t1 -c{} -d{}s` on the same machine, {} interleaved rounds, medians",
        args.connections, args.seconds, args.rounds
    )?;
    writeln!(
        text,
        "- skiff: quotas, metrics, routing and access log on; ready {} ms after its start\n",
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
