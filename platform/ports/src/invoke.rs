//! How the load balancer calls an `http` task that this worker serves: a function call, no socket.

use crate::body::Body;
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use skiff_types::TaskId;

/// Draws a sandbox of a task and lets it answer.
pub trait Invoke {
    /// Lets `task` answer `request`. The response's body streams; dropping it, or the future, ends the guest.
    ///
    /// The task's quotas, its queue and its timeout hold from the call on.
    fn invoke(
        &self,
        task: TaskId,
        request: Request<Body>,
    ) -> LocalBoxFuture<'_, Result<Response<Body>, InvokeError>>;
}

/// Why a task did not answer. Each prints as a sentence for the client; none names another tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The task is not here, or no longer: another target may be tried, nothing was started.
    #[error("the task is not running here")]
    Gone,
    /// The task and its queue are full. 503, to be tried again after `retry_after_s`.
    #[error("{reason}")]
    Busy {
        /// Which bound was met, and how to raise it.
        reason: String,
        /// Seconds after which a retry makes sense.
        retry_after_s: u32,
    },
    /// The request ran out of time. 504.
    #[error("the task did not answer within {limit_ms} ms (its timeout)")]
    TimedOut {
        /// The task's timeout in milliseconds.
        limit_ms: u64,
    },
    /// The guest failed: it trapped, ran out of memory, or returned without an answer. 502.
    #[error("{0}")]
    Failed(String),
    /// The request's body is over its bound. 413.
    #[error("the request body is larger than {limit_bytes} bytes (the task's limit)")]
    TooLarge {
        /// The bound in bytes.
        limit_bytes: u64,
    },
}
