//! What users do: calls of the API, as text, through the very router that a socket leads to.
//!
//! A call that the plane's death cuts short, or that finds it dead, is no fault of anybody's: whoever calls looks again later.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;
use skiff_api::Operation;
use skiff_control::Api;

/// What callers of the API show.
pub(crate) const TOKEN: &str = "the-token-of-the-simulation";
/// The namespace that everything is in.
pub(crate) const NAMESPACE: &str = "default";

/// A client of one control plane.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) Api);

/// What a call was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Whether the call was refused for what it asked for, and would be again.
    pub(crate) fn is_refused(&self) -> bool {
        self.status.is_client_error() && self.status != StatusCode::PRECONDITION_FAILED
    }
}

impl Client {
    /// Calls an operation of something in the namespace.
    pub(crate) async fn call(&self, operation: Operation, names: &[&str], body: &Value) -> Answer {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.send(operation, names, "application/json", body).await
    }

    /// Pushes an image whose component has these bytes.
    pub(crate) async fn push(&self, image: &str, component: String) -> Answer {
        self.send(Operation::PushImage, &[image], "application/wasm", component.into()).await
    }

    async fn send(&self, operation: Operation, names: &[&str], content_type: &str, body: Bytes) -> Answer {
        let values: Vec<&str> = [NAMESPACE].into_iter().chain(names.iter().copied()).collect();
        let request = Request::builder()
            .method(operation.method())
            .uri(operation.path_with(&values))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", content_type)
            .body(body)
            .expect("a path of the API is one");
        let (head, body) = self.0.call(request).await.into_parts();
        Answer { status: head.status, body: serde_json::from_slice(&body).unwrap_or_default() }
    }
}
