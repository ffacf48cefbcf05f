//! How often rules and schedules led to something, and what came of it, and what came to buses and rules: counted here, since here
//! it is known, or is told by the buses; in memory alone.

use skiff_ports::buses::{AttemptError, BusCounts};
use skiff_types::QualifiedName;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was counted of a rule or a schedule, under the names of EventBridge's metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events that the rule took.
    pub(crate) matched: u64,
    /// Tries of deliveries; those that found their target busy are none.
    pub(crate) invocations: u64,
    /// Those that failed.
    pub(crate) failed: u64,
    /// Deliveries that went to a dead-letter queue.
    pub(crate) dead_letters: u64,
}

/// What was counted; none of what did nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// By rule or schedule.
    pub(crate) origins: BTreeMap<QualifiedName, Counts>,
    /// Events that were put, by bus.
    pub(crate) put: BTreeMap<QualifiedName, u64>,
}

/// The counts since they were last taken, and since the start.
#[derive(Debug, Default)]
pub(crate) struct Invocations(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    since: Counted,
    total: Counted,
}

impl Invocations {
    /// Counts a try.
    pub(super) fn count(&self, origin: &QualifiedName, outcome: &Result<(), AttemptError>) {
        let failed = match outcome {
            Ok(()) => 0,
            Err(AttemptError::Refused(_) | AttemptError::Failed(_)) => 1,
            Err(AttemptError::Busy(_)) => return,
        };
        self.kept().change(origin, |counts| {
            counts.invocations += 1;
            counts.failed += failed;
        });
    }

    /// Counts what a dead-letter queue took.
    pub(super) fn count_dead_letter(&self, origin: &QualifiedName) {
        self.kept().change(origin, |counts| counts.dead_letters += 1);
    }

    /// Counts what the buses have counted.
    pub(crate) fn add(&self, counts: BusCounts) {
        let mut kept = self.kept();
        for (rule, matched) in counts.matched {
            kept.change(&rule, |counts| counts.matched += matched);
        }
        for (bus, put) in counts.put {
            *kept.total.put.entry(bus.clone()).or_default() += put;
            *kept.since.put.entry(bus).or_default() += put;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted since this was asked last.
    pub(crate) fn take(&self) -> Counted {
        std::mem::take(&mut self.kept().since)
    }

    /// What was counted since the start.
    pub(crate) fn totals(&self) -> Counted {
        self.kept().total.clone()
    }

    /// Forgets totals of rules and schedules that are gone, once there are more than so many: names come and go.
    pub(crate) fn keep(&self, most: usize, is_there: impl Fn(&QualifiedName) -> bool) {
        let mut kept = self.kept();
        if kept.total.origins.len() > most {
            kept.total.origins.retain(|name, _| is_there(name));
        }
    }

    /// The same of buses.
    pub(crate) fn keep_buses(&self, most: usize, is_there: impl Fn(&QualifiedName) -> bool) {
        let mut kept = self.kept();
        if kept.total.put.len() > most {
            kept.total.put.retain(|name, _| is_there(name));
        }
    }
}

impl Kept {
    fn change(&mut self, origin: &QualifiedName, change: impl Fn(&mut Counts)) {
        for counted in [&mut self.since, &mut self.total] {
            match counted.origins.get_mut(origin) {
                Some(counts) => change(counts),
                None => change(counted.origins.entry(origin.clone()).or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_its_target_busy_is_no_try() {
        let (counts, name) = (Invocations::default(), "default/orders".parse::<QualifiedName>().unwrap());
        counts.count(&name, &Err(AttemptError::Busy("later".to_owned())));
        assert_eq!(counts.take(), Counted::default());
        counts.count(&name, &Ok(()));
        counts.count(&name, &Err(AttemptError::Failed("no".to_owned())));
        counts.count_dead_letter(&name);
        let expected = Counts { matched: 0, invocations: 2, failed: 1, dead_letters: 1 };
        assert_eq!(counts.take().origins, BTreeMap::from([(name, expected)]));
        assert_eq!(counts.take(), Counted::default());
    }

    #[test]
    fn what_buses_count_is_added_and_totals_stay_while_their_rule_is_there() {
        let (counts, name) = (Invocations::default(), "default/orders".parse::<QualifiedName>().unwrap());
        let came = BusCounts {
            put: BTreeMap::from([("default/shop".parse().unwrap(), 5)]),
            matched: BTreeMap::from([(name.clone(), 3)]),
        };
        counts.add(came.clone());
        counts.add(came);
        counts.count(&name, &Ok(()));
        let expected = Counts { matched: 6, invocations: 1, ..Counts::default() };
        let taken = counts.take();
        assert_eq!(taken.origins, BTreeMap::from([(name.clone(), expected)]));
        assert_eq!(taken.put.values().copied().collect::<Vec<_>>(), [10]);
        assert_eq!(counts.totals(), taken);
        counts.keep(1, |_| false);
        assert_eq!(counts.totals().origins.len(), 1);
        counts.keep(0, |_| false);
        assert!(counts.totals().origins.is_empty());
        counts.keep_buses(1, |_| false);
        assert_eq!(counts.totals().put.len(), 1);
        counts.keep_buses(0, |_| false);
        assert!(counts.totals().put.is_empty());
    }
}
