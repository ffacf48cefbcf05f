//! How long it takes until all is well again: after a worker is killed, after the platform is killed, after a push.

use super::{median, report};
use crate::platform::Platform;
use crate::shell::{build_guests, cargo, root, run};
use anyhow::Context;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// How often each is measured.
const TRIALS: usize = 20;

/// Runs the trials and writes the report.
pub(super) fn measure() -> anyhow::Result<()> {
    build_guests()?;
    run(cargo("build").args(["--release", "--package", "skiff-server"]))?;
    let binary = root().join("target/release/skiff");
    let data = tempfile::tempdir()?;
    let data_dir = data.path().join("data");
    let ports = ["--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--workers", "2"];
    let (mut platform, _) = Platform::start(&binary, &data_dir, &ports)?;
    platform.skiff(&["deploy", "examples/hello"])?;
    let mut workers = Vec::new();
    for trial in 0..TRIALS {
        workers.push(worker_recovery(&platform, trial % 2)?);
    }
    let mut restarts = Vec::new();
    for _ in 0..TRIALS {
        platform.kill()?;
        let started = Instant::now();
        platform = Platform::start(&binary, &data_dir, &ports)?.0;
        while platform.get("hello", "/").is_err() {}
        restarts.push(started.elapsed());
    }
    let mut pushes = Vec::new();
    let hello = root().join("examples/target/wasm32-wasip2/release/hello.wasm");
    for trial in 0..TRIALS {
        pushes.push(push_to_answer(&platform, &std::fs::read(&hello)?, data.path(), trial)?);
    }
    let mut text = String::new();
    report::preamble(&mut text, "cargo xtask bench recovery")?;
    writeln!(text, "- {TRIALS} trials each, milliseconds\n\n| what | p50 | most |\n| --- | --- | --- |")?;
    let rows = [
        ("a worker killed, until the next one has acknowledged its snapshot", workers),
        ("`skiff up` killed, from its next start to the first answer of a service", restarts),
        ("`skiff deploy FILE.wasm` started, compile included, until the service's first answer", pushes),
    ];
    for (what, times) in rows {
        let ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        writeln!(
            text,
            "| {what} | {:.1} | {:.1} |",
            median(ms.clone()),
            ms.iter().copied().fold(0.0, f64::max)
        )?;
    }
    report::save("recovery", "How long until all is well again", &text)?;
    platform.stop()
}

/// From the kill to the first status that shows another process in its place, serving.
fn worker_recovery(platform: &Platform, seat: usize) -> anyhow::Result<Duration> {
    let before = platform.workers()?[seat].0;
    run(Command::new("kill").args(["-KILL", &before.to_string()]))?;
    let killed = Instant::now();
    loop {
        let (pid, serves) = platform.workers()?[seat];
        if pid != before && serves {
            return Ok(killed.elapsed());
        }
    }
}

/// Deploys a component that nobody has seen before: the same code with a custom section of its own.
fn push_to_answer(
    platform: &Platform,
    hello: &[u8],
    folder: &std::path::Path,
    trial: usize,
) -> anyhow::Result<Duration> {
    let name = format!("fresh-{trial}");
    let mut component = hello.to_vec();
    let label = format!("trial-{trial:04}");
    let section = [&[0, label.len() as u8 + 1, label.len() as u8][..], label.as_bytes()].concat();
    component.extend(section);
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, component)?;
    let started = Instant::now();
    platform.skiff_output(&["deploy", path.to_str().context("a path of text")?, "--name", &name])?;
    while platform.get(&name, "/").is_err() {}
    Ok(started.elapsed())
}
