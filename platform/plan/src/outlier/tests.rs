//! Ejection against a model that keeps all that ever happened to a target, and averages against their plain definitions.

use super::*;
use proptest::prelude::*;

/// What happens to a target.
#[derive(Debug, Clone, Copy)]
enum Event {
    Success,
    Failure,
    /// Somebody looks for a target.
    Choice,
    Wait(u64),
}

/// A target as a history: nothing is packed, nothing is forgotten but by looking at the times.
#[derive(Debug, Default)]
struct Model {
    failures: u64,
    /// Since when it is out, and until when at least, if it is.
    out: Option<(u64, u64)>,
    /// When its trial began, if there was one since it was ejected.
    trial_ms: Option<u64>,
    /// How many ejections counted when it came back last, and when that was.
    came_back: Option<(u64, u64)>,
    /// Ejections since it was whole last.
    ejections: u64,
}

impl Model {
    fn standing(&self, now_ms: u64) -> Standing {
        let Some((_, until_ms)) = self.out else { return Standing::Whole };
        let free_ms = self.trial_ms.map_or(until_ms, |trial_ms| trial_ms + TRIAL_MS);
        if now_ms < free_ms { Standing::Out } else { Standing::OnProbation }
    }

    fn eject(&mut self, now_ms: u64) {
        if self.out.is_none() {
            self.ejections = self.came_back.map_or(0, |(ejections, at_ms)| {
                let mut left = ejections;
                let mut forgotten_ms = at_ms + FORGOTTEN_MS;
                while forgotten_ms <= now_ms && left > 0 {
                    left -= 1;
                    forgotten_ms += FORGOTTEN_MS;
                }
                left
            });
        }
        self.ejections = (self.ejections + 1).min(60);
        let lasts_ms = (self.ejections * 5_000).min(300_000);
        (self.out, self.trial_ms, self.failures) = (Some((now_ms, now_ms + lasts_ms)), None, 0);
    }

    fn step(&mut self, event: Event, now_ms: u64) {
        let is_tried = self.trial_ms.is_some() || self.standing(now_ms) == Standing::OnProbation;
        match event {
            Event::Success if self.out.is_none() => self.failures = 0,
            Event::Success if is_tried => {
                self.came_back = Some((self.ejections, now_ms));
                (self.out, self.trial_ms) = (None, None);
            }
            Event::Failure if self.out.is_none() => {
                self.failures += 1;
                if self.failures == 5 {
                    self.eject(now_ms);
                }
            }
            Event::Failure if is_tried => self.eject(now_ms),
            Event::Choice if self.standing(now_ms) == Standing::OnProbation => self.trial_ms = Some(now_ms),
            Event::Success | Event::Failure | Event::Choice | Event::Wait(_) => {}
        }
    }
}

fn step(word: u64, event: Event, now_ms: u64) -> u64 {
    let next = match event {
        Event::Success => after_success(word, now_ms),
        Event::Failure => after_failure(word, now_ms),
        Event::Choice => begin_trial(word, now_ms),
        Event::Wait(_) => None,
    };
    next.unwrap_or(word)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => Just(Event::Success),
        12 => Just(Event::Failure),
        4 => Just(Event::Choice),
        4 => (0..20_000_u64).prop_map(Event::Wait),
        1 => (0..1_000_000_u64).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    #[test]
    fn a_word_says_what_the_history_says(events in events(), start_ms in 1..1_u64 << 40) {
        let (mut word, mut model, mut now_ms) = (0, Model::default(), start_ms);
        for event in events {
            if let Event::Wait(ms) = event {
                now_ms += ms;
            }
            let before = word;
            word = step(word, event, now_ms);
            let was_out = model.out;
            model.step(event, now_ms);
            prop_assert_eq!(standing(word, now_ms), model.standing(now_ms), "after {:?}", event);
            prop_assert_eq!(is_whole(word), model.out.is_none());
            let was_ejected = matches!(event, Event::Failure) && model.out != was_out;
            // One that ends in the same millisecond as it did is no other to who looks at the word.
            if word != before {
                prop_assert_eq!(has_ejected(before, word), was_ejected, "{:?}", event);
            }
            if let (Some((_, until_ms)), None) = (model.out, model.trial_ms) {
                prop_assert_eq!(standing(word, until_ms - 1), Standing::Out);
                prop_assert_eq!(standing(word, until_ms), Standing::OnProbation);
            }
        }
    }

    #[test]
    fn no_word_is_too_strange(
        word in any::<u64>(),
        average in any::<u64>(),
        us in any::<u64>(),
        now_ms in 0..1_u64 << 50,
    ) {
        for event in [Event::Success, Event::Failure, Event::Choice] {
            standing(step(word, event, now_ms), now_ms);
        }
        eject(word, now_ms);
        spare(word, now_ms);
        averaged(average, true, Some(us), now_ms);
    }

    #[test]
    fn averages_lie_among_what_they_are_made_of(
        samples in prop::collection::vec((any::<bool>(), 0..5_000_000_u64), 1..100),
    ) {
        let word = samples.iter().fold(0, |word, &(failed, us)| averaged(word, failed, Some(us), 7_000));
        let average = Average::of(word, 7_000);
        let times = samples.iter().map(|(_, us)| *us);
        prop_assert!((times.clone().min().unwrap()..=times.max().unwrap()).contains(&average.response_us));
        let failed = samples.iter().filter(|(failed, _)| *failed).count();
        prop_assert_eq!(average.failures == Average::ALL, failed == samples.len() && average.failures > 0);
        prop_assert!(failed > 0 || average.failures == 0);
        prop_assert_eq!(average.answers, (samples.len() as u64).min(ANSWERS_MAX));
    }
}

/// The word after so many failures in a row.
fn failed(mut word: u64, times: usize, now_ms: u64) -> u64 {
    (0..times).for_each(|_| word = step(word, Event::Failure, now_ms));
    word
}

#[test]
fn five_failures_in_a_row_eject_and_four_do_not() {
    let four = failed(0, 4, 1_000);
    assert!(is_whole(four));
    let again = failed(step(four, Event::Success, 1_000), 4, 1_000);
    assert!(is_whole(again), "they are in a row no more");
    let five = failed(four, 1, 1_000);
    assert!(has_ejected(four, five));
    assert_eq!(standing(five, 5_999), Standing::Out);
    assert_eq!(standing(five, 6_000), Standing::OnProbation);
    assert_eq!(after_success(five, 5_999), None, "an answer from before says nothing");
    assert_eq!(after_failure(five, 5_999), None);
}

#[test]
fn one_request_is_a_trial_and_decides() {
    let due = failed(0, 5, 1_000);
    assert_eq!(begin_trial(due, 5_999), None);
    let tried = begin_trial(due, 6_000).unwrap();
    assert_eq!(standing(tried, 6_001), Standing::Out, "nobody else is let through");
    assert_eq!(standing(tried, 6_000 + TRIAL_MS), Standing::OnProbation, "it took too long");
    assert!(is_whole(after_success(tried, 6_001).unwrap()));
    let again = after_failure(tried, 6_001).unwrap();
    assert!(has_ejected(tried, again));
    assert_eq!(standing(again, 16_000), Standing::Out);
    assert_eq!(standing(again, 16_001), Standing::OnProbation, "twice as long");
}

#[test]
fn ejections_grow_up_to_their_bound_and_are_forgotten() {
    let mut word = failed(0, 5, 0);
    let mut now_ms;
    let lasts_ms = |word: u64, now_ms: u64| State::of(word).at_ms - now_ms;
    for times in 2..=100 {
        now_ms = State::of(word).at_ms;
        word = failed(word, 1, now_ms);
        assert_eq!(lasts_ms(word, now_ms), (times * EJECTION_MS).min(EJECTION_MS_MAX));
    }
    now_ms = State::of(word).at_ms;
    let back = step(word, Event::Success, now_ms);
    for (later_ms, times) in [(0, 60), (FORGOTTEN_MS, 60), (2 * FORGOTTEN_MS, 59), (1_000 * FORGOTTEN_MS, 1)]
    {
        let then_ms = now_ms + later_ms;
        assert_eq!(lasts_ms(failed(back, 5, then_ms), then_ms), times * EJECTION_MS, "{later_ms} ms later");
    }
}

#[test]
fn who_is_spared_is_asked_about_again_at_its_next_failure() {
    let spared = spare(failed(0, 5, 1_000), 1_000);
    assert!(is_whole(spared));
    let out = failed(spared, 1, 1_001);
    assert_eq!(standing(out, 6_000), Standing::Out);
    assert_eq!(standing(out, 6_001), Standing::OnProbation, "the first one was none");
    assert!(is_whole(failed(step(spared, Event::Success, 1_001), 4, 1_001)));
    assert_eq!([0, 1, 2, 3, 4, 1_000].map(ejected_max), [0, 0, 1, 1, 2, 500]);
    assert!(eject(0, 5).is_some_and(|word| !is_whole(word) && eject(word, 6).is_none()));
}

#[test]
fn answers_of_long_ago_do_not_count() {
    let steady = |us: u64| (0..40).fold(0, |word, _| averaged(word, false, Some(us), 1_000));
    let word = steady(300_000);
    assert_eq!(Average::of(word, 1_000).response_us(), Some(300_000));
    assert_eq!(Average::of(word, 10_000).response_us(), Some(300_000));
    assert_eq!(Average::of(word, 30_000).response_us(), None, "an eighth of 40 is left");
    let new = averaged(word, false, Some(1_000), 100_000);
    assert_eq!(
        Average::of(new, 100_000),
        Average { period: 10, answers: 1, failures: 0, response_us: 1_000 }
    );
    assert_eq!(Average::of(averaged(word, true, None, 1_000), 1_000).response_us(), Some(300_000));
}

#[test]
fn a_clock_that_was_read_a_moment_earlier_takes_nothing_from_an_average() {
    let word = (0..40).fold(0, |word, _| averaged(word, false, Some(300_000), PERIOD_MS));
    assert_eq!(Average::of(word, PERIOD_MS - 1).response_us(), Some(300_000));
    // What is told apart from that at the most is an hour ago and more.
    assert_eq!(Average::of(word, PERIOD_MS * (1 + PERIODS / 2)).response_us(), None);
}

#[test]
fn an_answer_counts_as_at_most_twice_the_average_and_a_quarter_of_a_second() {
    let word = (0..40).fold(0, |word, _| averaged(word, false, Some(1_000_000), 1_000));
    let after = |us: u64| averaged(word, false, Some(us), 1_000);
    assert_eq!(after(60_000_000), after(2_250_000));
    let response_us = |us: u64| Average::of(after(us), 1_000).response_us();
    assert!(response_us(2_240_000) < response_us(2_250_000));
}

#[test]
fn a_target_has_failures_once_one_of_its_answers_was_one() {
    let well = (0..40).fold(0, |word, _| averaged(word, false, Some(u64::MAX), 1_000 * PERIOD_MS));
    assert!(!has_failures(0) && !has_failures(well));
    let failed = averaged(well, true, None, 1_000 * PERIOD_MS);
    assert!(has_failures(failed));
    assert!(has_failures(averaged(failed, false, Some(1), 1_000 * PERIOD_MS)), "it is not forgotten at once");
}

#[test]
fn a_target_is_slow_beside_the_others() {
    let steady = |us: u64, count: usize| (0..count).fold(0, |word, _| averaged(word, false, Some(us), 1_000));
    let check = |own_us: u64, others: &[u64], expected: bool| {
        let others: Vec<u64> = others.iter().map(|us| steady(*us, 40)).collect();
        assert_eq!(is_slow(steady(own_us, 40), others.into_iter(), 1_000), expected, "{own_us}");
    };
    check(400_000, &[1_000, 2_000], true);
    check(240_000, &[1_000, 2_000], false);
    check(400_000, &[100_000, 100_000, 1_000], false);
    check(600_000, &[100_000, 100_000, 1_000], true);
    check(400_000, &[], false);
    // At the bounds it is not slow yet.
    check(SLOW_US_MIN, &[1_000], false);
    check(SLOW_US_MIN + 1, &[1_000], true);
    check(SLOW_TIMES * 100_000, &[100_000], false);
    check(SLOW_TIMES * 100_000 + 1, &[100_000], true);
    assert!(!is_slow(steady(400_000, 9), [steady(1_000, 40)].into_iter(), 1_000), "nine say too little");
    assert!(!is_slow(steady(400_000, 40), [steady(1_000, 9)].into_iter(), 1_000));
}

#[test]
fn one_slow_answer_makes_no_slow_target_and_several_in_a_row_do() {
    let add = |word: u64, us: u64, count: usize| {
        (0..count).fold(word, |word, _| averaged(word, false, Some(us), 1_000))
    };
    let (fast, others) = (add(0, 10_000, 40), [add(0, 10_000, 40)]);
    let is_slow = |word: u64| is_slow(word, others.into_iter(), 1_000);
    let mut word = fast;
    for _ in 0..50 {
        word = add(word, 60_000_000, 1);
        assert!(!is_slow(word), "{:?}", Average::of(word, 1_000));
        word = add(word, 10_000, 9);
    }
    let turned = (1..).find(|&count| is_slow(add(fast, 2_000_000, count)));
    assert!(turned.is_some_and(|count| (5..20).contains(&count)), "slow after {turned:?}");
    assert!(!is_slow(add(add(fast, 2_000_000, 20), 10_000, 60)), "and well again");
}
