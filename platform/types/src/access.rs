//! Access: what is done to what, as a role's policy judges it. Who may what is decided elsewhere.
//!
//! What always holds: an action is of one kind of resource, and a resource's path is the one that is touched, byte for byte, as
//! it was told: nothing is decoded, folded or tidied up between the judgement and the deed.

use crate::QualifiedName;
use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// A kind of thing that a role's policy guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// Its paths are the keys of its objects.
    Bucket,
    /// Its paths are the keys of its items.
    Table,
    /// Has no paths.
    Queue,
    /// Has no paths.
    Bus,
    /// Has no paths.
    Secret,
}

impl ResourceKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bucket, Self::Table, Self::Queue, Self::Bus, Self::Secret];
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bucket => "bucket",
            Self::Table => "table",
            Self::Queue => "queue",
            Self::Bus => "bus",
            Self::Secret => "secret",
        })
    }
}

impl FromStr for ResourceKind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|kind| kind.to_string() == text);
        found.ok_or_else(|| ParseError::new(text, "a kind of resource: bucket, table, queue, bus or secret"))
    }
}

/// Something that may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessAction {
    /// Get objects and what is known of them, and list them.
    BucketRead,
    /// Put objects, in one or in many parts.
    BucketWrite,
    /// Delete objects.
    BucketDelete,
    /// Make and remove buckets.
    BucketManage,
    /// Get items, and scan.
    TableRead,
    /// Put, count and delete items.
    TableWrite,
    /// Send messages.
    QueueSend,
    /// Receive messages, delete them and change how long they stay out of sight.
    QueueReceive,
    /// Put events.
    BusPut,
    /// Get a secret's value.
    SecretRead,
}

impl AccessAction {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::BucketRead,
        Self::BucketWrite,
        Self::BucketDelete,
        Self::BucketManage,
        Self::TableRead,
        Self::TableWrite,
        Self::QueueSend,
        Self::QueueReceive,
        Self::BusPut,
        Self::SecretRead,
    ];

    /// What it is done to.
    pub fn kind(self) -> ResourceKind {
        match self {
            Self::BucketRead | Self::BucketWrite | Self::BucketDelete | Self::BucketManage => {
                ResourceKind::Bucket
            }
            Self::TableRead | Self::TableWrite => ResourceKind::Table,
            Self::QueueSend | Self::QueueReceive => ResourceKind::Queue,
            Self::BusPut => ResourceKind::Bus,
            Self::SecretRead => ResourceKind::Secret,
        }
    }
}

impl fmt::Display for AccessAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BucketRead => "bucket:read",
            Self::BucketWrite => "bucket:write",
            Self::BucketDelete => "bucket:delete",
            Self::BucketManage => "bucket:manage",
            Self::TableRead => "table:read",
            Self::TableWrite => "table:write",
            Self::QueueSend => "queue:send",
            Self::QueueReceive => "queue:receive",
            Self::BusPut => "bus:put",
            Self::SecretRead => "secret:read",
        })
    }
}

impl FromStr for AccessAction {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|action| action.to_string() == text);
        found.ok_or_else(|| {
            ParseError::new(
                text,
                "an action: bucket:read, bucket:write, bucket:delete, bucket:manage, table:read, table:write, queue:send, \
                 queue:receive, bus:put or secret:read",
            )
        })
    }
}

/// What something is done to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccessResource {
    /// What it is.
    pub kind: ResourceKind,
    /// The bucket, table, queue, bus or secret.
    pub name: QualifiedName,
    /// The object or the item in it, by its whole key; of a listing, the prefix that is listed (empty for all). None where the
    /// thing itself is meant.
    pub path: Option<String>,
    /// Whether the path is a prefix that is listed: then everything that begins with it is touched.
    pub listing: bool,
}

impl AccessResource {
    /// The thing itself.
    pub fn new(kind: ResourceKind, name: QualifiedName) -> Self {
        Self { kind, name, path: None, listing: false }
    }

    /// What lies in it by this key.
    pub fn at(kind: ResourceKind, name: QualifiedName, path: impl Into<String>) -> Self {
        Self { kind, name, path: Some(path.into()), listing: false }
    }

    /// What is told of it where all that begins with this prefix is listed.
    pub fn listing(kind: ResourceKind, name: QualifiedName, prefix: impl Into<String>) -> Self {
        Self { kind, name, path: Some(prefix.into()), listing: true }
    }
}

/// `NAME` or `NAME/PATH`, as it stands in a grant of its namespace.
impl fmt::Display for AccessResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.name)?;
        self.path.iter().try_for_each(|path| write!(f, "/{path}"))
    }
}

serde_as_text!(ResourceKind, AccessAction);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_begins_with_the_kind_that_it_is_of() {
        for action in AccessAction::ALL {
            let text = action.to_string();
            assert_eq!(text.split(':').next().unwrap().parse(), Ok(action.kind()));
            assert_eq!(text.parse(), Ok(action));
        }
        for bad in ["", "bucket", "bucket:", "bucket:Read", "table:delete", "*"] {
            assert!(bad.parse::<AccessAction>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_resource_prints_as_grants_name_it() {
        let name: QualifiedName = "default/uploads".parse().unwrap();
        assert_eq!(AccessResource::new(ResourceKind::Bucket, name.clone()).to_string(), "uploads");
        assert_eq!(AccessResource::at(ResourceKind::Bucket, name, "a/b.png").to_string(), "uploads/a/b.png");
    }
}
