//! The metrics of the load balancer: of listeners, rules, target groups and the addresses in them, from the ledger's meters;
//! and how many of a group's targets are in which state.
//!
//! Responses are apart by who made them, `origin`: a target, or the load balancer itself. What nothing was counted at has no
//! series.

use super::{Families, histogram, metric};
use crate::context::Context;
use prometheus::proto::MetricType;
use skiff_ledger::{HistogramTotals, MeterTotals, StatusClass};
use skiff_ports::balancer::Metered;
use skiff_types::{QualifiedName, TargetStatus};
use std::collections::{BTreeMap, BTreeSet};

/// What a metric is read from; a counter of 0, and a histogram of nothing, has no series yet.
enum Reading {
    Counter(fn(&MeterTotals) -> u64),
    Gauge(fn(&MeterTotals) -> u64),
    Histogram(fn(&MeterTotals) -> &HistogramTotals),
    /// By origin and class of status.
    Responses,
}

/// A metric: name, help, and what it is read from.
type MeterMetric = (&'static str, &'static str, Reading);

const OF_LISTENER: &[MeterMetric] = &[
    (
        "skiff_listener_requests_total",
        "Requests of a listener that have ended.",
        Reading::Counter(|totals| totals.requests),
    ),
    (
        "skiff_listener_responses_total",
        "Responses at a listener, by who made them and class of status.",
        Reading::Responses,
    ),
    (
        "skiff_listener_rejected_total",
        "Requests of a listener that were refused because there were too many.",
        Reading::Counter(|totals| totals.rejected),
    ),
    (
        "skiff_listener_connections",
        "Connections to a listener that are open.",
        Reading::Gauge(|totals| totals.connections),
    ),
    (
        "skiff_listener_connections_total",
        "Connections to a listener that were opened.",
        Reading::Counter(|totals| totals.connections_total),
    ),
    (
        "skiff_listener_received_bytes_total",
        "Bytes that clients of a listener sent, without the heads of requests.",
        Reading::Counter(|totals| totals.received_bytes),
    ),
    (
        "skiff_listener_sent_bytes_total",
        "Bytes that clients of a listener were sent, without the heads of responses.",
        Reading::Counter(|totals| totals.sent_bytes),
    ),
];

const OF_RULE: &[MeterMetric] = &[
    (
        "skiff_rule_requests_total",
        "Requests that a rule took, when they ended.",
        Reading::Counter(|totals| totals.requests),
    ),
    (
        "skiff_rule_responses_total",
        "Responses to what a rule took, by who made them and class of status.",
        Reading::Responses,
    ),
    (
        "skiff_rule_rejected_total",
        "Requests that a rule took and that were refused because there were too many.",
        Reading::Counter(|totals| totals.rejected),
    ),
];

const OF_GROUP: &[MeterMetric] = &[
    (
        "skiff_target_group_requests_total",
        "Requests that were for a target group, when they ended.",
        Reading::Counter(|totals| totals.requests),
    ),
    (
        "skiff_target_group_responses_total",
        "Responses to requests for a target group, by who made them and class of status.",
        Reading::Responses,
    ),
    (
        "skiff_target_group_target_response_seconds",
        "From when a request was on its way to a target of the group until the answer began.",
        Reading::Histogram(|totals| &totals.target_response_time),
    ),
    (
        "skiff_target_group_requests_in_flight",
        "Requests for a target group that have not ended.",
        Reading::Gauge(|totals| totals.outstanding),
    ),
    (
        "skiff_target_group_connections",
        "Connections of TCP listeners to a target group that are open.",
        Reading::Gauge(|totals| totals.connections),
    ),
    (
        "skiff_target_group_connections_total",
        "Connections of TCP listeners to a target group that were opened.",
        Reading::Counter(|totals| totals.connections_total),
    ),
    (
        "skiff_target_group_target_errors_total",
        "Connections to targets of a group that failed or broke.",
        Reading::Counter(|totals| totals.target_errors),
    ),
    (
        "skiff_target_group_retries_total",
        "Requests for a target group that were sent again, to another target.",
        Reading::Counter(|totals| totals.retries),
    ),
    (
        "skiff_target_group_rejected_total",
        "Requests for a target group that were refused because there were too many.",
        Reading::Counter(|totals| totals.rejected),
    ),
    (
        "skiff_target_group_ejections_total",
        "Targets of a group that were left out for a while because of what their answers were like.",
        Reading::Counter(|totals| totals.ejections),
    ),
];

const OF_TARGET: &[MeterMetric] = &[(
    "skiff_target_requests_total",
    "Requests that an address of a target group was asked, when they ended.",
    Reading::Counter(|totals| totals.requests),
)];

/// Adds all of them.
pub(super) fn add(context: &Context, families: &mut Families) {
    let metered = context.accounts.by_metered();
    let groups: BTreeSet<&QualifiedName> = metered.keys().filter_map(group_of).collect();
    for group in groups {
        add_hosts(context, families, group);
    }
    for (metered, totals) in &metered {
        let of_group = |group: &QualifiedName| {
            let namespace = ("namespace", group.namespace.to_string());
            vec![namespace, ("target_group", group.name.to_string())]
        };
        match metered {
            Metered::Listener(name) => {
                families.add_metered(OF_LISTENER, vec![("listener", name.to_string())], totals);
            }
            Metered::Rule(rule) => {
                let namespace = ("namespace", rule.namespace.to_string());
                families.add_metered(OF_RULE, vec![namespace, ("rule", rule.name.to_string())], totals);
            }
            Metered::Group(group) => families.add_metered(OF_GROUP, of_group(group), totals),
            Metered::Target { group, target } => {
                let labels = [of_group(group), vec![("target", target.to_string())]].concat();
                families.add_metered(OF_TARGET, labels, totals);
            }
        }
    }
}

/// The target group that something is of, if it is of one.
fn group_of(metered: &Metered) -> Option<&QualifiedName> {
    match metered {
        Metered::Group(group) | Metered::Target { group, .. } => Some(group),
        Metered::Listener(_) | Metered::Rule(_) => None,
    }
}

/// How many targets of a group are in which state; of states that none is in, those that it is watched for.
fn add_hosts(context: &Context, families: &mut Families, group: &QualifiedName) {
    let mut counts = BTreeMap::from([(TargetStatus::Healthy, 0_u32), (TargetStatus::Unhealthy, 0)]);
    for reading in context.runtime.target_health(group) {
        *counts.entry(reading.health.status).or_default() += 1;
    }
    for (status, count) in counts {
        let labels = [
            ("namespace", group.namespace.to_string()),
            ("target_group", group.name.to_string()),
            ("state", status.to_string()),
        ];
        families.add(
            "skiff_target_group_hosts",
            "Targets of a target group, by their state.",
            MetricType::GAUGE,
            metric(&labels, MetricType::GAUGE, f64::from(count)),
        );
    }
}

impl Families {
    fn add_metered(
        &mut self,
        metrics: &'static [MeterMetric],
        mut labels: Vec<(&'static str, String)>,
        totals: &MeterTotals,
    ) {
        for (name, help, reading) in metrics {
            match reading {
                Reading::Counter(value) if value(totals) > 0 => {
                    let metric = metric(&labels, MetricType::COUNTER, value(totals) as f64);
                    self.add(name, help, MetricType::COUNTER, metric);
                }
                Reading::Counter(_) => {}
                Reading::Gauge(value) => {
                    let metric = metric(&labels, MetricType::GAUGE, value(totals) as f64);
                    self.add(name, help, MetricType::GAUGE, metric);
                }
                Reading::Histogram(value) if value(totals).count() > 0 => {
                    self.add(name, help, MetricType::HISTOGRAM, histogram(&labels, value(totals)));
                }
                Reading::Histogram(_) => {}
                Reading::Responses => {
                    for (origin, counts) in
                        [("target", &totals.target_responses), ("balancer", &totals.balancer_responses)]
                    {
                        let classes = StatusClass::ALL.into_iter().zip(counts);
                        for (class, count) in classes.filter(|(_, count)| **count > 0) {
                            labels.push(("origin", origin.to_owned()));
                            labels.push(("class", class.label().to_owned()));
                            let metric = metric(&labels, MetricType::COUNTER, *count as f64);
                            self.add(name, help, MetricType::COUNTER, metric);
                            labels.truncate(labels.len() - 2);
                        }
                    }
                }
            }
        }
    }
}
