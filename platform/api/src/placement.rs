//! Where tasks may run, and the nodes that there are.

use crate::{InvalidSpec, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    AttributeName, AttributeValue, NodeCapacity, NodeId, OvercommitFactor, Placement as DomainPlacement,
    PlacementConstraint, PlacementStrategy, SchedulingStrategy,
};
use std::collections::BTreeMap;

/// Changes where tasks may run, for those that start from now on; what is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPlacement {
    /// What a node must be: all of these, 10 at most; none for any node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::PlacementConstraint>>")]
    pub constraints: Option<Vec<PlacementConstraint>>,
    /// Which of the nodes that come into question is taken, 5 at most: the first decides, and where it finds several as good,
    /// the next. With none, the one that has the most memory free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::PlacementStrategy>>")]
    pub strategies: Option<Vec<PlacementStrategy>>,
    /// Whether there are as many tasks as are desired, or one on each node that comes into question; of services alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::SchedulingStrategy>")]
    pub scheduling: Option<SchedulingStrategy>,
}

impl PutPlacement {
    /// What this makes of a placement; an error says what to do.
    pub fn over(&self, before: DomainPlacement) -> Result<DomainPlacement, InvalidSpec> {
        let after = DomainPlacement {
            constraints: self.constraints.clone().unwrap_or(before.constraints),
            strategies: self.strategies.clone().unwrap_or(before.strategies),
            scheduling: self.scheduling.unwrap_or(before.scheduling),
        };
        after.check()?;
        Ok(after)
    }
}

/// Where tasks may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// What a node must be: all of these.
    #[serde(default)]
    #[schemars(with = "Vec<text::PlacementConstraint>")]
    pub constraints: Vec<PlacementConstraint>,
    /// Which of the nodes that come into question is taken.
    #[serde(default)]
    #[schemars(with = "Vec<text::PlacementStrategy>")]
    pub strategies: Vec<PlacementStrategy>,
    /// How many tasks there are.
    #[serde(default)]
    #[schemars(with = "text::SchedulingStrategy")]
    pub scheduling: SchedulingStrategy,
}

impl Placement {
    /// Whether its user said nothing of it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<DomainPlacement> for Placement {
    fn from(DomainPlacement { constraints, strategies, scheduling }: DomainPlacement) -> Self {
        Self { constraints, strategies, scheduling }
    }
}

impl From<Placement> for DomainPlacement {
    fn from(Placement { constraints, strategies, scheduling }: Placement) -> Self {
        Self { constraints, strategies, scheduling }
    }
}

/// A host that runs tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its id.
    #[schemars(with = "text::NodeId")]
    pub id: NodeId,
    /// What it is, by name: what placement constraints ask, and strategies spread over.
    #[schemars(with = "BTreeMap<String, String>")]
    pub attributes: BTreeMap<AttributeName, AttributeValue>,
    /// What it has.
    pub capacity: NodeResources,
    /// How many times of its CPU units its tasks can take together.
    #[schemars(with = "text::OvercommitFactor")]
    pub overcommit_cpu: OvercommitFactor,
    /// How many times of its memory its tasks can take together.
    #[schemars(with = "text::OvercommitFactor")]
    pub overcommit_memory: OvercommitFactor,
    /// What its tasks can take together: what it has, times these factors.
    pub room: NodeResources,
    /// What they take, by what their definitions say.
    pub used: NodeResources,
    /// Whether it takes no new tasks, as it is about to go.
    pub draining: bool,
}

/// What a node has, or what tasks take of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeResources {
    /// CPU units: 1024 are one core.
    pub cpu_units: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Tasks.
    pub tasks: u32,
}

impl From<NodeCapacity> for NodeResources {
    fn from(NodeCapacity { cpu_units, memory, tasks }: NodeCapacity) -> Self {
        Self { cpu_units, memory_bytes: memory.bytes(), tasks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(request: serde_json::Value) -> PutPlacement {
        serde_json::from_value(request).unwrap()
    }

    #[test]
    fn what_is_left_out_stays() {
        let asked = json!({ "constraints": ["distinctInstance"], "strategies": ["spread(attribute:zone)"] });
        let both = put(asked).over(DomainPlacement::default()).unwrap();
        let packed = put(json!({ "strategies": ["binpack(memory)"] })).over(both.clone()).unwrap();
        assert_eq!(packed.constraints, both.constraints);
        assert_eq!(packed.strategies, ["binpack(memory)".parse().unwrap()]);
        let anywhere = put(json!({ "constraints": [] })).over(both.clone()).unwrap();
        assert_eq!((anywhere.constraints, anywhere.strategies), (vec![], both.strategies.clone()));
        assert_eq!(PutPlacement::default().over(both.clone()).unwrap(), both);
        assert_eq!(DomainPlacement::from(Placement::from(both.clone())), both);
    }

    #[test]
    fn what_no_tasks_can_have_is_refused() {
        let error = put(json!({ "scheduling": "DAEMON", "strategies": ["random"] }))
            .over(DomainPlacement::default())
            .unwrap_err();
        assert!(error.to_string().contains("leave out the placement strategies"), "{error}");
        let unknown = json!({ "constraint": [] });
        assert!(serde_json::from_value::<PutPlacement>(unknown).is_err());
    }
}
