//! What queues hold and do, as series: custom ones of their namespace, with the dimension `queue`, under SQS's names; so that
//! whatever follows custom metrics (alarms, target tracking) follows queues.
//!
//! It deliberately keeps no values, and asks the engine for sums alone. What always holds: of a queue that holds nothing and does
//! nothing the points end after a while, [`ACTIVE_MS`], so that idle queues cost no disk; they are zeros until then, since who
//! scales by them has to see that there is nothing to do any more. After a start of the platform each queue counts as active, so
//! that a restart hides from nobody that a queue is empty.

use crate::catalog::queue_ref;
use crate::context::Context;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::QueueStats;
use skiff_types::{
    Datum, Dimensions, MetricName, MetricOf, QUEUE_METRICS, QualifiedName, Resolution, ResourceId, SeriesId,
};
use std::collections::BTreeMap;
use tracing::warn;

/// Points go on for this long after a queue last held or did anything, in milliseconds.
const ACTIVE_MS: u64 = 15 * 60_000;
/// The most seconds between two looks that get points of their own: beyond, a clock was set.
const SECONDS_MAX: u64 = 30;
/// Milliseconds between two warnings that there is no room for more series.
const WARNING_PAUSE_MS: u64 = 60_000;

/// What is measured of a queue.
const NAMES: [&str; QUEUE_METRICS.len()] = QUEUE_METRICS;
/// How many of them, from the first, are what is at a moment; the others are what came since the last look.
const GAUGES: usize = 5;

/// What was counted when it was last looked at.
pub(crate) struct QueueSampler {
    looked_at_ms: u64,
    seen: BTreeMap<ResourceId, Seen>,
    names: [MetricName; NAMES.len()],
    warned_ms: Option<u64>,
}

/// A queue's counters as they were, and until when its points go on.
struct Seen {
    stats: QueueStats,
    active_until_ms: u64,
}

impl QueueSampler {
    /// One that begins at `now_ms`.
    ///
    /// # Panics
    /// Never: the names are names.
    pub(crate) fn new(now_ms: u64) -> Self {
        let names = NAMES.map(|name| name.parse().expect("a metric's name"));
        Self { looked_at_ms: now_ms, seen: BTreeMap::new(), names, warned_ms: None }
    }

    /// Looks at all queues, and puts what they hold into the seconds that ended since the last look. What was sent, received and
    /// deleted since is of the last of these.
    pub(crate) fn look(&mut self, context: &Context) {
        let now_ms = context.now_ms();
        let second_ms = Resolution::Second.span_ms();
        let seconds = (now_ms.saturating_sub(self.looked_at_ms) / second_ms).clamp(1, SECONDS_MAX);
        self.looked_at_ms = now_ms;
        let queues: Vec<QueueRef> = context.objects.read(|view| {
            let names = view.data.queues.all().map(|held| &held.value.spec.spec.name);
            names.filter_map(|name| queue_ref(view, name)).collect()
        });
        let mut seen = BTreeMap::new();
        for queue in queues {
            let stats = context.queues.stats(&queue);
            let before = self.seen.remove(&queue.id);
            let active_until_ms = active_until_ms(before.as_ref(), &stats, now_ms);
            if active_until_ms > now_ms {
                let before = before.map_or_else(QueueStats::default, |seen| seen.stats);
                let values = values(&before, &stats, now_ms);
                self.put(context, &queue.spec.name, &values, seconds, now_ms);
            }
            seen.insert(queue.id, Seen { stats, active_until_ms });
        }
        // Of a queue that is gone nothing is remembered.
        self.seen = seen;
    }

    fn put(
        &mut self,
        context: &Context,
        queue: &QualifiedName,
        values: &[f64; NAMES.len()],
        seconds: u64,
        now_ms: u64,
    ) {
        let Some(dimensions) = dimensions(queue) else { return };
        let mut points = Vec::with_capacity(NAMES.len() * seconds as usize);
        for ago in (0..seconds).rev() {
            let at_ms = now_ms.saturating_sub((ago + 1) * Resolution::Second.span_ms());
            for (place, (metric, value)) in self.names.iter().zip(values).enumerate() {
                let value = if place < GAUGES || ago == 0 { *value } else { 0.0 };
                let of = MetricOf::Custom(queue.namespace.clone());
                let series = SeriesId { of, metric: metric.clone(), dimensions: dimensions.clone() };
                points.extend(Datum::of_value(value).map(|datum| (series, at_ms, datum)));
            }
        }
        let is_due = self.warned_ms.is_none_or(|warned_ms| now_ms.abs_diff(warned_ms) >= WARNING_PAUSE_MS);
        if let Err(error) = context.series.put_counted(&points)
            && is_due
        {
            self.warned_ms = Some(now_ms);
            warn!(%queue, %error, "what the queue holds is not among the metrics");
        }
    }
}

/// Until when points of a queue go on, that is so now and was seen so before.
fn active_until_ms(before: Option<&Seen>, stats: &QueueStats, now_ms: u64) -> u64 {
    let holds = stats.visible + stats.in_flight + stats.delayed > 0;
    let is_active = before.is_none_or(|seen| seen.stats != *stats);
    match before {
        Some(seen) if !holds && !is_active => seen.active_until_ms,
        Some(_) | None => now_ms.saturating_add(ACTIVE_MS),
    }
}

/// What is said of a queue, in the order of [`NAMES`].
fn values(before: &QueueStats, stats: &QueueStats, now_ms: u64) -> [f64; NAMES.len()] {
    let age_ms = stats.oldest_sent_at_ms.map_or(0, |sent_at_ms| now_ms.saturating_sub(sent_at_ms));
    [
        stats.visible as f64,
        stats.in_flight as f64,
        stats.delayed as f64,
        age_ms as f64 / 1_000.0,
        (stats.visible + stats.in_flight) as f64,
        stats.sent.saturating_sub(before.sent) as f64,
        stats.received.saturating_sub(before.received) as f64,
        stats.deleted.saturating_sub(before.deleted) as f64,
    ]
}

fn dimensions(queue: &QualifiedName) -> Option<Dimensions> {
    let dimension = ("queue".parse().ok()?, queue.name.to_string());
    Dimensions::new(BTreeMap::from([dimension])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_queue_is_what_it_holds_and_what_came_since() {
        let before = QueueStats { sent: 10, received: 8, deleted: 7, ..QueueStats::default() };
        let stats = QueueStats {
            visible: 3,
            in_flight: 2,
            delayed: 1,
            oldest_sent_at_ms: Some(4_500),
            sent: 14,
            received: 9,
            deleted: 7,
        };
        assert_eq!(values(&before, &stats, 6_000), [3.0, 2.0, 1.0, 1.5, 5.0, 4.0, 1.0, 0.0]);
        assert_eq!(values(&stats, &before, 6_000)[5], 0.0, "a counter that went back counts nothing");
        let dimensions = dimensions(&"default/orders".parse().unwrap()).unwrap();
        assert_eq!(dimensions.get("queue"), Some("orders"));
        QueueSampler::new(0);
    }

    #[test]
    fn points_end_a_while_after_a_queue_did_anything() {
        let idle = QueueStats { sent: 5, ..QueueStats::default() };
        assert_eq!(active_until_ms(None, &idle, 1_000), 1_000 + ACTIVE_MS, "as after a restart");
        let seen = Seen { stats: idle, active_until_ms: 7_000 };
        assert_eq!(active_until_ms(Some(&seen), &idle, 2_000), 7_000);
        let sent = QueueStats { sent: 6, ..idle };
        assert_eq!(active_until_ms(Some(&seen), &sent, 2_000), 2_000 + ACTIVE_MS);
        let full = QueueStats { visible: 1, ..idle };
        let still = Seen { stats: full, active_until_ms: 7_000 };
        assert_eq!(active_until_ms(Some(&still), &full, 8_000), 8_000 + ACTIVE_MS);
    }
}
