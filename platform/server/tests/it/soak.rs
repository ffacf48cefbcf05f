//! The soak: mixed and adversarial load for a while, in sandboxes that are fresh, that serve more than one request, and that
//! start from a snapshot. Meanwhile nothing may grow: no process's memory, descriptors or threads, not the number of
//! sandboxes, not what the pools keep; and after it no sandbox stays.
//!
//! It takes a minute here; `cargo xtask soak` runs it for an hour. Under load all of them go up and down, so it is their
//! floors that are compared: the least that was seen in the last third against the least in the first.

use crate::adversarial::{CASES, Case, REUSED, SERVICES, ask, cases_of};
use crate::footprint::Footprint;
use crate::gauges::{AT_REST_AT_ZERO, gauge, sum};
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
const DESCRIPTORS_TOLERANCE: u64 = 4;
/// The supervisor's threads for blocking calls come and go with the load.
const THREADS_TOLERANCE: u64 = 12;
/// Some are kept for requests to come, of each service that answered lately.
const SANDBOXES_TOLERANCE: u64 = 16;
/// What 64 stacks keep: a pool keeps one for each sandbox that it ever had at once.
const POOL_KEPT_TOLERANCE_BYTES: u64 = 4 << 20;
/// Clients that misbehave at a time.
const ADVERSARIES: usize = 3;
/// Services that behave, each of a guest of its name.
const NEIGHBOURS: [(&str, &[&str]); 3] = [("hello", &[]), ("hello-p3", &[]), ("snapshot", &["--snapshot"])];
/// How often each of them is asked.
const NEIGHBOUR_PER_SECOND: u32 = 50;
/// How often something is deployed and removed, and a program run.
const CHURN_INTERVAL: Duration = Duration::from_secs(3);

/// All processes at one time.
struct Sample {
    after: Duration,
    processes: Vec<Footprint>,
    sandboxes: u64,
    /// What idle slots of all workers' pools keep.
    pool_kept_bytes: u64,
}

#[test]
fn nothing_grows() {
    let minutes = std::env::var("SKIFF_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok());
    let duration = Duration::from_secs(60 * minutes.unwrap_or(1));
    let platform = Platform::start(&[]);
    for (name, arguments) in NEIGHBOURS {
        platform.deploy(name, name, arguments);
    }
    for service in SERVICES.iter().chain(REUSED) {
        let limits = ["--timeout", "500ms", "--cpu", "512"];
        platform.deploy(service.component, service.name, &[&limits, service.arguments].concat());
    }
    let pids: Vec<u32> = std::iter::once(platform.pid()).chain(platform.workers()).collect();

    let began = Instant::now();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let neighbours = NEIGHBOURS.map(|(name, _)| Neighbour::start(&platform.http, name, NEIGHBOUR_PER_SECOND));
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
    let adversaries = SERVICES.iter().chain(REUSED).map(|service| service.name);
    for name in adversaries.chain(NEIGHBOURS.map(|(name, _)| name)) {
        eventually("all is given back", || {
            AT_REST_AT_ZERO.iter().all(|metric| gauge(&platform.api, metric, name) == 0.0).then_some(())
        });
    }
    let now: Vec<u32> = std::iter::once(platform.pid()).chain(platform.workers()).collect();
    assert_eq!(now, pids, "a worker died");
    let grown = growth(&samples, pids.len());
    assert!(grown.is_empty(), "{}", grown.join("\n"));
}

/// Goes through the cases, each client from another one on.
fn misbehave(platform: &Platform, number: usize, stop: &AtomicBool, asked: &AtomicUsize) {
    let fresh = CASES.iter().flat_map(|case| case.services.iter().map(move |service| (*service, *case)));
    let reused = REUSED.iter().flat_map(|service| cases_of(service).map(move |case| (service.name, case)));
    let all: Vec<(&str, Case)> = fresh.chain(reused).collect();
    let from = number * all.len() / ADVERSARIES;
    for (service, case) in all.iter().cycle().skip(from) {
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
        samples.push(Sample {
            after: began.elapsed(),
            processes: pids.iter().map(look).collect(),
            sandboxes: sum(&platform.api, "skiff_sandboxes{") as u64,
            pool_kept_bytes: sum(&platform.api, "skiff_worker_pool_kept_bytes{") as u64,
        });
        std::thread::sleep(SAMPLE_INTERVAL.saturating_sub(sampled.elapsed()));
    }
    samples
}

/// What has grown beyond what it may: of all together, and of each process by its place.
fn growth(samples: &[Sample], processes: usize) -> Vec<String> {
    let memory = |before: u64| MEMORY_TOLERANCE_BYTES.max((before as f64 * MEMORY_TOLERANCE_SHARE) as u64);
    let of_all = [
        grown("sandboxes", samples, |sample| sample.sandboxes, |_| SANDBOXES_TOLERANCE),
        grown(
            "bytes that the pools keep",
            samples,
            |sample| sample.pool_kept_bytes,
            |_| POOL_KEPT_TOLERANCE_BYTES,
        ),
    ];
    let of_each = (0..processes).flat_map(|process| {
        let of = |sample: &Sample| sample.processes[process];
        let name = |what: &str| format!("{what} of the process {process}");
        [
            grown(&name("memory in bytes"), samples, |sample| of(sample).memory_bytes, memory),
            grown(
                &name("descriptors"),
                samples,
                |sample| of(sample).descriptors as u64,
                |_| DESCRIPTORS_TOLERANCE,
            ),
            grown(&name("threads"), samples, |sample| of(sample).threads, |_| THREADS_TOLERANCE),
        ]
    });
    of_all.into_iter().chain(of_each).flatten().collect()
}

/// A sentence on a value whose floor has risen by more than it may.
fn grown(
    what: &str,
    samples: &[Sample],
    of: impl Fn(&Sample) -> u64,
    tolerance: impl Fn(u64) -> u64,
) -> Option<String> {
    let warm = &samples[(samples.len() as f64 * WARM_UP) as usize..];
    let third = warm.len() / 3;
    let floor = |part: &[Sample]| part.iter().map(&of).min().expect("there are samples");
    let (before, after) = (floor(&warm[..third]), floor(&warm[warm.len() - third..]));
    (after > before + tolerance(before)).then(|| format!("{what} grew from {before} to {after}"))
}

/// The series: sandboxes, what the pools keep, and each process's memory, descriptors and threads.
fn print(samples: &[Sample], pids: &[u32]) {
    println!(
        "seconds | sandboxes | MiB kept in pools | MiB (PSS), descriptors, threads of the supervisor and each worker \
         {pids:?}"
    );
    for sample in samples.iter().step_by(samples.len().div_ceil(LINES_PRINTED)) {
        let processes = sample
            .processes
            .iter()
            .map(|seen| format!("{:.1} {} {}", mib(seen.memory_bytes), seen.descriptors, seen.threads));
        let processes: Vec<String> = processes.collect();
        let (after, kept) = (sample.after.as_secs_f64(), mib(sample.pool_kept_bytes));
        println!("{after:.1} | {} | {kept:.1} | {}", sample.sandboxes, processes.join(" | "));
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
