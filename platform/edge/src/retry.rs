//! The budget of a group for requests that are tried again on another target: a fifth of its requests lately, and a few
//! more, so that a group with few requests has some too.
//!
//! Where all targets fail, trying each request three times would be three times the load at the worst time. Source:
//! Linkerd's retry budgets (<https://linkerd.io/2/tasks/configuring-retries/>; `RETRY_SHARE`, `RETRIES_PER_S_MIN` and the
//! time that requests count for are its defaults).
//!
//! It deliberately does not know which requests may be tried again ([`crate::call`]). Each worker has its own budget, of the
//! requests that it has itself; so the share holds for all of them. What always holds: a request that is not tried again
//! costs one addition, and reads no clock.

use crate::edge::Edge;
use crate::group::{ATTEMPTS_MAX, Aim, Load, Tried};
use skiff_kit::clock::monotonic_ns;
use std::cell::Cell;

/// Of so many requests one may be tried again.
const RETRY_SHARE: u64 = 5;
/// Retries that there may always be, in a second.
const RETRIES_PER_S_MIN: u64 = 10;
/// Half of the time that requests and retries count for, in milliseconds.
const WINDOW_MS: u64 = 5_000;

/// Requests and retries of one group in one worker.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// When the present window began, and what came in it.
    began_ms: Cell<u64>,
    present: Cell<Count>,
    /// What came in the one before.
    past: Cell<Count>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    requests: u64,
    retries: u64,
}

impl Budget {
    /// There is a request.
    pub(crate) fn deposit(&self) {
        let present = self.present.get();
        self.present.set(Count { requests: present.requests + 1, ..present });
    }

    /// Whether one may be tried again at `now_ms`; then it is counted as such.
    pub(crate) fn withdraw(&self, now_ms: u64) -> bool {
        self.move_on(now_ms);
        let (present, past) = (self.present.get(), self.past.get());
        let always = RETRIES_PER_S_MIN * 2 * WINDOW_MS / 1_000;
        let allowed = (present.requests + past.requests) / RETRY_SHARE + always;
        let is_granted = present.retries + past.retries < allowed;
        if is_granted {
            self.present.set(Count { retries: present.retries + 1, ..present });
        }
        is_granted
    }

    /// Begins another window if the present one is over. It lasts until somebody asks; so what came in it is taken for what
    /// came in as much of it as a window is long.
    fn move_on(&self, now_ms: u64) {
        let lasted_ms = now_ms.saturating_sub(self.began_ms.get());
        if lasted_ms < WINDOW_MS {
            return;
        }
        let Count { requests, retries } = self.present.get();
        let part = |count: u64| (u128::from(count) * u128::from(WINDOW_MS) / u128::from(lasted_ms)) as u64;
        self.past.set(Count { requests: part(requests), retries: part(retries) });
        self.present.set(Count::default());
        self.began_ms.set(now_ms);
    }
}

impl Aim {
    /// The target that is tried after these, if there is another and the group's budget lets it. It `counts` unless the last
    /// one was gone: that is no failure, but a change that was not told yet.
    pub(crate) fn another(&self, load: Load, tried: &Tried, edge: &Edge, counts: bool) -> Option<usize> {
        let group = &*self.group;
        if tried.count() >= group.targets.len().min(ATTEMPTS_MAX) {
            return None;
        }
        if counts && !group.budget.withdraw(monotonic_ns() / 1_000_000) {
            return None;
        }
        let other = self.next(load, tried, edge.chance())?;
        let failed = tried.last().and_then(|index| group.targets[index].meter.as_ref());
        for meter in [self.meter.as_ref(), failed].into_iter().flatten().filter(|_| counts) {
            meter.row(edge.worker()).retries.add(1);
        }
        Some(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many attempts to try again are granted at this time.
    fn granted(budget: &Budget, attempts: usize, now_ms: u64) -> usize {
        (0..attempts).filter(|_| budget.withdraw(now_ms)).count()
    }

    fn requests(budget: &Budget, count: usize) {
        (0..count).for_each(|_| budget.deposit());
    }

    const START_MS: u64 = 1_000_000;

    #[test]
    fn a_few_may_always_be_tried_again() {
        let budget = Budget::default();
        assert_eq!(granted(&budget, 1_000, START_MS), 100, "ten a second for ten seconds");
        assert_eq!(granted(&budget, 1_000, START_MS + 4_999), 0);
        assert_eq!(granted(&budget, 1_000, START_MS + 5_000), 0, "they still count");
        assert_eq!(granted(&budget, 1_000, START_MS + 10_000), 100);
    }

    #[test]
    fn a_fifth_of_the_requests_may() {
        let budget = Budget::default();
        let mut retries = 0;
        for step in 0..100 {
            requests(&budget, 1_000);
            retries += granted(&budget, 1_000, START_MS + step * 100);
        }
        assert!((19_700..20_200).contains(&retries), "{retries} of 100000");
    }

    #[test]
    fn requests_of_long_ago_do_not_count() {
        let budget = Budget::default();
        granted(&budget, 1, START_MS);
        requests(&budget, 1_000_000);
        let later_ms = START_MS + 1_000 * WINDOW_MS;
        assert_eq!(granted(&budget, 10_000, later_ms), 100 + 200, "a thousand in a window");
        let much_later_ms = later_ms + 1_000 * WINDOW_MS;
        assert_eq!(granted(&budget, 10_000, much_later_ms), 100);
    }
}
