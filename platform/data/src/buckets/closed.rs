//! The buckets that take no more writes: those that are removed, or about to be.
//!
//! They are known in memory alone. A write that was under way ended with its process, and a new one names what is in the catalog: so a
//! start knows of none, and a bucket whose removal a crash cut short is there as it was.
//!
//! What always holds: a bucket is closed, and a write looks whether its bucket is, by the one thread that writes, in the order of its
//! transactions. So a write is either seen by the look at whether the bucket is empty, or refused.

use crate::buckets::record::Failed;
use crate::buckets::{Core, objects};
use rusqlite::Connection;
use skiff_ports::buckets::BucketError;
use skiff_types::ResourceId;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buckets that are known to be closed; of more, the one that was closed first is forgotten. A write that is under way for longer than
/// so many removals would be kept, for the collector to find that nobody has its bucket.
const CLOSED_MAX: usize = 65_536;

/// The closed buckets.
#[derive(Default)]
pub(crate) struct ClosedBuckets(Mutex<Closed>);

#[derive(Default)]
struct Closed {
    ids: HashSet<ResourceId>,
    /// The same in the order in which they were closed.
    order: VecDeque<ResourceId>,
}

impl ClosedBuckets {
    /// Refuses a write to a closed bucket.
    pub(crate) fn check(&self, bucket: ResourceId) -> Result<(), BucketError> {
        match self.closed().ids.contains(&bucket) {
            true => Err(BucketError::Removed),
            false => Ok(()),
        }
    }

    pub(crate) fn open(&self, bucket: ResourceId) {
        let mut closed = self.closed();
        if closed.ids.remove(&bucket) {
            closed.order.retain(|id| *id != bucket);
        }
    }

    fn close(&self, bucket: ResourceId) {
        let mut closed = self.closed();
        if closed.ids.insert(bucket) {
            closed.order.push_back(bucket);
        }
        if closed.order.len() > CLOSED_MAX
            && let Some(first) = closed.order.pop_front()
        {
            closed.ids.remove(&first);
        }
    }

    fn closed(&self) -> MutexGuard<'_, Closed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Writes to a bucket, unless it is closed by the time that the writer comes to it.
    pub(crate) async fn write_to<T: Send + 'static>(
        &self,
        bucket: ResourceId,
        act: impl FnOnce(&Connection) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, BucketError> {
        let closed = self.closed.clone();
        let write = move |connection: &Connection| -> Result<T, Failed> {
            closed.check(bucket)?;
            act(connection)
        };
        self.writer.write(write).await
    }

    /// Closes a bucket, if it has no objects; any with `force`.
    pub(crate) async fn close_bucket(&self, bucket: ResourceId, force: bool) -> Result<(), BucketError> {
        let closed = self.closed.clone();
        let close = move |connection: &Connection| -> Result<(), Failed> {
            let objects = objects::stats(connection, bucket)?.objects;
            if objects > 0 && !force {
                return Err(BucketError::NotEmpty { objects }.into());
            }
            closed.close(bucket);
            Ok(())
        };
        let done = self.writer.write(close).await;
        if let Err(BucketError::Storage(_) | BucketError::DiskFull) = &done {
            // What it saw may be undone with the transaction that it was part of: an object's deletion, say.
            self.closed.open(bucket);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ResourceId {
        ResourceId::from_bytes(number.to_be_bytes())
    }

    #[test]
    fn of_more_closed_buckets_than_are_kept_the_first_is_forgotten() {
        let closed = ClosedBuckets::default();
        let most = CLOSED_MAX as u64;
        for number in 0..most {
            closed.close(id(number));
            closed.close(id(number));
        }
        closed.open(id(1));
        closed.close(id(most));
        assert!(closed.check(id(0)).is_err(), "there was room");
        closed.close(id(most + 1));
        assert!(closed.check(id(0)).is_ok() && closed.check(id(1)).is_ok());
        assert!(closed.check(id(2)).is_err() && closed.check(id(most + 1)).is_err());
        let closed = closed.closed();
        assert_eq!((closed.ids.len(), closed.order.len()), (CLOSED_MAX, CLOSED_MAX));
    }
}
