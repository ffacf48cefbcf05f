//! Metrics: the names of what is measured, whose it is, and what may be asked of many values.
//!
//! The words are CloudWatch's, and so are the names of what Skiff measures by itself ([`Measure`]). The values themselves are
//! [`crate::Datum`]s.

use crate::text::{ParseError, serde_as_text};
use crate::{Name, Namespace, QualifiedName, TaskId};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a metric: a letter, then letters, digits, `_`, `.`, `/` and `-`; 64 at most.
///
/// A name that is one of [`Measure`]'s but for the case of its letters is that one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricName(Arc<str>);

impl MetricName {
    /// Longest name, in bytes.
    pub const LENGTH_MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What Skiff measures by this name, if it does.
    pub fn measure(&self) -> Option<Measure> {
        Measure::ALL.into_iter().find(|measure| measure.as_str() == self.as_str())
    }
}

impl From<Measure> for MetricName {
    fn from(measure: Measure) -> Self {
        Self(measure.as_str().into())
    }
}

impl FromStr for MetricName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-');
        let valid = text.len() <= Self::LENGTH_MAX
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && text.bytes().all(inner);
        if !valid {
            return Err(ParseError::new(
                text,
                "the name of a metric: a letter, then letters, digits, '_', '.', '/' or '-', 64 at most, like \
                 \"CPUUtilization\" or \"queue/depth\"",
            ));
        }
        let measured = Measure::ALL.into_iter().find(|measure| measure.as_str().eq_ignore_ascii_case(text));
        Ok(measured.map_or_else(|| Self(text.into()), Self::from))
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What Skiff measures by itself, by CloudWatch's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// CPU time that was used, in percent of what the sizes of the tasks allow.
    CpuUtilization,
    /// Memory that is held, in percent of what the sizes of the tasks allow.
    MemoryUtilization,
    /// Requests that came, of a second, answered or not: as at ELB, one counts when it is given to a target. Health checks
    /// are none, here and in what else counts requests or responses.
    RequestCount,
    /// The same for each RUNNING task.
    RequestCountPerTarget,
    /// From a request's head to its response's last byte, in seconds; those of health checks in the same second among them.
    TargetResponseTime,
    /// Responses with a status of 200 to 299, of a second.
    Target2xxCount,
    /// Responses with a status of 300 to 399, of a second.
    Target3xxCount,
    /// Responses with a status of 400 to 499, of a second.
    Target4xxCount,
    /// Responses with a status of 500 to 599, of a second.
    Target5xxCount,
    /// Tasks that are RUNNING.
    RunningTaskCount,
    /// Tasks that there are to be.
    DesiredTaskCount,
    /// Messages in sight and in flight of the queues that the service consumes, for each RUNNING task; of a service without one
    /// as if it had one.
    BacklogPerTask,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::CpuUtilization,
        Self::MemoryUtilization,
        Self::RequestCount,
        Self::RequestCountPerTarget,
        Self::TargetResponseTime,
        Self::Target2xxCount,
        Self::Target3xxCount,
        Self::Target4xxCount,
        Self::Target5xxCount,
        Self::RunningTaskCount,
        Self::DesiredTaskCount,
        Self::BacklogPerTask,
    ];

    /// Its name as CloudWatch writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CpuUtilization => "CPUUtilization",
            Self::MemoryUtilization => "MemoryUtilization",
            Self::RequestCount => "RequestCount",
            Self::RequestCountPerTarget => "RequestCountPerTarget",
            Self::TargetResponseTime => "TargetResponseTime",
            Self::Target2xxCount => "HTTPCode_Target_2XX_Count",
            Self::Target3xxCount => "HTTPCode_Target_3XX_Count",
            Self::Target4xxCount => "HTTPCode_Target_4XX_Count",
            Self::Target5xxCount => "HTTPCode_Target_5XX_Count",
            Self::RunningTaskCount => "RunningTaskCount",
            Self::DesiredTaskCount => "DesiredTaskCount",
            Self::BacklogPerTask => "BacklogPerTask",
        }
    }

    /// Whether it is measured of single tasks too.
    pub fn is_of_tasks(self) -> bool {
        matches!(self, Self::CpuUtilization | Self::MemoryUtilization)
    }

    /// What its values are.
    pub fn unit(self) -> &'static str {
        match self {
            Self::CpuUtilization | Self::MemoryUtilization => "Percent",
            Self::TargetResponseTime => "Seconds",
            Self::RequestCount
            | Self::RequestCountPerTarget
            | Self::Target2xxCount
            | Self::Target3xxCount
            | Self::Target4xxCount
            | Self::Target5xxCount
            | Self::RunningTaskCount
            | Self::DesiredTaskCount
            | Self::BacklogPerTask => "Count",
        }
    }

    /// The statistic that says most of it: what is counted is summed up.
    pub fn usual_statistic(self) -> Statistic {
        match self {
            Self::RequestCount
            | Self::RequestCountPerTarget
            | Self::Target2xxCount
            | Self::Target3xxCount
            | Self::Target4xxCount
            | Self::Target5xxCount => Statistic::Sum,
            Self::CpuUtilization
            | Self::MemoryUtilization
            | Self::TargetResponseTime
            | Self::RunningTaskCount
            | Self::DesiredTaskCount
            | Self::BacklogPerTask => Statistic::Average,
        }
    }
}

/// Whose a metric is. Printed `service:NAMESPACE/NAME`, `task:ID` or `namespace:NAMESPACE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricOf {
    /// A service's: over all its tasks.
    Service(QualifiedName),
    /// One task's.
    Task(TaskId),
    /// Somebody's own, in a namespace.
    Custom(Namespace),
}

impl FromStr for MetricOf {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.split_once(':') {
            Some(("service", name)) => name.parse().map(Self::Service),
            Some(("task", id)) => id.parse().map(Self::Task),
            Some(("namespace", name)) => name.parse().map(Self::Custom),
            _ => Err(ParseError::new(
                text,
                "whose a metric is: service:NAMESPACE/NAME, task:ID or namespace:NAMESPACE, like \
                 \"service:default/web\"",
            )),
        }
    }
}

impl fmt::Display for MetricOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Task(id) => write!(f, "task:{id}"),
            Self::Custom(namespace) => write!(f, "namespace:{namespace}"),
        }
    }
}

/// Tells series of one custom metric apart: names and values, few of them. Printed `name=value,name=value`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimensions(BTreeMap<Name, String>);

/// Dimensions that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DimensionsError {
    /// Too many.
    #[error("a metric has {0} dimensions; the most is {max}: leave some out", max = Dimensions::COUNT_MAX)]
    TooMany(usize),
    /// A value that is empty, too long, or has control characters or commas in it.
    #[error(
        "the dimension {0} has no value that can be kept: give it 1 to {max} bytes without commas and control characters",
        max = Dimensions::VALUE_BYTES_MAX
    )]
    Value(Name),
}

impl Dimensions {
    /// The most that a metric has.
    pub const COUNT_MAX: usize = 4;
    /// Longest value, in bytes.
    pub const VALUE_BYTES_MAX: usize = 128;
    /// What says whose values they are that a task put itself: its service's, or its family's where no service runs it. No guest
    /// can say it.
    pub const SOURCES: [&'static str; 2] = ["service", "family"];

    /// Takes them if they are within the bounds.
    pub fn new(dimensions: BTreeMap<Name, String>) -> Result<Self, DimensionsError> {
        if dimensions.len() > Self::COUNT_MAX {
            return Err(DimensionsError::TooMany(dimensions.len()));
        }
        let is_fit = |value: &str| {
            let is_bad = |letter: char| letter == ',' || letter.is_control();
            (1..=Self::VALUE_BYTES_MAX).contains(&value.len()) && !value.contains(is_bad)
        };
        match dimensions.iter().find(|(_, value)| !is_fit(value)) {
            Some((name, _)) => Err(DimensionsError::Value(name.clone())),
            None => Ok(Self(dimensions)),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &str)> {
        self.0.iter().map(|(name, value)| (name, value.as_str()))
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(known, value)| (known.as_str() == name).then_some(value))
    }
}

impl FromStr for Dimensions {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(
                text,
                "dimensions: up to four times NAME=VALUE with a comma between, each name once, like \
                 \"queue=mails,zone=a\"",
            )
        };
        let mut dimensions: BTreeMap<Name, String> = BTreeMap::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(error)?;
            if dimensions.insert(name.parse()?, value.to_owned()).is_some() {
                return Err(error());
            }
        }
        Self::new(dimensions).map_err(|_| error())
    }
}

impl fmt::Display for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

/// What is measured over time: one metric of one owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId {
    /// Whose it is.
    pub of: MetricOf,
    /// What is measured.
    pub metric: MetricName,
    /// Tell series of one custom metric apart; others have none.
    pub dimensions: Dimensions,
}

impl SeriesId {
    /// What Skiff measures of a service.
    pub fn of_service(service: QualifiedName, measure: Measure) -> Self {
        Self { of: MetricOf::Service(service), metric: measure.into(), dimensions: Dimensions::default() }
    }

    /// What Skiff measures of a task.
    pub fn of_task(task: TaskId, measure: Measure) -> Self {
        Self { of: MetricOf::Task(task), metric: measure.into(), dimensions: Dimensions::default() }
    }
}

/// How much time one point of a series covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// A second.
    Second,
    /// A minute.
    Minute,
}

impl Resolution {
    /// Its length in milliseconds.
    pub const fn span_ms(self) -> u64 {
        match self {
            Self::Second => 1_000,
            Self::Minute => 60_000,
        }
    }

    /// When the point begins that `at_ms` falls into.
    pub const fn start_ms(self, at_ms: u64) -> u64 {
        at_ms - at_ms % self.span_ms()
    }
}

/// A percentile in hundredths of a percent, from 0 to 10,000; printed `p99`, `p99.9` or `p99.95`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentile(u16);

impl Percentile {
    /// The most, in hundredths of a percent.
    pub const MAX: u16 = 10_000;

    /// From hundredths of a percent; none if there are more than [`Self::MAX`].
    pub fn from_hundredths(hundredths: u16) -> Option<Self> {
        (hundredths <= Self::MAX).then_some(Self(hundredths))
    }

    /// Which of `count` values it is, the least being the first: that of the nearest rank.
    pub fn rank(self, count: u64) -> u64 {
        let rank = (u128::from(count) * u128::from(self.0)).div_ceil(u128::from(Self::MAX));
        u64::try_from(rank).expect("no rank is above the count").max(1)
    }
}

impl FromStr for Percentile {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parse = || {
            let number = text.strip_prefix(['p', 'P'])?;
            let (whole, parts) = number.split_once('.').unwrap_or((number, "0"));
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number(whole) || whole.len() > 3 || !is_number(parts) || parts.len() > 2 {
                return None;
            }
            let hundredths = format!("{whole}{parts:0<2}").parse().ok()?;
            Self::from_hundredths(hundredths)
        };
        parse().ok_or_else(|| ParseError::new(text, "a percentile from p0 to p100, like p99 or p99.9"))
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, parts) = (self.0 / 100, self.0 % 100);
        match (parts, parts % 10) {
            (0, _) => write!(f, "p{whole}"),
            (_, 0) => write!(f, "p{whole}.{}", parts / 10),
            _ => write!(f, "p{whole}.{parts:02}"),
        }
    }
}

/// What is made of many values, in CloudWatch's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statistic {
    /// Their sum, divided by how many there are.
    Average,
    /// Their sum.
    Sum,
    /// The least of them.
    Minimum,
    /// The largest of them.
    Maximum,
    /// How many there are.
    SampleCount,
    /// The least value that a given share of them is not above.
    Percentile(Percentile),
}

impl Statistic {
    /// Those that have a name of their own.
    const NAMED: [(&'static str, Self); 5] = [
        ("Average", Self::Average),
        ("Sum", Self::Sum),
        ("Minimum", Self::Minimum),
        ("Maximum", Self::Maximum),
        ("SampleCount", Self::SampleCount),
    ];
}

impl FromStr for Statistic {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let named = Self::NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let error = |_| {
            ParseError::new(
                text,
                "a statistic: Average, Sum, Minimum, Maximum, SampleCount or a percentile like p99.9",
            )
        };
        named.map_or_else(|| text.parse().map(Self::Percentile).map_err(error), |(_, named)| Ok(*named))
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Average => f.write_str("Average"),
            Self::Sum => f.write_str("Sum"),
            Self::Minimum => f.write_str("Minimum"),
            Self::Maximum => f.write_str("Maximum"),
            Self::SampleCount => f.write_str("SampleCount"),
            Self::Percentile(percentile) => percentile.fmt(f),
        }
    }
}

serde_as_text!(Dimensions, MetricName, MetricOf, Percentile, Statistic);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_metric_is_a_letter_and_what_joins_words() {
        for good in ["a", "Queue/depth", "jobs.done", "HTTP_4xx-rate", &"a".repeat(64)] {
            assert_eq!(good.parse::<MetricName>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "/a", "a b", "ä", "a:b", &"a".repeat(65)] {
            assert!(bad.parse::<MetricName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn what_skiff_measures_is_known_in_any_case() {
        for measure in Measure::ALL {
            let name: MetricName = measure.as_str().to_lowercase().parse().unwrap();
            assert_eq!((name.as_str(), name.measure()), (measure.as_str(), Some(measure)));
        }
        assert_eq!("jobs".parse::<MetricName>().unwrap().measure(), None);
    }

    #[test]
    fn a_statistic_prints_as_it_parses() {
        for text in
            ["Average", "Sum", "Minimum", "Maximum", "SampleCount", "p99", "p99.9", "p0", "p100", "p50.05"]
        {
            assert_eq!(text.parse::<Statistic>().unwrap().to_string(), text);
        }
        assert_eq!("AVERAGE".parse::<Statistic>().unwrap(), Statistic::Average);
        assert_eq!("p99.50".parse::<Statistic>().unwrap().to_string(), "p99.5");
        for bad in ["", "p", "p101", "p100.01", "p99.999", "p.5", "p1.", "p-1", "p+1", "Mean", "p0001"] {
            assert!(bad.parse::<Statistic>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_percentile_is_the_value_of_the_nearest_rank() {
        let rank = |text: &str, count| text.parse::<Percentile>().unwrap().rank(count);
        assert_eq!([rank("p0", 10), rank("p50", 10), rank("p99", 10), rank("p100", 10)], [1, 5, 10, 10]);
        assert_eq!((rank("p99.9", 1_000), rank("p100", u64::MAX)), (999, u64::MAX));
    }

    #[test]
    fn whose_a_metric_is_prints_as_it_parses() {
        let task = TaskId::from_parts(7, [1; 10]);
        for text in ["service:default/web", &format!("task:{task}"), "namespace:team"] {
            assert_eq!(text.parse::<MetricOf>().unwrap().to_string(), text);
        }
        for bad in ["", "service:web", "task:1", "namespace:", "node:1"] {
            assert!(bad.parse::<MetricOf>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn dimensions_are_few_and_short() {
        let of = |count: usize, value: &str| {
            let named = |number| (format!("d{number}").parse().unwrap(), value.to_owned());
            Dimensions::new((0..count).map(named).collect())
        };
        assert_eq!(of(4, "a").unwrap().iter().count(), 4);
        assert_eq!(of(5, "a"), Err(DimensionsError::TooMany(5)));
        for bad in ["", "a\nb", "a,b", &"a".repeat(129)] {
            assert_eq!(of(1, bad), Err(DimensionsError::Value("d0".parse().unwrap())), "{bad:?} was taken");
        }
    }

    #[test]
    fn dimensions_print_as_they_parse() {
        for text in ["", "queue=mails", "queue=a=b,zone=ein Haus"] {
            assert_eq!(text.parse::<Dimensions>().unwrap().to_string(), text);
        }
        for bad in ["queue", "=a", "queue=", "queue=a,queue=b", ",", "a=1,", "Queue=a", "a=1,b=1,c=1,d=1,e=1"]
        {
            assert!(bad.parse::<Dimensions>().is_err(), "{bad:?} was taken");
        }
    }
}
