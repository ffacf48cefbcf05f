//! Leases over any store: a key that its holder renews, which another may take once it was not renewed in time.
//!
//! Expiry is not the store's: a lease is an ordinary value that says until when it holds, compared by the clock of
//! whoever asks. Clocks that differ by more than the slack between renewal and expiry break it; renew at a third.

use crate::store::{Expect, Key, Revision, Store, StoreError};
use serde::{Deserialize, Serialize};

/// What a lease's key holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    holder: String,
    until_ms: u64,
}

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    key: Key,
    holder: String,
    revision: Revision,
    /// Until when it holds unless renewed, in milliseconds since 1970.
    pub until_ms: u64,
}

/// What came of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It is ours.
    Held(Lease),
    /// Somebody else has it.
    HeldBy {
        /// Who.
        holder: String,
        /// Until when unless renewed, in milliseconds since 1970.
        until_ms: u64,
    },
}

/// Takes the lease `key` for `holder` if it is free, has run out by `now_ms`, or is `holder`'s already.
pub async fn acquire(
    store: &dyn Store,
    key: &Key,
    holder: &str,
    ttl_ms: u64,
    now_ms: u64,
) -> Result<Acquired, StoreError> {
    let found = store.get(key).await?;
    let expect = match &found {
        None => Expect::Absent,
        Some(entry) => {
            let record: Record = decode(&entry.value)?;
            if record.holder != holder && record.until_ms > now_ms {
                return Ok(Acquired::HeldBy { holder: record.holder, until_ms: record.until_ms });
            }
            Expect::Revision(entry.revision)
        }
    };
    match write(store, key, holder, ttl_ms, now_ms, expect).await {
        Ok(lease) => Ok(Acquired::Held(lease)),
        Err(StoreError::Conflict { .. }) => {
            let entry = store.get(key).await?;
            let winner = entry.map(|entry| decode(&entry.value)).transpose()?;
            let winner = winner.unwrap_or(Record { holder: String::new(), until_ms: now_ms });
            Ok(Acquired::HeldBy { holder: winner.holder, until_ms: winner.until_ms })
        }
        Err(error) => Err(error),
    }
}

impl Lease {
    /// Holds it for `ttl_ms` from `now_ms` on. A conflict says that it was lost.
    pub async fn renew(&mut self, store: &dyn Store, ttl_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        *self =
            write(store, &self.key, &self.holder, ttl_ms, now_ms, Expect::Revision(self.revision)).await?;
        Ok(())
    }

    /// Gives it back. A conflict says that it was lost before.
    pub async fn release(self, store: &dyn Store) -> Result<(), StoreError> {
        store.delete(&self.key, Expect::Revision(self.revision)).await.map(drop)
    }
}

async fn write(
    store: &dyn Store,
    key: &Key,
    holder: &str,
    ttl_ms: u64,
    now_ms: u64,
    expect: Expect,
) -> Result<Lease, StoreError> {
    let record = Record { holder: holder.to_owned(), until_ms: now_ms + ttl_ms };
    let value = serde_json::to_vec(&record).map_err(|error| StoreError::Storage(error.into()))?;
    let revision = store.put(key, value.into(), expect).await?;
    Ok(Lease { key: key.clone(), holder: record.holder, revision, until_ms: record.until_ms })
}

fn decode(value: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Storage(error.into()))
}
