//! The nodes port: which hosts there are that tasks may be placed on.
//!
//! It deliberately says nothing of what runs there, which is `control`'s to know, nor how long a node may be silent before it
//! counts as gone: who implements it decides that, and then leaves the node out.

use skiff_types::NodeSpec;
use std::sync::Arc;
use tokio::sync::watch;

/// Knows the nodes.
pub trait Nodes: Send + Sync {
    /// The nodes that tasks may be placed on, each once, as of now and whenever they change. One that is left out is gone, and
    /// all that ran there with it; one that is to go first finishes what it has while it is marked as draining.
    fn watch(&self) -> watch::Receiver<Arc<Vec<NodeSpec>>>;
}

/// Nodes that never change.
#[derive(Debug)]
pub struct FixedNodes(watch::Sender<Arc<Vec<NodeSpec>>>);

impl FixedNodes {
    /// These nodes.
    pub fn new(nodes: Vec<NodeSpec>) -> Self {
        Self(watch::Sender::new(Arc::new(nodes)))
    }
}

impl Nodes for FixedNodes {
    fn watch(&self) -> watch::Receiver<Arc<Vec<NodeSpec>>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{Attributes, MemorySize, NodeCapacity, Overcommit};

    #[test]
    fn fixed_nodes_are_there_at_once_and_stay() {
        let node = NodeSpec {
            id: "local".parse().unwrap(),
            attributes: Attributes::new(),
            capacity: NodeCapacity { cpu_units: 1_024, memory: MemorySize::from_mib(64), tasks: 1 },
            overcommit: Overcommit::default(),
            is_draining: false,
        };
        let nodes = FixedNodes::new(vec![node.clone()]);
        let watched = nodes.watch();
        assert_eq!(**watched.borrow(), [node]);
        assert!(!watched.has_changed().unwrap());
    }
}
