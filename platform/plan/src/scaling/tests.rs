//! What holds of scaling for whatever is measured, and examples of how policies, bounds and schedules work together.

use super::*;
use proptest::prelude::*;
use skiff_types::{
    Adjustment, Measure, ScheduledScaling, SeriesId, Span, Statistic, StepAdjustment, StepScaling,
    TargetTracking,
};

/// 2026-01-01T00:00:00Z.
const DAY_MS: u64 = 1_767_225_600_000;
const HOUR_MS: u64 = 3_600_000;
const NOW_MS: u64 = DAY_MS;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn tracking(policy: &str) -> TargetTracking {
    TargetTracking {
        name: name(policy),
        metric: SeriesId::of_service("default/web".parse().unwrap(), Measure::CpuUtilization),
        statistic: Statistic::Average,
        target: 50.into(),
        scale_out_cooldown: Span::from_ms(60_000),
        scale_in_cooldown: Span::from_ms(60_000),
        disable_scale_in: false,
    }
}

fn stepping(policy: &str, adjustment: i32) -> StepScaling {
    StepScaling {
        name: name(policy),
        alarm: name("busy"),
        adjustment: Adjustment::ChangeInCapacity,
        steps: vec![StepAdjustment { lower: None, upper: None, adjustment }],
        cooldown: Span::from_ms(60_000),
        min_magnitude: 0,
    }
}

fn spec(policies: Vec<Policy>) -> ScalingSpec {
    ScalingSpec {
        service: "default/web".parse().unwrap(),
        min: 1,
        max: 1_000,
        policies,
        schedules: vec![],
        scale_in_protected: false,
    }
}

/// Seconds that each took so many tasks at a target of 50.
fn seconds(needs: &[Option<f64>]) -> Signal {
    Signal::Points(needs.iter().map(|need| need.map(|need| Point { value: 50.0 * need, tasks: 1 })).collect())
}

fn calm(need: f64) -> Signal {
    seconds(&[Some(need); 60])
}

fn alarm(state: AlarmState) -> Signal {
    Signal::Alarm(AlarmSignal { state, value: Some(60.0), threshold: 50.into(), evaluated_at_ms: NOW_MS })
}

fn observed<const N: usize>(desired: u32, signals: [(&str, Signal); N]) -> Observed {
    Observed {
        desired,
        signals: signals.into_iter().map(|(policy, signal)| (name(policy), signal)).collect(),
    }
}

/// The count of a first decision.
fn desired(spec: &ScalingSpec, observed: &Observed) -> u32 {
    decide(spec, observed, &Memory::default(), NOW_MS).desired
}

#[test]
fn a_count_follows_its_metric_by_proportion() {
    let spec = spec(vec![Policy::TargetTracking(tracking("cpu"))]);
    let of = |count, signal| desired(&spec, &observed(count, [("cpu", signal)]));
    assert_eq!(of(2, calm(4.4)), 5);
    assert_eq!(of(2, calm(2.0)), 2);
    // A little too much for half a minute.
    assert_eq!((of(2, calm(2.1)), of(2, seconds(&[Some(2.1); 29]))), (3, 2));
    // A tenth stays idle.
    assert_eq!((of(10, calm(4.5)), of(10, calm(4.6)), of(10, calm(0.0))), (5, 6, 1));
    assert_eq!(of(10, seconds(&[Some(4.5); 59])), 10, "not calm for long enough");
    // Two in a hundred are tolerated for however long.
    assert_eq!((of(50, calm(51.0)), of(50, calm(51.1))), (50, 52));
    // Nothing is measured of a service without tasks.
    assert_eq!(of(0, calm(5.0)), 1, "its bounds hold");
}

#[test]
fn a_second_in_which_no_task_ran_says_nothing() {
    let spec = spec(vec![Policy::TargetTracking(tracking("cpu"))]);
    let mut points = vec![Some(Point { value: 50.0, tasks: 1 }); 60];
    let of =
        |points: &[Option<Point>]| desired(&spec, &observed(9, [("cpu", Signal::Points(points.to_vec()))]));
    assert_eq!(of(&points), 2);
    points[30] = Some(Point { value: 50.0, tasks: 0 });
    assert_eq!(of(&points), 9, "as if it were missing");
}

#[test]
fn what_bounds_or_others_do_not_let_a_policy_have_was_not_done_for_it() {
    let cpu = spec(vec![Policy::TargetTracking(tracking("cpu"))]);
    let remembered = |spec: &ScalingSpec, count, need| {
        let decision = decide(spec, &observed(count, [("cpu", calm(need))]), &Memory::default(), NOW_MS);
        assert_eq!(decision.desired, count);
        decision.memory
    };
    let bounded = ScalingSpec { max: 4, ..cpu.clone() };
    assert_eq!(remembered(&bounded, 4, 9.0), Memory::default(), "there are as many as there may be");
    let protected = ScalingSpec { scale_in_protected: true, ..cpu };
    assert_eq!(remembered(&protected, 4, 1.0), Memory::default());
}

#[test]
fn a_decision_says_why() {
    let cpu = spec(vec![Policy::TargetTracking(tracking("cpu"))]);
    let reason = |spec: &ScalingSpec, count, signal| {
        decide(spec, &observed(count, [("cpu", signal)]), &Memory::default(), NOW_MS).reason
    };
    assert_eq!(
        reason(&cpu, 2, calm(4.4)).unwrap(),
        "CPUUtilization takes 4.4 tasks at its target of 50 (policy cpu)"
    );
    assert_eq!(
        reason(&cpu, 9, calm(4.4)).unwrap(),
        "CPUUtilization took at most 4.4 tasks at its target of 50 for 1m (policy cpu)"
    );
    let bounded = ScalingSpec { max: 4, ..cpu.clone() };
    assert_eq!(
        reason(&bounded, 2, calm(4.4)).unwrap(),
        "CPUUtilization takes 4.4 tasks at its target of 50 (policy cpu); its bounds are 1 and 4 tasks"
    );
    assert_eq!(reason(&bounded, 6, calm(6.0)).unwrap(), "its bounds are 1 and 4 tasks");
    assert_eq!(reason(&cpu, 5, calm(4.8)), None);
    let steps = spec(vec![Policy::Step(stepping("cpu", 3))]);
    assert_eq!(
        reason(&steps, 2, alarm(AlarmState::Alarm)).unwrap(),
        "the alarm busy is in ALARM by 10.000, which is a step of 3 (policy cpu)"
    );
}

#[test]
fn the_largest_count_wins_and_fewer_need_all_to_agree() {
    let spec = spec(vec![
        Policy::TargetTracking(tracking("cpu")),
        Policy::TargetTracking(tracking("memory")),
        Policy::Step(stepping("steps", 3)),
    ]);
    let of = |count, cpu, memory, state| {
        desired(&spec, &observed(count, [("cpu", cpu), ("memory", memory), ("steps", alarm(state))]))
    };
    assert_eq!(of(2, calm(4.0), calm(6.0), AlarmState::Alarm), 6);
    assert_eq!(of(4, calm(4.0), calm(6.0), AlarmState::Alarm), 7);
    assert_eq!(of(9, calm(1.0), calm(11.0), AlarmState::Ok), 11);
    assert_eq!(of(9, calm(1.0), calm(4.0), AlarmState::Ok), 5);
    assert_eq!(of(9, calm(1.0), calm(9.0), AlarmState::Ok), 9);
    assert_eq!(of(9, calm(1.0), seconds(&[]), AlarmState::Ok), 9);
    assert_eq!(of(9, calm(1.0), calm(4.0), AlarmState::InsufficientData), 9);
    assert_eq!(of(9, calm(1.0), calm(4.0), AlarmState::Alarm), 12);
    let unknown = observed(9, [("cpu", calm(1.0)), ("memory", calm(1.0))]);
    assert_eq!(desired(&spec, &unknown), 9);
    // A signal of the other kind says nothing.
    let mixed = observed(9, [("cpu", calm(1.0)), ("memory", calm(1.0)), ("steps", calm(1.0))]);
    assert_eq!(desired(&spec, &mixed), 9);
}

#[test]
fn a_policy_that_takes_nothing_away_still_says_what_it_needs() {
    let memory = TargetTracking { disable_scale_in: true, ..tracking("memory") };
    let both = spec(vec![Policy::TargetTracking(tracking("cpu")), Policy::TargetTracking(memory.clone())]);
    let of = |cpu, memory| desired(&both, &observed(9, [("cpu", calm(cpu)), ("memory", calm(memory))]));
    assert_eq!((of(1.0, 1.0), of(1.0, 4.5), of(1.0, 20.0)), (2, 5, 20));
    let alone = spec(vec![Policy::TargetTracking(memory)]);
    assert_eq!(desired(&alone, &observed(9, [("memory", calm(1.0))])), 9);
}

#[test]
fn cooldowns_are_those_of_application_auto_scaling() {
    let spec = spec(vec![Policy::TargetTracking(tracking("cpu"))]);
    let look = |count, need, memory: &Memory, after_ms| {
        decide(&spec, &observed(count, [("cpu", calm(need))]), memory, NOW_MS + after_ms)
    };
    let out = look(2, 5.0, &Memory::default(), 0);
    assert_eq!(out.desired, 5);
    // Somebody has set it to 3; what was added is no reason to add it again, more than it is.
    assert_eq!(look(3, 5.0, &out.memory, 59_999).desired, 3);
    assert_eq!(look(3, 5.0, &out.memory, 59_999).again_at_ms, Some(NOW_MS + 60_000));
    assert_eq!(look(3, 6.0, &out.memory, 1_000).desired, 6);
    assert_eq!(look(3, 5.0, &out.memory, 60_000).desired, 5);
    // Calm only counts from when tasks were added.
    assert_eq!(look(5, 1.0, &out.memory, 59_999).desired, 5);
    let inward = look(5, 2.7, &out.memory, 60_000);
    assert_eq!(inward.desired, 3);
    let blocked = look(3, 1.0, &inward.memory, 119_999);
    assert_eq!((blocked.desired, blocked.again_at_ms), (3, Some(NOW_MS + 120_000)));
    assert_eq!(look(3, 1.0, &inward.memory, 120_000).desired, 2);
    // Outwards at once, whatever was taken away.
    assert_eq!(look(3, 9.0, &inward.memory, 61_000).desired, 9);
    // A clock that was put back makes no cooldown longer than it is.
    let later =
        Memory { policies: [(name("cpu"), activity_at(NOW_MS + HOUR_MS))].into(), ..Memory::default() };
    let blocked = look(3, 1.0, &later, 0);
    assert_eq!((blocked.desired, blocked.again_at_ms), (3, Some(NOW_MS + 60_000)));
    assert_eq!(look(3, 1.0, &blocked.memory, 60_000).desired, 2);
}

#[test]
fn what_was_added_and_taken_away_again_is_added_anew_whatever_the_cooldown() {
    let policy = TargetTracking { scale_out_cooldown: Span::from_ms(300_000), ..tracking("cpu") };
    let spec = spec(vec![Policy::TargetTracking(policy)]);
    let look = |count, need, memory: &Memory, after_ms| {
        decide(&spec, &observed(count, [("cpu", calm(need))]), memory, NOW_MS + after_ms)
    };
    let out = look(2, 5.0, &Memory::default(), 0);
    let inward = look(out.desired, 1.0, &out.memory, 60_000);
    assert_eq!((out.desired, inward.desired), (5, 2));
    assert_eq!(look(2, 5.0, &inward.memory, 61_000).desired, 5);
}

fn activity_at(at_ms: u64) -> PolicyMemory {
    let inward = Some(Activity { at_ms, from: 9, to: 5 });
    PolicyMemory { inward, ..PolicyMemory::default() }
}

#[test]
fn protected_tasks_are_not_taken_away() {
    let spec = ScalingSpec {
        max: 5,
        scale_in_protected: true,
        ..spec(vec![Policy::TargetTracking(tracking("cpu"))])
    };
    let of = |count, need| desired(&spec, &observed(count, [("cpu", calm(need))]));
    assert_eq!((of(4, 1.0), of(9, 1.0), of(2, 4.0), of(2, 9.0)), (4, 9, 4, 5));
}

#[test]
fn no_alarm_brings_a_service_to_zero_or_back_and_the_clock_does() {
    let steps = |by| ScalingSpec { min: 0, ..spec(vec![Policy::Step(stepping("steps", by))]) };
    let of = |by, count| desired(&steps(by), &observed(count, [("steps", alarm(AlarmState::Alarm))]));
    assert_eq!((of(-9, 5), of(-9, 1), of(9, 0)), (1, 1, 0));
    let nights = scheduled(&[("night", "rate(1 hour)", Some(0), Some(0))]);
    let begun = decide(&nights, &observed(3, []), &Memory::default(), DAY_MS);
    assert_eq!(decide(&nights, &observed(3, []), &begun.memory, DAY_MS + HOUR_MS).desired, 0);
}

#[test]
fn what_has_no_policy_any_more_is_forgotten() {
    let memory = Memory {
        policies: [(name("cpu"), PolicyMemory::default()), (name("gone"), activity_at(NOW_MS))].into(),
        schedules: [(name("gone"), begun("rate(1 day)"))].into(),
        bounds: Bounds::default(),
    };
    let spec = spec(vec![Policy::TargetTracking(tracking("cpu"))]);
    let decision = decide(&spec, &observed(2, [("cpu", calm(2.0))]), &memory, NOW_MS);
    assert_eq!(decision.memory.policies.keys().collect::<Vec<_>>(), [&name("cpu")]);
    assert!(decision.memory.schedules.is_empty());
}

fn begun(schedule: &str) -> ScheduleMemory {
    ScheduleMemory { schedule: schedule.parse().unwrap(), zone: Zone::default(), last_ms: NOW_MS }
}

fn scheduled(schedules: &[(&str, &str, Option<u32>, Option<u32>)]) -> ScalingSpec {
    let schedule = |(label, schedule, min, max): &(&str, &str, Option<u32>, Option<u32>)| ScheduledScaling {
        name: name(label),
        schedule: schedule.parse().unwrap(),
        zone: Zone::default(),
        bounds: Bounds { min: *min, max: *max },
    };
    ScalingSpec { max: 20, schedules: schedules.iter().map(schedule).collect(), ..spec(vec![]) }
}

#[test]
fn bounds_follow_the_clock() {
    let spec = scheduled(&[
        ("morning", "cron(0 8 * * ? *)", Some(10), Some(20)),
        ("evening", "cron(0 20 * * ? *)", Some(1), Some(3)),
    ]);
    let look = |count, memory: &Memory, at_ms| decide(&spec, &observed(count, []), memory, at_ms);
    let night = look(2, &Memory::default(), DAY_MS + 7 * HOUR_MS);
    assert_eq!((night.desired, night.again_at_ms), (2, Some(DAY_MS + 8 * HOUR_MS)));
    let morning = look(2, &night.memory, DAY_MS + 8 * HOUR_MS);
    assert_eq!((morning.desired, morning.again_at_ms), (10, Some(DAY_MS + 20 * HOUR_MS)));
    assert_eq!(morning.reason.unwrap(), "its bounds are 10 and 20 tasks");
    // What holds goes on to hold, and nothing is due twice.
    let noon = look(7, &morning.memory, DAY_MS + 12 * HOUR_MS);
    assert_eq!((noon.desired, &noon.memory), (10, &morning.memory));
    let evening = look(10, &noon.memory, DAY_MS + 20 * HOUR_MS);
    assert_eq!((evening.desired, evening.again_at_ms), (3, Some(DAY_MS + 32 * HOUR_MS)));
    // Nobody looked for days: the one that was due last holds.
    assert_eq!(look(2, &night.memory, DAY_MS + 24 * 5 * HOUR_MS + 21 * HOUR_MS).memory.bounds.max, Some(3));
    assert_eq!(look(2, &night.memory, DAY_MS + 24 * 5 * HOUR_MS + 9 * HOUR_MS).memory.bounds.max, Some(20));
}

#[test]
fn a_schedule_that_was_due_long_ago_is_not_made_up_for() {
    let once = scheduled(&[("once", "at(2026-01-01T08:00:00)", Some(10), None)]);
    let at = |memory: &Memory, at_ms| decide(&once, &observed(2, []), memory, at_ms).desired;
    let begun = decide(&once, &observed(2, []), &Memory::default(), DAY_MS).memory;
    let due_ms = DAY_MS + 8 * HOUR_MS;
    assert_eq!((at(&begun, due_ms - 1), at(&begun, due_ms)), (2, 10));
    assert_eq!((at(&begun, due_ms + 30 * 24 * HOUR_MS), at(&begun, due_ms + 32 * 24 * HOUR_MS)), (10, 2));
}

#[test]
fn a_schedule_changes_what_it_says_and_begins_when_it_is_put() {
    let nightly = scheduled(&[("nightly", "cron(0 2 * * ? *)", None, Some(4))]);
    let at = |spec: &ScalingSpec, memory: &Memory, at_ms| decide(spec, &observed(9, []), memory, at_ms);
    let put = at(&nightly, &Memory::default(), DAY_MS + 3 * HOUR_MS);
    assert_eq!(put.desired, 9, "it is not due for the night before");
    let due = at(&nightly, &put.memory, DAY_MS + 26 * HOUR_MS);
    assert_eq!((due.desired, due.memory.bounds), (4, Bounds { min: None, max: Some(4) }));
    // Put anew with another time that has passed today.
    let changed = scheduled(&[("nightly", "cron(0 1 * * ? *)", None, Some(2))]);
    let begun = at(&changed, &due.memory, DAY_MS + 27 * HOUR_MS);
    assert_eq!((begun.desired, begun.again_at_ms), (4, Some(DAY_MS + 49 * HOUR_MS)));
    assert_eq!(at(&changed, &begun.memory, DAY_MS + 49 * HOUR_MS).desired, 2);
    // The clock was put back: what comes is due when it comes again.
    let back = at(&nightly, &due.memory, DAY_MS + HOUR_MS);
    assert_eq!(back.again_at_ms, Some(DAY_MS + 2 * HOUR_MS));
    let rate = scheduled(&[("often", "rate(1 hour)", Some(12), None)]);
    let begun = at(&rate, &Memory::default(), DAY_MS);
    assert_eq!((begun.desired, begun.again_at_ms), (9, Some(DAY_MS + HOUR_MS)));
    assert_eq!(at(&rate, &begun.memory, DAY_MS + HOUR_MS).desired, 12);
}

#[test]
fn where_bounds_contradict_each_other_the_fewest_hold() {
    let spec = ScalingSpec { max: 5, ..scheduled(&[("morning", "rate(1 hour)", Some(10), None)]) };
    let begun = decide(&spec, &observed(3, []), &Memory::default(), DAY_MS);
    let due = decide(&spec, &observed(3, []), &begun.memory, DAY_MS + HOUR_MS);
    assert_eq!(due.desired, 10);
}

/// Two levels of load and what is between them, second by second; here and there nothing was measured.
fn loads() -> impl Strategy<Value = Vec<Option<f64>>> {
    let level = (0..30_u32, 0..30_u32, 0..90_usize);
    let noise = proptest::collection::vec(0.8..1.2_f64, 90);
    let missing = proptest::option::weighted(0.3, 0..90_usize);
    (level, noise, missing, 0..=90_usize).prop_map(|((before, after, step), noise, missing, from)| {
        let need = |(second, noise): (usize, f64)| {
            let level = if second < step { before } else { after };
            (missing != Some(second)).then(|| f64::from(level) * noise)
        };
        noise.into_iter().enumerate().map(need).skip(from.saturating_sub(30)).collect()
    })
}

fn states() -> impl Strategy<Value = AlarmState> {
    proptest::sample::select(AlarmState::ALL.to_vec())
}

fn policies() -> [Policy; 3] {
    let requests = TargetTracking { statistic: Statistic::Sum, target: 3_000.into(), ..tracking("requests") };
    let floor = TargetTracking { disable_scale_in: true, ..tracking("floor") };
    [Policy::TargetTracking(tracking("cpu")), Policy::TargetTracking(requests), Policy::TargetTracking(floor)]
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds_and_decides_nothing_twice(
        cpu in loads(), requests in loads(), floor in loads(), state in states(), by in -9..9_i32,
        count in 1..40_u32, (min, more) in (0..20_u32, 1..20_u32), scale_in_protected in any::<bool>(),
    ) {
        let mut policies = policies().to_vec();
        policies.push(Policy::Step(stepping("steps", by)));
        let spec = ScalingSpec { min, max: min + more, scale_in_protected, ..spec(policies) };
        let observed = observed(count, [
            ("cpu", seconds(&cpu)), ("requests", seconds(&requests)), ("floor", seconds(&floor)), ("steps", alarm(state)),
        ]);
        let decision = decide(&spec, &observed, &Memory::default(), NOW_MS);
        let most = if scale_in_protected { spec.max.max(count) } else { spec.max };
        prop_assert!((spec.min..=most).contains(&decision.desired));
        prop_assert!(!scale_in_protected || decision.desired >= count);
        prop_assert_eq!(decision.reason.is_some(), decision.desired != count);
        let again = Observed { desired: decision.desired, ..observed };
        let second = decide(&spec, &again, &decision.memory, NOW_MS);
        prop_assert_eq!(second.desired, decision.desired, "{:?} then {:?}", decision.reason, second.reason);
    }

    #[test]
    fn together_they_want_what_the_one_that_needs_most_wants(
        cpu in loads(), requests in loads(), count in 1..40_u32,
    ) {
        let [first, second, _] = policies();
        let signals = || [("cpu", seconds(&cpu)), ("requests", seconds(&requests))];
        let of = |policies: Vec<Policy>| desired(&spec(policies), &observed(count, signals()));
        prop_assert_eq!(of(vec![first.clone(), second.clone()]), of(vec![first]).max(of(vec![second])));
    }

    #[test]
    fn missing_data_takes_no_task_away(mut load in loads(), count in 1..40_u32, missing in 1..=60_usize) {
        let spec = spec(policies()[..2].to_vec());
        let at = load.len() - missing.min(load.len());
        if let Some(second) = load.get_mut(at) {
            *second = None;
        }
        for (known, unknown) in [("cpu", "requests"), ("requests", "cpu")] {
            let observed = observed(count, [(unknown, seconds(&load)), (known, calm(0.0))]);
            prop_assert!(desired(&spec, &observed) >= count);
        }
    }

    #[test]
    fn more_load_means_no_fewer_tasks(load in loads(), count in 1..40_u32, more in 1.0..3.0_f64) {
        for policy in policies() {
            let label = policy.name().to_string();
            let spec = spec(vec![policy]);
            let of = |load: &[Option<f64>]| desired(&spec, &observed(count, [(label.as_str(), seconds(load))]));
            let loaded: Vec<Option<f64>> = load.iter().map(|need| need.map(|need| need * more)).collect();
            prop_assert!(of(&loaded) >= of(&load));
        }
    }
}
