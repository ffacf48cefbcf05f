//! Writes of blobs in parts to another's store. The id that the store gives such a write is in the database before its first part is
//! sent, until the blob has its row: so the next start gives up there what a crash cut short, whose parts would be paid for for ever.
//!
//! A folder has no such ids; what is left there is seen. What this can't know is a write whose beginning the store did not answer, or
//! that a crash came before the id was in the database: no call of `object_store` lists those. A lifecycle rule of the store that
//! ends incomplete uploads does away with them. Azure knows no giving up: what was not completed goes there after a week.

use crate::buckets::Core;
use crate::buckets::blobs::{self, BlobName, NewBlob};
use crate::buckets::record::Failed;
use async_trait::async_trait;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, MultipartUpload, PutPayload, PutResult, UploadPart};
use rusqlite::{Connection, params};
use skiff_ports::buckets::BucketError;
use std::collections::BTreeMap;
use std::fmt;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Writes that were cut short that a start gives up; the next one sees to more.
const GIVEN_UP_MAX: u32 = 10_000;

/// A write in parts at another's store.
struct Upload {
    store: Arc<dyn MultipartStore>,
    path: Path,
    id: MultipartId,
    /// Parts that were begun.
    begun: usize,
    /// Those that are there, by their place.
    done: Arc<Mutex<BTreeMap<usize, PartId>>>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("id", &self.id).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let place = self.begun;
        self.begun += 1;
        let (store, path, id) = (self.store.clone(), self.path.clone(), self.id.clone());
        let done = self.done.clone();
        Box::pin(async move {
            let part = store.put_part(&path, &id, place, data).await?;
            lock(&done).insert(place, part);
            Ok(())
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let parts = take(&mut *lock(&self.done)).into_values().collect();
        self.store.complete_multipart(&self.path, &self.id, parts).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.store.abort_multipart(&self.path, &self.id).await
    }
}

fn lock(done: &Mutex<BTreeMap<usize, PartId>>) -> MutexGuard<'_, BTreeMap<usize, PartId>> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// Begins to write a blob in parts; it is there, whole, once that is complete.
    pub(crate) async fn begin_upload(&self, name: BlobName) -> Result<Box<dyn MultipartUpload>, BucketError> {
        let Some(store) = self.blobs.elsewhere() else { return self.blobs.begin_upload(name).await };
        let path = self.blobs.path(name);
        let id = store.create_multipart(&path).await.map_err(blobs::failed)?;
        let mut upload = Upload { store, path, id: id.clone(), begun: 0, done: Arc::default() };
        if let Err(error) = self.writer.write(move |connection| note(connection, name, &id)).await {
            give_up(&mut upload).await;
            return Err(error);
        }
        Ok(Box::new(upload))
    }

    /// Gives up what could not be written, and deletes what there may be of it: it may have been complete before it failed.
    pub(crate) async fn give_up(&self, mut upload: Box<dyn MultipartUpload>, blob: NewBlob) {
        let name = blob.name;
        let is_given_up = give_up(upload.as_mut()).await;
        self.blobs.discard(blob).await;
        if is_given_up {
            self.forget_upload(name).await;
        }
    }

    /// Forgets the write of a blob that is complete, or given up. If that fails, the next start finds it gone.
    pub(crate) async fn forget_upload(&self, name: BlobName) {
        if self.blobs.elsewhere().is_none() {
            return;
        }
        let forgotten = self.writer.write(move |connection| forget(connection, name).map_err(Failed::from));
        if let Err(error) = forgotten.await {
            tracing::debug!(%error, "that a blob is not being written any more could not be noted");
        }
    }

    /// Gives up the writes that a crash cut short; says how many.
    pub(crate) async fn give_up_left(&self) -> Result<usize, BucketError> {
        let Some(store) = self.blobs.elsewhere() else { return Ok(0) };
        let mut left = self.reads.read(|connection| noted(connection).map_err(Failed::from)).await?;
        left.retain(|(name, _)| !self.blobs.is_being_written(*name));
        let (mut given_up, mut failure) = (0, None);
        for (name, id) in left {
            match or_gone(store.abort_multipart(&self.blobs.path(name), &id).await) {
                Ok(()) => {
                    given_up += 1;
                    self.forget_upload(name).await;
                }
                Err(error) => failure = Some(blobs::failed(error)),
            }
        }
        failure.map_or(Ok(given_up), Err)
    }
}

/// Gives up; says whether that was done.
async fn give_up(upload: &mut dyn MultipartUpload) -> bool {
    let given_up = or_gone(upload.abort().await);
    if let Err(error) = &given_up {
        tracing::debug!(%error, "the upload of a blob could not be given up; the next start does it");
    }
    given_up.is_ok()
}

/// What the store knows no more of is given up: it was complete, or given up before, and the answer to that was lost.
fn or_gone(given_up: object_store::Result<()>) -> object_store::Result<()> {
    match given_up {
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}

fn note(connection: &Connection, name: BlobName, id: &str) -> Result<(), Failed> {
    let note = "INSERT INTO begun (name, id) VALUES (?1, ?2)";
    connection.prepare_cached(note)?.execute(params![name.to_bytes(), id])?;
    Ok(())
}

/// Forgets the write of a blob.
pub(crate) fn forget(connection: &Connection, name: BlobName) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM begun WHERE name = ?1")?.execute([name.to_bytes()]).map(drop)
}

fn noted(connection: &Connection) -> rusqlite::Result<Vec<(BlobName, MultipartId)>> {
    let mut noted = connection.prepare_cached("SELECT name, id FROM begun LIMIT ?1")?;
    let read = noted
        .query_map([GIVEN_UP_MAX], |row| Ok((BlobName::from_bytes(row.get(0)?), row.get::<_, String>(1)?)))?;
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write in parts that the store knows no more of.
    #[derive(Debug)]
    struct Gone;

    fn gone<T>() -> object_store::Result<T> {
        Err(object_store::Error::NotFound { path: "any".to_owned(), source: "it is complete".into() })
    }

    #[async_trait]
    impl MultipartUpload for Gone {
        fn put_part(&mut self, _: PutPayload) -> UploadPart {
            Box::pin(async { gone() })
        }

        async fn complete(&mut self) -> object_store::Result<PutResult> {
            gone()
        }

        async fn abort(&mut self) -> object_store::Result<()> {
            gone()
        }
    }

    #[tokio::test]
    async fn what_the_store_knows_no_more_of_is_given_up() {
        assert!(give_up(&mut Gone).await);
        let failed = object_store::Error::NotSupported { source: "it does not answer".into() };
        assert!(or_gone(Err(failed)).is_err());
    }
}
