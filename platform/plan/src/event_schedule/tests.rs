//! Schedules that are looked at by clocks that go on, jump, are put back, and by platforms that are down: each instant once.

use super::*;
use jiff::Timestamp;
use jiff::civil::DateTime;
use proptest::prelude::*;
use skiff_types::{Destination, EventTarget, Input, RetryPolicy};
use std::collections::BTreeSet;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

fn at_ms(text: &str) -> u64 {
    text.parse::<Timestamp>().unwrap().as_millisecond().cast_unsigned()
}

fn shown(ms: u64) -> String {
    Timestamp::from_millisecond(ms.cast_signed()).unwrap().to_string()
}

fn spec(schedule: &str, zone: &str, missed: Missed) -> EventScheduleSpec {
    let target = EventTarget {
        id: "work".parse().unwrap(),
        to: Destination::Queue { queue: "work".parse().unwrap(), group: None },
        input: Input::Event,
        retry: RetryPolicy::default(),
        dead_letter: None,
        concurrency: EventTarget::CONCURRENCY,
        timeout: EventTarget::TIMEOUT,
    };
    EventScheduleSpec {
        name: "default/nightly".parse().unwrap(),
        schedule: schedule.parse().unwrap(),
        zone: zone.parse().unwrap(),
        start: None,
        end: None,
        missed,
        enabled: true,
        target,
    }
}

fn local(text: &str) -> Option<LocalTime> {
    match format!("at({text})").parse().unwrap() {
        Schedule::At(time) => Some(time),
        other => panic!("{other}"),
    }
}

/// What happens while the clock goes from one time to another and the schedule is looked at whenever it asks for it.
fn played(spec: &EventScheduleSpec, state: &mut ScheduleState, from_ms: u64, to_ms: u64) -> Vec<u64> {
    let mut fired = Vec::new();
    let mut now_ms = from_ms;
    while now_ms <= to_ms {
        let due = due(spec, *state, now_ms);
        *state = due.state;
        fired.extend(due.fire);
        let Some(next_ms) = due.next_ms else { break };
        assert!(next_ms > now_ms, "{} was to be looked at again at once", spec.schedule);
        now_ms = next_ms;
    }
    fired
}

fn told(spec: &EventScheduleSpec, created: &str, to: &str) -> Vec<String> {
    let created_at_ms = at_ms(created);
    let mut state = ScheduleState::new(created_at_ms);
    played(spec, &mut state, created_at_ms, at_ms(to)).into_iter().map(shown).collect()
}

#[test]
fn a_rate_counts_from_when_the_schedule_was_made() {
    let spec = spec("rate(5 minutes)", "UTC", Missed::Once);
    assert_eq!(
        told(&spec, "2026-01-01T00:02:00Z", "2026-01-01T00:14:00Z"),
        ["2026-01-01T00:07:00Z", "2026-01-01T00:12:00Z"]
    );
}

#[test]
fn a_rate_with_a_start_counts_from_that() {
    let coming = EventScheduleSpec {
        start: local("2026-01-01T01:00:00"),
        ..spec("rate(1 hour)", "Europe/Berlin", Missed::Once)
    };
    assert_eq!(
        told(&coming, "2025-12-31T20:30:00Z", "2026-01-01T01:10:00Z"),
        ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"]
    );
    // It began before the schedule was made: what was before is not its own.
    assert_eq!(told(&coming, "2026-01-01T02:30:00Z", "2026-01-01T03:10:00Z"), ["2026-01-01T03:00:00Z"]);
}

#[test]
fn nothing_is_due_before_the_start_or_from_the_end_on() {
    let spec = EventScheduleSpec {
        start: local("2026-01-02T09:00:00"),
        end: local("2026-01-04T09:00:00"),
        ..spec("cron(0 9 * * ? *)", "Europe/Berlin", Missed::All)
    };
    assert_eq!(
        told(&spec, "2025-12-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ["2026-01-02T08:00:00Z", "2026-01-03T08:00:00Z"]
    );
    let mut state = ScheduleState::new(at_ms("2025-12-01T00:00:00Z"));
    let created_at_ms = state.created_at_ms;
    played(&spec, &mut state, created_at_ms, at_ms("2026-02-01T00:00:00Z"));
    assert_eq!(due(&spec, state, at_ms("2026-02-01T00:00:00Z")).next_ms, None);
}

#[test]
fn what_was_missed_is_skipped_happens_once_or_in_full() {
    let created_at_ms = at_ms("2026-01-01T00:00:00Z");
    let back_ms = at_ms("2026-01-01T05:20:00Z");
    let look = |missed, now_ms| {
        let state = ScheduleState::new(created_at_ms);
        let due = due(&spec("cron(0 * * * ? *)", "UTC", missed), state, now_ms);
        assert_eq!(due.state.last_ms, Some(at_ms("2026-01-01T05:00:00Z")));
        assert_eq!(due.next_ms, Some(at_ms("2026-01-01T06:00:00Z")));
        due.fire.into_iter().map(shown).collect::<Vec<_>>()
    };
    assert!(look(Missed::Skip, back_ms).is_empty());
    assert_eq!(look(Missed::Once, back_ms), ["2026-01-01T05:00:00Z"]);
    let all = look(Missed::All, back_ms);
    assert_eq!((all.len(), &*all[0], &*all[4]), (5, "2026-01-01T01:00:00Z", "2026-01-01T05:00:00Z"));
    // Who is back within the minute has missed nothing.
    let soon_ms = at_ms("2026-01-01T05:00:00Z") + ON_TIME_MS_MAX;
    assert_eq!(look(Missed::Skip, soon_ms - 1), ["2026-01-01T05:00:00Z"]);
    assert!(look(Missed::Skip, soon_ms).is_empty());
}

#[test]
fn years_of_minutes_are_made_up_for_within_bounds() {
    let created_at_ms = at_ms("2026-01-01T00:00:30Z");
    let now_ms = at_ms("2046-01-01T00:00:30Z");
    for schedule in ["rate(1 minute)", "cron(* * * * ? *)"] {
        let spec = spec(schedule, "Europe/Berlin", Missed::All);
        let found = due(&spec, ScheduleState::new(created_at_ms), now_ms);
        assert_eq!(found.fire.len(), Missed::ALL_MAX, "{schedule}");
        assert!(found.fire.is_sorted_by(|before, after| after - before == MINUTE_MS), "{schedule}");
        assert_eq!(found.fire.last().copied(), found.state.last_ms);
        assert!(now_ms - found.state.last_ms.unwrap() < MINUTE_MS, "{schedule}");
        assert!(due(&spec, found.state, now_ms).fire.is_empty());
    }
    // Sparse ones are looked for further back, and no further than the schedule is old.
    let spec = spec("cron(0 12 29 2 ? *)", "UTC", Missed::All);
    assert_eq!(due(&spec, ScheduleState::new(created_at_ms), now_ms).fire.len(), 5);
}

#[test]
fn whoever_looks_late_finds_the_last_instant_at_once_however_many_lie_before_it() {
    let spec = spec("rate(1 minute)", "UTC", Missed::Once);
    let now_ms = 1 << 60;
    let found = due(&spec, ScheduleState::new(at_ms("2026-01-01T00:00:30Z")), now_ms);
    let [last_ms] = found.fire[..] else { panic!("{:?}", found.fire) };
    assert!(last_ms <= now_ms && now_ms - last_ms < MINUTE_MS);
    assert_eq!((found.state.last_ms, found.next_ms), (Some(last_ms), Some(last_ms + MINUTE_MS)));
}

#[test]
fn a_disabled_schedule_rests_and_makes_up_as_it_says() {
    let created_at_ms = at_ms("2026-01-01T00:00:00Z");
    let asleep = EventScheduleSpec { enabled: false, ..spec("cron(0 * * * ? *)", "UTC", Missed::All) };
    let state = ScheduleState::new(created_at_ms);
    let rest = due(&asleep, state, at_ms("2026-01-01T03:30:00Z"));
    assert_eq!(rest, Due { fire: Vec::new(), state, next_ms: None });
    let awake = EventScheduleSpec { enabled: true, ..asleep };
    assert_eq!(due(&awake, rest.state, at_ms("2026-01-01T03:30:00Z")).fire.len(), 3);
}

#[test]
fn what_is_once_is_late_if_it_must_be_and_never_again() {
    let spec = spec("at(2026-10-25T02:30:00)", "Europe/Berlin", Missed::Once);
    let mut state = ScheduleState::new(at_ms("2026-10-01T00:00:00Z"));
    let before = due(&spec, state, at_ms("2026-10-25T00:29:59Z"));
    assert_eq!((before.fire, before.next_ms), (Vec::new(), Some(at_ms("2026-10-25T00:30:00Z"))));
    let late = due(&spec, state, at_ms("2026-10-26T00:00:00Z"));
    assert_eq!((late.fire, late.next_ms), (vec![at_ms("2026-10-25T00:30:00Z")], None));
    state = late.state;
    for now in
        ["2026-10-20T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2030-01-01T00:00:00Z"]
    {
        assert!(due(&spec, state, at_ms(now)).fire.is_empty(), "again at {now}");
    }
}

#[test]
fn a_change_makes_up_for_nothing_and_repeats_nothing() {
    let created_at_ms = at_ms("2026-01-01T00:00:00Z");
    let hourly = spec("cron(0 * * * ? *)", "UTC", Missed::All);
    let mut state = ScheduleState::new(created_at_ms);
    played(&hourly, &mut state, created_at_ms, at_ms("2026-01-01T06:00:00Z"));
    let changed = state.changed(at_ms("2026-01-01T06:00:00Z"));
    let quarterly = spec("cron(0/15 * * * ? *)", "UTC", Missed::All);
    assert!(due(&quarterly, changed, at_ms("2026-01-01T06:00:00Z")).fire.is_empty());
    let next = due(&quarterly, changed, at_ms("2026-01-01T06:15:00Z")).fire;
    assert_eq!(next, [at_ms("2026-01-01T06:15:00Z")]);
    // Neither does a change while the clock is behind.
    let behind = state.changed(at_ms("2026-01-01T03:00:00Z"));
    let next = due(&quarterly, behind, at_ms("2026-01-01T06:20:00Z")).fire;
    assert_eq!(next, [at_ms("2026-01-01T06:15:00Z")]);
}

#[test]
fn what_is_never_due_is_refused() {
    let good = spec("rate(1 minute)", "UTC", Missed::Once);
    assert_eq!(check(&good), Ok(()));
    let no_day = EventScheduleSpec { start: local("2026-02-30T00:00:00"), ..good.clone() };
    let error = check(&no_day).unwrap_err();
    assert_eq!(error.to_string(), "there is no 2026-02-30T00:00:00 in UTC: look at the day and its month");
    let backwards = EventScheduleSpec {
        start: local("2026-02-02T00:00:00"),
        end: local("2026-02-01T00:00:00"),
        ..good.clone()
    };
    assert!(matches!(check(&backwards), Err(EventScheduleError::Empty { .. })));
    let between = EventScheduleSpec {
        start: local("2026-02-01T00:00:00"),
        end: local("2026-02-02T00:00:00"),
        ..spec("cron(0 9 3 * ? *)", "UTC", Missed::Once)
    };
    assert!(matches!(check(&between), Err(EventScheduleError::Empty { .. })));
    let never = spec("cron(0 0 30 2 ? *)", "UTC", Missed::Once);
    assert!(matches!(check(&never), Err(EventScheduleError::Schedule(ScheduleError::Never { .. }))));
    let nowhere = spec("rate(1 minute)", "Europe/Atlantis", Missed::Once);
    assert!(matches!(check(&nowhere), Err(EventScheduleError::Schedule(ScheduleError::Zone { .. }))));
    for bad in [no_day, never, nowhere] {
        let rest = due(&bad, ScheduleState::new(0), at_ms("2040-01-01T00:00:00Z"));
        assert_eq!((rest.fire, rest.next_ms), (Vec::new(), None));
    }
}

#[test]
fn a_start_that_clocks_leave_out_is_as_much_later() {
    let spec = EventScheduleSpec {
        start: local("2026-03-29T02:30:00"),
        ..spec("rate(1 day)", "Europe/Berlin", Missed::Once)
    };
    assert_eq!(told(&spec, "2026-03-01T00:00:00Z", "2026-03-29T12:00:00Z"), ["2026-03-29T01:30:00Z"]);
}

/// Every night of ten years, where one hour of the spring is left out and one of the autumn comes twice.
#[test]
fn ten_years_of_nights() {
    let (begin_ms, end_ms) = (at_ms("2026-01-01T12:00:00Z"), at_ms("2036-01-01T12:00:00Z"));
    let days = (end_ms - begin_ms) / DAY_MS;
    for (zone, schedule, left_out) in [
        ("America/New_York", "cron(30 2 * * ? *)", 10),
        ("America/New_York", "cron(30 1 * * ? *)", 0),
        ("Europe/Berlin", "cron(30 2 * * ? *)", 10),
        ("Australia/Lord_Howe", "cron(15 2 * * ? *)", 10),
        ("Australia/Lord_Howe", "cron(45 1 * * ? *)", 0),
        ("Asia/Tokyo", "cron(30 2 * * ? *)", 0),
    ] {
        let spec = spec(schedule, zone, Missed::Once);
        let mut state = ScheduleState::new(begin_ms);
        let fired = played(&spec, &mut state, begin_ms, end_ms);
        assert_eq!(fired.len() as u64, days - left_out, "{schedule} in {zone}");
        assert!(fired.is_sorted_by(|before, after| after - before > 22 * HOUR_MS), "{schedule} in {zone}");
    }
}

/// A change of some zone's clocks: when, and from which offset to which, in seconds.
type Change = (u64, i32, i32);

/// All changes of clocks within ten years, of every zone that there is, each with one of the zones that have it.
fn changes() -> Vec<(Change, String)> {
    let (begin, end) = ("2026-01-01T00:00:00Z".parse().unwrap(), "2036-01-01T00:00:00Z".parse().unwrap());
    let mut known = BTreeSet::new();
    let mut changes = Vec::new();
    let mut zones = 0;
    for name in jiff::tz::db().available() {
        let name = name.as_str();
        // Other names for the same, and clocks that count leap seconds.
        if name.starts_with("posix/") || name.starts_with("right/") {
            continue;
        }
        let Ok(zone) = TimeZone::get(name) else { continue };
        zones += 1;
        for transition in zone.following(begin).take_while(|transition| transition.timestamp() < end) {
            let at = transition.timestamp();
            let before = Timestamp::from_millisecond(at.as_millisecond() - 1).unwrap();
            let offsets = (zone.to_offset(before).seconds(), zone.to_offset(at).seconds());
            let change = (at.as_millisecond().cast_unsigned(), offsets.0, offsets.1);
            if offsets.0 != offsets.1 && known.insert(change) {
                changes.push((change, name.to_owned()));
            }
        }
    }
    assert!(zones > 300, "there are {zones} zones");
    changes
}

/// The instants after `begin_ms` by a walk minute by minute: what a clock shows that it did not show before, where `holds`.
fn walked(zone: &TimeZone, begin_ms: u64, end_ms: u64, holds: impl Fn(DateTime) -> bool) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let minutes = (begin_ms..=end_ms).step_by(MINUTE_MS as usize);
    let is_first = |at_ms: &u64| {
        let local = zone.to_datetime(Timestamp::from_millisecond(at_ms.cast_signed()).unwrap());
        seen.insert(local) && *at_ms > begin_ms && holds(local)
    };
    minutes.filter(is_first).collect()
}

/// Around every change of clocks of every zone within ten years: each instant once, looked at by a clock that also stands still,
/// jumps and is put back, and by a platform that is down at times.
#[test]
fn each_instant_is_once_at_every_change_of_clocks() {
    let changes = changes();
    assert!(changes.len() > 300, "there are {} changes", changes.len());
    let mut dice = Dice(7);
    for ((change_ms, before_s, after_s), name) in changes {
        let zone = TimeZone::get(&name).unwrap();
        let (begin_ms, end_ms) = (change_ms - 4 * HOUR_MS, change_ms + 4 * HOUR_MS);
        let around = zone.to_datetime(Timestamp::from_millisecond(change_ms.cast_signed()).unwrap()).hour();
        let hours: BTreeSet<i8> = [-1, 0, 1].map(|by| (around + by).rem_euclid(24)).into();
        let list = hours.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
        for (schedule, is_narrow) in
            [("cron(0/30 * * * ? *)".to_owned(), false), (format!("cron(5/20 {list} * * ? *)"), true)]
        {
            let holds = |local: DateTime| match is_narrow {
                false => local.minute() % 30 == 0,
                true => local.minute() % 20 == 5 && hours.contains(&local.hour()),
            };
            let wanted = walked(&zone, begin_ms, end_ms, holds);
            let spec = spec(&schedule, &name, Missed::All);
            let mut state = ScheduleState::new(begin_ms);
            let mut fired = Vec::new();
            let mut now_ms = begin_ms;
            while now_ms < end_ms {
                let found = due(&spec, state, now_ms);
                state = found.state;
                fired.extend(found.fire);
                now_ms = match dice.throw(8) {
                    0 => now_ms - dice.throw(2 * HOUR_MS),
                    1 => now_ms + dice.throw(3 * HOUR_MS),
                    2 => now_ms,
                    _ => found.next_ms.unwrap().max(now_ms),
                };
            }
            fired.extend(due(&spec, state, end_ms).fire);
            assert_eq!(
                fired,
                wanted,
                "{schedule} in {name}, where clocks go from {before_s} to {after_s} at {}",
                shown(change_ms)
            );
        }
    }
}

/// Numbers that are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// How a clock goes on from one look to the next, in milliseconds.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        4 => 0..2 * HOUR_MS.cast_signed(),
        2 => 0..40 * DAY_MS.cast_signed(),
        1 => -(3 * DAY_MS.cast_signed())..0,
        1 => Just(0),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_clock_does_each_instant_is_once(
        schedule in proptest::sample::select(vec![
            "rate(7 minutes)",
            "rate(3 hours)",
            "rate(1 day)",
            "cron(0/20 * * * ? *)",
            "cron(30 2 * * ? *)",
            "cron(0 9 ? * MON-FRI *)",
            "cron(0 0 L * ? *)",
        ]),
        zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Africa/Casablanca"]),
        missed in proptest::sample::select(vec![Missed::Skip, Missed::Once, Missed::All]),
        begin_ms in at_ms("2026-01-01T00:00:00Z")..at_ms("2027-01-01T00:00:00Z"),
        steps in steps(),
    ) {
        let spec = spec(schedule, zone, missed);
        let mut state = ScheduleState::new(begin_ms);
        let (mut now_ms, mut latest_ms) = (begin_ms, begin_ms);
        let mut fired: Vec<u64> = Vec::new();
        for step in steps {
            now_ms = now_ms.checked_add_signed(step).unwrap();
            latest_ms = latest_ms.max(now_ms);
            let found = due(&spec, state, now_ms);
            let is_late = |at_ms: &u64| now_ms - at_ms >= ON_TIME_MS_MAX;
            prop_assert!(found.fire.iter().all(|at_ms| *at_ms <= now_ms), "too soon");
            match missed {
                Missed::Skip => prop_assert!(!found.fire.iter().any(is_late), "late"),
                Missed::Once => prop_assert!(found.fire.len() <= 1),
                Missed::All => {}
            }
            if found.state != state && missed != Missed::Skip {
                prop_assert_eq!(found.fire.last().copied(), found.state.last_ms);
            }
            prop_assert!(found.next_ms.is_some_and(|next_ms| next_ms > now_ms));
            fired.extend(found.fire);
            state = found.state;
        }
        prop_assert!(fired.is_sorted_by(|before, after| before < after), "twice, or out of order: {fired:?}");
        let times = Times::new(&spec, begin_ms).unwrap();
        let all: Vec<u64> = std::iter::successors(times.next(begin_ms), |at_ms| times.next(*at_ms))
            .take_while(|at_ms| *at_ms <= latest_ms)
            .collect();
        match missed {
            Missed::All if all.len() <= Missed::ALL_MAX => prop_assert_eq!(fired, all),
            Missed::Skip | Missed::Once | Missed::All => {
                let all: BTreeSet<u64> = all.into_iter().collect();
                prop_assert!(fired.iter().all(|at_ms| all.contains(at_ms)), "what is no instant of it");
            }
        }
    }
}
