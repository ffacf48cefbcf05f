//! The segments that there are, as readers and the writer share them.

use super::Position;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// One file.
pub(super) struct Segment {
    /// The position of its first byte.
    pub(super) start: u64,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Open for reading and writing.
    pub(super) file: File,
}

/// All of them, at least one; the last is written to.
pub(super) struct Segments {
    list: RwLock<Vec<Arc<Segment>>>,
    end: AtomicU64,
    /// Bytes of the last segment's file, which is filled ahead.
    last_bytes: AtomicU64,
}

impl Segments {
    /// Those that were found, in order.
    pub(super) fn new(list: Vec<Arc<Segment>>, end: u64) -> Self {
        let last_bytes = list.last().map_or(0, |last| end - last.start);
        Self { list: RwLock::new(list), end: AtomicU64::new(end), last_bytes: AtomicU64::new(last_bytes) }
    }

    fn read<T>(&self, look: impl FnOnce(&[Arc<Segment>]) -> T) -> T {
        look(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one in which a record at this position lies.
    pub(super) fn holding(&self, at: Position) -> Option<Arc<Segment>> {
        if at >= self.end() {
            return None;
        }
        self.read(|list| {
            let after = list.partition_point(|segment| segment.start <= at.0);
            after.checked_sub(1).map(|index| list[index].clone())
        })
    }

    /// The one that is written to.
    pub(super) fn last(&self) -> Option<Arc<Segment>> {
        self.read(|list| list.last().cloned())
    }

    /// The first position kept.
    pub(super) fn first(&self) -> Position {
        self.read(|list| Position(list.first().map_or(0, |segment| segment.start)))
    }

    /// The end of the oldest, unless it is written to.
    pub(super) fn first_end(&self) -> Option<Position> {
        self.read(|list| list.get(1).map(|next| Position(next.start)))
    }

    /// The oldest and its end, unless it is written to.
    pub(super) fn first_whole(&self) -> Option<(Arc<Segment>, Position)> {
        self.read(|list| match list {
            [first, next, ..] => Some((first.clone(), Position(next.start))),
            _ => None,
        })
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> Position {
        Position(self.end.load(Ordering::Acquire))
    }

    /// Says that what lies before this was written.
    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Says how long the last one's file is.
    pub(super) fn set_last_bytes(&self, bytes: u64) {
        self.last_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let before = self.read(|list| match list {
            [first, .., last] => last.start - first.start,
            _ => 0,
        });
        before + self.last_bytes.load(Ordering::Relaxed)
    }

    /// Adds one that is written to from now on.
    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.list.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    /// Takes out the oldest, if it lies before `position` as a whole, and is not written to.
    pub(super) fn pop_before(&self, position: u64) -> Option<Arc<Segment>> {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let is_before = list.get(1).is_some_and(|next| next.start <= position);
        is_before.then(|| list.remove(0))
    }
}
