//! Buses, the rules on them, schedules, and what is noted of these.
//!
//! What always holds: a rule's specification is the very one that the buses' engine has; a time of a schedule is in its notes
//! before it leads to anything.

use super::Declared;
use skiff_plan::event_schedule::ScheduleState;
use skiff_types::{BusSpec, EventId, EventRuleSpec, EventScheduleSpec, QualifiedName};

/// A bus that somebody made; the default ones are there without.
pub(crate) type Bus = Declared<BusSpec>;
/// A rule of a bus, with its targets.
pub(crate) type EventRule = Declared<EventRuleSpec>;
/// A schedule.
pub(crate) type EventSchedule = Declared<TimedSpec>;

/// What is said of a schedule, and since when its times are as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimedSpec {
    pub(crate) spec: EventScheduleSpec,
    /// When its times were said, in milliseconds since 1970: what they would have been before counts for nothing.
    pub(crate) since_ms: u64,
}

impl TimedSpec {
    /// What is said now of a schedule that is so at present.
    pub(crate) fn changed(spec: EventScheduleSpec, present: Option<&Self>, now_ms: u64) -> Self {
        let since_ms = match present {
            Some(present) if has_same_times(&present.spec, &spec) => present.since_ms,
            Some(_) | None => now_ms,
        };
        Self { spec, since_ms }
    }
}

fn has_same_times(one: &EventScheduleSpec, other: &EventScheduleSpec) -> bool {
    let times = |spec: &EventScheduleSpec| (spec.schedule.clone(), spec.zone.clone(), spec.start, spec.end);
    times(one) == times(other)
}

/// What is noted of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScheduleNotes {
    pub(crate) schedule: QualifiedName,
    /// When the schedule that they are about was made; one that is made anew starts over.
    pub(crate) schedule_created_at_ms: u64,
    /// The last time that was dealt with, in milliseconds since 1970.
    pub(crate) last_ms: Option<u64>,
    /// Times that are due and may not have been taken in by the buses yet, in their order.
    pub(crate) pending_ms: Vec<u64>,
}

impl ScheduleNotes {
    /// Of a schedule of which nothing was noted yet.
    pub(crate) fn new(schedule: &EventSchedule) -> Self {
        Self {
            schedule: schedule.spec.spec.name.clone(),
            schedule_created_at_ms: schedule.created_at_ms,
            last_ms: None,
            pending_ms: vec![],
        }
    }

    /// What the next look begins with.
    pub(crate) fn state(&self, schedule: &EventSchedule) -> ScheduleState {
        ScheduleState { last_ms: self.last_ms, created_at_ms: schedule.spec.since_ms }
    }
}

/// How far the stream of events was put on the buses; there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamPosition {
    /// The last event that was.
    pub(crate) event: EventId,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use skiff_types::{Destination, EventTarget, Input, Missed, RetryPolicy};
    use std::sync::Arc;

    /// A schedule of a name and times, with a queue for its target.
    pub(crate) fn schedule(name: &str, times: &str, now_ms: u64) -> EventSchedule {
        let name: QualifiedName = name.parse().unwrap();
        let target = EventTarget {
            id: name.name.clone(),
            to: Destination::Queue { queue: "orders".parse().unwrap(), group: None },
            input: Input::Event,
            retry: RetryPolicy::default(),
            dead_letter: None,
            concurrency: 1,
            timeout: EventTarget::TIMEOUT,
        };
        let spec = EventScheduleSpec {
            name,
            schedule: times.parse().unwrap(),
            zone: "UTC".parse().unwrap(),
            start: None,
            end: None,
            missed: Missed::Once,
            enabled: true,
            target,
        };
        let spec = Arc::new(TimedSpec::changed(spec, None, now_ms));
        Declared { spec, created_at_ms: now_ms, updated_at_ms: now_ms }
    }

    #[test]
    fn times_begin_anew_only_where_they_are_others() {
        let first = schedule("default/sweep", "rate(5 minutes)", 1_000).spec;
        let mut same = first.spec.clone();
        same.enabled = false;
        same.missed = Missed::All;
        assert_eq!(TimedSpec::changed(same.clone(), Some(&first), 9_000).since_ms, 1_000);
        same.zone = "Europe/Berlin".parse().unwrap();
        assert_eq!(TimedSpec::changed(same, Some(&first), 9_000).since_ms, 9_000);
    }
}
