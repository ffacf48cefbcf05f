//! Groups of addresses that share a ledger: who is chosen, who is left out, and what goes over to the next group.

use super::*;
use crate::daemon::Turn;
use skiff_plan::outlier;
use skiff_plan::target_health;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Barrier, LazyLock};

/// So many addresses, each with a meter of its own number.
fn group_of(count: u32, settings: Settings, ledger: &Ledger, before: Option<&Group>) -> Group {
    let address = |number: u32| {
        let label = format!("host{number}:1").into_boxed_str();
        let destination = Destination::Outside(label.parse().unwrap());
        (label, destination, Some(ledger.meter(number)))
    };
    let name = "default/out".parse().unwrap();
    Group::of_addresses(&name, (0..count).map(address), &Rc::new(settings), 0, before)
}

fn by(algorithm: Algorithm) -> Settings {
    Settings { algorithm, ..Settings::default() }
}

fn ledger() -> Ledger {
    Ledger::create(2).unwrap().0
}

/// How often each of so many targets is chosen.
fn counts<const N: usize>(group: &Group, times: usize) -> [usize; N] {
    let (chance, mut counts) = (Chance::new(1), [0; N]);
    let how = (group.settings.algorithm, Side::Any);
    for _ in 0..times {
        let chosen = group.choose(how, Load::Requests, &Tried::default(), &chance);
        counts[chosen.unwrap()] += 1;
    }
    counts
}

fn now_ms() -> u64 {
    monotonic_ns() / 1_000_000
}

const FAILED: Outcome = Outcome { has_failed: true, response_us: None };
const GOOD: Outcome = Outcome { has_failed: false, response_us: Some(1_000) };
const SLOW: Outcome = Outcome { has_failed: false, response_us: Some(2_000_000) };

/// When all that tests learn was learnt.
static LEARNT_NS: LazyLock<u64> = LazyLock::new(monotonic_ns);

/// Learns that as often of a target.
fn learn(group: &Rc<Group>, index: usize, outcome: Outcome, times: usize) {
    (0..times).for_each(|_| Aim::at(group.clone()).learn(index, outcome, 0, *LEARNT_NS));
}

#[test]
fn each_algorithm_chooses_in_its_way() {
    let ledger = ledger();
    let chance = Chance::new(1);
    let choose = |group: &Group, load| {
        group.choose((group.settings.algorithm, Side::Any), load, &Tried::default(), &chance)
    };
    let least = group_of(3, by(Algorithm::LeastOutstandingRequests), &ledger, None);
    assert_eq!(counts(&least, 30), [10, 10, 10]);
    ledger.meter(1).row(1).outstanding.add(1);
    assert_eq!(counts::<3>(&least, 30)[1], 0, "another worker has a request there");
    let [first, _, third] = counts(&least, 30);
    assert_eq!(first + third, 30);
    ledger.meter(0).row(1).connections.add(2);
    ledger.meter(2).row(0).connections.add(1);
    assert_eq!([(); 3].map(|()| choose(&least, Load::Connections)), [Some(1); 3]);
    let opening = [(); 2].map(|()| least.targets[1].pool().unwrap().opens());
    assert_eq!([(); 3].map(|()| choose(&least, Load::Connections)), [Some(2); 3]);
    drop(opening);
    let turns = group_of(3, by(Algorithm::RoundRobin), &ledger, None);
    assert_eq!([(); 4].map(|()| choose(&turns, Load::Requests)), [0, 1, 2, 0].map(Some));
    let random = counts::<3>(&group_of(3, by(Algorithm::WeightedRandom), &ledger, None), 300);
    assert!(random.iter().all(|count| (60..140).contains(count)), "{random:?}");
    for algorithm in [Algorithm::RoundRobin, Algorithm::WeightedRandom, Algorithm::default()] {
        assert_eq!(choose(&group_of(0, by(algorithm), &ledger, None), Load::Requests), None);
        assert_eq!(choose(&group_of(1, by(algorithm), &ledger, None), Load::Requests), Some(0));
    }
}

#[test]
fn without_a_meter_a_workers_own_requests_count() {
    let address = |label: &str| (label.into(), Destination::Outside(label.parse().unwrap()), None);
    let name = "default/out".parse().unwrap();
    let addresses = ["a:1", "b:1"].iter().map(|label| address(label));
    let group = Group::of_addresses(&name, addresses, &Rc::default(), 0, None);
    let turn = Turn::begin(group.targets[0].pool().unwrap().clone());
    assert_eq!(counts(&group, 10), [0, 10]);
    drop(turn);
    assert_eq!(counts(&group, 10), [5, 5]);
    learn(&Rc::new(group), 0, FAILED, 10);
}

#[test]
fn requests_to_a_daemon_count_in_its_slot_until_it_leaves() {
    let (ledger, settings) = (ledger(), Rc::<Settings>::default());
    let task = |slot: u32| TaskId::from_parts(u64::from(slot), [0; 10]);
    let route = |slots: &[u32]| Route {
        service: "default/kv".parse().unwrap(),
        hosts: vec![],
        paths: vec![],
        listen: vec![],
        targets: slots
            .iter()
            .map(|&slot| snapshot::Target { task: task(slot), slot, port: Some(80) })
            .collect(),
        split: None,
        wakes: false,
    };
    let of = |slots: &[u32], worker, before: Option<&Group>| {
        Group::of_service(&route(slots), &settings, (&ledger, worker), before)
    };
    let (mine, theirs) = (of(&[1, 2], 0, None), of(&[1, 2], 1, None));
    let turns = [&mine, &theirs].map(|group| Turn::begin(group.targets[0].pool().unwrap().clone()));
    assert_eq!((ledger.task(1).balanced(), ledger.task(2).balanced()), (2, 0));
    assert_eq!(counts(&mine, 10), [0, 10]);
    let without = of(&[2], 0, Some(&mine));
    assert_eq!(ledger.task(1).balanced(), 1, "what it has counts no more");
    assert!(mine.targets[0].pool().unwrap().is_closed());
    assert_eq!(counts(&without, 3), [3]);
    drop(turns);
    assert_eq!(ledger.task(1).balanced(), 0);
}

/// A service of two tasks of blue and two of green, so many of a hundred requests going there; `slots` are those that are here.
fn divided(percent: u16, slots: &[u32], ledger: &Ledger) -> Rc<Group> {
    let task = |slot: u32| TaskId::from_parts(u64::from(slot), [0; 10]);
    let split =
        Split { percent, green: vec![task(3), task(4)], test_hosts: vec!["green.example".parse().unwrap()] };
    let route = Route {
        service: "default/web".parse().unwrap(),
        hosts: vec![],
        paths: vec![],
        listen: vec![],
        targets: slots.iter().map(|&slot| snapshot::Target { task: task(slot), slot, port: None }).collect(),
        split: Some(split),
        wakes: false,
    };
    let settings = Rc::new(by(Algorithm::RoundRobin));
    Rc::new(Group::of_service(&route, &settings, (ledger, 0), None))
}

/// An aim at a group, for a request to this host.
fn aimed(group: &Rc<Group>, host: &str, chance: &Chance) -> Aim {
    Aim { side: group.side(Some(host), chance), ..Aim::at(group.clone()) }
}

#[test]
fn what_comes_is_divided_by_weight_and_within_a_side_as_ever() {
    let (ledger, chance) = (ledger(), Chance::new(1));
    let first = |group: &Rc<Group>, host: &str| {
        let mut counts = [0_u32; 4];
        for _ in 0..10_000 {
            counts[aimed(group, host, &chance).first(Load::Requests, &chance).unwrap()] += 1;
        }
        counts
    };
    for (percent, least, most) in [(0, 0, 0), (10, 850, 1_150), (50, 4_700, 5_300), (100, 10_000, 10_000)] {
        let group = divided(percent, &[1, 2, 3, 4], &ledger);
        let [blue, also_blue, green, also_green] = first(&group, "web.example");
        assert!((least..=most).contains(&(green + also_green)), "{percent}: {green} and {also_green}");
        assert!(blue.abs_diff(also_blue) <= 1 && green.abs_diff(also_green) <= 1, "{percent}: in turn");
        let [.., green, also_green] = first(&group, "green.example");
        assert_eq!(green + also_green, 10_000, "{percent}: the test host leads to green alone");
        assert_eq!(
            group.again(&Rc::default(), 0).split,
            group.split,
            "it is divided under other settings too"
        );
    }
    let alone = divided(0, &[3, 4], &ledger);
    assert_eq!(alone.side(Some("web.example"), &chance), Side::Any, "nobody of blue is here");
}

#[test]
fn blue_answers_for_green_but_green_never_for_blue_nor_blue_for_a_test() {
    let (group, chance) = (divided(50, &[1, 2, 3, 4], &ledger()), Chance::new(1));
    for (side, expected) in [(Side::Blue, vec![0, 1]), (Side::GreenAlone, vec![2, 3]), (Side::Green, vec![])]
    {
        let aim = Aim { side, ..Aim::at(group.clone()) };
        let (mut tried, mut seen) = (Tried::default(), Vec::new());
        while tried.count() < ATTEMPTS_MAX
            && let Some(index) = aim.next(Load::Requests, &tried, &chance)
        {
            tried.add(index);
            seen.push(index);
        }
        seen.sort_unstable();
        match side {
            // Both of green first, and then one of the others.
            Side::Green => assert!(seen.ends_with(&[2, 3]) && seen.len() == ATTEMPTS_MAX, "{seen:?}"),
            Side::Any | Side::Blue | Side::GreenAlone => assert_eq!(seen, expected, "{side:?}"),
        }
    }
}

#[test]
fn a_client_stays_with_its_target_as_long_as_that_side_has_weight() {
    let (ledger, chance) = (ledger(), Chance::new(1));
    let comes = |percent: u16, index: usize, side: Side| {
        let group = divided(percent, &[1, 2, 3, 4], &ledger);
        let aim = Aim { side, stuck_to: Some(group.targets[index].key), ..Aim::at(group.clone()) };
        aim.first(Load::Requests, &chance) == Some(index)
    };
    assert!(comes(10, 3, Side::Blue) && comes(10, 1, Side::Green), "it was there before");
    assert!((0..8).all(|_| !comes(0, 3, Side::Blue)), "after a rollback nobody stays with green");
    assert!((0..8).all(|_| !comes(100, 1, Side::Green)), "what goes keeps nobody");
    assert!(!comes(10, 1, Side::GreenAlone), "a test is of green");
}

#[test]
fn no_target_is_tried_twice() {
    let group = group_of(3, by(Algorithm::RoundRobin), &ledger(), None);
    let chance = Chance::new(1);
    for algorithm in [Algorithm::LeastOutstandingRequests, Algorithm::RoundRobin, Algorithm::WeightedRandom] {
        let (mut tried, mut seen) = (Tried::default(), Vec::new());
        while let Some(index) = group.choose((algorithm, Side::Any), Load::Requests, &tried, &chance) {
            tried.add(index);
            seen.push(index);
        }
        assert_eq!((tried.count(), tried.last()), (3, seen.last().copied()));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }
}

#[test]
fn a_target_that_fails_is_left_out_by_every_worker_until_a_trial() {
    let ledger = ledger();
    let group = || Rc::new(group_of(3, by(Algorithm::RoundRobin), &ledger, None));
    let (mine, theirs) = (group(), group());
    learn(&mine, 1, FAILED, 4);
    learn(&mine, 1, GOOD, 1);
    learn(&mine, 1, FAILED, 4);
    assert_eq!(counts(&theirs, 9), [3, 3, 3], "not in a row");
    learn(&theirs, 1, FAILED, 1);
    for group in [&mine, &theirs] {
        let [first, second, third] = counts(group, 10);
        assert_eq!((first, second, third), (5, 0, 5));
        assert_eq!(group.find(group.targets[1].key, Side::Any), None);
        assert_eq!(group.find(group.targets[2].key, Side::Any), Some(2));
    }
    assert_eq!(ledger.meter(1).totals().ejections, 1);
    // As if its time was over.
    let word = &mine.targets[1].state().unwrap().outlier;
    let long_ago_ms = now_ms().saturating_sub(outlier::EJECTION_MS);
    word.store(outlier::eject(0, long_ago_ms).unwrap(), SeqCst);
    let [_, mine_tried, _] = counts(&mine, 30);
    let [_, theirs_tried, _] = counts(&theirs, 30);
    assert_eq!((mine_tried, theirs_tried), (1, 0), "one request is let through");
    learn(&mine, 1, GOOD, 1);
    assert_eq!(counts::<3>(&theirs, 9)[1], 3);
}

#[test]
fn no_more_than_half_are_left_out() {
    let ledger = ledger();
    let group = Rc::new(group_of(5, by(Algorithm::RoundRobin), &ledger, None));
    for index in [0, 2, 4] {
        learn(&group, index, FAILED, 20);
    }
    assert_eq!(counts(&group, 30), [0, 10, 0, 10, 10]);
    assert_eq!([0, 2, 4].map(|slot| ledger.meter(slot).totals().ejections), [1, 1, 0]);
    let alone = Rc::new(group_of(1, Settings::default(), &ledger, None));
    learn(&alone, 0, FAILED, 20);
    assert_eq!(counts(&alone, 3), [3]);
}

#[test]
fn a_target_that_is_far_slower_than_the_others_is_left_out() {
    let ledger = ledger();
    let group = Rc::new(group_of(3, by(Algorithm::RoundRobin), &ledger, None));
    learn(&group, 0, GOOD, 20);
    learn(&group, 1, GOOD, 20);
    learn(&group, 2, SLOW, 9);
    assert_eq!(counts(&group, 9), [3, 3, 3], "nine say too little");
    learn(&group, 2, SLOW, 1);
    assert_eq!(counts::<3>(&group, 10)[2], 0);
    // What was asked before comes late, and says nothing of it once it is back.
    learn(&group, 2, SLOW, 20);
    let long_ago_ms = now_ms().saturating_sub(outlier::EJECTION_MS);
    let word = &group.targets[2].state().unwrap().outlier;
    word.store(outlier::eject(0, long_ago_ms).unwrap(), SeqCst);
    assert_eq!(counts::<3>(&group, 10)[2], 1, "its trial");
    learn(&group, 2, GOOD, 1);
    learn(&group, 2, SLOW, 1);
    assert_eq!(counts(&group, 9), [3, 3, 3]);
    let all_slow = Rc::new(group_of(3, by(Algorithm::RoundRobin), &self::ledger(), None));
    (0..3).for_each(|index| learn(&all_slow, index, SLOW, 20));
    assert_eq!(counts(&all_slow, 9), [3, 3, 3]);
}

#[test]
fn where_nobody_may_have_requests_everybody_may() {
    let ledger = ledger();
    let check = TargetHealthCheck { unhealthy: 1, ..TargetHealthCheck::default() };
    let settings = Settings { health_check: Some(check.clone()), ..by(Algorithm::RoundRobin) };
    let group = group_of(3, settings, &ledger, None);
    assert_eq!(counts(&group, 9), [3, 3, 3], "nobody was checked yet");
    let found = |index: usize, outcome| {
        let state = group.targets[index].state_to_write(0).unwrap();
        state.health.store(target_health::note(state.health.load(SeqCst), outcome, &check), SeqCst);
    };
    found(1, target_health::Outcome::Connected);
    assert_eq!(counts(&group, 9), [0, 9, 0]);
    found(2, target_health::Outcome::Connected);
    found(1, target_health::Outcome::Failed);
    assert_eq!(counts(&group, 9), [0, 0, 9]);
    found(2, target_health::Outcome::Failed);
    assert_eq!(counts(&group, 9), [3, 3, 3]);
}

#[test]
fn a_new_targets_share_grows() {
    let ledger = ledger();
    for algorithm in [Algorithm::LeastOutstandingRequests, Algorithm::RoundRobin, Algorithm::WeightedRandom] {
        let settings = Settings { slow_start: Some(Span::from_ms(10_000)), ..by(algorithm) };
        let group = group_of(2, settings, &ledger, None);
        let begin = |index: usize, ago_ms: u64| {
            let state = group.targets[index].state().unwrap();
            state.began_ms.store(now_ms().saturating_sub(ago_ms).max(1), SeqCst);
        };
        assert!(group.targets.iter().all(|target| target.state().unwrap().began_ms.load(SeqCst) > 0));
        begin(0, 20_000);
        begin(1, 0);
        let [whole, new] = counts(&group, 3_200);
        // A sixteenth of its half, or of what the other has.
        assert!((60..320).contains(&new), "{algorithm}: {new} beside {whole}");
        begin(0, 0);
        let [first, second] = counts(&group, 1_000);
        assert!((350..650).contains(&first), "{algorithm}: {first} and {second}: all are new");
    }
    let plain = group_of(2, by(Algorithm::RoundRobin), &self::ledger(), None);
    assert!(plain.targets.iter().all(|target| target.state().is_none()), "nothing was written down");
}

#[test]
fn by_weighted_random_a_target_that_fails_more_often_has_less() {
    let ledger = ledger();
    let group = Rc::new(group_of(3, by(Algorithm::WeightedRandom), &ledger, None));
    for _ in 0..20 {
        learn(&group, 0, GOOD, 1);
        learn(&group, 1, GOOD, 1);
        learn(&group, 2, FAILED, 1);
        learn(&group, 2, GOOD, 1);
    }
    let [first, second, third] = counts(&group, 3_000);
    assert!((10..120).contains(&third), "{first}, {second}, {third}");
    learn(&group, 2, GOOD, 200);
    let [.., third] = counts::<3>(&group, 3_000);
    assert!((850..1_150).contains(&third), "{third}");
}

#[test]
fn a_client_is_brought_back_to_its_target() {
    let group = Rc::new(group_of(3, by(Algorithm::RoundRobin), &ledger(), None));
    let (chance, key) = (Chance::new(1), group.targets[2].key);
    let aim = Aim { stuck_to: Some(key), ..Aim::at(group.clone()) };
    assert_eq!([(); 3].map(|()| aim.first(Load::Requests, &chance)), [Some(2); 3]);
    let lost = Aim { stuck_to: Some(key ^ 1), ..Aim::at(group.clone()) };
    assert_eq!([(); 3].map(|()| lost.first(Load::Requests, &chance)), [0, 1, 2].map(Some));
    let again = group_of(3, by(Algorithm::RoundRobin), &ledger(), None);
    assert_eq!(again.targets[2].key, key, "it is the same in every process");
}

#[test]
fn a_target_that_stays_keeps_its_connections() {
    let (ledger, settings) = (ledger(), Rc::<Settings>::default());
    let of = |labels: &[&str], before: Option<&Group>| {
        let address = |label: &&str| {
            let destination = Destination::Outside(label.parse().unwrap());
            ((*label).into(), destination, Some(ledger.meter(0)))
        };
        let name = "default/out".parse().unwrap();
        Group::of_addresses(&name, labels.iter().map(address), &settings, 0, before)
    };
    let first = of(&["a:1", "b:1"], None);
    let second = of(&["b:1", "b:2"], Some(&first));
    let pool = |group: &Group, index: usize| group.targets[index].pool().unwrap().clone();
    assert!(Rc::ptr_eq(&pool(&first, 1), &pool(&second, 0)));
    assert!(pool(&first, 0).is_closed() && !pool(&second, 0).is_closed());
    assert_eq!(counts(&first, 4), [0, 4], "who has left takes nothing new");
    assert!(Rc::ptr_eq(&first.budget, &second.budget));
    second.close(0);
    assert!(pool(&second, 0).is_closed() && pool(&second, 1).is_closed());
}

#[test]
fn the_bound_holds_whoever_ejects_at_the_same_time() {
    let (ledger, fd) = Ledger::create(2).unwrap();
    let theirs = Ledger::open(fd).unwrap();
    let together = Barrier::new(2);
    let run = |ledger: &Ledger, index: usize| {
        let group = Rc::new(group_of(2, by(Algorithm::RoundRobin), ledger, None));
        let outlier = |index: usize| &group.targets[index].state_to_write(0).unwrap().outlier;
        let mut are_all_out = false;
        for _ in 0..1_000 {
            learn(&group, index, FAILED, 5);
            together.wait();
            are_all_out |= [0, 1].iter().all(|index| !outlier::is_whole(outlier(*index).load(SeqCst)));
            together.wait();
            outlier(index).store(0, SeqCst);
            together.wait();
        }
        assert!(!are_all_out);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(&ledger, 0));
        scope.spawn(|| run(&theirs, 1));
    });
}
