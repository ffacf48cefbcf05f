//! The health of a target of the load balancer, by the checks of its group: a word of 64 bits, what the result of a check
//! makes of it, whether a target with this word may have requests, and what is told of it in ELBv2's words.
//!
//! The word is shared by all workers of a node, and written by the one that checks the target: so another goes on where
//! that one was. ELBv2's rules: a new target is healthy with its first success, and unhealthy after as many failures in a
//! row as its group says; then it takes as many successes in a row as that says.
//!
//! It deliberately checks nobody, and does not know what becomes of a group none of whose targets is healthy. Daemons' own
//! checks are [`crate::health`].
//!
//! What always holds: a target that was checked has another word than 0; the state changes by results alone, never by time.

use skiff_types::{TargetHealth, TargetHealthCheck, TargetReason, TargetStatus, Unresolved};

/// The greatest count of results in a row that a word has room for; past it, it stays.
const COUNT_MAX: u32 = 15;
const _: () = assert!(TargetHealthCheck::THRESHOLD_MAX <= COUNT_MAX, "each threshold can be reached");

/// What one check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was connected to, which is enough where nothing is asked for.
    Connected,
    /// It answered with this status of HTTP, or this code of gRPC.
    Answered(u16),
    /// It took longer than it may.
    TimedOut,
    /// Its name leads to no address.
    Unresolved(Unresolved),
    /// It could not be connected to, or what came was no answer.
    Failed,
}

impl Outcome {
    /// Whether that is a success, by what the check says.
    pub fn is_success(self, check: &TargetHealthCheck) -> bool {
        match self {
            Self::Connected => true,
            Self::Answered(status) => check.matcher.has(status),
            Self::TimedOut | Self::Unresolved(_) | Self::Failed => false,
        }
    }
}

/// By what a target is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// The health checks of its group.
    Checks,
    /// What requests show; that it runs is known, since it is a service's task.
    Requests,
    /// What requests show, and whether anybody is there is not known.
    RequestsAlone,
}

/// What a word says of a target's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was never checked.
    New,
    /// It was, and neither succeeded nor failed often enough.
    Initial,
    Healthy,
    Unhealthy,
}

/// How the last check that failed did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    None,
    Status,
    Timeout,
    Other,
    /// Its name could not be resolved: there is none.
    NoSuchName,
    /// The same: nobody could say.
    NoAnswer,
}

/// A word taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    state: State,
    failure: Failure,
    /// In a row.
    successes: u32,
    /// In a row.
    failures: u32,
    /// The status or code that was no success, the last time that one was not.
    status: u16,
}

impl Known {
    const FAILURE_AT: u32 = 2;
    const SUCCESSES_AT: u32 = 5;
    const FAILURES_AT: u32 = 9;
    const STATUS_AT: u32 = 16;

    fn of(word: u64) -> Self {
        let count = |at: u32| (word >> at) as u32 & COUNT_MAX;
        Self {
            state: state(word),
            failure: match word >> Self::FAILURE_AT & 7 {
                0 => Failure::None,
                1 => Failure::Status,
                2 => Failure::Timeout,
                4 => Failure::NoSuchName,
                5 => Failure::NoAnswer,
                _ => Failure::Other,
            },
            successes: count(Self::SUCCESSES_AT),
            failures: count(Self::FAILURES_AT),
            status: (word >> Self::STATUS_AT) as u16,
        }
    }

    fn word(self) -> u64 {
        self.state as u64
            | (self.failure as u64) << Self::FAILURE_AT
            | u64::from(self.successes) << Self::SUCCESSES_AT
            | u64::from(self.failures) << Self::FAILURES_AT
            | u64::from(self.status) << Self::STATUS_AT
    }
}

fn state(word: u64) -> State {
    match word & 3 {
        0 => State::New,
        1 => State::Initial,
        2 => State::Healthy,
        _ => State::Unhealthy,
    }
}

/// The word of a target after one more check. The first is 0.
pub fn note(word: u64, outcome: Outcome, check: &TargetHealthCheck) -> u64 {
    let mut known = Known::of(word);
    let more = |count: u32| (count + 1).min(COUNT_MAX);
    let is_success = outcome.is_success(check);
    if is_success {
        (known.successes, known.failures) = (more(known.successes), 0);
    } else {
        (known.successes, known.failures) = (0, more(known.failures));
        (known.failure, known.status) = match outcome {
            Outcome::Answered(status) => (Failure::Status, status),
            Outcome::TimedOut => (Failure::Timeout, 0),
            Outcome::Unresolved(Unresolved::NoSuchName) => (Failure::NoSuchName, 0),
            Outcome::Unresolved(Unresolved::NoAnswer) => (Failure::NoAnswer, 0),
            Outcome::Connected | Outcome::Failed => (Failure::Other, 0),
        };
    }
    known.state = match known.state {
        State::New | State::Initial if is_success => State::Healthy,
        State::New | State::Initial | State::Healthy if !is_success && known.failures >= check.unhealthy => {
            State::Unhealthy
        }
        State::New => State::Initial,
        State::Unhealthy if is_success && known.successes >= check.healthy => State::Healthy,
        same @ (State::Initial | State::Healthy | State::Unhealthy) => same,
    };
    known.word()
}

/// Whether a target with this word may have requests as long as others of its group may; `has_check` says whether its group
/// is checked.
pub fn may_have_requests(word: u64, has_check: bool) -> bool {
    !has_check || word & 3 == State::Healthy as u64
}

/// Whether checks found a target healthy or unhealthy; nothing while they have not come to either.
pub fn is_healthy(word: u64) -> Option<bool> {
    match state(word) {
        State::New | State::Initial => None,
        State::Healthy => Some(true),
        State::Unhealthy => Some(false),
    }
}

/// What is told of a target, which is named as it prints: by its word, by what else it is judged, whether anything leads to
/// its group, whether it is on its way out of that, and whether it is left out for a while for what requests showed.
pub fn told(
    target: &str,
    word: u64,
    judge: Judge,
    is_used: bool,
    is_draining: bool,
    is_ejected: bool,
) -> TargetHealth {
    let is_checked = judge == Judge::Checks;
    let known = Known::of(word);
    match known.state {
        _ if is_draining => health(
            TargetStatus::Draining,
            TargetReason::DeregistrationInProgress,
            "Target deregistration is in progress",
        ),
        _ if !is_used => health(
            TargetStatus::Unused,
            TargetReason::NotInUse,
            "Target group is not configured to receive traffic from the load balancer",
        ),
        State::Unhealthy if is_checked => failed(target, &known),
        _ if is_ejected => health(
            TargetStatus::Unhealthy,
            TargetReason::Ejected,
            "It failed, or was far slower than others: left out for a while, then tried by one request",
        ),
        State::New if is_checked => health(
            TargetStatus::Initial,
            TargetReason::RegistrationInProgress,
            "Target registration is in progress",
        ),
        State::Initial if is_checked => health(
            TargetStatus::Initial,
            TargetReason::InitialHealthChecking,
            "Initial health checks in progress",
        ),
        _ if judge == Judge::RequestsAlone => health(
            TargetStatus::Unavailable,
            TargetReason::HealthCheckDisabled,
            "Health checks are disabled for the target group",
        ),
        State::New | State::Initial | State::Healthy | State::Unhealthy => TargetHealth::healthy(),
    }
}

/// What is told of a target that is to be checked and can't be, since the node has no place for its word.
pub fn unaccounted() -> TargetHealth {
    let description = "Health checks failed due to an internal error";
    health(TargetStatus::Unavailable, TargetReason::InternalError, description)
}

/// What is told of a target that its checks found unhealthy.
fn failed(target: &str, known: &Known) -> TargetHealth {
    const FAILED: &str = "Health checks failed";
    let unresolved = |why: Unresolved| {
        let name = target.rsplit_once(':').map_or(target, |(name, _)| name);
        (TargetReason::FailedHealthChecks, format!("{FAILED}: the name {name} can't be resolved: {why}"))
    };
    let (reason, description) = match known.failure {
        Failure::Status => {
            let description = format!("{FAILED} with these codes: [{}]", known.status);
            (TargetReason::ResponseCodeMismatch, description)
        }
        Failure::Timeout => (TargetReason::Timeout, "Request timed out".to_owned()),
        Failure::None | Failure::Other => (TargetReason::FailedHealthChecks, FAILED.to_owned()),
        Failure::NoSuchName => unresolved(Unresolved::NoSuchName),
        Failure::NoAnswer => unresolved(Unresolved::NoAnswer),
    };
    health(TargetStatus::Unhealthy, reason, &description)
}

fn health(status: TargetStatus, reason: TargetReason, description: &str) -> TargetHealth {
    TargetHealth { status, reason: Some(reason), description: description.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: &str = "api.example.org:443";

    fn check(healthy: u32, unhealthy: u32) -> TargetHealthCheck {
        TargetHealthCheck { healthy, unhealthy, ..TargetHealthCheck::default() }
    }

    /// The states after each of these results: `y` a success, `n` the status 503, `t` a timeout, `f` a refused connection.
    fn states(results: &str) -> Vec<TargetStatus> {
        let (mut word, check) = (0, check(3, 2));
        let outcome = |result| match result {
            'y' => Outcome::Answered(200),
            'n' => Outcome::Answered(503),
            't' => Outcome::TimedOut,
            _ => Outcome::Failed,
        };
        let note = |result| {
            word = note(word, outcome(result), &check);
            told(TARGET, word, Judge::Checks, true, false, false).status
        };
        results.chars().map(note).collect()
    }

    #[test]
    fn the_first_success_of_a_new_target_makes_it_healthy() {
        use TargetStatus::{Healthy, Initial, Unhealthy};
        assert_eq!(states("y"), [Healthy]);
        assert_eq!(states("ny"), [Initial, Healthy]);
        assert_eq!(states("nnyyy"), [Initial, Unhealthy, Unhealthy, Unhealthy, Healthy]);
        assert_eq!(states("yntyyf"), [Healthy, Healthy, Unhealthy, Unhealthy, Unhealthy, Unhealthy]);
        assert_eq!(states("ynyny"), [Healthy; 5], "not in a row");
    }

    #[test]
    fn only_healthy_targets_may_have_requests_where_they_are_checked() {
        let mut word = 0;
        assert!(may_have_requests(word, false) && !may_have_requests(word, true));
        assert_eq!(is_healthy(word), None);
        word = note(word, Outcome::Connected, &check(5, 2));
        assert!(may_have_requests(word, true));
        assert_eq!(is_healthy(word), Some(true));
        for _ in 0..2 {
            word = note(word, Outcome::Failed, &check(5, 2));
        }
        assert!(!may_have_requests(word, true) && may_have_requests(word, false));
        assert_eq!(is_healthy(word), Some(false));
    }

    #[test]
    fn what_is_told_has_elbv2s_words() {
        let word = |outcome| note(0, outcome, &check(5, 1));
        let text = |health: TargetHealth| {
            let reason = health.reason.map_or_else(String::new, |reason| reason.to_string());
            format!("{} {reason} {}", health.status, health.description)
        };
        let of = |word| text(told(TARGET, word, Judge::Checks, true, false, false));
        assert_eq!(of(word(Outcome::Connected)), "healthy  ");
        assert_eq!(
            of(word(Outcome::Answered(503))),
            "unhealthy Target.ResponseCodeMismatch Health checks failed with these codes: [503]"
        );
        assert_eq!(of(word(Outcome::TimedOut)), "unhealthy Target.Timeout Request timed out");
        assert_eq!(of(word(Outcome::Failed)), "unhealthy Target.FailedHealthChecks Health checks failed");
        let unresolved = |why| of(word(Outcome::Unresolved(why)));
        assert_eq!(
            unresolved(Unresolved::NoSuchName),
            "unhealthy Target.FailedHealthChecks Health checks failed: the name api.example.org can't be resolved: there is \
             no such name, or it has no address"
        );
        let said = unresolved(Unresolved::NoAnswer);
        assert!(said.ends_with("can't be resolved: no name server has an answer at present"), "{said}");
        assert_eq!(of(0), "initial Elb.RegistrationInProgress Target registration is in progress");
        let once = note(0, Outcome::Failed, &check(5, 2));
        assert_eq!(of(once), "initial Elb.InitialHealthChecking Initial health checks in progress");
        let draining = told(TARGET, once, Judge::Checks, false, true, true);
        assert_eq!(
            text(draining),
            "draining Target.DeregistrationInProgress Target deregistration is in progress"
        );
        let unused = text(told(TARGET, word(Outcome::Connected), Judge::Checks, false, false, false));
        assert!(unused.starts_with("unused Target.NotInUse Target group is not configured"), "{unused}");
        assert!(text(unaccounted()).starts_with("unavailable Elb.InternalError "));
    }

    #[test]
    fn who_is_not_checked_is_judged_by_requests() {
        let failed = note(0, Outcome::Failed, &check(5, 1));
        for word in [0, failed] {
            assert_eq!(told(TARGET, word, Judge::Requests, true, false, false), TargetHealth::healthy());
            let alone = told(TARGET, word, Judge::RequestsAlone, true, false, false);
            assert_eq!(
                (alone.status, alone.reason),
                (TargetStatus::Unavailable, Some(TargetReason::HealthCheckDisabled))
            );
            for judge in [Judge::Requests, Judge::RequestsAlone] {
                let ejected = told(TARGET, word, judge, true, false, true);
                assert_eq!(
                    (ejected.status, ejected.reason),
                    (TargetStatus::Unhealthy, Some(TargetReason::Ejected))
                );
                let what_comes = "left out for a while, then tried by one request";
                assert!(ejected.description.ends_with(what_comes), "{}", ejected.description);
            }
        }
        let checked = told(TARGET, failed, Judge::Checks, true, false, true);
        assert_eq!(checked.reason, Some(TargetReason::FailedHealthChecks), "the checks say more");
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            3 => Just(Outcome::Answered(200)),
            1 => Just(Outcome::Connected),
            2 => (100..=599u16).prop_map(Outcome::Answered),
            1 => Just(Outcome::TimedOut),
            1 => Just(Outcome::Failed),
            1 => Just(Outcome::Unresolved(Unresolved::NoSuchName)),
            1 => Just(Outcome::Unresolved(Unresolved::NoAnswer)),
        ]
    }

    /// The same from the whole history each time.
    fn naive(check: &TargetHealthCheck, history: &[Outcome]) -> Option<bool> {
        let mut healthy = None;
        for (index, outcome) in history.iter().enumerate() {
            let is_success = outcome.is_success(check);
            let same = |other: &&Outcome| other.is_success(check) == is_success;
            let in_a_row = history[..=index].iter().rev().take_while(same).count() as u32;
            healthy = match (healthy, is_success) {
                (None, true) => Some(true),
                (Some(false), true) if in_a_row >= check.healthy => Some(true),
                (None | Some(true), false) if in_a_row >= check.unhealthy => Some(false),
                (before, _) => before,
            };
        }
        healthy
    }

    proptest! {
        #[test]
        fn a_word_says_what_the_whole_history_says(
            history in prop::collection::vec(outcome(), 0..60),
            healthy in 1..=TargetHealthCheck::THRESHOLD_MAX,
            unhealthy in 1..=TargetHealthCheck::THRESHOLD_MAX,
        ) {
            let (check, mut word) = (check(healthy, unhealthy), 0);
            for (index, outcome) in history.iter().enumerate() {
                word = note(word, *outcome, &check);
                let expected = naive(&check, &history[..=index]);
                prop_assert_ne!(word, 0);
                prop_assert_eq!(Known::of(word).word(), word);
                prop_assert_eq!(is_healthy(word), expected);
                prop_assert_eq!(may_have_requests(word, true), expected == Some(true));
                let told = told(TARGET, word, Judge::Checks, true, false, false);
                let status = match expected {
                    None => TargetStatus::Initial,
                    Some(true) => TargetStatus::Healthy,
                    Some(false) => TargetStatus::Unhealthy,
                };
                prop_assert_eq!(told.status, status);
                if expected == Some(false) {
                    let last = history[..=index].iter().rev().find(|other| !other.is_success(&check));
                    let reason = match last {
                        Some(Outcome::Answered(_)) => TargetReason::ResponseCodeMismatch,
                        Some(Outcome::TimedOut) => TargetReason::Timeout,
                        _ => TargetReason::FailedHealthChecks,
                    };
                    prop_assert_eq!(told.reason, Some(reason));
                }
            }
        }
    }
}
