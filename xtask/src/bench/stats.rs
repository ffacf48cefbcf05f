//! Medians and spreads of rounds.

use serde::Serialize;
use std::fmt;

/// What some rounds showed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[0], values[values.len() - 1]);
        Self { median: f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]), low, high }
    }
}

impl From<f64> for Spread {
    fn from(value: f64) -> Self {
        Self { median: value, low: value, high: value }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, low, high } = *self;
        if low == high {
            return f.write_str(&number(median));
        }
        write!(f, "{} ({}–{})", number(median), number(low), number(high))
    }
}

/// A number with three digits, or all those before the point.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The value at a share of the values, by nearest rank.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_ends() {
        let spread = Spread::of([30.0, 10.0, 20.0]);
        assert_eq!((spread.median, spread.low, spread.high), (20.0, 10.0, 30.0));
        assert_eq!(Spread::of([1.0, 2.0, 4.0, 8.0]).median, 3.0);
        assert_eq!(spread.to_string(), "20.0 (10.0–30.0)");
        assert_eq!(Spread::of([5_000.4]).to_string(), "5000");
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let values = || (1..=100).rev().map(f64::from);
        assert_eq!([0.5, 0.99, 1.0].map(|share| quantile(values(), share)), [50.0, 99.0, 100.0]);
        assert_eq!(quantile([7.0], 0.5), 7.0);
    }
}
