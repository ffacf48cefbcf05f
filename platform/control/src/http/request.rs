//! What a request says: who calls, its path's parameters, query, conditions and body. All of it is untrusted.

use super::{Connection, Door};
use crate::entrance::{IfMatch, Putter};
use crate::error::ApiError;
use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequestParts, Query, RawPathParams};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::de::DeserializeOwned;
use skiff_api::{ErrorCode, Operation};
use skiff_kit::random::SharedRandom;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// Carries the id by which a call is found in the logs.
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a caller, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// The longest wait for the next part of a body.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// Bytes of an id that is made here.
const REQUEST_ID_BYTES: usize = 16;

/// Where a call comes from, and by what it is found.
#[derive(Clone)]
pub(super) struct Origin {
    /// Its id.
    pub(super) id: HeaderValue,
    /// What it came by.
    pub(super) connection: Connection,
}

/// A call's id: the caller's where it sent a good one, else a new one.
pub(super) fn id(headers: &HeaderMap, random: &SharedRandom) -> HeaderValue {
    let is_good = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    };
    headers.get(&REQUEST_ID).filter(is_good).cloned().unwrap_or_else(|| {
        let id = hex::encode(random.bytes::<REQUEST_ID_BYTES>());
        HeaderValue::from_maybe_shared(Bytes::from(id)).expect("hexadecimal digits are a header's value")
    })
}

/// Who may call `operation`: whoever shows the token, or is here where the operation is open. Whoever shows an access key may put
/// events alone, and what its role allows of that is judged where it is done.
pub(super) fn authorize(
    operation: Operation,
    door: &Door,
    connection: &Connection,
    parts: &Parts,
) -> Result<Putter, ApiError> {
    if operation.is_open() && connection.peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
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
pub(super) struct PathValues(RawPathParams);

impl PathValues {
    /// Takes them out of a routed request.
    pub(super) async fn of(parts: &mut Parts) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, &()).await;
        params.map(Self).map_err(|error| ApiError::invalid(error.body_text()))
    }

    /// The value of a parameter that the operation's path has.
    pub(super) fn get<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, ApiError> {
        let value = self.0.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value);
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
    check_announced(headers, limit)?;
    let mut parts = body.into_data_stream();
    // Nearly all bodies are one part, which is not copied.
    let (mut first, mut joined) = (Bytes::new(), BytesMut::new());
    let mut length = 0;
    while let Some(part) = next_part(&mut parts).await {
        let part = part.map_err(|error| ApiError::invalid(format!("the body can't be read: {error}")))?;
        if length + part.len() > limit as usize {
            return Err(too_large(limit));
        }
        take(part.len())?;
        length += part.len();
        if first.is_empty() {
            first = part;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&part);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// A body as it comes, refused at once where it says that it is larger than `limit` bytes, and broken off where it
/// comes too slowly.
pub(super) fn bytes(
    headers: &HeaderMap,
    body: Body,
    limit: u64,
) -> Result<BoxStream<'static, io::Result<Bytes>>, ApiError> {
    check_announced(headers, limit)?;
    let parts = futures::stream::unfold(Some(body.into_data_stream()), |state| async {
        let mut parts = state?;
        match next_part(&mut parts).await? {
            Ok(part) => Some((Ok(part), Some(parts))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(parts.boxed())
}

/// The next part of a body; an error if it comes too slowly.
async fn next_part(parts: &mut BodyDataStream) -> Option<io::Result<Bytes>> {
    match tokio::time::timeout(BODY_IDLE, parts.next()).await {
        Ok(part) => part.map(|part| part.map_err(io::Error::other)),
        Err(_) => Some(Err(io::Error::from(io::ErrorKind::TimedOut))),
    }
}

/// Refuses a body at once that says that it is too large.
fn check_announced(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced.is_some_and(|bytes| bytes > limit) {
        true => Err(too_large(limit)),
        false => Ok(()),
    }
}

fn too_large(limit_bytes: u64) -> ApiError {
    ApiError::new(ErrorCode::TooLarge, format!("the body is larger than {limit_bytes} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_kit::random::SystemRandom;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_body_is_the_same_in_however_many_parts_it_comes() {
        let cases: [&'static [&'static str]; 4] = [&[], &["abc"], &["", "a", "", "bc"], &["a", "b", "c", ""]];
        for parts in cases {
            let parts_as_bytes = parts.iter().map(|part| Ok::<_, io::Error>(Bytes::from(*part)));
            let mut taken = 0;
            let take = |bytes: usize| {
                taken += bytes;
                Ok(())
            };
            let body = Body::from_stream(futures::stream::iter(parts_as_bytes));
            let body = whole(Operation::SendMessages, &HeaderMap::new(), body, take).await.unwrap();
            assert_eq!((&body[..], taken), (parts.concat().as_bytes(), body.len()));
        }
    }

    #[tokio::test]
    async fn parts_are_counted_together_against_the_bound() {
        let part = Bytes::from(vec![b' '; Operation::SendMessages.request_bytes_max() as usize]);
        let parts = [Ok::<_, io::Error>(part), Ok(Bytes::from_static(b"x"))];
        let body = Body::from_stream(futures::stream::iter(parts));
        let refused = whole(Operation::SendMessages, &HeaderMap::new(), body, |_| Ok(())).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::TooLarge);
    }

    #[test]
    fn an_id_is_the_callers_if_that_is_good() {
        let random = SharedRandom::new(Arc::new(SystemRandom));
        let given = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(&REQUEST_ID, HeaderValue::from_str(text).unwrap());
            id(&headers, &random)
        };
        assert_eq!(given("mine-17"), "mine-17");
        let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        let made = [given(&long), given(""), given("not good"), id(&HeaderMap::new(), &random)];
        assert!(made.iter().all(|id| id.len() == 2 * REQUEST_ID_BYTES && *id != long), "{made:?}");
        assert_ne!(made[0], made[1]);
    }

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
