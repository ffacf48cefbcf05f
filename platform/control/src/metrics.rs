//! The metrics, in Prometheus's text format, made from the ledger's sums when they are asked for.
//!
//! Names and units follow <https://prometheus.io/docs/practices/naming/>. Nothing is registered or kept: a series is
//! there once there is something to count, so a service that nobody calls has none. Those of the load balancer are in
//! [`balancer`].

mod balancer;
mod buses;
mod queues;
mod s3;

use crate::bill::SinceStart;
use crate::context::Context;
use crate::error::ApiError;
use crate::meters::{Owner, WorkerReading};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use skiff_ledger::{BUCKETS_US, HistogramTotals, StatusClass, Totals};
use skiff_types::TaskStatus;
use std::collections::BTreeMap;

/// What a metric of a service is read from; one that is `None` has no series yet.
enum Reading {
    Counter(fn(&Totals) -> f64),
    Gauge(fn(&Totals) -> f64),
    Histogram(fn(&Totals) -> &HistogramTotals),
}

/// Upper bounds of the buckets of histograms, in microseconds; all are bounds of the ledger's, which has more of them.
const BOUNDS_US: [u64; 19] = [
    10, 20, 35, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000,
    2_500_000, 10_000_000,
];

/// A metric of a service: name, help, a label of its own where several share a name, and what it is read from.
type OwnerMetric = (&'static str, &'static str, Option<(&'static str, &'static str)>, Reading);

/// The metrics of a service; all have its namespace and name as labels.
const BY_OWNER: &[OwnerMetric] = &[
    (
        "skiff_request_duration_seconds",
        "From a request's head to its response's last byte.",
        None,
        Reading::Histogram(|totals| &totals.request_duration),
    ),
    (
        "skiff_cold_start_seconds",
        "Stages of cold starts: code loaded, sandbox instantiated, first byte answered.",
        Some(("stage", "load")),
        Reading::Histogram(|totals| &totals.cold_start_load),
    ),
    (
        "skiff_cold_start_seconds",
        "",
        Some(("stage", "instantiate")),
        Reading::Histogram(|totals| &totals.cold_start_instantiate),
    ),
    (
        "skiff_cold_start_seconds",
        "",
        Some(("stage", "first_byte")),
        Reading::Histogram(|totals| &totals.cold_start_first_byte),
    ),
    (
        "skiff_cpu_seconds_total",
        "CPU time in guests and their host calls.",
        None,
        Reading::Counter(|totals| seconds(totals.cpu_ns)),
    ),
    (
        "skiff_throttled_seconds_total",
        "Time that guests were held back by their CPU units.",
        None,
        Reading::Counter(|totals| seconds(totals.throttled_ns)),
    ),
    (
        "skiff_memory_bytes",
        "Memory that sandboxes hold.",
        None,
        Reading::Gauge(|totals| totals.memory_bytes as f64),
    ),
    (
        "skiff_memory_byte_seconds_total",
        "Memory that sandboxes held, times how long.",
        None,
        Reading::Counter(|totals| totals.memory_byte_seconds()),
    ),
    ("skiff_sandboxes", "Sandboxes alive.", None, Reading::Gauge(|totals| totals.sandboxes as f64)),
    (
        "skiff_sandboxes_drawn_total",
        "Sandboxes drawn from the pool: the cold starts of the bill.",
        None,
        Reading::Counter(|totals| totals.sandboxes_drawn as f64),
    ),
    (
        "skiff_requests_in_flight",
        "Requests that have a sandbox.",
        None,
        Reading::Gauge(|totals| totals.in_flight as f64),
    ),
    (
        "skiff_requests_queued",
        "Requests that wait for a sandbox.",
        None,
        Reading::Gauge(|totals| totals.queued as f64),
    ),
    (
        "skiff_requests_refused_total",
        "Requests refused because a task and its queue were full.",
        None,
        Reading::Counter(|totals| totals.refused as f64),
    ),
    ("skiff_traps_total", "Guests that trapped.", None, Reading::Counter(|totals| totals.traps as f64)),
    (
        "skiff_timeouts_total",
        "Requests that ran out of time.",
        None,
        Reading::Counter(|totals| totals.timeouts as f64),
    ),
    (
        "skiff_out_of_memory_total",
        "Guests that were refused memory.",
        None,
        Reading::Counter(|totals| totals.out_of_memory as f64),
    ),
    (
        "skiff_log_dropped_bytes_total",
        "Output of guests dropped because it came too fast.",
        None,
        Reading::Counter(|totals| totals.log_bytes_dropped as f64),
    ),
    (
        "skiff_request_body_bytes_total",
        "Bytes of request bodies.",
        None,
        Reading::Counter(|totals| totals.received_bytes as f64),
    ),
    (
        "skiff_response_body_bytes_total",
        "Bytes of response bodies.",
        None,
        Reading::Counter(|totals| totals.sent_bytes as f64),
    ),
    (
        "skiff_network_sent_bytes_total",
        "Bytes that network interfaces sent.",
        None,
        Reading::Counter(|totals| totals.net_sent_bytes as f64),
    ),
    (
        "skiff_network_received_bytes_total",
        "Bytes that network interfaces received.",
        None,
        Reading::Counter(|totals| totals.net_received_bytes as f64),
    ),
    (
        "skiff_network_connections_total",
        "Connections that network interfaces opened or took.",
        None,
        Reading::Counter(|totals| totals.net_connections as f64),
    ),
    (
        "skiff_network_connections_open",
        "Connections of network interfaces that are open.",
        None,
        Reading::Gauge(|totals| totals.net_open as f64),
    ),
    (
        "skiff_network_denied_total",
        "Attempts to connect that no rule allowed, and connections cut because none does any more.",
        None,
        Reading::Counter(|totals| totals.net_denied as f64),
    ),
];

/// A metric of a worker: name, help, type, value.
type WorkerMetric = (&'static str, &'static str, MetricType, fn(&WorkerReading) -> f64);

const BY_WORKER: &[WorkerMetric] = &[
    ("skiff_worker_cpu_seconds_total", "CPU time of the worker's process.", MetricType::COUNTER, |worker| {
        worker.cpu_seconds
    }),
    (
        "skiff_worker_platform_cpu_seconds_total",
        "CPU time in the worker's place that no task can be charged with.",
        MetricType::COUNTER,
        |worker| worker.platform_cpu_seconds,
    ),
    ("skiff_worker_memory_bytes", "Resident memory of the worker.", MetricType::GAUGE, |worker| {
        worker.memory_bytes as f64
    }),
    ("skiff_worker_restarts_total", "Deaths of the worker in this place.", MetricType::COUNTER, |worker| {
        worker.restarts as f64
    }),
    ("skiff_worker_connections", "Connections that the worker holds.", MetricType::GAUGE, |worker| {
        worker.connections as f64
    }),
    ("skiff_worker_requests_total", "Requests taken in this place.", MetricType::COUNTER, |worker| {
        worker.requests as f64
    }),
    (
        "skiff_worker_mapped_components",
        "Components whose native code the worker has mapped.",
        MetricType::GAUGE,
        |worker| worker.mapped_components as f64,
    ),
    (
        "skiff_worker_mapped_code_bytes",
        "Native code that the worker has mapped.",
        MetricType::GAUGE,
        |worker| worker.mapped_code_bytes as f64,
    ),
    (
        "skiff_worker_pool_kept_bytes",
        "Memory that idle slots of the worker's pool keep at most for sandboxes to come.",
        MetricType::GAUGE,
        |worker| worker.pool_kept_bytes as f64,
    ),
];

/// All metrics as text.
pub(crate) fn render(context: &Context) -> Result<String, ApiError> {
    let mut families = Families::default();
    for (owner, totals) in context.accounts.by_owner() {
        if totals != Totals::default() {
            families.add_owner(&owner, &totals);
        }
    }
    balancer::add(context, &mut families);
    queues::add(context, &mut families);
    s3::add(context, &mut families);
    families.add(
        "skiff_guest_calls_denied_total",
        "Calls of guests for tables, buckets, queues and buses that their task's role did not allow.",
        MetricType::COUNTER,
        metric(&[], MetricType::COUNTER, context.denials.count() as f64),
    );
    buses::add(context, &mut families);
    let node = context.accounts.node();
    for worker in &node.workers {
        let labels = [("worker", worker.index.to_string())];
        for (name, help, kind, value) in BY_WORKER {
            families.add(name, help, *kind, metric(&labels, *kind, value(worker)));
        }
    }
    let supervisor = [
        (
            "skiff_supervisor_cpu_seconds_total",
            "CPU time of the supervisor.",
            MetricType::COUNTER,
            node.cpu_seconds,
        ),
        (
            "skiff_supervisor_memory_bytes",
            "Resident memory of the supervisor.",
            MetricType::GAUGE,
            node.memory_bytes as f64,
        ),
        (
            "skiff_supervisor_log_lines_lost_total",
            "Lines of guests that were lost because the disk was slower than they came.",
            MetricType::COUNTER,
            node.log_lines_lost as f64,
        ),
        (
            "skiff_supervisor_flow_records_lost_total",
            "Records of the flow log that were lost because they came faster than they could be kept.",
            MetricType::COUNTER,
            node.flow_records_lost as f64,
        ),
        (
            "skiff_spans_dropped_total",
            "Requests whose spans were dropped: there was no room, or no collector that takes them.",
            MetricType::COUNTER,
            node.spans_dropped as f64,
        ),
        (
            "skiff_guest_metric_values_dropped_total",
            "Values that guests put for metrics of their own and that were dropped: there was no room for more series or values.",
            MetricType::COUNTER,
            context.series.values_dropped() as f64,
        ),
        (
            "skiff_services",
            "Services that there are.",
            MetricType::GAUGE,
            context.objects.read(|view| view.services.all().count()) as f64,
        ),
    ];
    for (name, help, kind, value) in supervisor {
        families.add(name, help, kind, metric(&[], kind, value));
    }
    let SinceStart { platform, total } = context.bill.since_start();
    let used = [
        (
            "skiff_node_cpu_seconds_total",
            "CPU time of all the platform's processes, by the kernel: that of tasks and of the platform.",
            total.cpu_seconds(),
        ),
        (
            "skiff_platform_cpu_seconds_total",
            "CPU time that no task is charged with.",
            platform.cpu_seconds(),
        ),
        (
            "skiff_platform_requests_total",
            "Requests answered for no task: no service takes them, or it has no task.",
            platform.requests as f64,
        ),
        (
            "skiff_platform_response_body_bytes_total",
            "Bytes of the bodies of those answers.",
            platform.sent_bytes as f64,
        ),
    ];
    for (name, help, value) in used {
        families.add(name, help, MetricType::COUNTER, metric(&[], MetricType::COUNTER, value));
    }
    for (status, count) in tasks_by_status(context) {
        let labels = [("status", status.as_str().to_owned())];
        families.add(
            "skiff_tasks",
            "Tasks by status.",
            MetricType::GAUGE,
            metric(&labels, MetricType::GAUGE, count),
        );
    }
    families.encode()
}

fn tasks_by_status(context: &Context) -> BTreeMap<TaskStatus, f64> {
    context.objects.read(|view| {
        let mut counts = BTreeMap::new();
        for held in view.tasks.all() {
            *counts.entry(held.value.task.status).or_default() += 1.0;
        }
        counts
    })
}

/// Metric families by name, in the order of their names.
#[derive(Default)]
struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    fn add(&mut self, name: &'static str, help: &'static str, kind: MetricType, metric: Metric) {
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }

    fn add_owner(&mut self, owner: &Owner, totals: &Totals) {
        // The families of one-off tasks stand beside services; no service's name has a colon.
        let service = match owner.in_service {
            true => owner.name.name.to_string(),
            false => format!("family:{}", owner.name.name),
        };
        let mut labels = vec![("namespace", owner.name.namespace.to_string()), ("service", service)];
        for class in StatusClass::ALL {
            let count = totals.responses[class as usize];
            if count > 0 {
                labels.push(("code_class", class.label().to_owned()));
                let metric = metric(&labels, MetricType::COUNTER, count as f64);
                self.add(
                    "skiff_requests_total",
                    "Responses by class of status.",
                    MetricType::COUNTER,
                    metric,
                );
                labels.pop();
            }
        }
        for (name, help, own_label, reading) in BY_OWNER {
            let own = own_label.map(|(label, value)| (label, value.to_owned()));
            let has_own = own.is_some();
            labels.extend(own);
            match reading {
                Reading::Counter(value) if value(totals) > 0.0 => {
                    let metric = metric(&labels, MetricType::COUNTER, value(totals));
                    self.add(name, help, MetricType::COUNTER, metric);
                }
                Reading::Counter(_) => {}
                Reading::Gauge(value) => {
                    let metric = metric(&labels, MetricType::GAUGE, value(totals));
                    self.add(name, help, MetricType::GAUGE, metric);
                }
                Reading::Histogram(value) if value(totals).count() > 0 => {
                    self.add(name, help, MetricType::HISTOGRAM, histogram(&labels, value(totals)));
                }
                Reading::Histogram(_) => {}
            }
            if has_own {
                labels.pop();
            }
        }
    }

    fn encode(self) -> Result<String, ApiError> {
        let families: Vec<MetricFamily> = self.0.into_values().collect();
        let mut text = Vec::new();
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "the metrics could not be written");
            ApiError::new(skiff_api::ErrorCode::Internal, "the metrics could not be written")
        };
        TextEncoder::new().encode(&families, &mut text).map_err(|error| failed(&error))?;
        String::from_utf8(text).map_err(|error| failed(&error))
    }
}

fn labelled(labels: &[(&str, String)]) -> Metric {
    let pair = |(name, value): &(&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.clone());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

fn metric(labels: &[(&str, String)], kind: MetricType, value: f64) -> Metric {
    let mut metric = labelled(labels);
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn histogram(labels: &[(&str, String)], totals: &HistogramTotals) -> Metric {
    let buckets = BOUNDS_US.map(|bound_us| {
        let within = BUCKETS_US.partition_point(|other_us| *other_us <= bound_us);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound_us as f64 / 1e6);
        bucket.set_cumulative_count(totals.buckets[..within].iter().sum());
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.into());
    histogram.set_sample_count(totals.count());
    histogram.set_sample_sum(seconds(totals.sum_ns));
    let mut metric = labelled(labels);
    metric.set_histogram(histogram);
    metric
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_histogram_are_bounds_that_the_ledger_has() {
        assert!(BOUNDS_US.iter().all(|bound_us| BUCKETS_US.contains(bound_us)));
        let mut totals = HistogramTotals::default();
        totals.buckets.fill(1);
        let metric = histogram(&[], &totals);
        let shown = metric.get_histogram().get_bucket();
        assert_eq!((shown[0].cumulative_count(), shown[1].cumulative_count()), (1, 3));
        assert_eq!(shown[shown.len() - 1].cumulative_count() as usize, BUCKETS_US.len());
        assert_eq!(metric.get_histogram().get_sample_count() as usize, BUCKETS_US.len() + 1);
    }
}
