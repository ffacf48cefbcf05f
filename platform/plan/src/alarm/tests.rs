//! CloudWatch's documented tables of alarms and missing data, row by row, and a naive model of the same rules.

use super::*;
use proptest::prelude::*;
use skiff_types::{AlarmActions, Comparison, Measure, MetricValue, SeriesId, Span, Statistic};

const STATES: [AlarmState; 3] = AlarmState::ALL;

fn spec(datapoints_to_alarm: u32, evaluation_periods: u32, missing: MissingData) -> AlarmSpec {
    AlarmSpec {
        name: "default/busy".parse().unwrap(),
        metric: SeriesId::of_service("default/web".parse().unwrap(), Measure::CpuUtilization),
        statistic: Statistic::Average,
        period: Span::from_ms(300_000),
        threshold: MetricValue::from(80),
        comparison: Comparison::GreaterThanThreshold,
        evaluation_periods,
        datapoints_to_alarm,
        missing,
        actions: AlarmActions::default(),
    }
}

/// Datapoints as AWS's documentation draws them: `0` does not breach, `X` does, `-` is missing; the latest one last.
fn drawn(text: &str) -> Vec<Option<f64>> {
    let point = |letter| match letter {
        "0" => Some(10.0),
        "X" => Some(90.0),
        "-" => None,
        _ => panic!("{letter}"),
    };
    text.split(' ').map(point).collect()
}

/// What a row of a table says: a state, or that the state stays.
#[derive(Debug, Clone, Copy)]
enum Cell {
    Is(AlarmState),
    Stays,
}

const OK: Cell = Cell::Is(AlarmState::Ok);
const ALARM: Cell = Cell::Is(AlarmState::Alarm);
const INSUFFICIENT: Cell = Cell::Is(AlarmState::InsufficientData);
use Cell::Stays;

/// A row: the points, and the states for `missing`, `ignore`, `breaching` and `notBreaching`.
type Row = (&'static str, [Cell; 4]);

fn check(datapoints_to_alarm: u32, rows: &[Row]) {
    const COLUMNS: [MissingData; 4] =
        [MissingData::Missing, MissingData::Ignore, MissingData::Breaching, MissingData::NotBreaching];
    for (points, cells) in rows {
        for (missing, cell) in COLUMNS.into_iter().zip(cells) {
            for before in STATES {
                let wanted = match cell {
                    Cell::Is(state) => *state,
                    Stays => before,
                };
                let evaluation = evaluate(&spec(datapoints_to_alarm, 3, missing), &drawn(points), before);
                assert_eq!(
                    evaluation.state, wanted,
                    "{points} with {missing} from {before}: {}",
                    evaluation.reason
                );
            }
        }
    }
}

#[test]
fn three_of_three_is_as_cloudwatch_documents_it() {
    check(
        3,
        &[
            ("0 - X - X", [OK, OK, OK, OK]),
            ("0 - - - -", [OK, OK, OK, OK]),
            ("- - - - -", [INSUFFICIENT, Stays, ALARM, OK]),
            ("0 X X - X", [ALARM, ALARM, ALARM, ALARM]),
            ("- - X - -", [ALARM, Stays, ALARM, OK]),
        ],
    );
}

#[test]
fn two_of_three_is_as_cloudwatch_documents_it() {
    check(
        2,
        &[
            ("0 - X - X", [ALARM, ALARM, ALARM, ALARM]),
            ("0 0 X 0 X", [ALARM, ALARM, ALARM, ALARM]),
            ("0 - X - -", [OK, OK, ALARM, OK]),
            ("- - - - 0", [OK, OK, ALARM, OK]),
            ("- - - X -", [ALARM, Stays, ALARM, OK]),
        ],
    );
}

/// The text below the tables: "the alarm does not go immediately into ALARM state when the data is either `- - - - X` or
/// `- - - X -` and Datapoints to Alarm is 3", nor when the next one is good.
#[test]
fn an_alarm_does_not_come_too_early() {
    check(
        3,
        &[
            ("- - - - X", [OK, Stays, ALARM, OK]),
            ("- - - X -", [OK, Stays, ALARM, OK]),
            ("- - - X 0", [OK, OK, OK, OK]),
            ("- - X - 0", [OK, OK, OK, OK]),
        ],
    );
    // The row "0 - - - -" a period later: "it will go to ALARM".
    check(3, &[("- - - - -", [INSUFFICIENT, Stays, ALARM, OK])]);
}

#[test]
fn only_the_evaluation_range_counts() {
    for missing in MissingData::ALL {
        let of = |points: &str| evaluate(&spec(3, 3, missing), &drawn(points), AlarmState::Ok).state;
        assert_eq!(of("X X X - - 0 - 0"), of("- - 0 - 0"), "{missing}");
        assert_eq!(of("X"), of("- - - - X"), "{missing}");
        assert_eq!(of("0 0 X X X"), AlarmState::Alarm);
        assert_eq!(evaluate(&spec(3, 3, missing), &[], AlarmState::Ok).state, of("- - - - -"), "{missing}");
    }
    let no_number = [Some(f64::NAN); 5];
    let evaluation = evaluate(&spec(1, 1, MissingData::Missing), &no_number, AlarmState::Ok);
    assert_eq!(evaluation.state, AlarmState::InsufficientData);
}

#[test]
fn a_reason_is_a_sentence() {
    let reason =
        |missing, points: &[Option<f64>]| evaluate(&spec(2, 3, missing), points, AlarmState::Ok).reason;
    assert_eq!(
        reason(MissingData::Missing, &[Some(90.25), Some(10.0), Some(81.0)]),
        "2 of the last 3 datapoints [81, 10, 90.25] were > 80 (2 of 3 are needed for ALARM)"
    );
    assert_eq!(
        reason(MissingData::Breaching, &[Some(90.0)]),
        "1 of the last 1 datapoints [90] were > 80, what is missing counts as beyond it (2 of 3 are needed for ALARM)"
    );
    assert_eq!(reason(MissingData::Missing, &[]), "no datapoints were received for 5 periods of 5m");
    let many = evaluate(&spec(1, 20, MissingData::Missing), &[Some(0.0); 20], AlarmState::Ok).reason;
    assert!(many.contains("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...]"), "{many}");
    let all = evaluate(&spec(1, 10, MissingData::Missing), &[Some(0.0); 10], AlarmState::Ok).reason;
    assert!(all.contains("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"), "{all}");
    // Where nothing is missing, it does not say what becomes of that.
    for missing in MissingData::ALL {
        for points in [[Some(10.0), Some(10.0), Some(90.0)], [Some(90.0), Some(90.0), Some(90.0)]] {
            let said = reason(missing, &points);
            assert!(!said.contains("missing") && !said.contains("better"), "{said}");
        }
    }
    // What breaches does not look as if it did not, and no number fills a page.
    let extreme = reason(MissingData::Missing, &[Some(0.000_412_34), Some(1e300), Some(-0.25)]);
    assert!(extreme.contains("[-0.25, 1.000e300, 0.000412]"), "{extreme}");
}

/// The same rules, written down the long way: which states are possible for each way to fill in what is missing.
fn naive(spec: &AlarmSpec, points: &[Option<f64>], before: AlarmState) -> AlarmState {
    let (m, n) = (spec.datapoints_to_alarm as usize, spec.evaluation_periods as usize);
    let mut range: Vec<Option<bool>> = points
        .iter()
        .map(|point| point.map(|value| spec.comparison.breaches(value, spec.threshold)))
        .collect();
    while range.len() < n + 2 {
        range.insert(0, None);
    }
    let range = range.split_off(range.len() - (n + 2));
    let mut real: Vec<bool> = range.iter().copied().flatten().collect();
    if real.len() > n {
        real = real.split_off(real.len() - n);
    }
    let breaching = real.iter().filter(|breaches| **breaches).count();
    let by = |count: usize| if count >= m { AlarmState::Alarm } else { AlarmState::Ok };
    let fill = n - real.len();
    let is_premature = !real.is_empty() && breaching == real.len() && breaching < m && fill > 0;
    // From the oldest breaching datapoint to the latest period, both counted.
    let age = range.iter().position(|point| *point == Some(true)).map_or(0, |at| range.len() - at);
    match spec.missing {
        MissingData::Breaching => by(breaching + fill),
        MissingData::NotBreaching => by(breaching),
        MissingData::Missing if real.is_empty() => AlarmState::InsufficientData,
        MissingData::Ignore if real.is_empty() => before,
        MissingData::Ignore if is_premature => before,
        MissingData::Missing if is_premature && age >= m => AlarmState::Alarm,
        MissingData::Missing | MissingData::Ignore => by(breaching),
    }
}

prop_compose! {
    fn alarms()(
        n in 1..6_u32,
        m in 1..6_u32,
        missing in proptest::sample::select(MissingData::ALL.to_vec()),
        comparison in proptest::sample::select(Comparison::ALL.to_vec()),
    ) -> AlarmSpec {
        AlarmSpec { comparison, ..spec(m.min(n), n, missing) }
    }
}

fn series() -> impl Strategy<Value = Vec<Option<f64>>> {
    let value = proptest::sample::select(vec![79.0, 80.0, 81.0]);
    proptest::collection::vec(proptest::option::of(value), 0..12)
}

proptest! {
    #[test]
    fn it_is_what_the_naive_rules_say(
        spec in alarms(), points in series(), before in proptest::sample::select(STATES.to_vec()),
    ) {
        prop_assert_eq!(evaluate(&spec, &points, before).state, naive(&spec, &points, before));
    }

    #[test]
    fn it_says_no_more_than_the_data_does(
        spec in alarms(), points in series(), before in proptest::sample::select(STATES.to_vec()),
    ) {
        let state = evaluate(&spec, &points, before).state;
        let range = points.iter().rev().take(spec.evaluation_range() as usize);
        let real: Vec<f64> = range.copied().flatten().collect();
        if state == AlarmState::InsufficientData && before != state {
            prop_assert!(real.is_empty(), "{:?}", real);
        }
        let good = |value: &&f64| !spec.comparison.breaches(**value, spec.threshold);
        let latest = real.iter().take(spec.evaluation_periods as usize);
        let good = latest.filter(good).count() as u32;
        if state == AlarmState::Alarm && before != state {
            prop_assert!(spec.evaluation_periods - good >= spec.datapoints_to_alarm);
        }
        // Where nothing is missing, nothing of how that is treated matters.
        if points.len() >= spec.evaluation_range() as usize && real.len() == spec.evaluation_range() as usize {
            for missing in MissingData::ALL {
                let other = AlarmSpec { missing, ..spec.clone() };
                prop_assert_eq!(evaluate(&other, &points, before).state, state);
            }
        }
    }
}
