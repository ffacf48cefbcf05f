//! What the edge is told once, at its start: who it is, and its bounds. Nothing here is read from a file.

use crate::access_log;
use http::HeaderValue;
use std::time::Duration;

/// All that one worker's edge must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which worker this is: its row in the ledger.
    pub worker: usize,
    /// Bounds on what clients may do.
    pub limits: Limits,
    /// Where to write the access log; none is written without.
    pub access_log: Option<access_log::Config>,
    /// What clients speak to the listener, as `X-Forwarded-Proto` says it.
    pub forwarded_proto: Proto,
    /// The listener's port, as `X-Forwarded-Port` says it.
    pub forwarded_port: u16,
}

/// The scheme that clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// Clear text.
    Http,
    /// TLS.
    Https,
}

impl Proto {
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Bounds on what clients and daemons may do, for each worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections held open at once; for the next one, the one that has been idle longest is closed. TCP connections and
    /// those that have changed their protocol are never idle: at most half of the room is theirs.
    pub connections_max: usize,
    /// Bytes of a request's head: target, names and values of its headers. 431 past it.
    pub header_bytes_max: usize,
    /// Headers of a request. 431 past it.
    pub header_count_max: usize,
    /// From the first byte of an HTTP/1 request's head to its last, of what tells which HTTP a connection speaks, and of a
    /// handshake of TLS.
    pub header_read_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub keep_alive_timeout: Duration,
    /// How long a connection of HTTP/1 may stay without a request before it gives back the memory that serving it takes. What
    /// is idle is looked at once a second.
    pub rest_after: Duration,
    /// Bytes of any request's body, whatever its task allows. 413 past it.
    pub request_body_bytes_max: u64,
    /// How long a request's body may make no progress while the guest waits for it. 408 if nothing was answered yet.
    pub body_idle_timeout: Duration,
    /// How long a client may take nothing of what is there for it.
    pub write_timeout: Duration,
    /// Bytes of a response's headers. 502 past it.
    pub response_header_bytes_max: usize,
    /// Bytes of a response kept per connection (HTTP/1) or stream (HTTP/2) for a client that reads slowly; also the
    /// most that is read of an HTTP/1 head: 431 from there on. At least 8 KiB. Where TLS is spoken, as much again is
    /// kept of what was encrypted.
    pub buffer_bytes_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Bytes of bodies that an HTTP/2 client may send ahead, on one stream.
    pub http2_stream_window_bytes: u32,
    /// The same on one connection.
    pub http2_connection_window_bytes: u32,
    /// Silence after which an HTTP/2 client is asked whether it is still there; it has `write_timeout` to answer.
    pub http2_ping_interval: Duration,
    /// How long a daemon may take to begin its answer, once it has the request, and between two pieces of it. 504 if
    /// nothing was answered yet.
    pub target_response_timeout: Duration,
    /// Connections to one daemon that are kept without a request, for the next one.
    pub target_idle_connections_max: usize,
    /// How long one of them is kept: for less than servers usually do, so that it is seldom closed under a request.
    pub target_idle_timeout: Duration,
    /// How long a target's handshake of TLS may take. 504 past it.
    pub target_handshake_timeout: Duration,
    /// Requests at once on one HTTP/2 connection to a target, which may take fewer; one more is sent on another connection.
    pub target_http2_streams_max: u32,
    /// Bytes of an answer that a target may send ahead by HTTP/2. A connection has room for what all of its requests may.
    pub target_http2_stream_window_bytes: u32,
    /// Silence after which a target that owes an answer by HTTP/2 is asked whether it is still there.
    pub target_http2_ping_interval: Duration,
    /// How long it may take to say so, before its connection is given up.
    pub target_http2_ping_timeout: Duration,
    /// How long an HTTP/2 connection to a target is kept without a request. A target that closes one says so before.
    pub target_http2_idle_timeout: Duration,
    /// How long a TCP connection, or one that has changed its protocol, may be silent both ways.
    pub tunnel_idle_timeout: Duration,
    /// How long a request may wait for the first task of a service that slept. 504 past it.
    pub wake_timeout: Duration,
    /// Requests that may wait for one service that sleeps. 503 past it.
    pub wake_waiting_max: usize,
    /// How long what is ready may wait for the worker. Where it waits for longer all the time, a share of the requests is
    /// refused: 503.
    pub wait_target: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_bytes_max: 32 << 10,
            header_count_max: 100,
            header_read_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            rest_after: Duration::from_secs(1),
            request_body_bytes_max: 1 << 30,
            body_idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            response_header_bytes_max: 64 << 10,
            buffer_bytes_max: 64 << 10,
            http2_streams_max: 128,
            http2_stream_window_bytes: 256 << 10,
            http2_connection_window_bytes: 512 << 10,
            http2_ping_interval: Duration::from_secs(30),
            target_response_timeout: Duration::from_secs(60),
            target_idle_connections_max: 128,
            target_idle_timeout: Duration::from_secs(4),
            target_handshake_timeout: Duration::from_secs(5),
            target_http2_streams_max: 100,
            target_http2_stream_window_bytes: 128 << 10,
            target_http2_ping_interval: Duration::from_secs(30),
            target_http2_ping_timeout: Duration::from_secs(10),
            target_http2_idle_timeout: Duration::from_secs(60),
            // As long as a Network Load Balancer's.
            tunnel_idle_timeout: Duration::from_secs(350),
            wake_timeout: Duration::from_secs(10),
            wake_waiting_max: 1_024,
            // Refusing costs almost half of what a small answer does: it is worth that only where a queue is long.
            wait_target: Duration::from_millis(200),
        }
    }
}

impl Limits {
    /// How often connections are looked at: a quarter of the shortest time they may take, at most a second.
    pub(crate) fn sweep_period(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(5);
        const LONGEST: Duration = Duration::from_secs(1);
        let shortest = self.header_read_timeout.min(self.keep_alive_timeout).min(self.write_timeout);
        (shortest / 4).clamp(SHORTEST, LONGEST)
    }
}
