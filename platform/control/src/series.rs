//! The series: what was measured, the newest of it in memory by the second, all of it on the disk, and what anybody asks of it.
//!
//! It deliberately does not measure ([`sampler`] does) and decides nothing: how long what is kept is `plan::series`'s to say.
//!
//! What always holds: what is said of a period is made of points of a second where they are kept, of points of a minute
//! before, and of no moment twice. A point of a minute is on the disk before the seconds that it is made of are forgotten,
//! unless the disk fails all that time.
//!
//! Bounds: the newest 15 to 16 minutes of a series take 32 KiB where a second has a single value, some 300 bytes more for each
//! second of many values as latencies lie, and 2.6 MB where every sketch is full. Of tasks that work [`TASKS_SAMPLED_MAX`]
//! are sampled, and those of tasks that are gone are forgotten; of custom series there are [`SERIES_MAX`], which take
//! [`skiff_plan::series::BYTES_MAX`] together, of both of which guests have so much by service or family, and by namespace, as
//! [`guests`] says.

mod glance;
mod guests;
mod latency;
mod queues;
mod rules;
mod sampler;

pub(crate) use glance::Glances;
pub(crate) use queues::QueueSampler;
pub(crate) use rules::RuleSampler;
pub(crate) use sampler::Sampler;

use guests::{NoBytes, Sources};
use skiff_plan::series::{Periods, Ring, SERIES_MAX, kept_from_ms};
use skiff_ports::metrics::GuestMetrics;
use skiff_ports::series::{SeriesLog, SeriesPoint, SeriesQuery};
use skiff_ports::store::StoreError;
use skiff_types::{Datum, MetricOf, QualifiedName, Resolution, SeriesId, Statistic, TaskId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who asked for a series gets its values for this long even if nothing moves, in milliseconds.
const ASKED_MS: u64 = 15 * 60_000;
/// A look so much before the one before it tells that the clock was put back, in milliseconds.
const PUT_BACK_MS: u64 = 5_000;
/// Tasks that are sampled by themselves at a time.
const TASKS_SAMPLED_MAX: usize = 2_000;

/// The series. Shared by who measures, who puts values of their own, and who asks.
pub(crate) struct Series {
    log: Arc<dyn SeriesLog>,
    kept: Mutex<Kept>,
    /// Held from before points are taken to be written until they are on the disk.
    writing: tokio::sync::Mutex<()>,
    /// Requests that came to services in the second that ended amid the last two whole ones and the next; none once that is over.
    glance: Mutex<BTreeMap<QualifiedName, u64>>,
    /// Values of guests that there was no room for, here or on their way.
    values_dropped: AtomicU64,
}

/// What is in memory.
#[derive(Default)]
struct Kept {
    /// All series that there are, those that have nothing but minutes on the disk among them.
    series: BTreeMap<SeriesId, One>,
    /// How many of them are custom ones, what those take, and whose guests put them.
    sources: Sources,
    /// Until when what somebody asked for is wanted even if nothing moves.
    asked: HashMap<SeriesId, u64>,
    /// Seconds before this time are not in memory; a whole minute.
    horizon_ms: u64,
    /// When Skiff measured last.
    measured_ms: u64,
}

/// One series.
#[derive(Default)]
struct One {
    ring: Ring,
    /// When its newest point begins.
    last_ms: u64,
    /// Seconds that are not on the disk as they are here.
    unwritten_s: BTreeSet<u64>,
    /// When minutes begin that are not on the disk as they are here.
    minutes_ms: BTreeSet<u64>,
}

impl One {
    fn forget_from(&mut self, from_s: u64) {
        self.ring.forget_from(from_s);
        self.unwritten_s.split_off(&from_s);
        let from_ms = from_s * Resolution::Second.span_ms();
        self.minutes_ms.split_off(&from_ms);
        self.last_ms = self.last_ms.min(from_ms.saturating_sub(Resolution::Second.span_ms()));
    }
}

/// There is no room for values of somebody's own.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    /// Custom series would be more than there may be.
    #[error(
        "there are {there} custom series, and with these there would be {more} more than the {max} that there may be; \
         use fewer names and values of dimensions: a series that gets no values for 15 days is forgotten",
        max = SERIES_MAX
    )]
    Series { there: usize, more: usize },
    /// Their seconds would take more memory than they may.
    #[error(transparent)]
    Bytes(#[from] NoBytes),
}

/// Values of guests that were dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// How many.
    pub(crate) values: u64,
    /// One of the series that there was no room for here, and what there was too much of.
    pub(crate) why: Option<(SeriesId, &'static str)>,
}

/// Why there are no values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValuesError {
    /// Too many periods, or such that have no whole seconds.
    #[error("the periods are too many, or have no whole seconds")]
    Periods,
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Series {
    /// Without a past.
    pub(crate) fn new(log: Arc<dyn SeriesLog>) -> Self {
        Self {
            log,
            kept: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            glance: Mutex::default(),
            values_dropped: AtomicU64::default(),
        }
    }

    /// Takes up what the log has, before anything is put.
    pub(crate) async fn take_up(&self, now_ms: u64) -> Result<(), StoreError> {
        let known = self.log.list().await?;
        // A minute on the disk has its seconds there for as long as they are kept.
        let mut kept = Kept { horizon_ms: kept_from_ms(Resolution::Second, now_ms), ..Kept::default() };
        let mut written_ms = HashMap::new();
        for known in known {
            let one = kept.one(&known.series);
            one.last_ms = known.last_second_ms.max(known.last_minute_ms);
            let measured_ms = if is_custom(&known.series) { 0 } else { one.last_ms };
            kept.measured_ms = kept.measured_ms.max(measured_ms);
            written_ms.insert(known.series, known.last_minute_ms);
        }
        // A minute at a time: all of them are many more than are to be in memory twice.
        let mut from_ms = 0;
        loop {
            let points = self.log.seconds(from_ms).await?;
            let Some(last) = points.last() else { break };
            from_ms = last.at_ms + Resolution::Second.span_ms();
            for point in points {
                let minute_ms = Resolution::Minute.start_ms(point.at_ms);
                kept.horizon_ms = kept.horizon_ms.min(minute_ms);
                // There may be more on the disk than was to be in memory when it was written.
                if is_custom(&point.series) && !kept.sources.have_bytes() {
                    self.values_dropped.fetch_add(point.datum.count, Relaxed);
                    continue;
                }
                kept.put(&point.series, seconds_of(point.at_ms), &point.datum);
                let one = kept.one(&point.series);
                if written_ms.get(&point.series).is_none_or(|written_ms| minute_ms > *written_ms) {
                    one.minutes_ms.insert(minute_ms);
                }
            }
        }
        *self.kept() = kept;
        Ok(())
    }

    /// Takes in what Skiff measured in the second that `at_ms` falls into.
    pub(crate) fn put(&self, at_ms: u64, points: &[(SeriesId, Datum)]) {
        self.set_glance(BTreeMap::new());
        let mut kept = self.kept();
        kept.measured_at(at_ms);
        points.iter().for_each(|(series, datum)| kept.add(series, at_ms, datum));
    }

    /// Takes in somebody's own values of one namespace with their times, all of them or none.
    pub(crate) fn put_custom(&self, points: &[(SeriesId, u64, Datum)]) -> Result<(), NoRoom> {
        let mut kept = self.kept();
        kept.check_series(points)?;
        if let Some((SeriesId { of: MetricOf::Custom(namespace), .. }, ..)) = points.first() {
            let bytes = points.iter().map(|(_, _, datum)| Ring::bytes_of(datum)).sum();
            kept.sources.check_bytes(namespace, bytes)?;
        }
        kept.add_all(points);
        Ok(())
    }

    /// Takes in what Skiff itself counts as custom series, all of it or nothing. A value a second of each series: how many those are
    /// bounds what they take, whatever others put.
    pub(crate) fn put_counted(&self, points: &[(SeriesId, u64, Datum)]) -> Result<(), NoRoom> {
        let mut kept = self.kept();
        kept.check_series(points)?;
        kept.add_all(points);
        Ok(())
    }

    /// Takes in what guests put, each point by itself; says how many values were dropped, here and on their way.
    pub(crate) fn put_of_guests(&self, came: GuestMetrics, now_ms: u64) -> Dropped {
        let GuestMetrics { points, dropped } = came;
        let mut dropped = Dropped { values: dropped, why: None };
        let mut kept = self.kept();
        for point in points {
            let count = point.count();
            // Nor is it a guest's to say what Skiff itself counts.
            let values = point.values().filter(|(series, ..)| series.own_dimension().is_none());
            let why = match values {
                Some((series, at_ms, datum)) => match kept.too_much_for(&series) {
                    None => {
                        kept.add(&series, at_ms.min(now_ms), &datum);
                        continue;
                    }
                    Some(what) => Some((series, what)),
                },
                None => None,
            };
            dropped.values = dropped.values.saturating_add(count);
            dropped.why = dropped.why.or(why);
        }
        self.values_dropped.fetch_add(dropped.values, Relaxed);
        dropped
    }

    /// How many values of guests were dropped since the start.
    pub(crate) fn values_dropped(&self) -> u64 {
        self.values_dropped.load(Relaxed)
    }

    /// What a statistic says of the periods of a series that what is between the two times falls into, oldest first: when each
    /// begins, and its value if anything came. Periods without whole minutes have none where seconds are no longer kept.
    ///
    /// What is asked for is measured from now on, for as long as it is asked for again and again.
    pub(crate) async fn values(
        &self,
        series: &SeriesId,
        statistic: Statistic,
        period_ms: u64,
        from_ms: u64,
        to_ms: u64,
    ) -> Result<Vec<(u64, Option<f64>)>, ValuesError> {
        let periods = Periods::new(period_ms, from_ms, to_ms).ok_or(ValuesError::Periods)?;
        self.fill(series, statistic, periods, to_ms).await
    }

    /// The same of the last `count` periods up to `end_ms`, which need not begin at a multiple of their length.
    pub(crate) async fn latest(
        &self,
        series: &SeriesId,
        statistic: Statistic,
        period_ms: u64,
        end_ms: u64,
        count: u32,
    ) -> Result<Vec<(u64, Option<f64>)>, ValuesError> {
        let periods = Periods::until(period_ms, end_ms, count).ok_or(ValuesError::Periods)?;
        self.fill(series, statistic, periods, end_ms).await
    }

    async fn fill(
        &self,
        series: &SeriesId,
        statistic: Statistic,
        mut periods: Periods,
        asked_ms: u64,
    ) -> Result<Vec<(u64, Option<f64>)>, ValuesError> {
        let horizon_ms = self.kept().fill(series, asked_ms, &mut periods);
        let (from_ms, to_ms) = (periods.from_ms(), periods.to_ms().min(horizon_ms));
        if from_ms < to_ms && periods.have_whole_minutes() {
            let resolution = Resolution::Minute;
            let query = SeriesQuery { series: series.clone(), resolution, from_ms, to_ms };
            for (at_ms, datum) in self.log.read(query).await? {
                periods.add(at_ms, &datum);
            }
        }
        Ok(periods.values(statistic))
    }

    /// What a statistic says of a series in the second that ended amid the last whole one and the next, where `running` tasks had
    /// what came in it; none once that is over, and of all but how many requests came to a service that is scaled.
    pub(crate) fn glanced(&self, series: &SeriesId, statistic: Statistic, running: f64) -> Option<f64> {
        let glance = self.glance.lock().unwrap_or_else(PoisonError::into_inner);
        glance::value(&glance, series, statistic, running)
    }

    fn set_glance(&self, glance: BTreeMap<QualifiedName, u64>) {
        *self.glance.lock().unwrap_or_else(PoisonError::into_inner) = glance;
    }

    /// Has a series measured for a while even if nothing moves, as if somebody had asked for its values.
    pub(crate) fn ask(&self, series: &SeriesId, now_ms: u64) {
        self.kept().ask(series, now_ms);
    }

    /// The series that are such, each with when its newest point begins.
    pub(crate) fn list(&self, is_such: impl Fn(&SeriesId) -> bool) -> Vec<(SeriesId, u64)> {
        let kept = self.kept();
        let such = kept.series.iter().filter(|(series, _)| is_such(series));
        such.map(|(series, one)| (series.clone(), one.last_ms)).collect()
    }

    /// Whose series somebody asked for lately; forgets who was not asked for any more.
    fn asked(&self, now_ms: u64) -> BTreeSet<MetricOf> {
        let mut kept = self.kept();
        kept.asked.retain(|_, until_ms| *until_ms > now_ms);
        kept.asked.keys().map(|series| series.of.clone()).collect()
    }

    /// Whether a series has points in memory, or was asked for lately.
    fn is_wanted(&self, series: &SeriesId) -> bool {
        let kept = self.kept();
        kept.asked.contains_key(series) || kept.series.get(series).is_some_and(|one| !one.ring.is_empty())
    }

    /// Writes down the seconds that are new, and the minutes that are over.
    pub(crate) async fn write(&self, now_ms: u64) -> Result<(), StoreError> {
        let _alone = self.writing.lock().await;
        let points = self.kept().take_due(now_ms);
        if points.is_empty() {
            return Ok(());
        }
        let written = self.log.append(points.clone()).await;
        if written.is_err() {
            self.kept().give_back(&points);
        }
        written
    }

    /// Forgets what is too old, and the tasks that are not there any more, here and on the disk.
    pub(crate) async fn forget(
        &self,
        now_ms: u64,
        is_there: impl Fn(TaskId) -> bool,
    ) -> Result<(), StoreError> {
        let gone = self.kept().forget(now_ms, is_there);
        if !gone.is_empty() {
            self.log.remove(gone).await?;
        }
        for resolution in [Resolution::Second, Resolution::Minute] {
            self.log.forget(resolution, kept_from_ms(resolution, now_ms)).await?;
        }
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// A series, which is made if it is not there.
    fn one(&mut self, series: &SeriesId) -> &mut One {
        if !self.series.contains_key(series) && is_custom(series) {
            self.sources.came(series);
        }
        self.series.entry(series.clone()).or_default()
    }

    /// What there is too much of for a guest to put values of a series; none if it may.
    fn too_much_for(&self, series: &SeriesId) -> Option<&'static str> {
        if !self.series.contains_key(series) && !self.sources.have_room_for(series) {
            return Some("series");
        }
        (!self.sources.have_bytes_for(series)).then_some("different values")
    }

    fn check_series(&self, points: &[(SeriesId, u64, Datum)]) -> Result<(), NoRoom> {
        let is_new = |series: &&SeriesId| !self.series.contains_key(*series);
        let new: BTreeSet<&SeriesId> = points.iter().map(|(series, ..)| series).filter(is_new).collect();
        let there = self.sources.series();
        let more = (there + new.len()).saturating_sub(SERIES_MAX);
        if more > 0 && !new.is_empty() {
            return Err(NoRoom::Series { there, more });
        }
        Ok(())
    }

    /// Where the clock was put back, what was measured later than now is no more of that time, when it comes again.
    fn measured_at(&mut self, at_ms: u64) {
        if at_ms.saturating_add(PUT_BACK_MS) < self.measured_ms {
            let later_s = seconds_of(at_ms) + 1;
            let measured = self.series.iter_mut().filter(|(series, _)| !is_custom(series));
            measured.for_each(|(_, one)| one.forget_from(later_s));
        }
        self.measured_ms = at_ms;
    }

    fn add(&mut self, series: &SeriesId, at_ms: u64, datum: &Datum) {
        if at_ms < self.horizon_ms {
            return;
        }
        self.put(series, seconds_of(at_ms), datum);
        let one = self.one(series);
        one.last_ms = one.last_ms.max(Resolution::Second.start_ms(at_ms));
        one.unwritten_s.insert(seconds_of(at_ms));
        one.minutes_ms.insert(Resolution::Minute.start_ms(at_ms));
    }

    fn add_all(&mut self, points: &[(SeriesId, u64, Datum)]) {
        points.iter().for_each(|(series, at_ms, datum)| self.add(series, *at_ms, datum));
    }

    /// Puts values into a series' ring, and counts what that takes.
    fn put(&mut self, series: &SeriesId, at_s: u64, datum: &Datum) {
        let one = self.one(series);
        let before = one.ring.bytes();
        one.ring.add(at_s, datum);
        let after = one.ring.bytes();
        self.sources.resize(series, before, after);
    }

    /// Notes that somebody asks for a series.
    fn ask(&mut self, series: &SeriesId, at_ms: u64) {
        // Custom ones come by themselves or not at all.
        if !is_custom(series) {
            let until_ms = self.asked.entry(series.clone()).or_default();
            // Who looks at what was long ago takes nothing from who looks at what is.
            *until_ms = at_ms.saturating_add(ASKED_MS).max(*until_ms);
        }
    }

    /// Fills in what is in memory; says since when that is.
    fn fill(&mut self, series: &SeriesId, asked_ms: u64, periods: &mut Periods) -> u64 {
        self.ask(series, asked_ms);
        if let Some(one) = self.series.get(series) {
            let from_s = seconds_of(periods.from_ms().max(self.horizon_ms));
            for (at_s, datum) in one.ring.between(from_s, seconds_of(periods.to_ms())) {
                periods.add(at_s * Resolution::Second.span_ms(), &datum);
            }
        }
        self.horizon_ms
    }

    fn take_due(&mut self, now_ms: u64) -> Vec<SeriesPoint> {
        let minute_ms = Resolution::Minute.start_ms(now_ms);
        let mut points = Vec::new();
        for (series, one) in &mut self.series {
            let mut point = |resolution, at_ms, datum| {
                points.push(SeriesPoint { series: series.clone(), resolution, at_ms, datum });
            };
            for at_s in mem::take(&mut one.unwritten_s) {
                if let Some(datum) = one.ring.at(at_s) {
                    let at_ms = at_s * Resolution::Second.span_ms();
                    point(Resolution::Second, at_ms, datum.into_owned());
                }
            }
            let under_way = one.minutes_ms.split_off(&minute_ms);
            for start_ms in mem::replace(&mut one.minutes_ms, under_way) {
                if let Some(datum) = one.ring.minute(start_ms) {
                    point(Resolution::Minute, start_ms, datum);
                }
            }
        }
        points
    }

    /// Takes back what could not be written; it is due again.
    fn give_back(&mut self, points: &[SeriesPoint]) {
        for SeriesPoint { series, resolution, at_ms, .. } in points {
            let Some(one) = self.series.get_mut(series) else { continue };
            match resolution {
                Resolution::Second => one.unwritten_s.insert(seconds_of(*at_ms)),
                Resolution::Minute => one.minutes_ms.insert(*at_ms),
            };
        }
    }

    /// Gives the series of tasks that are gone: nobody can ask for them, and there is no end to how many tasks come and go.
    fn forget(&mut self, now_ms: u64, is_there: impl Fn(TaskId) -> bool) -> Vec<SeriesId> {
        // Where the clock was put back behind the horizon, what comes now is not too old.
        let horizon_ms = if self.horizon_ms > now_ms { 0 } else { self.horizon_ms };
        let before_ms = kept_from_ms(Resolution::Second, now_ms).max(horizon_ms);
        let known_from_ms = kept_from_ms(Resolution::Minute, now_ms);
        self.horizon_ms = before_ms;
        let before_s = seconds_of(before_ms);
        let sources = &mut self.sources;
        let mut gone = Vec::new();
        self.series.retain(|series, one| {
            let bytes = one.ring.bytes();
            one.ring.forget_before(before_s);
            sources.resize(series, bytes, one.ring.bytes());
            one.unwritten_s = one.unwritten_s.split_off(&before_s);
            one.minutes_ms = one.minutes_ms.split_off(&before_ms);
            let is_gone = matches!(series.of, MetricOf::Task(task) if !is_there(task));
            let is_kept = !one.ring.is_empty() || (one.last_ms >= known_from_ms && !is_gone);
            if !is_kept && is_custom(series) {
                sources.left(series);
            }
            if !is_kept && is_gone {
                gone.push(series.clone());
            }
            is_kept
        });
        gone
    }
}

fn is_custom(series: &SeriesId) -> bool {
    matches!(series.of, MetricOf::Custom(_))
}

/// In which second from 1970 on a time is.
fn seconds_of(at_ms: u64) -> u64 {
    at_ms / Resolution::Second.span_ms()
}

#[cfg(test)]
mod tests;
