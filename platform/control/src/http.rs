//! The HTTP door: the API's operations over the entrance.
//!
//! The router is made from [`Operation::ALL`]; [`dispatch`] names each operation once. It deliberately decides nothing
//! about objects.
//!
//! What always holds: every answer carries a request id; every answer that is not a success is JSON with a code; a
//! body, a head and a handler have bounds of size and time.

mod dispatch;
mod forward;
mod request;
mod respond;
mod serve;

pub(crate) use serve::serve;

use crate::context::Token;
use crate::entrance::Entrance;
use crate::error::ApiError;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use http::{HeaderValue, StatusCode};
use skiff_api::{ErrorCode, Operation};
use std::net::SocketAddr;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) entrance: Entrance,
    pub(crate) token: Token,
    /// Where the API listens.
    pub(crate) address: SocketAddr,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The router of all operations.
pub(crate) fn router(door: Door) -> Router {
    let mut router = Router::new();
    for operation in Operation::ALL {
        let method = MethodFilter::try_from(operation.method()).expect("the table holds HTTP's methods");
        let handler =
            move |State(door): State<Door>, request: Request| dispatch::answer(operation, door, request);
        router = router.route(operation.path(), on(method, handler));
    }
    router
        .fallback(|| async { respond::failure(&ApiError::not_found("there is nothing under this path")) })
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(door.entrance.random(), request::with_id))
        .with_state(door)
}

async fn wrong_method() -> Response {
    let error = ApiError::new(ErrorCode::InvalidArgument, "this path does not take this method");
    let mut response = respond::failure(&error);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// A header's value out of text that was checked or made here.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
