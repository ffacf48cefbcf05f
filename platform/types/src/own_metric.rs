//! What Skiff itself measures and puts among the custom metrics of a namespace, so that alarms and scaling can follow it: of queues,
//! of buses, and of what rules and schedules lead to. Nobody else puts values under these names with these dimensions.
//!
//! It deliberately reserves neither the names nor the dimensions alone: `queue/depth` of `queue=mails` is anybody's.

use crate::{Dimensions, MetricName, SeriesId};

/// The dimension that says of which queue a metric is.
const OF_QUEUES: [&str; 1] = ["queue"];
/// The dimensions that say of which rule or schedule.
const OF_RULES: [&str; 2] = ["rule", "schedule"];
/// The dimension that says of which bus.
const OF_BUSES: [&str; 1] = ["bus"];

/// What is measured of a queue, by SQS's names; but `Backlog`, which is what has yet to be done: in sight and in flight. The first
/// five are what is at a moment.
pub const QUEUE_METRICS: [&str; 8] = [
    "ApproximateNumberOfMessagesVisible",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateAgeOfOldestMessage",
    "Backlog",
    "NumberOfMessagesSent",
    "NumberOfMessagesReceived",
    "NumberOfMessagesDeleted",
];

/// What is measured of a rule or a schedule, by EventBridge's names.
pub const RULE_METRICS: [&str; 4] =
    ["MatchedEvents", "Invocations", "FailedInvocations", "DeadLetterInvocations"];

/// What is measured of a bus.
pub const BUS_METRICS: [&str; 1] = ["EventsPut"];

/// The dimension by which values under this name would be taken for what Skiff itself measures; none where nobody can mistake them.
pub fn own_dimension(metric: &MetricName, dimensions: &Dimensions) -> Option<&'static str> {
    let is_among = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(metric.as_str()));
    let of_queues = OF_QUEUES.iter().filter(|_| is_among(&QUEUE_METRICS));
    let of_rules = OF_RULES.iter().filter(|_| is_among(&RULE_METRICS));
    let of_buses = OF_BUSES.iter().filter(|_| is_among(&BUS_METRICS));
    of_queues.chain(of_rules).chain(of_buses).copied().find(|dimension| dimensions.get(dimension).is_some())
}

impl SeriesId {
    /// As [`own_dimension`].
    pub fn own_dimension(&self) -> Option<&'static str> {
        own_dimension(&self.metric, &self.dimensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_reserved_with_its_dimension_alone_however_it_is_written() {
        let own = |metric: &str, dimensions: &str| {
            own_dimension(&metric.parse().unwrap(), &dimensions.parse().unwrap())
        };
        assert_eq!(own("Backlog", "queue=orders"), Some("queue"));
        assert_eq!(own("backlog", "queue=orders,service=shop,zone=a"), Some("queue"));
        assert_eq!(own("FailedInvocations", "rule=placed"), Some("rule"));
        assert_eq!(own("Invocations", "schedule=nightly"), Some("schedule"));
        assert_eq!(own("EventsPut", "bus=shop"), Some("bus"));
        for (metric, dimensions) in [
            ("Backlog", "zone=a"),
            ("queue/depth", "queue=mails"),
            ("Invocations", "queue=mails"),
            ("Backlog", ""),
        ] {
            assert_eq!(own(metric, dimensions), None, "{metric} {dimensions}");
        }
        for name in QUEUE_METRICS {
            assert_eq!(own(name, "queue=orders"), Some("queue"), "{name}");
        }
        for name in RULE_METRICS {
            assert_eq!(own(name, "rule=placed"), Some("rule"), "{name}");
        }
    }
}
