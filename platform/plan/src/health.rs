//! When a daemon is healthy, and when to check it next: what follows from the results of its checks.
//!
//! Before it was reached for the first time it is checked quickly, so that one that starts fast is used at once; failures
//! count then only once its start period is over, and one an interval however many there were.
//!
//! It deliberately connects to nothing, and does not know what becomes of a task that is unhealthy (`service` and
//! `lifecycle` decide that).
//!
//! What always holds: an answer is given when the health changes, and at no other time, so that two in a row never say the
//! same; and between two lies some time, so that a program that opens and closes its listener makes nobody work.

use skiff_types::HealthCheck;

/// After the first check that fails, before any has succeeded; each further pause is twice as long, up to the interval.
const FIRST_PAUSE_MS: u64 = 10;
/// Doublings after which a pause is longer than any interval: ten milliseconds, so often doubled, are more than a year.
const DOUBLINGS_MAX: u32 = 32;
/// The least time between two answers, in milliseconds, however short the interval is: each is an event, and a write.
const CHANGES_APART_MS: u64 = 1_000;

/// The checks of one daemon since its program started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    rules: HealthCheck,
    state: State,
    /// Checks that count and spoke against the state, since one spoke for it.
    against: u32,
    /// Checks that failed before any succeeded.
    failed_first: u32,
    /// Before any has succeeded: a failure before this does not count.
    counts_from_ms: u64,
    /// When the health changed last.
    changed_at_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was never reached, and nothing was said yet.
    Starting,
    /// It was never reached, and that was said.
    Late,
    Healthy,
    Unhealthy,
}

impl Checks {
    /// Of a program that started at `now_ms`, on whatever clock the results are told by.
    pub fn new(rules: HealthCheck, now_ms: u64) -> Self {
        Self {
            rules,
            state: State::Starting,
            against: 0,
            failed_first: 0,
            counts_from_ms: now_ms.saturating_add(rules.start_period.ms()),
            changed_at_ms: None,
        }
    }

    /// Takes in whether it was reached; says whether it is healthy now, if that is otherwise than before. Nothing is known
    /// before the first answer. A change that comes too soon after the last is put off until a later result speaks for it.
    pub fn note(&mut self, is_reached: bool, now_ms: u64) -> Option<bool> {
        match (self.state, is_reached) {
            (State::Starting | State::Late, true) => self.change(State::Healthy, true, now_ms),
            (State::Starting, false) => {
                self.failed_first = self.failed_first.saturating_add(1);
                if now_ms < self.counts_from_ms {
                    return None;
                }
                self.counts_from_ms = now_ms.saturating_add(self.rules.interval.ms());
                self.speak_against(self.rules.unhealthy, State::Late, false, now_ms)
            }
            (State::Late, false) => {
                self.failed_first = self.failed_first.saturating_add(1);
                None
            }
            (State::Healthy, true) | (State::Unhealthy, false) => {
                self.against = 0;
                None
            }
            (State::Healthy, false) => {
                self.speak_against(self.rules.unhealthy, State::Unhealthy, false, now_ms)
            }
            (State::Unhealthy, true) => self.speak_against(self.rules.healthy, State::Healthy, true, now_ms),
        }
    }

    /// How long to wait after the last result before the next check, in milliseconds.
    pub fn pause_ms(&self) -> u64 {
        let interval_ms = self.rules.interval.ms().max(FIRST_PAUSE_MS);
        match self.state {
            State::Starting | State::Late => {
                let doublings = self.failed_first.saturating_sub(1).min(DOUBLINGS_MAX);
                interval_ms.min(FIRST_PAUSE_MS << doublings)
            }
            State::Healthy | State::Unhealthy => interval_ms,
        }
    }

    fn speak_against(&mut self, enough: u32, then: State, is_healthy: bool, now_ms: u64) -> Option<bool> {
        self.against = self.against.saturating_add(1);
        if self.against < enough { None } else { self.change(then, is_healthy, now_ms) }
    }

    fn change(&mut self, state: State, is_healthy: bool, now_ms: u64) -> Option<bool> {
        if self.changed_at_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < CHANGES_APART_MS) {
            return None;
        }
        self.state = state;
        self.against = 0;
        self.changed_at_ms = Some(now_ms);
        Some(is_healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skiff_types::Span;

    fn rules() -> HealthCheck {
        HealthCheck {
            interval: Span::from_ms(1_000),
            timeout: Span::from_ms(100),
            healthy: 2,
            unhealthy: 3,
            start_period: Span::from_ms(5_000),
        }
    }

    /// What is said of results a second apart, the first of them at the start.
    fn said(results: &str) -> Vec<Option<bool>> {
        let mut checks = Checks::new(rules(), 0);
        let results = results.chars().zip(0..);
        results.map(|(result, second)| checks.note(result == 'y', second * 1_000)).collect()
    }

    #[test]
    fn the_first_success_makes_it_healthy_at_once() {
        assert_eq!(said("y"), [Some(true)]);
        assert_eq!(said("nny"), [None, None, Some(true)]);
    }

    #[test]
    fn failures_within_the_start_period_do_not_count() {
        let said = said("nnnnnnnnnny");
        assert_eq!(said[..7], [None; 7], "five of them, and two");
        assert_eq!((said[7], &said[8..10]), (Some(false), &[None; 2][..]), "at the third, once");
        assert_eq!(said[10], Some(true), "it is reached for the first time");
    }

    #[test]
    fn it_takes_some_in_a_row_to_change() {
        assert_eq!(said("ynnynnn")[1..], [None, None, None, None, None, Some(false)]);
        assert_eq!(said("ynnnynyyy")[3..], [Some(false), None, None, None, Some(true), None]);
    }

    #[test]
    fn quick_checks_at_the_start_count_once_an_interval() {
        let mut checks = Checks::new(HealthCheck { start_period: Span::from_ms(0), ..rules() }, 0);
        let mut now_ms = 0;
        let said_at_ms = loop {
            if checks.note(false, now_ms) == Some(false) {
                break now_ms;
            }
            now_ms += checks.pause_ms();
        };
        assert!((2_000..4_000).contains(&said_at_ms), "{said_at_ms}");
    }

    #[test]
    fn pauses_double_until_it_is_reached() {
        let mut checks = Checks::new(rules(), 0);
        let pauses = (0..10).map(|_| {
            checks.note(false, 0);
            checks.pause_ms()
        });
        assert_eq!(pauses.collect::<Vec<_>>(), [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000]);
        checks.note(true, 0);
        assert_eq!(checks.pause_ms(), 1_000);
        let quick = HealthCheck { interval: Span::from_ms(0), ..rules() };
        assert_eq!(Checks::new(quick, 0).pause_ms(), FIRST_PAUSE_MS, "never without a pause");
    }

    #[test]
    fn a_program_that_opens_and_closes_its_listener_is_spoken_of_once_a_second() {
        let interval = *HealthCheck::INTERVAL.start();
        let rules = HealthCheck { interval, healthy: 1, unhealthy: 1, ..rules() };
        let mut checks = Checks::new(rules, 0);
        let results = (0..100_u64).map(|check| (check.is_multiple_of(2), check * interval.ms()));
        let said: Vec<bool> = results.filter_map(|(result, at_ms)| checks.note(result, at_ms)).collect();
        assert!((8..=10).contains(&said.len()), "in ten seconds: {said:?}");
        assert!(said.windows(2).all(|two| two[0] != two[1]), "{said:?}");
    }

    /// The same from the whole history each time: what was said before and when, and what is said now.
    fn naive(rules: &HealthCheck, history: &[(bool, u64)], said: &[(bool, u64)]) -> Option<bool> {
        let (now, now_ms) = *history.last()?;
        let in_a_row = history.iter().rev().take_while(|(result, _)| *result == now).count() as u32;
        let was_healthy = said.iter().any(|(healthy, _)| *healthy);
        let last = said.last().map(|(healthy, _)| *healthy);
        let too_soon = said.last().is_some_and(|(_, at_ms)| now_ms - at_ms < CHANGES_APART_MS);
        let says = match (was_healthy, now) {
            (false, true) => true,
            (true, true) => last == Some(false) && in_a_row >= rules.healthy,
            (true, false) => last == Some(true) && in_a_row >= rules.unhealthy,
            (false, false) => {
                let (mut counted, mut from_ms) = (0, rules.start_period.ms());
                for (_, at_ms) in history {
                    if *at_ms >= from_ms {
                        (counted, from_ms) = (counted + 1, at_ms + rules.interval.ms());
                    }
                }
                last.is_none() && counted >= rules.unhealthy
            }
        };
        (says && !too_soon).then_some(now)
    }

    proptest! {
        #[test]
        fn it_says_what_the_whole_history_says(
            results in prop::collection::vec((any::<bool>(), 0..3_000u64), 0..60),
            never_before in 0..30usize,
            (healthy, unhealthy) in (1..4u32, 1..4u32),
            start_period_ms in 0..10_000u64,
        ) {
            let start_period = Span::from_ms(start_period_ms);
            let rules = HealthCheck { healthy, unhealthy, start_period, ..rules() };
            let mut checks = Checks::new(rules, 0);
            let (mut now_ms, mut history, mut all_said) = (0, vec![], Vec::<(bool, u64)>::new());
            for (index, (result, later_ms)) in results.into_iter().enumerate() {
                now_ms += later_ms;
                let result = result && index >= never_before;
                history.push((result, now_ms));
                let said = checks.note(result, now_ms);
                prop_assert_eq!(said, naive(&rules, &history, &all_said));
                prop_assert!(said.is_none() || said != all_said.last().map(|(healthy, _)| *healthy));
                prop_assert!((FIRST_PAUSE_MS..=1_000).contains(&checks.pause_ms()));
                all_said.extend(said.map(|healthy| (healthy, now_ms)));
            }
        }
    }
}
