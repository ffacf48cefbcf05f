//! A round of as many requests as a server can answer.

use crate::bench::load::Load;
use crate::bench::processes;
use crate::bench::servers::Running;
use crate::bench::setup::Bench;
use serde::Serialize;

/// Warms a server up for this part of a round's time, at least for half a second.
const WARM_UP_PART: f64 = 0.4;

/// What one round showed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) per_second: f64,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) memory_mib: f64,
    /// If not, the driver was the limit, not the server.
    pub(crate) driver_in_time: bool,
}

/// Runs one round; an answer that is not a good one is an error.
pub(crate) fn round(bench: &Bench, server: &Running, driver_core: Option<usize>) -> anyhow::Result<Round> {
    let load = Load { core: driver_core, ..Load::new(bench, &server.address, &server.host) };
    let before = processes::cpu(server.pid)?;
    let outcome = load.run_soundly(bench)?;
    let cpu = processes::cpu(server.pid)? - before;
    Ok(Round {
        per_second: outcome.answered_per_second,
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / outcome.answered as f64,
        p50_ms: outcome.latency.p50_us / 1e3,
        p99_ms: outcome.latency.p99_us / 1e3,
        memory_mib: processes::memory_mib(server.pid)?,
        driver_in_time: outcome.driver.in_time,
    })
}

/// Asks a server for a while, so that the first round finds it warm.
pub(crate) fn warm_up(bench: &Bench, server: &Running, driver_core: Option<usize>) -> anyhow::Result<()> {
    let seconds = (bench.settings.seconds * WARM_UP_PART).max(0.5);
    let load = Load { core: driver_core, seconds, ..Load::new(bench, &server.address, &server.host) };
    load.run_soundly(bench).map(drop)
}
