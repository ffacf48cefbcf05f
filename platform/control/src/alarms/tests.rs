//! When alarms are due and what is told of them; and the alarms that other tests are made with.

use super::*;
use crate::model::AlarmNotes;
use crate::records::Stored;
use skiff_types::{AlarmActions, AlarmState, Comparison, Measure, MissingData, Span, Statistic};
use std::sync::Arc;

/// An alarm of a service's CPU time over three periods of ten seconds.
pub(crate) fn alarm(name: &str) -> Alarm {
    let name: QualifiedName = name.parse().unwrap();
    let service = QualifiedName::new(name.namespace.clone(), "web".parse().unwrap());
    let spec = AlarmSpec {
        name,
        metric: SeriesId::of_service(service, Measure::CpuUtilization),
        statistic: Statistic::Average,
        period: Span::from_ms(10_000),
        threshold: 80.into(),
        comparison: Comparison::GreaterThanThreshold,
        evaluation_periods: 3,
        datapoints_to_alarm: 2,
        missing: MissingData::Missing,
        actions: AlarmActions::default(),
    };
    Alarm { spec: Arc::new(spec), created_at_ms: 1, updated_at_ms: 2 }
}

/// What is noted of it before it is evaluated.
pub(crate) fn notes(name: &str) -> AlarmNotes {
    AlarmNotes::new(&alarm(name))
}

fn put(view: &mut View, revision: Revision, period_ms: u64) {
    let object = alarm("default/busy");
    let spec = AlarmSpec { period: Span::from_ms(period_ms), ..(*object.spec).clone() };
    let object = Alarm { spec: Arc::new(spec), ..object };
    assert!(view.apply(&object.key(), revision, Some(Arc::new(object))));
}

fn signal(at_ms: u64) -> AlarmSignal {
    AlarmSignal { state: AlarmState::Ok, value: None, threshold: 80.into(), evaluated_at_ms: at_ms }
}

/// When an alarm of this period is due, looked at every second.
fn ends(period_ms: u64, from_ms: u64, to_ms: u64) -> Vec<u64> {
    let (alarms, mut view) = (Alarms::default(), View::default());
    put(&mut view, 1, period_ms);
    let mut ends = Vec::new();
    for now_ms in (from_ms..to_ms).step_by(1_000) {
        for (held, end_ms) in alarms.due(&view, now_ms).ended {
            ends.push(end_ms);
            alarms.evaluated(&held, end_ms, signal(now_ms));
        }
    }
    ends
}

#[test]
fn an_alarm_is_due_when_a_period_ends_and_each_minute_of_a_longer_one() {
    assert_eq!(ends(1_000, 10_002, 13_000), [11_000, 12_000]);
    assert_eq!(ends(10_000, 12_002, 45_000), [20_000, 30_000, 40_000]);
    assert_eq!(ends(60_000, 30_002, 200_000), [60_000, 120_000, 180_000]);
    assert_eq!(ends(3_600_000, 30_002, 200_000), [60_000, 120_000, 180_000]);
}

#[test]
fn a_period_has_ended_once_the_values_of_guests_are_there() {
    let spec = alarm("default/busy").spec;
    let metric = SeriesId { of: "namespace:default".parse().unwrap(), ..spec.metric.clone() };
    let own = AlarmSpec { metric, ..(*spec).clone() };
    let ends = |now_ms| (last_end_ms(&spec, now_ms), last_end_ms(&own, now_ms));
    assert_eq!([ends(20_002), ends(21_002)], [(20_000, 10_000), (20_000, 20_000)]);
}

#[test]
fn an_alarm_that_is_changed_is_evaluated_anew_and_one_that_is_gone_not_at_all() {
    let (alarms, mut view) = (Alarms::default(), View::default());
    let name: QualifiedName = "default/busy".parse().unwrap();
    put(&mut view, 1, 10_000);
    assert_eq!((alarms.due(&view, 12_000).new.len(), alarms.signal(&name)), (1, None));
    let due = alarms.due(&view, 20_000);
    assert!(due.new.is_empty());
    // Until it is done it stays due.
    assert_eq!(alarms.due(&view, 21_000).ended[0].1, 20_000);
    alarms.evaluated(&due.ended[0].0, 20_000, signal(20_001));
    assert_eq!(alarms.signal(&name), Some(signal(20_001)));
    assert!(alarms.due(&view, 22_000).ended.is_empty());
    // The clock is put back: what comes is evaluated.
    assert_eq!(alarms.due(&view, 12_000).ended[0].1, 10_000);
    put(&mut view, 2, 1_000);
    let before = due.ended[0].0.clone();
    assert_eq!((alarms.due(&view, 23_000).new.len(), alarms.signal(&name)), (1, None));
    alarms.evaluated(&before, 30_000, signal(30_001));
    assert_eq!(alarms.signal(&name), None, "that was the alarm of before");
    assert!(view.apply::<Alarm>(&keys::alarm(&name), 3, None));
    let due = alarms.due(&view, 40_000);
    assert!(due.new.is_empty() && due.ended.is_empty());
}

#[test]
fn an_alarm_whose_notes_can_not_be_read_is_not_evaluated() {
    let (alarms, mut view) = (Alarms::default(), View::default());
    put(&mut view, 1, 10_000);
    assert_eq!(alarms.due(&view, 12_000).new.len(), 1);
    let notes = notes("default/busy");
    assert!(view.apply_unreadable::<AlarmNotes>(&notes.key()));
    assert!(alarms.due(&view, 20_000).ended.is_empty());
    assert!(view.apply(&notes.key(), 2, Some(Arc::new(notes))));
    assert_eq!(alarms.due(&view, 21_000).new.len(), 1);
}
