//! The folder of blobs: each a file under the hexadecimal digits of its SHA-256, made whole or not at all.
//!
//! A blob is written under another name on the same file system, synced, renamed, and the folder synced. When it was
//! last pushed is its modification time, by the clock of whoever pushes. Knows nothing of what the blobs mean.

use skiff_types::Digest;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::{NamedTempFile, TempPath};

/// The folders of one image store.
#[derive(Debug)]
pub(crate) struct Blobs {
    blobs: PathBuf,
    uploads: PathBuf,
}

/// A blob that is there.
#[derive(Debug)]
pub(crate) struct Blob {
    pub digest: Digest,
    /// When it was last pushed, in milliseconds since 1970.
    pub pushed_ms: u64,
}

impl Blobs {
    /// Makes the folders where they are missing, and removes what interrupted uploads have left.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let blobs = folder.join("blobs").join("sha256");
        let uploads = folder.join("uploads");
        if uploads.exists() {
            fs::remove_dir_all(&uploads)?;
        }
        fs::create_dir_all(&blobs)?;
        fs::create_dir_all(&uploads)?;
        sync_folder(&folder.join("blobs"))?;
        sync_folder(folder)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Ok(Self { blobs, uploads })
    }

    /// Where a blob lies, if it is there.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// A file to write a blob to; it is gone with its path, unless it is published.
    pub(crate) fn upload(&self) -> io::Result<(File, TempPath)> {
        Ok(NamedTempFile::new_in(&self.uploads)?.into_parts())
    }

    /// Gives a blob that is written its name, in place of an older one that may be damaged. Durable after
    /// [`Blobs::sync`].
    pub(crate) fn publish(
        &self,
        file: &File,
        at: TempPath,
        digest: &Digest,
        pushed_ms: u64,
    ) -> io::Result<()> {
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(pushed_ms))?;
        file.sync_all()?;
        at.persist(self.path(digest)).map_err(|error| error.error)
    }

    /// Makes the names of the blobs durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.blobs)
    }

    /// Every blob that is there. Files of other names are not ours.
    pub(crate) fn list(&self) -> io::Result<Vec<Blob>> {
        let mut blobs = Vec::new();
        for file in fs::read_dir(&self.blobs)? {
            let file = file?;
            let name = file.file_name();
            let Some(digest) = name.to_str().and_then(|name| format!("sha256:{name}").parse().ok()) else {
                continue;
            };
            let modified = file.metadata()?.modified()?.duration_since(SystemTime::UNIX_EPOCH);
            let pushed_ms = modified.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            blobs.push(Blob { digest, pushed_ms });
        }
        Ok(blobs)
    }

    /// Removes a blob; says whether it was there.
    pub(crate) fn remove(&self, digest: &Digest) -> io::Result<bool> {
        match fs::remove_file(self.path(digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
