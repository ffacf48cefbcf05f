//! The API without a socket: calls as a client in this process makes them.
//!
//! They go through the very router that the socket's do: what is refused there is refused here.

use crate::http::{Calls, Connection};
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Request, Response};

/// The API of one control plane. Cheap to clone.
#[derive(Clone)]
pub struct Api(Calls);

impl Api {
    pub(super) fn new(calls: Calls) -> Self {
        Self(calls)
    }

    /// Calls, and takes in the answer whole. Of an answer that breaks off, the body is empty.
    pub async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let response = self.0.answer(Connection::default(), request.map(Body::from)).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        Response::from_parts(head, body)
    }
}
