//! Services at zero: how long the first who asks waits for an answer.

use crate::bench::load::Load;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, example, marked};
use crate::bench::stats::number;
use crate::platform::Platform;
use anyhow::{Context, bail};
use serde_json::json;
use std::time::{Duration, Instant};

/// Services, each of which is asked once while it sleeps; and of a quick run.
const TRIALS: usize = 1_000;
const TRIALS_QUICK: usize = 50;
/// So far apart, that most are answered before the next is asked.
const ASKED_PER_SECOND: f64 = 50.0;
/// Connections that they are asked over in turn: the platform spreads them over its workers.
const CONNECTIONS: usize = 8;
/// How long all services may take to fall asleep.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(200);
/// Tasks that are not `STOPPED`, by status, as `/metrics` has them.
const TASKS: [&str; 7] =
    ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING"];

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let trials = if bench.settings.quick { TRIALS_QUICK } else { TRIALS };
    let components = bench.settings.components;
    let data_dir = bench.new_data_dir();
    let (platform, _) = bench.platform_on(&data_dir, None, &[], &[])?;
    deploy(&platform, trials, components)?;
    fall_asleep(&platform)?;
    let asked = Load {
        hosts: (0..trials).map(|number| format!("{}.localhost", name(number))).collect(),
        connections: CONNECTIONS,
        seconds: 600.0,
        rate: Some(ASKED_PER_SECOND),
        requests: Some(trials),
        ..Load::new(bench, &platform.http, "")
    };
    let asked = asked.run_soundly(bench)?;
    platform.stop()?;

    let latency = &asked.latency;
    let ms = |us: f64| number(us / 1e3);
    let what = format!("{trials} services at zero, each asked once");
    let row = vec![what.clone(), ms(latency.p50_us), ms(latency.p99_us), ms(latency.max_us)];
    Ok(Section {
        title: "From zero",
        method: vec![
            format!(
                "{trials} services of {components} components, the same program under as many digests, which have no task \
                 after 1 s without a request; once all sleep, each is asked once, {ASKED_PER_SECOND} a second over \
                 {CONNECTIONS} connections in turn, and falls asleep again while others are asked"
            ),
            "platform and driver on all cores".to_owned(),
        ],
        tables: vec![Table {
            title: "The first answer of a service that sleeps".to_owned(),
            header: vec!["what", "p50 ms", "p99 ms", "most ms"],
            rows: vec![row],
        }],
        goals: vec![Goal::at_most(format!("{what}: p99"), latency.p99_us / 1e3, 5.0, " ms")],
        data: json!({ "trials": trials, "components": components, "first_answers": asked }),
        ..Section::default()
    })
}

/// The service with this number.
fn name(number: usize) -> String {
    format!("sleeper-{number}")
}

fn deploy(platform: &Platform, services: usize, components: usize) -> anyhow::Result<()> {
    let hello = std::fs::read(example("hello")).context("the example is built")?;
    let agent = ureq::Agent::new_with_defaults();
    for number in 0..services {
        let name = name(number);
        platform.deploy(&agent, &name, &marked(&hello, &format!("component-{}", number % components)))?;
        let body = json!({ "definition": name, "scale_to_zero": "1s" });
        platform.put(&agent, &format!("services/{name}"), &body)?;
    }
    Ok(())
}

/// Waits until there is no task.
fn fall_asleep(platform: &Platform) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let counts = TASKS.map(|status| platform.metric(&format!(r#"skiff_tasks{{status="{status}"}}"#)));
        let tasks = counts.into_iter().sum::<anyhow::Result<f64>>()?;
        if tasks == 0.0 {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            bail!("{tasks} tasks are there after {} s without a request", PATIENCE.as_secs());
        }
        std::thread::sleep(POLL);
    }
}
