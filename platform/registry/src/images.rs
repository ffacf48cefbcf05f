//! The image port on a folder of this machine.
//!
//! A push streams the component to a file while it hashes it, then publishes component, config and manifest, in this
//! order. Collecting and publishing exclude each other, so that what is being pushed again is never removed under it.

use crate::blobs::Blobs;
use crate::interface;
use crate::manifest::{self, MANIFEST_BYTES_MAX, Manifest};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use sha2::{Digest as _, Sha256};
use skiff_kit::clock::{Clock, SystemClock};
use skiff_ports::images::{Image, ImageError, Images};
use skiff_types::Digest;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

/// The largest component, in bytes.
pub const COMPONENT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A blob that was pushed this lately is not collected, in milliseconds: an image is pushed before it is referred to.
pub const GRACE_MS: u64 = 60 * 60 * 1_000;
/// Uploads at once; who comes later waits.
const UPLOADS_MAX: usize = 8;

/// Images in a folder of this machine. Cheap to clone.
#[derive(Clone)]
pub struct LocalImages {
    folder: Arc<Folder>,
    uploads: Arc<Semaphore>,
}

struct Folder {
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    /// Held while blobs are published, and while they are collected.
    changing: Mutex<()>,
}

/// A component that has come in whole and has no name yet.
struct Upload {
    file: File,
    path: TempPath,
    digest: Digest,
    bytes: u64,
}

impl LocalImages {
    /// Opens the image store in a folder, or makes it. Removes what interrupted uploads have left.
    pub fn open(folder: &Path) -> Result<Self, ImageError> {
        Self::open_with_clock(folder, Arc::new(SystemClock))
    }

    /// As [`LocalImages::open`], by the time of another clock.
    pub fn open_with_clock(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, ImageError> {
        let blobs = Blobs::open(folder).map_err(ImageError::Disk)?;
        let folder = Folder { blobs, clock, changing: Mutex::new(()) };
        Ok(Self { folder: Arc::new(folder), uploads: Arc::new(Semaphore::new(UPLOADS_MAX)) })
    }

    async fn receive(
        &self,
        mut component: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Upload, ImageError> {
        let (file, path) = self.folder.blobs.upload().map_err(ImageError::Disk)?;
        let mut file = tokio::fs::File::from_std(file);
        let mut hash = Sha256::new();
        let mut bytes = 0;
        while let Some(chunk) = component.next().await {
            let chunk = chunk.map_err(ImageError::Upload)?;
            bytes += chunk.len() as u64;
            if bytes > COMPONENT_BYTES_MAX {
                return Err(ImageError::TooLarge { limit_bytes: COMPONENT_BYTES_MAX });
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(ImageError::Disk)?;
        }
        file.flush().await.map_err(ImageError::Disk)?;
        let digest = Digest::from_bytes(hash.finalize().into());
        Ok(Upload { file: file.into_std().await, path, digest, bytes })
    }

    /// Does what waits for the disk on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let folder = self.folder.clone();
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        done.map_err(|error| ImageError::Disk(std::io::Error::other(error)))?
    }
}

#[async_trait]
impl Images for LocalImages {
    async fn push(&self, component: BoxStream<'static, std::io::Result<Bytes>>) -> Result<Image, ImageError> {
        let _turn = self.uploads.acquire().await.expect("nobody closes the semaphore");
        let upload = self.receive(component).await?;
        self.blocking(|folder| folder.publish(upload).map_err(ImageError::Disk)).await
    }

    async fn get(&self, manifest: &Digest) -> Result<Option<Image>, ImageError> {
        let digest = *manifest;
        self.blocking(move |folder| folder.image(&digest)).await
    }

    fn component_path(&self, component: &Digest) -> PathBuf {
        self.folder.blobs.path(component)
    }

    async fn keep(
        &self,
        manifests: &BTreeSet<Digest>,
        components: &BTreeSet<Digest>,
    ) -> Result<usize, ImageError> {
        let (manifests, mut kept) = (manifests.clone(), components.clone());
        kept.extend(&manifests);
        self.blocking(move |folder| folder.collect(&manifests, kept)).await
    }
}

impl Folder {
    fn publish(&self, upload: Upload) -> std::io::Result<Image> {
        // The long syncing of a large file is done before anybody has to wait for it.
        upload.file.sync_all()?;
        let interface = interface::read(&upload.file)?;
        let (config, manifest) = manifest::describe(upload.digest, upload.bytes, interface.as_ref());

        let _changing = self.changing.lock().expect("nobody panics while changing blobs");
        let pushed_ms = self.clock.unix_ms();
        self.blobs.publish(&upload.file, upload.path, &upload.digest, pushed_ms)?;
        self.publish_bytes(&config, pushed_ms)?;
        self.blobs.sync()?;
        let manifest = self.publish_bytes(&manifest, pushed_ms)?;
        self.blobs.sync()?;
        Ok(Image { manifest, component: upload.digest, component_bytes: upload.bytes })
    }

    fn publish_bytes(&self, bytes: &[u8], pushed_ms: u64) -> std::io::Result<Digest> {
        let digest = manifest::digest(bytes);
        let (mut file, path) = self.blobs.upload()?;
        file.write_all(bytes)?;
        self.blobs.publish(&file, path, &digest, pushed_ms)?;
        Ok(digest)
    }

    fn image(&self, digest: &Digest) -> Result<Option<Image>, ImageError> {
        let Some(manifest) = self.manifest(digest)? else { return Ok(None) };
        let component = manifest.component();
        match std::fs::metadata(self.blobs.path(&component.digest)) {
            Ok(file) if file.len() == component.size => Ok(Some(Image {
                manifest: *digest,
                component: component.digest,
                component_bytes: component.size,
            })),
            Ok(_) => Err(ImageError::Damaged(component.digest)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(ImageError::Damaged(component.digest)),
            Err(error) => Err(ImageError::Disk(error)),
        }
    }

    /// The manifest of this digest. `None` if there is no such blob, or it is not a manifest.
    fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, ImageError> {
        let file = match File::open(self.blobs.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ImageError::Disk(error)),
        };
        let mut bytes = Vec::new();
        file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(ImageError::Disk)?;
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Ok(None);
        }
        if manifest::digest(&bytes) != *digest {
            return Err(ImageError::Damaged(*digest));
        }
        Ok(Manifest::parse(&bytes))
    }

    /// Removes what is neither in `kept`, nor named by one of `manifests`, nor pushed lately.
    fn collect(&self, manifests: &BTreeSet<Digest>, mut kept: BTreeSet<Digest>) -> Result<usize, ImageError> {
        let _changing = self.changing.lock().expect("nobody panics while changing blobs");
        for digest in manifests {
            match self.manifest(digest) {
                Ok(Some(manifest)) => kept.extend([manifest.config().digest, manifest.component().digest]),
                Ok(None) => {}
                // What it named is not known; pushing it again mends both.
                Err(ImageError::Damaged(digest)) => tracing::warn!(%digest, "an image's manifest is damaged"),
                Err(error) => return Err(error),
            }
        }
        let now_ms = self.clock.unix_ms();
        let mut removed = 0;
        for blob in self.blobs.list().map_err(ImageError::Disk)? {
            let is_old = blob.pushed_ms.saturating_add(GRACE_MS) < now_ms;
            if is_old && !kept.contains(&blob.digest) {
                removed += usize::from(self.blobs.remove(&blob.digest).map_err(ImageError::Disk)?);
            }
        }
        Ok(removed)
    }
}
