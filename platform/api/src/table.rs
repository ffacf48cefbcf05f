//! Tables: what may be said of one, what it is, and its items.

use crate::payload::{self, InvalidPayload};
use crate::text;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Name, Namespace, QualifiedName, Span, TableSpec};

/// A table that is to be. Nothing but its name is said of one so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTable {}

impl PutTable {
    /// What this means for a table of this name.
    pub fn to_domain(&self, name: QualifiedName) -> TableSpec {
        TableSpec { name }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Its name.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where it lives.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Its revision, for `If-Match`.
    pub revision: u64,
    /// What it holds; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TableStatus>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed by its user, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// What a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableStatus {
    /// Items; those that expired within the last moments may count.
    pub items: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// An item of a table. Its value is text, or in base64 where it is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// Its value, if that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value in base64, if that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// Given by the write that it has its value from; greater than all before in its table.
    pub version: u64,
    /// When it goes by itself, in milliseconds since 1970; absent where it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

impl Item {
    /// An item with this value.
    pub fn new(key: String, value: &[u8], version: u64, expires_at_ms: Option<u64>) -> Self {
        let (value, value_base64) = payload::said(value);
        Self { key, value, value_base64, version, expires_at_ms }
    }

    /// Its value.
    pub fn bytes(&self) -> Result<Bytes, InvalidPayload> {
        let value = payload::read("value", self.value.as_deref(), self.value_base64.as_deref())?;
        value.ok_or(InvalidPayload::Missing { text: "value" })
    }
}

/// Which items are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetItems {
    /// Their keys; 100 at most.
    pub keys: Vec<String>,
}

/// Items, in the order in which they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Items {
    /// `null` for each that is not there.
    pub items: Vec<Option<Item>>,
}

/// Writes that are done all together, or none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteItems {
    /// 100 at most, with values of 4 MiB together; each key may be in it once.
    pub writes: Vec<ItemWrite>,
}

/// A write of one item: a value, or that it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemWrite {
    /// Its key: 1 to 1,024 bytes.
    pub key: String,
    /// Its value as text; 1 MiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// It is deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete: bool,
    /// After so long it goes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub expires_in: Option<Span>,
    /// When it goes by itself, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// Only if there is no such item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_absent: bool,
    /// Only if there is such an item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_present: bool,
    /// Only if the item is in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<u64>,
}

impl ItemWrite {
    /// A write of this value, whatever is there.
    pub fn new(key: String, value: &[u8]) -> Self {
        let (value, value_base64) = payload::said(value);
        Self { key, value, value_base64, ..Self::default() }
    }

    /// What it is to hold; none where it is deleted.
    pub fn bytes(&self) -> Result<Option<Bytes>, InvalidPayload> {
        payload::read("value", self.value.as_deref(), self.value_base64.as_deref())
    }
}

/// What writes gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenItems {
    /// The version of each, in their order; 0 for a delete.
    pub versions: Vec<u64>,
}

/// A number that is to be added to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncrementItem {
    /// The item's key; one that is not there counts as 0.
    pub key: String,
    /// What is added.
    pub delta: i64,
}

/// What a number came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncrementedItem {
    /// The sum.
    pub value: i64,
}

/// Query parameters of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanQuery {
    /// What the keys begin with; all where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only keys that come after this one, by their bytes: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most items to answer with: 1 to 1000; 100 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// A page of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScannedItems {
    /// By the bytes of their keys.
    pub items: Vec<Item>,
    /// The key to go on `after`; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
