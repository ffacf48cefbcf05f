//! Whether a target of a group is left out for a while because of what its answers are like: outlier ejection.
//!
//! What is known of a target is in two words of 64 bits that all workers of a node share, so that what one of them learns
//! holds for all. The functions here are pure: they take a word and give the next; who calls them puts it in its place by
//! compare-and-swap. A word of 0 is a target that nothing is known of.
//!
//! The *outlier* word: a target that fails [`FAILURES_MAX`] times in a row is ejected, for [`EJECTION_MS`] times the number
//! of its ejections that are not forgotten. After that it is on probation: one request is let through as a trial, and
//! another only once [`TRIAL_MS`] have passed without a result. A success brings it back whole; a failure ejects it again.
//! Source: Envoy's outlier detection (`consecutive_5xx`, `base_ejection_time`, `max_ejection_time`,
//! `max_ejection_percent`), with the half-open trial of circuit breakers in place of a return with a full share.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>
//!
//! The *average* word: moving averages of failures and of the time until an answer began, and about how many answers they
//! are made of. By the second one a target is an outlier too that answers far slower than the others ([`is_slow`]); by the
//! first one its share is made smaller ([`crate::share`]).
//!
//! It deliberately does not know what a failure is, nor does it count who is out: the bound on how many of a group may be
//! ([`ejected_max`]) is checked by who ejects.

use std::fmt;

/// Failures in a row for which a target is ejected.
pub const FAILURES_MAX: u64 = 5;
/// How long the first ejection lasts; the next ones last as often as long as there were some, in milliseconds.
pub const EJECTION_MS: u64 = 5_000;
/// The longest ejection, in milliseconds.
pub const EJECTION_MS_MAX: u64 = 300_000;
/// Whoever was back for so long has one ejection less that counts, in milliseconds.
pub const FORGOTTEN_MS: u64 = 60_000;
/// How long a trial may take before another request is let through, in milliseconds.
pub const TRIAL_MS: u64 = 5_000;
/// Ejections that are counted: more make none longer.
const EJECTIONS_MAX: u64 = EJECTION_MS_MAX / EJECTION_MS;

/// Answers that an average has to be made of before anything follows from it.
pub const ANSWERS_MIN: u64 = 10;
/// A target is slow whose answers take longer than this, in microseconds, and also [`SLOW_TIMES`] the others'.
pub const SLOW_US_MIN: u64 = 250_000;
/// How often the median of the others a slow target takes.
pub const SLOW_TIMES: u64 = 5;
/// After so long half of the answers no longer count as late ones, in milliseconds.
const PERIOD_MS: u64 = 10_000;

/// What a target may have at present, as far as its answers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Whatever others have.
    Whole,
    /// Nothing: it is ejected, or its trial is under way.
    Out,
    /// One request, as a trial ([`begin_trial`]).
    OnProbation,
}

/// What an outlier word says. From the lowest bit: 2 of the phase, 4 of failures, 8 of ejections, 50 of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    phase: Phase,
    /// In a row.
    failures: u64,
    /// How often it was ejected, as of `at_ms`.
    ejections: u64,
    /// Of who is ejected or tried, until when; of others, since when they are back.
    at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Whole = 0,
    Ejected = 1,
    Tried = 2,
}

const PHASE: u64 = 0b11;
const FAILURES_SHIFT: u32 = 2;
const FAILURES: u64 = 0b1111;
const EJECTIONS_SHIFT: u32 = 6;
const EJECTIONS: u64 = 0xff;
const AT_SHIFT: u32 = 14;

impl State {
    fn of(word: u64) -> Self {
        let phase = match word & PHASE {
            0 => Phase::Whole,
            1 => Phase::Ejected,
            _ => Phase::Tried,
        };
        Self {
            phase,
            failures: word >> FAILURES_SHIFT & FAILURES,
            ejections: word >> EJECTIONS_SHIFT & EJECTIONS,
            at_ms: word >> AT_SHIFT,
        }
    }

    fn word(self) -> u64 {
        let Self { phase, failures, ejections, at_ms } = self;
        at_ms << AT_SHIFT | ejections << EJECTIONS_SHIFT | failures << FAILURES_SHIFT | phase as u64
    }

    fn standing(self, now_ms: u64) -> Standing {
        match self.phase {
            Phase::Whole => Standing::Whole,
            Phase::Ejected | Phase::Tried if now_ms < self.at_ms => Standing::Out,
            Phase::Ejected | Phase::Tried => Standing::OnProbation,
        }
    }

    /// Whether what it answers says how its trial went.
    fn is_on_trial(self, now_ms: u64) -> bool {
        self.phase == Phase::Tried || self.standing(now_ms) == Standing::OnProbation
    }

    fn ejected(self, now_ms: u64) -> Self {
        let forgotten = match self.phase {
            Phase::Whole => now_ms.saturating_sub(self.at_ms) / FORGOTTEN_MS,
            Phase::Ejected | Phase::Tried => 0,
        };
        let ejections = (self.ejections.saturating_sub(forgotten) + 1).min(EJECTIONS_MAX);
        let at_ms = now_ms.saturating_add(EJECTION_MS * ejections);
        Self { phase: Phase::Ejected, failures: 0, ejections, at_ms }
    }
}

/// Whether a target may have whatever others have. One look at two bits.
pub fn is_whole(outlier: u64) -> bool {
    outlier & PHASE == 0
}

/// What a target may have at `now_ms` (of the monotonic clock, as all times here).
pub fn standing(outlier: u64, now_ms: u64) -> Standing {
    State::of(outlier).standing(now_ms)
}

/// The word of a target on probation that is given the one request; none if it is not, or another was given it.
pub fn begin_trial(outlier: u64, now_ms: u64) -> Option<u64> {
    let state = State::of(outlier);
    let tried = || State { phase: Phase::Tried, at_ms: now_ms.saturating_add(TRIAL_MS), ..state }.word();
    (state.standing(now_ms) == Standing::OnProbation).then(tried)
}

/// The word of a target that answered well; none where it stays as it is.
pub fn after_success(outlier: u64, now_ms: u64) -> Option<u64> {
    if outlier & (PHASE | FAILURES << FAILURES_SHIFT) == 0 {
        return None;
    }
    let state = State::of(outlier);
    match state.phase {
        Phase::Whole => Some(State { failures: 0, ..state }.word()),
        Phase::Ejected | Phase::Tried if state.is_on_trial(now_ms) => {
            // Of who is out, no failures are counted.
            Some(State { phase: Phase::Whole, at_ms: now_ms, ..state }.word())
        }
        Phase::Ejected | Phase::Tried => None,
    }
}

/// The word of a target that failed; none where it stays as it is. [`has_ejected`] says whether that ejects it.
pub fn after_failure(outlier: u64, now_ms: u64) -> Option<u64> {
    let state = State::of(outlier);
    let next = match state.phase {
        Phase::Whole if state.failures + 1 < FAILURES_MAX => State { failures: state.failures + 1, ..state },
        Phase::Whole => state.ejected(now_ms),
        Phase::Ejected | Phase::Tried if state.is_on_trial(now_ms) => state.ejected(now_ms),
        Phase::Ejected | Phase::Tried => return None,
    };
    Some(next.word())
}

/// The word of a target that is ejected for another reason than failures in a row; none if it is out already.
pub fn eject(outlier: u64, now_ms: u64) -> Option<u64> {
    is_whole(outlier).then(|| State::of(outlier).ejected(now_ms).word())
}

/// Whether a change from one word to the next was an ejection.
pub fn has_ejected(before: u64, after: u64) -> bool {
    let (before, after) = (State::of(before), State::of(after));
    after.phase == Phase::Ejected && (before.phase, before.at_ms) != (after.phase, after.at_ms)
}

/// The word of a target that was just ejected and is not to be, since too many are: its next failure asks again.
pub fn spare(outlier: u64, now_ms: u64) -> u64 {
    let state = State::of(outlier);
    let ejections = state.ejections.saturating_sub(1);
    State { phase: Phase::Whole, failures: FAILURES_MAX, ejections, at_ms: now_ms }.word()
}

/// How many of a group's targets may be out at once: half of them, so at least one if there are two.
pub fn ejected_max(targets: usize) -> usize {
    targets / 2
}

/// What an average word says. From the lowest bit: 10 of the period that it was last changed in, 6 of answers, 16 of the
/// average of failures, 32 of the average time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Average {
    period: u64,
    /// About how many answers lately; at most [`ANSWERS_MAX`].
    answers: u64,
    /// The average of failures, of [`Average::ALL`].
    failures: u64,
    /// Until an answer began, in microseconds.
    response_us: u64,
}

const PERIODS: u64 = 1 << 10;
const ANSWERS_SHIFT: u32 = 10;
const ANSWERS_MAX: u64 = 63;
const FAILURES_AVERAGE_SHIFT: u32 = 16;
const RESPONSE_SHIFT: u32 = 32;
const RESPONSE_US_MAX: u64 = u32::MAX as u64;
/// An answer counts as at most so often the average before it, and [`SLOW_US_MIN`] more.
const RISE_TIMES_MAX: u64 = 2;
/// Of the sum, each new answer makes at least a 16th.
const WEIGHT_SHIFT_MAX: u32 = 4;

impl Average {
    /// The average of failures of a target that always fails.
    pub const ALL: u64 = u16::MAX as u64;

    /// What a word says at `now_ms`: answers count half with each period that has passed.
    pub fn of(average: u64, now_ms: u64) -> Self {
        let period = now_ms / PERIOD_MS % PERIODS;
        let passed = (period + PERIODS - average % PERIODS) % PERIODS;
        // Another worker's clock was read a moment later.
        let passed = if passed > PERIODS / 2 { 0 } else { passed.min(u64::from(u64::BITS - 1)) };
        Self {
            period,
            answers: (average >> ANSWERS_SHIFT & ANSWERS_MAX) >> passed,
            failures: average >> FAILURES_AVERAGE_SHIFT & Self::ALL,
            response_us: average >> RESPONSE_SHIFT,
        }
    }

    /// The longest time that one more answer counts as.
    fn response_us_max(&self) -> u64 {
        match self.answers {
            0 => RESPONSE_US_MAX,
            _ => (RISE_TIMES_MAX * self.response_us + SLOW_US_MIN).min(RESPONSE_US_MAX),
        }
    }

    fn word(self) -> u64 {
        let Self { period, answers, failures, response_us } = self;
        response_us << RESPONSE_SHIFT | failures << FAILURES_AVERAGE_SHIFT | answers << ANSWERS_SHIFT | period
    }

    /// The average of failures, of [`Self::ALL`]; none if it is made of too few answers.
    pub fn failures(&self) -> Option<u64> {
        (self.answers >= ANSWERS_MIN).then_some(self.failures)
    }

    /// The average time until an answer began, in microseconds; none if it is made of too few answers.
    pub fn response_us(&self) -> Option<u64> {
        (self.answers >= ANSWERS_MIN).then_some(self.response_us)
    }
}

impl fmt::Debug for Average {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers, failures, response_us, .. } = self;
        write!(f, "{answers} answers, {failures}/65536 failed, {response_us} us")
    }
}

/// Whether any of the answers that an average is made of was a failure. One look at the word.
pub fn has_failures(average: u64) -> bool {
    average >> FAILURES_AVERAGE_SHIFT & Average::ALL != 0
}

/// The word of a target after one more attempt: whether it failed, and after what time it answered, if it did, in
/// microseconds. An answer far slower than those before counts as one of some multiple of their average, so that one alone
/// (a long poll, an upload by a slow client) makes no target slow, and several in a row do. A few instructions; who loses a
/// race to write it has lost one answer of the average.
pub fn averaged(average: u64, failed: bool, response_us: Option<u64>, now_ms: u64) -> u64 {
    let before = Average::of(average, now_ms);
    let shift = (before.answers + 1).ilog2().min(WEIGHT_SHIFT_MAX);
    let towards = |from: u64, to: u64| {
        let (from, to) = (from as i64, to as i64);
        (from + ((to - from) >> shift)) as u64
    };
    let response_us = match response_us {
        Some(response_us) => towards(before.response_us, response_us.min(before.response_us_max())),
        None => before.response_us,
    };
    let failures = towards(before.failures, if failed { Average::ALL } else { 0 });
    let answers = (before.answers + 1).min(ANSWERS_MAX);
    Average { period: before.period, answers, failures, response_us }.word()
}

/// Whether a target answers so much slower than the others of its group that it is an outlier. Not for the fast path: to be
/// asked after an answer that was slow by itself ([`SLOW_US_MIN`]).
pub fn is_slow(average: u64, others: impl Iterator<Item = u64>, now_ms: u64) -> bool {
    let response_us = |word: u64| Average::of(word, now_ms).response_us();
    let Some(own_us) = response_us(average).filter(|own_us| *own_us > SLOW_US_MIN) else { return false };
    let mut others_us: Vec<u64> = others.filter_map(response_us).collect();
    if others_us.is_empty() {
        return false;
    }
    let middle = others_us.len() / 2;
    let (_, median_us, _) = others_us.select_nth_unstable(middle);
    own_us > SLOW_TIMES * *median_us
}

#[cfg(test)]
mod tests;
