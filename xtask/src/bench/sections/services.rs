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

/// Services that are asked for the first time, spread over all services and all components.
const ASKED: usize = 200;
/// So far apart, that each is answered before the next is asked.
const ASKED_PER_SECOND: f64 = 50.0;
/// Connections that they are asked over in turn: the platform spreads them over its workers.
const CONNECTIONS: usize = 8;
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
    let hosts: Vec<String> =
        asked(services, components).map(|number| format!("{}.localhost", name(number))).collect();
    let asked = hosts.len();
    let first = Load {
        hosts,
        connections: CONNECTIONS,
        seconds: 600.0,
        rate: Some(ASKED_PER_SECOND),
        requests: Some(asked),
        ..Load::new(bench, &platform.http, "")
    };
    let first = first.run_soundly(bench)?;
    let asked_mib = memory_mib(platform.pid())?;
    let by_worker = requests_by_worker(&platform)?;
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
        row("of which each worker was asked".to_owned(), format!("{by_worker:?}")),
    ];
    let what = format!("{services} idle services of {components} components");
    let data = json!({ "services": services, "components": components, "deployed_s": deployed_s,
        "ready_s": ready_s, "serving_s": serving_s, "empty_mib": empty_mib, "idle_mib": idle_mib,
        "asked_mib": asked_mib, "first_answers": first, "asked_by_worker": by_worker });
    Ok(Section {
        title: "A node full of strangers: idle services",
        method: vec![
            format!(
                "{what}, the same program under as many digests; each service has an image and a task definition of \
                 its own, as `skiff deploy` makes them"
            ),
            format!(
                "then the platform is started anew on their data, and {asked} services of all components are asked, \
                 each for the first time, {ASKED_PER_SECOND} a second over {CONNECTIONS} connections in turn"
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

/// The service with this number.
fn name(number: usize) -> String {
    format!("stranger-{number}")
}

/// The components in turn: that of a service follows from its number.
fn deploy(bench: &Bench, platform: &Platform) -> anyhow::Result<()> {
    let (services, components) = (bench.settings.services, bench.settings.components);
    let hello = std::fs::read(example("hello")).context("the example is built")?;
    let agent = ureq::Agent::new_with_defaults();
    for number in 0..services {
        let component = marked(&hello, &format!("component-{}", number % components));
        platform.deploy(&agent, &name(number), &component)?;
        if number % 1_000 == 0 {
            println!("{number} of {services} services");
        }
    }
    Ok(())
}

/// The numbers of the services that are asked: none twice, and of every component as many as of any other, or one more.
fn asked(services: usize, components: usize) -> impl Iterator<Item = usize> {
    let count = ASKED.min(services);
    // A step that has no divisor in common with the number of components goes through all of them before any again.
    let step = (1..=services / count).rev().find(|step| divisor(*step, components) == 1).unwrap_or(1);
    (0..count).map(move |index| index * step)
}

/// The greatest that two numbers have in common.
fn divisor(one: usize, other: usize) -> usize {
    if other == 0 { one } else { divisor(other, one % other) }
}

/// Requests that each worker took, by its place.
fn requests_by_worker(platform: &Platform) -> anyhow::Result<Vec<u64>> {
    let of =
        |place| Ok(platform.metric(&format!(r#"skiff_worker_requests_total{{worker="{place}"}}"#))? as u64);
    (0..platform.workers()?.len()).map(of).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn every_component_is_asked_and_no_service_twice() {
        for (services, components) in [(20_000, 100), (200, 5), (20_000, 7), (20_050, 101), (30, 30)] {
            let numbers: Vec<usize> = asked(services, components).collect();
            let distinct: BTreeSet<usize> = numbers.iter().copied().collect();
            assert_eq!(distinct.len(), ASKED.min(services));
            assert!(numbers.iter().all(|number| *number < services));
            let mut of: BTreeMap<usize, usize> = BTreeMap::new();
            numbers.iter().for_each(|number| *of.entry(number % components).or_default() += 1);
            let (least, most) = (of.values().min().unwrap(), of.values().max().unwrap());
            assert!(of.len() == components && most - least <= 1, "{services} of {components}: {of:?}");
        }
    }
}
