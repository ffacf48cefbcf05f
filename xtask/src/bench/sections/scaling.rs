//! A service under a scaling policy, at a rate of requests that leaps, and at one that is noisy: when capacity follows, when
//! latencies are back, and whether the count stays where it is. Beside it in writing: what AWS documents of ECS.
//!
//! Each task answers two requests at once, 10 ms each, and is to have a hundred a second: what there is of tasks is what bounds
//! the service, not the machine's cores. The policy is the one of a newcomer, with what holds where nothing is said.

mod noise;
mod step;
mod watch;

use super::app::UP;
use super::parts::{self, Measure};
use crate::bench::load::Load;
use crate::bench::report::{Section, Table};
use crate::bench::setup::{Bench, misbehave};
use crate::platform::Platform;
use skiff_driver::Outcome;
use std::time::{Duration, Instant};

/// The service, and what it is asked for.
const NAME: &str = "web";
const HOST: &str = "web.localhost";
const PATH: &str = "/sleep?ms=10";
/// What each task has.
const SIZE: [&str; 6] = ["--cpu", "128", "--memory", "32MiB", "--concurrency", "2"];
/// Bounds of the policy, and what it tracks: requests of a task a minute, which is a hundred a second.
const POLICY: [&str; 6] = ["--min", "2", "--max", "40", "--target", "RequestCountPerTarget=6000"];
/// The same as numbers.
const TASKS_MAX: u64 = 40;
const PER_TASK: f64 = 100.0;
/// Connections that requests come by.
const CONNECTIONS: usize = 256;

const PARTS: [(&str, Measure); 2] = [("step", step::measure), ("noise", noise::measure)];

/// What AWS documents, and what stands against it here.
const DOCUMENTED: [[&str; 3]; 4] = [
    ["a service's CPU and memory are measured every", "60 s; 20 s where high resolution is asked for", "1 s"],
    ["requests of a load balancer's targets every", "60 s", "1 s"],
    ["tracking decides by", "alarms on those datapoints", "the second that has just ended"],
    ["cooldowns where nothing is said", "300 s", "300 s; more is added at once all the same"],
];
const SOURCES: &str = "What stands beside it is documented by AWS, not measured: docs.aws.amazon.com/AmazonECS/latest/developerguide \
                       (cloudwatch-metrics, target-tracking-faster-auto-scaling), …/elasticloadbalancing/latest/application \
                       (load-balancer-cloudwatch-metrics), …/autoscaling/application/userguide \
                       (target-tracking-scaling-policy-overview)";

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let mut section = parts::measure(bench, "Scaling", &PARTS)?;
    section.method.push(SOURCES.to_owned());
    section.tables.push(Table {
        title: "How soon anything can be noticed".to_owned(),
        header: vec!["what", "ECS", "Skiff"],
        rows: DOCUMENTED.iter().map(|row| row.map(str::to_owned).to_vec()).collect(),
    });
    Ok(section)
}

/// A platform with the service, which has so many tasks, and its policy.
fn begin(bench: &Bench, tasks: u64) -> anyhow::Result<Platform> {
    let (platform, _) = bench.platform(None, &UP, &[])?;
    let (component, desired) = (misbehave(), tasks.to_string());
    let component = component.to_string_lossy();
    let deploy = ["deploy", &component, "--name", NAME, "--desired", &desired];
    platform.skiff_output(&[&deploy[..], &SIZE].concat())?;
    platform.skiff_output(&[&["scaling", "put", NAME][..], &POLICY].concat())?;
    Ok(platform)
}

/// Requests at a rate for so long.
fn load(bench: &Bench, platform: &Platform, rate: f64, time: Duration) -> Load {
    Load {
        path: PATH.to_owned(),
        connections: CONNECTIONS,
        seconds: time.as_secs_f64(),
        rate: Some(rate),
        ..Load::new(bench, &platform.http, HOST)
    }
}

/// Runs loads of a length one after the other, each from its time on, whether those before it have all their answers or not; what
/// came of each, and when it was begun, after `origin`.
fn drive(
    bench: &Bench,
    loads: impl Iterator<Item = Load>,
    length: Duration,
    origin: Instant,
) -> anyhow::Result<Vec<(Duration, Outcome)>> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let mut driven = Vec::new();
        for (load, number) in loads.zip(0_u32..) {
            std::thread::sleep((length * number).saturating_sub(began.elapsed()));
            let at = origin.elapsed();
            driven.push((at, scope.spawn(move || load.run(bench))));
        }
        let mut outcomes = Vec::with_capacity(driven.len());
        for (at, driven) in driven {
            outcomes.push((at, driven.join().expect("the load does not panic")?));
        }
        Ok(outcomes)
    })
}
