//! When a schedule is due next: `at`, `rate` and `cron` in a time zone, by EventBridge Scheduler's rules.
//!
//! What a clock on a wall shows is not always one time. Where it is put forward, a time that it leaves out is left out here
//! too; where it is put back, a time that it shows twice counts once, the first time, whatever the schedule. A rate knows
//! nothing of clocks on walls: a day is 24 hours.
//! Source: <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>
//!
//! It deliberately remembers nothing: the next time after the last one is for who kept the last one.
//!
//! What always holds: the next time is after the one that it was asked for, and none lies between that the schedule means.

use croner::Cron as Pattern;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use skiff_types::{Cron, LocalTime, Schedule, Zone};

/// Why a schedule is never due.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There is no such time zone.
    #[error("there is no time zone {zone}: take a name of the IANA database, like UTC or Europe/Berlin")]
    Zone {
        /// What was asked for.
        zone: Zone,
    },
    /// It names no time that ever comes.
    #[error("{schedule} names no time that ever comes in {zone}: look at its days, months and years")]
    Never {
        /// What was asked for.
        schedule: Schedule,
        /// Where.
        zone: Zone,
    },
}

/// A schedule in its time zone, ready to be asked.
#[derive(Debug)]
pub(crate) enum Due {
    Once(Timestamp),
    Every { ms: u64 },
    Calendar { pattern: Box<Pattern>, zone: TimeZone },
}

/// Refuses a schedule that is never due, after whatever time; an error says what to do.
pub fn check(schedule: &Schedule, zone: &Zone) -> Result<(), ScheduleError> {
    let due = Due::new(schedule, zone)?;
    match due.next(0) {
        Some(_) => Ok(()),
        None => Err(ScheduleError::Never { schedule: schedule.clone(), zone: zone.clone() }),
    }
}

/// When a schedule is due next after `after_ms`, both in milliseconds since 1970; none if it is not any more. A rate counts
/// from `after_ms`: it is to be when it was due last, or when it began.
pub fn next(schedule: &Schedule, zone: &Zone, after_ms: u64) -> Option<u64> {
    Due::new(schedule, zone).ok()?.next(after_ms)
}

impl Due {
    pub(crate) fn new(schedule: &Schedule, zone: &Zone) -> Result<Self, ScheduleError> {
        let never = || ScheduleError::Never { schedule: schedule.clone(), zone: zone.clone() };
        let unknown = |_| ScheduleError::Zone { zone: zone.clone() };
        let named = || TimeZone::get(zone.as_str()).map_err(unknown);
        Ok(match schedule {
            Schedule::At(local) => {
                let zone = named()?;
                let moment = civil(*local).and_then(|local| first(&zone, local));
                Self::Once(moment.ok_or_else(never)?)
            }
            Schedule::Rate(rate) => {
                // It has no need of one, but what is said is to be true.
                named()?;
                Self::Every { ms: rate.ms() }
            }
            Schedule::Cron(cron) => {
                Self::Calendar { pattern: Box::new(pattern(cron).ok_or_else(never)?), zone: named()? }
            }
        })
    }

    pub(crate) fn next(&self, after_ms: u64) -> Option<u64> {
        match self {
            Self::Once(at) => ms(*at).filter(|at_ms| *at_ms > after_ms),
            Self::Every { ms } => after_ms.checked_add(*ms),
            Self::Calendar { pattern, zone } => {
                let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
                let mut local = zone.to_datetime(after);
                // Ends: the years of a pattern do.
                loop {
                    local = pattern.find_next_occurrence(&local, false).ok()?;
                    match first(zone, local) {
                        Some(at) if at > after => return ms(at),
                        // Left out, or shown for the second time.
                        Some(_) | None => {}
                    }
                }
            }
        }
    }
}

fn ms(at: Timestamp) -> Option<u64> {
    u64::try_from(at.as_millisecond()).ok()
}

/// The time at which a clock on a wall shows this for the first time; none if it never does.
fn first(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    let moment = zone.to_ambiguous_timestamp(local);
    let is_left_out = matches!(moment.offset(), AmbiguousOffset::Gap { .. });
    if is_left_out { None } else { moment.earlier().ok() }
}

/// When a clock on a wall shows this, in milliseconds since 1970: the first time of two, and where it is left out, as much later
/// as clocks are put forward. None for a day that its month does not have.
pub(crate) fn moment(zone: &TimeZone, local: LocalTime) -> Option<u64> {
    zone.to_ambiguous_timestamp(civil(local)?).compatible().ok().and_then(ms)
}

/// None for a day that its month does not have.
fn civil(local: LocalTime) -> Option<DateTime> {
    let [month, day, hour, minute, second] =
        [local.month, local.day, local.hour, local.minute, local.second].map(u8::cast_signed);
    DateTime::new(local.year.cast_signed(), month, day, hour, minute, second, 0).ok()
}

/// An expression in the words of the parser: with seconds, and with the ends of what AWS leaves open.
fn pattern(cron: &Cron) -> Option<Pattern> {
    let [minutes, hours, day, month, weekday, year] = cron.fields();
    let text = format!(
        "0 {} {} {} {} {} {}",
        closed(minutes, 0, 59),
        closed(hours, 0, 23),
        closed(day, 1, 31),
        closed(month, 1, 12),
        weekday.split(',').map(|item| if item == "L" { "SAT" } else { item }).collect::<Vec<_>>().join(","),
        closed(year, 1970, 2199),
    );
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .build();
    parser.parse(&text).ok()
}

/// A field with each step within a range: `5/10` goes on to the last value, and `*/10` begins at the first. Years without a
/// step are closed too, so that looking for one ends.
fn closed(field: &str, least: u16, most: u16) -> String {
    let item = |item: &str| match item.split_once('/') {
        Some(("*", step)) => format!("{least}-{most}/{step}"),
        Some((from, step)) if !from.contains('-') => format!("{from}-{most}/{step}"),
        None if item == "*" && least == 1970 => format!("{least}-{most}"),
        Some(_) | None => item.to_owned(),
    };
    field.split(',').map(item).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
