//! How many nodes a capacity provider is to have, and how tasks are divided among several, after ECS's cluster auto scaling.
//!
//! Tasks that wait for a place say how many nodes are needed at least; while none waits, the nodes in use are what is needed.
//! `CapacityProviderReservation` is what is needed in percent of what is there, and the count of nodes follows it to its target.
//!
//! It deliberately names no node: whoever carries it out removes nodes on which no task runs. ECS waits for alarms of a minute;
//! here the nodes that were asked for count until they are there or their warm-up is over, so that what is needed is asked for
//! at once, and once.
//!
//! What always holds: no node that is in use is given up, none is given up while a task waits that one could take or a node
//! warms up, and the provider's bounds on its nodes hold.

#[cfg(test)]
mod tests;

use skiff_types::{
    CapacityProviderSpec, CapacityProviderStrategy, CapacityProviderStrategyItem, ManagedScaling,
    NodeCapacity, TaskSize,
};

/// For so long fewer nodes must have been enough before any is given up: as in ECS, whose alarm waits for 15 minutes.
pub const CALM_MS: u64 = 900_000;

/// Tasks without a place that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// What each takes.
    pub size: TaskSize,
    /// How many there are.
    pub tasks: u32,
    /// Whether no node may have two of them.
    pub is_one_per_node: bool,
}

impl Waiting {
    /// How many of them an empty node takes; where it is none, no node of this kind will ever help.
    pub fn per_node(&self, node: &NodeCapacity) -> u64 {
        let times = |there: u64, each: u64| there.checked_div(each).unwrap_or(u64::MAX);
        let fitting = times(node.cpu_units, u64::from(self.size.cpu.get()))
            .min(times(node.memory.bytes(), self.size.memory.bytes()))
            .min(u64::from(node.tasks));
        if self.is_one_per_node { fitting.min(1) } else { fitting }
    }
}

/// How many empty nodes are needed at least for tasks that wait, those apart that fit on none: as many as the most demanding of
/// them needs, and as all together need of each resource.
pub fn nodes_for(waiting: &[Waiting], node: &NodeCapacity) -> u32 {
    let (mut most, mut cpu_units, mut memory_bytes, mut tasks) = (0_u64, 0_u64, 0_u64, 0_u64);
    for group in waiting {
        let (count, per_node) = (u64::from(group.tasks), group.per_node(node));
        if per_node == 0 {
            continue;
        }
        most = most.max(count.div_ceil(per_node));
        cpu_units = cpu_units.saturating_add(count * u64::from(group.size.cpu.get()));
        memory_bytes = memory_bytes.saturating_add(count.saturating_mul(group.size.memory.bytes()));
        tasks = tasks.saturating_add(count);
    }
    let nodes = |needed: u64, of_one: u64| if needed == 0 { 0 } else { needed.div_ceil(of_one.max(1)) };
    let least = most
        .max(nodes(cpu_units, node.cpu_units))
        .max(nodes(memory_bytes, node.memory.bytes()))
        .max(nodes(tasks, u64::from(node.tasks)));
    u32::try_from(least).unwrap_or(u32::MAX)
}

/// `CapacityProviderReservation`: the nodes that are needed in percent of those that are there. Without any node 100 if none is
/// needed, and 200 otherwise.
pub fn reservation_percent(needed: u32, there: u32) -> f64 {
    match (needed, there) {
        (0, 0) => 100.0,
        (_, 0) => 200.0,
        (needed, there) => f64::from(needed) * 100.0 / f64::from(there),
    }
}

/// What is seen of a capacity provider.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Nodes that take tasks.
    pub ready: u32,
    /// Those of them on which tasks run other than one per node.
    pub busy: u32,
    /// When the nodes were asked for that do not take tasks yet.
    pub asked_at_ms: &'a [u64],
    /// Tasks that have no place and are to run here.
    pub waiting: &'a [Waiting],
    /// What a new node has room for.
    pub node: &'a NodeCapacity,
}

/// What becomes of the count of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Stay,
    /// So many are asked for.
    Add(u32),
    /// So many of those on which no task runs are given up.
    Remove(u32),
}

/// What is decided of a capacity provider.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub change: Change,
    /// The nodes that are needed.
    pub needed: u32,
    /// The metric of that name.
    pub reservation_percent: f64,
    /// Since when fewer nodes are enough, to be told the next time.
    pub calm_since_ms: Option<u64>,
    /// Look again then, if nothing has changed.
    pub again_at_ms: Option<u64>,
}

/// Decides on the count of nodes at `now_ms`; `calm_since_ms` is what was decided the last time.
pub fn decide(
    spec: &CapacityProviderSpec,
    seen: &Seen<'_>,
    calm_since_ms: Option<u64>,
    now_ms: u64,
) -> Decision {
    let extra = nodes_for(seen.waiting, seen.node);
    let steps = |scaling: &ManagedScaling, nodes: u32| nodes.max(scaling.step_min).min(scaling.step_max);
    let needed = match &spec.managed_scaling {
        Some(scaling) if extra > 0 => seen.ready.saturating_add(steps(scaling, extra)),
        None if extra > 0 => seen.ready.saturating_add(extra),
        Some(_) | None => seen.busy,
    };
    let stay = Decision {
        change: Change::Stay,
        needed,
        reservation_percent: reservation_percent(needed, seen.ready),
        calm_since_ms: None,
        again_at_ms: None,
    };
    let Some(scaling) = &spec.managed_scaling else { return stay };
    let warm_at_ms =
        seen.asked_at_ms.iter().map(|asked_at_ms| asked_at_ms.saturating_add(scaling.warmup.ms()));
    let warming: Vec<u64> = warm_at_ms.filter(|warm_at_ms| *warm_at_ms > now_ms).collect();
    let stay = Decision { again_at_ms: warming.iter().copied().min(), ..stay };
    let wanted = (u64::from(needed) * 100).div_ceil(u64::from(scaling.target_percent.max(1)));
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).max(spec.nodes_min).min(spec.nodes_max);
    let coming = seen.ready.saturating_add(warming.len() as u32);
    if wanted > seen.ready {
        // What comes already is a part of the step.
        let aim = seen.ready.saturating_add(steps(scaling, wanted - seen.ready)).min(spec.nodes_max);
        let change = if aim > coming { Change::Add(aim - coming) } else { Change::Stay };
        return Decision { change, ..stay };
    }
    let surplus = seen.ready.saturating_sub(wanted.max(seen.busy));
    if surplus == 0 || extra > 0 || !warming.is_empty() {
        return stay;
    }
    // The clock may have been put back.
    let since_ms = calm_since_ms.map_or(now_ms, |since_ms| since_ms.min(now_ms));
    let due_at_ms = since_ms.saturating_add(CALM_MS);
    if now_ms < due_at_ms {
        return Decision { calm_since_ms: Some(since_ms), again_at_ms: Some(due_at_ms), ..stay };
    }
    Decision { change: Change::Remove(surplus), calm_since_ms: Some(since_ms), ..stay }
}

/// Which capacity provider gets the next task where each has so many, by its place in the strategy: the one whose base is not
/// reached, then the one that is the furthest from its share (Sainte-Laguë's method: 1, 3, 5, ... by weight), of equal ones the
/// first.
pub fn next_provider(strategy: &CapacityProviderStrategy, there: &[u32]) -> usize {
    let items = strategy.items();
    assert_eq!(items.len(), there.len(), "a count for each capacity provider");
    let is_below_base = |(item, tasks): (&CapacityProviderStrategyItem, &u32)| *tasks < item.base;
    if let Some(index) = items.iter().zip(there).position(is_below_base) {
        return index;
    }
    // What stands for how far it is served already: twice its tasks beyond the base and one, over its weight.
    let served = |index: usize| 2 * u64::from(there[index] - items[index].base) + 1;
    let weight = |index: usize| u64::from(items[index].weight);
    // One without a weight comes after all that have one; not all are without.
    let next = (0..items.len())
        .min_by(|left, right| (served(*left) * weight(*right)).cmp(&(served(*right) * weight(*left))));
    next.expect("a strategy names one at least")
}

/// How many of so many tasks each capacity provider gets, in the strategy's order. One task more moves none of the others.
pub fn split(strategy: &CapacityProviderStrategy, tasks: u32) -> Vec<u32> {
    let mut there = vec![0; strategy.items().len()];
    for _ in 0..tasks {
        let next = next_provider(strategy, &there);
        there[next] += 1;
    }
    there
}
