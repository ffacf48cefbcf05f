//! A node full of strangers: services that are deployed and that nobody asks for anything.

use crate::bench::load::Load;
use crate::bench::processes::memory_mib;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, example, marked};
use crate::bench::stats::number;
use crate::platform::Platform;
use anyhow::{Context, bail};
use serde_json::json;
use std::time::{Duration, Instant};

/// Services that are asked for the first time, spread over all.
const ASKED: usize = 200;
/// How long all services may take to run.
const PATIENCE: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(200);
const RUNNING: &str = r#"skiff_tasks{status="RUNNING"}"#;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (services, components) = (bench.settings.services, bench.settings.components);
    let data_dir = bench.new_data_dir();
    let (platform, _) = bench.platform_on(&data_dir, None, &[], &[])?;
    let empty_mib = memory_mib(platform.pid())?;
    let started = Instant::now();
    deploy(bench, &platform)?;
    wait_for(&platform, services)?;
    let deployed_s = started.elapsed().as_secs_f64();
    platform.stop()?;

    let started = Instant::now();
    let (platform, ready) = bench.platform_on(&data_dir, None, &[], &[])?;
    wait_for(&platform, services)?;
    let serving_s = started.elapsed().as_secs_f64();
    let idle_mib = memory_mib(platform.pid())?;
    let asked = ASKED.min(services);
    let first = Load {
        hosts: (0..asked).map(|index| format!("{}.localhost", name(index * services / asked))).collect(),
        connections: 1,
        seconds: 600.0,
        requests: Some(asked),
        ..Load::new(bench, &platform.http, "")
    };
    let first = first.run_soundly(bench)?;
    let asked_mib = memory_mib(platform.pid())?;
    platform.stop()?;

    let (ready_s, p50_ms) = (ready.as_secs_f64(), first.latency.p50_us / 1e3);
    let most_ms = first.latency.max_us / 1e3;
    let row = |what: String, value: String| vec![what, value];
    let rows = vec![
        row("deployed and running within, s".to_owned(), number(deployed_s)),
        row("start with all of them: ready, s".to_owned(), number(ready_s)),
        row("start with all of them: all running, s".to_owned(), number(serving_s)),
        row("memory of an empty platform, MiB (PSS)".to_owned(), number(empty_mib)),
        row("memory with all of them, idle, MiB (PSS)".to_owned(), number(idle_mib)),
        row(format!("memory once {asked} were asked, MiB (PSS)"), number(asked_mib)),
        row(
            format!("first answer of {asked} of them, p50, p99 and most, ms"),
            format!("{}, {} and {}", number(p50_ms), number(first.latency.p99_us / 1e3), number(most_ms)),
        ),
    ];
    let what = format!("{services} idle services of {components} components");
    let data = json!({ "services": services, "components": components, "deployed_s": deployed_s,
        "ready_s": ready_s, "serving_s": serving_s, "empty_mib": empty_mib, "idle_mib": idle_mib,
        "asked_mib": asked_mib, "first_answers": first });
    Ok(Section {
        title: "A node full of strangers: idle services",
        method: vec![
            format!(
                "{what}, the same program under as many digests; then the platform is started anew on their data, and \
                 {asked} services are asked one after the other, each for the first time"
            ),
            "platform and driver on all cores".to_owned(),
        ],
        tables: vec![Table { title: what.clone(), header: vec!["what", ""], rows }],
        goals: vec![
            Goal::at_most(format!("{what}: start-up, all running"), serving_s, 5.0, " s"),
            Goal::at_most(format!("{what}: memory"), idle_mib, 400.0, " MiB"),
            Goal::at_most(format!("{what}: the first answer of any one"), most_ms, 5.0, " ms"),
        ],
        data,
        ..Section::default()
    })
}

/// The service with this number; those below the number of components are named like theirs.
fn name(number: usize) -> String {
    format!("stranger-{number}")
}

/// The first service of each component by the CLI, the others by the API: they run the definitions that are there.
fn deploy(bench: &Bench, platform: &Platform) -> anyhow::Result<()> {
    let (services, components) = (bench.settings.services, bench.settings.components);
    let hello = std::fs::read(example("hello")).context("the example is built")?;
    let file = bench.folder().join("stranger.wasm");
    for number in 0..components {
        std::fs::write(&file, marked(&hello, &name(number)))?;
        platform.skiff_output(&["deploy", &file.to_string_lossy(), "--name", &name(number), "--no-wait"])?;
    }
    let agent = ureq::Agent::new_with_defaults();
    for number in components..services {
        platform.put_service(&agent, &name(number), &format!("{}:1", name(number % components)))?;
        if number % 1_000 == 0 {
            println!("{number} of {services} services");
        }
    }
    Ok(())
}

fn wait_for(platform: &Platform, services: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let running = platform.metric(RUNNING)?;
        if running >= services as f64 {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            bail!("{running} of {services} services run after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(POLL);
    }
}
