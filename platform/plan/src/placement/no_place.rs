//! Why a task has no place, node by node, told by reason. Each node counts for the first reason that it fails by.

use super::nodes::Nodes;
use super::{Wanted, is_one_per_node};
use skiff_types::{CpuUnits, MemorySize};
use std::fmt;

/// No node takes a task, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPlace {
    /// How many nodes fail by what, the most first; nothing where there is no node.
    pub reasons: Vec<(u32, Reason)>,
}

/// Why a node does not take a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is about to go.
    Draining,
    /// Its attributes are not what is asked for, in words.
    Constraint(String),
    /// It has a task of the group, and may have one.
    HasOne,
    /// It has as many tasks as it takes.
    Tasks,
    /// Its tasks leave too little memory.
    Memory {
        /// What the task takes.
        needed: MemorySize,
        /// What the one of these nodes has free that has the most.
        most_free: MemorySize,
    },
    /// Its tasks leave too few CPU units.
    Cpu {
        /// What the task takes.
        needed: CpuUnits,
        /// What the one of these nodes has free that has the most.
        most_free: u64,
    },
}

impl NoPlace {
    /// Whether there would be a place but for a task of the same group.
    pub fn is_for_own(&self) -> bool {
        self.reasons.iter().any(|(_, reason)| *reason == Reason::HasOne)
    }

    /// Whether nodes fail by the same, however many fail by what, and by how much.
    pub fn is_like(&self, other: &Self) -> bool {
        let has = |reasons: &[(u32, Reason)], reason: &Reason| {
            reasons.iter().any(|(_, known)| known.is_like(reason))
        };
        self.reasons.len() == other.reasons.len()
            && self.reasons.iter().all(|(_, reason)| has(&other.reasons, reason))
    }

    /// All nodes are asked.
    pub(super) fn on_any(wanted: &Wanted<'_>, nodes: &Nodes) -> Self {
        Self::on(wanted, nodes, nodes.indexes())
    }

    /// These nodes are asked, none of which takes the task.
    pub(super) fn on(wanted: &Wanted<'_>, nodes: &Nodes, indexes: impl Iterator<Item = u32>) -> Self {
        let mut reasons: Vec<(u32, Reason)> = Vec::new();
        for index in indexes {
            let reason = Reason::of(wanted, nodes, index);
            match reasons.iter_mut().find(|(_, known)| known.is_like(&reason)) {
                Some((count, known)) => {
                    *count += 1;
                    known.absorb(&reason);
                }
                None => reasons.push((1, reason)),
            }
        }
        reasons.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        Self { reasons }
    }
}

impl Reason {
    fn of(wanted: &Wanted<'_>, nodes: &Nodes, index: u32) -> Self {
        let (spec, free) = (nodes.spec(index), nodes.free(index));
        if spec.is_draining {
            return Self::Draining;
        }
        if let Some(objection) = wanted.placement.objection(&spec.attributes) {
            return Self::Constraint(objection);
        }
        if is_one_per_node(wanted.placement) && nodes.has_any(wanted.group, index) {
            return Self::HasOne;
        }
        if free.tasks == 0 {
            return Self::Tasks;
        }
        let needed = wanted.size.memory;
        if free.memory_bytes < needed.bytes() {
            return Self::Memory { needed, most_free: MemorySize::from_bytes(free.memory_bytes) };
        }
        Self::Cpu { needed: wanted.size.cpu, most_free: free.cpu_units }
    }

    /// Whether both are told as one.
    fn is_like(&self, other: &Self) -> bool {
        match self {
            Self::Draining | Self::Constraint(_) | Self::HasOne | Self::Tasks => self == other,
            Self::Memory { .. } => matches!(other, Self::Memory { .. }),
            Self::Cpu { .. } => matches!(other, Self::Cpu { .. }),
        }
    }

    /// Becomes both, where they are alike.
    fn absorb(&mut self, other: &Self) {
        if let (Self::Memory { most_free, .. }, Self::Memory { most_free: others, .. }) = (&mut *self, other)
        {
            *most_free = (*most_free).max(*others);
        }
        if let (Self::Cpu { most_free, .. }, Self::Cpu { most_free: others, .. }) = (self, other) {
            *most_free = (*most_free).max(*others);
        }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("there is no node");
        }
        for (index, (count, reason)) in self.reasons.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let nodes = if *count == 1 { "node" } else { "nodes" };
            write!(f, "{separator}{count} {nodes}: {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoPlace {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("draining"),
            Self::Constraint(objection) => f.write_str(objection),
            Self::HasOne => f.write_str("a task of the same group runs there, and only one may"),
            Self::Tasks => f.write_str("no slot for another task"),
            Self::Memory { needed, most_free } => {
                write!(f, "not enough memory (needs {needed}, most free {})", in_full_units(*most_free))
            }
            Self::Cpu { needed, most_free } => {
                write!(f, "not enough CPU (needs {needed} units, most free {most_free})")
            }
        }
    }
}

/// Without what is left of a MiB, for people.
fn in_full_units(size: MemorySize) -> MemorySize {
    match size.bytes() >> 20 {
        0 => size,
        mib => MemorySize::from_mib(mib),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reasons: Vec<(u32, Reason)>) -> NoPlace {
        NoPlace { reasons }
    }

    fn memory(most_free_mib: u64) -> Reason {
        Reason::Memory { needed: MemorySize::from_mib(128), most_free: MemorySize::from_mib(most_free_mib) }
    }

    #[test]
    fn a_reason_is_another_only_where_nodes_fail_by_something_else() {
        let full = of(vec![(2, memory(64)), (1, Reason::Draining)]);
        assert!(full.is_like(&of(vec![(3, Reason::Draining), (1, memory(0))])));
        assert!(!full.is_like(&of(vec![(3, memory(64))])));
        assert!(!of(vec![(3, memory(64))]).is_like(&full));
        assert!(!full.is_like(&of(vec![(2, memory(64)), (1, Reason::Tasks)])));
        let zone = |zone: &str| of(vec![(1, Reason::Constraint(format!("zone is not {zone}")))]);
        assert!(zone("a").is_like(&zone("a")) && !zone("a").is_like(&zone("b")));
        assert!(!full.is_for_own() && of(vec![(1, memory(64)), (1, Reason::HasOne)]).is_for_own());
        assert!(of(vec![]).is_like(&of(vec![])) && !of(vec![]).is_like(&full));
    }
}
