//! One task on each node: what is missing, what is too much.
//!
//! It deliberately leaves alone what runs on a node that drains: that goes with it.

use super::nodes::Nodes;
use super::{NoPlace, Wanted};
use skiff_types::{NodeId, TaskId};

/// What a group that has one task on each node lacks, and what it has too much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Daemons {
    /// Where a task is to be started, in the order of ids.
    pub start: Vec<NodeId>,
    /// Tasks that are to stop: those of nodes that no longer come into question, and the younger ones where there are several.
    pub stop: Vec<TaskId>,
    /// Why nodes that come into question have none and get none.
    pub no_place: Option<NoPlace>,
}

/// Compares. What is to be started has no place until [`Nodes::occupy`] says so.
pub fn daemons(wanted: &Wanted<'_>, nodes: &mut Nodes) -> Daemons {
    let pool = nodes.pool(wanted.placement);
    let nodes: &Nodes = nodes;
    let without = pool.members().iter().copied().filter(|index| !nodes.has_any(wanted.group, *index));
    let (fitting, full): (Vec<u32>, Vec<u32>) =
        without.partition(|index| nodes.free(*index).fits(&wanted.size));
    let mut start: Vec<NodeId> = fitting.iter().map(|index| nodes.spec(*index).id.clone()).collect();
    start.sort();
    let stop = nodes.counts(wanted.group).flat_map(|(index, _)| {
        let kept = usize::from(wanted.placement.admits(&nodes.spec(index).attributes));
        nodes.tasks_at(wanted.group, index).skip(kept)
    });
    let mut stop: Vec<TaskId> = stop.collect();
    stop.sort();
    let no_place = (!full.is_empty()).then(|| NoPlace::on(wanted, nodes, full.into_iter()));
    Daemons { start, stop, no_place }
}
