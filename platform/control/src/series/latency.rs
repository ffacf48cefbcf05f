//! Times that the ledger counted by buckets, as values of a series.
//!
//! What always holds: the sum is the ledger's; what lies in a bucket is taken to lie evenly in it, so that a percentile is off
//! by less than the bucket is wide.

use skiff_ledger::{BUCKETS_US, HistogramTotals};
use skiff_types::{Datum, Sketch};

/// Parts of a bucket that its times are spread over, if there are as many.
const PARTS: u64 = 4;
/// What a time above the last bound is taken for, in microseconds.
const MOST_US: u64 = 2 * BUCKETS_US[BUCKETS_US.len() - 1];

/// What was counted, in seconds; none if nothing was.
pub(super) fn datum(times: &HistogramTotals) -> Option<Datum> {
    let bounds = |index: usize| {
        let low_us = index.checked_sub(1).map_or(0, |below| BUCKETS_US[below]);
        let high_us = BUCKETS_US.get(index).copied().unwrap_or(MOST_US);
        (seconds(low_us), seconds(high_us))
    };
    let mut sketch = Sketch::default();
    let filled = times.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
    for (index, count) in filled.clone() {
        let (low, high) = bounds(index);
        let parts = PARTS.min(*count);
        for part in 0..parts {
            // The first parts take what does not go round.
            let share = count / parts + u64::from(part < count % parts);
            let middle = (2 * part + 1) as f64 / (2 * parts) as f64;
            sketch.add(low + (high - low) * middle, share);
        }
    }
    let mut indices = filled.map(|(index, _)| index);
    let first = indices.next()?;
    let last = indices.next_back().unwrap_or(first);
    Datum::of_sketch(times.sum_ns as f64 / 1e9, bounds(first).0, bounds(last).1, sketch)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times as a row of the ledger would count them.
    fn counted(times_us: impl Iterator<Item = u64>) -> HistogramTotals {
        let mut totals = HistogramTotals::default();
        for us in times_us {
            totals.buckets[BUCKETS_US.partition_point(|bound| *bound < us)] += 1;
            totals.sum_ns += us * 1_000;
        }
        totals
    }

    #[test]
    fn nothing_counted_is_no_datum() {
        assert_eq!(datum(&HistogramTotals::default()), None);
    }

    #[test]
    fn percentiles_of_times_that_spread_are_near_the_truth() {
        let datum = datum(&counted((1..=10_000).map(|number| number * 10))).unwrap();
        assert_eq!(datum.count, 10_000);
        assert!((datum.sum - 500.05).abs() < 1e-6, "{}", datum.sum);
        for (text, expected) in [("p50", 0.05), ("p90", 0.09), ("p99", 0.099)] {
            let told = datum.of(text.parse().unwrap()).unwrap();
            assert!((told - expected).abs() / expected < 0.1, "{text} is {told}");
        }
    }

    #[test]
    fn a_time_above_all_bounds_is_within_its_bucket() {
        let datum = datum(&counted([20, 60_000_000].into_iter())).unwrap();
        assert_eq!((datum.min, datum.max), (0.000_014, 20.0));
        assert!(datum.of("p100".parse().unwrap()).unwrap() >= 10.0);
    }
}
