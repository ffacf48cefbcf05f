//! How many sandboxes can be alive at once, each blocked in a host call; what each takes, and what `hello` beside them
//! feels.

use crate::bench::load::Load;
use crate::bench::processes::memory_mib;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, deploy_example, misbehave};
use crate::bench::stats::number;
use crate::platform::Platform;
use serde_json::json;
use std::time::{Duration, Instant};

/// Sandboxes of one service, far below what one task may have of a worker's pool.
const SANDBOXES_PER_SERVICE: usize = 250;
/// Requests to `hello` per second, beside the sandboxes that wait.
const RATE: f64 = 500.0;
/// The sandboxes are all there once their number has not changed for this long: a client whose connection found no place
/// to wait in tries again after 1, 3 and 7 seconds.
const SETTLED: Duration = Duration::from_secs(8);
/// Longest wait for them to come, or to go.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);
/// Where each service's are counted; `hello` has some too, made ahead of its requests.
const ALIVE: &str = r#"skiff_sandboxes{namespace="default",service="holder-"#;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let wanted = bench.settings.sandboxes;
    let (platform, _) = bench.platform(None, &[], &[])?;
    deploy_example(&platform, "hello")?;
    let services = wanted.div_ceil(SANDBOXES_PER_SERVICE);
    let hosts = (0..services).map(|number| holder(&platform, number)).collect::<anyhow::Result<Vec<_>>>()?;
    let hello = Load { rate: Some(RATE), ..Load::new(bench, &platform.http, "hello.localhost") };
    hello.run_soundly(bench)?;
    let alone = hello.run_soundly(bench)?;
    let before_mib = memory_mib(platform.pid())?;

    let hold = Load {
        hosts,
        path: "/sleep".to_owned(),
        connections: wanted,
        seconds: 3_600.0,
        ..Load::new(bench, &platform.http, "")
    };
    let started = Instant::now();
    let holding = hold.start(bench)?;
    let alive = settled(&platform)?;
    let came_s = started.elapsed().saturating_sub(SETTLED).as_secs_f64();
    let beside = hello.run_soundly(bench)?;
    let alive_after = platform.metric_sum(ALIVE)?;
    let with_mib = memory_mib(platform.pid())?;
    drop(holding);
    let left = Instant::now();
    while platform.metric_sum(ALIVE)? > 0.0 && left.elapsed() < PATIENCE {
        std::thread::sleep(POLL);
    }
    let still_alive = platform.metric_sum(ALIVE)?;
    let went_s = left.elapsed().as_secs_f64();
    platform.stop()?;

    let each_kib = (with_mib - before_mib) * 1024.0 / alive.max(1.0);
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let p99_ms = beside.latency.p99_us / 1e3;
    let rows = vec![
        row("sandboxes alive", format!("{alive:.0} of {wanted} asked for, {alive_after:.0} at the end")),
        row("until all were there, s", number(came_s)),
        row(
            "memory before and with them, MiB (PSS)",
            format!("{} and {}", number(before_mib), number(with_mib)),
        ),
        row("memory of each, KiB (PSS)", number(each_kib)),
        row("`hello` alone, p50 and p99, ms", milliseconds(&alone.latency)),
        row("`hello` beside them, p50 and p99, ms", milliseconds(&beside.latency)),
        row(
            "given back within, s",
            if still_alive > 0.0 { format!("never: {still_alive:.0} stay") } else { number(went_s) },
        ),
    ];
    let data = json!({ "wanted": wanted, "alive": alive, "before_mib": before_mib, "with_mib": with_mib,
        "came_s": came_s, "went_s": went_s, "still_alive": still_alive, "alone": alone, "beside": beside });
    let table = Table { title: "Sandboxes that wait".to_owned(), header: vec!["what", ""], rows };
    Ok(Section {
        title: "Density: sandboxes alive at once",
        method: vec![format!(
            "{services} services of a component that sleeps in a host call, one request each for {wanted} connections; \
             `hello` at {RATE} requests/s in an open loop; platform and driver on all cores"
        )],
        tables: vec![table],
        goals: vec![
            Goal::at_least("sandboxes alive at once, each blocked in a host call", alive, 10_000.0, ""),
            Goal::at_most(format!("p99 of `hello` beside {alive:.0} of them"), p99_ms, 10.0, " ms"),
        ],
        data,
        ..Section::default()
    })
}

fn milliseconds(latency: &skiff_driver::Latency) -> String {
    format!("{} and {}", number(latency.p50_us / 1e3), number(latency.p99_us / 1e3))
}

/// Deploys a service whose sandboxes wait; its host.
fn holder(platform: &Platform, number: usize) -> anyhow::Result<String> {
    let (name, component) = (format!("holder-{number}"), misbehave());
    // Twice what comes, so that none is refused while all come at once.
    let concurrency = (2 * SANDBOXES_PER_SERVICE).to_string();
    let quotas = ["--memory", "4GiB", "--timeout", "1h", "--concurrency", &concurrency];
    let deploy = ["deploy", &component.to_string_lossy(), "--name", &name];
    platform.skiff_output(&[&deploy[..], &quotas].concat())?;
    Ok(format!("{name}.localhost"))
}

/// Waits until no more sandboxes come; how many there are.
fn settled(platform: &Platform) -> anyhow::Result<f64> {
    let started = Instant::now();
    let (mut alive, mut since) = (platform.metric_sum(ALIVE)?, Instant::now());
    while (alive == 0.0 || since.elapsed() < SETTLED) && started.elapsed() < PATIENCE {
        std::thread::sleep(POLL);
        let now = platform.metric_sum(ALIVE)?;
        if now != alive {
            (alive, since) = (now, Instant::now());
        }
    }
    Ok(alive)
}
