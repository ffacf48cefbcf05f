//! How an `http` task that this worker serves is called, by the load balancer and by other tasks: a function call, no socket;
//! and what the platform says in the heads of calls between tasks.

use crate::body::Body;
use futures::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, Request, Response};
use skiff_types::TaskId;

/// Who calls: `NAMESPACE/OWNER; task=ID`, where the owner is a service, or the family of a one-off task. Where it stands, the
/// platform wrote it.
pub static CALLER_HEADER: HeaderName = HeaderName::from_static("skiff-caller");
/// How many calls between tasks led to this one, itself included.
pub static HOPS_HEADER: HeaderName = HeaderName::from_static("skiff-hops");
/// Calls that may lead to one another.
pub const HOPS_MAX: u32 = 16;

/// How many calls between tasks led to a request with these headers: 0 if it came from elsewhere. Where several numbers are
/// said, it is the greatest, and what is no number is [`HOPS_MAX`]: whoever says more than there were is refused the sooner.
pub fn hops(headers: &HeaderMap) -> u32 {
    let said = headers.get_all(&HOPS_HEADER).iter();
    said.map(|hops| hops.to_str().ok().and_then(|hops| hops.parse().ok()).unwrap_or(HOPS_MAX))
        .max()
        .unwrap_or(0)
}

/// The port that stands for `http` (RFC 9110, section 4.2.1). By it rules and other tasks name an `http` task, although no
/// socket listens there.
pub const HTTP_PORT: u16 = 80;

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

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn hops_are_the_most_that_anybody_said() {
        let mut headers = HeaderMap::new();
        assert_eq!(hops(&headers), 0);
        for (said, expected) in [("3", 3), ("2", 3), ("", HOPS_MAX), ("many", HOPS_MAX), ("99", 99)] {
            headers.append(&HOPS_HEADER, HeaderValue::from_static(said));
            assert_eq!(hops(&headers), expected, "{said:?}");
        }
    }
}
