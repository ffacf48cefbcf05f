//! Logs: what guests wrote, as newline-delimited JSON.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Name, TaskId};

/// Query parameters of the logs. Exactly one of `owner` and `task` is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Of all tasks of this service, or of this family's one-off tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub owner: Option<Name>,
    /// Of this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// Only lines written at or after this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Only the last so many of the lines that are there: 0 to 100000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Go on with what comes. With `task`, ends once that task is `STOPPED` and its last line was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

impl LogQuery {
    /// The most that `tail` can ask for.
    pub const TAIL_MAX: u32 = 100_000;
}

/// One line of a task's output. On the wire each is one line of JSON; an empty line between them is a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which task wrote it.
    #[schemars(with = "text::TaskId")]
    pub task: TaskId,
    /// Where to.
    pub stream: LogStream,
    /// The line without its end; cut at 16 KiB.
    pub text: String,
}

/// Which of a program's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Skiff's own remarks: lines dropped, a guest's failure.
    Skiff,
}
