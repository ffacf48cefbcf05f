//! The image port: content-addressed blobs on this machine.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use skiff_types::Digest;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Keeps images: a manifest and the component it names, each under its SHA-256.
#[async_trait]
pub trait Images: Send + Sync {
    /// Stores a component and a manifest for it; durable once it returns. The same bytes give the same image.
    async fn push(&self, component: BoxStream<'static, std::io::Result<Bytes>>) -> Result<Image, ImageError>;

    /// The image whose manifest has this digest.
    async fn get(&self, manifest: &Digest) -> Result<Option<Image>, ImageError>;

    /// Where a component's bytes lie, for a compile child to read.
    fn component_path(&self, component: &Digest) -> PathBuf;

    /// Removes all manifests but these, and the components that none of them names nor `components` lists; says how
    /// many blobs went.
    async fn keep(
        &self,
        manifests: &BTreeSet<Digest>,
        components: &BTreeSet<Digest>,
    ) -> Result<usize, ImageError>;
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Of its manifest: what `repository@digest` means.
    pub manifest: Digest,
    /// Of its component.
    pub component: Digest,
    /// Size of the component in bytes.
    pub component_bytes: u64,
}

/// Why an image could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The upload is larger than an image may be.
    #[error("the component is larger than {limit_bytes} bytes, the most an image may have")]
    TooLarge {
        /// The bound in bytes.
        limit_bytes: u64,
    },
    /// The upload broke off.
    #[error("the upload broke off")]
    Upload(#[source] std::io::Error),
    /// A blob is damaged: its bytes are not those its name says.
    #[error("the blob {0} is damaged; push the image again")]
    Damaged(Digest),
    /// The disk.
    #[error("the image store's disk failed")]
    Disk(#[source] std::io::Error),
}
