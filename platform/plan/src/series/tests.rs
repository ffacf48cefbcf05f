//! Held to a naive model that keeps every value.

use super::*;
use proptest::prelude::*;
use skiff_types::Sketch;
use std::collections::BTreeMap;

/// Every value by its second.
type Naive = BTreeMap<u64, Vec<f64>>;

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![3 => Just(0.0), 2 => Just(7.0), 2 => 0.001..100_000.0_f64, 1 => -1_000.0..-0.001_f64]
}

fn filled(values: &[(u64, f64)]) -> (Ring, Naive) {
    let (mut ring, mut naive) = (Ring::default(), Naive::new());
    for (at_s, value) in values {
        ring.add(*at_s, &Datum::of_value(*value).unwrap());
        naive.entry(*at_s).or_default().push(*value);
    }
    (ring, naive)
}

/// What a ring takes, counted anew.
fn counted_bytes(ring: &Ring) -> usize {
    ring.runs.iter().map(Run::bytes).sum()
}

fn naive_value(values: &[f64], statistic: Statistic) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match statistic {
        Statistic::Average => values.iter().sum::<f64>() / values.len() as f64,
        Statistic::Sum => values.iter().sum(),
        Statistic::Minimum => sorted[0],
        Statistic::Maximum => sorted[sorted.len() - 1],
        Statistic::SampleCount => values.len() as f64,
        Statistic::Percentile(percentile) => sorted[percentile.rank(values.len() as u64) as usize - 1],
    }
}

#[track_caller]
fn check(told: f64, expected: f64, statistic: Statistic, values: &[f64]) {
    let size: f64 = values.iter().map(|value| value.abs()).sum();
    let slack = match statistic {
        Statistic::Percentile(_) => expected.abs() * (Sketch::ERROR + 1e-9),
        Statistic::Average | Statistic::Sum => size * 1e-9,
        Statistic::Minimum | Statistic::Maximum | Statistic::SampleCount => 0.0,
    };
    assert!((told - expected).abs() <= slack, "{statistic} of {values:?} is {told}, not {expected}");
}

const STATISTICS: [&str; 9] =
    ["Average", "Sum", "Minimum", "Maximum", "SampleCount", "p0", "p50", "p99", "p100"];

proptest! {
    #[test]
    fn a_ring_says_of_every_period_what_all_its_values_say(
        values in prop::collection::vec((1_000_u64..1_200, value()), 0..300),
        period_s in prop_oneof![Just(1_u64), Just(5), Just(7), Just(60)],
        from_s in 990_u64..1_210,
        length_s in 0_u64..220,
    ) {
        let (ring, naive) = filled(&values);
        let to_s = from_s + length_s;
        let mut periods = Periods::new(period_s * 1_000, from_s * 1_000, to_s * 1_000).unwrap();
        prop_assert!(periods.from_ms() <= from_s * 1_000 && periods.to_ms() >= to_s * 1_000);
        for (at_s, datum) in ring.between(periods.from_ms() / 1_000, periods.to_ms() / 1_000) {
            periods.add(at_s * 1_000, &datum);
        }
        for statistic in STATISTICS.map(|text| text.parse::<Statistic>().unwrap()) {
            for (start_ms, told) in periods.values(statistic) {
                let start_s = start_ms / 1_000;
                prop_assert_eq!(start_s % period_s, 0);
                let all: Vec<f64> =
                    naive.range(start_s..start_s + period_s).flat_map(|(_, values)| values.clone()).collect();
                prop_assert_eq!(told.is_some(), !all.is_empty());
                if let Some(told) = told {
                    check(told, naive_value(&all, statistic), statistic, &all);
                }
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_what_lies_before(
        values in prop::collection::vec((1_000_u64..1_100, value()), 0..200),
        before_s in 990_u64..1_110,
    ) {
        let (mut ring, mut naive) = filled(&values);
        ring.forget_before(before_s);
        naive = naive.split_off(&before_s);
        let told = ring.between(0, u64::MAX).map(|(at_s, datum)| (at_s, datum.count));
        let told: Vec<(u64, u64)> = told.collect();
        let expected: Vec<_> = naive.iter().map(|(at_s, values)| (*at_s, values.len() as u64)).collect();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(ring.is_empty(), naive.is_empty());
        prop_assert_eq!(ring.bytes(), counted_bytes(&ring));
    }

    #[test]
    fn what_is_forgotten_from_a_second_on_lies_there_or_later(
        values in prop::collection::vec((1_000_u64..1_100, value()), 0..200),
        from_s in 990_u64..1_110,
    ) {
        let (mut ring, mut naive) = filled(&values);
        ring.forget_from(from_s);
        drop(naive.split_off(&from_s));
        let told: Vec<(u64, u64)> = ring.between(0, u64::MAX).map(|(at_s, datum)| (at_s, datum.count)).collect();
        let expected: Vec<_> = naive.iter().map(|(at_s, values)| (*at_s, values.len() as u64)).collect();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(ring.bytes(), counted_bytes(&ring));
    }

    #[test]
    fn a_minute_is_its_seconds(values in prop::collection::vec((960_u64..1_080, value()), 0..200)) {
        let (ring, naive) = filled(&values);
        let told = ring.minute(960_000).map(|datum| datum.count);
        let expected: usize = naive.range(960..1_020).map(|(_, values)| values.len()).sum();
        prop_assert_eq!(told, (expected > 0).then_some(expected as u64));
    }
}

#[test]
fn a_value_that_stands_still_takes_one_place() {
    let mut ring = Ring::default();
    (0..900).for_each(|at_s| ring.add(at_s, &Datum::of_value(0.0).unwrap()));
    assert_eq!((ring.runs.len(), ring.between(0, 2_000).count()), (1, 900));
    assert_eq!(ring.at(899).unwrap().count, 1);
    assert!(ring.at(900).is_none());
}

#[test]
fn what_stood_still_is_cut_where_it_is_forgotten() {
    let seconds = |ring: &Ring| ring.between(0, 100).map(|(at_s, _)| at_s).collect::<Vec<u64>>();
    let mut ring = Ring::default();
    (10..20).for_each(|at_s| ring.add(at_s, &Datum::of_value(7.0).unwrap()));
    ring.forget_from(20);
    assert_eq!(seconds(&ring), (10..20).collect::<Vec<u64>>());
    ring.forget_from(14);
    assert_eq!(seconds(&ring), [10, 11, 12, 13]);
    ring.forget_from(10);
    assert!(ring.is_empty());
}

#[test]
fn what_was_busy_gives_its_memory_back_and_a_little_is_not_moved_about() {
    let filled = |seconds: u64| {
        let mut ring = Ring::default();
        (0..seconds).for_each(|at_s| ring.add(at_s, &Datum::of_value(at_s as f64).unwrap()));
        ring
    };
    let mut busy = filled(900);
    busy.forget_before(860);
    let room = busy.runs.capacity();
    assert!((2 * 40..4 * 40).contains(&room), "there is room for as many again, not for {room}");
    let mut little = filled(20);
    let room = little.runs.capacity();
    little.forget_before(19);
    assert_eq!((little.runs.len(), little.runs.capacity()), (1, room));
}

#[test]
fn a_ring_knows_what_it_takes_whatever_comes() {
    let mut ring = Ring::default();
    assert_eq!(ring.bytes(), 0);
    (0..900).for_each(|at_s| ring.add(at_s, &Datum::of_value(7.0).unwrap()));
    assert_eq!(ring.bytes(), 32, "a gauge that stands still");
    assert_eq!(Ring::bytes_of(&Datum::of_value(7.0).unwrap()), 32);
    let mut spread = Datum::of_value(-1e300).unwrap();
    (-300..=300).for_each(|power| spread.merge(&Datum::of_value(10_f64.powi(power)).unwrap()));
    // In the midst of the run, which is cut around it.
    ring.add(450, &spread);
    assert_eq!((ring.runs.len(), ring.bytes()), (3, counted_bytes(&ring)));
    assert!(ring.bytes() > 2_500 && ring.bytes() <= 3 * 32 + Datum::BYTES_MAX, "{}", ring.bytes());
    for at_s in 0..900 {
        ring.add(at_s, &spread);
    }
    assert_eq!(ring.bytes(), counted_bytes(&ring));
    assert!(ring.bytes() <= 900 * Ring::bytes_of(&spread), "{} bytes", ring.bytes());
    ring.forget_before(900);
    assert_eq!((ring.bytes(), ring.is_empty()), (0, true));
}

#[test]
fn whole_minutes_are_kept() {
    let minute_ms = Resolution::Minute.span_ms();
    assert_eq!(kept_from_ms(Resolution::Second, 20 * minute_ms + 59_999), 5 * minute_ms);
    assert_eq!(kept_from_ms(Resolution::Minute, MINUTES_KEPT_MS + 1), 0);
    assert_eq!(kept_from_ms(Resolution::Second, 5), 0);
}

#[test]
fn periods_are_bounded_and_of_whole_seconds() {
    assert!(Periods::new(1_000, 0, PERIODS_MAX * 1_000).is_some());
    assert!(Periods::new(1_000, 0, PERIODS_MAX * 1_000 + 1).is_none());
    for period_ms in [0, 1, 999, 1_500] {
        assert!(Periods::new(period_ms, 0, 1_000).is_none(), "{period_ms} ms was taken");
    }
    let none = Periods::new(60_000, 90_000, 30_000).unwrap();
    assert!(none.values(Statistic::Sum).is_empty());
}

#[test]
fn the_latest_periods_end_at_any_second() {
    let mut periods = Periods::until(120_000, 420_000, 2).unwrap();
    assert_eq!((periods.from_ms(), periods.to_ms()), (180_000, 420_000));
    assert!(periods.have_whole_minutes());
    for at_ms in [179_000, 180_000, 299_000, 300_000, 419_000, 420_000] {
        periods.add(at_ms, &Datum::of_value(1.0).unwrap());
    }
    assert_eq!(periods.values(Statistic::Sum), [(180_000, Some(2.0)), (300_000, Some(2.0))]);
    assert!(!Periods::until(120_000, 421_000, 2).unwrap().have_whole_minutes());
    assert!(!Periods::until(90_000, 420_000, 2).unwrap().have_whole_minutes());
    assert!(Periods::until(60_000, PERIODS_MAX * 60_000, PERIODS_MAX as u32).is_some());
    for (period_ms, end_ms, count) in [
        (0, 60_000, 1),
        (1_500, 60_000, 1),
        (1_000, 60_500, 1),
        (60_000, 60_000, 2),
        (1_000, u64::MAX, 21_601),
    ] {
        assert!(Periods::until(period_ms, end_ms, count).is_none(), "{count} of {period_ms} ms were taken");
    }
}
