//! Capacity providers against naive models: packing by first fit, a table of quotients, and a cluster that carries out what is
//! decided.

use super::*;
use proptest::prelude::*;
use skiff_types::{CpuUnits, MemorySize, Span};

const MINUTE_MS: u64 = 60_000;

fn size(cpu: u32, memory_mib: u64) -> TaskSize {
    TaskSize { cpu: CpuUnits::new(cpu).unwrap(), memory: MemorySize::from_mib(memory_mib) }
}

fn waiting(tasks: u32, cpu: u32, memory_mib: u64) -> Waiting {
    Waiting { size: size(cpu, memory_mib), tasks, is_one_per_node: false }
}

const NODE: NodeCapacity = NodeCapacity { cpu_units: 2_048, memory: MemorySize::from_mib(4_096), tasks: 100 };

fn provider(target_percent: u8, steps: (u32, u32), nodes: (u32, u32)) -> CapacityProviderSpec {
    let scaling = ManagedScaling {
        target_percent,
        step_min: steps.0,
        step_max: steps.1,
        warmup: Span::from_ms(5 * MINUTE_MS),
    };
    let spec = CapacityProviderSpec {
        name: "spot".parse().unwrap(),
        nodes_min: nodes.0,
        nodes_max: nodes.1,
        managed_scaling: Some(scaling),
    };
    assert_eq!(spec.check(), Ok(()));
    spec
}

fn seen<'a>(ready: u32, busy: u32, asked_at_ms: &'a [u64], waiting: &'a [Waiting]) -> Seen<'a> {
    Seen { ready, busy, asked_at_ms, waiting, node: &NODE }
}

fn strategy(texts: &[&str]) -> CapacityProviderStrategy {
    CapacityProviderStrategy::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
}

#[test]
fn the_metric_is_as_ecs_has_it() {
    assert_eq!(reservation_percent(0, 0), 100.0);
    assert_eq!(reservation_percent(3, 0), 200.0);
    assert_eq!(reservation_percent(0, 4), 0.0);
    assert_eq!(reservation_percent(4, 4), 100.0);
    assert_eq!(reservation_percent(6, 4), 150.0);
}

#[test]
fn what_waits_says_how_many_nodes_it_needs() {
    assert_eq!(nodes_for(&[], &NODE), 0);
    assert_eq!(nodes_for(&[waiting(16, 256, 128)], &NODE), 2);
    assert_eq!(nodes_for(&[waiting(17, 256, 128)], &NODE), 3);
    // Each alone fits on one, all three together do not.
    assert_eq!(nodes_for(&[waiting(1, 1_024, 128); 3], &NODE), 2);
    assert_eq!(nodes_for(&[waiting(3, 16, 4_096), waiting(1, 16, 1)], &NODE), 4);
    assert_eq!(nodes_for(&[waiting(250, 16, 0)], &NODE), 3);
    let distinct = Waiting { is_one_per_node: true, ..waiting(5, 16, 1) };
    assert_eq!(nodes_for(&[distinct], &NODE), 5);
    let too_large = waiting(5, 4_096, 1);
    assert_eq!((too_large.per_node(&NODE), nodes_for(&[too_large], &NODE)), (0, 0));
}

#[test]
fn tasks_that_wait_add_nodes_at_once_and_only_once() {
    let spec = provider(100, (1, 10), (0, 20));
    let tasks = [waiting(20, 256, 128)];
    let first = decide(&spec, &seen(2, 2, &[], &tasks), None, 0);
    assert_eq!((first.change, first.needed, first.reservation_percent), (Change::Add(3), 5, 250.0));
    let asked = [0, 0, 0];
    let second = decide(&spec, &seen(2, 2, &asked, &tasks), None, MINUTE_MS);
    assert_eq!((second.change, second.again_at_ms), (Change::Stay, Some(5 * MINUTE_MS)));
    let more = [waiting(40, 256, 128)];
    assert_eq!(decide(&spec, &seen(2, 2, &asked, &more), None, MINUTE_MS).change, Change::Add(2));
    // Those did not come.
    let late = decide(&spec, &seen(2, 2, &asked, &tasks), None, 5 * MINUTE_MS);
    assert_eq!(late.change, Change::Add(3));
}

#[test]
fn steps_and_bounds_hold() {
    let tasks = [waiting(100, 2_048, 1)];
    let change =
        |spec: &CapacityProviderSpec, ready| decide(spec, &seen(ready, ready, &[], &tasks), None, 0).change;
    assert_eq!(change(&provider(100, (1, 10), (0, 1_000)), 5), Change::Add(10));
    assert_eq!(change(&provider(100, (1, 10_000), (0, 30)), 5), Change::Add(25));
    assert_eq!(change(&provider(100, (1, 10_000), (0, 5)), 5), Change::Stay);
    let one = [waiting(1, 256, 128)];
    let spec = provider(100, (4, 10), (0, 1_000));
    assert_eq!(decide(&spec, &seen(5, 5, &[], &one), None, 0).change, Change::Add(4));
    assert_eq!(decide(&spec, &seen(5, 5, &[0; 4], &one), None, 1).change, Change::Stay);
    let empty = decide(&provider(100, (1, 10), (3, 10)), &seen(0, 0, &[], &[]), None, 0);
    assert_eq!(empty.change, Change::Add(3));
}

#[test]
fn a_target_below_100_keeps_some_spare() {
    let spec = provider(80, (1, 100), (0, 1_000));
    assert_eq!(decide(&spec, &seen(8, 8, &[], &[]), None, 0).change, Change::Add(2));
    let rested = decide(&spec, &seen(10, 8, &[], &[]), None, 0);
    assert_eq!((rested.change, rested.calm_since_ms), (Change::Stay, None));
    assert_eq!(decide(&spec, &seen(12, 8, &[], &[]), Some(0), CALM_MS).change, Change::Remove(2));
}

#[test]
fn nodes_are_given_up_only_after_a_calm() {
    let spec = provider(100, (1, 10), (1, 20));
    let first = decide(&spec, &seen(5, 0, &[], &[]), None, 1_000);
    assert_eq!((first.change, first.calm_since_ms), (Change::Stay, Some(1_000)));
    assert_eq!(first.again_at_ms, Some(1_000 + CALM_MS));
    let second = decide(&spec, &seen(5, 0, &[], &[]), first.calm_since_ms, 999 + CALM_MS);
    assert_eq!(second.change, Change::Stay);
    let third = decide(&spec, &seen(5, 0, &[], &[]), second.calm_since_ms, 1_000 + CALM_MS);
    assert_eq!(third.change, Change::Remove(4));
    let interrupted = decide(&spec, &seen(5, 5, &[], &[]), second.calm_since_ms, 2_000);
    assert_eq!(interrupted.calm_since_ms, None);
    let warming = decide(&spec, &seen(5, 0, &[2_000], &[]), Some(0), CALM_MS);
    assert_eq!(
        (warming.change, warming.calm_since_ms),
        (Change::Remove(4), Some(0)),
        "it is warm long since"
    );
    let warming = decide(&spec, &seen(5, 0, &[CALM_MS], &[]), Some(0), CALM_MS);
    assert_eq!((warming.change, warming.calm_since_ms), (Change::Stay, None));
}

#[test]
fn who_is_not_managed_is_only_measured() {
    let spec = CapacityProviderSpec { managed_scaling: None, ..provider(100, (1, 10), (0, 10)) };
    let decision = decide(&spec, &seen(2, 1, &[], &[waiting(17, 256, 128)]), None, 0);
    assert_eq!((decision.change, decision.reservation_percent), (Change::Stay, 250.0));
    let idle = decide(&spec, &seen(4, 1, &[], &[]), None, 0);
    assert_eq!(
        (idle.needed, idle.reservation_percent),
        (1, 25.0),
        "where nothing waits, what is busy is needed"
    );
}

#[test]
fn none_is_given_up_while_tasks_wait_although_there_are_more_than_there_may_be() {
    let spec = provider(100, (1, 10), (0, 3));
    let calm = |waiting: &[Waiting]| decide(&spec, &seen(5, 2, &[], waiting), Some(0), CALM_MS);
    assert_eq!(calm(&[]).change, Change::Remove(3));
    let waits = calm(&[waiting(1, 256, 128)]);
    assert_eq!((waits.change, waits.calm_since_ms), (Change::Stay, None));
}

#[test]
fn tasks_are_divided_by_base_and_weight() {
    let split = |texts: &[&str], tasks| split(&strategy(texts), tasks);
    assert_eq!(split(&["on-demand=1", "spot=4"], 5), [1, 4]);
    assert_eq!(split(&["on-demand=1", "spot=4"], 100), [20, 80]);
    assert_eq!(split(&["on-demand=1,base=2", "spot=4"], 1), [1, 0]);
    assert_eq!(split(&["on-demand=1,base=2", "spot=4"], 12), [4, 8]);
    assert_eq!(split(&["on-demand=0,base=3", "spot=1"], 10), [3, 7]);
    assert_eq!(split(&["a=1", "b=0", "c=1"], 5), [3, 0, 2]);
}

fn groups() -> impl Strategy<Value = Vec<Waiting>> {
    let group = (0..40u32, 16..3_000u32, 0..6_000u64, any::<bool>());
    let group = group.prop_map(|(tasks, cpu, memory_mib, is_one_per_node)| Waiting {
        is_one_per_node,
        ..waiting(tasks, cpu, memory_mib)
    });
    prop::collection::vec(group, 0..6)
}

/// How many nodes first fit takes, those groups apart that fit on none.
fn packed(groups: &[Waiting]) -> u32 {
    let mut nodes: Vec<(u64, u64, u32, Vec<usize>)> = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let (cpu, memory) = (u64::from(group.size.cpu.get()), group.size.memory.bytes());
        if cpu > NODE.cpu_units || memory > NODE.memory.bytes() {
            continue;
        }
        for _ in 0..group.tasks {
            let found = nodes.iter_mut().find(|(cpu_left, memory_left, slots, of)| {
                *cpu_left >= cpu
                    && *memory_left >= memory
                    && *slots > 0
                    && !(group.is_one_per_node && of.contains(&number))
            });
            match found {
                Some((cpu_left, memory_left, slots, of)) => {
                    *cpu_left -= cpu;
                    *memory_left -= memory;
                    *slots -= 1;
                    of.push(number);
                }
                None => nodes.push((
                    NODE.cpu_units - cpu,
                    NODE.memory.bytes() - memory,
                    NODE.tasks - 1,
                    vec![number],
                )),
            }
        }
    }
    nodes.len() as u32
}

/// A thing that can happen to a cluster.
#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    /// Tasks of 256 units want a place.
    Start(u32),
    /// Tasks end.
    End(u32),
    /// Nodes that were asked for come.
    Come(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0..20 * MINUTE_MS).prop_map(Event::Wait),
        (1..60u32).prop_map(Event::Start),
        (1..60u32).prop_map(Event::End),
        (0..10u32).prop_map(Event::Come),
    ];
    prop::collection::vec(event, 0..60)
}

/// A cluster of nodes that take eight tasks of 256 units each.
#[derive(Debug, Default)]
struct Cluster {
    /// Tasks by node.
    nodes: Vec<u32>,
    asked_at_ms: Vec<u64>,
    waiting: u32,
    calm_since_ms: Option<u64>,
    now_ms: u64,
}

impl Cluster {
    fn place(&mut self) {
        for node in &mut self.nodes {
            let taken = self.waiting.min(8 - *node);
            *node += taken;
            self.waiting -= taken;
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Wait(ms) => self.now_ms += ms,
            Event::Start(tasks) => self.waiting += tasks,
            Event::End(tasks) => {
                let mut left = *tasks;
                for node in &mut self.nodes {
                    let ended = left.min(*node);
                    *node -= ended;
                    left -= ended;
                }
            }
            Event::Come(nodes) => {
                let come = (*nodes as usize).min(self.asked_at_ms.len());
                self.asked_at_ms.truncate(self.asked_at_ms.len() - come);
                self.nodes.extend(std::iter::repeat_n(0, come));
            }
        }
        self.place();
    }

    /// Asks, and does what is said.
    fn decide(&mut self, spec: &CapacityProviderSpec) -> Change {
        let scaling = spec.managed_scaling.as_ref().unwrap();
        // What did not come in time is given up.
        self.asked_at_ms.retain(|asked_at_ms| asked_at_ms + scaling.warmup.ms() > self.now_ms);
        let tasks = [waiting(self.waiting, 256, 128)];
        let busy = self.nodes.iter().filter(|tasks| **tasks > 0).count() as u32;
        let ready = self.nodes.len() as u32;
        let decision =
            decide(spec, &seen(ready, busy, &self.asked_at_ms, &tasks), self.calm_since_ms, self.now_ms);
        self.calm_since_ms = decision.calm_since_ms;
        match decision.change {
            Change::Stay => {}
            Change::Add(nodes) => self.asked_at_ms.extend(std::iter::repeat_n(self.now_ms, nodes as usize)),
            Change::Remove(nodes) => {
                assert!(nodes <= ready - busy, "a node in use is given up");
                assert_eq!((self.waiting, self.asked_at_ms.len()), (0, 0));
                for _ in 0..nodes {
                    let idle = self.nodes.iter().position(|tasks| *tasks == 0).unwrap();
                    self.nodes.remove(idle);
                }
            }
        }
        decision.change
    }
}

proptest! {
    #[test]
    fn fewer_nodes_would_not_do(groups in groups()) {
        prop_assert!(nodes_for(&groups, &NODE) <= packed(&groups));
    }

    #[test]
    fn of_tasks_that_are_alike_it_is_as_many_as_they_fill(groups in groups()) {
        for group in &groups {
            prop_assert_eq!(nodes_for(&[*group], &NODE), packed(&[*group]));
        }
    }

    #[test]
    fn whatever_happens_all_get_a_place_and_then_nothing_moves(
        events in events(),
        target_percent in prop::sample::select(vec![50, 90, 100_u8]),
        step_min in 1..4u32,
        more_steps in 0..10u32,
        nodes_min in 0..4u32,
    ) {
        let spec = provider(target_percent, (step_min, step_min + more_steps), (nodes_min, 5_000));
        let mut cluster = Cluster::default();
        for event in &events {
            cluster.happen(event);
            cluster.decide(&spec);
            prop_assert!(cluster.nodes.len() + cluster.asked_at_ms.len() <= 5_000);
            prop_assert_eq!(cluster.decide(&spec), Change::Stay, "what was carried out is decided again");
        }
        // From now on whatever is asked for comes.
        let mut rounds = 0;
        loop {
            cluster.happen(&Event::Come(u32::MAX));
            cluster.happen(&Event::Wait(CALM_MS));
            if cluster.decide(&spec) == Change::Stay && cluster.calm_since_ms.is_none() {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 5_000, "it does not come to rest");
        }
        let busy = cluster.nodes.iter().filter(|tasks| **tasks > 0).count() as u64;
        let wanted = (busy * 100).div_ceil(u64::from(target_percent)).max(u64::from(nodes_min));
        prop_assert_eq!((cluster.waiting, cluster.nodes.len() as u64), (0, wanted));
    }

    #[test]
    fn a_split_is_that_of_the_table_of_quotients(
        weights in prop::collection::vec(0..20u16, 1..6),
        base in 0..10u32,
        based in 0..6usize,
        tasks in 0..60u32,
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let based = based % weights.len();
        let item = |(index, weight): (usize, &u16)| {
            let base = if index == based { base } else { 0 };
            CapacityProviderStrategyItem { provider: format!("p{index}").parse().unwrap(), weight: *weight, base }
        };
        let strategy =
            CapacityProviderStrategy::new(weights.iter().enumerate().map(item).collect()).unwrap();
        let mut expected = vec![0; weights.len()];
        expected[based] = tasks.min(base);
        let rest = tasks - tasks.min(base);
        // Every seat that each could have, the ones that come first first.
        let mut seats: Vec<(f64, usize)> = Vec::new();
        for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
            let seat = |seat: u32| (f64::from(2 * seat + 1) / f64::from(*weight), index);
            seats.extend((0..rest).map(seat));
        }
        seats.sort_by(|left, right| left.partial_cmp(right).unwrap());
        for (_, index) in seats.iter().take(rest as usize) {
            expected[*index] += 1;
        }
        let split = split(&strategy, tasks);
        prop_assert_eq!(&split, &expected);
        // One more moves none.
        let mut more = split.clone();
        more[next_provider(&strategy, &split)] += 1;
        prop_assert_eq!(super::split(&strategy, tasks + 1), more);
    }

    #[test]
    fn a_whole_round_of_weights_is_divided_exactly(
        weights in prop::collection::vec(0..50u16, 1..6),
        rounds in 1..5u32,
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let item = |(index, weight): (usize, &u16)| -> CapacityProviderStrategyItem {
            format!("p{index}={weight}").parse().unwrap()
        };
        let strategy =
            CapacityProviderStrategy::new(weights.iter().enumerate().map(item).collect()).unwrap();
        let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        let exact: Vec<u32> = weights.iter().map(|weight| u32::from(*weight) * rounds).collect();
        prop_assert_eq!(split(&strategy, total * rounds), exact);
    }
}
