//! A connection of the API that becomes one to a task: the upgrade (RFC 9110, section 7.8), and what passes from then on.
//!
//! Which task that is and whether it can be connected to is the entrance's business.

use super::respond;
use crate::entrance::Forward;
use crate::error::ApiError;
use axum::response::Response;
use http::header::{CONNECTION, HeaderName, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use skiff_api::{ErrorCode, FORWARD_PROTOCOL};
use std::io;
use tokio::io::copy_bidirectional_with_sizes;
use tracing::debug;

/// Bytes on their way in each direction of a connection.
const BUFFER_BYTES: usize = 16 << 10;

/// The upgrade of a call's connection, if it asks for that, and it can be.
pub(super) fn asked(parts: &mut Parts) -> Option<OnUpgrade> {
    let headers = &parts.headers;
    let asks = names(headers, CONNECTION, "upgrade") && names(headers, UPGRADE, FORWARD_PROTOCOL);
    if asks { parts.extensions.remove() } else { None }
}

/// Whether one of a header's items is this one.
fn names(headers: &HeaderMap, header: HeaderName, item: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|named| named.trim().eq_ignore_ascii_case(item))
}

/// Answers that the connection is the task's from now on, and passes on bytes until both sides have ended, one broke, or
/// `end` comes.
pub(super) fn accept(
    upgrade: OnUpgrade,
    forward: Forward,
    end: impl Future<Output = ()> + Send + 'static,
) -> Response {
    tokio::spawn(async move {
        let Forward { mut stream, place } = forward;
        let passing = async {
            let mut caller = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
            copy_bidirectional_with_sizes(&mut caller, &mut stream, BUFFER_BYTES, BUFFER_BYTES).await
        };
        tokio::select! {
            passed = passing => {
                if let Err(error) = passed {
                    debug!(%error, "a connection to a task broke");
                }
            }
            () = end => {}
        }
        drop(place);
    });
    upgrading(respond::empty(StatusCode::SWITCHING_PROTOCOLS))
}

/// Answers a call that does not ask for the upgrade without which there is no connection.
pub(super) fn upgrade_required() -> Response {
    let message = format!(
        "a connection to a task takes the headers \"Connection: upgrade\" and \"Upgrade: {FORWARD_PROTOCOL}\", by \
         HTTP/1.1; `skiff forward` sends them"
    );
    let mut response = respond::failure(&ApiError::new(ErrorCode::InvalidArgument, message));
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    upgrading(response)
}

fn upgrading(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(FORWARD_PROTOCOL));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_found_in_whatever_way_a_header_lists_it() {
        let mut headers = HeaderMap::new();
        assert!(!names(&headers, CONNECTION, "upgrade"));
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.append(UPGRADE, HeaderValue::from_static("websocket"));
        assert!(names(&headers, CONNECTION, "upgrade") && !names(&headers, UPGRADE, FORWARD_PROTOCOL));
        headers.append(UPGRADE, HeaderValue::from_static("Skiff-Forward"));
        assert!(names(&headers, UPGRADE, FORWARD_PROTOCOL));
    }
}
