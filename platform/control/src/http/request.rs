//! What a request says: who calls, its path's parameters, query, conditions and body. All of it is untrusted.

use super::{Door, Peer, header};
use crate::entrance::{IfMatch, Putter};
use crate::error::ApiError;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use skiff_api::{ErrorCode, Operation};
use skiff_kit::random::SharedRandom;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// Carries the id by which a call is found in the logs.
const REQUEST_ID: &str = "x-request-id";
/// Longest request id that is taken over from a caller, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// The longest wait for the next part of a body.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// A call's id.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// Gives each call an id, the caller's where it sent one, and each answer the call's.
pub(super) async fn with_id(
    State(random): State<SharedRandom>,
    mut request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_good = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let id = match given.filter(is_good) {
        Some(id) => id.to_owned(),
        None => hex::encode(random.bytes::<16>()),
    };
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, header(&id));
    response
}

/// Who may call `operation`: whoever shows the token, or is here where the operation is open. Whoever shows an access key may put
/// events alone, and what its role allows of that is judged where it is done.
pub(super) fn authorize(operation: Operation, door: &Door, parts: &Parts) -> Result<Putter, ApiError> {
    let peer = parts.extensions.get::<Peer>();
    if operation.is_open() && peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback()) {
        return Ok(Putter::Operator);
    }
    let shown = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = shown.and_then(|shown| {
        let (scheme, token) = shown.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    match token {
        Some(token) if door.token.matches(token) => Ok(Putter::Operator),
        Some(key) if operation == Operation::PutEvents => match door.entrance.role_of_key(key) {
            Some(role) => Ok(Putter::Role(role)),
            None => Err(ApiError::new(
                ErrorCode::Unauthenticated,
                "this is neither the platform's token nor an access key with its secret, as ID:SECRET; `skiff key create` makes \
                 one",
            )),
        },
        Some(_) => Err(ApiError::new(ErrorCode::Unauthenticated, "the token is not this platform's")),
        None => Err(ApiError::new(
            ErrorCode::Unauthenticated,
            "show the platform's token: the header \"Authorization: Bearer TOKEN\"",
        )),
    }
}

/// The parameters of a path.
pub(super) struct PathValues(Vec<(String, String)>);

impl PathValues {
    /// Takes them out of a routed request.
    pub(super) async fn of(parts: &mut Parts) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, &()).await;
        let params = params.map_err(|error| ApiError::invalid(error.body_text()))?;
        Ok(Self(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    /// The value of a parameter that the operation's path has.
    pub(super) fn get<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, ApiError> {
        let value = self.0.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value);
        value.parse().map_err(|error| ApiError::invalid(format!("{name}: {error}")))
    }
}

/// The query, each field once, no other than those that the operation has.
pub(super) fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, ApiError> {
    match Query::try_from_uri(&parts.uri) {
        Ok(Query(query)) => Ok(query),
        Err(error) => Err(ApiError::invalid(error.body_text())),
    }
}

/// Refuses a condition that nobody would look at.
pub(super) fn check_conditions(operation: Operation, headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(IF_MATCH) && operation.method() != Method::GET && !operation.takes_if_match() {
        return Err(ApiError::invalid("this call takes no If-Match: leave the header out"));
    }
    Ok(())
}

/// What `If-Match` asks for: a revision, in quotes or without, or `*`.
pub(super) fn if_match(headers: &HeaderMap) -> Result<IfMatch, ApiError> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(IfMatch::Anything) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(IfMatch::Exists);
    }
    let revision = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    match revision.parse() {
        Ok(revision) => Ok(IfMatch::Revision(revision)),
        Err(_) => Err(ApiError::invalid("If-Match must be a revision, like \"17\", or *")),
    }
}

/// A JSON body; an empty one counts as `{}`.
pub(super) async fn json<T: DeserializeOwned>(
    operation: Operation,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    let bytes = whole(operation, headers, body, |_| Ok(())).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    let parsed = serde_json::from_slice(text)
        .map_err(|error| ApiError::invalid(format!("the body is not right: {error}")))?;
    check_digits(operation, text)?;
    Ok(parsed)
}

/// Refuses numbers that would be others once they were read, where a body may hold JSON that is kept as it is: patterns, and inputs.
fn check_digits(operation: Operation, body: &[u8]) -> Result<(), ApiError> {
    let holds_json = matches!(
        operation,
        Operation::PutEventRule | Operation::PutEventSchedule | Operation::TestEventPattern
    );
    let lost = std::str::from_utf8(body).ok().filter(|_| holds_json).and_then(skiff_api::first_inexact);
    match lost {
        Some(number) => Err(ApiError::invalid(format!("the number {number} {}", skiff_api::NOT_EXACT))),
        None => Ok(()),
    }
}

/// A body to its end, within the operation's bound; `take` is asked for room for the bytes of each part, as they come.
pub(super) async fn whole(
    operation: Operation,
    headers: &HeaderMap,
    body: Body,
    mut take: impl FnMut(usize) -> Result<(), ApiError>,
) -> Result<Bytes, ApiError> {
    let limit = operation.request_bytes_max();
    let mut parts = bytes(headers, body, limit)?;
    let mut bytes = BytesMut::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| ApiError::invalid(format!("the body can't be read: {error}")))?;
        if bytes.len() + part.len() > limit as usize {
            return Err(too_large(limit));
        }
        take(part.len())?;
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.freeze())
}

/// A body as it comes, refused at once where it says that it is larger than `limit` bytes, and broken off where it
/// comes too slowly.
pub(super) fn bytes(
    headers: &HeaderMap,
    body: Body,
    limit: u64,
) -> Result<BoxStream<'static, io::Result<Bytes>>, ApiError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(too_large(limit));
    }
    let parts = futures::stream::unfold(Some(body.into_data_stream()), |state| async {
        let mut parts = state?;
        match tokio::time::timeout(BODY_IDLE, parts.next()).await {
            Ok(Some(Ok(part))) => Some((Ok(part), Some(parts))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::Error::from(io::ErrorKind::TimedOut)), None)),
        }
    });
    Ok(parts.boxed())
}

fn too_large(limit_bytes: u64) -> ApiError {
    ApiError::new(ErrorCode::TooLarge, format!("the body is larger than {limit_bytes} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn json_that_is_kept_as_it_is_loses_no_digits() {
        let read = async |operation, text: &'static str| {
            json::<serde_json::Value>(operation, &HeaderMap::new(), Body::from(text)).await
        };
        let body = r#"{"pattern": {"detail": {"n": [12345678901234567890.123]}}}"#;
        let refused = read(Operation::PutEventRule, body).await.unwrap_err();
        assert!(refused.message.contains("the number 12345678901234567890.123 has"), "{}", refused.message);
        let in_text = r#"{"pattern": "{\"n\":[12345678901234567890.123]}", "n": 0.5}"#;
        assert!(read(Operation::PutEventRule, in_text).await.is_ok());
        assert!(read(Operation::PutAlarm, body).await.is_ok(), "others are numbers, and are read as such");
    }
}
