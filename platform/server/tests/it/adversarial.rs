//! Real components, one for each way to misbehave, one after the other on one platform with one worker, beside a neighbour
//! who is asked all the while. Each harms itself alone, its client and its user learn why, and nothing of it stays behind.
//!
//! What the neighbour feels is measured by `cargo xtask bench adversary`; here it only has to be served.

mod ask;
mod cases;
mod programs;
mod reuse;

use crate::footprint::Footprint;
use crate::gauges::{AT_REST_AT_ZERO, gauge};
use crate::harness::{Platform, eventually, within};
use crate::neighbour::Neighbour;
use ask::Outcome;
pub(crate) use ask::ask;
pub(crate) use cases::{CASES, Case, SERVICES};
use cases::{Client, LIMITS};
use programs::{PROGRAMS, Program, STOPPED};
pub(crate) use reuse::{REUSED, cases_of};
use serde_json::Value;
use skiff_kit::clock::unix_ms;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How often the neighbour is asked.
const NEIGHBOUR_PER_SECOND: u32 = 40;
/// An answer of the neighbour's that takes so long has waited for another's guest: those run for two seconds. Bounds that
/// matter are measured elsewhere, on a machine that does nothing else.
const NEIGHBOUR_LATENCY_MAX: Duration = Duration::from_secs(1);
/// The neighbour is watched at least so long beside each.
const WATCHED_MIN: Duration = Duration::from_millis(250);

/// How long a worker may take to let go of what a guest had.
const LET_GO_MAX: Duration = Duration::from_secs(60);
/// How long a line of a log may be on its way.
const LOG_LATENCY_MAX: Duration = Duration::from_secs(10);
/// Gauges that are at zero when no request is under way, though a sandbox may be kept for the next.
const WITHOUT_REQUESTS_AT_ZERO: [&str; 2] = ["skiff_requests_in_flight", "skiff_requests_queued"];

#[test]
fn whoever_misbehaves_harms_itself_alone() {
    let platform = Platform::start(&["--workers", "1"]);
    platform.deploy("hello", "hello", &[]);
    for service in SERVICES {
        platform.deploy(service.component, service.name, &[&LIMITS, service.arguments].concat());
    }
    // What stays for ever is made by the first request of each service: its code is mapped, its paths through the host.
    for service in SERVICES {
        ask(&platform.http, service.name, &CASES[0]);
    }
    let world = World::new(platform);
    let (began, mut faults) = (Instant::now(), String::new());
    for case in CASES {
        for service in case.services {
            for fault in world.faults_of(service, case) {
                writeln!(faults, "{} ({service}{}): {fault}", case.what, case.path).unwrap();
            }
        }
    }
    println!("the neighbour felt, over all: {}", world.neighbour.felt_since(began));
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn whoever_misbehaves_in_a_sandbox_that_serves_more_requests_harms_its_service_alone() {
    let platform = Platform::start(&["--workers", "1"]);
    platform.deploy("hello", "hello", &[]);
    for service in REUSED {
        platform.deploy(service.component, service.name, &[&LIMITS, service.arguments].concat());
        ask(&platform.http, service.name, &CASES[0]);
    }
    let world = World::new(platform);
    let mut faults = String::new();
    for service in REUSED {
        for case in cases_of(service) {
            for fault in world.faults_of_reused(service.name, &case) {
                writeln!(faults, "{} ({}{}): {fault}", case.what, service.name, case.path).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn programs_that_misbehave_harm_themselves_alone() {
    let platform = Platform::start(&["--workers", "1"]);
    platform.deploy("hello", "hello", &[]);
    for component in programs::COMPONENTS {
        platform.ok(&["run", platform.component(component).to_str().unwrap(), "--", "print"]);
    }
    let world = World::new(platform);
    for program in &PROGRAMS {
        for component in programs::COMPONENTS {
            world.run(component, program);
        }
    }
}

struct World {
    platform: Platform,
    neighbour: Neighbour,
    /// The worker at rest.
    before: Footprint,
}

impl World {
    /// Lets the neighbour begin, and the worker settle.
    fn new(platform: Platform) -> Self {
        let neighbour = Neighbour::start(&platform.http, "hello", NEIGHBOUR_PER_SECOND);
        let worker = platform.workers()[0];
        let before = eventually("the worker is at rest", || {
            let first = Footprint::of(worker)?;
            std::thread::sleep(WATCHED_MIN);
            let now = Footprint::of(worker)?;
            ((now.threads, now.descriptors) == (first.threads, first.descriptors)).then_some(now)
        });
        Self { platform, neighbour, before }
    }

    /// Runs one program, and stops it if it has no end.
    fn run(&self, component: &str, program: &Program) {
        let what = format!("{component} {:?}", program.arguments);
        let began = Instant::now();
        let path = self.platform.component(component);
        let run = ["run", path.to_str().unwrap(), "--memory", "32MiB", "--detach", "--"];
        let id = self.platform.ok(&[&run, program.arguments].concat()).trim().to_owned();
        let task = || self.platform.json(&["task", "show", &id]);
        if program.ends == STOPPED {
            eventually(&format!("it runs: {what}"), || (task()["status"] == "RUNNING").then_some(()));
            std::thread::sleep(WATCHED_MIN);
            self.platform.ok(&["task", "stop", &id]);
        }
        let task = eventually(&format!("it ends: {what}"), || {
            Some(task()).filter(|task| task["status"] == "STOPPED" && task["usage"]["sandboxes"] == 0)
        });
        let (code, reason) = program.ends;
        assert_eq!(task["stop_code"], code, "{what}: {task}");
        assert!(task["stopped_reason"].as_str().unwrap().contains(reason), "{what}: {task}");
        assert_eq!(task["usage"]["memory_bytes"], 0, "{what}: {task}");
        let faults: Vec<String> = self.felt(began).into_iter().chain(self.left_behind(&what)).collect();
        assert_eq!(faults, Vec::<String>::new(), "{what}");
    }

    /// Runs one case, and says all that is not as it should be.
    fn faults_of(&self, service: &str, case: &Case) -> Vec<String> {
        let began = Instant::now();
        let mut faults = self.faults_told(service, case, &AT_REST_AT_ZERO);
        faults.extend(self.faults_around(began, case));
        faults
    }

    /// The same in a sandbox that has served a request before. What is kept of it for the next request is ended by a trap.
    fn faults_of_reused(&self, service: &str, case: &Case) -> Vec<String> {
        let began = Instant::now();
        let ask_for = |path| ask(&self.platform.http, service, &Case { path, sends_bytes: 0, ..*case });
        let first = ask_for("/");
        let mut faults = Vec::new();
        if !first.is(Client::Gets(200, "misbehave")) {
            faults.push(format!("the request before it got {first}"));
        }
        eventually("the sandbox is kept", || {
            self.are_at_zero(&WITHOUT_REQUESTS_AT_ZERO, service).then_some(())
        });
        faults.extend(self.faults_told(service, case, &WITHOUT_REQUESTS_AT_ZERO));
        eventually(&format!("no sandbox is left after {}", case.what), || {
            let is_over = self.are_at_zero(&AT_REST_AT_ZERO, service);
            if !is_over {
                ask_for("/trap");
            }
            is_over.then_some(())
        });
        faults.extend(self.faults_around(began, case));
        faults
    }

    fn are_at_zero(&self, metrics: &[&str], service: &str) -> bool {
        metrics.iter().all(|metric| gauge(&self.platform.api, metric, service) == 0.0)
    }

    /// Asks, waits until these gauges are at zero, and says what of what the client and the user are told is not as it
    /// should be.
    fn faults_told(&self, service: &str, case: &Case, at_zero: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        let began_ms = unix_ms();
        let counted =
            |metric: Option<&str>| metric.map_or(0.0, |metric| gauge(&self.platform.api, metric, service));
        let counted_before = counted(case.counted.metric());

        let outcome = ask(&self.platform.http, service, case);
        if !outcome.is(case.client) {
            faults.push(format!("its client got {outcome} instead of {:?}", case.client));
        }
        eventually(&format!("all is given back after {}", case.what), || {
            self.are_at_zero(at_zero, service).then_some(())
        });
        if case.counted.metric().is_some() && counted(case.counted.metric()) != counted_before + 1.0 {
            faults.push(format!("it was not counted among {:?}", case.counted));
        }
        let told = match (&outcome, case.client) {
            (Outcome::BrokenOff { .. }, Client::GetsOrBreaksOff(..)) => "",
            (Outcome::Answered { status: 200, .. }, Client::GetsOrAll(..)) => "",
            _ => case.log,
        };
        // Lines go through the supervisor, which writes them down in its own time.
        let log = || self.log_since(service, began_ms);
        let says_why = || log().iter().any(|line| line.contains(told)).then_some(());
        if !told.is_empty() && within(LOG_LATENCY_MAX, says_why).is_none() {
            faults.push(format!("none of its log's lines has {told:?}: {:?}", log().iter().take(5)));
        }
        faults
    }

    /// What the neighbour has to complain of, and what stays behind.
    fn faults_around(&self, began: Instant, case: &Case) -> Vec<String> {
        self.felt(began).into_iter().chain(self.left_behind(case.what)).collect()
    }

    /// What the neighbour has to complain of, once it was watched for long enough to have been asked.
    fn felt(&self, since: Instant) -> Option<String> {
        std::thread::sleep(WATCHED_MIN.saturating_sub(since.elapsed()));
        // What was asked while the machine stood still does not count, so that it may have to be asked again.
        let felt = eventually("the neighbour is answered", || {
            Some(self.neighbour.felt_since(since)).filter(|felt| felt.answers > 0)
        });
        let is_served = felt.failures.is_empty() && felt.max <= NEIGHBOUR_LATENCY_MAX;
        (!is_served).then(|| format!("its neighbour felt it: {felt}"))
    }

    /// What the worker holds more than before, once it has had time to let go.
    fn left_behind(&self, what: &str) -> Option<String> {
        let before = &self.before;
        if self.platform.workers()[0] != before.pid {
            return Some("the worker died of it".to_owned());
        }
        let given_back = || {
            let now = Footprint::of(before.pid)?;
            (now.descriptors <= before.descriptors && now.threads <= before.threads).then_some(())
        };
        within(LET_GO_MAX, given_back).is_none().then(|| {
            format!(
                "after {what} the worker kept more than before: {:?}, not {before:?}",
                Footprint::of(before.pid)
            )
        })
    }

    /// The lines of a service's log that were written since then, as its user reads them.
    fn log_since(&self, service: &str, since_ms: u64) -> Vec<String> {
        // From when the command runs on, which is later than now.
        let span = format!("{}ms", unix_ms() - since_ms + 5_000);
        let text = self.platform.ok(&["logs", service, "--since", &span, "--output", "json"]);
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let since = lines.filter(|line| line["at_ms"].as_u64().unwrap() >= since_ms);
        since.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn parts_of_the_component_model_that_are_not_offered_are_refused_at_the_deployment() {
    let platform = Platform::start(&[]);
    let path = platform.component("error-contexts.wat");
    let said = platform.fails(&["deploy", path.to_str().unwrap(), "--name", "app"]);
    assert!(said.contains("error-context"), "{said}");
}
