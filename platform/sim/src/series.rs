//! The series of metrics in memory, as far as a control plane that starts again takes them up.

use crate::life::Life;
use async_trait::async_trait;
use skiff_ports::series::{KnownSeries, SeriesLog, SeriesPoint, SeriesQuery};
use skiff_ports::store::StoreError;
use skiff_types::{Datum, Resolution, SeriesId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

type Points = BTreeMap<(SeriesId, Resolution, u64), Datum>;

/// All points.
#[derive(Default)]
pub(crate) struct MemorySeries(Mutex<Points>);

/// The series as one life of a control plane has them.
pub(crate) struct SeriesOfLife {
    pub(crate) series: Arc<MemorySeries>,
    pub(crate) life: Arc<Life>,
}

impl SeriesOfLife {
    fn points<R>(&self, look: impl FnOnce(&mut Points) -> R) -> Result<R, StoreError> {
        self.life.check()?;
        Ok(look(&mut self.series.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[async_trait]
impl SeriesLog for SeriesOfLife {
    async fn append(&self, points: Vec<SeriesPoint>) -> Result<(), StoreError> {
        let keyed = points
            .into_iter()
            .map(|SeriesPoint { series, resolution, at_ms, datum }| ((series, resolution, at_ms), datum));
        self.points(|kept| kept.extend(keyed))
    }

    async fn read(&self, query: SeriesQuery) -> Result<Vec<(u64, Datum)>, StoreError> {
        let SeriesQuery { series, resolution, from_ms, to_ms } = query;
        let (from, to) = ((series.clone(), resolution, from_ms), (series, resolution, to_ms.max(from_ms)));
        self.points(|kept| {
            let range = kept.range(from..to);
            range.map(|((_, _, at_ms), datum)| (*at_ms, datum.clone())).collect()
        })
    }

    async fn seconds(&self, from_ms: u64) -> Result<Vec<SeriesPoint>, StoreError> {
        self.points(|kept| {
            let seconds = kept
                .iter()
                .filter(|((_, resolution, at_ms), _)| *resolution == Resolution::Second && *at_ms >= from_ms);
            let first_ms = seconds.clone().map(|((_, _, at_ms), _)| *at_ms).min().unwrap_or_default();
            let seconds =
                seconds.filter(|((_, _, at_ms), _)| *at_ms < first_ms + Resolution::Minute.span_ms());
            let point = |((series, resolution, at_ms), datum): (&(SeriesId, Resolution, u64), &Datum)| {
                let (series, datum) = (series.clone(), datum.clone());
                SeriesPoint { series, resolution: *resolution, at_ms: *at_ms, datum }
            };
            let mut points: Vec<SeriesPoint> = seconds.map(point).collect();
            points.sort_by_key(|point| point.at_ms);
            points
        })
    }

    async fn list(&self) -> Result<Vec<KnownSeries>, StoreError> {
        self.points(|kept| {
            let mut known: BTreeMap<SeriesId, KnownSeries> = BTreeMap::new();
            for (series, resolution, at_ms) in kept.keys() {
                let none = KnownSeries { series: series.clone(), last_second_ms: 0, last_minute_ms: 0 };
                let known = known.entry(series.clone()).or_insert(none);
                let last_ms = match resolution {
                    Resolution::Second => &mut known.last_second_ms,
                    Resolution::Minute => &mut known.last_minute_ms,
                };
                *last_ms = (*last_ms).max(*at_ms);
            }
            known.into_values().collect()
        })
    }

    async fn forget(&self, resolution: Resolution, before_ms: u64) -> Result<(), StoreError> {
        self.points(|kept| kept.retain(|(_, of, at_ms), _| *of != resolution || *at_ms >= before_ms))
    }

    async fn remove(&self, series: Vec<SeriesId>) -> Result<(), StoreError> {
        self.points(|kept| kept.retain(|(of, _, _), _| !series.contains(of)))
    }
}
