//! A request from one task to another of this worker: a function call, without a socket and without a copy.
//!
//! The called guest runs in a task of the runtime of its own, never inside a poll of the calling one. Both are metered by
//! the time that passes in their polls (`sandbox::run`): a poll within a poll would charge the callee's time to both, hold
//! the callee's heap for both, tell the epoch clock that no guest runs, and run the callee's start-up on what is left of the
//! caller's stack, which is sized for a guest. So the price of a call beyond the callee's own sandbox is a task of the
//! runtime, whose handle is the one channel; what is done here is charged to nobody, as the load balancer's work is.
//!
//! Nobody waits for ever: the called task's queue and timeout hold, also where it calls itself at its limit of concurrency,
//! and a circle of calls ends after [`HOPS_MAX`](skiff_ports::invoke::HOPS_MAX). Whoever asked and leaves takes the call
//! with it, and that the guest.

use crate::http::answer::CalledBody;
use crate::http::length::Length;
use crate::http::tally::Tally;
use crate::http::timeouts::Timeouts;
use crate::http::upload::Upload;
use crate::http::{Caller, errors, headers};
use crate::local::Local;
use futures::FutureExt;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use skiff_ledger::MemoryClaim;
use skiff_net::{NetError, ServiceTask};
use skiff_ports::body::{self, Body};
use skiff_ports::invoke::{HTTP_PORT, InvokeError};
use std::pin::pin;
use std::time::Duration;
use wasmtime_wasi_http::{Error, WasiBody};

/// Bytes of an answer that may wait for who asked: what the sandbox takes out of a guest's buffers before anybody reads it.
const WAITING_BYTES_MAX: u64 = 192 << 10;

/// Lets one of these `http` tasks answer: the first that is here.
///
/// What the task does not answer itself, because it is busy, failed or took too long, is answered in its name, as the load
/// balancer does.
pub(super) async fn call(
    caller: &Caller,
    tasks: &[ServiceTask],
    request: Request<WasiBody>,
    timeouts: Timeouts,
) -> Result<Response<WasiBody>, Error> {
    let invoke = caller.shared.invoke().ok_or(Error::DestinationUnavailable)?;
    let (mut head, body) = request.into_parts();
    headers::for_a_task(&mut head.headers, &caller.label)?;
    let is_head = head.method == Method::HEAD;
    let upload = Upload::new(body, headers::content_length(&head.headers))?;
    let mut too_late = pin!(passed(timeouts.first_byte_if_set()));
    for (task, head) in tasks.iter().zip(std::iter::repeat_n(head, tasks.len())) {
        let flow = match caller.shared.network.call(caller.guest.task(), task.task, HTTP_PORT) {
            Ok(flow) => flow,
            // It has left since its name was looked up.
            Err(NetError::Unreachable) => continue,
            Err(error) => return Err(caller.told(&error)),
        };
        let Some(body) = upload.body(|| Local::make(|| flow.cut().boxed_local())) else { break };
        let cut = flow.cut();
        let mut tally = Tally::new(flow, task.slot.clone(), caller.guest.worker(), upload.read());
        let answer = tokio::select! {
            biased;
            answer = invoke.invoke(task.task, Request::from_parts(head, body)) => answer,
            () = cut => return Err(Error::ConnectionTerminated),
            () = &mut too_late => return Err(Error::ConnectionReadTimeout),
        };
        let answer = match answer {
            Err(InvokeError::Gone) => {
                tally.was_not_seen();
                continue;
            }
            answer => answer.and_then(|answer| sound(answer, is_head)),
        };
        let refused = |error| (in_its_name(&error, is_head), Length::new(None));
        let (answer, length) = answer.unwrap_or_else(refused);
        tally.answered(answer.status());
        let claim = claim(caller, answer.body())?;
        let silence = timeouts.between_bytes_if_set();
        return Ok(answer.map(|body| CalledBody::new(body, claim, length, tally, silence).boxed_unsync()));
    }
    Err(Error::DestinationUnavailable)
}

/// Ends after that time, if one is set.
async fn passed(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// A task's answer as who asked may have it, and how long its body is to be.
///
/// # Errors
/// `Failed` if it is none that a connection could carry.
fn sound(answer: Response<Body>, is_head: bool) -> Result<(Response<Body>, Length), InvokeError> {
    let failed = |what: &str| InvokeError::Failed(format!("the task's answer is not valid HTTP: {what}"));
    let status = answer.status();
    if status.is_informational() {
        return Err(failed("its status is an informational one"));
    }
    // RFC 9110, sections 9.3.2 and 15: what has no body on any connection has none here.
    if is_head
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok((answer.map(|_| body::empty()), Length::new(None)));
    }
    let length = Length::new(headers::content_length(answer.headers()));
    match length.allows(answer.body().size_hint().exact()) {
        true => Ok((answer, length)),
        false => Err(failed("its content-length is not its body's length")),
    }
}

/// What is answered where the task did not.
fn in_its_name(error: &InvokeError, is_head: bool) -> Response<Body> {
    let (status, retry_after_s) = match error {
        InvokeError::Gone => (StatusCode::SERVICE_UNAVAILABLE, None),
        InvokeError::Busy { retry_after_s, .. } => (StatusCode::SERVICE_UNAVAILABLE, Some(*retry_after_s)),
        InvokeError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, None),
        InvokeError::Failed(_) => (StatusCode::BAD_GATEWAY, None),
        InvokeError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, None),
    };
    let body = if is_head { body::empty() } else { body::full(format!("{error}\n")) };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(retry_after_s) = retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
    }
    answer
}

/// Claims what may wait of an answer's body until it is read. While the called guest lives, its own task is charged with that
/// too; but it may end long before.
///
/// # Errors
/// `ConnectionLimitReached` if the memory limit of the task that asked has no room for it, which is said in its logs.
fn claim(caller: &Caller, body: &Body) -> Result<MemoryClaim, Error> {
    let waiting_bytes = body.size_hint().exact().unwrap_or(WAITING_BYTES_MAX).min(WAITING_BYTES_MAX);
    let mut claim = caller.guest.claim();
    if waiting_bytes == 0 || claim.grow(waiting_bytes) {
        return Ok(claim);
    }
    caller.guest.remark(
        "the answer to a request was given up: the task's memory limit has no room for it; raise --memory, or read \
         answers before asking for more",
    );
    Err(errors::of_net(&NetError::OutOfMemory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, length: Option<&'static str>, is_head: bool, expected: Result<u64, &str>) {
        let mut answer = Response::new(body::full("four"));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(length) = length {
            answer.headers_mut().insert("content-length", HeaderValue::from_static(length));
        }
        match sound(answer, is_head) {
            Ok((answer, _)) => assert_eq!(answer.body().size_hint().exact(), Some(expected.unwrap())),
            Err(error) => {
                let what = expected.unwrap_err();
                assert_eq!(error.to_string(), format!("the task's answer is not valid HTTP: {what}"));
            }
        }
    }

    #[test]
    fn an_answer_is_one_that_a_connection_could_carry() {
        check(200, None, false, Ok(4));
        check(200, Some("4"), false, Ok(4));
        check(200, Some("99"), true, Ok(0));
        check(204, Some("4"), false, Ok(0));
        check(304, Some("99"), false, Ok(0));
        let length = "its content-length is not its body's length";
        check(200, Some("5"), false, Err(length));
        check(200, Some("3"), false, Err(length));
        check(101, None, false, Err("its status is an informational one"));
    }

    #[test]
    fn what_is_answered_in_a_task_s_name_has_no_body_where_none_may_be() {
        let error = InvokeError::Failed("it trapped".to_owned());
        for (is_head, bytes) in [(false, 11), (true, 0)] {
            let answer = in_its_name(&error, is_head);
            assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
            assert_eq!(answer.body().size_hint().exact(), Some(bytes));
        }
    }
}
