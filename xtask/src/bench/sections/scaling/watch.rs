//! How many tasks the service is to have and has, from look to look.

use super::NAME;
use crate::platform::Platform;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often the service is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The counts from a time on, until they are others.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Counts {
    /// When that was seen, in milliseconds after the watch's origin.
    pub(super) at_ms: f64,
    /// How many tasks it is to have.
    pub(super) desired: u64,
    /// How many run.
    pub(super) running: u64,
}

/// Looks until it is to stop, and gives the changes; the first are the counts at the beginning.
fn watch(platform: &Platform, origin: Instant, stop: &AtomicBool) -> anyhow::Result<Vec<Counts>> {
    let agent = ureq::Agent::new_with_defaults();
    let mut seen: Vec<Counts> = Vec::new();
    while !stop.load(Relaxed) {
        let service = platform.look(&agent, &format!("services/{NAME}"))?;
        let (desired, running) = (&service["spec"]["desired"], &service["status"]["running"]);
        let counts = Counts {
            at_ms: origin.elapsed().as_secs_f64() * 1e3,
            desired: desired.as_u64().unwrap_or(0),
            running: running.as_u64().unwrap_or(0),
        };
        let is_other = |last: &Counts| (last.desired, last.running) != (counts.desired, counts.running);
        if seen.last().is_none_or(is_other) {
            seen.push(counts);
        }
        std::thread::sleep(LOOK);
    }
    Ok(seen)
}

/// Does something while the service is watched.
pub(super) fn watched<T>(
    platform: &Platform,
    origin: Instant,
    action: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Counts>)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(platform, origin, &stop));
        let done = action();
        stop.store(true, Relaxed);
        let seen = watching.join().expect("the watch does not panic")?;
        Ok((done?, seen))
    })
}

/// The counts that the service was to have, one after the other, without those that are as the one before.
pub(super) fn desired(seen: &[Counts]) -> Vec<u64> {
    let mut counts: Vec<u64> = seen.iter().map(|counts| counts.desired).collect();
    counts.dedup();
    counts
}

/// How often a change undid a part of the one before it.
pub(super) fn reversals(counts: &[u64]) -> usize {
    counts.windows(3).filter(|three| (three[0] < three[1]) != (three[1] < three[2])).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_back_is_a_reversal() {
        let seen = [(2, 2), (4, 2), (4, 4), (9, 4), (8, 4), (9, 9)];
        let counts = desired(&seen.map(|(desired, running)| Counts { at_ms: 0.0, desired, running }));
        assert_eq!(counts, [2, 4, 9, 8, 9]);
        assert_eq!(reversals(&counts), 2);
        assert_eq!([reversals(&[10]), reversals(&[2, 20, 40]), reversals(&[2, 3, 2])], [0, 0, 1]);
    }
}
