//! Schedules: examples of the documentation, clocks that are put forward and back, and a walk minute by minute.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const MINUTE_MS: u64 = 60_000;

fn at_ms(text: &str) -> u64 {
    ms(text.parse().unwrap()).unwrap()
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

/// The next times of a schedule, from the first after a time.
fn times(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let (schedule, zone) = (schedule(text), zone.parse().unwrap());
    let mut after_ms = at_ms(after);
    let mut times = Vec::new();
    while times.len() < count {
        let Some(next_ms) = next(&schedule, &zone, after_ms) else { break };
        assert!(next_ms > after_ms);
        times.push(Timestamp::from_millisecond(next_ms.cast_signed()).unwrap().to_string());
        after_ms = next_ms;
    }
    times
}

#[test]
fn expressions_mean_what_aws_documents() {
    for (text, after, next) in [
        // The documentation's own examples.
        ("cron(15 10 ? * 6L 2022-2023)", "2022-01-01T00:00:00Z", "2022-01-28T10:15:00Z"),
        ("cron(15 10 ? * 6L 2022-2023)", "2023-11-30T00:00:00Z", "2023-12-29T10:15:00Z"),
        ("cron(0 0 ? * 3#2 *)", "2026-01-01T00:00:00Z", "2026-01-13T00:00:00Z"),
        ("cron(0 0 3W * ? *)", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("cron(1/10 0 * * ? *)", "2026-01-01T00:02:00Z", "2026-01-01T00:11:00Z"),
        // Days of the week from 1 for Sunday, and their last one.
        ("cron(0 9 ? * MON-FRI *)", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"),
        ("cron(0 9 ? * 2-6 *)", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"),
        ("cron(0 0 ? * 1 *)", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("cron(0 0 ? * L *)", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"),
        ("cron(0 0 ? * SUN,L *)", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"),
        // Days of the month.
        ("cron(0 0 L * ? *)", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z"),
        ("cron(0 0 L * ? *)", "2028-02-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("cron(0 0 15W * ? *)", "2026-08-01T00:00:00Z", "2026-08-14T00:00:00Z"),
        ("cron(0 0 1W * ? *)", "2026-07-31T00:00:00Z", "2026-08-03T00:00:00Z"),
        ("cron(0 0 LW * ? *)", "2026-05-01T00:00:00Z", "2026-05-29T00:00:00Z"),
        ("cron(0 0 29 2 ? *)", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("cron(0 0 31 * ? *)", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z"),
        ("cron(0 0 */10 * ? *)", "2026-01-02T00:00:00Z", "2026-01-11T00:00:00Z"),
        ("cron(0 0 1 MAR-DEC/3 ?)", "2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z"),
        // Steps of years count from the first one that there may be, or that is said.
        ("cron(0 0 1 1 ? */2)", "2026-06-01T00:00:00Z", "2028-01-01T00:00:00Z"),
        ("cron(0 0 1 1 ? 2026/3)", "2026-06-01T00:00:00Z", "2029-01-01T00:00:00Z"),
        ("at(2026-11-20T13:00:00)", "2026-11-20T12:59:59Z", "2026-11-20T13:00:00Z"),
        ("rate(5 minutes)", "2026-01-01T00:02:00Z", "2026-01-01T00:07:00Z"),
        ("rate(1 day)", "2026-01-01T00:02:00Z", "2026-01-02T00:02:00Z"),
    ] {
        assert_eq!(times(text, "UTC", after, 1), [next], "{text} after {after}");
    }
}

#[test]
fn what_is_over_is_not_due_any_more() {
    assert!(times("at(2026-11-20T13:00:00)", "UTC", "2026-11-20T13:00:00Z", 1).is_empty());
    assert!(times("cron(15 10 ? * 6L 2022-2023)", "UTC", "2023-12-29T10:15:00Z", 1).is_empty());
    assert!(times("cron(0 0 1 1 ? *)", "UTC", "2199-01-01T00:00:00Z", 1).is_empty());
    assert_eq!(next(&schedule("rate(1 day)"), &Zone::default(), u64::MAX), None);
    assert_eq!(next(&schedule("cron(0 0 1 1 ? *)"), &Zone::default(), u64::MAX), None);
}

#[test]
fn a_time_is_one_of_its_zone() {
    assert_eq!(
        times("at(2022-11-20T13:00:00)", "America/Los_Angeles", "2022-01-01T00:00:00Z", 1),
        ["2022-11-20T21:00:00Z"]
    );
    assert_eq!(
        times("cron(30 8 * * ? *)", "America/New_York", "2026-03-07T00:00:00Z", 3),
        [
            "2026-03-07T13:30:00Z",
            // Clocks were put forward in the night.
            "2026-03-08T12:30:00Z",
            "2026-03-09T12:30:00Z",
        ]
    );
    assert_eq!(
        times("cron(0 0 * * ? *)", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T18:30:00Z"]
    );
}

/// "When time shifts forward in the Spring, if a cron expression falls on a non-existent date and time, your schedule
/// invocation is skipped."
#[test]
fn a_time_that_clocks_leave_out_is_left_out() {
    assert_eq!(
        times("cron(30 2 * * ? *)", "America/Los_Angeles", "2027-03-13T08:00:00Z", 2),
        ["2027-03-13T10:30:00Z", "2027-03-15T09:30:00Z",]
    );
    assert_eq!(
        times("cron(0/30 * * * ? *)", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
        ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z",]
    );
    // A whole day that Samoa never had.
    assert_eq!(
        times("cron(0 12 30 12 ? *)", "Pacific/Apia", "2011-12-01T00:00:00Z", 1),
        ["2012-12-29T22:00:00Z"]
    );
}

/// "When time shifts backwards in the Fall, your schedule runs only once and does not repeat its invocation."
#[test]
fn a_time_that_clocks_show_twice_counts_once() {
    assert_eq!(
        times("cron(30 1 * * ? *)", "America/Los_Angeles", "2026-11-01T00:00:00Z", 2),
        ["2026-11-01T08:30:00Z", "2026-11-02T09:30:00Z",]
    );
    assert_eq!(
        times("cron(0/15 * * * ? *)", "Europe/Berlin", "2026-10-25T00:20:00Z", 4),
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T00:45:00Z",
            // Three o'clock, after the second hour of two.
            "2026-10-25T02:00:00Z",
            "2026-10-25T02:15:00Z",
        ]
    );
    // From within the second hour it is no other.
    assert_eq!(
        times("cron(0/15 * * * ? *)", "Europe/Berlin", "2026-10-25T01:05:00Z", 1),
        ["2026-10-25T02:00:00Z"]
    );
    assert_eq!(
        times("at(2026-10-25T02:30:00)", "Europe/Berlin", "2026-10-01T00:00:00Z", 2),
        ["2026-10-25T00:30:00Z"]
    );
}

/// "Days represents a 24-hour duration on the clock."
#[test]
fn a_rate_knows_nothing_of_clocks() {
    assert_eq!(
        times("rate(1 day)", "America/Los_Angeles", "2026-10-31T09:30:00Z", 2),
        ["2026-11-01T09:30:00Z", "2026-11-02T09:30:00Z",]
    );
}

#[test]
fn what_never_comes_is_refused() {
    let refused = |text: &str, zone: &str| check(&schedule(text), &zone.parse().unwrap()).err();
    for text in ["cron(0 9 ? * MON-FRI *)", "rate(1 minute)", "at(2026-02-28T00:00:00)", "cron(0 0 29 2 ? *)"]
    {
        assert_eq!(refused(text, "Europe/Berlin"), None);
    }
    for (text, zone) in [
        ("cron(0 0 30 2 ? *)", "UTC"),
        ("cron(0 0 31 4,6,9,11 ? *)", "UTC"),
        ("cron(0 0 29 2 ? 2025-2027)", "UTC"),
        ("at(2026-02-29T00:00:00)", "UTC"),
        ("at(2027-03-14T02:30:00)", "America/Los_Angeles"),
    ] {
        assert!(matches!(refused(text, zone), Some(ScheduleError::Never { .. })), "{text} in {zone}");
    }
    for text in ["cron(0 9 ? * MON-FRI *)", "at(2026-02-28T00:00:00)"] {
        let error = refused(text, "Europe/Atlantis").unwrap();
        assert!(error.to_string().contains("there is no time zone Europe/Atlantis"), "{error}");
    }
}

/// A calendar as sets of values.
#[derive(Debug, Clone)]
struct Plain {
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    days: Days,
}

#[derive(Debug, Clone)]
enum Days {
    Any,
    Month(BTreeSet<i8>),
    /// From 1 for Sunday.
    Week(BTreeSet<i8>),
}

impl Plain {
    fn text(&self) -> String {
        let list = |values: &BTreeSet<i8>| values.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
        let (day, weekday) = match &self.days {
            Days::Any => ("*".to_owned(), "?".to_owned()),
            Days::Month(days) => (list(days), "?".to_owned()),
            Days::Week(days) => ("?".to_owned(), list(days)),
        };
        format!("cron({} {} {day} * {weekday} *)", list(&self.minutes), list(&self.hours))
    }

    fn holds(&self, local: DateTime) -> bool {
        let is_day = match &self.days {
            Days::Any => true,
            Days::Month(days) => days.contains(&local.day()),
            Days::Week(days) => days.contains(&(local.weekday().to_sunday_zero_offset() + 1)),
        };
        is_day && self.hours.contains(&local.hour()) && self.minutes.contains(&local.minute())
    }
}

fn some_of(least: i8, most: i8, count: usize) -> impl Strategy<Value = BTreeSet<i8>> {
    proptest::collection::btree_set(least..=most, 1..=count)
}

fn plain() -> impl Strategy<Value = Plain> {
    let days = prop_oneof![
        Just(Days::Any),
        some_of(1, 31, 20).prop_map(Days::Month),
        some_of(1, 7, 6).prop_map(Days::Week),
    ];
    (some_of(0, 59, 3), some_of(0, 4, 3), days).prop_map(|(minutes, hours, days)| Plain {
        minutes,
        hours,
        days,
    })
}

/// The first minute after a time at which clocks show a time of the calendar that they did not show before; none within days.
fn walked(plain: &Plain, zone: &TimeZone, after_ms: u64, days: u64) -> Option<u64> {
    const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
    let mut shown = BTreeSet::new();
    let begin_ms = (after_ms - DAY_MS).next_multiple_of(MINUTE_MS);
    let mut minutes = (begin_ms..after_ms + days * DAY_MS).step_by(MINUTE_MS as usize);
    minutes.find(|at_ms| {
        let local = zone.to_datetime(Timestamp::from_millisecond(at_ms.cast_signed()).unwrap());
        shown.insert(local) && *at_ms > after_ms && plain.holds(local)
    })
}

proptest! {
    #[test]
    fn it_is_what_a_walk_minute_by_minute_finds(
        plain in plain(),
        // Around days on which clocks are put forward or back, in whole and in half hours.
        (zone, around) in proptest::sample::select(vec![
            ("Europe/Berlin", "2026-03-29T01:00:00Z"),
            ("Europe/Berlin", "2026-10-25T01:00:00Z"),
            ("America/Los_Angeles", "2026-03-08T10:00:00Z"),
            ("America/Los_Angeles", "2026-11-01T09:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
            ("UTC", "2026-02-28T12:00:00Z"),
        ]),
        before_ms in 0..36 * 3_600_000_u64,
    ) {
        const DAYS: u64 = 4;
        let after_ms = at_ms(around) + 6 * 3_600_000 - before_ms;
        let clock = TimeZone::get(zone).unwrap();
        let found = next(&schedule(&plain.text()), &zone.parse().unwrap(), after_ms);
        let near = found.filter(|found_ms| *found_ms < after_ms + DAYS * 24 * 60 * MINUTE_MS);
        prop_assert_eq!(near, walked(&plain, &clock, after_ms, DAYS), "{} in {}", plain.text(), zone);
    }
}
