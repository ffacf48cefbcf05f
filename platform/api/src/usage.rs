//! The bill: what services, their tasks and the platform itself used.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Group, Name, Namespace, TaskId};

/// Query parameters of the usage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    /// Since this time, in milliseconds since 1970, from the beginning of the record that it falls into; absent for all
    /// time. Records are of a minute for the last two hours, of an hour for seven days, of a day before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Lists this namespace alone; what others used is in `others`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Namespace>")]
    pub namespace: Option<Namespace>,
    /// Lists this service, or this family of one-off tasks, alone; what others used is in `others`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub service: Option<Name>,
    /// Lists each task by itself. Records of a day or more do not tell tasks apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_task: Option<bool>,
}

/// What was used: the items, `others` and `platform` add up to `total`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageReport {
    /// From when on, in milliseconds since 1970.
    pub from_ms: u64,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// Who used it, most CPU time first; the first 10000 of them.
    pub items: Vec<UsageItem>,
    /// Tasks that are not listed: those that were not asked for, or of so long ago that they are not told apart.
    pub others: Usage,
    /// What no task is charged with: the work of the platform's own processes, and requests that no service answers.
    pub platform: Usage,
    /// All of it. Its CPU time is what the kernel says of the platform's processes.
    pub total: Usage,
}

impl UsageReport {
    /// The most items that a report lists.
    pub const ITEMS_MAX: usize = 10_000;
}

/// What a service, a family of one-off tasks, or one of their tasks used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageItem {
    /// The boundary it lives in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Whose tasks: `service:NAME`, or `family:NAME` for one-off tasks.
    #[schemars(with = "text::Group")]
    pub group: Group,
    /// Which task; absent for all of them together, and for those that are not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// What it used.
    pub used: Usage,
}

/// Six figures, as they are billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Requests that were answered.
    pub requests: u64,
    /// CPU time, in seconds.
    pub cpu_seconds: f64,
    /// Memory claimed times how long it was held, in GB-seconds: 2^30 bytes for a second each.
    pub gb_seconds: f64,
    /// Bytes of request bodies.
    pub received_bytes: u64,
    /// Bytes of response bodies.
    pub sent_bytes: u64,
    /// Sandboxes that were made.
    pub cold_starts: u64,
}
