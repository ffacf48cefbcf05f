//! What rules of buses and schedules lead to, as series: custom ones of their namespace, with the dimension `rule` or `schedule`,
//! under the names of EventBridge's metrics; so that alarms can watch them.
//!
//! It deliberately keeps no values. A rule that leads to nothing in a second has no points in it.

use crate::context::Context;
use crate::targets::Counts;
use skiff_types::{Datum, Dimensions, MetricName, MetricOf, QualifiedName, Resolution, SeriesId};
use std::collections::BTreeMap;
use tracing::warn;

/// Milliseconds between two warnings that there is no room for more series.
const WARNING_PAUSE_MS: u64 = 60_000;

/// What is measured, by EventBridge's names.
const NAMES: [&str; 3] = ["Invocations", "FailedInvocations", "DeadLetterInvocations"];

/// Looks at what was counted.
pub(crate) struct RuleSampler {
    names: [MetricName; NAMES.len()],
    warned_ms: Option<u64>,
}

impl RuleSampler {
    /// A new one.
    ///
    /// # Panics
    /// Never: the names are names.
    pub(crate) fn new() -> Self {
        Self { names: NAMES.map(|name| name.parse().expect("a metric's name")), warned_ms: None }
    }

    /// Takes what was counted since the last look into the second that ended.
    pub(crate) fn look(&mut self, context: &Context) {
        let now_ms = context.now_ms();
        let at_ms = now_ms.saturating_sub(Resolution::Second.span_ms());
        let counted = context.invocations.take();
        let points: Vec<(SeriesId, u64, Datum)> = context.objects.read(|view| {
            let of_one = |(origin, counts): (&QualifiedName, &Counts)| {
                let kind = if view.event_rule(origin).is_some() { "rule" } else { "schedule" };
                self.points(kind, origin, counts, at_ms)
            };
            counted.iter().flat_map(of_one).collect()
        });
        if points.is_empty() {
            return;
        }
        let is_due = self.warned_ms.is_none_or(|warned_ms| now_ms.abs_diff(warned_ms) >= WARNING_PAUSE_MS);
        if let Err(error) = context.series.put_custom(&points)
            && is_due
        {
            self.warned_ms = Some(now_ms);
            warn!(%error, "what rules lead to is not among the metrics");
        }
    }

    fn points(
        &self,
        kind: &str,
        origin: &QualifiedName,
        counts: &Counts,
        at_ms: u64,
    ) -> Vec<(SeriesId, u64, Datum)> {
        let Some(dimensions) = dimensions(kind, origin) else { return vec![] };
        let values = [counts.invocations, counts.failed, counts.dead_letters];
        let point = |(metric, value): (&MetricName, u64)| {
            let of = MetricOf::Custom(origin.namespace.clone());
            let series = SeriesId { of, metric: metric.clone(), dimensions: dimensions.clone() };
            Some((series, at_ms, Datum::of_value(value as f64)?))
        };
        self.names.iter().zip(values).filter_map(point).collect()
    }
}

fn dimensions(kind: &str, origin: &QualifiedName) -> Option<Dimensions> {
    let dimension = (kind.parse().ok()?, origin.name.to_string());
    Dimensions::new(BTreeMap::from([dimension])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_has_the_names_of_eventbridge() {
        let counts = Counts { invocations: 3, failed: 1, dead_letters: 0 };
        let points = RuleSampler::new().points("rule", &"default/orders".parse().unwrap(), &counts, 7);
        let names: Vec<String> = points.iter().map(|(series, ..)| series.metric.to_string()).collect();
        assert_eq!(names, NAMES);
        let (series, at_ms, _) = &points[0];
        assert_eq!((series.dimensions.get("rule"), *at_ms), (Some("orders"), 7));
    }
}
