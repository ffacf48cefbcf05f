//! What is learnt of a target by what comes of a request or a connection, for all workers: averages, and whether it is left
//! out for a while.
//!
//! It deliberately does not know which target is asked next ([`super::choice`]). What always holds: where there is nobody to
//! go elsewhere to, nobody is left out, and nothing is written down; no more of a group are left out at once than may be,
//! whichever workers find so at the same time.

use super::{Aim, Group, Target};
use skiff_ledger::TargetState;
use skiff_plan::outlier;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Whether that is the target's fault: it could not be connected to, gave no answer, or one that says so.
    pub(crate) has_failed: bool,
    /// After how long its answer began, if there was one.
    pub(crate) response_us: Option<u64>,
}

impl Aim {
    /// Learns what came of an attempt at one of the targets, at `now_ns`, in `worker`; counts it if the target is left out
    /// for that.
    pub(crate) fn learn(&self, index: usize, outcome: Outcome, worker: usize, now_ns: u64) {
        let group = &*self.group;
        if group.targets.len() < 2 || !group.learn(index, outcome, worker, now_ns / 1_000_000) {
            return;
        }
        let meters = [self.meter.as_ref(), group.targets[index].meter.as_ref()];
        meters.into_iter().flatten().for_each(|meter| meter.row(worker).ejections.add(1));
        let label = &*group.targets[index].label;
        tracing::info!(group = self.label(), label, "a target is left out for a while");
    }
}

impl Group {
    /// Says whether the target is left out from now on.
    fn learn(&self, index: usize, outcome: Outcome, worker: usize, now_ms: u64) -> bool {
        let target = &self.targets[index];
        // The place of one that has left may be another's by now.
        if target.pool().is_some_and(|pool| pool.is_closed()) {
            return false;
        }
        let Some(state) = target.state_to_write(worker) else { return false };
        let Outcome { has_failed, response_us } = outcome;
        // What was asked before it was left out comes late, and is not added up while it is: when it is back, it is judged by
        // what it answers then.
        let before = match outlier::is_whole(state.outlier.load(Relaxed)) {
            true => state.average.load(Relaxed),
            false => 0,
        };
        let average = outlier::averaged(before, has_failed, response_us, now_ms);
        state.average.store(average, Relaxed);
        let is_out = match has_failed {
            true => update(state, |word| outlier::after_failure(word, now_ms)),
            false => {
                update(state, |word| outlier::after_success(word, now_ms));
                let is_slow = response_us.is_some_and(|us| us > outlier::SLOW_US_MIN)
                    && outlier::is_slow(average, self.averages_beside(index), now_ms);
                is_slow && update(state, |word| outlier::eject(word, now_ms))
            }
        };
        is_out && self.leaves_out(state, now_ms)
    }

    /// Leaves out a target that was just ejected, unless too many are out then. Looked at after it counts as such itself: two
    /// workers that eject at the same time may both find too many, and never both too few.
    fn leaves_out(&self, state: &TargetState, now_ms: u64) -> bool {
        let is_out = |state: &&TargetState| !outlier::is_whole(state.outlier.load(SeqCst));
        let out = self.targets.iter().filter_map(Target::state).filter(is_out).count();
        if out > outlier::ejected_max(self.targets.len()) {
            update(state, |word| (!outlier::is_whole(word)).then(|| outlier::spare(word, now_ms)));
            return false;
        }
        state.average.store(0, Relaxed);
        true
    }
}

/// Changes the outlier word; says whether that ejected the target.
fn update(state: &TargetState, change: impl Fn(u64) -> Option<u64>) -> bool {
    // Most often there is nothing to change, and nothing is written.
    if change(state.outlier.load(Relaxed)).is_none() {
        return false;
    }
    let mut after = 0;
    let changed = state.outlier.fetch_update(SeqCst, Relaxed, |word| {
        let next = change(word);
        after = next.unwrap_or(word);
        next
    });
    changed.is_ok_and(|before| outlier::has_ejected(before, after))
}
