//! The metrics of buses: what they did since the platform started, and what waits.

use super::{Families, metric};
use crate::context::Context;
use prometheus::proto::MetricType;
use skiff_ports::buses::BusStats;

/// A metric of the buses: name, help, type, value.
type BusMetric = (&'static str, &'static str, MetricType, fn(&BusStats) -> u64);

const OF_BUSES: [BusMetric; 8] = [
    ("skiff_events_put_total", "Events that were put on buses.", MetricType::COUNTER, |stats| stats.events),
    ("skiff_events_matched_total", "Times that a rule took an event.", MetricType::COUNTER, |stats| {
        stats.matched
    }),
    ("skiff_event_deliveries_total", "Deliveries that targets took.", MetricType::COUNTER, |stats| {
        stats.delivered
    }),
    (
        "skiff_event_retries_total",
        "Deliveries that failed, and were tried again.",
        MetricType::COUNTER,
        |stats| stats.retried,
    ),
    (
        "skiff_event_dead_letters_total",
        "Deliveries that went to dead-letter queues.",
        MetricType::COUNTER,
        |stats| stats.dead_letters,
    ),
    (
        "skiff_event_deliveries_given_up_total",
        "Deliveries that nobody took, and no dead-letter queue.",
        MetricType::COUNTER,
        |stats| stats.given_up,
    ),
    (
        "skiff_event_deliveries_waiting",
        "Deliveries that wait for their turn or their next try.",
        MetricType::GAUGE,
        |stats| stats.waiting,
    ),
    (
        "skiff_event_deliveries_under_way",
        "Deliveries that a target is being tried with.",
        MetricType::GAUGE,
        |stats| stats.under_way,
    ),
];

/// Adds them.
pub(super) fn add(context: &Context, families: &mut Families) {
    let stats = context.buses.stats();
    for (name, help, kind, value) in OF_BUSES {
        families.add(name, help, kind, metric(&[], kind, value(&stats) as f64));
    }
}
