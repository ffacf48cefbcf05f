//! A request from one task to another of this worker: a function call, without a socket and without a copy.
//!
//! The called guest runs in a task of the runtime of its own, never inside a poll of the calling one. Both are metered by
//! the time that passes in their polls (`sandbox::run`): a poll within a poll would charge the callee's time to both, hold
//! the callee's heap for both, tell the epoch clock that no guest runs, and run the callee's start-up on what is left of the
//! caller's stack, which is sized for a guest. So the price of a call beyond the callee's own sandbox is a task of the
//! runtime, whose handle is the one channel; what is done here is charged to nobody, as the load balancer's work is.
//!
//! Nobody waits for ever: the called task's queue and timeout hold, also where it calls itself at its limit of concurrency, and
//! a circle of calls ends after [`HOPS_MAX`](super::headers::HOPS_MAX). Whoever asked and leaves takes the call with it, and that the guest.

use crate::http::answer::CalledBody;
use crate::http::tally::Tally;
use crate::http::target::HTTP_PORT;
use crate::http::timeouts::Timeouts;
use crate::http::upload::upload;
use crate::http::{Caller, headers};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use skiff_net::ServiceTask;
use skiff_ports::body;
use skiff_ports::invoke::InvokeError;
use std::time::Duration;
use wasmtime_wasi_http::{Error, WasiBody};

/// Lets an `http` task answer.
///
/// What the task does not answer itself, because it is busy, failed or took too long, is answered in its name, as the load
/// balancer does.
pub(super) async fn call(
    caller: &Caller,
    task: &ServiceTask,
    request: Request<WasiBody>,
    timeouts: Timeouts,
) -> Result<Response<WasiBody>, Error> {
    let invoke = caller.shared.invoke().ok_or(Error::DestinationUnavailable)?;
    let (mut head, body) = request.into_parts();
    headers::for_a_task(&mut head.headers, &caller.label)?;
    let is_head = head.method == Method::HEAD;
    let flow = caller.shared.network.call(caller.guest.task(), task.task, HTTP_PORT);
    let flow = flow.map_err(|error| caller.told(&error))?;
    let cut = flow.cut();
    let (body, read) = upload(body);
    let tally = Tally::new(flow, task.slot.clone(), caller.guest.worker(), read);
    let answer = tokio::select! {
        biased;
        answer = invoke.invoke(task.task, Request::from_parts(head, body)) => answer,
        () = cut => return Err(Error::ConnectionTerminated),
        () = passed(timeouts.first_byte_if_set()) => return Err(Error::HttpResponseTimeout),
    };
    match answer {
        Ok(answer) if answer.status().is_informational() => {
            let reason = "the task's answer is not valid HTTP: its status is an informational one";
            Ok(in_its_name(&InvokeError::Failed(reason.to_owned()), tally, timeouts))
        }
        Ok(answer) => Ok(delivered(answer, is_head, tally, timeouts)),
        Err(InvokeError::Gone) => {
            tally.was_not_seen();
            Err(Error::DestinationUnavailable)
        }
        Err(error) => Ok(in_its_name(&error, tally, timeouts)),
    }
}

/// Ends after that time, if one is set.
async fn passed(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// A task's answer, for who asked.
fn delivered(
    answer: Response<body::Body>,
    is_head: bool,
    mut tally: Tally,
    timeouts: Timeouts,
) -> Response<WasiBody> {
    let status = answer.status();
    tally.answered(status);
    // RFC 9110, sections 9.3.2 and 15: what has no body on any connection has none here.
    let has_no_body = is_head
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    answer.map(|body| {
        let body = if has_no_body { body::empty() } else { body };
        CalledBody::new(body, tally, timeouts.between_bytes_if_set()).boxed_unsync()
    })
}

/// What is answered where the task did not.
fn in_its_name(error: &InvokeError, tally: Tally, timeouts: Timeouts) -> Response<WasiBody> {
    let (status, retry_after_s) = match error {
        InvokeError::Gone => (StatusCode::SERVICE_UNAVAILABLE, None),
        InvokeError::Busy { retry_after_s, .. } => (StatusCode::SERVICE_UNAVAILABLE, Some(*retry_after_s)),
        InvokeError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, None),
        InvokeError::Failed(_) => (StatusCode::BAD_GATEWAY, None),
        InvokeError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, None),
    };
    let mut answer = Response::new(body::full(format!("{error}\n")));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(retry_after_s) = retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
    }
    delivered(answer, false, tally, timeouts)
}
