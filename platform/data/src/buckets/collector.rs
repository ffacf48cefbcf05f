//! Deletes blobs that no row names any more, once nobody reads them, and those that a crash left behind.
//!
//! What is to be deleted is in the database ([`objects`](super::objects) leaves a blob's row until the blob is gone), so that no crash
//! forgets it. A crash between a blob and its row leaves a blob without one: each start compares all blobs with the rows, in steps, beside
//! everything else. So it gives up, at another's store, what was being written in parts.

use crate::buckets::Core;
use crate::buckets::blobs::BlobName;
use crate::buckets::record::Failed;
use futures::{StreamExt, stream};
use rusqlite::{Connection, OptionalExtension};
use skiff_ports::buckets::BucketError;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

/// Blobs that are looked at, or deleted, at once.
const STEP_BLOBS: usize = 500;
/// Deletions that the store is asked for at a time.
const DELETIONS_MAX: usize = 8;
/// How long after a failure the collector waits, and at most in any case.
const RETRY: Duration = Duration::from_secs(30);

/// Collects until the buckets are closed.
pub(crate) async fn run(core: Arc<Core>) {
    let stop = core.stop.clone();
    let work = async {
        tokio::join!(collect(&core), delete_left(&core));
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Deletes garbage as it comes, for ever.
async fn collect(core: &Core) {
    let mut written = core.writer.written();
    loop {
        written.borrow_and_update();
        let is_done = match step(core).await {
            Ok(is_done) => is_done,
            Err(error) => {
                tracing::warn!(%error, "blobs that nobody needs could not be deleted; it is tried again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        if is_done {
            tokio::select! {
                changed = written.changed() => if changed.is_err() { return },
                () = core.open.closed() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

/// Deletes some garbage; says whether there was none.
pub(crate) async fn step(core: &Core) -> Result<bool, BucketError> {
    let open = core.open.clone();
    let garbage = core
        .reads
        .read(move |connection| {
            let _shut = open.shut();
            let names = garbage(connection, STEP_BLOBS + open.count())?;
            Ok(names.into_iter().filter(|name| !open.is_open(*name)).collect::<Vec<_>>())
        })
        .await?;
    if garbage.is_empty() {
        return Ok(true);
    }
    let (deleted, failure) = delete(core, garbage).await;
    core.writer.write(move |connection| forget(connection, &deleted)).await?;
    failure.map_or(Ok(false), Err)
}

fn garbage(connection: &Connection, max: usize) -> Result<Vec<BlobName>, Failed> {
    let mut statement = connection.prepare_cached("SELECT name FROM blob WHERE refs = 0 LIMIT ?1")?;
    let names = statement.query_map([max as i64], |row| Ok(BlobName::from_bytes(row.get(0)?)))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

fn forget(connection: &Connection, names: &[BlobName]) -> Result<(), Failed> {
    for name in names {
        connection
            .prepare_cached("DELETE FROM blob WHERE name = ?1 AND refs = 0")?
            .execute([name.to_bytes()])?;
    }
    Ok(())
}

/// Deletes blobs at the store; gives those that are gone, and why others are not.
async fn delete(core: &Core, names: Vec<BlobName>) -> (Vec<BlobName>, Option<BucketError>) {
    let deletions = names.into_iter().map(|name| async move { (name, core.blobs.delete(name).await) });
    let outcomes: Vec<_> = stream::iter(deletions).buffer_unordered(DELETIONS_MAX).collect().await;
    let mut deleted = Vec::with_capacity(outcomes.len());
    let mut failure = None;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => deleted.push(name),
            Err(error) => failure = Some(error),
        }
    }
    (deleted, failure)
}

/// Deletes what a crash left, once. What can't be looked at now is looked at by the next start.
pub(crate) async fn delete_left(core: &Core) {
    let blobs = core.blobs.clone();
    match tokio::task::spawn_blocking(move || blobs.delete_cut_short()).await {
        Ok(Ok(0)) => {}
        Ok(Ok(files)) => tracing::info!(files, "what writes that were cut short had left was deleted"),
        Ok(Err(error)) => tracing::warn!(%error, "the buckets' folder could not be looked through"),
        Err(error) => tracing::error!(%error, "looking through the buckets' folder failed"),
    }
    match core.give_up_left().await {
        Ok(0) => {}
        Ok(uploads) => {
            tracing::info!(uploads, "what writes in parts that were cut short had left was given up")
        }
        Err(error) => {
            tracing::warn!(%error, "writes in parts that a crash cut short could not all be given up")
        }
    }
    let mut left = 0;
    let mut seen = Vec::with_capacity(STEP_BLOBS);
    let mut all = core.blobs.all();
    loop {
        let next = all.next().await;
        let is_last = !matches!(next, Some(Ok(_)));
        match next {
            Some(Ok(name)) => seen.push(name),
            Some(Err(error)) => tracing::warn!(%error, "the buckets' blobs could not be listed whole"),
            None => {}
        }
        if seen.len() == STEP_BLOBS || is_last {
            match delete_unknown(core, take(&mut seen)).await {
                Ok(deleted) => left += deleted,
                Err(error) => tracing::warn!(%error, "blobs that a crash left could not be deleted"),
            }
        }
        if is_last {
            break;
        }
    }
    if left > 0 {
        tracing::info!(blobs = left, "blobs that a crash had left were deleted");
    }
}

/// Deletes those of these blobs that are there for nobody; says how many.
async fn delete_unknown(core: &Core, mut seen: Vec<BlobName>) -> Result<usize, BucketError> {
    // In this order: one that was being written when it was seen, and is not any more, has its row, or failed.
    seen.retain(|name| !core.blobs.is_being_written(*name));
    let unknown = core.reads.read(move |connection| unknown(connection, seen)).await?;
    let (deleted, failure) = delete(core, unknown).await;
    failure.map_or(Ok(deleted.len()), Err)
}

fn unknown(connection: &Connection, names: Vec<BlobName>) -> Result<Vec<BlobName>, Failed> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM blob WHERE name = ?1")?;
    let mut unknown = Vec::new();
    for name in names {
        if statement.query_row([name.to_bytes()], |_| Ok(())).optional()?.is_none() {
            unknown.push(name);
        }
    }
    Ok(unknown)
}
