//! Which of a group's targets has the next request or connection.
//!
//! Who may have one: who is of the side that it falls to ([`Side`]), whom its health check lets, and who is not left out for what its answers were like
//! ([`skiff_plan::outlier`]); where that is nobody, everybody, as with ELBv2 ("fail open"). Among those the algorithm
//! chooses; a target whose share is not whole ([`skiff_plan::share`]) is passed over by chance, and its load weighs more.
//!
//! What always holds: no request is tried twice on one target; a target on probation is given one request at a time by all
//! workers together. Where all targets are plain, a choice costs one or two loads for each target that is looked at, and
//! no clock is read.

use super::{Group, Side, Target};
use crate::chance::Chance;
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::TargetState;
use skiff_plan::outlier::{self, Standing};
use skiff_plan::{share, target_health};
use skiff_types::Algorithm;
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Targets whose load one request compares. Of more, it compares so many that lie side by side, and the next request starts
/// one further.
const COMPARED_MAX: usize = 16;
/// Targets that one request or connection is tried on, where one after the other can't take it.
pub(crate) const ATTEMPTS_MAX: usize = 3;
/// Times that a target is drawn, before all of them are looked at to draw one.
const DRAWS_MAX: usize = 16;
/// Other targets that one is compared with.
const OTHERS_MAX: usize = 64;
/// Times that a target on probation is chosen which another worker has just given a request.
const TRIALS_LOST_MAX: usize = 4;

/// What is to be spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    Requests,
    Connections,
}

impl Load {
    fn of(self, target: &Target) -> u64 {
        match self {
            Self::Requests => target.requests(),
            Self::Connections => target.connections(),
        }
    }
}

/// The targets that one request or connection was tried on.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    indices: [usize; ATTEMPTS_MAX],
    count: usize,
}

impl Tried {
    /// It is tried on one more.
    pub(crate) fn add(&mut self, index: usize) {
        self.indices[self.count] = index;
        self.count += 1;
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The one that it was tried on last.
    pub(crate) fn last(&self) -> Option<usize> {
        self.indices[..self.count].last().copied()
    }

    fn has(&self, index: usize) -> bool {
        self.indices[..self.count].contains(&index)
    }
}

/// What time it is, looked up once, when it is first asked for.
#[derive(Debug, Default)]
struct Now(Cell<u64>);

impl Now {
    fn ms(&self) -> u64 {
        if self.0.get() == 0 {
            self.0.set(monotonic_ns() / 1_000_000);
        }
        self.0.get()
    }
}

/// One choice.
struct Choice<'a> {
    group: &'a Group,
    algorithm: Algorithm,
    /// The targets of the side that it falls to.
    among: Range<usize>,
    /// Whose turn it is among these.
    turn: &'a Cell<usize>,
    load: Load,
    tried: &'a Tried,
    chance: &'a Chance,
    now: Now,
    /// Whether everybody may be chosen who can be, since nobody may.
    is_open: bool,
}

impl Group {
    /// The target of a side that has the next request or connection, which was tried on these before; none if there is no
    /// other.
    pub(crate) fn choose(
        &self,
        (algorithm, side): (Algorithm, Side),
        load: Load,
        tried: &Tried,
        chance: &Chance,
    ) -> Option<usize> {
        let (now, is_open) = (Now::default(), false);
        let (among, turn) = (self.among(side), self.turn(side));
        let mut choice = Choice { group: self, algorithm, among, turn, load, tried, chance, now, is_open };
        if choice.among.len() <= 1 {
            choice.is_open = true;
            return choice.among.clone().next().filter(|&only| choice.may_have(only));
        }
        for _ in 0..TRIALS_LOST_MAX {
            match choice.choose() {
                Some(index) if choice.is_given(index) => return Some(index),
                Some(_) => {}
                None => break,
            }
        }
        if choice.among.clone().any(|index| choice.is_well(index)) {
            return None;
        }
        choice.is_open = true;
        choice.choose()
    }

    /// The target of this key, if it may be chosen now for what falls to this side.
    pub(crate) fn find(&self, key: u64, side: Side) -> Option<usize> {
        let index = self.targets.iter().position(|target| target.key == key)?;
        if !self.keeps(self.targets[index].is_green, side) {
            return None;
        }
        let choice = Choice {
            group: self,
            algorithm: self.settings.algorithm,
            among: self.among(Side::Any),
            turn: self.turn(Side::Any),
            load: Load::Requests,
            tried: &Tried::default(),
            chance: &Chance::new(0),
            now: Now::default(),
            is_open: self.targets.len() == 1,
        };
        (choice.may_have(index) && choice.is_given(index)).then_some(index)
    }

    /// The averages of a target's answers' neighbours, for comparison.
    pub(super) fn averages_beside(&self, index: usize) -> impl Iterator<Item = u64> {
        let count = self.targets.len();
        let others =
            (index + 1..index + count).take(OTHERS_MAX).map(move |other| &self.targets[other % count]);
        others.filter_map(Target::state).map(|state| state.average.load(Relaxed))
    }
}

impl Choice<'_> {
    fn target(&self, index: usize) -> &Target {
        &self.group.targets[index]
    }

    fn choose(&self) -> Option<usize> {
        match self.algorithm {
            Algorithm::LeastOutstandingRequests => self.least_loaded(),
            Algorithm::RoundRobin => self.next_in_turn(),
            Algorithm::WeightedRandom => self.drawn(),
        }
    }

    /// Of those that tie, one after the other.
    fn least_loaded(&self) -> Option<usize> {
        let turn = self.turn();
        self.take_turn(turn + 1);
        let candidates = self.candidates(turn).take(COMPARED_MAX);
        if self.all_are_whole() {
            return candidates.min_by_key(|&index| self.load.of(self.target(index)));
        }
        candidates.min_by_key(|&index| {
            let share = self.share(index);
            (self.passes_over(share), self.load.of(self.target(index)).saturating_mul(share::WHOLE) / share)
        })
    }

    fn next_in_turn(&self) -> Option<usize> {
        let mut passed_over = None;
        let takes = |&index: &usize| {
            let takes = !self.passes_over(self.share(index));
            if !takes {
                passed_over.get_or_insert(index);
            }
            takes
        };
        let chosen = self.candidates(self.turn()).find(takes).or(passed_over)?;
        self.take_turn(chosen + 1);
        Some(chosen)
    }

    fn drawn(&self) -> Option<usize> {
        for _ in 0..DRAWS_MAX {
            let index = self.among.start + self.chance.below(self.among.len() as u64) as usize;
            if self.may_have(index) && !self.passes_over(self.share(index)) {
                return Some(index);
            }
        }
        let shares: Vec<(usize, u64)> =
            self.candidates(self.among.start).map(|index| (index, self.share(index))).collect();
        let mut left = self.chance.below(shares.iter().map(|(_, share)| share).sum());
        let is_it = |&(_, share): &(usize, u64)| match left.checked_sub(share) {
            Some(behind) => {
                left = behind;
                false
            }
            None => true,
        };
        shares.into_iter().find(is_it).map(|(index, _)| index)
    }

    /// Who may be chosen, from this one on and around.
    fn candidates(&self, from: usize) -> impl Iterator<Item = usize> {
        let around = (from..self.among.end).chain(self.among.start..from);
        around.filter(|&index| self.may_have(index))
    }

    /// Whether a target may be chosen.
    fn may_have(&self, index: usize) -> bool {
        let can_take = match self.target(index).pool() {
            Some(pool) => !pool.is_closed(),
            // An `http` task is called, and takes no connections.
            None => self.load == Load::Requests,
        };
        can_take && !self.tried.has(index) && (self.is_open || self.is_well(index))
    }

    /// Whether nothing speaks against a target.
    fn is_well(&self, index: usize) -> bool {
        let has_check = self.group.settings.health_check.is_some();
        let Some(state) = self.target(index).state() else {
            return target_health::may_have_requests(0, has_check);
        };
        target_health::may_have_requests(state.health.load(Relaxed), has_check)
            && self.standing(state) != Standing::Out
    }

    fn standing(&self, state: &TargetState) -> Standing {
        match state.outlier.load(Relaxed) {
            word if outlier::is_whole(word) => Standing::Whole,
            word => outlier::standing(word, self.now.ms()),
        }
    }

    /// Gives a target what it was chosen for; false if it is on probation, and another was faster.
    fn is_given(&self, index: usize) -> bool {
        let Some(state) = self.target(index).state() else { return true };
        let is_whole = || outlier::is_whole(state.outlier.load(Relaxed));
        let begin_trial = |word| outlier::begin_trial(word, self.now.ms());
        is_whole() || state.outlier.fetch_update(SeqCst, Relaxed, begin_trial).is_ok() || is_whole()
    }

    fn all_are_whole(&self) -> bool {
        self.group.settings.slow_start.is_none() && self.algorithm != Algorithm::WeightedRandom
    }

    /// How large a target's share is.
    fn share(&self, index: usize) -> u64 {
        if self.all_are_whole() {
            return share::WHOLE;
        }
        let Some(state) = self.target(index).state() else { return share::WHOLE };
        let mut whole = share::WHOLE;
        if let Some(slow_start) = self.group.settings.slow_start {
            whole = share::grown(state.began_ms.load(Relaxed), slow_start.ms(), self.now.ms());
        }
        let average = state.average.load(Relaxed);
        if self.algorithm == Algorithm::WeightedRandom && outlier::has_failures(average) {
            let others = || self.group.averages_beside(index);
            whole = whole * share::by_failures(average, others, self.now.ms()) / share::WHOLE;
        }
        whole.max(1)
    }

    /// Whether a target with this share is left out this time.
    fn passes_over(&self, share: u64) -> bool {
        share < share::WHOLE && self.chance.below(share::WHOLE) >= share
    }

    fn turn(&self) -> usize {
        self.among.start + self.turn.get() % self.among.len()
    }

    /// The next request begins with this one. Who is asked in another's place takes no turn, else that one would have the next
    /// again.
    fn take_turn(&self, next: usize) {
        if self.tried.count() == 0 {
            self.turn.set((next - self.among.start) % self.among.len());
        }
    }
}
