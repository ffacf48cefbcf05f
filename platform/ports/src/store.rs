//! The store port: objects with revisions, compare-and-swap, prefix watch.
//!
//! The terms are those of NATS JetStream's key-value store, the most frugal of the stores that Skiff is to run on: no
//! write spans two keys; a watch yields the last value of each key and may skip revisions between; a watch that is
//! too far behind is told to list again; a prefix is made of whole tokens; a value stays under [`VALUE_BYTES_MAX`].

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The largest value, in bytes (JetStream's default message limit is 1 MiB, headers included).
pub const VALUE_BYTES_MAX: usize = 1024 * 1024 - 1024;

/// A position in the store's order of writes; grows with every write, from 1. 0 is before all.
pub type Revision = u64;

/// Tokens of `A-Za-z0-9_-` joined by `.`, as in `service.default.hello`; 1 to 8 tokens, 256 bytes at most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Most tokens in a key.
    pub const TOKENS_MAX: usize = 8;
    /// Longest key in bytes.
    pub const LENGTH_MAX: usize = 256;

    /// Joins tokens.
    pub fn new<T: AsRef<str>>(tokens: impl IntoIterator<Item = T>) -> Result<Self, StoreError> {
        let mut text = String::new();
        let mut count = 0;
        for token in tokens {
            let token = token.as_ref();
            let valid = !token.is_empty()
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            if !valid {
                return Err(StoreError::InvalidKey(token.chars().take(80).collect()));
            }
            if count > 0 {
                text.push('.');
            }
            text.push_str(token);
            count += 1;
        }
        if count == 0 || count > Self::TOKENS_MAX || text.len() > Self::LENGTH_MAX {
            return Err(StoreError::InvalidKey(text));
        }
        Ok(Self(text.into()))
    }

    /// Takes a key apart that another process wrote.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        Self::new(text.split('.'))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether it is `prefix` or lies below it, by whole tokens.
    pub fn is_under(&self, prefix: &Key) -> bool {
        self.0.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// A key orders as its text does.
impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key's value and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// The write that gave it this value.
    pub revision: Revision,
    /// The value.
    pub value: Bytes,
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything or nothing.
    Any,
    /// Nothing: the key does not exist.
    Absent,
    /// The key's last write is this one.
    Revision(Revision),
}

/// What a write outlives, once it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The machine's power: it is on the drive.
    Drive,
    /// The process, however it ends, but perhaps not the machine's power. Where that loses it, it loses all later writes that
    /// no [`Durability::Drive`] came after, too; and none before.
    System,
}

/// A key's latest state, as a watch yields it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub key: Key,
    /// The write that made the change.
    pub revision: Revision,
    /// The value; `None` if it was deleted.
    pub value: Option<Bytes>,
}

/// A listing, and where a watch that continues it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The entries, ordered by key.
    pub entries: Vec<Entry>,
    /// The store's revision that they are as of.
    pub revision: Revision,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The key's state is not what the write expected.
    #[error("{key} was changed meanwhile (it is at revision {actual})")]
    Conflict {
        /// Which key.
        key: Key,
        /// Its revision; 0 if it does not exist.
        actual: Revision,
    },
    /// Not a key.
    #[error("{0:?} can't be part of a key: 1 to 8 tokens of A-Z, a-z, 0-9, '_' and '-', 256 bytes in all")]
    InvalidKey(String),
    /// The value is too large.
    #[error("the value of {key} has {bytes} bytes; the most is {VALUE_BYTES_MAX}")]
    TooLarge {
        /// Which key.
        key: Key,
        /// Its size in bytes.
        bytes: usize,
    },
    /// The watch starts before what the store still remembers: list again.
    #[error("changes after revision {0} are no longer kept; list again")]
    Compacted(Revision),
    /// The data was written by a newer Skiff.
    #[error(
        "the data has schema version {found}; this skiff knows versions up to {known}: run the newer skiff"
    )]
    NewerSchema {
        /// The version of the data.
        found: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// There is no room on the disk.
    #[error("there is no room on the disk; nothing was written")]
    Full,
    /// The storage below failed. Whether the write was done is not known.
    #[error("the store's storage failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store has been shut down.
    #[error("the store is closed")]
    Closed,
}

/// Keeps objects. A write is on the drive, unless less is asked for, and seen by every later read, once it returns.
#[async_trait]
pub trait Store: Send + Sync {
    /// The key's entry.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Writes a value if `expect` holds; returns the write's revision.
    async fn put(&self, key: &Key, value: Bytes, expect: Expect) -> Result<Revision, StoreError>;

    /// The same, but it need outlive no more than `durability` says: a store may do that sooner, and need not.
    async fn put_with(
        &self,
        key: &Key,
        value: Bytes,
        expect: Expect,
        _durability: Durability,
    ) -> Result<Revision, StoreError> {
        self.put(key, value, expect).await
    }

    /// Deletes a key if `expect` holds; returns the write's revision. Deleting what does not exist is a conflict,
    /// except with [`Expect::Any`] or [`Expect::Absent`], where it changes nothing and returns the store's revision.
    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError>;

    /// All entries under a prefix, as of one revision.
    async fn list(&self, prefix: &Key) -> Result<Listing, StoreError>;

    /// Every key under `prefix` that changes after `after`, in the order of their latest changes; never ends by
    /// itself. Revisions that were overwritten before they were yielded may be skipped. An `Err` is the last item.
    async fn watch(
        &self,
        prefix: &Key,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_whole_tokens() {
        let key = Key::parse("service.default.hello").unwrap();
        assert!(key.is_under(&Key::parse("service.default").unwrap()));
        assert!(key.is_under(&key));
        assert!(!key.is_under(&Key::parse("service.def").unwrap()));
        for bad in ["", ".", "a.", "a..b", "a b", "a.*", "a.>", &"a".repeat(257), "a.b.c.d.e.f.g.h.i"] {
            assert!(Key::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
