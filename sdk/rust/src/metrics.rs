//! Metrics of the component's own, which the platform keeps beside what it measures by itself: `skiff metrics orders
//! --dimension service=shop` draws them, and alarms and scaling policies may go by them.
//!
//! ```
//! # fn main() -> Result<(), skiff_sdk::metrics::Error> {
//! skiff_sdk::metrics::put("orders", 1.0)?;
//! skiff_sdk::metrics::put_with("orders/amount", &[("currency", "eur")], 12.5)?;
//! # Ok(())
//! # }
//! ```
//!
//! A value counts as of now, and is told of in the second that it came in: how many there were, their sum, the least and the
//! largest, and percentiles. Putting one takes a call of the host and nothing else: the platform gathers what comes of one
//! metric, so put each value as it comes.
//!
//! To what the component says the platform adds whose the values are, as the dimension `service`, or `family` for a task that
//! no service runs; no component can say that itself. A service has 200 metrics, counted by name and dimensions, all services
//! of a namespace together 2,000, and a task puts values of some 50 of them all the time: keep what has no end of values (a user,
//! a path) out of the dimensions.

use std::fmt;

/// Why a value was not taken. The component may well go on as if it had been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The metric has no name that can be kept: a letter, then letters, digits, `_`, `.`, `/` and `-`, 64 at most; or it is what
    /// the platform itself measures, as `Backlog` with the dimension `queue` is.
    InvalidMetric,
    /// The dimensions can't be kept: three at most, each name once, lower-case letters, digits and dashes; a value of 1 to 128
    /// bytes without commas and control characters; neither `service` nor `family`.
    InvalidDimensions,
    /// The value is infinite or not a number.
    InvalidValue,
    /// The task has put values of too many metrics within this second. The value is dropped, and counted as such.
    TooMany,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidMetric => {
                "this is no name for a metric of one's own: give it a letter, then letters, digits, '_', '.', '/' or \
                 '-', 64 at most, and none of what the platform itself measures with such a dimension"
            }
            Self::InvalidDimensions => {
                "these dimensions can't be kept: give a metric three at most, each name once (a-z, 0-9 and '-'; \
                 not service or family) with a value of 1 to 128 bytes without commas and control characters"
            }
            Self::InvalidValue => "the value of a metric is infinite or not a number",
            Self::TooMany => {
                "a value was dropped: values of too many metrics come at once; use fewer names and values of \
                 dimensions"
            }
        })
    }
}

impl std::error::Error for Error {}

/// Adds a value to a metric.
pub fn put(metric: &str, value: f64) -> Result<(), Error> {
    put_with(metric, &[], value)
}

/// Adds a value to that of a metric which has these dimensions: pairs of a name and a value.
pub fn put_with(metric: &str, dimensions: &[(&str, &str)], value: f64) -> Result<(), Error> {
    crate::runtime::put_metric(metric, dimensions, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_host_only_the_value_is_looked_at() {
        assert_eq!(put("orders", -0.5), Ok(()));
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(put_with("orders", &[("zone", "a")], value), Err(Error::InvalidValue));
        }
    }
}
