//! Buckets and tables: what their users say of them. What they hold lies elsewhere.

use crate::{Name, QualifiedName};

/// What a bucket is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSpec {
    /// Its name.
    pub name: QualifiedName,
    /// The bus of its namespace that is told of each object that is written or deleted.
    pub bus: Name,
}

/// What a table is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name.
    pub name: QualifiedName,
}
