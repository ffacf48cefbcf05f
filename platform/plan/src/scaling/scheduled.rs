//! Scheduled scaling: which bounds hold by the clock.
//!
//! A schedule that was due while nobody looked is carried out late, once; of several, the one that was due last has the last
//! word. It deliberately goes back no further than [`MISSED_MS_MAX`].

use super::{Memory, ScheduleMemory};
use crate::schedule::Due;
use skiff_types::ScheduledScaling;

/// How long ago a schedule may have been due and still be carried out, in milliseconds.
const MISSED_MS_MAX: u64 = 31 * 86_400_000;

/// Takes over what schedules say that were due up to now, and gives when the next one is.
pub(super) fn apply(schedules: &[ScheduledScaling], memory: &mut Memory, now_ms: u64) -> Option<u64> {
    memory.schedules.retain(|name, _| schedules.iter().any(|schedule| schedule.name == *name));
    let mut fired = Vec::new();
    let mut next_ms: Option<u64> = None;
    for scheduled in schedules {
        let known =
            memory.schedules.entry(scheduled.name.clone()).or_insert_with(|| begun(scheduled, now_ms));
        if (&known.schedule, &known.zone) != (&scheduled.schedule, &scheduled.zone) {
            *known = begun(scheduled, now_ms);
        }
        // One that is never due was refused when it was put.
        let Ok(due) = Due::new(&scheduled.schedule, &scheduled.zone) else { continue };
        // The clock may have been put back.
        known.last_ms = known.last_ms.min(now_ms);
        let mut after_ms = known.last_ms.max(now_ms.saturating_sub(MISSED_MS_MAX));
        let mut fired_at_ms = None;
        let coming_ms = loop {
            match due.next(after_ms) {
                Some(at_ms) if at_ms <= now_ms => {
                    after_ms = at_ms;
                    fired_at_ms = Some(at_ms);
                }
                coming_ms => break coming_ms,
            }
        };
        if let Some(at_ms) = fired_at_ms {
            known.last_ms = at_ms;
            fired.push((at_ms, scheduled.bounds));
        }
        next_ms = next_ms.into_iter().chain(coming_ms).min();
    }
    fired.sort_by_key(|(at_ms, _)| *at_ms);
    for (_, bounds) in fired {
        memory.bounds.min = bounds.min.or(memory.bounds.min);
        memory.bounds.max = bounds.max.or(memory.bounds.max);
    }
    next_ms
}

fn begun(scheduled: &ScheduledScaling, now_ms: u64) -> ScheduleMemory {
    ScheduleMemory { schedule: scheduled.schedule.clone(), zone: scheduled.zone.clone(), last_ms: now_ms }
}
