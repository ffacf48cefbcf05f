//! Which instants of a schedule are due, and what becomes of those that passed while nobody looked.
//!
//! An instant is a point in time that a schedule names. What is kept between two looks is the last instant that was dealt with
//! (it happened, or was let pass), and since when the schedule has been as it is. It deliberately neither keeps that nor lets
//! anything happen: who asks writes down the new state together with what it leads to.
//!
//! What always holds, whatever the clock does: no instant is given twice, and they are given in their order. A clock that was put
//! back makes nothing due until it has caught up with the last instant; so one that once showed a far future lets a schedule rest
//! until then, or until it is made anew. A rate counts from when the schedule began, so it does not drift.

use crate::schedule::{Due as When, ScheduleError, moment};
use jiff::tz::TimeZone;
use skiff_types::{EventScheduleSpec, LocalTime, Missed, Schedule, Zone};

/// How late an instant is still on time, in milliseconds: as exact as EventBridge's scheduler says it is, and as a quick restart
/// of the platform takes.
pub const ON_TIME_MS_MAX: u64 = 60_000;

/// The shortest time between two instants of any schedule, in milliseconds.
const APART_MS_MIN: u64 = 60_000;

/// What is kept of a schedule between two looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleState {
    /// The last instant that was dealt with, in milliseconds since 1970.
    pub last_ms: Option<u64>,
    /// Since when the schedule has been as it is: instants up to then are not its own. In milliseconds since 1970.
    pub created_at_ms: u64,
}

impl ScheduleState {
    /// Of a schedule that is made now.
    pub fn new(now_ms: u64) -> Self {
        Self { last_ms: None, created_at_ms: now_ms }
    }

    /// Of a schedule whose times are changed now: what the new ones were before is not made up for, and what was dealt with
    /// stays so.
    #[must_use]
    pub fn changed(self, now_ms: u64) -> Self {
        Self { last_ms: self.last_ms, created_at_ms: now_ms }
    }

    fn done_ms(self) -> u64 {
        self.last_ms.map_or(self.created_at_ms, |last_ms| last_ms.max(self.created_at_ms))
    }
}

/// What a look at a schedule shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The instants that are to happen now, in their order, in milliseconds since 1970; [`Missed::ALL_MAX`] at most.
    pub fire: Vec<u64>,
    /// What is to be kept, together with what the instants lead to.
    pub state: ScheduleState,
    /// When to look again; none if nothing comes any more, or as long as the schedule is disabled.
    pub next_ms: Option<u64>,
}

/// Why a schedule can't be so; a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventScheduleError {
    /// Its times themselves can't be.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Its start or its end is a day that is not in the calendar.
    #[error("there is no {time} in {zone}: look at the day and its month")]
    NoSuchTime {
        /// What was asked for.
        time: LocalTime,
        /// Where.
        zone: Zone,
    },
    /// Nothing lies between its start and its end.
    #[error("{schedule} names no time between its start and its end: begin sooner or end later")]
    Empty {
        /// What was asked for.
        schedule: Schedule,
    },
}

/// Refuses a schedule that is never due, whenever it is made; an error says what to do.
pub fn check(spec: &EventScheduleSpec) -> Result<(), EventScheduleError> {
    let times = Times::new(spec, 0)?;
    match times.next(0) {
        Some(_) => Ok(()),
        None if spec.start.is_none() && spec.end.is_none() => {
            let (schedule, zone) = (spec.schedule.clone(), spec.zone.clone());
            Err(ScheduleError::Never { schedule, zone }.into())
        }
        None => Err(EventScheduleError::Empty { schedule: spec.schedule.clone() }),
    }
}

/// What is due by `now_ms` of what was not dealt with yet. Of a schedule that [`check`] refuses, nothing ever is.
pub fn due(spec: &EventScheduleSpec, state: ScheduleState, now_ms: u64) -> Due {
    let rest = |next_ms| Due { fire: Vec::new(), state, next_ms };
    if !spec.enabled {
        return rest(None);
    }
    let Ok(times) = Times::new(spec, state.created_at_ms) else { return rest(None) };
    let after_ms = state.done_ms();
    let first_ms = match times.next(after_ms) {
        Some(first_ms) if first_ms <= now_ms => first_ms,
        coming_ms => return rest(coming_ms),
    };
    let last_ms = times.last(first_ms, now_ms);
    let fire = match spec.missed {
        Missed::Skip if now_ms - last_ms >= ON_TIME_MS_MAX => Vec::new(),
        Missed::Skip | Missed::Once => vec![last_ms],
        Missed::All => times.latest(after_ms, now_ms),
    };
    let state = ScheduleState { last_ms: Some(last_ms), ..state };
    Due { fire, state, next_ms: times.next(last_ms) }
}

/// The instants of a schedule between its start and its end.
struct Times {
    when: When,
    /// From this on; of a rate, its first instant.
    first_ms: u64,
    /// Before this.
    end_ms: Option<u64>,
}

impl Times {
    fn new(spec: &EventScheduleSpec, created_at_ms: u64) -> Result<Self, EventScheduleError> {
        let when = When::new(&spec.schedule, &spec.zone)?;
        let unknown = |_| ScheduleError::Zone { zone: spec.zone.clone() };
        let zone = TimeZone::get(spec.zone.as_str()).map_err(unknown)?;
        let bound = |local: Option<LocalTime>| match local {
            None => Ok(None),
            Some(time) => match moment(&zone, time) {
                Some(at_ms) => Ok(Some(at_ms)),
                None => Err(EventScheduleError::NoSuchTime { time, zone: spec.zone.clone() }),
            },
        };
        let (start_ms, end_ms) = (bound(spec.start)?, bound(spec.end)?);
        let first_ms = match (start_ms, &when) {
            (Some(start_ms), _) => start_ms,
            (None, When::Every { ms }) => created_at_ms.saturating_add(*ms),
            (None, When::Once(_) | When::Calendar { .. }) => 0,
        };
        Ok(Self { when, first_ms, end_ms })
    }

    /// The first instant after a time.
    fn next(&self, after_ms: u64) -> Option<u64> {
        let at_ms = match &self.when {
            When::Every { .. } if after_ms < self.first_ms => Some(self.first_ms),
            When::Every { ms } => {
                let passed = (after_ms - self.first_ms) / ms;
                (passed + 1).checked_mul(*ms).and_then(|since_ms| self.first_ms.checked_add(since_ms))
            }
            When::Once(_) | When::Calendar { .. } => {
                self.when.next(after_ms.max(self.first_ms.saturating_sub(1)))
            }
        };
        at_ms.filter(|at_ms| self.end_ms.is_none_or(|end_ms| *at_ms < end_ms))
    }

    /// The last instant up to now, by halves: years of minutes may lie between. `known_ms` is one of them.
    fn last(&self, known_ms: u64, now_ms: u64) -> u64 {
        let coming = |after_ms| self.next(after_ms).filter(|at_ms| *at_ms <= now_ms);
        let Some(mut last_ms) = coming(known_ms) else { return known_ms };
        let mut none_after_ms = now_ms;
        while last_ms < none_after_ms {
            let half_ms = last_ms + (none_after_ms - last_ms) / 2;
            match coming(half_ms) {
                Some(at_ms) => last_ms = at_ms,
                None => none_after_ms = half_ms,
            }
        }
        last_ms
    }

    /// The instants after a time and up to now; of more than [`Missed::ALL_MAX`], the last so many.
    fn latest(&self, after_ms: u64, now_ms: u64) -> Vec<u64> {
        // That many can't lie within less; where fewer do, twice as much is looked at.
        let mut span_ms = Missed::ALL_MAX as u64 * APART_MS_MIN;
        loop {
            let from_ms = now_ms.saturating_sub(span_ms).max(after_ms);
            let instants = std::iter::successors(self.next(from_ms), |at_ms| self.next(*at_ms));
            let mut found: Vec<u64> = instants.take_while(|at_ms| *at_ms <= now_ms).collect();
            if found.len() >= Missed::ALL_MAX || from_ms == after_ms {
                found.drain(..found.len().saturating_sub(Missed::ALL_MAX));
                return found;
            }
            span_ms = span_ms.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests;
