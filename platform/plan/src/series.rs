//! Metrics with a memory: what is kept of a series and for how long, and what is made of it when somebody asks.
//!
//! It deliberately does not measure, and knows no disk: points come in by their time, and go out by periods.
//!
//! What always holds: what a period is said to have had is what one datum of all its values says; a ring has a point for a
//! second at most, so that its size is bounded by the time it keeps, and knows its size, so that who keeps many can bound them all.

use skiff_types::{Datum, Resolution, Statistic};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Points of a second are kept this long, in milliseconds, and up to a minute longer: whole minutes are forgotten.
pub const SECONDS_KEPT_MS: u64 = 15 * 60_000;
/// Points of a minute are kept this long, in milliseconds; a series that had none for as long is forgotten.
pub const MINUTES_KEPT_MS: u64 = 15 * 86_400_000;
/// How often points are written down, in milliseconds: what a `kill -9` can lose.
pub const WRITE_INTERVAL_MS: u64 = 5_000;
/// The most series of custom metrics.
pub const SERIES_MAX: usize = 10_000;
/// The most of them that guests of one service, or of one family, put.
pub const SERIES_OF_SOURCE_MAX: usize = 200;
/// The most of them that guests of one namespace put, however many services there are in it.
pub const SERIES_OF_GUESTS_MAX: usize = 2_000;
/// The most bytes in memory that the seconds of custom series take, all together.
pub const BYTES_MAX: usize = 256 << 20;
/// The most of them that those of one namespace take which somebody puts by the API.
pub const BYTES_OF_NAMESPACE_MAX: usize = BYTES_MAX / 2;
/// The most of them that those take which guests of one namespace put, however many services there are in it.
pub const BYTES_OF_GUESTS_MAX: usize = 64 << 20;
/// The most of them that those take which guests of one service, or of one family, put: more than [`SERIES_OF_SOURCE_MAX`] series
/// of a value a second do, or six of which every second has as many different values as a sketch tells apart.
pub const BYTES_OF_SOURCE_MAX: usize = 16 << 20;
/// The most periods of one answer: as many as there are minutes.
pub const PERIODS_MAX: u64 = MINUTES_KEPT_MS / Resolution::Minute.span_ms();

/// From when on points of a resolution are kept at `now_ms`, in milliseconds since 1970.
pub fn kept_from_ms(resolution: Resolution, now_ms: u64) -> u64 {
    let kept_ms = match resolution {
        Resolution::Second => SECONDS_KEPT_MS,
        Resolution::Minute => MINUTES_KEPT_MS,
    };
    Resolution::Minute.start_ms(now_ms.saturating_sub(kept_ms))
}

/// The newest points of a series, one for each second that had values.
///
/// Seconds on end with the same single value share a place, so that a gauge that stands still takes 32 bytes; one that moves
/// takes 32 KiB at most. A point of many values has its datum by itself: 2.7 KB at most, where its sketch is full.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    runs: VecDeque<Run>,
    /// What the runs take.
    bytes: usize,
}

/// Seconds on end, all with the same values.
#[derive(Debug, Clone)]
struct Run {
    start_s: u64,
    /// How many seconds; 1 at least, and more only of a point of one value.
    length_s: u64,
    point: Point,
}

/// What came in a second.
#[derive(Debug, Clone)]
enum Point {
    /// One value.
    One(f64),
    /// Several.
    Many(Box<Datum>),
}

impl Ring {
    /// Whether it has no point.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes that its points take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that values of a second take at most where there are none yet of that second.
    pub fn bytes_of(datum: &Datum) -> usize {
        size_of::<Run>() + Point::bytes_of(datum)
    }

    /// Takes values in that came in the second `at_s`, counted from 1970, beside those that it has of it.
    pub fn add(&mut self, at_s: u64, datum: &Datum) {
        let index = self.runs.partition_point(|run| run.end_s() <= at_s);
        match self.runs.get(index) {
            Some(run) if run.start_s <= at_s => self.merge(index, at_s, datum),
            _ => self.insert(index, at_s, datum),
        }
    }

    /// The values of a second.
    pub fn at(&self, at_s: u64) -> Option<Cow<'_, Datum>> {
        self.between(at_s, at_s + 1).next().map(|(_, datum)| datum)
    }

    /// The points of the seconds from `from_s` to before `to_s`, oldest first.
    pub fn between(&self, from_s: u64, to_s: u64) -> impl Iterator<Item = (u64, Cow<'_, Datum>)> {
        let first = self.runs.partition_point(|run| run.end_s() <= from_s);
        let runs = self.runs.range(first..).take_while(move |run| run.start_s < to_s);
        runs.flat_map(move |run| {
            let seconds = run.start_s.max(from_s)..run.end_s().min(to_s);
            seconds.map(move |at_s| (at_s, run.point.datum()))
        })
    }

    /// All values of the minute that begins at `start_ms`.
    pub fn minute(&self, start_ms: u64) -> Option<Datum> {
        let from_s = start_ms / Resolution::Second.span_ms();
        let seconds = Resolution::Minute.span_ms() / Resolution::Second.span_ms();
        let mut points = self.between(from_s, from_s + seconds).map(|(_, datum)| datum);
        let first = points.next()?.into_owned();
        Some(points.fold(first, |mut sum, datum| {
            sum.merge(&datum);
            sum
        }))
    }

    /// Forgets the points of the seconds before `before_s`.
    pub fn forget_before(&mut self, before_s: u64) {
        while self.runs.front().is_some_and(|run| run.end_s() <= before_s) {
            self.bytes -= self.runs.pop_front().map_or(0, |run| run.bytes());
        }
        if let Some(run) = self.runs.front_mut().filter(|run| run.start_s < before_s) {
            run.length_s = run.end_s() - before_s;
            run.start_s = before_s;
        }
        // What was once busy does not hold its memory for ever.
        if self.runs.capacity() > 4 * self.runs.len().max(16) {
            self.runs.shrink_to(2 * self.runs.len());
        }
    }

    /// Forgets the points of the seconds from `from_s` on.
    pub fn forget_from(&mut self, from_s: u64) {
        while self.runs.back().is_some_and(|run| run.start_s >= from_s) {
            self.bytes -= self.runs.pop_back().map_or(0, |run| run.bytes());
        }
        if let Some(run) = self.runs.back_mut() {
            run.length_s = run.length_s.min(from_s - run.start_s);
        }
    }

    /// Puts the point of a second that has none yet before the run at `index`.
    fn insert(&mut self, index: usize, at_s: u64, datum: &Datum) {
        let point = Point::of(datum);
        let before = index.checked_sub(1).and_then(|before| self.runs.get_mut(before));
        match before {
            Some(before) if before.end_s() == at_s && before.point.is_same(&point) => before.length_s += 1,
            _ => self.put(index, Run { start_s: at_s, length_s: 1, point }),
        }
    }

    fn put(&mut self, index: usize, run: Run) {
        self.bytes += run.bytes();
        self.runs.insert(index, run);
    }

    /// Adds to the point of a second within the run at `index`, which is cut around it.
    fn merge(&mut self, index: usize, at_s: u64, datum: &Datum) {
        let run = self.runs.remove(index).expect("it was found");
        self.bytes -= run.bytes();
        let mut values = run.point.datum().into_owned();
        values.merge(datum);
        let parts = [
            (run.start_s, at_s - run.start_s, run.point.clone()),
            (at_s, 1, Point::of(&values)),
            (at_s + 1, run.end_s() - at_s - 1, run.point),
        ];
        let parts = parts.into_iter().filter(|(_, length_s, _)| *length_s > 0);
        for (place, (start_s, length_s, point)) in parts.enumerate() {
            self.put(index + place, Run { start_s, length_s, point });
        }
    }
}

impl Run {
    /// The second after its last one.
    fn end_s(&self) -> u64 {
        self.start_s + self.length_s
    }

    /// Bytes that it takes in memory.
    fn bytes(&self) -> usize {
        match &self.point {
            Point::One(_) => size_of::<Self>(),
            Point::Many(datum) => size_of::<Self>() + datum.bytes(),
        }
    }
}

impl Point {
    fn of(datum: &Datum) -> Self {
        match datum.count {
            1 => Self::One(datum.sum),
            // What is cloned has no room for more, which a second that is over does not need.
            _ => Self::Many(Box::new(datum.clone())),
        }
    }

    /// Bytes that one of it takes beside its run.
    fn bytes_of(datum: &Datum) -> usize {
        if datum.count == 1 { 0 } else { datum.bytes() }
    }

    fn datum(&self) -> Cow<'_, Datum> {
        match self {
            Self::One(value) => {
                Cow::Owned(Datum { count: 1, sum: *value, min: *value, max: *value, sketch: None })
            }
            Self::Many(datum) => Cow::Borrowed(datum),
        }
    }

    /// Whether both are the same single value.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(one), Self::One(other)) => one == other,
            (Self::Many(_), _) | (_, Self::Many(_)) => false,
        }
    }
}

/// Periods of the same length, each with what came in it.
#[derive(Debug, Clone)]
pub struct Periods {
    period_ms: u64,
    first_ms: u64,
    data: Vec<Option<Datum>>,
}

impl Periods {
    /// The periods that what is between the two times falls into, each beginning at a multiple of its length since 1970.
    /// None if they were more than [`PERIODS_MAX`], or a period has no whole seconds.
    pub fn new(period_ms: u64, from_ms: u64, to_ms: u64) -> Option<Self> {
        if period_ms == 0 || !period_ms.is_multiple_of(Resolution::Second.span_ms()) {
            return None;
        }
        let first_ms = from_ms - from_ms % period_ms;
        let count = to_ms.saturating_sub(first_ms).div_ceil(period_ms);
        (count <= PERIODS_MAX).then(|| Self { period_ms, first_ms, data: vec![None; count as usize] })
    }

    /// The last `count` periods up to `end_ms`, which may begin at any second. None if they were more than [`PERIODS_MAX`], began
    /// before 1970, or a period or their end has no whole seconds.
    pub fn until(period_ms: u64, end_ms: u64, count: u32) -> Option<Self> {
        let is_whole = |ms: u64| ms.is_multiple_of(Resolution::Second.span_ms());
        if period_ms == 0 || !is_whole(period_ms) || !is_whole(end_ms) || u64::from(count) > PERIODS_MAX {
            return None;
        }
        let first_ms = end_ms.checked_sub(period_ms.checked_mul(u64::from(count))?)?;
        Some(Self { period_ms, first_ms, data: vec![None; count as usize] })
    }

    /// Whether each point of a minute falls into one period.
    pub fn have_whole_minutes(&self) -> bool {
        let is_whole = |ms: u64| ms.is_multiple_of(Resolution::Minute.span_ms());
        is_whole(self.period_ms) && is_whole(self.first_ms)
    }

    /// When the first of them begins.
    pub fn from_ms(&self) -> u64 {
        self.first_ms
    }

    /// When the last of them ends.
    pub fn to_ms(&self) -> u64 {
        self.first_ms + self.data.len() as u64 * self.period_ms
    }

    /// Takes in what came at a time; what falls into none of them is left out.
    pub fn add(&mut self, at_ms: u64, datum: &Datum) {
        let Some(since_ms) = at_ms.checked_sub(self.first_ms) else { return };
        let index = usize::try_from(since_ms / self.period_ms).unwrap_or(usize::MAX);
        match self.data.get_mut(index) {
            Some(Some(values)) => values.merge(datum),
            Some(none) => *none = Some(datum.clone()),
            None => {}
        }
    }

    /// What a statistic says of each of them, oldest first: when it begins and the value; none where nothing came.
    pub fn values(&self, statistic: Statistic) -> Vec<(u64, Option<f64>)> {
        let value = |(index, datum): (usize, &Option<Datum>)| {
            let at_ms = self.first_ms + index as u64 * self.period_ms;
            (at_ms, datum.as_ref().and_then(|datum| datum.of(statistic)))
        };
        self.data.iter().enumerate().map(value).collect()
    }
}

#[cfg(test)]
mod tests;
