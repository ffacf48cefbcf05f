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
mod timer;

pub(crate) use serve::serve;

use crate::context::Token;
use crate::entrance::Entrance;
use crate::error::ApiError;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use http::{HeaderValue, StatusCode};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use request::Origin;
use skiff_api::{ErrorCode, Operation};
use skiff_kit::random::SharedRandom;
use std::net::SocketAddr;
use std::sync::Arc;
use timer::ConnectionTimer;

/// What the handlers share.
pub(crate) struct Door {
    pub(crate) entrance: Entrance,
    pub(crate) token: Token,
    /// Where the API listens.
    pub(crate) address: SocketAddr,
}

/// A connection that calls come by.
#[derive(Clone, Default)]
pub(crate) struct Connection {
    /// Who is at its other end; nobody's where calls are made in this process.
    pub(crate) peer: Option<SocketAddr>,
    /// Of its waits.
    timer: ConnectionTimer,
}

/// The API, whatever its calls come by. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Calls {
    router: TowerToHyperService<Router>,
    /// What ids of calls are made of.
    random: SharedRandom,
}

impl Calls {
    pub(crate) fn new(door: Door) -> Self {
        let random = door.entrance.random();
        Self { router: TowerToHyperService::new(router(door)), random }
    }

    /// Answers a call; both have the call's id from here on, the caller's where it sent one. Not as a layer of the router, which
    /// makes two boxes and a copy of each route for every call.
    pub(crate) async fn answer(&self, connection: Connection, mut call: Request) -> Response {
        let id = request::id(call.headers(), &self.random);
        call.extensions_mut().insert(Origin { id: id.clone(), connection });
        let mut response = match self.router.call(call).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        response.headers_mut().insert(&request::REQUEST_ID, id);
        response
    }
}

/// The router of all operations.
fn router(door: Door) -> Router {
    let mut router = Router::new();
    for operation in Operation::ALL {
        let method = MethodFilter::try_from(operation.method()).expect("the table holds HTTP's methods");
        let handler = move |State(door): State<Arc<Door>>, request: Request| async move {
            dispatch::answer(operation, &door, request).await
        };
        router = router.route(operation.path(), on(method, handler));
    }
    router
        .fallback(|| async { respond::failure(&ApiError::not_found("there is nothing under this path")) })
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::new(door))
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
