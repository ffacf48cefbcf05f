//! How long it takes until all is well again: after a worker is killed, after the platform is killed, after a push.

use crate::bench::report::{Section, Table};
use crate::bench::setup::{Bench, example, marked};
use crate::bench::stats::{number, quantile};
use crate::platform::Platform;
use crate::shell::run;
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

/// Workers that the platform has, so that there is another while one is killed.
const WORKERS: usize = 2;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let trials = bench.settings.trials;
    let data_dir = bench.new_data_dir();
    let start = || bench.platform_on(&data_dir, None, &["--workers", &WORKERS.to_string()], &[]);
    let (mut platform, _) = start()?;
    platform.skiff(&["deploy", "examples/hello"])?;
    let workers = (0..trials).map(|trial| worker_recovery(&platform, trial % WORKERS));
    let workers = workers.collect::<anyhow::Result<Vec<_>>>()?;
    let mut restarts = Vec::new();
    for _ in 0..trials {
        platform.kill()?;
        let started = Instant::now();
        platform = start()?.0;
        while platform.get("hello", "/").is_err() {}
        restarts.push(started.elapsed());
    }
    let hello = std::fs::read(example("hello"))?;
    let pushes = (0..trials).map(|trial| push_to_answer(bench, &platform, &hello, trial));
    let pushes = pushes.collect::<anyhow::Result<Vec<_>>>()?;
    platform.stop()?;

    let cases = [
        ("a worker killed, until the next one has acknowledged its snapshot", workers),
        ("`skiff up` killed, from its next start to the first answer of a service", restarts),
        ("`skiff deploy FILE.wasm` started, compile included, until the service's first answer", pushes),
    ];
    let cases = cases
        .map(|(what, times)| (what, times.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>()));
    let row = |(what, ms): &(&str, Vec<f64>)| {
        let at = |share| number(quantile(ms.iter().copied(), share));
        vec![(*what).to_owned(), at(0.5), at(1.0)]
    };
    Ok(Section {
        title: "How long until all is well again",
        method: vec![format!("{trials} trials each; {WORKERS} workers, on all cores")],
        tables: vec![Table {
            title: "Recovery".to_owned(),
            header: vec!["what", "p50 ms", "most ms"],
            rows: cases.iter().map(row).collect(),
        }],
        data: cases.iter().map(|(what, ms)| json!({ "what": what, "ms": ms })).collect::<Vec<_>>().into(),
        ..Section::default()
    })
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
    bench: &Bench,
    platform: &Platform,
    hello: &[u8],
    trial: usize,
) -> anyhow::Result<Duration> {
    let name = format!("fresh-{trial}");
    let path = bench.folder().join(format!("{name}.wasm"));
    std::fs::write(&path, marked(hello, &name))?;
    let started = Instant::now();
    platform.skiff_output(&["deploy", &path.to_string_lossy(), "--name", &name])?;
    while platform.get(&name, "/").is_err() {}
    Ok(started.elapsed())
}
