//! The one concrete body that requests and responses carry across ports.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// A streaming body of bytes, with trailers where there are some.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It exceeded its bound, in bytes.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The bound.
        limit_bytes: u64,
    },
    /// The other side took or gave nothing for too long.
    #[error("the body made no progress for {idle_ms} ms")]
    Idle {
        /// How long, in milliseconds.
        idle_ms: u64,
    },
    /// The guest that wrote it failed.
    #[error("{0}")]
    Guest(String),
    /// The connection that it came over failed.
    #[error("the connection failed while the body was read")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A body without a byte.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
