//! The log port: what guests wrote, line by line.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use skiff_types::{QualifiedName, TaskId};

/// Which of a program's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Skiff's own remarks: lines dropped, a guest's failure.
    Skiff,
}

/// One line of a task's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which task wrote it.
    pub task: TaskId,
    /// Where to.
    pub stream: LogStream,
    /// The line without its end; invalid UTF-8 replaced; cut at [`LogLine::LENGTH_MAX`].
    pub text: String,
}

impl LogLine {
    /// Longest line kept, in bytes.
    pub const LENGTH_MAX: usize = 16 * 1024;
}

/// Which lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Whose: a service, or the family of one-off tasks.
    pub owner: QualifiedName,
    /// Only this task's.
    pub task: Option<TaskId>,
    /// Only since this time, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only the last so many of those that are there.
    pub tail: Option<usize>,
    /// Go on with what comes.
    pub follow: bool,
}

/// Reads what guests wrote.
pub trait Logs: Send + Sync {
    /// The lines asked for, oldest first; with `follow` the stream does not end by itself.
    fn read(&self, query: LogQuery) -> BoxStream<'static, std::io::Result<LogLine>>;

    /// Those of whose tasks something is kept.
    fn owners(&self) -> BoxFuture<'_, std::io::Result<Vec<QualifiedName>>>;

    /// Removes what an owner's tasks wrote.
    fn remove(&self, owner: &QualifiedName);
}
