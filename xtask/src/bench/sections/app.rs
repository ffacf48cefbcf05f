//! The service that rollouts are measured with. Each request of it sleeps, so that some are under way whenever a task leaves; its
//! tasks are checked every second; and there is a revision that traps as it starts, which those checks notice.

use crate::bench::setup::{guest, misbehave};
use crate::platform::Platform;
use anyhow::{Context, bail};
use std::path::Path;
use std::time::{Duration, Instant};

/// Its name, and the host that it answers on.
pub(super) const NAME: &str = "app";
pub(super) const HOST: &str = "app.localhost";
/// What it is asked for.
pub(super) const PATH: &str = "/sleep?ms=5";
/// How many tasks it has, unless it is scaled.
pub(super) const DESIRED: u32 = 4;
/// The least and the most percent of a rolling update: those of ECS where nothing is said, and those of its pictures.
pub(super) const BOUNDS: [[&str; 2]; 3] = [["100", "200"], ["50", "100"], ["100", "150"]];
/// How its platform is started: a task's requests come to more than one worker.
pub(super) const UP: [&str; 2] = ["--workers", "2"];
/// What each task has. Together it may be more than the machine has, as where nothing is said of overcommitment.
const SIZE: [&str; 6] = ["--cpu", "512", "--memory", "128MiB", "--concurrency", "100"];
/// How its tasks are checked.
const CHECK: [&str; 8] =
    ["--health-check", "/", "--health-interval", "1s", "--health-timeout", "900ms", "--unhealthy", "2"];
/// How long its tasks may take to be known as healthy.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Deploys it with checks, and waits until all its tasks are known to be healthy: while none is, those that fail are asked too.
pub(super) fn deploy(platform: &Platform, agent: &ureq::Agent) -> anyhow::Result<()> {
    let desired = DESIRED.to_string();
    deploy_another(platform, 0, &["--desired", &desired])?;
    platform.skiff_output(&[&["target-group", "create", NAME, "--service", NAME][..], &CHECK].concat())?;
    wait_until_healthy(platform, agent)
}

/// Waits until all its tasks are known to be healthy.
pub(super) fn wait_until_healthy(platform: &Platform, agent: &ureq::Agent) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let path = format!("tasks?service={NAME}&status=RUNNING");
        let tasks = platform.look(agent, &path)?;
        let tasks = tasks["items"].as_array().context("a list of tasks has items")?;
        if tasks.len() == DESIRED as usize && tasks.iter().all(|task| task["health"] == "HEALTHY") {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    bail!("not all tasks of {NAME} were healthy after {} s", PATIENCE.as_secs())
}

/// Deploys the next revision, which serves, and waits until it is stable.
pub(super) fn deploy_another(platform: &Platform, number: usize, more: &[&str]) -> anyhow::Result<()> {
    run_deploy(platform, &misbehave(), &format!("NUMBER={number}"), more)
}

/// Deploys the next revision, which fails, and waits until the circuit breaker has rolled it back.
pub(super) fn deploy_trapping(platform: &Platform) -> anyhow::Result<()> {
    match run_deploy(platform, &guest("misbehave-start"), "AT_START=trap", &[]) {
        Ok(()) => bail!("a revision that traps was deployed"),
        Err(error) if error.to_string().contains("is back at") => Ok(()),
        Err(error) => Err(error),
    }
}

fn run_deploy(platform: &Platform, component: &Path, environment: &str, more: &[&str]) -> anyhow::Result<()> {
    let component = component.to_string_lossy();
    let deploy = ["deploy", &component, "--name", NAME, "--env", environment];
    platform.skiff_output(&[&deploy[..], &SIZE, more].concat()).map(drop)
}
