//! Where bytes lie: under names that say nothing, at any backend of `object_store`.
//!
//! A blob is written once, whole, under a new random name, and never changed. Below the backend's root is a folder that is named by the
//! database, and in it a blob `0123...` lies at `01/23...`, so that no folder has too many. Which blobs there should be is the
//! database's; this knows those that are being written, which nobody may take for leftovers.

use crate::buckets::OpenError;
use crate::buckets::backend::Backend;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{GetOptions, GetResultPayload, ObjectStore, ObjectStoreExt, PutPayload};
use skiff_kit::random::SharedRandom;
use skiff_ports::buckets::{BucketError, ObjectBytes};
use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that are read of a file at a time.
const READ_BYTES: u64 = 256 << 10;
/// Hexadecimal digits of a name that are its folder's.
const FOLDER_DIGITS: usize = 2;

/// Names a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlobName([u8; 16]);

impl BlobName {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    fn parse(folder: &str, file: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(format!("{folder}{file}"), &mut bytes).ok()?;
        let name = Self(bytes);
        // Neither other lengths nor capital letters: it is no name of ours.
        (name.parts() == (folder.to_owned(), file.to_owned())).then_some(name)
    }

    /// Its folder and its file.
    fn parts(self) -> (String, String) {
        let mut folder = hex::encode(self.0);
        let file = folder.split_off(FOLDER_DIGITS);
        (folder, file)
    }
}

/// The blobs of one database.
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// The same, if it is another's.
    parts: Option<Arc<dyn MultipartStore>>,
    /// The database's own folder at the store.
    root: Path,
    /// The same on this host, if it is here.
    folder: Option<PathBuf>,
    buffer_bytes: usize,
    random: SharedRandom,
    writing: Mutex<HashSet<BlobName>>,
}

/// A blob that is being written, or that no row names yet.
pub(crate) struct NewBlob {
    blobs: Arc<Blobs>,
    pub(crate) name: BlobName,
    is_left: bool,
}

impl NewBlob {
    /// Nobody takes it for a leftover until the process ends.
    pub(crate) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        if !self.is_left {
            self.blobs.writing().remove(&self.name);
        }
    }
}

impl Blobs {
    /// The blobs of the database with this id.
    pub(crate) fn new(backend: Backend, id: [u8; 8], random: SharedRandom) -> Result<Self, OpenError> {
        let id = hex::encode(id);
        let folder = backend.folder.map(|folder| folder.join(&id));
        if let Some(folder) = &folder {
            make_folders(folder).map_err(|source| OpenError::Folder { path: folder.clone(), source })?;
        }
        Ok(Self {
            store: backend.store,
            parts: backend.parts,
            root: backend.root.join(id.as_str()),
            folder,
            buffer_bytes: backend.buffer_bytes,
            random,
            writing: Mutex::default(),
        })
    }

    /// Bytes that [`Self::put`] and parts should have.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// A new name. Until it is dropped, nobody takes its blob for a leftover.
    pub(crate) fn begin(self: &Arc<Self>) -> NewBlob {
        let name = BlobName(self.random.bytes());
        self.writing().insert(name);
        NewBlob { blobs: self.clone(), name, is_left: false }
    }

    /// Whether a blob is being written, or waits for its row.
    pub(crate) fn is_being_written(&self, name: BlobName) -> bool {
        self.writing().contains(&name)
    }

    /// Writes a blob at once; it is on the drive after.
    pub(crate) async fn put(&self, name: BlobName, bytes: Bytes) -> Result<(), BucketError> {
        self.store.put(&self.path(name), PutPayload::from(bytes)).await.map(drop).map_err(failed)
    }

    /// Another's store as it takes parts, if blobs lie there.
    pub(crate) fn elsewhere(&self) -> Option<Arc<dyn MultipartStore>> {
        self.parts.clone()
    }

    /// Begins to write a blob in parts in a folder; it is on the drive, and there at all, once that is complete.
    pub(crate) async fn begin_upload(
        &self,
        name: BlobName,
    ) -> Result<Box<dyn object_store::MultipartUpload>, BucketError> {
        self.store.put_multipart(&self.path(name)).await.map_err(failed)
    }

    /// The bytes of a blob in this range.
    pub(crate) async fn read(&self, name: BlobName, range: Range<u64>) -> io::Result<ObjectBytes> {
        let options = GetOptions::new().with_range(Some(range));
        let got = self.store.get_opts(&self.path(name), options).await?;
        Ok(match got.payload {
            GetResultPayload::File(file, _) => read_file(file, got.range),
            GetResultPayload::Stream(bytes) => bytes.map_err(io::Error::from).boxed(),
        })
    }

    /// Deletes a blob; one that is not there is well deleted.
    pub(crate) async fn delete(&self, name: BlobName) -> Result<(), BucketError> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Deletes a blob that no row names or will name. If that fails, the next start does it.
    pub(crate) async fn discard(&self, blob: NewBlob) {
        if let Err(error) = self.delete(blob.name).await {
            tracing::warn!(%error, "a blob that is not needed could not be deleted; the next start does it");
        }
    }

    /// All blobs that there are, whole.
    pub(crate) fn all(&self) -> stream::BoxStream<'static, Result<BlobName, BucketError>> {
        let root = self.root.clone();
        let listed = self.store.list(Some(&self.root));
        let ours = listed.try_filter_map(move |meta| {
            let name = meta.location.prefix_match(&root).and_then(|parts| {
                let parts: Vec<_> = parts.collect();
                let [folder, file] = parts.as_slice() else { return None };
                BlobName::parse(folder.as_ref(), file.as_ref())
            });
            futures::future::ready(Ok(name))
        });
        ours.map_err(failed).boxed()
    }

    /// Deletes what writes that were cut short left in a folder under the names of nobody. Blocks.
    pub(crate) fn delete_cut_short(&self) -> io::Result<u64> {
        let mut deleted = 0;
        let Some(folder) = &self.folder else { return Ok(deleted) };
        for shard in std::fs::read_dir(folder)? {
            let shard = shard?;
            let Some(shard_name) = shard.file_name().to_str().map(str::to_owned) else { continue };
            if !shard.file_type()?.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(shard.path())? {
                let file = file?;
                // `object_store` writes `NAME#NUMBER`, and gives it its name when it is whole.
                let file_name = file.file_name();
                let Some((name, _)) = file_name.to_str().and_then(|name| name.split_once('#')) else {
                    continue;
                };
                let is_left =
                    BlobName::parse(&shard_name, name).is_some_and(|name| !self.is_being_written(name));
                if is_left {
                    match std::fs::remove_file(file.path()) {
                        Ok(()) => deleted += 1,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(deleted)
    }

    /// Where a blob lies at the store.
    pub(crate) fn path(&self, name: BlobName) -> Path {
        let (folder, file) = name.parts();
        self.root.clone().join(folder.as_str()).join(file.as_str())
    }

    fn writing(&self) -> MutexGuard<'_, HashSet<BlobName>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes all folders that blobs may lie in, durably, so that no write has to.
fn make_folders(folder: &std::path::Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for shard in 0..=u8::MAX {
        match std::fs::create_dir(folder.join(hex::encode([shard]))) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for made in folder.ancestors().take(3).filter(|path| !path.as_os_str().is_empty()) {
        File::open(made)?.sync_all()?;
    }
    Ok(())
}

fn read_file(file: File, range: Range<u64>) -> ObjectBytes {
    stream::try_unfold((file, range), read_chunk).boxed()
}

/// The next bytes of a file in this range, and what is left.
async fn read_chunk((file, range): (File, Range<u64>)) -> io::Result<Option<(Bytes, (File, Range<u64>))>> {
    let bytes = (range.end - range.start).min(READ_BYTES);
    if bytes == 0 {
        return Ok(None);
    }
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; bytes as usize];
        file.read_exact_at(&mut chunk, range.start).map(|()| (chunk, file))
    });
    let (chunk, file) = read.await.map_err(io::Error::other)??;
    Ok(Some((Bytes::from(chunk), (file, range.start + bytes..range.end))))
}

/// What a caller is told of a failure of the store.
pub(crate) fn failed(error: object_store::Error) -> BucketError {
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return BucketError::DiskFull;
        }
        source = cause.source();
    }
    BucketError::Storage(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_lies_in_a_folder_of_its_first_byte() {
        let name = BlobName::from_bytes([0xab; 16]);
        let (folder, file) = name.parts();
        assert_eq!((folder.as_str(), file.len()), ("ab", 30));
        assert_eq!(BlobName::parse(&folder, &file), Some(name));
        assert_eq!(BlobName::parse("AB", &file), None);
        assert_eq!(BlobName::parse("a", &format!("b{file}")), None);
        assert_eq!(BlobName::parse("ab", "cd"), None);
    }

    #[test]
    fn a_full_disk_is_told_however_deep_it_is_said() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = object_store::Error::Generic { store: "a", source: Box::new(full) };
        let nested = object_store::Error::Generic { store: "b", source: Box::new(error) };
        assert!(matches!(failed(nested), BucketError::DiskFull));
        let other = object_store::Error::Generic { store: "a", source: "it broke".into() };
        assert!(matches!(failed(other), BucketError::Storage(_)));
    }
}
