//! What came of a run: counts, latencies, and whether the driver was in time.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The latencies that a run's curve is drawn from.
const QUANTILES: [f64; 14] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0];

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// From the first request that was due to the last answer, in seconds.
    pub seconds: f64,
    /// Requests that were due; in a closed loop those that were sent.
    pub due: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Answers with a status from 200 to 299.
    pub answered: u64,
    /// Those a second.
    pub answered_per_second: f64,
    /// Requests that came to anything else.
    pub errors: Errors,
    /// From the moment at which a request was due (in a closed loop: was sent) to its answer's last byte. Of those that
    /// were answered, and of those that never were, as long as they had waited in the end.
    pub latency: Latency,
    /// How the driver itself did.
    pub driver: DriverReport,
}

/// Requests that came to no good answer, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// The connection could not be opened again.
    pub connect: u64,
    /// The server closed the connection with a request under way.
    pub closed: u64,
    /// What came was not an answer.
    pub malformed: u64,
    /// No answer within the time that is given to the last ones.
    pub unanswered: u64,
    /// Answers with another status, by status.
    pub status: BTreeMap<u16, u64>,
}

/// Latencies, in microseconds; all 0 if there was no answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are what their names say")]
pub struct Latency {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// The curve.
    pub points: Vec<Point>,
}

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The share of the requests that took no longer, from 0 to 1.
    pub quantile: f64,
    /// The latency, in microseconds.
    pub us: f64,
}

/// How the driver itself did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriverReport {
    /// How late requests were sent though they were due and a connection was free, at the 99th percentile, in
    /// microseconds; 0 in a closed loop.
    pub late_p99_us: f64,
    /// The same, at most.
    pub late_max_us: f64,
    /// The share of the run in which it waited for something to do, from 0 to 1.
    pub idle_share: f64,
    /// Whether it was in time. If not, the run measured the driver.
    pub in_time: bool,
}

impl DriverReport {
    /// A driver that is later than this with more than one request in a hundred is not in time, in microseconds.
    pub const LATE_US_MAX: f64 = 500.0;
    /// A driver that waits less than this share of the run is itself the limit.
    pub const IDLE_SHARE_MIN: f64 = 0.05;

    pub(crate) fn new(late_ns: &Histogram<u64>, idle_share: f64) -> Self {
        let us = |ns: u64| ns as f64 / 1e3;
        let late_p99_us = us(late_ns.value_at_quantile(0.99));
        let in_time = late_p99_us <= Self::LATE_US_MAX && idle_share >= Self::IDLE_SHARE_MIN;
        Self { late_p99_us, late_max_us: us(late_ns.max()), idle_share, in_time }
    }
}

impl Errors {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { connect, closed, malformed, unanswered, status } = self;
        connect + closed + malformed + unanswered + status.values().sum::<u64>()
    }
}

impl Latency {
    pub(crate) fn new(ns: &Histogram<u64>) -> Self {
        if ns.is_empty() {
            return Self::default();
        }
        let at = |quantile: f64| ns.value_at_quantile(quantile) as f64 / 1e3;
        let point = |quantile| Point { quantile, us: at(quantile) };
        Self {
            mean_us: ns.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
            points: QUANTILES.map(point).to_vec(),
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("not connected", self.connect),
            ("closed", self.closed),
            ("malformed", self.malformed),
            ("unanswered", self.unanswered),
        ];
        let kinds = kinds.into_iter().filter(|(_, count)| *count > 0);
        let kinds = kinds.map(|(kind, count)| format!("{count} {kind}"));
        let statuses = self.status.iter().map(|(status, count)| format!("{count} with status {status}"));
        let all: Vec<String> = kinds.chain(statuses).collect();
        f.write_str(if all.is_empty() { "none" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, due, sent, answered, answered_per_second, errors, latency, driver } = self;
        writeln!(f, "{due} requests due in {seconds:.2} s, {sent} sent, {answered} answered")?;
        writeln!(f, "{answered_per_second:.0} answers/s; errors: {errors}")?;
        let Latency { p50_us, p90_us, p99_us, p999_us, max_us, .. } = latency;
        writeln!(
            f,
            "latency µs: p50 {p50_us:.0}, p90 {p90_us:.0}, p99 {p99_us:.0}, p99.9 {p999_us:.0}, max {max_us:.0}"
        )?;
        let in_time = if driver.in_time { "in time" } else { "NOT IN TIME: this measured the driver" };
        write!(
            f,
            "driver: {in_time}; late by {:.0} µs at p99, {:.0} at most; idle {:.0}% of the run",
            driver.late_p99_us,
            driver.late_max_us,
            driver.idle_share * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).expect("three digits");
        values.into_iter().for_each(|value| histogram.record(value).expect("it grows"));
        histogram
    }

    #[test]
    fn quantiles_are_in_microseconds() {
        let latency = Latency::new(&histogram((1..=1_000).map(|us| us * 1_000)));
        let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.002;
        assert!(near(latency.p50_us, 500.0) && near(latency.p99_us, 990.0), "{latency:?}");
        assert!(near(latency.p999_us, 999.0) && near(latency.max_us, 1_000.0), "{latency:?}");
        assert_eq!(latency.points.len(), QUANTILES.len());
        assert_eq!(Latency::new(&histogram([])), Latency::default());
    }

    #[test]
    fn a_driver_that_was_late_or_never_waited_says_so() {
        let in_time = |late_us: u64, idle| DriverReport::new(&histogram([late_us * 1_000]), idle).in_time;
        assert!(in_time(100, 0.5));
        assert!(!in_time(600, 0.5));
        assert!(!in_time(100, 0.01));
    }

    #[test]
    fn what_people_read() {
        let errors = Errors { closed: 2, status: [(503, 7)].into(), ..Errors::default() };
        let outcome = Outcome {
            seconds: 2.0,
            due: 100,
            sent: 100,
            answered: 91,
            answered_per_second: 45.5,
            errors,
            latency: Latency::new(&histogram([250_000; 91])),
            driver: DriverReport::new(&histogram([600_000]), 0.5),
        };
        insta::assert_snapshot!(outcome);
        assert_eq!(outcome.errors.total(), 9);
        assert_eq!(Errors::default().to_string(), "none");
    }
}
