//! Alarms: a metric that is watched, what it is held against, and what happens when that changes.
//!
//! The words are those of CloudWatch's `PutMetricAlarm`. It deliberately decides nothing: `plan` does.

use crate::text::{ParseError, serde_as_text};
use crate::{MetricValue, QualifiedName, SeriesId, Span, Statistic};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A metric that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmSpec {
    /// Its name.
    pub name: QualifiedName,
    /// What is watched.
    pub metric: SeriesId,
    /// What one datapoint is of the values of a period.
    pub statistic: Statistic,
    /// How long the values of one datapoint are collected.
    pub period: Span,
    /// What a datapoint is held against.
    pub threshold: MetricValue,
    /// How.
    pub comparison: Comparison,
    /// The N of "M out of N": how many datapoints are looked at.
    pub evaluation_periods: u32,
    /// The M: how many of them must breach.
    pub datapoints_to_alarm: u32,
    /// What a period is taken for that has no values.
    pub missing: MissingData,
    /// What is done when its state changes.
    pub actions: AlarmActions,
}

impl AlarmSpec {
    /// The shortest period.
    pub const PERIOD_MIN: Span = Span::from_ms(1_000);
    /// The longest period.
    pub const PERIOD_MAX: Span = Span::from_ms(86_400_000);
    /// The longest that all periods that are looked at may be together.
    pub const EVALUATED_MAX: Span = Span::from_ms(7 * 86_400_000);
    /// How long there are points of a second; periods that are no whole minutes must lie within that.
    pub const SECONDS_KEPT: Span = Span::from_ms(900_000);
    /// Periods beyond the evaluation periods that are looked at where some of those have no values.
    pub const PERIODS_BEYOND: u32 = 2;

    /// How many datapoints its state follows from: CloudWatch's evaluation range.
    pub fn evaluation_range(&self) -> u32 {
        self.evaluation_periods.saturating_add(Self::PERIODS_BEYOND)
    }

    /// Refuses what can't be evaluated; an error says what to do.
    pub fn check(&self) -> Result<(), AlarmError> {
        let Self { period, evaluation_periods, datapoints_to_alarm, .. } = self;
        let is_whole = period.ms().is_multiple_of(1_000);
        if !(Self::PERIOD_MIN..=Self::PERIOD_MAX).contains(period) || !is_whole {
            return Err(AlarmError::Period { period: *period });
        }
        if *evaluation_periods == 0 || !(1..=*evaluation_periods).contains(datapoints_to_alarm) {
            return Err(AlarmError::Datapoints {
                datapoints: *datapoints_to_alarm,
                periods: *evaluation_periods,
            });
        }
        let evaluated = Span::from_ms(period.ms().saturating_mul(u64::from(self.evaluation_range())));
        if evaluated > Self::EVALUATED_MAX {
            return Err(AlarmError::TooLong { evaluated });
        }
        if !period.ms().is_multiple_of(60_000) && evaluated > Self::SECONDS_KEPT {
            return Err(AlarmError::Resolution { evaluated });
        }
        self.actions.check()
    }
}

/// Why an alarm can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlarmError {
    /// The period is out of its bounds.
    #[error(
        "the period is {period}; it must be whole seconds, from {} to {}",
        AlarmSpec::PERIOD_MIN,
        AlarmSpec::PERIOD_MAX
    )]
    Period {
        /// What was asked for.
        period: Span,
    },
    /// M is not of N.
    #[error(
        "{datapoints} datapoints of {periods} evaluation periods can't be: ask for 1 evaluation period or more, and for 1 to \
         that many datapoints"
    )]
    Datapoints {
        /// What was asked for.
        datapoints: u32,
        /// Of how many.
        periods: u32,
    },
    /// It looks too far back.
    #[error(
        "it would look at the last {evaluated}, two periods more than the evaluation periods; {} is the most: take fewer \
         evaluation periods, or a shorter period",
        AlarmSpec::EVALUATED_MAX
    )]
    TooLong {
        /// How far.
        evaluated: Span,
    },
    /// It looks back to where there are no points of a second.
    #[error(
        "it would look at the last {evaluated} in periods that are no whole minutes, and points of a second are kept for {}: \
         take a period of whole minutes, or fewer evaluation periods",
        AlarmSpec::SECONDS_KEPT
    )]
    Resolution {
        /// How far.
        evaluated: Span,
    },
    /// There is too much to do.
    #[error("{count} actions for one state; {} are the most", AlarmActions::COUNT_MAX)]
    Actions {
        /// How many were asked for.
        count: usize,
    },
}

/// How a datapoint breaches a threshold. CloudWatch's `ComparisonOperator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// Above it.
    GreaterThanThreshold,
    /// Above it, or there.
    GreaterThanOrEqualToThreshold,
    /// Below it.
    LessThanThreshold,
    /// Below it, or there.
    LessThanOrEqualToThreshold,
}

impl Comparison {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::GreaterThanThreshold,
        Self::GreaterThanOrEqualToThreshold,
        Self::LessThanThreshold,
        Self::LessThanOrEqualToThreshold,
    ];

    /// Its name as CloudWatch writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GreaterThanThreshold => "GreaterThanThreshold",
            Self::GreaterThanOrEqualToThreshold => "GreaterThanOrEqualToThreshold",
            Self::LessThanThreshold => "LessThanThreshold",
            Self::LessThanOrEqualToThreshold => "LessThanOrEqualToThreshold",
        }
    }

    /// Its sign, as in `value > threshold`.
    pub fn sign(self) -> &'static str {
        match self {
            Self::GreaterThanThreshold => ">",
            Self::GreaterThanOrEqualToThreshold => ">=",
            Self::LessThanThreshold => "<",
            Self::LessThanOrEqualToThreshold => "<=",
        }
    }

    /// Whether a datapoint breaches a threshold.
    pub fn breaches(self, value: f64, threshold: MetricValue) -> bool {
        let threshold = threshold.get();
        match self {
            Self::GreaterThanThreshold => value > threshold,
            Self::GreaterThanOrEqualToThreshold => value >= threshold,
            Self::LessThanThreshold => value < threshold,
            Self::LessThanOrEqualToThreshold => value <= threshold,
        }
    }
}

impl FromStr for Comparison {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|comparison| comparison.as_str() == text);
        found.ok_or_else(|| {
            ParseError::new(
                text,
                "a comparison: GreaterThanThreshold, GreaterThanOrEqualToThreshold, LessThanThreshold or \
                 LessThanOrEqualToThreshold",
            )
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a period is taken for that has no values. CloudWatch's `TreatMissingData`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MissingData {
    /// For what it is: where there is nothing but such periods, there is too little data.
    #[default]
    Missing,
    /// For a datapoint within the threshold.
    NotBreaching,
    /// For a datapoint that breaches it.
    Breaching,
    /// For nothing: the state stays.
    Ignore,
}

impl MissingData {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Missing, Self::NotBreaching, Self::Breaching, Self::Ignore];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotBreaching => "notBreaching",
            Self::Breaching => "breaching",
            Self::Ignore => "ignore",
        }
    }
}

impl FromStr for MissingData {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|missing| missing.as_str() == text);
        found.ok_or_else(|| {
            ParseError::new(text, "how missing data is treated: missing, notBreaching, breaching or ignore")
        })
    }
}

impl fmt::Display for MissingData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an alarm says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmState {
    /// The metric is within the threshold.
    Ok,
    /// It is not.
    Alarm,
    /// The alarm is new, or there is too little data to say.
    #[default]
    InsufficientData,
}

impl AlarmState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Alarm, Self::InsufficientData];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

impl FromStr for AlarmState {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| ParseError::new(text, "an alarm's state: OK, ALARM or INSUFFICIENT_DATA"))
    }
}

impl fmt::Display for AlarmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is done when an alarm comes to a state. Every change is an event beside, and a scaling policy names the alarm that
/// it follows: neither is listed here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlarmActions {
    /// When it comes to `OK`.
    pub ok: Vec<AlarmAction>,
    /// When it comes to `ALARM`.
    pub alarm: Vec<AlarmAction>,
    /// When it comes to `INSUFFICIENT_DATA`.
    pub insufficient_data: Vec<AlarmAction>,
}

impl AlarmActions {
    /// The most actions for one state, as at CloudWatch.
    pub const COUNT_MAX: usize = 5;

    /// What is done when it comes to this state.
    pub fn on(&self, state: AlarmState) -> &[AlarmAction] {
        match state {
            AlarmState::Ok => &self.ok,
            AlarmState::Alarm => &self.alarm,
            AlarmState::InsufficientData => &self.insufficient_data,
        }
    }

    fn check(&self) -> Result<(), AlarmError> {
        let mut counts = AlarmState::ALL.into_iter().map(|state| self.on(state).len());
        match counts.find(|count| *count > Self::COUNT_MAX) {
            Some(count) => Err(AlarmError::Actions { count }),
            None => Ok(()),
        }
    }
}

/// Something that is done when an alarm changes its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlarmAction {
    /// The change is posted to this address.
    Webhook(WebhookUrl),
}

/// Where a change is posted to: an address of HTTP or HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookUrl(Arc<str>);

impl WebhookUrl {
    /// Longest address, in bytes.
    pub const LENGTH_MAX: usize = 2_048;

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address for a log: never what is said in a query, which may be a key.
    pub fn without_query(&self) -> &str {
        let end = self.0.find(['?', '#']).unwrap_or(self.0.len());
        &self.0[..end]
    }
}

impl FromStr for WebhookUrl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']));
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if has_host && is_plain && text.len() <= Self::LENGTH_MAX {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new(text, "an address of HTTP or HTTPS, like \"https://example.com/alarms\""))
        }
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(Comparison, MissingData, AlarmState, WebhookUrl);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measure;

    fn spec(period_ms: u64, evaluation_periods: u32, datapoints_to_alarm: u32) -> AlarmSpec {
        AlarmSpec {
            name: "default/busy".parse().unwrap(),
            metric: SeriesId::of_service("default/web".parse().unwrap(), Measure::CpuUtilization),
            statistic: Statistic::Average,
            period: Span::from_ms(period_ms),
            threshold: MetricValue::from(80),
            comparison: Comparison::GreaterThanThreshold,
            evaluation_periods,
            datapoints_to_alarm,
            missing: MissingData::Missing,
            actions: AlarmActions::default(),
        }
    }

    #[test]
    fn words_print_as_they_parse() {
        for comparison in Comparison::ALL {
            assert_eq!(comparison.to_string().parse(), Ok(comparison));
        }
        for missing in MissingData::ALL {
            assert_eq!(missing.to_string().parse(), Ok(missing));
        }
        for state in AlarmState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("ok".parse::<AlarmState>().is_err() && "Missing".parse::<MissingData>().is_err());
    }

    #[test]
    fn a_threshold_itself_is_breached_only_by_name() {
        let breaching = |value| {
            Comparison::ALL.into_iter().filter(move |comparison| comparison.breaches(value, 5.into()))
        };
        let signs = |value| breaching(value).map(Comparison::sign).collect::<Vec<_>>();
        assert_eq!(
            (signs(4.0), signs(5.0), signs(6.0)),
            (vec!["<", "<="], vec![">=", "<="], vec![">", ">="])
        );
        assert!(signs(f64::NAN).is_empty());
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused() {
        for (period_ms, periods, datapoints) in
            [(1_000, 1, 1), (60_000, 5, 3), (86_400_000, 5, 5), (10_000, 88, 1)]
        {
            assert_eq!(spec(period_ms, periods, datapoints).check(), Ok(()));
        }
        for period_ms in [0, 999, 1_500, 86_401_000] {
            let period = Span::from_ms(period_ms);
            assert_eq!(spec(period_ms, 1, 1).check(), Err(AlarmError::Period { period }));
        }
        for (periods, datapoints) in [(0, 0), (3, 0), (3, 4)] {
            assert_eq!(
                spec(60_000, periods, datapoints).check(),
                Err(AlarmError::Datapoints { datapoints, periods })
            );
        }
        let too_long = AlarmError::TooLong { evaluated: Span::from_ms(8 * 86_400_000) };
        assert_eq!(spec(86_400_000, 6, 1).check(), Err(too_long));
        let resolution = AlarmError::Resolution { evaluated: Span::from_ms(910_000) };
        assert_eq!(spec(10_000, 89, 1).check(), Err(resolution));
        let mut busy = spec(60_000, 1, 1);
        busy.actions.ok = vec![AlarmAction::Webhook("http://a".parse().unwrap()); 6];
        assert_eq!(busy.check(), Err(AlarmError::Actions { count: 6 }));
    }

    #[test]
    fn a_webhook_has_a_host() {
        for good in ["http://localhost:9000/a?b=c", "https://example.com", "http://[::1]:80/"] {
            assert_eq!(good.parse::<WebhookUrl>().unwrap().as_str(), good);
        }
        for (url, shown) in
            [("http://a/b?key=c#d", "http://a/b"), ("http://a#b?c", "http://a"), ("http://a/", "http://a/")]
        {
            assert_eq!(url.parse::<WebhookUrl>().unwrap().without_query(), shown);
        }
        for bad in
            ["", "example.com", "ftp://a", "http://", "https:///a", "http://:80", "http://a b", "http://ä"]
        {
            assert!(bad.parse::<WebhookUrl>().is_err(), "{bad:?} was taken");
        }
    }
}
