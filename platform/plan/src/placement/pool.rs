//! Which nodes one placement lets come into question, and how what it spreads over divides them: into parts that have the same
//! value of each attribute.
//!
//! It knows neither tasks nor what is free. It is told of every node that comes, changes or goes.

use super::deciding;
use skiff_types::{AttributeName, AttributeValue, NodeSpec, Placement, PlacementStrategy, SpreadBy};
use std::collections::HashMap;

/// Parts beyond two for each node that are kept although no node may be in them any more.
const PARTS_SPARE: usize = 64;

/// The nodes of one placement.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    /// Where those are that come into question and take new tasks, in order.
    members: Vec<u32>,
    /// In which part a node is, by where it is. Of every node, since tasks count that are on the others.
    part_of: Vec<u32>,
    /// Of each part, which value of each attribute.
    parts: Vec<Vec<u32>>,
    part_of_values: HashMap<Vec<u32>, u32>,
    /// Of each attribute that is spread over, the values that were seen, by number.
    values: Vec<HashMap<Option<AttributeValue>, u32>>,
}

impl Pool {
    pub(super) fn new(placement: &Placement) -> Self {
        Self {
            members: Vec::new(),
            part_of: Vec::new(),
            parts: Vec::new(),
            part_of_values: HashMap::new(),
            values: spread_over(placement).map(|_| HashMap::new()).collect(),
        }
    }

    /// A node is this, or is gone.
    pub(super) fn note(&mut self, placement: &Placement, index: u32, spec: Option<&NodeSpec>) {
        let is_member = spec.is_some_and(|spec| !spec.is_draining && placement.admits(&spec.attributes));
        match (self.members.binary_search(&index), is_member) {
            (Err(at), true) => self.members.insert(at, index),
            (Ok(at), false) => {
                self.members.remove(at);
            }
            (Ok(_), true) | (Err(_), false) => {}
        }
        let Some(spec) = spec else { return };
        let number = |(attribute, known): (&AttributeName, &mut HashMap<Option<AttributeValue>, u32>)| {
            let next = known.len() as u32;
            *known.entry(spec.attributes.get(attribute).cloned()).or_insert(next)
        };
        let values: Vec<u32> = spread_over(placement).zip(&mut self.values).map(number).collect();
        let next = self.parts.len() as u32;
        let part = *self.part_of_values.entry(values.clone()).or_insert(next);
        if part == next {
            self.parts.push(values);
        }
        if self.part_of.len() <= index as usize {
            self.part_of.resize(index as usize + 1, 0);
        }
        self.part_of[index as usize] = part;
    }

    /// Whether it remembers few parts beside those that so many nodes can be in.
    pub(super) fn is_compact(&self, nodes: usize) -> bool {
        self.parts.len() <= 2 * nodes + PARTS_SPARE
    }

    pub(super) fn members(&self) -> &[u32] {
        &self.members
    }

    pub(super) fn part_of(&self, index: u32) -> usize {
        self.part_of[index as usize] as usize
    }

    pub(super) fn parts(&self) -> &[Vec<u32>] {
        &self.parts
    }

    /// How many values each attribute has that is spread over.
    pub(super) fn values(&self) -> impl Iterator<Item = usize> + '_ {
        self.values.iter().map(HashMap::len)
    }
}

/// The attributes that are spread over, in the strategies' order.
fn spread_over(placement: &Placement) -> impl Iterator<Item = &AttributeName> {
    deciding(placement).iter().filter_map(|strategy| match strategy {
        PlacementStrategy::Spread(SpreadBy::Attribute(name)) => Some(name),
        PlacementStrategy::Spread(SpreadBy::Instance)
        | PlacementStrategy::Binpack(_)
        | PlacementStrategy::Random => None,
    })
}
