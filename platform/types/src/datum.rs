//! What is kept of many values: how many, their sum, the least and the largest, and a sketch of how they lie.
//!
//! It deliberately knows no time: when values came is the business of who keeps them.
//!
//! What always holds: what two data merge into is what one datum of all their values would be, percentiles within the
//! sketch's error; a datum has a bounded size ([`Datum::BYTES_MAX`]), however many values it is of and whatever they are.

use crate::{Percentile, Statistic};

/// Values, one or more of them, as far as they are remembered. None of them is infinite or not a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// How many they are; 1 at least.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How they lie. None where they are all the same (`min == max`), or where nobody knows (`min < max`): then there are no
    /// percentiles.
    pub sketch: Option<Box<Sketch>>,
}

impl Datum {
    /// The most bytes that [`Self::bytes`] says of one: what grows by doubling is half empty at most.
    pub const BYTES_MAX: usize =
        size_of::<Self>() + size_of::<Sketch>() + 2 * Sketch::BUCKETS_MAX * size_of::<(i16, u64)>();

    /// One value; none if it is infinite or not a number.
    pub fn of_value(value: f64) -> Option<Self> {
        Self::of_same(value, 1)
    }

    /// A value that came `count` times; none if it is not finite, its sum is not, or there are none.
    pub fn of_same(value: f64, count: u64) -> Option<Self> {
        let sum = value * count as f64;
        (count > 0 && value.is_finite() && sum.is_finite()).then_some(Self {
            count,
            sum,
            min: value,
            max: value,
            sketch: None,
        })
    }

    /// Values of which only this is known; none where it can't be so.
    pub fn of_set(count: u64, sum: f64, min: f64, max: f64) -> Option<Self> {
        let is_finite = [sum, min, max].into_iter().all(f64::is_finite);
        // A sum of fractions is not quite what the least or the largest comes to.
        let slack = 1e-9 * (min.abs().max(max.abs()) * count as f64);
        let holds = count > 0
            && is_finite
            && min <= max
            && sum >= min * count as f64 - slack
            && sum <= max * count as f64 + slack;
        holds.then_some(Self { count, sum, min, max, sketch: None })
    }

    /// Values of which a sketch was made elsewhere; none where there are none, or a figure is not finite.
    pub fn of_sketch(sum: f64, min: f64, max: f64, sketch: Sketch) -> Option<Self> {
        let is_fit = [sum, min, max].into_iter().all(f64::is_finite) && min <= max;
        let count = sketch.count();
        (count > 0 && is_fit).then(|| Self { count, sum, min, max, sketch: Some(Box::new(sketch)) })
    }

    /// Takes the values of another in.
    pub fn merge(&mut self, other: &Self) {
        let is_constant = self.is_constant() && other.is_constant() && self.min == other.min;
        if !is_constant {
            let constant = self.is_constant().then_some((self.min, self.count));
            let of_constant = || constant.map(|(value, count)| Box::new(Sketch::of(value, count)));
            let sketch = self.sketch.take().or_else(of_constant);
            self.sketch = sketch.and_then(|mut sketch| other.put_into(&mut sketch).then_some(sketch));
        }
        self.count = self.count.saturating_add(other.count);
        // Of finite values the sum may yet be too large to be one.
        self.sum = (self.sum + other.sum).clamp(f64::MIN, f64::MAX);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// What a statistic says of the values; none for a percentile of values whose lie is not known.
    pub fn of(&self, statistic: Statistic) -> Option<f64> {
        match statistic {
            Statistic::Average => Some(self.sum / self.count as f64),
            Statistic::Sum => Some(self.sum),
            Statistic::Minimum => Some(self.min),
            Statistic::Maximum => Some(self.max),
            Statistic::SampleCount => Some(self.count as f64),
            Statistic::Percentile(_) if self.is_constant() => Some(self.min),
            Statistic::Percentile(percentile) => {
                let value = self.sketch.as_ref()?.percentile(percentile)?;
                Some(value.max(self.min).min(self.max))
            }
        }
    }

    /// Bytes that it takes in memory; [`Self::BYTES_MAX`] at most.
    pub fn bytes(&self) -> usize {
        let sketch =
            |sketch: &Sketch| size_of::<Sketch>() + sketch.buckets.capacity() * size_of::<(i16, u64)>();
        size_of::<Self>() + self.sketch.as_deref().map_or(0, sketch)
    }

    fn is_constant(&self) -> bool {
        self.min == self.max
    }

    /// Adds its values to a sketch; says whether it is known how they lie.
    fn put_into(&self, sketch: &mut Sketch) -> bool {
        match &self.sketch {
            Some(more) => sketch.merge(more),
            None if self.is_constant() => sketch.add(self.min, self.count),
            None => return false,
        }
        true
    }
}

/// How values lie: counts of them by buckets, each as wide as its values are far from zero.
///
/// After DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
/// VLDB 2019), with buckets on both sides of zero. As there, what has to be given up is the lowest values: so it does not matter in
/// which order values come, or sketches are merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Places and counts, by place; none twice, none without a count.
    buckets: Vec<(i16, u64)>,
}

impl Sketch {
    /// What a percentile is off by at most, as a share of it; more only of values that share a bucket for want of room.
    pub const ERROR: f64 = 0.05;
    /// The most buckets. Past that, the lowest become one, so that the upper percentiles keep the error; together they span
    /// values from 1 to 8,000,000.
    pub const BUCKETS_MAX: usize = 160;
    /// What a bucket's upper bound is to its lower one.
    const GROWTH: f64 = (1.0 + Self::ERROR) / (1.0 - Self::ERROR);
    /// The place of the values up to 1; those of all finite numbers above zero are positive with it.
    const PLACE_OF_ONE: f64 = 7_500.0;

    /// A value that came `count` times.
    pub fn of(value: f64, count: u64) -> Self {
        let mut sketch = Self::default();
        sketch.add(value, count);
        sketch
    }

    /// From places and counts, as [`Self::buckets`] gives them; none if they are not in order or too many.
    pub fn from_buckets(buckets: Vec<(i16, u64)>) -> Option<Self> {
        let is_ordered = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let is_fit =
            is_ordered && buckets.len() <= Self::BUCKETS_MAX && buckets.iter().all(|(_, count)| *count > 0);
        is_fit.then_some(Self { buckets })
    }

    /// Places and counts, by place. A place means the same in every sketch there ever was.
    pub fn buckets(&self) -> &[(i16, u64)] {
        &self.buckets
    }

    /// Takes a finite value in, `count` times.
    pub fn add(&mut self, value: f64, count: u64) {
        if count > 0 {
            self.put(place(value), count);
        }
    }

    /// Takes the values of another in.
    pub fn merge(&mut self, other: &Self) {
        for (place, count) in &other.buckets {
            self.put(*place, *count);
        }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The least value that the percentile's share of them is not above; none of no values.
    pub fn percentile(&self, percentile: Percentile) -> Option<f64> {
        let rank = percentile.rank(self.count());
        let mut counted = 0_u64;
        let reached = self.buckets.iter().find(|(_, count)| {
            counted = counted.saturating_add(*count);
            counted >= rank
        });
        reached.or(self.buckets.last()).map(|(place, _)| value(*place))
    }

    fn put(&mut self, place: i16, count: u64) {
        match self.buckets.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(found) => self.buckets[found].1 = self.buckets[found].1.saturating_add(count),
            Err(gap) => self.buckets.insert(gap, (place, count)),
        }
        if self.buckets.len() > Self::BUCKETS_MAX {
            let (_, lowest) = self.buckets.remove(0);
            self.buckets[0].1 = self.buckets[0].1.saturating_add(lowest);
        }
    }
}

/// The bucket of a value: 0 of zero, positive above it, negative below.
fn place(value: f64) -> i16 {
    let size = value.abs();
    if size == 0.0 {
        return 0;
    }
    // The sizes of finite numbers have logarithms from -745 to 710: places from 50 to 14,600.
    let place = ((size.ln() / Sketch::GROWTH.ln()).ceil() + Sketch::PLACE_OF_ONE) as i16;
    if value < 0.0 { -place } else { place }
}

/// The value that no value of the bucket is further from than the error.
fn value(place: i16) -> f64 {
    if place == 0 {
        return 0.0;
    }
    let power = f64::from(place.unsigned_abs()) - Sketch::PLACE_OF_ONE;
    let size = Sketch::GROWTH.powf(power) * (1.0 - Sketch::ERROR);
    size.min(f64::MAX).copysign(f64::from(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentile(datum: &Datum, text: &str) -> Option<f64> {
        datum.of(text.parse().unwrap())
    }

    fn merged(values: impl IntoIterator<Item = f64>) -> Datum {
        let mut data = values.into_iter().map(|value| Datum::of_value(value).unwrap());
        let first = data.next().unwrap();
        data.fold(first, |mut datum, more| {
            datum.merge(&more);
            datum
        })
    }

    #[test]
    fn equal_values_need_no_sketch() {
        let datum = merged([3.0; 100]);
        assert_eq!((datum.count, datum.sum, &datum.sketch), (100, 300.0, &None));
        assert_eq!((percentile(&datum, "p50"), datum.of(Statistic::Average)), (Some(3.0), Some(3.0)));
    }

    #[test]
    fn percentiles_are_within_the_error_over_all_magnitudes() {
        for magnitude in [1e-300, 1e-6, 1.0, 1e6, 1e300] {
            for sign in [1.0, -1.0] {
                let datum = merged((1..=1_000).map(|number| sign * magnitude * f64::from(number)));
                for (text, rank) in [("p1", 10.0), ("p50", 500.0), ("p99", 990.0), ("p100", 1_000.0)] {
                    let expected = sign * magnitude * if sign > 0.0 { rank } else { 1_001.0 - rank };
                    let told = percentile(&datum, text).unwrap();
                    assert!(((told - expected) / expected).abs() <= 0.0501, "{text}: {told} for {expected}");
                }
            }
        }
    }

    #[test]
    fn the_extremes_of_numbers_have_places() {
        for number in [f64::MAX, f64::MIN_POSITIVE, 5e-324, f64::MIN, -5e-324] {
            assert_eq!(place(number) > 0, number > 0.0);
            assert!(value(place(number)).is_finite());
        }
        assert_eq!((place(0.0), place(-0.0), value(0)), (0, 0, 0.0));
    }

    #[test]
    fn a_sketch_is_bounded_and_forgets_first_what_is_low() {
        let datum = merged((0..600).map(|power| 1.2_f64.powi(power)));
        let sketch = datum.sketch.as_ref().unwrap();
        assert_eq!((sketch.buckets().len(), sketch.count()), (Sketch::BUCKETS_MAX, 600));
        let told = percentile(&datum, "p99").unwrap();
        let expected = 1.2_f64.powi(593);
        assert!(((told - expected) / expected).abs() <= 0.0501, "{told} for {expected}");
    }

    /// Values as a guest chooses them that wants a sketch to be as large as it can be: of both signs and all magnitudes, and in
    /// between what is no number.
    fn hostile() -> Vec<f64> {
        let magnitudes = (-300..=300).map(|power| 10_f64.powi(power));
        let signed = magnitudes.flat_map(|size| [size, f64::NAN, -size, f64::INFINITY, f64::NEG_INFINITY]);
        signed.chain([0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324]).collect()
    }

    #[test]
    fn whatever_values_come_a_datum_is_bounded_and_its_upper_percentiles_are_right() {
        let mut finite: Vec<f64> = hostile().into_iter().filter(|value| value.is_finite()).collect();
        let mut data = hostile().into_iter().filter_map(Datum::of_value);
        let mut datum = data.next().unwrap();
        for more in data {
            datum.merge(&more);
            assert!(datum.bytes() <= Datum::BYTES_MAX, "{} bytes", datum.bytes());
        }
        finite.sort_by(f64::total_cmp);
        assert_eq!((datum.count, datum.min, datum.max), (finite.len() as u64, f64::MIN, f64::MAX));
        assert!(datum.sum.is_finite());
        assert_eq!(datum.sketch.as_ref().unwrap().buckets().len(), Sketch::BUCKETS_MAX);
        for text in ["p90", "p95", "p99", "p99.9"] {
            let Statistic::Percentile(at) = text.parse().unwrap() else { panic!("{text} is a percentile") };
            let expected = finite[at.rank(datum.count) as usize - 1];
            let told = percentile(&datum, text).unwrap();
            assert!(((told - expected) / expected).abs() <= 0.0501, "{text}: {told} for {expected}");
        }
        let lowest = percentile(&datum, "p0").unwrap();
        assert!(lowest.is_finite() && lowest <= percentile(&datum, "p90").unwrap());
    }

    #[test]
    fn it_does_not_matter_in_which_order_values_come() {
        let values: Vec<f64> = hostile().into_iter().filter(|value| value.is_finite()).collect();
        let forwards = merged(values.iter().copied());
        let backwards = merged(values.iter().rev().copied());
        let (first, second) = values.split_at(values.len() / 3);
        let mut in_two = merged(second.iter().copied());
        in_two.merge(&merged(first.iter().copied()));
        assert_eq!(forwards.sketch, backwards.sketch);
        assert_eq!(forwards.sketch, in_two.sketch);
    }

    #[test]
    fn the_buckets_of_the_most_negative_values_are_given_up_first() {
        let datum = merged((0..600).map(|power| -(1.2_f64.powi(power))));
        let told = percentile(&datum, "p99").unwrap();
        let expected = -(1.2_f64.powi(6));
        assert!(((told - expected) / expected).abs() <= 0.0501, "{told} for {expected}");
    }

    #[test]
    fn of_a_set_that_nobody_looked_into_there_are_no_percentiles() {
        let mut datum = Datum::of_set(10, 50.0, 1.0, 9.0).unwrap();
        assert_eq!((percentile(&datum, "p50"), datum.of(Statistic::Average)), (None, Some(5.0)));
        datum.merge(&Datum::of_value(20.0).unwrap());
        assert_eq!((percentile(&datum, "p50"), datum.of(Statistic::Maximum)), (None, Some(20.0)));
        assert_eq!(percentile(&Datum::of_set(3, 6.0, 2.0, 2.0).unwrap(), "p90"), Some(2.0));
    }

    #[test]
    fn what_can_not_be_is_no_datum() {
        for (count, sum, min, max) in [
            (0, 0.0, 0.0, 0.0),
            (2, 5.0, 1.0, 2.0),
            (2, 1.0, 1.0, 2.0),
            (1, 1.0, 2.0, 1.0),
            (1, f64::NAN, 1.0, 1.0),
        ] {
            assert_eq!(Datum::of_set(count, sum, min, max), None);
        }
        assert!(Datum::of_set(3, 0.1 + 0.1 + 0.1, 0.1, 0.1).is_some());
        assert_eq!((Datum::of_value(f64::INFINITY), Datum::of_same(1.0, 0)), (None, None));
        assert_eq!(Datum::of_same(f64::MAX, 2), None);
    }

    #[test]
    fn buckets_out_of_order_are_no_sketch() {
        let sketch = Sketch::of(1.0, 2);
        assert_eq!(Sketch::from_buckets(sketch.buckets().to_vec()), Some(sketch));
        for bad in [vec![(2, 1), (1, 1)], vec![(1, 1), (1, 1)], vec![(1, 0)]] {
            assert_eq!(Sketch::from_buckets(bad), None);
        }
    }
}
