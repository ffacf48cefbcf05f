//! Lists come in pages: a bounded count of items, and a cursor that continues behind them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Query parameters of a list that has no filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Most items to answer with: 1 to 1000; 100 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Items of a page where `limit` is not given.
    pub const LIMIT_DEFAULT: u32 = 100;
    /// Most items of a page.
    pub const LIMIT_MAX: u32 = 1_000;
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Continues behind the last item; absent on the last page. Means something to the server only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
