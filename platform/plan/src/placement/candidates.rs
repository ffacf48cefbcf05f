//! The nodes that fit tasks which are placed one after the other, ordered by their strategies.
//!
//! What always holds: between two choices nothing changes but the node that was chosen and how many tasks have its attributes;
//! so only that node gets a new rank, and attributes are compared between the best of each part.

use super::nodes::{Free, Nodes};
use super::pool::Pool;
use super::{Wanted, deciding, is_one_per_node};
use skiff_types::{BinpackBy, Placement, PlacementStrategy, SpreadBy, TaskSize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// What the strategies say of a node, in their order; the least is taken.
type Ranks = [u64; Placement::STRATEGIES_MAX];

/// What one strategy looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Tasks of the group that have the same value of an attribute: the how many-th that is spread over. The same for all nodes
    /// of a part.
    Value(usize),
    /// Tasks of the group on the node.
    Instance,
    FreeCpu,
    FreeMemory,
    Chance,
}

/// A node in its part; the least is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    ranks: Ranks,
    free_memory_bytes: Reverse<u64>,
    number: u64,
    index: u32,
}

/// The nodes that fit, by part.
#[derive(Debug)]
enum Parts {
    Ordered(Vec<BinaryHeap<Reverse<Candidate>>>),
    /// In a part, chance alone decides.
    Equal(Vec<Vec<u32>>),
}

/// A node that was chosen.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) index: u32,
    part: usize,
}

/// The nodes that fit the next task.
pub(super) struct Candidates {
    size: TaskSize,
    is_one_per_node: bool,
    looks: Vec<Look>,
    pool: Arc<Pool>,
    parts: Parts,
    /// Tasks of the group by node.
    counts: Vec<u32>,
    /// Tasks of the group by each attribute's value.
    counts_of_values: Vec<Vec<u64>>,
    chance: Chance,
}

impl Candidates {
    pub(super) fn new(wanted: &Wanted<'_>, chance: u64, nodes: &mut Nodes) -> Self {
        let pool = nodes.pool(wanted.placement);
        let looks = looks(wanted.placement);
        let is_of_part = |look: &Look| matches!(look, Look::Value(_));
        let is_equal = looks
            .split_last()
            .is_some_and(|(last, before)| *last == Look::Chance && before.iter().all(is_of_part));
        let count = pool.parts().len();
        let mut candidates = Self {
            size: wanted.size,
            is_one_per_node: is_one_per_node(wanted.placement),
            looks,
            parts: Parts::Equal(Vec::new()),
            counts: vec![0; nodes.indexes_end()],
            counts_of_values: pool.values().map(|values| vec![0; values]).collect(),
            chance: Chance(chance),
            pool: Arc::clone(&pool),
        };
        for (index, tasks) in nodes.counts(wanted.group) {
            candidates.counts[index as usize] = tasks;
            candidates.count_values(pool.part_of(index), tasks);
        }
        let fitting = pool.members().iter().copied().filter(|index| {
            nodes.free(*index).fits(&wanted.size)
                && !(candidates.is_one_per_node && candidates.counts[*index as usize] > 0)
        });
        let fitting: Vec<u32> = fitting.collect();
        candidates.parts = if is_equal {
            let mut parts = vec![Vec::new(); count];
            for index in fitting {
                parts[pool.part_of(index)].push(index);
            }
            Parts::Equal(parts)
        } else {
            let mut parts = vec![Vec::new(); count];
            for index in fitting {
                let candidate = candidates.candidate(index, nodes.free(index), nodes.number(index));
                parts[pool.part_of(index)].push(Reverse(candidate));
            }
            Parts::Ordered(parts.into_iter().map(BinaryHeap::from).collect())
        };
        candidates
    }

    /// Takes out the best, if there is any.
    pub(super) fn choose(&mut self) -> Option<Choice> {
        let ranks_of = |part: usize, ranks: Ranks| {
            with_values(ranks, &self.looks, &self.pool.parts()[part], &self.counts_of_values)
        };
        match &mut self.parts {
            Parts::Ordered(parts) => {
                let tops = parts.iter().enumerate().filter_map(|(part, heap)| {
                    let Reverse(top) = heap.peek()?;
                    Some((Candidate { ranks: ranks_of(part, top.ranks), ..*top }, part))
                });
                let (candidate, part) = tops.min()?;
                parts[part].pop();
                Some(Choice { index: candidate.index, part })
            }
            Parts::Equal(parts) => {
                let filled = parts.iter().enumerate().filter(|(_, nodes)| !nodes.is_empty());
                let ranked: Vec<(Ranks, usize)> =
                    filled.map(|(part, _)| (ranks_of(part, Ranks::default()), part)).collect();
                let (least, _) = *ranked.iter().min()?;
                let best = ranked.into_iter().filter(|(ranks, _)| *ranks == least);
                let best: Vec<usize> = best.map(|(_, part)| part).collect();
                let mut at = self.chance.below(best.iter().map(|part| parts[*part].len()).sum());
                for part in best {
                    let count = parts[part].len();
                    if at < count {
                        return Some(Choice { index: parts[part].swap_remove(at), part });
                    }
                    at -= count;
                }
                None
            }
        }
    }

    /// A task was put on the node that was chosen last; it may be chosen again if another fits.
    pub(super) fn placed(&mut self, choice: &Choice, nodes: &Nodes) {
        self.counts[choice.index as usize] += 1;
        self.count_values(choice.part, 1);
        let free = nodes.free(choice.index);
        if self.is_one_per_node || !free.fits(&self.size) {
            return;
        }
        let candidate = self.candidate(choice.index, free, nodes.number(choice.index));
        match &mut self.parts {
            Parts::Ordered(parts) => parts[choice.part].push(Reverse(candidate)),
            Parts::Equal(parts) => parts[choice.part].push(choice.index),
        }
    }

    /// A node as it is now. Where chance ranks those that are equal so far, drawing once is as good as for each task: the one
    /// that is taken is then no longer equal to the others.
    fn candidate(&mut self, index: u32, free: &Free, number: u64) -> Candidate {
        let mut ranks = Ranks::default();
        for (rank, look) in ranks.iter_mut().zip(&self.looks) {
            *rank = match look {
                Look::Value(_) => 0,
                Look::Instance => u64::from(self.counts[index as usize]),
                Look::FreeCpu => free.cpu_units,
                Look::FreeMemory => free.memory_bytes,
                Look::Chance => self.chance.next(),
            };
        }
        Candidate { ranks, free_memory_bytes: Reverse(free.memory_bytes), number, index }
    }

    fn count_values(&mut self, part: usize, tasks: u32) {
        for (counts, value) in self.counts_of_values.iter_mut().zip(&self.pool.parts()[part]) {
            counts[*value as usize] += u64::from(tasks);
        }
    }
}

/// What the strategies look at, in their order.
fn looks(placement: &Placement) -> Vec<Look> {
    let strategies = deciding(placement);
    assert!(strategies.len() <= Placement::STRATEGIES_MAX, "a placement is checked before it is taken");
    let mut attributes = 0..;
    let look = |strategy: &PlacementStrategy| match strategy {
        PlacementStrategy::Spread(SpreadBy::Attribute(_)) => {
            Look::Value(attributes.next().expect("there is always a next number"))
        }
        PlacementStrategy::Spread(SpreadBy::Instance) => Look::Instance,
        PlacementStrategy::Binpack(BinpackBy::Cpu) => Look::FreeCpu,
        PlacementStrategy::Binpack(BinpackBy::Memory) => Look::FreeMemory,
        PlacementStrategy::Random => Look::Chance,
    };
    strategies.iter().map(look).collect()
}

/// A node's ranks with those that all nodes of its part share.
fn with_values(mut ranks: Ranks, looks: &[Look], values: &[u32], counts: &[Vec<u64>]) -> Ranks {
    for (rank, look) in ranks.iter_mut().zip(looks) {
        if let Look::Value(attribute) = look {
            *rank = counts[*attribute][values[*attribute] as usize];
        }
    }
    ranks
}

/// Numbers of chance that follow from one: SplitMix64 (Steele, Lea and Flood, 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}
