//! The tables port: durable key-value tables. A write that was answered is on the drive.
//!
//! Keys order by their bytes. A table that nothing was written to is empty, whether it was ever there or not: which tables there
//! are is the catalog's.

use async_trait::async_trait;
use bytes::Bytes;
use skiff_types::ResourceId;

/// The longest key, in bytes; the shortest is one.
pub const ITEM_KEY_BYTES_MAX: usize = 1_024;
/// The largest value, in bytes.
pub const ITEM_VALUE_BYTES_MAX: usize = 1 << 20;
/// Items in one call.
pub const ITEMS_MAX: usize = 100;
/// Bytes of values in one call.
pub const ITEMS_BYTES_MAX: usize = 4 << 20;
/// Items of a page of a scan at most.
pub const SCAN_MAX: u32 = 1_000;

/// Keeps items.
#[async_trait]
pub trait Tables: Send + Sync {
    /// The items of these keys, in their order; none for each that is not there or has expired. It is [`TableError::Invalid`] if
    /// their values have more than [`ITEMS_BYTES_MAX`] together.
    async fn get(&self, table: ResourceId, keys: Vec<String>) -> Result<Vec<Option<Item>>, TableError>;

    /// Does all of these writes, in one transaction, or none of them; each key may be in it once. Returns the versions that they
    /// gave, 0 for a delete.
    async fn write(&self, table: ResourceId, writes: Vec<ItemWrite>) -> Result<Vec<u64>, TableError>;

    /// Adds to the number that an item's value is, as decimal digits; an item that is not there counts as 0. Returns the sum. When
    /// it expires stays as it is.
    async fn increment(&self, table: ResourceId, key: String, delta: i64) -> Result<i64, TableError>;

    /// The items whose keys begin with `prefix` and come after `after`, by key, `limit` at most.
    async fn scan(&self, table: ResourceId, scan: Scan) -> Result<ScanPage, TableError>;

    /// What a table holds; expired items may count for a while.
    async fn stats(&self, table: ResourceId) -> Result<TableStats, TableError>;

    /// Forgets all that a table holds.
    async fn drop_table(&self, table: ResourceId) -> Result<(), TableError>;

    /// All tables that hold something.
    async fn tables(&self) -> Result<Vec<ResourceId>, TableError>;
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// Given by the write that it has its value from: greater than all versions that its table gave before.
    pub version: u64,
    /// When it goes by itself, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// A write of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemWrite {
    /// Its key.
    pub key: String,
    /// What it is to hold; `None` deletes it.
    pub value: Option<Bytes>,
    /// When it goes by itself, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// What is to be there now.
    pub expect: ItemExpect,
}

/// What a write expects to find. What has expired is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemExpect {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// The item in this version.
    Version(u64),
}

/// Which items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// What their keys begin with; empty for all.
    pub prefix: String,
    /// Only those whose keys come after this one.
    pub after: Option<String>,
    /// How many at most; no more than [`SCAN_MAX`], nor than [`ITEMS_BYTES_MAX`] hold, but one at least.
    pub limit: u32,
}

/// Items, and whether there are more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// By key.
    pub items: Vec<Item>,
    /// The key to ask after for the next; none where there are no more.
    pub next: Option<String>,
}

/// What a table holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Items.
    pub items: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Why a table did not do it. Nothing was changed then, but after [`TableError::Storage`], where that is not known.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// An item is not as the write expected it.
    #[error("{key:?} is not as the write expects it: it is {}", match actual { Some(version) => format!("in version {version}"), None => "not there".to_owned() })]
    Conflict {
        /// Which.
        key: String,
        /// Its version, if it is there.
        actual: Option<u64>,
    },
    /// It can't be so: a key too long or empty, a value too large, too many at once.
    #[error("{0}")]
    Invalid(String),
    /// Its value is no number, or the sum is none of 64 bits.
    #[error("{key:?} can't be counted with: {why}")]
    NotANumber {
        /// Which.
        key: String,
        /// Why.
        why: String,
    },
    /// There is no room on the disk.
    #[error("there is no room on the disk; nothing was written")]
    Full,
    /// The storage below failed.
    #[error("the tables' storage failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}
