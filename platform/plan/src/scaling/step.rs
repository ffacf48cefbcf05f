//! Step scaling: the step that a policy takes while its alarm is in `ALARM`, by how far the metric is beyond the threshold.
//!
//! It acts once on each evaluation of the alarm. After tasks were added, for as long as the cooldown they are a part of what is
//! added next: a step counts from the count before. After tasks were taken away, for as long no more are.
//! Source: Application Auto Scaling, "Step scaling policies".
//! <https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html>

use super::{AlarmSignal, Cast, PolicyMemory, Vote, cooldown_end_ms};
use skiff_types::{Adjustment, AlarmState, StepAdjustment, StepScaling};

pub(super) fn vote(
    policy: &StepScaling,
    alarm: &AlarmSignal,
    desired: u32,
    memory: &PolicyMemory,
    now_ms: u64,
) -> Cast {
    match alarm.state {
        AlarmState::Ok => (Vote::Abstain { least: 0 }, None),
        AlarmState::InsufficientData => (Vote::Stay, None),
        AlarmState::Alarm if alarm.evaluated_at_ms <= memory.acted_on_ms => (Vote::Stay, None),
        AlarmState::Alarm => act(policy, alarm, desired, memory, now_ms),
    }
}

fn act(policy: &StepScaling, alarm: &AlarmSignal, desired: u32, memory: &PolicyMemory, now_ms: u64) -> Cast {
    let Some(value) = alarm.value.filter(|value| value.is_finite()) else { return (Vote::Stay, None) };
    let beyond = value - alarm.threshold.get();
    let Some(step) = policy.steps.iter().find(|step| is_within(step, beyond)) else {
        return (Vote::Stay, None);
    };
    let cooldown_ms = policy.cooldown.ms();
    let out_end_ms = cooldown_end_ms(memory.out, cooldown_ms, now_ms);
    let in_end_ms = cooldown_end_ms(memory.inward, cooldown_ms, now_ms);
    let base = match memory.out {
        // Whoever has taken tasks away since has taken those too.
        Some(out) if out_end_ms.is_some() => out.from.min(desired),
        Some(_) | None => desired,
    };
    let to = adjusted(policy, step.adjustment, base);
    let why = || {
        let alarm = &policy.alarm;
        format!("the alarm {alarm} is in ALARM by {beyond:.3}, which is a step of {}", step.adjustment)
    };
    if to > desired {
        (Vote::Out(to, why()), None)
    } else if to == desired || out_end_ms.is_some() || in_end_ms.is_some() {
        (Vote::Stay, out_end_ms.max(in_end_ms))
    } else {
        (Vote::In(to, why()), None)
    }
}

/// Whether a step is for a metric that is so far beyond the threshold. Above it, and there, the lower bound is in and the upper
/// one is not; below it, the other way round.
fn is_within(step: &StepAdjustment, beyond: f64) -> bool {
    let lower = step.lower.map_or(f64::NEG_INFINITY, |bound| bound.get());
    let upper = step.upper.map_or(f64::INFINITY, |bound| bound.get());
    if beyond >= 0.0 { lower <= beyond && beyond < upper } else { lower < beyond && beyond <= upper }
}

/// A count after a step. A percentage is rounded towards no change, but changes by one at least, and by the policy's minimum.
fn adjusted(policy: &StepScaling, adjustment: i32, count: u32) -> u32 {
    let (count, adjustment) = (i64::from(count), i64::from(adjustment));
    let to = match policy.adjustment {
        Adjustment::ChangeInCapacity => count + adjustment,
        Adjustment::ExactCapacity => adjustment,
        Adjustment::PercentChangeInCapacity => {
            let least = i64::from(policy.min_magnitude).max(i64::from(count > 0));
            let magnitude = (count * adjustment / 100).abs().max(least);
            count + adjustment.signum() * magnitude
        }
    };
    u32::try_from(to.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Activity;
    use super::*;
    use skiff_types::{MetricValue, Span};

    const NOW_MS: u64 = 1_000_000;

    fn policy(adjustment: Adjustment, steps: &[(Option<f64>, Option<f64>, i32)]) -> StepScaling {
        let value = |value: f64| MetricValue::new(value).unwrap();
        let step = |(lower, upper, adjustment): &(Option<f64>, Option<f64>, i32)| StepAdjustment {
            lower: lower.map(value),
            upper: upper.map(value),
            adjustment: *adjustment,
        };
        StepScaling {
            name: "steps".parse().unwrap(),
            alarm: "busy".parse().unwrap(),
            adjustment,
            steps: steps.iter().map(step).collect(),
            cooldown: Span::from_ms(300_000),
            min_magnitude: 0,
        }
    }

    fn alarm(value: f64) -> AlarmSignal {
        AlarmSignal {
            state: AlarmState::Alarm,
            value: Some(value),
            threshold: MetricValue::from(50),
            evaluated_at_ms: NOW_MS,
        }
    }

    /// To how many tasks a policy goes; the count itself where it stays.
    fn to(policy: &StepScaling, value: f64, desired: u32, memory: &PolicyMemory) -> u32 {
        match vote(policy, &alarm(value), desired, memory, NOW_MS).0 {
            Vote::Out(to, _) | Vote::In(to, _) => to,
            Vote::Abstain { .. } | Vote::Stay => desired,
        }
    }

    /// AWS's example: an alarm at 50%, and steps of 10% for 60 to 70, 30% from 70 on, and as much down below 40 and 30.
    #[test]
    fn the_documented_steps_are_taken() {
        let steps = [
            (None, Some(-20.0), -30),
            (Some(-20.0), Some(-10.0), -10),
            (Some(-10.0), Some(10.0), 0),
            (Some(10.0), Some(20.0), 10),
            (Some(20.0), None, 30),
        ];
        let policy = policy(Adjustment::PercentChangeInCapacity, &steps);
        let memory = PolicyMemory::default();
        for (value, wanted) in [
            (50.0, 10),
            (59.9, 10),
            // At or above the threshold the lower bound is in, below it the upper one.
            (60.0, 11),
            (69.9, 11),
            (70.0, 13),
            (500.0, 13),
            (40.1, 10),
            (40.0, 9),
            (30.1, 9),
            (30.0, 7),
            (0.0, 7),
        ] {
            assert_eq!(to(&policy, value, 10, &memory), wanted, "{value}");
        }
    }

    /// "Values greater than 1 are rounded down. Values between 0 and 1 are rounded to 1. Values between 0 and -1 are rounded to
    /// -1. Values less than -1 are rounded up."
    #[test]
    fn percentages_are_rounded_as_documented() {
        let mut policy = policy(Adjustment::PercentChangeInCapacity, &[(None, None, 0)]);
        for (count, percent, wanted) in [
            (10, 127, 22),
            (10, 7, 11),
            (10, -6, 9),
            (100, -67, 33),
            (9, -74, 3),
            (0, 50, 0),
            (5, 0, 5),
            (3, -200, 0),
        ] {
            assert_eq!(adjusted(&policy, percent, count), wanted, "{count} by {percent}%");
        }
        // "If the service has 4 tasks, 25 percent of 4 is 1. However, because you specified a minimum of 2, it is 2."
        policy.min_magnitude = 2;
        assert_eq!(
            [(4, 25), (4, -25), (100, 25), (0, 25), (4, 0)]
                .map(|(count, percent)| adjusted(&policy, percent, count)),
            [6, 2, 125, 2, 4]
        );
    }

    #[test]
    fn other_adjustments_are_numbers_of_tasks() {
        let change = policy(Adjustment::ChangeInCapacity, &[(None, None, 0)]);
        let exact = policy(Adjustment::ExactCapacity, &[(None, None, 0)]);
        assert_eq!([3, -3, -30].map(|by| adjusted(&change, by, 10)), [13, 7, 0]);
        assert_eq!([3, 0, 30].map(|to| adjusted(&exact, to, 10)), [3, 0, 30]);
        assert_eq!(adjusted(&change, i32::MAX, u32::MAX), u32::MAX);
    }

    /// AWS: two were added, the alarm then asks for three: "the previous increase of 2 is considered part of the current
    /// capacity. Therefore, only 1 is added."
    #[test]
    fn what_was_added_counts_until_the_cooldown_ends() {
        let steps = [(Some(0.0), Some(10.0), 2), (Some(10.0), None, 3)];
        let policy = policy(Adjustment::ChangeInCapacity, &steps);
        let out = Activity { at_ms: NOW_MS - 299_999, from: 10, to: 12 };
        let memory = PolicyMemory { out: Some(out), ..PolicyMemory::default() };
        assert_eq!((to(&policy, 55.0, 12, &memory), to(&policy, 65.0, 12, &memory)), (12, 13));
        let again = vote(&policy, &alarm(55.0), 12, &memory, NOW_MS);
        assert_eq!(again, (Vote::Stay, Some(NOW_MS + 1)), "it may add two again then");
        let ended = Activity { at_ms: NOW_MS - 300_000, ..out };
        let memory = PolicyMemory { out: Some(ended), ..PolicyMemory::default() };
        assert_eq!((to(&policy, 55.0, 12, &memory), to(&policy, 65.0, 12, &memory)), (14, 15));
    }

    #[test]
    fn fewer_wait_for_the_cooldown_and_more_do_not() {
        let policy = policy(Adjustment::ChangeInCapacity, &[(None, Some(0.0), -1), (Some(0.0), None, 1)]);
        let inward = Activity { at_ms: NOW_MS - 1_000, from: 11, to: 10 };
        let memory = PolicyMemory { inward: Some(inward), ..PolicyMemory::default() };
        assert_eq!(vote(&policy, &alarm(40.0), 10, &memory, NOW_MS), (Vote::Stay, Some(NOW_MS + 299_000)));
        assert_eq!(to(&policy, 60.0, 10, &memory), 11);
        assert_eq!(to(&policy, 40.0, 10, &PolicyMemory::default()), 9);
        // So they do for the one that began when some were added, and for the later of both.
        let out = Activity { at_ms: NOW_MS - 2_000, from: 9, to: 10 };
        let memory = PolicyMemory { out: Some(out), ..PolicyMemory::default() };
        assert_eq!(vote(&policy, &alarm(40.0), 10, &memory, NOW_MS), (Vote::Stay, Some(NOW_MS + 298_000)));
        let memory = PolicyMemory { inward: Some(inward), ..memory };
        assert_eq!(vote(&policy, &alarm(40.0), 10, &memory, NOW_MS), (Vote::Stay, Some(NOW_MS + 299_000)));
    }

    /// "The lower bound is inclusive, the upper one exclusive", at the threshold itself too.
    #[test]
    fn a_metric_at_its_threshold_takes_the_step_above() {
        let policy = policy(Adjustment::ChangeInCapacity, &[(None, Some(0.0), -1), (Some(0.0), None, 1)]);
        assert_eq!(to(&policy, 50.0, 10, &PolicyMemory::default()), 11);
    }

    #[test]
    fn it_acts_once_on_each_evaluation_and_on_nothing_unknown() {
        let policy = policy(Adjustment::ChangeInCapacity, &[(None, None, 1)]);
        let acted = PolicyMemory { acted_on_ms: NOW_MS, ..PolicyMemory::default() };
        assert_eq!(to(&policy, 60.0, 10, &acted), 10);
        let later = PolicyMemory { acted_on_ms: NOW_MS + 1, ..PolicyMemory::default() };
        assert_eq!(to(&policy, 60.0, 10, &later), 10, "the clock was put back");
        let earlier = PolicyMemory { acted_on_ms: NOW_MS - 1, ..PolicyMemory::default() };
        assert_eq!(to(&policy, 60.0, 10, &earlier), 11);
        let of = |alarm| vote(&policy, &alarm, 10, &PolicyMemory::default(), NOW_MS).0;
        assert_eq!(of(AlarmSignal { value: None, ..alarm(60.0) }), Vote::Stay);
        assert_eq!(of(AlarmSignal { state: AlarmState::InsufficientData, ..alarm(60.0) }), Vote::Stay);
        assert_eq!(of(AlarmSignal { state: AlarmState::Ok, ..alarm(60.0) }), Vote::Abstain { least: 0 });
    }
}
