//! What comes to buses and to their rules, and what rules and schedules lead to, as series: custom ones of their namespace, with the
//! dimension `bus`, `rule` or `schedule`, under the names of EventBridge's metrics; so that alarms can watch them.
//!
//! It deliberately keeps no values. A bus or a rule to which nothing comes in a second has no points in it, and no series before
//! something does.

use crate::context::Context;
use crate::targets::{Counted, Counts};
use crate::view::View;
use skiff_types::{
    BUS_METRICS, Datum, Dimensions, MetricName, MetricOf, QualifiedName, RULE_METRICS, Resolution, SeriesId,
};
use std::collections::BTreeMap;
use tracing::warn;

/// Milliseconds between two warnings that there is no room for more series.
const WARNING_PAUSE_MS: u64 = 60_000;

/// Rules and schedules that are gone, and buses, whose totals are kept beside those of as many as there are.
const GONE_MAX: usize = 1_000;

/// A value of a series.
type Point = (SeriesId, u64, Datum);

/// Looks at what was counted.
pub(crate) struct RuleSampler {
    names: [MetricName; RULE_METRICS.len()],
    of_bus: [MetricName; BUS_METRICS.len()],
    warned_ms: Option<u64>,
}

impl RuleSampler {
    /// A new one.
    ///
    /// # Panics
    /// Never: the names are names.
    pub(crate) fn new() -> Self {
        let name = |name: &str| name.parse().expect("a metric's name");
        Self { names: RULE_METRICS.map(name), of_bus: BUS_METRICS.map(name), warned_ms: None }
    }

    /// Takes what was counted since the last look into the second that ended.
    pub(crate) fn look(&mut self, context: &Context) {
        let now_ms = context.now_ms();
        let at_ms = now_ms.saturating_sub(Resolution::Second.span_ms());
        context.invocations.add(context.buses.take_counts());
        let counted = context.invocations.take();
        if counted == Counted::default() {
            return;
        }
        let of_origins: Vec<Point> = context.objects.read(|view| {
            let most = view.buses.rules.len() + view.buses.schedules.len() + GONE_MAX;
            context.invocations.keep(most, |name| is_there(view, name));
            let most_buses = view.buses.buses.len() + GONE_MAX;
            context.invocations.keep_buses(most_buses, |name| view.has_bus(name));
            let of_one = |(origin, counts): (&QualifiedName, &Counts)| {
                let kind = if view.event_rule(origin).is_some() { "rule" } else { "schedule" };
                self.of_origin(kind, origin, counts, at_ms)
            };
            counted.origins.iter().flat_map(of_one).collect()
        });
        let of_bus =
            |(bus, put): (&QualifiedName, &u64)| points(bus, "bus", self.of_bus.iter().zip([*put]), at_ms);
        let points = counted.put.iter().flat_map(of_bus).chain(of_origins).collect::<Vec<_>>();
        let is_due = self.warned_ms.is_none_or(|warned_ms| now_ms.abs_diff(warned_ms) >= WARNING_PAUSE_MS);
        if let Err(error) = context.series.put_counted(&points)
            && is_due
        {
            self.warned_ms = Some(now_ms);
            warn!(%error, "what comes to buses and what rules lead to is not among the metrics");
        }
    }

    /// What was counted of a rule or a schedule: tries with their failures, where there were any, and the events that it took.
    fn of_origin(&self, kind: &str, origin: &QualifiedName, counts: &Counts, at_ms: u64) -> Vec<Point> {
        let Counts { matched, invocations, failed, dead_letters } = *counts;
        let was_tried = invocations + failed + dead_letters > 0;
        let is_said = [matched > 0, was_tried, was_tried, was_tried];
        let values = self.names.iter().zip([matched, invocations, failed, dead_letters]);
        let said = values.zip(is_said).filter(|(_, is_said)| *is_said).map(|(value, _)| value);
        points(origin, kind, said, at_ms)
    }
}

fn is_there(view: &View, name: &QualifiedName) -> bool {
    view.event_rule(name).is_some() || view.event_schedule(name).is_some()
}

/// Values of a bus, a rule or a schedule.
fn points<'a>(
    name: &QualifiedName,
    kind: &str,
    values: impl Iterator<Item = (&'a MetricName, u64)>,
    at_ms: u64,
) -> Vec<Point> {
    let Some(dimensions) = dimensions(kind, name) else { return vec![] };
    let point = |(metric, value): (&MetricName, u64)| {
        let of = MetricOf::Custom(name.namespace.clone());
        let series = SeriesId { of, metric: metric.clone(), dimensions: dimensions.clone() };
        Some((series, at_ms, Datum::of_value(value as f64)?))
    };
    values.filter_map(point).collect()
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
        let (sampler, orders) = (RuleSampler::new(), "default/orders".parse().unwrap());
        let names = |counts: &Counts| -> Vec<String> {
            let points = sampler.of_origin("rule", &orders, counts, 7);
            let of_rule = |(series, at_ms, _): &Point| {
                assert_eq!((series.dimensions.get("rule"), *at_ms), (Some("orders"), 7));
                series.metric.to_string()
            };
            points.iter().map(of_rule).collect()
        };
        let counts = Counts { matched: 2, invocations: 3, failed: 1, dead_letters: 0 };
        assert_eq!(names(&counts), RULE_METRICS);
        // What did not happen makes no series.
        assert_eq!(names(&Counts { matched: 1, ..Counts::default() }), ["MatchedEvents"]);
        assert_eq!(names(&Counts { invocations: 1, ..Counts::default() }), RULE_METRICS[1..]);
    }
}
