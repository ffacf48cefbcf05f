//! The functions that can be an HTTP handler: with the request, or without it. Knows nothing of WASI.

use crate::{IntoResponse, Request, Response, StatusCode, logging};

/// An async function from nothing or a [`Request`] to what is [`IntoResponse`]; `Arguments` tells the two apart.
#[doc(hidden)]
#[allow(async_fn_in_trait, reason = "a component has one thread")]
pub trait Handler<Arguments> {
    /// Calls it. `request` converts the host's request, which costs a copy of its headers, and is only called for if
    /// the function takes it.
    async fn call(self, request: impl FnOnce() -> http::Result<Request>) -> Response;
}

impl<F: AsyncFnOnce() -> R, R: IntoResponse> Handler<()> for F {
    async fn call(self, _request: impl FnOnce() -> http::Result<Request>) -> Response {
        self().await.into_response()
    }
}

impl<F: AsyncFnOnce(Request) -> R, R: IntoResponse> Handler<(Request,)> for F {
    async fn call(self, request: impl FnOnce() -> http::Result<Request>) -> Response {
        match request() {
            Ok(request) => self(request).await.into_response(),
            Err(error) => {
                logging::error(format_args!("the request can't be read: {error}"));
                StatusCode::BAD_REQUEST.into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, block_on};

    #[test]
    fn takes_the_request_or_leaves_it() {
        async fn with(request: Request) -> String {
            request.uri().path().to_owned()
        }
        async fn without() -> &'static str {
            "none"
        }
        let request = || http::Request::get("/path").body(Body::empty());
        let text = |response: Response| block_on(response.into_body().text()).unwrap();
        assert_eq!(text(block_on(async move { with.call(request).await })), "/path");
        assert_eq!(text(block_on(async { without.call(|| unreachable!()).await })), "none");
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        let broken = || http::Request::get("not a path").body(Body::empty());
        let response = block_on(async move { (async |_: Request| "reached").call(broken).await });
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
}
