//! Histograms of times, with fixed bounds so that rows of different workers add up.

use crate::account::Counter;

/// Upper bounds of the buckets in microseconds; one more bucket takes what is above the last.
pub const BUCKETS_US: [u64; 19] = [
    10, 20, 35, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000,
    2_500_000, 10_000_000,
];

/// Counts by bucket, and the sum of what was counted.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS_US.len() + 1],
    sum_ns: Counter,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistogramTotals {
    /// Counts by bucket of [`BUCKETS_US`], not cumulated; the last is without bound.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// The sum of all times, in nanoseconds.
    pub sum_ns: u64,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_bucket_that_bounds_it() {
        let histogram = Histogram::default();
        for ns in [0, 10_000, 10_001, 20_000, 10_000_000_000, 10_000_000_001] {
            histogram.record_ns(ns);
        }
        let mut totals = HistogramTotals::default();
        histogram.add_to(&mut totals);
        assert_eq!((totals.buckets[0], totals.buckets[1]), (2, 2));
        assert_eq!((totals.buckets[18], totals.buckets[19]), (1, 1));
        assert_eq!(totals.count(), 6);
    }
}
