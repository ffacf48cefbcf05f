//! How often rules and schedules led to something, and what came of it: counted here, since here it is known; in memory alone.

use skiff_ports::buses::AttemptError;
use skiff_types::QualifiedName;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What was counted of a rule or a schedule, under the names of EventBridge's metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tries of deliveries; those that found their target busy are none.
    pub(crate) invocations: u64,
    /// Those that failed.
    pub(crate) failed: u64,
    /// Deliveries that went to a dead-letter queue.
    pub(crate) dead_letters: u64,
}

/// The counts since they were last taken, by rule or schedule; none of what did nothing.
#[derive(Debug, Default)]
pub(crate) struct Invocations(Mutex<BTreeMap<QualifiedName, Counts>>);

impl Invocations {
    /// Counts a try.
    pub(super) fn count(&self, origin: &QualifiedName, outcome: &Result<(), AttemptError>) {
        let failed = match outcome {
            Ok(()) => 0,
            Err(AttemptError::Refused(_) | AttemptError::Failed(_)) => 1,
            Err(AttemptError::Busy(_)) => return,
        };
        self.change(origin, |counts| {
            counts.invocations += 1;
            counts.failed += failed;
        });
    }

    /// Counts what a dead-letter queue took.
    pub(super) fn count_dead_letter(&self, origin: &QualifiedName) {
        self.change(origin, |counts| counts.dead_letters += 1);
    }

    fn change(&self, origin: &QualifiedName, change: impl FnOnce(&mut Counts)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(origin.clone()).or_default());
    }

    /// What was counted since this was asked last.
    pub(crate) fn take(&self) -> BTreeMap<QualifiedName, Counts> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_its_target_busy_is_no_try() {
        let (counts, name) = (Invocations::default(), "default/orders".parse::<QualifiedName>().unwrap());
        counts.count(&name, &Err(AttemptError::Busy("later".to_owned())));
        assert!(counts.take().is_empty());
        counts.count(&name, &Ok(()));
        counts.count(&name, &Err(AttemptError::Failed("no".to_owned())));
        counts.count_dead_letter(&name);
        let expected = Counts { invocations: 2, failed: 1, dead_letters: 1 };
        assert_eq!(counts.take(), BTreeMap::from([(name, expected)]));
        assert!(counts.take().is_empty());
    }
}
