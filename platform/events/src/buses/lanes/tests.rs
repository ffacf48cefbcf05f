//! Lanes: how many at once, in which order, and who gets the next turn.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn key(target: &str) -> LaneKey {
    LaneKey { origin: Origin::Rule("default/rule".parse().unwrap()), target: target.parse().unwrap() }
}

fn id(event: u64) -> DeliveryId {
    DeliveryId { event, index: 0 }
}

fn lanes(all: usize, shared: usize) -> Lanes {
    Lanes::new(UnderWayMax { all, shared })
}

/// Makes deliveries of a target ready, without an order.
fn fill(lanes: &mut Lanes, target: &str, concurrency: u32, events: std::ops::Range<u64>) -> LaneId {
    let mut lane = None;
    for event in events {
        let (lane_id, is_first) = lanes.enter(&key(target), concurrency, None, id(event));
        assert!(is_first);
        lanes.ready(lane_id, id(event));
        lane = Some(lane_id);
    }
    lane.unwrap()
}

fn started(lanes: &mut Lanes) -> Vec<u64> {
    std::iter::from_fn(|| lanes.next()).map(|(_, id)| id.event).collect()
}

fn leave(lanes: &mut Lanes, lane: LaneId, event: u64) {
    assert_eq!(lanes.leave(lane, None, id(event)), None);
    lanes.ended(lane);
}

#[test]
fn a_target_has_as_many_at_once_as_it_says() {
    let mut lanes = lanes(100, 100);
    let lane = fill(&mut lanes, "work", 2, 0..5);
    assert_eq!(started(&mut lanes), [0, 1]);
    leave(&mut lanes, lane, 0);
    assert_eq!(started(&mut lanes), [2]);
    lanes.set_concurrency(&key("work"), 3);
    assert_eq!(started(&mut lanes), [3]);
    lanes.set_concurrency(&key("work"), 1);
    leave(&mut lanes, lane, 1);
    leave(&mut lanes, lane, 2);
    assert_eq!(started(&mut lanes), [0; 0]);
    leave(&mut lanes, lane, 3);
    assert_eq!(started(&mut lanes), [4]);
}

#[test]
fn a_slow_target_holds_up_no_other() {
    let mut lanes = lanes(4, 2);
    let slow = fill(&mut lanes, "slow", 1_000, 0..100);
    assert_eq!(started(&mut lanes), [0, 1], "more than is shared");
    fill(&mut lanes, "first", 1_000, 100..110);
    fill(&mut lanes, "second", 1_000, 110..120);
    fill(&mut lanes, "third", 1_000, 120..130);
    assert_eq!(started(&mut lanes), [100, 110], "each has one, as long as there is room at all");
    leave(&mut lanes, slow, 0);
    assert_eq!(started(&mut lanes), [120], "who has none comes before who has some");
}

#[test]
fn what_is_shared_goes_round() {
    let mut lanes = lanes(100, 4);
    fill(&mut lanes, "first", 10, 0..10);
    fill(&mut lanes, "second", 10, 10..20);
    assert_eq!(started(&mut lanes), [0, 10, 1, 11]);
}

#[test]
fn what_has_one_order_key_goes_one_after_the_other() {
    let mut lanes = lanes(100, 100);
    let order: Arc<str> = "a".into();
    let (lane, is_first) = lanes.enter(&key("work"), 10, Some(&order), id(0));
    assert!(is_first);
    assert!(!lanes.enter(&key("work"), 10, Some(&order), id(1)).1);
    assert!(!lanes.enter(&key("work"), 10, Some(&order), id(2)).1);
    assert!(lanes.enter(&key("work"), 10, Some(&"b".into()), id(3)).1);
    assert!(lanes.enter(&key("other"), 10, Some(&order), id(4)).1, "order is a target's own");
    lanes.ready(lane, id(0));
    lanes.ready(lane, id(3));
    assert_eq!(started(&mut lanes), [0, 3]);
    lanes.leave_from_behind(lane, &order, id(1));
    assert_eq!(lanes.leave(lane, Some(&order), id(0)), Some(id(2)));
    lanes.ended(lane);
    assert_eq!(lanes.leave(lane, Some(&order), id(2)), None);
    assert!(lanes.enter(&key("work"), 10, Some(&order), id(5)).1);
}

#[test]
fn a_busy_target_is_asked_later_with_the_same() {
    let mut lanes = lanes(100, 100);
    let lane = fill(&mut lanes, "work", 2, 0..4);
    assert_eq!(started(&mut lanes), [0, 1]);
    assert_eq!(lanes.busy(lane, id(1)), Some(1));
    lanes.ended(lane);
    assert_eq!(lanes.busy(lane, id(0)), None, "it is paused already");
    lanes.ended(lane);
    assert_eq!(started(&mut lanes), [0; 0]);
    lanes.resume(lane);
    assert_eq!(started(&mut lanes), [0, 1]);
    assert_eq!(lanes.busy(lane, id(0)), Some(2));
    lanes.ended(lane);
    lanes.took(lane);
    leave(&mut lanes, lane, 1);
    lanes.resume(lane);
    assert_eq!(started(&mut lanes), [0, 2]);
    assert_eq!(lanes.busy(lane, id(2)), Some(1), "it took something in between");
}

#[test]
fn a_closed_lane_has_no_turn_and_its_name_is_free() {
    let mut lanes = lanes(100, 100);
    let lane = fill(&mut lanes, "work", 1, 0..3);
    assert_eq!(started(&mut lanes), [0]);
    assert_eq!(lanes.close(|_| false), [0, 1, 2].map(id));
    assert!(lanes.close(|_| false).is_empty(), "it is closed already");
    assert!(lanes.is_closed(lane));
    let other = fill(&mut lanes, "work", 1, 10..11);
    assert_ne!(other, lane);
    assert_eq!(started(&mut lanes), [10]);
    leave(&mut lanes, lane, 0);
    assert_eq!(lanes.leave(lane, None, id(1)), None);
    assert_eq!(lanes.leave(lane, None, id(2)), None);
    leave(&mut lanes, other, 10);
    assert!(lanes.lanes.is_empty() && lanes.by_key.is_empty());
    assert_eq!(lanes.under_way(), 0);
}

#[test]
fn who_closes_a_lane_is_told_what_is_in_that_one_alone() {
    let mut lanes = lanes(100, 100);
    let order: Arc<str> = "a".into();
    // Of these one is under way, one is ready, one waits for the drive, and one waits behind it.
    let lane = fill(&mut lanes, "work", 1, 0..2);
    fill(&mut lanes, "other", 1, 2..1_000);
    assert!(lanes.enter(&key("work"), 1, Some(&order), id(1_000)).1);
    assert!(!lanes.enter(&key("work"), 1, Some(&order), id(1_001)).1);
    assert_eq!(started(&mut lanes), [0, 2]);
    lanes.leave_from_behind(lane, &order, id(1_001));
    assert!(!lanes.enter(&key("work"), 1, Some(&order), id(1_002)).1);
    assert!(lanes.close_those(&[key("nobody")]).is_empty());
    assert_eq!(lanes.close_those(&[key("work"), key("nobody")]), [0, 1, 1_000, 1_002].map(id));
    assert!(lanes.close_those(&[key("work")]).is_empty(), "it is closed already");
}

#[test]
fn lines_stay_short_however_long_others_hold_what_is_shared() {
    let mut lanes = lanes(100, 2);
    fill(&mut lanes, "slow", 2, 0..2);
    assert_eq!(started(&mut lanes), [0, 1]);
    let mut lane = fill(&mut lanes, "work", 2, 2..4);
    for event in 4..5_000 {
        let started = started(&mut lanes);
        assert_eq!(started.len(), 1);
        leave(&mut lanes, lane, started[0]);
        lane = fill(&mut lanes, "work", 2, event..event + 1);
    }
    assert!(lanes.alone.len() + lanes.shared.len() <= 4, "a lane stands in line more than once");
    for event in 5_000..10_000 {
        let passing = format!("t{event}");
        let lane = fill(&mut lanes, &passing, 2, 2 * event..2 * event + 2);
        for number in 2 * event..2 * event + 2 {
            while lanes.next().is_some_and(|(started, _)| started != lane) {}
            leave(&mut lanes, lane, number);
        }
    }
    assert!(lanes.shared.len() < 3 * GONE_MAX, "lanes that are gone stand in line");
    assert_eq!(lanes.there(&"default".parse().unwrap()), 2 + 2);
}

/// One step of somebody who uses lanes.
#[derive(Debug, Clone)]
enum Step {
    /// A delivery comes for a target, perhaps with an order key.
    Enter { target: usize, order: Option<u8> },
    /// The oldest or the newest that is under way ends: it leaves, or its target was busy.
    End { is_oldest: bool, is_busy: bool },
    /// Paused lanes go on.
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_usize, proptest::option::of(0..3_u8)).prop_map(|(target, order)| Step::Enter { target, order }),
        4 => (any::<bool>(), proptest::bool::weighted(0.2))
            .prop_map(|(is_oldest, is_busy)| Step::End { is_oldest, is_busy }),
        1 => Just(Step::Resume),
    ];
    proptest::collection::vec(step, 0..200)
}

/// What a model knows of each delivery: its target and its order key.
type Known = BTreeMap<u64, (usize, Option<Arc<str>>, LaneId)>;

const TARGETS: [(&str, u32); 4] = [("a", 1), ("b", 2), ("c", 3), ("d", 10)];
const MAX: UnderWayMax = UnderWayMax { all: 6, shared: 4 };

/// Starts what has its turn, and checks the bounds and the order.
fn check_started(
    lanes: &mut Lanes,
    known: &Known,
    going: &mut Vec<(LaneId, u64)>,
    last: &mut BTreeMap<(usize, Arc<str>), u64>,
) -> Result<(), TestCaseError> {
    while let Some((lane, id)) = lanes.next() {
        let (target, order, _) = &known[&id.event];
        going.push((lane, id.event));
        prop_assert!(going.len() <= MAX.all);
        let of_lane = going.iter().filter(|(other, _)| *other == lane).count();
        prop_assert!(of_lane <= TARGETS[*target].1 as usize, "too many at once");
        if let Some(order) = order {
            let same = going.iter().filter(|(_, event)| {
                let (other, other_order, _) = &known[event];
                other == target && other_order.as_ref() == Some(order)
            });
            prop_assert_eq!(same.count(), 1, "two of one order key at once");
            let before = last.insert((*target, order.clone()), id.event);
            prop_assert!(before.is_none_or(|before| before <= id.event), "out of order");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn bounds_and_order_hold_and_all_have_their_turn(steps in steps()) {
        let mut lanes = Lanes::new(MAX);
        let (mut known, mut going, mut last) = (Known::new(), Vec::new(), BTreeMap::new());
        let mut paused = BTreeSet::new();
        let mut left = BTreeSet::new();
        let drain = std::iter::repeat_n([Step::Resume, Step::End { is_oldest: true, is_busy: false }], 250).flatten();
        for (event, step) in (0..).zip(steps.into_iter().chain(drain)) {
            match step {
                Step::Enter { target, order } => {
                    let order: Option<Arc<str>> = order.map(|order| order.to_string().into());
                    let (name, concurrency) = TARGETS[target];
                    let (lane, is_first) = lanes.enter(&key(name), concurrency, order.as_ref(), id(event));
                    known.insert(event, (target, order, lane));
                    if is_first {
                        lanes.ready(lane, id(event));
                    }
                }
                Step::End { is_oldest, is_busy } if !going.is_empty() => {
                    let place = if is_oldest { 0 } else { going.len() - 1 };
                    let (lane, event) = going.remove(place);
                    if is_busy {
                        if lanes.busy(lane, id(event)).is_some() {
                            paused.insert(lane);
                        }
                    } else {
                        prop_assert!(left.insert(event), "twice");
                        if let Some(next) = lanes.leave(lane, known[&event].1.as_ref(), id(event)) {
                            lanes.ready(lane, next);
                        }
                    }
                    lanes.ended(lane);
                }
                Step::End { .. } => {}
                Step::Resume => std::mem::take(&mut paused).into_iter().for_each(|lane| lanes.resume(lane)),
            }
            check_started(&mut lanes, &known, &mut going, &mut last)?;
        }
        prop_assert_eq!(left.len(), known.len(), "some never had their turn");
        prop_assert!(lanes.lanes.is_empty() && lanes.by_key.is_empty(), "empty lanes stay");
        prop_assert!(lanes.there.is_empty(), "deliveries that have left are counted");
        prop_assert_eq!(lanes.under_way(), 0);
    }
}
