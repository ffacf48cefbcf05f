//! Target tracking: as many tasks as keep a metric at its target, by proportion: what a second's tasks had to do together,
//! divided by what one is to do, are the tasks that it would have taken. That does not change when tasks are added, so one step
//! is enough, and a second one is taken only if more has come.
//!
//! *Outwards* at once, where more is meant than noise. Of counts (sums), a window of one, two or five seconds must exceed what
//! the tasks are for by [`TOLERANCE`] even if [`DOUBT`] standard deviations of it were chance, as arrivals have them (Poisson:
//! the root of their number). Of what is no count, one second must exceed it by half, or each of two or five in a row by the
//! tolerance. A load that exceeds it by less does so for [`SLOW_S`] seconds on average. For [`SETTLING_MS`] after tasks were
//! added the load is still on its way: then less is tolerated.
//!
//! *Inwards* after calm alone: for as long as the cooldown, and no less than [`CALM_MIN_S`], no task was added, every second was
//! measured, no window surely took more than fewer tasks are for, and even the busiest five seconds in a row would have left a
//! tenth of fewer tasks idle ([`KEPT`]). Between that tenth and the tolerance above lies the room in which noise moves nothing.
//!
//! A metric that can't rise above what its tasks have, as CPU utilisation can't, says less than what comes while they have too
//! little: it is followed in several steps, each by what it does say. Requests per target are followed in one.
//! Source of the tolerance and the tenth: Kubernetes' horizontal autoscaler; Application Auto Scaling, which scales in below 90%
//! of a target.

use super::{Activity, Cast, Memory, Vote, cooldown_end_ms};
use skiff_types::{Span, Statistic, TargetTracking};

/// One second of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The metric's value, by the policy's statistic, over this second.
    pub value: f64,
    /// How many tasks it is of: those that ran in that second.
    pub tasks: u32,
}

/// The most points that are looked at: a quarter of an hour, as long as they are kept.
pub const POINTS_MAX: usize = 900;
/// The shortest calm before tasks are taken away, in seconds.
pub const CALM_MIN_S: usize = 60;

/// By how much what comes must exceed what the tasks are for.
const TOLERANCE: f64 = 1.1;
/// For how long after tasks were added the load is on its way, in milliseconds.
const SETTLING_MS: u64 = 10_000;
/// By how much a single second must, of what is no count.
const LEAP: f64 = 1.5;
/// How many standard deviations may be chance.
const DOUBT: f64 = 3.0;
/// The windows of what comes suddenly, in seconds.
const FAST_S: [usize; 3] = [1, 2, 5];
/// The window of what is a little too much, in seconds.
const SLOW_S: usize = 30;
/// By how much it must exceed what the tasks are for.
const SLOW_TOLERANCE: f64 = 1.02;
/// The window of the busiest seconds of a calm, in seconds.
const BUSY_S: usize = 5;
/// The part of their target that fewer tasks may reach.
const KEPT: f64 = 0.9;
/// A sum is one of a minute.
const SECONDS_OF_A_SUM: f64 = 60.0;
/// What is lost in arithmetic makes no task.
const ARITHMETIC: f64 = 1e-9;

/// What one second would have taken.
#[derive(Debug, Clone, Copy)]
struct Need {
    tasks: f64,
    /// Of counts: how many there were. None for what is no count.
    events: Option<f64>,
}

/// How many of the latest seconds a policy looks at: as long as calm must have lasted before it takes tasks away.
pub fn looks_back_s(policy: &TargetTracking) -> usize {
    let cooldown_s = usize::try_from(policy.scale_in_cooldown.ms().div_ceil(1_000)).unwrap_or(POINTS_MAX);
    cooldown_s.clamp(CALM_MIN_S, POINTS_MAX)
}

/// Holds each point of a metric that is put less often than every second until the next one is, for so many seconds at most:
/// what is missing for longer is missing. Not for sums, which would be counted again.
pub fn hold(points: &mut [Option<Point>], longest_s: usize) {
    let mut held = None;
    let mut age_s = 0;
    for point in points {
        match point {
            Some(measured) => (held, age_s) = (Some(*measured), 0),
            None => {
                age_s += 1;
                *point = held.filter(|_| age_s <= longest_s);
            }
        }
    }
}

pub(super) fn vote(
    policy: &TargetTracking,
    points: &[Option<Point>],
    desired: u32,
    memory: &Memory,
    now_ms: u64,
) -> Cast {
    if desired == 0 {
        return (Vote::Stay, None);
    }
    let points = &points[points.len().saturating_sub(POINTS_MAX)..];
    let needs: Vec<Option<Need>> = points.iter().map(|point| need(policy, (*point)?)).collect();
    let is_settling = cooldown_end_ms(memory.of(&policy.name).out, SETTLING_MS, now_ms).is_some();
    let tolerance = if is_settling { SLOW_TOLERANCE } else { TOLERANCE };
    match too_much(&needs, f64::from(desired), tolerance) {
        Some(tasks) => outwards(policy, tasks, memory, now_ms),
        None => inwards(policy, &needs, desired, memory, now_ms),
    }
}

/// `tasks` are more than there are.
fn outwards(policy: &TargetTracking, tasks: f64, memory: &Memory, now_ms: u64) -> Cast {
    let to = ceil(tasks);
    // Where tasks were taken away since, what was added is not there any more.
    let taken_away_ms = memory.policies.values().filter_map(|known| Some(known.inward?.at_ms)).max();
    let is_there = |out: &Activity| taken_away_ms.is_none_or(|at_ms| at_ms < out.at_ms);
    let before = memory.of(&policy.name).out.filter(is_there);
    let end_ms = cooldown_end_ms(before, policy.scale_out_cooldown.ms(), now_ms);
    // Within the cooldown only what is more than what was added.
    let is_larger = end_ms.is_none() || before.is_none_or(|out| to > out.to);
    if is_larger {
        let TargetTracking { metric, target, .. } = policy;
        let why = format!("{} takes {tasks:.1} tasks at its target of {target}", metric.metric);
        (Vote::Out(to, why), None)
    } else {
        (Vote::Stay, end_ms)
    }
}

fn inwards(
    policy: &TargetTracking,
    needs: &[Option<Need>],
    desired: u32,
    memory: &Memory,
    now_ms: u64,
) -> Cast {
    let (cooldown_ms, calm_s) = (policy.scale_in_cooldown.ms(), looks_back_s(policy));
    let Some(calm) = latest(needs, calm_s) else { return (Vote::Stay, None) };
    let busiest = busiest(&calm);
    let sure = FAST_S.into_iter().flat_map(|window_s| calm.windows(window_s).map(surely));
    let least = ceil(sure.fold(busiest / KEPT, f64::max)).max(1);
    let calm = Span::from_ms(calm_s as u64 * 1_000);
    let added: Option<Activity> =
        memory.policies.values().filter_map(|known| known.out).max_by_key(|out| out.at_ms);
    let added_end_ms = cooldown_end_ms(added, calm.ms(), now_ms);
    if least >= desired || added_end_ms.is_some() {
        return (Vote::Stay, added_end_ms);
    }
    if policy.disable_scale_in {
        return (Vote::Abstain { least }, None);
    }
    let end_ms = cooldown_end_ms(memory.of(&policy.name).inward, cooldown_ms, now_ms);
    if end_ms.is_some() {
        return (Vote::Stay, end_ms);
    }
    let TargetTracking { metric, target, .. } = policy;
    let metric = &metric.metric;
    let why = format!("{metric} took at most {busiest:.1} tasks at its target of {target} for {calm}");
    (Vote::In(least, why), None)
}

/// What a second would have taken; none if that can't be said, as of one in which no task ran.
fn need(policy: &TargetTracking, point: Point) -> Option<Need> {
    let total = point.value * f64::from(point.tasks);
    let (of_target, events) = match policy.statistic {
        Statistic::Sum | Statistic::SampleCount => (total * SECONDS_OF_A_SUM, Some(total)),
        Statistic::Average | Statistic::Minimum | Statistic::Maximum | Statistic::Percentile(_) => {
            (total, None)
        }
    };
    let tasks = of_target / policy.target.get();
    (point.tasks > 0 && tasks.is_finite() && tasks >= 0.0).then_some(Need { tasks, events })
}

/// How many tasks what has come would take, if that is more than there are, and no noise.
fn too_much(needs: &[Option<Need>], desired: f64, tolerance: f64) -> Option<f64> {
    let fast = FAST_S.into_iter().filter_map(|window_s| latest(needs, window_s));
    let fast: Vec<(f64, f64)> = fast.map(|window| (surely(&window), average(&window))).collect();
    let slow = latest(needs, SLOW_S).map(|window| average(&window));
    let slow = slow.filter(|average| *average > SLOW_TOLERANCE * desired);
    let is_sudden = fast.iter().any(|(sure, _)| *sure > tolerance * desired);
    if !is_sudden && slow.is_none() {
        return None;
    }
    // The most of all that is too much by a little, so that the same seconds do not ask for still more.
    let little = fast.into_iter().filter(|(sure, _)| *sure > SLOW_TOLERANCE * desired);
    little.map(|(_, average)| average).chain(slow).max_by(f64::total_cmp)
}

/// What the busiest seconds in a row took. The first ones count by themselves too: what comes to its end there has not yet.
fn busiest(calm: &[Need]) -> f64 {
    let first = (1..BUSY_S).filter_map(|count| calm.get(..count));
    first.chain(calm.windows(BUSY_S)).map(average).fold(0.0, f64::max)
}

/// How many tasks a window surely takes, whatever of it was chance.
fn surely(window: &[Need]) -> f64 {
    let events: Option<f64> = window.iter().map(|need| need.events).sum();
    match events {
        Some(events) if events > 0.0 => average(window) * (1.0 - DOUBT / events.sqrt()).max(0.0),
        Some(_) => 0.0,
        None if window.len() == 1 => average(window) * TOLERANCE / LEAP,
        None => window.iter().map(|need| need.tasks).fold(f64::INFINITY, f64::min),
    }
}

/// The latest seconds, so many; none if one of them was not measured.
fn latest(needs: &[Option<Need>], count: usize) -> Option<Vec<Need>> {
    let from = needs.len().checked_sub(count)?;
    needs[from..].iter().copied().collect()
}

fn average(window: &[Need]) -> f64 {
    window.iter().map(|need| need.tasks).sum::<f64>() / window.len() as f64
}

/// The least whole number of tasks that is enough.
fn ceil(tasks: f64) -> u32 {
    (tasks * (1.0 - ARITHMETIC)).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_held_for_a_while() {
        let point = |value| Point { value, tasks: 1 };
        let mut points = vec![None, Some(point(1.0)), None, None, None, Some(point(2.0)), None];
        hold(&mut points, 2);
        let values: Vec<Option<f64>> = points.iter().map(|point| point.map(|point| point.value)).collect();
        assert_eq!(values, [None, Some(1.0), Some(1.0), Some(1.0), None, Some(2.0), Some(2.0)]);
    }
}
