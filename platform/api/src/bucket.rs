//! Buckets: what may be said of one, and what it is. Objects come and go by S3.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{BucketSpec, DEFAULT_BUS, Name, Namespace, QualifiedName};

/// A bucket that is to be. A call replaces all that was said of it; its objects stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutBucket {
    /// The bus of its namespace that is told of each object that is written or deleted; `default` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub bus: Option<Name>,
}

impl PutBucket {
    /// What this means for a bucket of this name. Whether the bus is there, it does not know.
    ///
    /// # Panics
    /// Never: the default bus has a name.
    pub fn to_domain(&self, name: QualifiedName) -> BucketSpec {
        let bus = self.bus.clone().unwrap_or_else(|| DEFAULT_BUS.parse().expect("a name"));
        BucketSpec { name, bus }
    }
}

/// The call that makes it so, nothing left out.
impl From<&BucketSpec> for PutBucket {
    fn from(spec: &BucketSpec) -> Self {
        Self { bus: Some(spec.bus.clone()) }
    }
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// Its name.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where it lives.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Its revision, for `If-Match`.
    pub revision: u64,
    /// The bus that is told of each object that is written or deleted.
    #[schemars(with = "text::Name")]
    pub bus: Name,
    /// What it holds; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<BucketStatus>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed by its user, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketStatus {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Query parameters of the removal of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteBucketQuery {
    /// Whether a bucket that has objects is removed with them; else it is refused.
    #[serde(default)]
    pub force: bool,
}
