//! Which node runs a task: constraints say which come into question, strategies which of these is taken.
//!
//! It deliberately neither starts nor moves anything: whoever carries it out tells [`Nodes`] of the nodes and tasks that there
//! are, and a task that has a place keeps it. Chance is an argument.
//!
//! What always holds: a task is placed where it fits beside what is there, or not at all; what is said of many tasks at once is
//! what would be said of one after the other. Placing `k` tasks of a group on `n` nodes costs O(n + k log n), once its
//! placement is known; a task that comes or goes costs O(log n), and a node O(n) at most for each placement in use.
//! Spreading over an attribute costs each task as much as the attribute has values.

mod candidates;
mod daemons;
mod no_place;
mod nodes;
mod pool;
#[cfg(test)]
mod tests;

pub use daemons::{Daemons, daemons};
pub use no_place::{NoPlace, Reason};
pub use nodes::{NoSuchNode, Nodes};

use candidates::Candidates;
use skiff_types::{
    Group, Namespace, NodeId, Placement, PlacementStrategy, SchedulingStrategy, TaskId, TaskSize,
};

/// The tasks that constraints and strategies count together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskGroup {
    /// Their namespace.
    pub namespace: Namespace,
    /// Their service, or their family.
    pub group: Group,
}

/// Tasks that want a place. They are alike.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Whose they are.
    pub group: &'a TaskGroup,
    /// What each takes.
    pub size: TaskSize,
    /// Where they may run; one that was checked.
    pub placement: &'a Placement,
}

/// What became of tasks that wanted a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where they are, in their order; the last ones have none if there was not room for all.
    pub nodes: Vec<NodeId>,
    /// Why not all have one.
    pub no_place: Option<NoPlace>,
}

/// Gives a task a place that has none yet. `chance` is to be any number, each as likely as any other.
pub fn place(wanted: &Wanted<'_>, task: TaskId, chance: u64, nodes: &mut Nodes) -> Result<NodeId, NoPlace> {
    let mut candidates = Candidates::new(wanted, chance, nodes);
    place_next(wanted, task, &mut candidates, nodes)
}

/// Gives each of many tasks a place that have none yet, in their order, until there is none left.
pub fn place_all(wanted: &Wanted<'_>, tasks: &[TaskId], chance: u64, nodes: &mut Nodes) -> Places {
    let mut candidates = Candidates::new(wanted, chance, nodes);
    let mut placed = Vec::with_capacity(tasks.len());
    for task in tasks {
        match place_next(wanted, *task, &mut candidates, nodes) {
            Ok(node) => placed.push(node),
            Err(no_place) => return Places { nodes: placed, no_place: Some(no_place) },
        }
    }
    Places { nodes: placed, no_place: None }
}

/// How many nodes come into question for tasks with this placement, whether or not they have room.
pub fn admitting(placement: &Placement, nodes: &mut Nodes) -> u32 {
    nodes.pool(placement).members().len() as u32
}

fn place_next(
    wanted: &Wanted<'_>,
    task: TaskId,
    candidates: &mut Candidates,
    nodes: &mut Nodes,
) -> Result<NodeId, NoPlace> {
    let choice = candidates.choose().ok_or_else(|| NoPlace::on_any(wanted, nodes))?;
    nodes.take(task, wanted.group, wanted.size, choice.index);
    candidates.placed(&choice, nodes);
    Ok(nodes.spec(choice.index).id.clone())
}

/// Whether no node may have two tasks of the group.
fn is_one_per_node(placement: &Placement) -> bool {
    match placement.scheduling {
        SchedulingStrategy::Daemon => true,
        SchedulingStrategy::Replica => placement.is_distinct(),
    }
}

/// The strategies that have a meaning: up to chance, which leaves nothing to decide.
fn deciding(placement: &Placement) -> &[PlacementStrategy] {
    let strategies = &placement.strategies;
    let random = strategies.iter().position(|strategy| *strategy == PlacementStrategy::Random);
    &strategies[..random.map_or(strategies.len(), |index| index + 1)]
}
