//! What a measurement comes to: percentiles by stage, and a histogram in text.

use super::trial::Trial;
use crate::{human, output};
use serde::Serialize;
use skiff_api::ColdStartSample;
use std::collections::BTreeMap;

/// What was measured.
pub(super) struct Report<'a> {
    pub(super) source: &'a str,
    pub(super) path: &'a str,
    pub(super) deploys: &'a [Trial],
    pub(super) requests: &'a [ColdStartSample],
}

/// The report for programs.
#[derive(Serialize)]
pub(super) struct Summary<'a> {
    source: &'a str,
    path: &'a str,
    /// By stage; empty for a service.
    deploys: BTreeMap<&'static str, Percentiles>,
    /// By stage.
    requests: BTreeMap<&'static str, Percentiles>,
    deploy_samples: &'a [Trial],
    request_samples: &'a [ColdStartSample],
}

/// Of one stage, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Percentiles {
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

/// What the tables show of each stage.
pub(super) const COLUMNS: [&str; 5] = ["STAGE", "P50", "P90", "P99", "MAX"];

type Stage<S> = (&'static str, &'static str, fn(&S) -> u64);

const DEPLOY_STAGES: [Stage<Trial>; 5] = [
    ("push", "push", |trial| trial.push_ns),
    ("register", "check, compile, register", |trial| trial.register_ns),
    ("serve", "start until it serves", |trial| trial.serve_ns),
    ("first_answer", "first request", |trial| trial.first_answer_ns),
    ("total", "pushed bytes to first answer", |trial| trial.total_ns),
];

const REQUEST_STAGES: [Stage<ColdStartSample>; 6] = [
    ("load", "load native code from disk", |sample| sample.load_ns),
    ("instantiate", "make a sandbox", |sample| sample.instantiate_ns),
    ("first_byte", "guest until first byte", |sample| sample.first_byte_ns),
    ("cold_request", "request, no sandbox alive", |sample| sample.cold_request_ns),
    ("warm_request", "request, sandbox alive", |sample| sample.warm_request_ns),
    ("cold_over_warm", "cold above warm", |sample| {
        sample.cold_request_ns.saturating_sub(sample.warm_request_ns)
    }),
];

impl<'a> Report<'a> {
    pub(super) fn summary(&self) -> Summary<'a> {
        Summary {
            source: self.source,
            path: self.path,
            deploys: by_stage(&DEPLOY_STAGES, self.deploys)
                .map(|(key, _, percentiles)| (key, percentiles))
                .collect(),
            requests: by_stage(&REQUEST_STAGES, self.requests)
                .map(|(key, _, percentiles)| (key, percentiles))
                .collect(),
            deploy_samples: self.deploys,
            request_samples: self.requests,
        }
    }

    /// The stages of each kind of start, with every sample of each in microseconds: deploys, then requests.
    pub(super) fn samples(&self) -> [Vec<(&'static str, Vec<f64>)>; 2] {
        [samples(&DEPLOY_STAGES, self.deploys), samples(&REQUEST_STAGES, self.requests)]
    }

    pub(super) fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.deploys.is_empty() {
            parts.push(format!("{}\n{}", self.deploys_title(), table(&DEPLOY_STAGES, self.deploys)));
        }
        parts.push(format!("{}\n{}", self.requests_title(), table(&REQUEST_STAGES, self.requests)));
        let cold: Vec<u64> = self.requests.iter().map(|sample| sample.cold_request_ns).collect();
        let bars = histogram(&cold);
        if !bars.is_empty() {
            parts.push(format!("Requests to a task with no sandbox alive\n{bars}"));
        }
        parts.join("\n\n")
    }

    /// How many deploys there were, of what.
    pub(super) fn deploys_title(&self) -> String {
        format!("{} of {}", human::count(self.deploys.len() as u64, "deploy"), self.source)
    }

    /// How many cold starts there were, of what.
    pub(super) fn requests_title(&self) -> String {
        let count = human::count(self.requests.len() as u64, "cold start");
        format!("{count} of {}, GET {}", self.source, self.path)
    }

    /// The rows of the tables: stage, and percentiles as people read them; deploys, then requests.
    pub(super) fn rows(&self) -> [Vec<[String; 5]>; 2] {
        [rows(&DEPLOY_STAGES, self.deploys).collect(), rows(&REQUEST_STAGES, self.requests).collect()]
    }
}

fn samples<S>(stages: &[Stage<S>], samples: &[S]) -> Vec<(&'static str, Vec<f64>)> {
    let of = |(_, title, value): &Stage<S>| {
        (*title, samples.iter().map(|sample| value(sample) as f64 / 1e3).collect())
    };
    stages.iter().map(of).collect()
}

fn by_stage<S>(
    stages: &[Stage<S>],
    samples: &[S],
) -> impl Iterator<Item = (&'static str, &'static str, Percentiles)> {
    stages.iter().filter_map(|(key, title, value)| {
        let values = samples.iter().map(value).collect();
        Some((*key, *title, percentiles(values)?))
    })
}

fn table<S>(stages: &[Stage<S>], samples: &[S]) -> String {
    output::columns(COLUMNS, rows(stages, samples))
}

fn rows<S>(stages: &[Stage<S>], samples: &[S]) -> impl Iterator<Item = [String; 5]> {
    let row = |(_, title, stage): (&str, &str, Percentiles)| {
        let [p50, p90, p99, max] =
            [stage.p50_ns, stage.p90_ns, stage.p99_ns, stage.max_ns].map(human::nanoseconds);
        [title.to_owned(), p50, p90, p99, max]
    };
    by_stage(stages, samples).map(row)
}

/// By nearest rank; `None` of nothing.
fn percentiles(mut values: Vec<u64>) -> Option<Percentiles> {
    values.sort_unstable();
    let at = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Percentiles { p50_ns: at(50)?, p90_ns: at(90)?, p99_ns: at(99)?, max_ns: at(100)? })
}

/// Ten equal steps from the least value to the 99th percentile, and one line for what is above.
fn histogram(values: &[u64]) -> String {
    const STEPS: u64 = 10;
    const WIDTH: u64 = 40;
    let Some((least, p99)) =
        values.iter().min().copied().zip(percentiles(values.to_vec()).map(|all| all.p99_ns))
    else {
        return String::new();
    };
    let step = ((p99 - least) / STEPS + 1).max(1);
    let mut counts = vec![0_u64; STEPS as usize + 1];
    for value in values {
        counts[((value - least) / step).min(STEPS) as usize] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let rows = counts.iter().zip(0..).filter(|(count, at)| *at < STEPS || **count > 0).map(|(count, at)| {
        let from = human::nanoseconds(least + at * step);
        let range = if at < STEPS { format!("from {from}") } else { format!("from {from} up") };
        [range, count.to_string(), "█".repeat((count * WIDTH).div_ceil(most) as usize)]
    });
    output::columns(["TIME", "COUNT", ""], rows)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(number: u64) -> ColdStartSample {
        ColdStartSample {
            load_ns: 200_000 + number,
            instantiate_ns: 15_000 + number,
            first_byte_ns: 12_000,
            cold_request_ns: 30_000 + 100 * number,
            warm_request_ns: 10_000,
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values = percentiles((1..=100).rev().collect()).unwrap();
        assert_eq!(values, Percentiles { p50_ns: 50, p90_ns: 90, p99_ns: 99, max_ns: 100 });
        let one = percentiles(vec![7]).unwrap();
        assert_eq!(one, Percentiles { p50_ns: 7, p90_ns: 7, p99_ns: 7, max_ns: 7 });
        assert_eq!(percentiles(Vec::new()), None);
    }

    #[test]
    fn a_histogram_counts_every_value_once() {
        let values: Vec<u64> = (0..1_000).map(|number| number * number).collect();
        let text = histogram(&values);
        let counts = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().find_map(|word| word.parse::<u64>().ok()));
        assert_eq!(counts.sum::<u64>(), 1_000, "{text}");
        assert_eq!(histogram(&[]), "");
        assert!(histogram(&[5, 5, 5]).contains("from 5ns"));
        assert!(histogram(&[0, u64::MAX]).lines().count() > 1, "the widest spread there is");
    }

    #[test]
    fn a_report_in_text() {
        let requests: Vec<_> = (0..100).map(sample).collect();
        let trial = Trial {
            push_ns: 2_000_000,
            register_ns: 120_000_000,
            serve_ns: 15_000_000,
            first_answer_ns: 1_000_000,
            total_ns: 138_000_000,
        };
        let report = Report { source: "hello.wasm", path: "/", deploys: &[trial], requests: &requests };
        insta::assert_snapshot!(report.text());
        let summary = serde_json::to_value(report.summary()).unwrap();
        assert_eq!(summary["requests"]["cold_request"]["p50_ns"], 34_900);
        assert_eq!(summary["deploys"]["total"]["max_ns"], 138_000_000);
    }
}
