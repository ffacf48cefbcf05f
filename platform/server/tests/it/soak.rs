//! The soak: mixed and adversarial load for a while, during which nothing may grow: no process's memory, descriptors or
//! threads, and no sandbox that stays.
//!
//! It takes a minute here; `cargo xtask soak` runs it for an hour. Under load all of them go up and down, so it is their
//! floors that are compared: the least that was seen in the last third against the least in the first.

use crate::adversarial::{CASES, SERVICES, ask};
use crate::footprint::Footprint;
use crate::gauges::{AT_REST_AT_ZERO, gauge};
use crate::harness::{Platform, eventually, guest_path};
use crate::neighbour::Neighbour;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The part of the time in which nothing is compared: caches and pools fill up.
const WARM_UP: f64 = 0.25;
/// How often the processes are looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Lines of the series that are printed.
const LINES_PRINTED: usize = 60;
/// What the floors may grow by. An allocator keeps some of what it has once had; logs and objects of tasks that ended are
/// kept up to a bound.
const MEMORY_TOLERANCE_BYTES: u64 = 24 << 20;
const MEMORY_TOLERANCE_SHARE: f64 = 0.10;
const DESCRIPTORS_TOLERANCE: usize = 4;
/// The supervisor's threads for blocking calls come and go with the load.
const THREADS_TOLERANCE: u64 = 12;
/// Clients that misbehave at a time.
const ADVERSARIES: usize = 3;
/// How often each neighbour is asked.
const NEIGHBOUR_PER_SECOND: u32 = 50;
/// How often something is deployed and removed, and a program run.
const CHURN_INTERVAL: Duration = Duration::from_secs(3);

/// All processes at one time.
struct Sample {
    after: Duration,
    processes: Vec<Footprint>,
    sandboxes: f64,
}

#[test]
fn nothing_grows() {
    let minutes = std::env::var("SKIFF_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok());
    let duration = Duration::from_secs(60 * minutes.unwrap_or(1));
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &[]);
    platform.deploy("hello-p3", "hello-p3", &[]);
    for service in SERVICES {
        let limits = ["--timeout", "500ms", "--cpu", "512"];
        platform.deploy(service.component, service.name, &[&limits, service.arguments].concat());
    }
    let pids: Vec<u32> = std::iter::once(platform.pid()).chain(platform.workers()).collect();

    let began = Instant::now();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let neighbours =
        ["hello", "hello-p3"].map(|name| Neighbour::start(&platform.http, name, NEIGHBOUR_PER_SECOND));
    let samples = std::thread::scope(|scope| {
        for number in 0..ADVERSARIES {
            let (platform, stop, asked) = (&platform, &stop, &asked);
            scope.spawn(move || misbehave(platform, number, stop, asked));
        }
        scope.spawn(|| churn(&platform, &stop));
        let samples = watch(&platform, &pids, began, duration);
        stop.store(true, Ordering::Relaxed);
        samples
    });

    print(&samples, &pids);
    println!("{} requests of adversaries", asked.into_inner());
    for neighbour in neighbours {
        let felt = neighbour.felt_since(began);
        println!("a neighbour felt {felt}");
        assert_eq!(felt.failures, Vec::<String>::new(), "a neighbour was not served");
    }
    for service in SERVICES {
        eventually("all is given back", || {
            AT_REST_AT_ZERO
                .iter()
                .all(|metric| gauge(&platform.api, metric, service.name) == 0.0)
                .then_some(())
        });
    }
    let now: Vec<u32> = std::iter::once(platform.pid()).chain(platform.workers()).collect();
    assert_eq!(now, pids, "a worker died");
    let grown: Vec<String> = (0..pids.len()).flat_map(|process| growth(&samples, process)).collect();
    assert!(grown.is_empty(), "{}", grown.join("\n"));
}

/// Goes through the cases, each client from another one on.
fn misbehave(platform: &Platform, number: usize, stop: &AtomicBool, asked: &AtomicUsize) {
    let all: Vec<_> =
        CASES.iter().flat_map(|case| case.services.iter().map(move |service| (case, service))).collect();
    let from = number * all.len() / ADVERSARIES;
    for (case, service) in all.iter().cycle().skip(from) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        ask(&platform.http, service, case);
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// Deploys a service and removes it, and runs programs that end well and badly.
fn churn(platform: &Platform, stop: &AtomicBool) {
    let job = guest_path("misbehave-job");
    let job = job.to_str().unwrap();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        platform.deploy("misbehave", "churn", &[]);
        platform.ok(&["rm", "churn"]);
        platform.ok(&["run", job, "--", "print", "3"]);
        platform.fails(&["run", job, "--", "trap"]);
        std::thread::sleep(CHURN_INTERVAL.saturating_sub(began.elapsed()));
    }
}

fn watch(platform: &Platform, pids: &[u32], began: Instant, duration: Duration) -> Vec<Sample> {
    let mut samples = Vec::new();
    // So many samples, however long the machine takes for them: then the thirds are thirds.
    while samples.len() < duration.div_duration_f64(SAMPLE_INTERVAL) as usize {
        let sampled = Instant::now();
        let look = |pid: &u32| Footprint::of(*pid).unwrap_or_else(|| panic!("the process {pid} died"));
        let sandboxes =
            SERVICES.iter().map(|service| gauge(&platform.api, "skiff_sandboxes", service.name)).sum();
        samples.push(Sample {
            after: began.elapsed(),
            processes: pids.iter().map(look).collect(),
            sandboxes,
        });
        std::thread::sleep(SAMPLE_INTERVAL.saturating_sub(sampled.elapsed()));
    }
    samples
}

/// What of a process has grown beyond what it may, by its place.
fn growth(samples: &[Sample], process: usize) -> Vec<String> {
    let warm = &samples[(samples.len() as f64 * WARM_UP) as usize..];
    let third = warm.len() / 3;
    let floor = |part: &[Sample], of: fn(&Footprint) -> u64| {
        part.iter().map(|sample| of(&sample.processes[process])).min().expect("there are samples")
    };
    let (first, last) = (&warm[..third], &warm[warm.len() - third..]);
    let check = |what: &str, of: fn(&Footprint) -> u64, tolerance: fn(u64) -> u64| {
        let (before, after) = (floor(first, of), floor(last, of));
        (after > before + tolerance(before))
            .then(|| format!("{what} of the process {process} grew from {before} to {after}"))
    };
    let memory = |before: u64| MEMORY_TOLERANCE_BYTES.max((before as f64 * MEMORY_TOLERANCE_SHARE) as u64);
    let checks = [
        check("memory in bytes", |seen| seen.memory_bytes, memory),
        check("descriptors", |seen| seen.descriptors as u64, |_| DESCRIPTORS_TOLERANCE as u64),
        check("threads", |seen| seen.threads, |_| THREADS_TOLERANCE),
    ];
    checks.into_iter().flatten().collect()
}

/// The series: memory, descriptors and threads of each process, and the adversaries' sandboxes.
fn print(samples: &[Sample], pids: &[u32]) {
    println!(
        "seconds | sandboxes | MiB (PSS), descriptors, threads of the supervisor and each worker {pids:?}"
    );
    for sample in samples.iter().step_by(samples.len().div_ceil(LINES_PRINTED)) {
        let processes = sample.processes.iter().map(|seen| {
            let mib = seen.memory_bytes as f64 / f64::from(1 << 20);
            format!("{mib:.1} {} {}", seen.descriptors, seen.threads)
        });
        let processes: Vec<String> = processes.collect();
        println!("{:.1} | {} | {}", sample.after.as_secs_f64(), sample.sandboxes, processes.join(" | "));
    }
}
