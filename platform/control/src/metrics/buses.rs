//! The metrics of buses: what they did since the platform started, together and by bus, rule and schedule, and what waits.
//!
//! A bus or a rule to which nothing came has none.

use super::{Families, metric};
use crate::context::Context;
use crate::targets::{Counted, Counts};
use prometheus::proto::MetricType;
use skiff_ports::buses::BusStats;
use skiff_types::QualifiedName;

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

/// A metric of a rule or a schedule: name, help, value.
type OriginMetric = (&'static str, &'static str, fn(&Counts) -> u64);

const OF_ORIGIN: [OriginMetric; 4] = [
    ("skiff_rule_matched_events_total", "Events that the rule took.", |counts| counts.matched),
    ("skiff_rule_invocations_total", "Tries to deliver what the rule or the schedule led to.", |counts| {
        counts.invocations
    }),
    ("skiff_rule_failed_invocations_total", "Those of these tries that failed.", |counts| counts.failed),
    (
        "skiff_rule_dead_letter_invocations_total",
        "Deliveries of the rule or the schedule that went to a dead-letter queue.",
        |counts| counts.dead_letters,
    ),
];

/// Adds them.
pub(super) fn add(context: &Context, families: &mut Families) {
    let stats = context.buses.stats();
    for (name, help, kind, value) in OF_BUSES {
        families.add(name, help, kind, metric(&[], kind, value(&stats) as f64));
    }
    context.invocations.add(context.buses.take_counts());
    let Counted { origins, put } = context.invocations.totals();
    for (bus, count) in put {
        let labels = labels("bus", &bus);
        let put = metric(&labels, MetricType::COUNTER, count as f64);
        families.add(
            "skiff_bus_events_put_total",
            "Events that were put on the bus.",
            MetricType::COUNTER,
            put,
        );
    }
    context.objects.read(|view| {
        for (origin, counts) in &origins {
            let kind = match (view.event_rule(origin), view.event_schedule(origin)) {
                (Some(_), _) => "rule",
                (None, Some(_)) => "schedule",
                // It is gone.
                (None, None) => continue,
            };
            let labels = labels(kind, origin);
            for (name, help, value) in OF_ORIGIN {
                let count = value(counts);
                if count > 0 {
                    families.add(
                        name,
                        help,
                        MetricType::COUNTER,
                        metric(&labels, MetricType::COUNTER, count as f64),
                    );
                }
            }
        }
    });
}

fn labels(kind: &'static str, name: &QualifiedName) -> [(&'static str, String); 2] {
    [("namespace", name.namespace.to_string()), (kind, name.name.to_string())]
}
