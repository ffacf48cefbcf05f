//! What moves the count of a service's tasks, and what Skiff notes of it: what was done, and what must be remembered of that.
//!
//! It deliberately decides nothing. What always holds: notes of scaling that was put anew say nothing of it, nor what
//! schedules made of the bounds of another specification.

use super::Declared;
use skiff_plan::scaling::{self, Memory};
use skiff_types::{Bounds, QualifiedName, ScalingActivity, ScalingSpec};

/// What moves the count of a service's tasks.
pub(crate) type Scaling = Declared<ScalingSpec>;

/// What Skiff notes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScalingNotes {
    pub(crate) service: QualifiedName,
    /// When the scaling that they are about was put first; one that is put anew starts over.
    pub(crate) scaling_created_at_ms: u64,
    /// When what was said of it had last changed as the bounds in `memory` were made.
    pub(crate) scaling_updated_at_ms: u64,
    pub(crate) memory: Memory,
    /// What was decided, and is written down before the service is changed by it: it is carried out, whatever ends in between.
    pub(crate) under_way: Option<ScalingActivity>,
    /// What was done, newest first; [`ScalingNotes::ACTIVITIES_MAX`] at most.
    pub(crate) activities: Vec<ScalingActivity>,
}

impl ScalingNotes {
    /// Activities kept of a service.
    pub(crate) const ACTIVITIES_MAX: usize = 100;

    /// Of scaling of which nothing was noted yet.
    pub(crate) fn new(scaling: &Scaling) -> Self {
        Self {
            service: scaling.spec.service.clone(),
            scaling_created_at_ms: scaling.created_at_ms,
            scaling_updated_at_ms: scaling.updated_at_ms,
            memory: Memory::default(),
            under_way: None,
            activities: vec![],
        }
    }

    /// The same for scaling as it is said now: what schedules made of bounds that were others is over.
    pub(crate) fn of_present(&self, scaling: &Scaling) -> Self {
        let mut notes = self.clone();
        if notes.scaling_updated_at_ms != scaling.updated_at_ms {
            notes.scaling_updated_at_ms = scaling.updated_at_ms;
            notes.memory.bounds = Bounds::default();
        }
        notes
    }

    /// Takes in that what was under way is over, and was done at this time, if it was; gives it back then.
    pub(crate) fn end(&mut self, done_at_ms: Option<u64>) -> Option<ScalingActivity> {
        let activity = self.under_way.take()?;
        let activity = ScalingActivity { ended_at_ms: done_at_ms?, ..activity };
        self.activities.insert(0, activity.clone());
        self.activities.truncate(Self::ACTIVITIES_MAX);
        Some(activity)
    }

    /// Why the count became this, where the service was changed last at this time, if it was not set by hand.
    pub(crate) fn why(&self, count: u32, changed_at_ms: u64) -> Option<&str> {
        let done = || self.activities.first().filter(|activity| activity.ended_at_ms == changed_at_ms);
        let last = self.under_way.as_ref().or_else(done)?;
        (last.after == count).then_some(last.cause.as_str())
    }
}

/// The fewest and the most tasks that a service may have now, given what is noted of this very scaling.
pub(crate) fn bounds_now(scaling: &Scaling, notes: Option<&ScalingNotes>) -> (u32, u32) {
    let scheduled = notes.map_or_else(Bounds::default, |notes| notes.of_present(scaling).memory.bounds);
    scaling::bounds(&scaling.spec, scheduled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// What moves the count of a service's tasks between 2 and 10, by nothing.
    fn scaling(service: &str) -> Scaling {
        let spec = ScalingSpec {
            service: service.parse().unwrap(),
            min: 2,
            max: 10,
            policies: vec![],
            schedules: vec![],
            scale_in_protected: false,
        };
        Declared { spec: Arc::new(spec), created_at_ms: 5, updated_at_ms: 6 }
    }

    fn activity(before: u32, after: u32) -> ScalingActivity {
        let cause = format!("{before} are not {after}");
        ScalingActivity { before, after, min: 2, max: 10, began_at_ms: 7, ended_at_ms: 7, cause }
    }

    #[test]
    fn what_is_over_is_kept_if_it_was_done_and_the_newest_say_why() {
        let mut notes = ScalingNotes::new(&scaling("default/web"));
        for count in 0..150 {
            notes.under_way = Some(activity(count, count + 1));
            assert_eq!(notes.why(count + 1, 0), Some(format!("{count} are not {}", count + 1).as_str()));
            let done_at_ms = (count != 149).then_some(9);
            let ended = notes.end(done_at_ms);
            assert_eq!(ended.map(|activity| activity.ended_at_ms), done_at_ms);
        }
        assert_eq!((notes.activities.len(), notes.activities[0].after), (100, 149));
        assert_eq!(notes.why(149, 9), Some("148 are not 149"));
        assert_eq!((notes.why(150, 9), notes.why(149, 10)), (None, None), "its user said something since");
    }

    #[test]
    fn what_schedules_made_of_bounds_ends_with_what_was_said() {
        let before = scaling("default/web");
        let mut notes = ScalingNotes::new(&before);
        notes.memory.bounds = Bounds { min: Some(4), max: None };
        assert_eq!(bounds_now(&before, Some(&notes)), (4, 10));
        let after = Scaling { updated_at_ms: 7, ..before };
        assert_eq!(bounds_now(&after, Some(&notes)), (2, 10));
        assert_eq!(bounds_now(&after, None), (2, 10));
    }
}
