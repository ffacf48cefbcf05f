//! How long guests in endless loops go on after they were cancelled, by what ended them and where they looped.

#[path = "../../../../../platform/server/tests/it/cancellation/ended.rs"]
mod ended;

use super::{api_address, built, deploy, gauges};
use crate::bench::report::{Goal, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::{Spread, number};
use crate::platform::Platform;
use anyhow::Context;
use std::time::Duration;

/// How long a guest may go on after it was cancelled.
const CANCELLED_MAX: Duration = Duration::from_millis(10);
/// How often each way to cancel is tried.
const TRIALS: usize = 10;
/// What requests of the services with a timeout may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What ended a guest, where it looped, and how long it went on each time.
pub(super) struct Cancelled {
    what: String,
    times: Vec<Duration>,
}

pub(super) fn measure(bench: &Bench, platform: &Platform) -> anyhow::Result<Vec<Cancelled>> {
    let api = api_address(platform);
    let mut measured = Vec::new();
    for (name, component, path, arguments) in ended::PLACES {
        let limits = |timeout: Duration| {
            [
                "--timeout".to_owned(),
                format!("{}ms", timeout.as_millis()),
                "--cpu".to_owned(),
                "1024".to_owned(),
            ]
        };
        let timed = format!("{name}-timed");
        for (service, timeout) in [(name, Duration::from_mins(1)), (&timed, TIMEOUT)] {
            let limits = limits(timeout);
            let limits = limits.iter().map(String::as_str);
            let arguments: Vec<&str> = limits.chain(arguments.iter().copied()).collect();
            deploy(bench, platform, component, service, &arguments)?;
        }
        measured.push(Cancelled {
            what: format!("the client goes away, {name}"),
            times: trials(|| Ok(ended::after_its_client(&platform.http, api, name, path)))?,
        });
        measured.push(Cancelled {
            what: format!("the timeout, {name}"),
            times: trials(|| Ok(ended::after_its_timeout(&platform.http, &timed, path, TIMEOUT)))?,
        });
    }
    for component in ["misbehave-job", "job-p3"] {
        let path = built(bench.folder(), component)?;
        let path = path.to_str().context("a path of text")?;
        let stopped = || {
            let task = platform.skiff_output(&["run", path, "--cpu", "1024", "--detach", "--", "spin"])?;
            Ok(ended::after_its_stop(api, &platform.token, task.trim()))
        };
        measured.push(Cancelled { what: format!("a stop, {component}"), times: trials(stopped)? });
    }
    Ok(measured)
}

fn trials(trial: impl Fn() -> anyhow::Result<Duration>) -> anyhow::Result<Vec<Duration>> {
    (0..TRIALS).map(|_| trial()).collect()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(super) fn goal(cancelled: &[Cancelled]) -> Goal {
    let most = cancelled.iter().flat_map(|cancelled| &cancelled.times).max().copied().unwrap_or_default();
    Goal::at_most("a cancelled guest goes on for", ms(most), ms(CANCELLED_MAX), " ms")
}

pub(super) fn table(cancelled: &[Cancelled]) -> Table {
    let row = |Cancelled { what, times }: &Cancelled| {
        let spread = Spread::of(times.iter().copied().map(ms));
        vec![what.clone(), number(spread.median), number(spread.high)]
    };
    Table {
        title: format!("A guest in an endless loop that is cancelled goes on, in ms, of {TRIALS}"),
        header: vec!["what ends it, and where it loops", "p50", "most"],
        rows: cancelled.iter().map(row).collect(),
    }
}
