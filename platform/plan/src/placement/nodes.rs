//! The nodes that there are, what is free on them, and which tasks are where.
//!
//! What always holds: what is free is what a node has room for without what its tasks take, or nothing where they take more;
//! every task here is on a node that is here.

use super::TaskGroup;
use super::pool::Pool;
use skiff_types::{MemorySize, NodeCapacity, NodeId, NodeSpec, Placement, TaskId, TaskSize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Placements whose nodes are remembered; more than that, and all are found out again.
const POOLS_MAX: usize = 256;

/// All nodes, and the tasks on them.
#[derive(Debug, Default)]
pub struct Nodes {
    /// A node stays where it is in here as long as it is known; then another may come there.
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    by_id: HashMap<NodeId, u32>,
    tasks: HashMap<TaskId, Place>,
    /// How many tasks a group has, by node.
    groups: HashMap<TaskGroup, BTreeMap<u32, u32>>,
    /// Which nodes come into question, by what is asked of them.
    pools: HashMap<Placement, Arc<Pool>>,
    /// Nodes that ever were.
    numbered: u64,
}

/// A node is named that is not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no node {0}")]
pub struct NoSuchNode(pub NodeId);

/// Small, since all of them are looked at for each group that is placed.
#[derive(Debug)]
struct Slot {
    free: Free,
    /// The how many-th node it was.
    number: u64,
    node: Option<Box<Node>>,
}

#[derive(Debug)]
struct Node {
    spec: NodeSpec,
    room: NodeCapacity,
    used: Used,
    tasks: BTreeSet<TaskId>,
}

/// What a node's tasks take.
#[derive(Debug, Default)]
struct Used {
    cpu_units: u64,
    memory_bytes: u64,
}

/// Where a task is, and what it takes.
#[derive(Debug)]
struct Place {
    index: u32,
    group: TaskGroup,
    size: TaskSize,
}

/// What is free on a node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Free {
    pub(super) cpu_units: u64,
    pub(super) memory_bytes: u64,
    pub(super) tasks: u64,
}

impl Free {
    pub(super) fn fits(&self, size: &TaskSize) -> bool {
        self.tasks > 0
            && self.memory_bytes >= size.memory.bytes()
            && self.cpu_units >= u64::from(size.cpu.get())
    }
}

impl Node {
    fn free(&self) -> Free {
        Free {
            cpu_units: self.room.cpu_units.saturating_sub(self.used.cpu_units),
            memory_bytes: self.room.memory.bytes().saturating_sub(self.used.memory_bytes),
            tasks: u64::from(self.room.tasks).saturating_sub(self.tasks.len() as u64),
        }
    }
}

impl Nodes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node is there, or is another than it was; its tasks stay, even if it no longer has room for them.
    pub fn put(&mut self, spec: NodeSpec) {
        let index = match self.by_id.get(&spec.id) {
            Some(index) => *index,
            None => self.add(spec.clone()),
        };
        for (placement, pool) in &mut self.pools {
            Arc::make_mut(pool).note(placement, index, Some(&spec));
        }
        let count = self.by_id.len();
        self.pools.retain(|_, pool| pool.is_compact(count));
        let slot = &mut self.slots[index as usize];
        let node = slot.node.as_mut().expect("a node that is known is there");
        node.room = spec.room();
        node.spec = spec;
        slot.free = node.free();
    }

    fn add(&mut self, spec: NodeSpec) -> u32 {
        self.numbered += 1;
        let id = spec.id.clone();
        let room = spec.room();
        let node = Node { spec, room, used: Used::default(), tasks: BTreeSet::new() };
        let slot = Slot { free: node.free(), number: self.numbered, node: Some(Box::new(node)) };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.by_id.insert(id, index);
        index
    }

    /// A node is gone; which tasks were on it, which now have no place.
    pub fn remove(&mut self, id: &NodeId) -> Vec<TaskId> {
        let Some(index) = self.by_id.get(id).copied() else { return Vec::new() };
        let tasks: Vec<TaskId> = self.node(index).tasks.iter().copied().collect();
        for task in &tasks {
            self.release(task);
        }
        for (placement, pool) in &mut self.pools {
            Arc::make_mut(pool).note(placement, index, None);
        }
        self.by_id.remove(id);
        self.slots[index as usize].node = None;
        self.vacant.push(index);
        tasks
    }

    /// A task is on a node, whether or not there is room for it; it is nowhere else.
    pub fn occupy(
        &mut self,
        task: TaskId,
        group: &TaskGroup,
        size: TaskSize,
        id: &NodeId,
    ) -> Result<(), NoSuchNode> {
        let index = *self.by_id.get(id).ok_or_else(|| NoSuchNode(id.clone()))?;
        self.release(&task);
        self.take(task, group, size, index);
        Ok(())
    }

    /// A task is nowhere any more; where it was.
    pub fn release(&mut self, task: &TaskId) -> Option<NodeId> {
        let place = self.tasks.remove(task)?;
        let slot = &mut self.slots[place.index as usize];
        let node = slot.node.as_mut().expect("a task is on a node that is there");
        node.tasks.remove(task);
        node.used.cpu_units -= u64::from(place.size.cpu.get());
        node.used.memory_bytes -= place.size.memory.bytes();
        slot.free = node.free();
        let id = node.spec.id.clone();
        let counts = self.groups.get_mut(&place.group).expect("a task is counted");
        let count = counts.get_mut(&place.index).expect("a task is counted where it is");
        *count -= 1;
        if *count == 0 {
            counts.remove(&place.index);
        }
        if counts.is_empty() {
            self.groups.remove(&place.group);
        }
        Some(id)
    }

    /// Where a task is.
    pub fn node_of(&self, task: &TaskId) -> Option<&NodeId> {
        self.tasks.get(task).map(|place| &self.spec(place.index).id)
    }

    /// A node that is known by this id.
    pub fn get(&self, id: &NodeId) -> Option<&NodeSpec> {
        self.by_id.get(id).map(|index| self.spec(*index))
    }

    /// What a node's tasks take together; `None` where there is no such node.
    pub fn used(&self, id: &NodeId) -> Option<NodeCapacity> {
        let node = self.node(*self.by_id.get(id)?);
        Some(NodeCapacity {
            cpu_units: node.used.cpu_units,
            memory: MemorySize::from_bytes(node.used.memory_bytes),
            tasks: u32::try_from(node.tasks.len()).unwrap_or(u32::MAX),
        })
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A task that has no place gets one.
    pub(super) fn take(&mut self, task: TaskId, group: &TaskGroup, size: TaskSize, index: u32) {
        let place = Place { index, group: group.clone(), size };
        assert!(self.tasks.insert(task, place).is_none(), "a task has one place");
        let slot = &mut self.slots[index as usize];
        let node = slot.node.as_mut().expect("a task is put on a node that is there");
        node.tasks.insert(task);
        node.used.cpu_units += u64::from(size.cpu.get());
        node.used.memory_bytes += size.memory.bytes();
        slot.free = node.free();
        match self.groups.get_mut(group) {
            Some(counts) => *counts.entry(index).or_default() += 1,
            None => {
                self.groups.insert(group.clone(), BTreeMap::from([(index, 1)]));
            }
        }
    }

    /// Which nodes come into question.
    pub(super) fn pool(&mut self, placement: &Placement) -> Arc<Pool> {
        if let Some(pool) = self.pools.get(placement) {
            return Arc::clone(pool);
        }
        let mut pool = Pool::new(placement);
        for index in self.indexes() {
            pool.note(placement, index, Some(self.spec(index)));
        }
        let pool = Arc::new(pool);
        if self.pools.len() >= POOLS_MAX {
            self.pools.clear();
        }
        self.pools.insert(placement.clone(), Arc::clone(&pool));
        pool
    }

    /// Where nodes are, in no order that means anything.
    pub(super) fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.node.is_some()).map(|(index, _)| index)
    }

    /// Above every index.
    pub(super) fn indexes_end(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn free(&self, index: u32) -> &Free {
        &self.slots[index as usize].free
    }

    pub(super) fn number(&self, index: u32) -> u64 {
        self.slots[index as usize].number
    }

    pub(super) fn spec(&self, index: u32) -> &NodeSpec {
        &self.node(index).spec
    }

    /// How many tasks a group has by node; nothing of nodes that have none.
    pub(super) fn counts(&self, group: &TaskGroup) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.groups.get(group).into_iter().flatten().map(|(index, count)| (*index, *count))
    }

    pub(super) fn has_any(&self, group: &TaskGroup, index: u32) -> bool {
        self.groups.get(group).is_some_and(|counts| counts.contains_key(&index))
    }

    /// The tasks of a group on a node, the oldest first.
    pub(super) fn tasks_at<'a>(
        &'a self,
        group: &'a TaskGroup,
        index: u32,
    ) -> impl Iterator<Item = TaskId> + 'a {
        self.node(index).tasks.iter().filter(move |task| self.tasks[*task].group == *group).copied()
    }

    fn node(&self, index: u32) -> &Node {
        self.slots[index as usize].node.as_ref().expect("only nodes that are there are asked for")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Wanted, place};
    use super::*;
    use skiff_types::{CpuUnits, Namespace, Overcommit};

    fn in_zone(zone: usize) -> NodeSpec {
        NodeSpec {
            id: "node-1".parse().unwrap(),
            attributes: [("zone".parse().unwrap(), format!("z{zone}").parse().unwrap())].into(),
            capacity: NodeCapacity { cpu_units: 1_024, memory: MemorySize::from_mib(64), tasks: 10 },
            overcommit: Overcommit::default(),
            is_draining: false,
        }
    }

    fn node(number: usize, zone: usize) -> NodeSpec {
        NodeSpec { id: format!("node-{number}").parse().unwrap(), ..in_zone(zone) }
    }

    fn web() -> TaskGroup {
        TaskGroup { namespace: Namespace::default(), group: "service:web".parse().unwrap() }
    }

    fn size() -> TaskSize {
        TaskSize { cpu: CpuUnits::new(256).unwrap(), memory: MemorySize::from_mib(16) }
    }

    #[test]
    fn what_a_node_is_used_for_is_known_by_its_id() {
        let (mut nodes, id): (_, NodeId) = (Nodes::new(), "node-1".parse().unwrap());
        assert_eq!((nodes.get(&id), nodes.used(&id)), (None, None));
        nodes.put(in_zone(1));
        assert_eq!(nodes.get(&id), Some(&in_zone(1)));
        let (group, size) = (web(), size());
        for number in 0..2 {
            nodes.occupy(TaskId::from_parts(number, [0; 10]), &group, size, &id).unwrap();
        }
        let used = NodeCapacity { cpu_units: 512, memory: MemorySize::from_mib(32), tasks: 2 };
        assert_eq!(nodes.used(&id), Some(used));
        nodes.release(&TaskId::from_parts(0, [0; 10]));
        assert_eq!(nodes.used(&id).map(|used| used.tasks), Some(1));
    }

    #[test]
    fn of_equal_nodes_the_one_that_came_first_takes_a_task() {
        let mut nodes = Nodes::new();
        for number in 0..3 {
            nodes.put(node(number, 0));
        }
        nodes.remove(&node(0, 0).id);
        // It comes where the one was that is gone.
        nodes.put(node(3, 0));
        let (group, size) = (web(), size());
        let placement =
            Placement { strategies: vec!["spread(instance)".parse().unwrap()], ..Placement::default() };
        let wanted = Wanted { group: &group, size, placement: &placement };
        let mut next = |number| place(&wanted, TaskId::from_parts(number, [0; 10]), 0, &mut nodes).unwrap();
        assert_eq!([1, 2, 3].map(|number| next(number).to_string()), ["node-1", "node-2", "node-3"]);
    }

    #[test]
    fn which_nodes_come_into_question_is_found_out_anew_only_once_most_of_it_is_of_the_past() {
        const NODES: usize = 100;
        let mut nodes = Nodes::new();
        let strategies = vec!["spread(attribute:zone)".parse().unwrap()];
        let placement = Placement { strategies, ..Placement::default() };
        let mut move_all = |round: usize| {
            (0..NODES).for_each(|number| nodes.put(node(number, round * NODES + number)));
            let is_remembered = !nodes.pools.is_empty();
            (is_remembered, nodes.pool(&placement).parts().len())
        };
        assert_eq!(move_all(0), (false, NODES), "nobody asked");
        assert_eq!(move_all(1), (true, 2 * NODES));
        assert_eq!(move_all(2), (false, NODES), "those of the first two are of no more use");
    }

    #[test]
    fn what_is_remembered_of_placements_and_attributes_has_bounds() {
        let mut nodes = Nodes::new();
        let strategies = vec!["spread(attribute:zone)".parse().unwrap()];
        let placement = Placement { strategies, ..Placement::default() };
        for zone in 0..1_000 {
            nodes.put(in_zone(zone));
            let pool = nodes.pool(&placement);
            assert_eq!(pool.members(), [0]);
            assert!(pool.parts().len() <= 67, "{zone}");
        }
        for zone in 0..1_000 {
            let constraints = vec![format!("memberOf(attribute:zone == z{zone})").parse().unwrap()];
            let placement = Placement { constraints, ..Placement::default() };
            assert_eq!(nodes.pool(&placement).members().len(), usize::from(zone == 999));
            assert!(nodes.pools.len() <= POOLS_MAX);
        }
    }
}
