//! How many tasks a service is to have, by what is measured of it, by its alarms and by the clock.
//!
//! Each policy says for itself whether it wants more tasks, would do with fewer, or neither. The largest count that
//! one wants is taken; fewer tasks only where every policy would do with fewer, and then as many as the one that needs most. A
//! policy that does not know votes against fewer. Schedules move the bounds, and the bounds hold above all policies.
//!
//! Where AWS decides from datapoints of a minute that are late, this decides from those of the second that has just ended: a
//! task is there within moments, so what has come is what to be ready for. The module `tracking` says how it tells noise from
//! load.
//! Sources: Application Auto Scaling, "Target tracking scaling policies", "Step scaling policies", "Scheduled scaling".
//! <https://docs.aws.amazon.com/autoscaling/application/userguide/>
//!
//! It deliberately starts and stops nothing, and what it must remember ([`Memory`]) is handed in and out, so that who kills the
//! platform between two decisions changes none of them. By a metric or an alarm it neither brings a service to zero tasks nor
//! back, since nothing is measured of one that has none.
//!
//! What always holds: the count is within the bounds, unless tasks are protected and it was above them; missing data takes no
//! task away; of what is decided and carried out, the same data decides nothing more.

mod scheduled;
mod step;
mod tracking;

pub use tracking::{CALM_MIN_S, POINTS_MAX, Point, hold, looks_back_s};

use skiff_types::{AlarmState, Bounds, MetricValue, Name, Policy, ScalingSpec, Schedule, ServiceSpec, Zone};
use std::collections::BTreeMap;

/// What is known of a service at a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// How many tasks it is to have at present.
    pub desired: u32,
    /// What its policies follow, by their names. A policy of which nothing is here does not know.
    pub signals: BTreeMap<Name, Signal>,
}

/// What a policy follows.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// Of target tracking: the metric second by second, the oldest first, the last one of the second that has just ended; `None`
    /// where it was not measured. A second in which tasks ran and nothing came is a point of 0. How many are enough, says
    /// [`looks_back_s`]. For a metric that is put less often there is [`hold`].
    Points(Vec<Option<Point>>),
    /// Of step scaling: the alarm as it was evaluated last.
    Alarm(AlarmSignal),
}

/// An alarm as it was evaluated last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmSignal {
    /// Its state.
    pub state: AlarmState,
    /// Its metric's latest datapoint, if there is one.
    pub value: Option<f64>,
    /// Its threshold.
    pub threshold: MetricValue,
    /// When that was, in milliseconds since 1970: a policy acts once on each evaluation.
    pub evaluated_at_ms: u64,
}

/// What is remembered between decisions, in the store. Who puts a new specification clears `bounds`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// What was done for each policy last.
    pub policies: BTreeMap<Name, PolicyMemory>,
    /// When each schedule was due last.
    pub schedules: BTreeMap<Name, ScheduleMemory>,
    /// What schedules have made of the bounds.
    pub bounds: Bounds,
}

impl Memory {
    fn of(&self, policy: &Name) -> PolicyMemory {
        self.policies.get(policy).copied().unwrap_or_default()
    }

    /// What was done later than now was done now: the clock was put back, and no cooldown lasts longer for that.
    fn put_back(&mut self, now_ms: u64) {
        for known in self.policies.values_mut() {
            for activity in [&mut known.out, &mut known.inward].into_iter().flatten() {
                activity.at_ms = activity.at_ms.min(now_ms);
            }
            known.acted_on_ms = known.acted_on_ms.min(now_ms);
        }
    }
}

/// What was done for a policy last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyMemory {
    /// When tasks were last added.
    pub out: Option<Activity>,
    /// When tasks were last taken away.
    pub inward: Option<Activity>,
    /// The evaluation of an alarm that was last acted on, in milliseconds since 1970.
    pub acted_on_ms: u64,
}

/// One change of the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// From how many tasks.
    pub from: u32,
    /// To how many.
    pub to: u32,
}

/// When a schedule was due last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleMemory {
    /// The schedule that this is of: another one begins anew.
    pub schedule: Schedule,
    /// Its time zone.
    pub zone: Zone,
    /// When it was due last, or when it was first seen, in milliseconds since 1970.
    pub last_ms: u64,
}

/// How many tasks a service is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How many.
    pub desired: u32,
    /// What to remember; to be kept before the decision is carried out.
    pub memory: Memory,
    /// Why that is another count than before, for people; none where it is not.
    pub reason: Option<String>,
    /// When to decide again though nothing new was measured, in milliseconds since 1970: a schedule is due, a cooldown ends.
    pub again_at_ms: Option<u64>,
}

/// What one policy says.
#[derive(Debug, PartialEq)]
enum Vote {
    /// More tasks than there are, so many; and why.
    Out(u32, String),
    /// So many tasks would do, fewer than there are; and why.
    In(u32, String),
    /// Nothing, as long as there are so many tasks.
    Abstain { least: u32 },
    /// No fewer tasks than there are.
    Stay,
}

/// A vote, and when it may be another one though nothing new is measured.
type Cast = (Vote, Option<u64>);

/// Decides how many tasks a service is to have.
pub fn decide(spec: &ScalingSpec, observed: &Observed, memory: &Memory, now_ms: u64) -> Decision {
    let mut memory = memory.clone();
    memory.put_back(now_ms);
    let due_ms = scheduled::apply(&spec.schedules, &mut memory, now_ms);
    memory.policies.retain(|name, _| spec.policies.iter().any(|policy| policy.name() == name));
    let casts: Vec<(&Policy, Cast)> = spec
        .policies
        .iter()
        .map(|policy| {
            let signal = observed.signals.get(policy.name());
            (policy, vote(policy, signal, observed.desired, &memory, now_ms))
        })
        .collect();
    let (wanted, why) = count(&casts, observed.desired);
    let wanted = wanted.max(u32::from(observed.desired > 0));
    let (min, max) = bounds(spec, memory.bounds);
    let mut desired = wanted.clamp(min, max);
    if spec.scale_in_protected {
        desired = desired.max(observed.desired);
    }
    remember(&mut memory, &casts, observed, desired, now_ms);
    let reason = (desired != observed.desired).then(|| {
        let bounded = format!("its bounds are {min} and {max} tasks");
        match why {
            Some(why) if desired == wanted => why,
            Some(why) if is_on_the_way(observed.desired, desired, wanted) => format!("{why}; {bounded}"),
            Some(_) | None => bounded,
        }
    });
    let again = casts.iter().filter_map(|(_, (_, again_at_ms))| *again_at_ms).chain(due_ms);
    Decision { desired, reason, again_at_ms: again.min(), memory }
}

/// The fewest and the most tasks: what schedules say ([`Memory::bounds`]), else the specification. Where they contradict each
/// other, the fewest hold.
pub fn bounds(spec: &ScalingSpec, scheduled: Bounds) -> (u32, u32) {
    let min = scheduled.min.unwrap_or(spec.min).min(ServiceSpec::DESIRED_MAX);
    let max = scheduled.max.unwrap_or(spec.max).min(ServiceSpec::DESIRED_MAX);
    (min, max.max(min))
}

fn vote(policy: &Policy, signal: Option<&Signal>, desired: u32, memory: &Memory, now_ms: u64) -> Cast {
    match (policy, signal) {
        (Policy::TargetTracking(tracking), Some(Signal::Points(points))) => {
            tracking::vote(tracking, points, desired, memory, now_ms)
        }
        // As of tracking: of a service without tasks an alarm knows nothing.
        (Policy::Step(step), Some(Signal::Alarm(alarm))) if desired > 0 => {
            step::vote(step, alarm, desired, &memory.of(&step.name), now_ms)
        }
        // What it follows is not known.
        (Policy::TargetTracking(_) | Policy::Step(_), Some(_) | None) => (Vote::Stay, None),
    }
}

/// The count that all votes together make, and why it is another one.
fn count(casts: &[(&Policy, Cast)], desired: u32) -> (u32, Option<String>) {
    let votes = || casts.iter().map(|(policy, (vote, _))| (policy.name(), vote));
    let named = |name: &Name, why: &str| format!("{why} (policy {name})");
    let out = votes().filter_map(|(name, vote)| match vote {
        Vote::Out(to, why) => Some((*to, name, why)),
        Vote::In(..) | Vote::Abstain { .. } | Vote::Stay => None,
    });
    if let Some((to, name, why)) = out.max_by_key(|(to, _, _)| *to) {
        return (to, Some(named(name, why)));
    }
    let agreed: Option<Vec<u32>> = votes()
        .map(|(_, vote)| match vote {
            Vote::In(to, _) => Some(*to),
            Vote::Abstain { least } => Some((*least).min(desired)),
            Vote::Out(..) | Vote::Stay => None,
        })
        .collect();
    let inward = votes().filter_map(|(name, vote)| match vote {
        Vote::In(to, why) => Some((*to, name, why)),
        Vote::Out(..) | Vote::Abstain { .. } | Vote::Stay => None,
    });
    match (agreed.and_then(|counts| counts.into_iter().max()), inward.max_by_key(|(to, _, _)| *to)) {
        (Some(to), Some((_, name, why))) if to < desired => (to, Some(named(name, why))),
        _ => (desired, None),
    }
}

/// Keeps what was done for which policy: for all that wanted it, those too that wanted less of it.
fn remember(memory: &mut Memory, casts: &[(&Policy, Cast)], observed: &Observed, desired: u32, now_ms: u64) {
    let activity = Activity { at_ms: now_ms, from: observed.desired, to: desired };
    for (policy, (vote, _)) in casts {
        let is_done = match vote {
            Vote::Out(..) => desired > observed.desired,
            Vote::In(..) => desired < observed.desired,
            Vote::Abstain { .. } | Vote::Stay => false,
        };
        if !is_done {
            continue;
        }
        let known = memory.policies.entry(policy.name().clone()).or_default();
        let done = if matches!(vote, Vote::Out(..)) { &mut known.out } else { &mut known.inward };
        *done = Some(activity);
        if let Some(Signal::Alarm(alarm)) = observed.signals.get(policy.name()) {
            known.acted_on_ms = alarm.evaluated_at_ms;
        }
    }
}

/// Whether a count that is neither of two others lies between them, so that who wanted the last one got a part of it.
fn is_on_the_way(from: u32, at: u32, to: u32) -> bool {
    from.cmp(&at) == at.cmp(&to)
}

/// When a cooldown ends that began with this activity; none if it has ended, or never began.
fn cooldown_end_ms(activity: Option<Activity>, cooldown_ms: u64, now_ms: u64) -> Option<u64> {
    let end_ms = activity?.at_ms.saturating_add(cooldown_ms);
    (end_ms > now_ms).then_some(end_ms)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
