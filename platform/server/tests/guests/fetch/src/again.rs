//! The same request again and again, with no more to it than a request needs: what the bench of calls between tasks asks
//! for, and so its CPU time is the call's and hardly its caller's.

use guest_common::{Target, Url};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

/// Bytes that are read at once.
const CHUNK_BYTES: u64 = 4 << 10;

/// Sends a GET to `url`, `times` times, one after the other, and reads each answer to its end.
pub(crate) fn again(target: &Target) -> String {
    let url = Url::new(target.text("url").unwrap_or_default());
    let times = target.number_or("times", 1);
    let mut bytes = 0;
    for number in 0..times {
        match once(&url) {
            Ok(count) => bytes += count,
            Err(error) => return format!("failed after {number}: {error}"),
        }
    }
    format!("{times} answers of {bytes} bytes")
}

/// How many bytes the answer had.
fn once(url: &Url) -> Result<usize, String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a valid scheme");
    request.set_authority(Some(url.authority)).expect("a valid authority");
    request.set_path_with_query(Some(url.path)).expect("a valid path");
    let said = |error: ErrorCode| format!("{error:?}");
    let pending = outgoing_handler::handle(request, None).map_err(said)?;
    pending.subscribe().block();
    let answer = pending.get().and_then(Result::ok).ok_or("ready without a result")?.map_err(said)?;
    if answer.status() != 200 {
        return Err(format!("status {}", answer.status()));
    }
    let body = answer.consume().expect("its first body");
    let stream = body.stream().expect("its first stream");
    let mut bytes = 0;
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(chunk) => bytes += chunk.len(),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
}
