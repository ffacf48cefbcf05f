//! The API without a socket: calls as a client in this process makes them.
//!
//! They go through the very router that the socket's do: what is refused there is refused here.

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Request, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

/// The API of one control plane. Cheap to clone.
#[derive(Clone)]
pub struct Api(TowerToHyperService<Router>);

impl Api {
    pub(super) fn new(router: Router) -> Self {
        Self(TowerToHyperService::new(router))
    }

    /// Calls, and takes in the answer whole. Of an answer that breaks off, the body is empty.
    pub async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let response = match self.0.call(request.map(Body::from)).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        Response::from_parts(head, body)
    }
}
