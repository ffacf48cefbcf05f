//! Schedules: when something is to happen, in the words of EventBridge Scheduler: `at(...)`, `rate(...)`, `cron(...)`.
//!
//! What is written down is checked field by field, so a schedule that parses is one that AWS would take. It deliberately knows
//! no calendar and no time zone: when a schedule is due next, `plan` says.
//! Source: <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// When something is to happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Once: `at(2026-11-20T13:00:00)`.
    At(LocalTime),
    /// Again and again after the same time: `rate(5 minutes)`.
    Rate(Rate),
    /// At times of the calendar: `cron(0 9 ? * MON-FRI *)`.
    Cron(Cron),
}

impl FromStr for Schedule {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(
                text,
                "a schedule: at(2026-11-20T13:00:00), rate(5 minutes) or cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK \
                 YEAR), like cron(0 9 ? * MON-FRI *) for nine o'clock on weekdays; one of the two kinds of days must be \"?\"",
            )
        };
        let (word, rest) = text.split_once('(').ok_or_else(error)?;
        let inner = rest.strip_suffix(')').ok_or_else(error)?;
        let schedule = match word {
            "at" => LocalTime::parse(inner).map(Self::At),
            "rate" => Rate::parse(inner).map(Self::Rate),
            "cron" => Cron::parse(inner).map(Self::Cron),
            _ => None,
        };
        schedule.ok_or_else(error)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "at({time})"),
            Self::Rate(rate) => write!(f, "rate({rate})"),
            Self::Cron(cron) => write!(f, "cron({cron})"),
        }
    }
}

/// A date and a time as a clock on a wall shows them, in no time zone yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalTime {
    /// From 1970 to 2199.
    pub year: u16,
    /// From 1 to 12.
    pub month: u8,
    /// From 1 to 31; not every month has them all.
    pub day: u8,
    /// From 0 to 23.
    pub hour: u8,
    /// From 0 to 59.
    pub minute: u8,
    /// From 0 to 59.
    pub second: u8,
}

impl LocalTime {
    fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T')?;
        let [year, month, day] = split(date, '-')?;
        let [hour, minute, second] = split(time, ':')?;
        Some(Self {
            year: digits(year, 4).filter(|year| YEARS.holds(*year))?,
            month: small(month, 1, 12)?,
            day: small(day, 1, 31)?,
            hour: small(hour, 0, 23)?,
            minute: small(minute, 0, 59)?,
            second: small(second, 0, 59)?,
        })
    }
}

impl FromStr for LocalTime {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text).ok_or_else(|| ParseError::new(text, "a date and a time, like 2026-11-20T13:00:00"))
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

/// How much time lies between two times of the same schedule. A day is 24 hours, whatever a clock on a wall does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    unit: RateUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum RateUnit {
    Minutes,
    Hours,
    Days,
}

impl RateUnit {
    const ALL: [(&'static str, &'static str, Self); 3] =
        [("minute", "minutes", Self::Minutes), ("hour", "hours", Self::Hours), ("day", "days", Self::Days)];

    fn ms(self) -> u64 {
        match self {
            Self::Minutes => 60_000,
            Self::Hours => 3_600_000,
            Self::Days => 86_400_000,
        }
    }
}

impl Rate {
    /// The most minutes, hours or days.
    pub const COUNT_MAX: u32 = 100_000;

    /// The time between, in milliseconds.
    pub fn ms(self) -> u64 {
        u64::from(self.count) * self.unit.ms()
    }

    fn parse(text: &str) -> Option<Self> {
        let (count, word) = text.split_once(' ')?;
        let count = number(count).filter(|count| (1..=Self::COUNT_MAX).contains(count))?;
        let (_, _, unit) = RateUnit::ALL.into_iter().find(|(one, many, _)| word == *one || word == *many)?;
        Some(Self { count, unit })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = RateUnit::ALL.iter().find(|(_, _, unit)| *unit == self.unit);
        let (one, many, _) = known.unwrap_or(&RateUnit::ALL[0]);
        write!(f, "{} {}", self.count, if self.count == 1 { one } else { many })
    }
}

/// Times of the calendar: minutes, hours, days of the month, months, days of the week, years. In capitals, one space between.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cron(Arc<str>);

impl Cron {
    /// How many fields there are; the last one may be left out, and then is `*`.
    pub const FIELDS: usize = 6;

    /// The fields, each as it was written.
    pub fn fields(&self) -> [&str; Self::FIELDS] {
        let mut fields = ["*"; Self::FIELDS];
        for (field, text) in fields.iter_mut().zip(self.0.split(' ')) {
            *field = text;
        }
        fields
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (minutes, hours, day, month, weekday, year) = match fields[..] {
            [minutes, hours, day, month, weekday] => (minutes, hours, day, month, weekday, "*"),
            [minutes, hours, day, month, weekday, year] => (minutes, hours, day, month, weekday, year),
            _ => return None,
        };
        let is_days = match (day, weekday) {
            ("?", "?") => false,
            ("?", weekday) => is_weekdays(weekday),
            (day, "?") => day.split(',').all(|item| DAYS.takes(item) || is_special_day(item)),
            _ => false,
        };
        let is_plain = [(minutes, MINUTES), (hours, HOURS), (month, MONTHS), (year, YEARS)]
            .into_iter()
            .all(|(field, values)| field.split(',').all(|item| values.takes(item)));
        (is_days && is_plain).then(|| Self(fields.join(" ").into()))
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The values that a field of a cron expression may have.
#[derive(Clone, Copy)]
struct Values {
    least: u16,
    most: u16,
    /// Names of the first ones, where they have some.
    names: &'static [&'static str],
}

const MINUTES: Values = Values { least: 0, most: 59, names: &[] };
const HOURS: Values = Values { least: 0, most: 23, names: &[] };
const DAYS: Values = Values { least: 1, most: 31, names: &[] };
const MONTHS: Values = Values {
    least: 1,
    most: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
const WEEKDAYS: Values =
    Values { least: 1, most: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };
const YEARS: Values = Values { least: 1970, most: 2199, names: &[] };

impl Values {
    fn holds(self, value: u16) -> bool {
        (self.least..=self.most).contains(&value)
    }

    fn value(self, text: &str) -> Option<u16> {
        let named = (self.least..).zip(self.names).find(|(_, name)| **name == text);
        named.map(|(value, _)| value).or_else(|| number(text)).filter(|value| self.holds(*value))
    }

    /// Whether an item of a list is `*`, a value, or two with `-` between, the first one not above the other.
    fn takes_range(self, item: &str) -> bool {
        match item.split_once('-') {
            Some((from, to)) => {
                matches!((self.value(from), self.value(to)), (Some(from), Some(to)) if from <= to)
            }
            None => item == "*" || self.value(item).is_some(),
        }
    }

    /// The same, and each may have a step behind it.
    fn takes(self, item: &str) -> bool {
        match item.split_once('/') {
            Some((range, step)) => {
                self.takes_range(range) && number(step).is_some_and(|step| (1..=self.most).contains(&step))
            }
            None => self.takes_range(item),
        }
    }
}

/// Whether an item is the last day of the month, its last weekday, or the weekday nearest to a day.
fn is_special_day(item: &str) -> bool {
    let near = item.strip_suffix('W').is_some_and(|day| day == "L" || DAYS.value(day).is_some());
    item == "L" || near
}

/// Whether a field is a list of days of the week, perhaps some that are the last of the month, or one that is the n-th.
fn is_weekdays(field: &str) -> bool {
    if let Some((day, which)) = field.split_once('#') {
        return WEEKDAYS.value(day).is_some()
            && number(which).is_some_and(|which: u16| (1..=5).contains(&which));
    }
    let is_last = |item: &str| item.strip_suffix('L').is_some_and(|day| WEEKDAYS.value(day).is_some());
    field.split(',').all(|item| WEEKDAYS.takes_range(item) || item == "L" || is_last(item))
}

fn split(text: &str, by: char) -> Option<[&str; 3]> {
    text.split(by).collect::<Vec<_>>().try_into().ok()
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn digits<T: FromStr>(text: &str, count: usize) -> Option<T> {
    number(text).filter(|_| text.len() == count)
}

fn small(text: &str, least: u8, most: u8) -> Option<u8> {
    digits(text, 2).filter(|value| (least..=most).contains(value))
}

/// The name of a time zone in the IANA database: `UTC`, `Europe/Berlin`. Whether there is one by that name, `plan` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(Arc<str>);

impl Zone {
    /// Longest name, in bytes.
    pub const LENGTH_MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self("UTC".into())
    }
}

impl FromStr for Zone {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
        let is_name = text.len() <= Self::LENGTH_MAX
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && text.bytes().all(inner);
        if is_name {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new(text, "a time zone of the IANA database, like UTC or Europe/Berlin"))
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(LocalTime, Schedule, Zone);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_prints_as_it_parses() {
        for text in [
            "at(2026-11-20T13:00:00)",
            "rate(1 minute)",
            "rate(5 minutes)",
            "rate(2 days)",
            "cron(0 9 ? * MON-FRI *)",
            "cron(15 10 ? * 6L 2022-2023)",
            "cron(0/15 8-18 L,15W * ? 2026,2028)",
            "cron(*/5 * 1/2 JAN,MAR-DEC/3 ?)",
            "cron(0 0 ? * 3#2 *)",
            "cron(0 0 ? * SUN,L *)",
            "cron(0 0 LW * ? *)",
        ] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        let parsed = |text: &str| text.parse::<Schedule>().unwrap().to_string();
        assert_eq!(parsed("rate(1 hours)"), "rate(1 hour)");
        assert_eq!(parsed("cron(0  9 ? *  mon *)"), "cron(0 9 ? * MON *)");
    }

    #[test]
    fn what_aws_would_not_take_is_refused() {
        for bad in [
            "",
            "0 9 * * *",
            "every(5 minutes)",
            "at(2026-11-20)",
            "at(2026-13-20T13:00:00)",
            "at(2026-11-20T24:00:00)",
            "at(2026-11-20T13:00:00Z)",
            "at(1969-11-20T13:00:00)",
            "at(2026-1-20T13:00:00)",
            "rate(0 minutes)",
            "rate(5 seconds)",
            "rate(5minutes)",
            "rate(-5 minutes)",
            "rate(100001 days)",
            "cron(0 9 ? * MON-FRI *",
            "cron(0 9 * *)",
            "cron(0 0 9 ? * MON *)",
            "cron(0 9 * * * *)",
            "cron(0 9 ? * ? *)",
            "cron(0 9 1 * MON *)",
            "cron(60 9 ? * MON *)",
            "cron(0 24 ? * MON *)",
            "cron(0 9 0 * ? *)",
            "cron(0 9 32 * ? *)",
            "cron(0 9 ? 13 MON *)",
            "cron(0 9 ? MON MON *)",
            "cron(0 9 ? * 0 *)",
            "cron(0 9 ? * 8 *)",
            "cron(0 9 ? * FRI-MON *)",
            "cron(0 9 ? * */2 *)",
            "cron(0 9 ? * 3#6 *)",
            "cron(0 9 ? * 3#1,6#3 *)",
            "cron(0 9 ? * 3W *)",
            "cron(0 9 32W * ? *)",
            "cron(0 9 L-3 * ? *)",
            "cron(0/0 9 ? * MON *)",
            "cron(0,, 9 ? * MON *)",
            "cron(+5 9 ? * MON *)",
            "cron(0 9 ? * MON 1969)",
            "cron(0 9 ? * MON 2200)",
            "cron(@daily)",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn the_year_may_be_left_out() {
        let fields = |text: &str| match text.parse::<Schedule>().unwrap() {
            Schedule::Cron(cron) => cron.fields().join(" "),
            other => panic!("{other}"),
        };
        assert_eq!(fields("cron(0 9 ? * MON)"), "0 9 ? * MON *");
        assert_eq!(fields("cron(0 9 ? * MON 2030)"), "0 9 ? * MON 2030");
    }

    #[test]
    fn a_zone_is_a_name_of_the_database() {
        for good in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert_eq!(good.parse::<Zone>().unwrap().to_string(), good);
        }
        for bad in ["", "+01:00", "/etc/passwd", "../zone", "Europe/ Berlin", &"a".repeat(65)] {
            assert!(bad.parse::<Zone>().is_err(), "{bad:?} was taken");
        }
    }
}
