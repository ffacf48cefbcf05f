//! The metrics of queues: what they hold, and what they did since the platform started.

use super::{Families, metric};
use crate::catalog::queue_ref;
use crate::context::Context;
use prometheus::proto::MetricType;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::QueueStats;

/// A metric of a queue: name, help, a label of its own where several share a name, type, value.
type QueueMetric = (&'static str, &'static str, Option<&'static str>, MetricType, fn(&QueueStats) -> u64);

const MESSAGES: &str = "skiff_queue_messages";
const MESSAGES_HELP: &str = "Messages that the queue holds: in sight, out with receivers, not in sight yet.";

const OF_QUEUE: [QueueMetric; 6] = [
    (MESSAGES, MESSAGES_HELP, Some("visible"), MetricType::GAUGE, |stats| stats.visible),
    (MESSAGES, MESSAGES_HELP, Some("in_flight"), MetricType::GAUGE, |stats| stats.in_flight),
    (MESSAGES, MESSAGES_HELP, Some("delayed"), MetricType::GAUGE, |stats| stats.delayed),
    ("skiff_queue_sent_total", "Messages that were sent to the queue.", None, MetricType::COUNTER, |stats| {
        stats.sent
    }),
    (
        "skiff_queue_received_total",
        "Receives of messages, each time that one was received.",
        None,
        MetricType::COUNTER,
        |stats| stats.received,
    ),
    (
        "skiff_queue_deleted_total",
        "Messages that were deleted by who received them.",
        None,
        MetricType::COUNTER,
        |stats| stats.deleted,
    ),
];

/// Adds those of all queues; a queue that holds nothing and did nothing has none.
pub(super) fn add(context: &Context, families: &mut Families) {
    let queues: Vec<QueueRef> = context.objects.read(|view| {
        let names = view.data.queues.all().map(|held| &held.value.spec.spec.name);
        names.filter_map(|name| queue_ref(view, name)).collect()
    });
    let now_ms = context.now_ms();
    for queue in queues {
        let stats = context.queues.stats(&queue);
        if stats == QueueStats::default() {
            continue;
        }
        let name = &queue.spec.name;
        let mut labels = vec![("namespace", name.namespace.to_string()), ("queue", name.name.to_string())];
        let age_ms = stats.oldest_sent_at_ms.map_or(0, |sent_at_ms| now_ms.saturating_sub(sent_at_ms));
        families.add(
            "skiff_queue_oldest_message_age_seconds",
            "How old the oldest message is of those in sight and out with receivers.",
            MetricType::GAUGE,
            metric(&labels, MetricType::GAUGE, age_ms as f64 / 1_000.0),
        );
        for (name, help, state, kind, value) in OF_QUEUE {
            labels.extend(state.map(|state| ("state", state.to_owned())));
            families.add(name, help, kind, metric(&labels, kind, value(&stats) as f64));
            if state.is_some() {
                labels.pop();
            }
        }
    }
}
