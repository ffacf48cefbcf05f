//! Images: components stored under `repository:tag` and `repository@digest`.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Digest, ImageReference, Namespace};

/// An image under one of its tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// `repository:tag`, or `repository@digest` where it was asked for by digest.
    #[schemars(with = "text::ImageReference")]
    pub reference: ImageReference,
    /// The boundary it lives in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Digest of its manifest: what `repository@digest` means.
    #[schemars(with = "text::Digest")]
    pub digest: Digest,
    /// Digest of its component.
    #[schemars(with = "text::Digest")]
    pub component: Digest,
    /// Size of its component in bytes.
    pub component_bytes: u64,
    /// The store's revision of the tag; for `If-Match`.
    pub revision: u64,
    /// When the tag was first pushed, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When the tag was last pushed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}
