//! Placement against a model that looks at every node and every task each time, and expressions against one that reads them as
//! a tree.

use super::*;
use proptest::prelude::*;
use skiff_types::{
    Attributes, BinpackBy, CpuUnits, Expression, MemorySize, NodeCapacity, NodeSpec, Overcommit, SpreadBy,
};
use std::collections::BTreeMap;

const BLOCK_MIB: u64 = 64;

fn node(number: u8, attributes: &[(&str, u8)], cpu_units: u64, blocks: u64, tasks: u32) -> NodeSpec {
    let pair = |(name, value): &(&str, u8)| (name.parse().unwrap(), value.to_string().parse().unwrap());
    NodeSpec {
        id: format!("n{number}").parse().unwrap(),
        attributes: attributes.iter().map(pair).collect(),
        capacity: NodeCapacity { cpu_units, memory: MemorySize::from_mib(blocks * BLOCK_MIB), tasks },
        overcommit: Overcommit::default(),
        is_draining: false,
    }
}

fn group(number: u8) -> TaskGroup {
    let name = format!("s{number}").parse().unwrap();
    TaskGroup { namespace: Namespace::default(), group: Group::Service(name) }
}

fn size(cpu: u32, blocks: u64) -> TaskSize {
    TaskSize { cpu: CpuUnits::new(cpu).unwrap(), memory: MemorySize::from_mib(blocks * BLOCK_MIB) }
}

fn task(number: u64) -> TaskId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    TaskId::from_parts(1_700_000_000_000, random)
}

fn tasks(numbers: std::ops::Range<u64>) -> Vec<TaskId> {
    numbers.map(task).collect()
}

fn placement(constraints: &[&str], strategies: &[&str]) -> Placement {
    let placement = Placement {
        constraints: constraints.iter().map(|text| text.parse().unwrap()).collect(),
        strategies: strategies.iter().map(|text| text.parse().unwrap()).collect(),
        scheduling: SchedulingStrategy::Replica,
    };
    assert_eq!(placement.check(), Ok(()));
    placement
}

fn nodes(specs: impl IntoIterator<Item = NodeSpec>) -> Nodes {
    let mut nodes = Nodes::new();
    for spec in specs {
        nodes.put(spec);
    }
    nodes
}

/// How many tasks came to each node, by id.
fn counted(places: &Places) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for node in &places.nodes {
        *counts.entry(node.to_string()).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// A cluster as a list: nothing is kept that follows from something else.
#[derive(Debug, Default)]
struct Model {
    /// In the order in which they came.
    nodes: Vec<NodeSpec>,
    tasks: Vec<(TaskId, TaskGroup, TaskSize, NodeId)>,
}

impl Model {
    fn put(&mut self, spec: NodeSpec) {
        match self.nodes.iter_mut().find(|node| node.id == spec.id) {
            Some(node) => *node = spec,
            None => self.nodes.push(spec),
        }
    }

    fn remove(&mut self, id: &NodeId) -> Vec<TaskId> {
        self.nodes.retain(|node| node.id != *id);
        let lost = self.tasks.iter().filter(|(.., node)| node == id).map(|(task, ..)| *task);
        let mut lost: Vec<TaskId> = lost.collect();
        lost.sort();
        self.tasks.retain(|(.., node)| node != id);
        lost
    }

    fn at(&self, id: &NodeId) -> impl Iterator<Item = &TaskSize> {
        self.tasks.iter().filter(move |(.., node)| node == id).map(|(_, _, size, _)| size)
    }

    fn free_memory(&self, node: &NodeSpec) -> u64 {
        let used: u64 = self.at(&node.id).map(|size| size.memory.bytes()).sum();
        node.room().memory.bytes().saturating_sub(used)
    }

    fn free_cpu(&self, node: &NodeSpec) -> u64 {
        let used: u64 = self.at(&node.id).map(|size| u64::from(size.cpu.get())).sum();
        node.room().cpu_units.saturating_sub(used)
    }

    /// Tasks of a group on nodes like this.
    fn count(&self, group: &TaskGroup, is_alike: impl Fn(&NodeSpec) -> bool) -> u64 {
        let is_counted = |id: &NodeId| self.nodes.iter().any(|node| node.id == *id && is_alike(node));
        self.tasks.iter().filter(|(_, of, _, id)| of == group && is_counted(id)).count() as u64
    }

    fn fits(&self, wanted: &Wanted<'_>, node: &NodeSpec) -> bool {
        let has_one = self.count(wanted.group, |other| other.id == node.id) > 0;
        !node.is_draining
            && wanted.placement.admits(&node.attributes)
            && !(has_one && is_one_per_node(wanted.placement))
            && self.free_memory(node) >= wanted.size.memory.bytes()
            && self.free_cpu(node) >= u64::from(wanted.size.cpu.get())
            && (self.at(&node.id).count() as u64) < u64::from(node.room().tasks)
    }

    fn rank(&self, wanted: &Wanted<'_>, strategy: &PlacementStrategy, node: &NodeSpec) -> u64 {
        match strategy {
            PlacementStrategy::Spread(SpreadBy::Instance) => {
                self.count(wanted.group, |other| other.id == node.id)
            }
            PlacementStrategy::Spread(SpreadBy::Attribute(name)) => {
                let value = node.attributes.get(name);
                self.count(wanted.group, |other| other.attributes.get(name) == value)
            }
            PlacementStrategy::Binpack(BinpackBy::Cpu) => self.free_cpu(node),
            PlacementStrategy::Binpack(BinpackBy::Memory) => self.free_memory(node),
            PlacementStrategy::Random => 0,
        }
    }

    /// The nodes of which one is taken: one, unless chance decides.
    fn best(&self, wanted: &Wanted<'_>) -> Vec<NodeId> {
        let mut left: Vec<&NodeSpec> = self.nodes.iter().filter(|node| self.fits(wanted, node)).collect();
        for strategy in &wanted.placement.strategies {
            if *strategy == PlacementStrategy::Random {
                return left.iter().map(|node| node.id.clone()).collect();
            }
            let least = left.iter().map(|node| self.rank(wanted, strategy, node)).min();
            left.retain(|node| Some(self.rank(wanted, strategy, node)) == least);
        }
        let most = left.iter().map(|node| self.free_memory(node)).max();
        left.into_iter()
            .find(|node| Some(self.free_memory(node)) == most)
            .map(|node| node.id.clone())
            .into_iter()
            .collect()
    }
}

const PLACEMENTS: [(&[&str], &[&str]); 14] = [
    (&[], &[]),
    (&[], &["spread(instance)"]),
    (&[], &["spread(attribute:zone)"]),
    (&[], &["spread(attribute:zone)", "spread(instance)"]),
    (&[], &["spread(attribute:zone)", "spread(attribute:rack)", "binpack(cpu)"]),
    (&[], &["binpack(memory)"]),
    (&[], &["binpack(cpu)", "spread(attribute:rack)", "binpack(memory)"]),
    (&["distinctInstance"], &["binpack(cpu)"]),
    (&["distinctInstance", "memberOf(attribute:zone != 1)"], &["spread(attribute:zone)"]),
    (&["memberOf(attribute:zone exists)"], &["spread(attribute:rack)", "binpack(memory)"]),
    (&["memberOf(attribute:zone in [0, 1])", "memberOf(not attribute:rack == 2)"], &["spread(instance)"]),
    (&[], &["random"]),
    (&[], &["spread(attribute:zone)", "random", "binpack(cpu)"]),
    (&["distinctInstance"], &["binpack(memory)", "random"]),
];

#[derive(Debug, Clone)]
enum Event {
    Put {
        number: u8,
        zone: Option<u8>,
        rack: u8,
        cpu_units: u64,
        blocks: u64,
        tasks: u32,
        is_draining: bool,
    },
    Remove(u8),
    Place {
        group: u8,
        placement: usize,
        cpu: u32,
        blocks: u64,
        count: u64,
        chance: u64,
    },
    /// A task was seen on a node, whether or not it fits.
    Occupy {
        group: u8,
        node: usize,
        blocks: u64,
    },
    Release(usize),
}

fn put() -> impl Strategy<Value = Event> {
    let what = (0..6u8, prop::option::of(0..3u8), 0..3u8, 0..2_000u64, 0..12u64, 0..10u32, 0..8u8);
    what.prop_map(|(number, zone, rack, cpu_units, blocks, tasks, draining)| Event::Put {
        number,
        zone,
        rack,
        cpu_units,
        blocks,
        tasks,
        is_draining: draining == 0,
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let place = (0..3u8, 0..PLACEMENTS.len(), 16..500u32, 0..4u64, 1..8u64, any::<u64>());
    let place = place.prop_map(|(group, placement, cpu, blocks, count, chance)| Event::Place {
        group,
        placement,
        cpu,
        blocks,
        count,
        chance,
    });
    let occupy = (0..3u8, any::<usize>(), 0..20u64).prop_map(|(group, node, blocks)| Event::Occupy {
        group,
        node,
        blocks,
    });
    let event = prop_oneof![
        3 => put(),
        1 => (0..6u8).prop_map(Event::Remove),
        5 => place,
        1 => occupy,
        2 => any::<usize>().prop_map(Event::Release),
    ];
    let first = prop::collection::vec(put(), 0..8);
    (first, prop::collection::vec(event, 0..40)).prop_map(|(mut events, more)| {
        events.extend(more);
        events
    })
}

/// The real thing beside the model.
#[derive(Debug, Default)]
struct Pair {
    real: Nodes,
    model: Model,
    made: u64,
}

impl Pair {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Put { number, zone, rack, cpu_units, blocks, tasks, is_draining } => {
                let mut attributes = vec![("rack", rack)];
                attributes.extend(zone.map(|zone| ("zone", zone)));
                let spec = NodeSpec { is_draining, ..node(number, &attributes, cpu_units, blocks, tasks) };
                self.real.put(spec.clone());
                self.model.put(spec);
            }
            Event::Remove(number) => {
                let id = format!("n{number}").parse().unwrap();
                let mut lost = self.real.remove(&id);
                lost.sort();
                assert_eq!(lost, self.model.remove(&id));
            }
            Event::Place { group: number, placement: index, cpu, blocks, count, chance } => {
                let (constraints, strategies) = PLACEMENTS[index];
                let (placement, group) = (placement(constraints, strategies), group(number));
                let wanted = Wanted { group: &group, size: size(cpu, blocks), placement: &placement };
                self.place(&wanted, count, chance);
            }
            Event::Occupy { group: number, node, blocks } => {
                if self.model.nodes.is_empty() {
                    return;
                }
                let id = self.model.nodes[node % self.model.nodes.len()].id.clone();
                let (task, group, size) = (self.make(1)[0], group(number), size(16, blocks));
                self.real.occupy(task, &group, size, &id).unwrap();
                self.model.tasks.push((task, group, size, id));
            }
            Event::Release(index) => {
                if self.model.tasks.is_empty() {
                    return;
                }
                let (task, _, _, id) = self.model.tasks.remove(index % self.model.tasks.len());
                assert_eq!(self.real.node_of(&task), Some(&id));
                assert_eq!(self.real.release(&task), Some(id));
                assert_eq!(self.real.release(&task), None);
            }
        }
    }

    fn make(&mut self, count: u64) -> Vec<TaskId> {
        self.made += count;
        tasks(self.made - count..self.made)
    }

    /// What is said of all at once is what the model says of one after the other.
    fn place(&mut self, wanted: &Wanted<'_>, count: u64, chance: u64) {
        let made = self.make(count);
        let places = place_all(wanted, &made, chance, &mut self.real);
        for (task, node) in made.iter().zip(&places.nodes) {
            let best = self.model.best(wanted);
            assert!(best.contains(node), "{node} is none of {best:?} for {:?}", wanted.placement);
            self.model.tasks.push((*task, wanted.group.clone(), wanted.size, node.clone()));
        }
        let Some(no_place) = places.no_place else {
            assert_eq!(places.nodes.len(), made.len());
            return;
        };
        assert!(places.nodes.len() < made.len());
        assert!(self.model.best(wanted).is_empty(), "{no_place}");
        let counted: u32 = no_place.reasons.iter().map(|(count, _)| count).sum();
        assert_eq!(counted as usize, self.model.nodes.len(), "{no_place}");
    }
}

proptest! {
    #[test]
    fn what_is_placed_is_what_looking_at_everything_would_place(events in events()) {
        let mut pair = Pair::default();
        for event in events {
            pair.happen(event);
            prop_assert_eq!(pair.real.len(), pair.model.nodes.len());
        }
        for (task, _, _, id) in &pair.model.tasks {
            prop_assert_eq!(pair.real.node_of(task), Some(id));
        }
    }

    #[test]
    fn daemons_come_to_be_one_on_each_node_that_takes_them(events in events(), zone in 0..4u8) {
        let mut pair = Pair::default();
        for event in events {
            pair.happen(event);
        }
        let expression = format!("memberOf(attribute:zone != {zone})");
        let placement = Placement { scheduling: SchedulingStrategy::Daemon, ..placement(&[expression.as_str()], &[]) };
        let group = group(0);
        let wanted = Wanted { group: &group, size: size(100, 1), placement: &placement };
        let first = daemons(&wanted, &mut pair.real);
        for task in &first.stop {
            pair.real.release(task);
            pair.model.tasks.retain(|(other, ..)| other != task);
        }
        for node in &first.start {
            let task = pair.make(1)[0];
            pair.real.occupy(task, &group, wanted.size, node).unwrap();
            pair.model.tasks.push((task, group.clone(), wanted.size, node.clone()));
        }
        for node in &pair.model.nodes {
            let count = pair.model.count(&group, |other| other.id == node.id);
            let is_in_question = placement.admits(&node.attributes);
            prop_assert!(count <= u64::from(is_in_question), "{count} on {node:?}");
            if is_in_question && count == 0 && !node.is_draining {
                prop_assert!(!pair.model.fits(&wanted, node) || !first.stop.is_empty(), "none on {node:?}");
            }
        }
        // What was stopped may have made room; after that nothing moves.
        let second = daemons(&wanted, &mut pair.real);
        prop_assert!(second.stop.is_empty());
        prop_assert!(second.start.is_empty() || !first.stop.is_empty());
    }
}

#[test]
fn what_failed_each_node_is_told_by_reason() {
    let full = |number, free_blocks| node(number, &[("zone", 1)], 4_096, free_blocks, 10);
    let elsewhere = node(3, &[("zone", 2)], 4_096, 100, 10);
    let mut nodes = nodes([full(0, 2), full(1, 3), full(2, 1), elsewhere]);
    let (placement, group) = (placement(&["memberOf(attribute:zone == 1)"], &[]), group(1));
    let wanted = Wanted { group: &group, size: size(256, 8), placement: &placement };
    let no_place = place(&wanted, task(1), 0, &mut nodes).unwrap_err();
    assert_eq!(
        no_place.to_string(),
        "3 nodes: not enough memory (needs 512MiB, most free 192MiB); 1 node: attribute zone is not 1"
    );
    for number in 0..4 {
        nodes.put(NodeSpec {
            is_draining: number == 0,
            ..node(number, &[("zone", 1)], 500, 100, number.into())
        });
    }
    // As much memory as one has is enough.
    let no_place = place(&Wanted { size: size(600, 100), ..wanted }, task(1), 0, &mut nodes).unwrap_err();
    assert_eq!(no_place.reasons[0].0, 3, "{no_place}");
    assert!(matches!(no_place.reasons[0].1, Reason::Cpu { .. }), "{no_place}");
    nodes.occupy(task(2), &group, size(300, 1), &"n3".parse().unwrap()).unwrap();
    let no_place = place(&Wanted { size: size(600, 1), ..wanted }, task(3), 0, &mut nodes).unwrap_err();
    assert_eq!(
        no_place.to_string(),
        "3 nodes: not enough CPU (needs 600 units, most free 500); 1 node: draining"
    );
    let distinct =
        Placement { constraints: vec!["distinctInstance".parse().unwrap()], ..Placement::default() };
    let wanted = Wanted { placement: &distinct, size: size(100, 1), ..wanted };
    assert_eq!(place_all(&wanted, &tasks(10..13), 0, &mut nodes).nodes.len(), 2);
    let no_place = place(&wanted, task(20), 0, &mut nodes).unwrap_err();
    assert_eq!(
        no_place.to_string(),
        "3 nodes: a task of the same group runs there, and only one may; 1 node: draining"
    );
    assert_eq!(place(&wanted, task(21), 0, &mut Nodes::new()).unwrap_err().to_string(), "there is no node");
}

#[test]
fn nodes_come_into_question_by_their_attributes_whether_or_not_they_have_room() {
    let full = node(0, &[("zone", 1)], 0, 0, 0);
    let draining = NodeSpec { is_draining: true, ..node(3, &[("zone", 1)], 4_096, 100, 10) };
    let mut nodes =
        nodes([full, node(1, &[("zone", 1)], 1, 1, 1), node(2, &[("zone", 2)], 1, 1, 1), draining]);
    assert_eq!(admitting(&placement(&["memberOf(attribute:zone == 1)"], &[]), &mut nodes), 2);
    assert_eq!(admitting(&Placement::default(), &mut nodes), 3);
    assert_eq!(admitting(&placement(&["memberOf(attribute:zone == 9)"], &[]), &mut nodes), 0);
}

#[test]
fn a_node_without_a_slot_says_so() {
    let mut nodes = nodes([node(0, &[], 4_096, 100, 1)]);
    let (placement, group) = (Placement::default(), group(1));
    let wanted = Wanted { group: &group, size: size(16, 1), placement: &placement };
    let places = place_all(&wanted, &tasks(0..2), 0, &mut nodes);
    assert_eq!(counted(&places), [("n0".to_owned(), 1)]);
    assert_eq!(places.no_place.unwrap().to_string(), "1 node: no slot for another task");
}

#[test]
fn zones_get_as_many_tasks_each_however_many_nodes_they_have() {
    let specs = (0..8).map(|number| node(number, &[("zone", u8::from(number > 0))], 100_000, 1_000, 1_000));
    let mut nodes = nodes(specs);
    let placement = placement(&[], &["spread(attribute:zone)", "spread(instance)"]);
    let group = group(1);
    let wanted = Wanted { group: &group, size: size(16, 1), placement: &placement };
    let places = place_all(&wanted, &tasks(0..14), 0, &mut nodes);
    let counts: Vec<usize> = counted(&places).into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [7, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn packed_tasks_fill_a_node_before_they_take_another() {
    let mut nodes = nodes((0..5).map(|number| node(number, &[], 100_000, 10, 1_000)));
    let placement = placement(&[], &["binpack(memory)"]);
    let group = group(1);
    let wanted = Wanted { group: &group, size: size(16, 1), placement: &placement };
    let places = place_all(&wanted, &tasks(0..25), 0, &mut nodes);
    let expected = [("n0", 10), ("n1", 10), ("n2", 5)].map(|(node, count)| (node.to_owned(), count));
    assert_eq!(counted(&places), expected);
}

#[test]
fn overcommit_makes_room() {
    let overcommit = Overcommit { cpu: "2.5".parse().unwrap(), memory: "1.5".parse().unwrap() };
    let placement = Placement::default();
    let group = group(1);
    for (cpu, blocks, expected) in [(100, 0, 25), (16, 1, 15)] {
        let mut nodes = nodes([NodeSpec { overcommit, ..node(0, &[], 1_000, 10, 1_000) }]);
        let wanted = Wanted { group: &group, size: size(cpu, blocks), placement: &placement };
        assert_eq!(place_all(&wanted, &tasks(0..100), 0, &mut nodes).nodes.len(), expected);
    }
}

#[test]
fn chance_takes_each_as_often() {
    let specs = || (0..10).map(|number| node(number, &[("zone", number % 3)], 1_000_000, 100_000, 100_000));
    let group = group(1);
    let spread = ["spread(instance)", "random"];
    // Over many calls of one task each, over one call of many, and the first of those that are as good.
    for (strategies, count) in [(&["random"][..], 1), (&["random"][..], 10_000), (&spread[..], 1)] {
        let placement = placement(&[], strategies);
        let wanted = Wanted { group: &group, size: size(16, 0), placement: &placement };
        let (mut nodes, mut counts) = (nodes(specs()), BTreeMap::new());
        for round in 0..10_000 / count {
            let made = tasks(round * count..(round + 1) * count);
            for node in place_all(&wanted, &made, round, &mut nodes).nodes {
                *counts.entry(node).or_insert(0_u32) += 1;
            }
            if strategies.len() > 1 {
                nodes.release(&made[0]);
            }
        }
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|count| (850..1_150).contains(count)), "{strategies:?}: {counts:?}");
    }
}

#[test]
fn a_node_that_left_and_came_again_has_its_room_and_no_tasks() {
    let spec = node(0, &[], 1_000, 10, 10);
    let mut nodes = nodes([spec.clone()]);
    let (placement, group) = (Placement::default(), group(1));
    let wanted = Wanted { group: &group, size: size(16, 5), placement: &placement };
    assert_eq!(place_all(&wanted, &tasks(0..3), 0, &mut nodes).nodes.len(), 2);
    assert_eq!(nodes.remove(&spec.id), tasks(0..2));
    assert_eq!((nodes.len(), nodes.is_empty()), (0, true));
    let unknown = nodes.occupy(task(5), &group, size(16, 1), &spec.id).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no node n0");
    nodes.put(spec);
    assert_eq!((nodes.len(), nodes.is_empty()), (1, false));
    assert_eq!(place_all(&wanted, &tasks(0..3), 0, &mut nodes).nodes.len(), 2);
}

/// An expression as a tree that says everything in parentheses.
#[derive(Debug, Clone)]
enum Tree {
    Is(u8, u8),
    IsNot(u8, u8),
    In(u8, Vec<u8>),
    Exists(u8),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

impl Tree {
    fn holds(&self, values: &[Option<u8>; 3]) -> bool {
        let of = |name: &u8| values[usize::from(*name)];
        match self {
            Self::Is(name, value) => of(name) == Some(*value),
            Self::IsNot(name, value) => of(name) != Some(*value),
            Self::In(name, wanted) => of(name).is_some_and(|value| wanted.contains(&value)),
            Self::Exists(name) => of(name).is_some(),
            Self::Not(tree) => !tree.holds(values),
            Self::And(left, right) => left.holds(values) && right.holds(values),
            Self::Or(left, right) => left.holds(values) || right.holds(values),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Is(name, value) => format!("(attribute:a{name} == {value})"),
            Self::IsNot(name, value) => format!("(attribute:a{name} != {value})"),
            Self::In(name, wanted) => {
                let values: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                format!("(attribute:a{name} in [{}])", values.join(","))
            }
            Self::Exists(name) => format!("(attribute:a{name} exists)"),
            Self::Not(tree) => format!("(not {})", tree.text()),
            Self::And(left, right) => format!("({} and {})", left.text(), right.text()),
            Self::Or(left, right) => format!("({} or {})", left.text(), right.text()),
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (0..3u8, 0..3u8).prop_map(|(name, value)| Tree::Is(name, value)),
        (0..3u8, 0..3u8).prop_map(|(name, value)| Tree::IsNot(name, value)),
        (0..3u8, prop::collection::vec(0..3u8, 1..3)).prop_map(|(name, values)| Tree::In(name, values)),
        (0..3u8).prop_map(Tree::Exists),
    ];
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            (inner.clone(), inner.clone())
                .prop_map(|(left, right)| Tree::And(Box::new(left), Box::new(right))),
            (inner.clone(), inner).prop_map(|(left, right)| Tree::Or(Box::new(left), Box::new(right))),
        ]
    })
}

/// Characters that mean something, and words that do.
const TEXTS: &str = "[ a-c01:=!()\\[\\],]{0,40}|(attribute:a|not|and|or|in|exists|==|!=|[()\\[\\],]| ){0,30}";

proptest! {
    #[test]
    fn an_expression_holds_where_its_tree_does_and_prints_as_it_parses(
        tree in trees(),
        values in prop::array::uniform3(prop::option::of(0..3u8)),
    ) {
        let expression: Expression = tree.text().parse().unwrap();
        let named = values.iter().enumerate().filter_map(|(name, value)| {
            value.map(|value| (format!("a{name}").parse().unwrap(), value.to_string().parse().unwrap()))
        });
        let attributes: Attributes = named.collect();
        prop_assert_eq!(expression.holds(&attributes), tree.holds(&values));
        prop_assert_eq!(expression.objection(&attributes).is_none(), tree.holds(&values));
        prop_assert_eq!(expression.to_string().parse::<Expression>(), Ok(expression));
    }

    #[test]
    fn no_text_makes_reading_an_expression_panic(text in TEXTS) {
        if let Ok(expression) = text.parse::<Expression>() {
            prop_assert_eq!(expression.to_string().parse::<Expression>(), Ok(expression));
        }
    }
}
