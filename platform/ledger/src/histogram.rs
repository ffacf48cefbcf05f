//! Histograms of times, with fixed bounds so that rows of different workers add up.

use crate::account::Counter;

/// Upper bounds of the buckets in microseconds; one more bucket takes what is above the last.
///
/// None is more than 1.6 times the one before, so that what is between two of them is known well enough for a percentile.
pub const BUCKETS_US: [u64; 39] = [
    10, 14, 20, 27, 35, 50, 75, 100, 150, 200, 250, 350, 500, 700, 1_000, 1_600, 2_500, 3_500, 5_000, 7_000,
    10_000, 16_000, 25_000, 35_000, 50_000, 70_000, 100_000, 160_000, 250_000, 350_000, 500_000, 700_000,
    1_000_000, 1_600_000, 2_500_000, 3_500_000, 5_000_000, 7_000_000, 10_000_000,
];

/// Counts by bucket, and the sum of what was counted.
#[repr(C)]
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS_US.len() + 1],
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum_ns: Counter::default() }
    }
}

impl Histogram {
    /// Counts one time.
    pub fn record_ns(&self, ns: u64) {
        let us = ns.div_ceil(1_000);
        let bucket = BUCKETS_US.partition_point(|&bound| bound < us);
        self.buckets[bucket].add(1);
        self.sum_ns.add(ns);
    }

    pub(crate) fn add_to(&self, totals: &mut HistogramTotals) {
        for (total, bucket) in totals.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.get();
        }
        totals.sum_ns += self.sum_ns.get();
    }

    pub(crate) fn clear(&self) {
        self.buckets.iter().for_each(Counter::clear);
        self.sum_ns.clear();
    }
}

/// A histogram summed over rows, or kept from rows that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramTotals {
    /// Counts by bucket of [`BUCKETS_US`], not cumulated; the last is without bound.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// The sum of all times, in nanoseconds.
    pub sum_ns: u64,
}

impl Default for HistogramTotals {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS_US.len() + 1], sum_ns: 0 }
    }
}

impl HistogramTotals {
    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Self) {
        for (total, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *total += more;
        }
        self.sum_ns += other.sum_ns;
    }

    /// What was counted since `earlier`: 0 for what is below it.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = Self { sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns), ..*self };
        for (count, before) in since.buckets.iter_mut().zip(&earlier.buckets) {
            *count = count.saturating_sub(*before);
        }
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_bucket_that_bounds_it() {
        let histogram = Histogram::default();
        for ns in [0, 10_000, 10_001, 14_000, 10_000_000_000, 10_000_000_001] {
            histogram.record_ns(ns);
        }
        let mut totals = HistogramTotals::default();
        histogram.add_to(&mut totals);
        assert_eq!((totals.buckets[0], totals.buckets[1]), (2, 2));
        assert_eq!((totals.buckets[38], totals.buckets[39]), (1, 1));
        assert_eq!(totals.count(), 6);
    }

    #[test]
    fn no_bucket_is_too_wide_for_a_percentile() {
        assert!(BUCKETS_US.windows(2).all(|pair| pair[0] < pair[1] && pair[1] * 10 <= pair[0] * 16));
    }

    #[test]
    fn what_was_counted_since_is_the_difference() {
        let mut before = HistogramTotals::default();
        (before.buckets[1], before.buckets[2], before.sum_ns) = (5, 1, 7);
        let mut after = before;
        (after.buckets[1], after.sum_ns) = (8, 17);
        let since = after.since(&before);
        assert_eq!((since.count(), since.buckets[1], since.sum_ns), (3, 3, 10));
        assert_eq!(before.since(&after), HistogramTotals::default());
    }
}
