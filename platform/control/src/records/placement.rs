//! The record of where a service's tasks may run; constraints and strategies are written as their users write them.

use serde::{Deserialize, Serialize};
use skiff_types::{Placement, PlacementConstraint, PlacementStrategy, SchedulingStrategy};

/// Where tasks may run, and where they had better.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct PlacementRecord {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    constraints: Vec<PlacementConstraint>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    strategies: Vec<PlacementStrategy>,
    #[serde(default, skip_serializing_if = "is_default")]
    scheduling: SchedulingStrategy,
}

impl PlacementRecord {
    /// Whether nothing is said, as in all that older versions wrote.
    pub(crate) fn is_nothing(&self) -> bool {
        self.constraints.is_empty() && self.strategies.is_empty() && is_default(&self.scheduling)
    }
}

fn is_default(scheduling: &SchedulingStrategy) -> bool {
    *scheduling == SchedulingStrategy::default()
}

impl From<Placement> for PlacementRecord {
    fn from(Placement { constraints, strategies, scheduling }: Placement) -> Self {
        Self { constraints, strategies, scheduling }
    }
}

impl From<PlacementRecord> for Placement {
    fn from(PlacementRecord { constraints, strategies, scheduling }: PlacementRecord) -> Self {
        Self { constraints, strategies, scheduling }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        let placement = Placement {
            constraints: vec!["memberOf(attribute:zone == a)".parse().unwrap()],
            strategies: vec!["spread(attribute:zone)".parse().unwrap(), "binpack(memory)".parse().unwrap()],
            scheduling: SchedulingStrategy::Replica,
        };
        let written = r#"{"constraints":["memberOf(attribute:zone == a)"],"strategies":["spread(attribute:zone)","binpack(memory)"]}"#;
        assert_eq!(serde_json::to_string(&PlacementRecord::from(placement.clone())).unwrap(), written);
        let read: PlacementRecord = serde_json::from_str(written).unwrap();
        assert_eq!(Placement::from(read), placement);
        let daemon = Placement { scheduling: SchedulingStrategy::Daemon, ..Placement::default() };
        let record = PlacementRecord::from(daemon.clone());
        assert!(!record.is_nothing());
        assert_eq!(serde_json::to_string(&record).unwrap(), r#"{"scheduling":"DAEMON"}"#);
        assert_eq!(Placement::from(record), daemon);
        assert!(PlacementRecord::from(Placement::default()).is_nothing());
    }
}
