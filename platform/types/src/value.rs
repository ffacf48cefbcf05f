//! A number that a user writes down to hold values against: a threshold, a target, a bound.
//!
//! It deliberately has no unit: what it is held against has one.

use crate::text::{ParseError, serde_as_text};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A finite number, written as decimals: `80`, `-0.5`, `1e6`. It equals itself, so what holds it can be compared.
#[derive(Debug, Clone, Copy)]
pub struct MetricValue(f64);

impl MetricValue {
    /// From a number; none if it is infinite or not one.
    pub fn new(value: f64) -> Option<Self> {
        // There is one zero.
        value.is_finite().then_some(Self(value + 0.0))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl From<u32> for MetricValue {
    fn from(value: u32) -> Self {
        Self(f64::from(value))
    }
}

impl PartialEq for MetricValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for MetricValue {}

impl PartialOrd for MetricValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MetricValue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl FromStr for MetricValue {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = text.parse().ok().and_then(Self::new);
        parsed.ok_or_else(|| ParseError::new(text, "a number, like 80 or 0.5"))
    }
}

impl fmt::Display for MetricValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

serde_as_text!(MetricValue);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_prints_as_it_parses() {
        for text in ["80", "0.5", "-3", "0", "99.95"] {
            assert_eq!(text.parse::<MetricValue>().unwrap().to_string(), text);
        }
        assert_eq!("1e3".parse::<MetricValue>().unwrap(), MetricValue::from(1_000));
        for bad in ["", "inf", "-inf", "NaN", "1e999", "80%", "1,5"] {
            assert!(bad.parse::<MetricValue>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn there_is_one_zero_and_an_order() {
        let value = |text: &str| text.parse::<MetricValue>().unwrap();
        assert_eq!((value("-0"), value("-0").to_string()), (value("0"), "0".to_owned()));
        assert!(value("-1") < value("0") && value("0") < value("0.1"));
    }
}
