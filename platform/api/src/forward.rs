//! A connection to a task through the API: after the upgrade, its bytes are the task's and the caller's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the connection is upgraded to: the value of `Upgrade` in the call and in its answer.
pub const FORWARD_PROTOCOL: &str = "skiff-forward";

/// Query parameters of a connection to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardQuery {
    /// To which of the task's TCP ports.
    #[schemars(range(min = 1))]
    pub port: u16,
}
