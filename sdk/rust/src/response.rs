//! What a handler may return.

use crate::{Body, Bytes, Response, StatusCode, logging};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use std::convert::Infallible;
use std::fmt::Display;

/// What can be sent as a response: a response with any body; text and bytes (`200`); a status with or without a body;
/// nothing (`204`); or a result of these.
///
/// An error becomes a `500` without a body. Its message is logged, and not sent: it may tell more than a client should
/// know. What a client should know is a response, not an error.
///
/// ```
/// use skiff_sdk::{Body, IntoResponse, Response, StatusCode};
///
/// fn find(path: &str) -> impl IntoResponse + use<> {
///     match path {
///         "/" => (StatusCode::OK, "found").into_response(),
///         _ => StatusCode::NOT_FOUND.into_response(),
///     }
/// }
/// assert_eq!(find("/nowhere").into_response().status(), 404);
///
/// let failed: Result<Response, std::num::ParseIntError> = "no number".parse::<u8>().map(|_| Response::default());
/// assert_eq!(failed.into_response().status(), 500);
/// ```
pub trait IntoResponse {
    /// The response to send.
    fn into_response(self) -> Response;
}

impl<B: Into<Body>> IntoResponse for Response<B> {
    fn into_response(self) -> Response {
        self.map(Into::into)
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        with_type("text/plain; charset=utf-8", self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        with_type("text/plain; charset=utf-8", self)
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        with_type("application/octet-stream", self)
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        with_type("application/octet-stream", self)
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        (self, Body::empty()).into_response()
    }
}

impl<R: IntoResponse> IntoResponse for (StatusCode, R) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        *response.status_mut() = self.0;
        response
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}

impl<R: IntoResponse, E: Display> IntoResponse for Result<R, E> {
    fn into_response(self) -> Response {
        self.map(R::into_response).unwrap_or_else(|error| {
            logging::error(format_args!("the handler failed: {error:#}"));
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        })
    }
}

fn with_type(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on;

    #[test]
    fn an_error_is_not_sent() {
        let failed: Result<&str, String> = Err("the password is wrong".into());
        let response = failed.into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(block_on(response.into_body().collect()).unwrap(), "");
    }

    #[test]
    fn text_has_its_type_and_status() {
        let response = (StatusCode::CREATED, String::from("made")).into_response();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(().into_response().status(), StatusCode::NO_CONTENT);
    }
}
