//! Answers: successes as the operation's table has them, and the one function that maps an error to HTTP.

use super::header;
use crate::error::ApiError;
use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use skiff_api::{
    Alarm, Bucket, Bus, Certificate, Consumer, ErrorBody, ErrorCode, EventRule, EventSchedule, Image,
    Listener, ListenerRule, Queue, Role, Scaling, SecurityGroup, Service, Table, TargetGroup, Task,
};

/// Seconds after which a call that could not be served may be tried again.
const RETRY_AFTER_S: &str = "1";

/// The room that JSON begins with; most of it needs no more.
const JSON_BYTES: usize = 1_024;

/// A failure as HTTP: status by code, and the code and message as JSON.
pub(super) fn failure(error: &ApiError) -> Response {
    let body = ErrorBody::new(error.code, error.message.clone());
    let mut response = json(error.code.status(), &body);
    let headers = response.headers_mut();
    match error.code {
        ErrorCode::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        ErrorCode::Unavailable | ErrorCode::ResourceExhausted => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        _ => {}
    }
    response
}

/// JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(JSON_BYTES);
    match serde_json::to_writer(&mut bytes, value) {
        Ok(()) => typed(status, "application/json", Body::from(bytes)),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            let body =
                Body::from(r#"{"error":{"code":"Internal","message":"the answer could not be written"}}"#);
            typed(StatusCode::INTERNAL_SERVER_ERROR, "application/json", body)
        }
    }
}

/// An object of which the store keeps revisions.
pub(super) trait Revised: Serialize {
    /// The one that was answered with.
    fn revision(&self) -> u64;
}

macro_rules! revised {
    ($($object:ty),+ $(,)?) => {
        $(impl Revised for $object {
            fn revision(&self) -> u64 {
                self.revision
            }
        })+
    };
}

revised!(
    Alarm,
    Bucket,
    Consumer,
    Bus,
    EventRule,
    EventSchedule,
    Queue,
    Table,
    Image,
    Listener,
    ListenerRule,
    TargetGroup,
    Certificate,
    Role,
    Scaling,
    SecurityGroup,
    Service,
    Task,
);

/// JSON with the object's revision as its entity tag, as `If-Match` takes it.
pub(super) fn revised(status: StatusCode, value: &impl Revised) -> Response {
    let mut response = json(status, value);
    response.headers_mut().insert(ETAG, header(&format!("\"{}\"", value.revision())));
    response
}

/// Nothing.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A body of a media type.
pub(super) fn typed(status: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
