//! The targets of a target group, and how each of them is.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{TargetReason, TargetStatus, TaskId};

/// A target of a target group, and how it is at present, in ELBv2's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// A task's id, or an address.
    pub target: String,
    /// The task, where it is one of the group's service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// Its state.
    #[schemars(with = "text::TargetStatus")]
    pub status: TargetStatus,
    /// Why; absent where it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TargetReason>")]
    pub reason: Option<TargetReason>,
    /// The same for people; empty where it is healthy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Requests that it has not answered, and connections of TCP listeners to it; connections to it that are open where it
    /// is a task with a port.
    pub outstanding: u64,
}
