//! How the targets of a group are spoken to: which protocol, whether inside TLS; and with which bounds.
//!
//! A target of HTTP/2 or gRPC is spoken to by HTTP/2 from the first byte on (RFC 9113, section 3.3), or as TLS agrees on it;
//! it is never asked whether it would change to it. What always holds: no client that reads slowly holds up the answers that
//! others wait for on the same connection, since there is room for what each may have sent ahead.

use crate::config::Limits;
use crate::serving::LocalExecutor;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use skiff_types::{TargetGroupSpec, TargetProtocol};

/// Streams of one connection that are reset since its target did what it may not, after which it is closed.
const RESETS_MAX: usize = 128;
/// The largest window of HTTP/2 (RFC 9113, section 6.9.1).
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// What a group's targets speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Speaks {
    /// The protocol. What is none of HTTP's is taken for HTTP/1.1 where a request has to go there.
    pub(crate) protocol: TargetProtocol,
    /// Whether it is spoken inside TLS.
    pub(crate) tls: bool,
}

impl Speaks {
    /// What the targets of this group speak.
    pub(crate) fn of(spec: &TargetGroupSpec) -> Self {
        Self { protocol: spec.protocol, tls: spec.tls }
    }

    /// Whether requests are sent by HTTP/2.
    pub(crate) fn is_http2(self) -> bool {
        match self.protocol {
            TargetProtocol::Http2 | TargetProtocol::Grpc => true,
            TargetProtocol::Http1 | TargetProtocol::Tcp => false,
        }
    }
}

/// How targets are spoken to, in either HTTP.
pub(crate) struct Http {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<LocalExecutor>,
}

impl Http {
    pub(crate) fn new(limits: &Limits) -> Self {
        /// hyper's own bound.
        const BUFFER_BYTES_MIN: usize = 8 << 10;
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(limits.buffer_bytes_max.max(BUFFER_BYTES_MIN));
        let header_bytes_max = u32::try_from(limits.response_header_bytes_max).unwrap_or(u32::MAX);
        let stream_window_bytes = limits.target_http2_stream_window_bytes.min(WINDOW_BYTES_MAX);
        let window_bytes = stream_window_bytes.saturating_mul(limits.target_http2_streams_max);
        let mut http2 = http2::Builder::new(LocalExecutor);
        http2
            .timer(TokioTimer::new())
            // Until the target has said how many it takes; past that, it refuses them, and they are sent again.
            .initial_max_send_streams(limits.target_http2_streams_max as usize)
            // HTTP/2 counts 32 bytes more for each header; what is between the bounds is refused by us.
            .max_header_list_size(header_bytes_max.saturating_mul(2))
            .max_local_error_reset_streams(RESETS_MAX)
            .initial_stream_window_size(stream_window_bytes)
            .initial_connection_window_size(window_bytes.min(WINDOW_BYTES_MAX))
            .max_send_buf_size(limits.buffer_bytes_max)
            .keep_alive_interval(limits.target_http2_ping_interval)
            .keep_alive_timeout(limits.target_http2_ping_timeout);
        Self { http1, http2 }
    }
}
