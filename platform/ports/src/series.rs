//! The series port: what was measured, by the second and by the minute, beside what is kept of it in memory.

use crate::store::StoreError;
use async_trait::async_trait;
use skiff_types::{Datum, Resolution, SeriesId};

/// Keeps series. Every call is done whole or not at all; what it kept is there after a `kill -9`, but its newest may be
/// lost with the machine's power.
#[async_trait]
pub trait SeriesLog: Send + Sync {
    /// Takes points in. One that is there already, of the same series, resolution and time, is replaced.
    async fn append(&self, points: Vec<SeriesPoint>) -> Result<(), StoreError>;

    /// The points of one series, oldest first, each with when it begins.
    async fn read(&self, query: SeriesQuery) -> Result<Vec<(u64, Datum)>, StoreError>;

    /// The points of a second that begin at `from_ms` or later, in milliseconds since 1970, oldest first: those within a
    /// minute of the first of them. None where there are no more.
    async fn seconds(&self, from_ms: u64) -> Result<Vec<SeriesPoint>, StoreError>;

    /// All series, each with the newest time it has a point of.
    async fn list(&self) -> Result<Vec<KnownSeries>, StoreError>;

    /// Forgets points of a resolution that began before `before_ms`, in milliseconds since 1970, and the series that have
    /// none left.
    async fn forget(&self, resolution: Resolution, before_ms: u64) -> Result<(), StoreError>;

    /// Forgets these series with all their points.
    async fn remove(&self, series: Vec<SeriesId>) -> Result<(), StoreError>;
}

/// What came in a second or a minute.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoint {
    /// Whose it is.
    pub series: SeriesId,
    /// How much time it covers.
    pub resolution: Resolution,
    /// When that begins, in milliseconds since 1970.
    pub at_ms: u64,
    /// The values.
    pub datum: Datum,
}

/// Which points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesQuery {
    /// Of this series.
    pub series: SeriesId,
    /// Of this resolution.
    pub resolution: Resolution,
    /// That begin at this time or later, in milliseconds since 1970.
    pub from_ms: u64,
    /// And before this one.
    pub to_ms: u64,
}

/// A series that has points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSeries {
    /// Which.
    pub series: SeriesId,
    /// When its newest point of a second begins, in milliseconds since 1970; 0 without any.
    pub last_second_ms: u64,
    /// When its newest point of a minute begins, in milliseconds since 1970; 0 without any.
    pub last_minute_ms: u64,
}
