//! Which state an alarm is in, by the latest datapoints of its metric: M of the last N must breach the threshold.
//!
//! Where there are datapoints enough, what missing data is treated as does not matter: as many are looked at as the alarm has
//! evaluation periods, the latest ones, from further back where some are missing. Where there are too few, the rest is filled
//! in as the alarm says. Nothing is filled in for `missing` and `ignore`: then datapoints that all breach make an `ALARM` once
//! the oldest of them is as old as M periods, though they be fewer than M; before that the next one may turn out well.
//! Source: CloudWatch, "Configuring how CloudWatch alarms treat missing data", whose tables are tests of this.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html>
//!
//! It deliberately knows no clock: which datapoints there are by now is for who calls.
//!
//! What always holds: a state becomes `INSUFFICIENT_DATA` only where there is no datapoint at all, and `ALARM` never where
//! fewer than M would breach if all that are missing did.

use skiff_types::{AlarmSpec, AlarmState, MissingData};

/// The datapoints that a reason names.
const NAMED_MAX: usize = 10;

/// What an alarm is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Its state.
    pub state: AlarmState,
    /// A sentence for people.
    pub reason: String,
}

/// The latest datapoints of an alarm, as far as they matter.
struct Seen {
    /// Real ones, the latest first, at most as many as there are evaluation periods.
    values: Vec<f64>,
    /// How many of them breach.
    breaching: u32,
    /// How many periods ago the oldest of them was; 1 for the latest period.
    oldest: u32,
    /// How many are missing to the evaluation periods.
    missing: u32,
}

/// Evaluates an alarm that was in state `before`. `points` are its metric's, a period each, the oldest first and the last one
/// of the period that has just ended; what goes beyond [`AlarmSpec::evaluation_range`] is not looked at, and what falls short
/// of it is missing.
pub fn evaluate(spec: &AlarmSpec, points: &[Option<f64>], before: AlarmState) -> Evaluation {
    let seen = Seen::of(spec, points);
    let needed = spec.datapoints_to_alarm;
    let by_count = |breaching: u32| if breaching >= needed { AlarmState::Alarm } else { AlarmState::Ok };
    let real = by_count(seen.breaching);
    if seen.missing == 0 || real == AlarmState::Alarm {
        return Evaluation { state: real, reason: seen.reason(spec, "") };
    }
    let has_any = !seen.values.is_empty();
    let all_breach = has_any && seen.breaching as usize == seen.values.len();
    match spec.missing {
        MissingData::NotBreaching => Evaluation {
            state: AlarmState::Ok,
            reason: seen.reason(spec, ", what is missing counts as within it"),
        },
        MissingData::Breaching => Evaluation {
            state: by_count(seen.breaching.saturating_add(seen.missing)),
            reason: seen.reason(spec, ", what is missing counts as beyond it"),
        },
        MissingData::Missing if !has_any => {
            Evaluation { state: AlarmState::InsufficientData, reason: nothing(spec, "") }
        }
        MissingData::Missing if all_breach && seen.oldest >= needed => Evaluation {
            state: AlarmState::Alarm,
            reason: seen.reason(spec, ", and nothing better has come since the oldest of them"),
        },
        MissingData::Missing => Evaluation { state: AlarmState::Ok, reason: seen.reason(spec, "") },
        MissingData::Ignore if !has_any => {
            Evaluation { state: before, reason: nothing(spec, ": the state stays") }
        }
        MissingData::Ignore if all_breach => Evaluation {
            state: before,
            reason: seen.reason(spec, ", what is missing is ignored: the state stays"),
        },
        MissingData::Ignore => Evaluation { state: AlarmState::Ok, reason: seen.reason(spec, "") },
    }
}

impl Seen {
    fn of(spec: &AlarmSpec, points: &[Option<f64>]) -> Self {
        let ages = 1..=spec.evaluation_range();
        let real = ages.zip(points.iter().rev()).filter_map(|(age, point)| {
            // What is not a number was not measured.
            point.filter(|value| !value.is_nan()).map(|value| (age, value))
        });
        let real: Vec<(u32, f64)> = real.take(spec.evaluation_periods as usize).collect();
        let values: Vec<f64> = real.iter().map(|(_, value)| *value).collect();
        let breaches = |value: &&f64| spec.comparison.breaches(**value, spec.threshold);
        Self {
            breaching: values.iter().filter(breaches).count() as u32,
            oldest: real.last().map_or(0, |(age, _)| *age),
            missing: spec.evaluation_periods - real.len() as u32,
            values,
        }
    }

    /// For people, in the shape of CloudWatch's `StateReason`.
    fn reason(&self, spec: &AlarmSpec, beside: &str) -> String {
        let named: Vec<String> = self.values.iter().take(NAMED_MAX).map(|value| rounded(*value)).collect();
        let more = if self.values.len() > NAMED_MAX { ", ..." } else { "" };
        format!(
            "{} of the last {} datapoints [{}{more}] were {} {}{beside} ({} of {} are needed for ALARM)",
            self.breaching,
            self.values.len(),
            named.join(", "),
            spec.comparison.sign(),
            spec.threshold,
            spec.datapoints_to_alarm,
            spec.evaluation_periods,
        )
    }
}

fn nothing(spec: &AlarmSpec, beside: &str) -> String {
    format!("no datapoints were received for {} periods of {}{beside}", spec.evaluation_range(), spec.period)
}

/// A number with three digits behind the point, where it has any; a small one with three of those that it begins with.
fn rounded(value: f64) -> String {
    let magnitude = value.abs().log10();
    if value != 0.0 && !(-9.0..15.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let zeros = if value == 0.0 { 0.0 } else { -magnitude.floor() };
    let digits = (2.0 + zeros).max(3.0) as usize;
    format!("{value:.digits$}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
