//! Serving one connection of HTTP: which one it speaks, its requests, its end, and what it carries if it goes on in
//! another protocol.

use crate::config::Limits;
use crate::connection::{Connection, Cut, Order};
use crate::edge::Edge;
use crate::handle::handle;
use crate::watched::Watched;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How clients are spoken to.
pub(crate) struct Http {
    http1: http1::Builder,
    http2: http2::Builder<LocalExecutor>,
}

impl Http {
    pub(crate) fn new(limits: &Limits) -> Self {
        /// Headers that hyper parses without allocating; its bound where none is set.
        const HEADERS_ON_STACK: usize = 100;
        const BUFFER_BYTES_MIN: usize = 8 << 10;
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(limits.buffer_bytes_max.max(BUFFER_BYTES_MIN)).header_read_timeout(None);
        if limits.header_count_max > HEADERS_ON_STACK {
            http1.max_headers(limits.header_count_max);
        }
        let header_bytes_max = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
        let mut http2 = http2::Builder::new(LocalExecutor);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams_max)
            // HTTP/2 counts 32 bytes more for each header; what is between the bounds is answered by us.
            .max_header_list_size(header_bytes_max.saturating_mul(2))
            .initial_stream_window_size(limits.http2_stream_window_bytes)
            .initial_connection_window_size(limits.http2_connection_window_bytes)
            .max_send_buf_size(limits.buffer_bytes_max)
            .keep_alive_interval(limits.http2_ping_interval)
            .keep_alive_timeout(limits.write_timeout);
        Self { http1, http2 }
    }
}

/// A connection's place among the edge's connections, for as long as it is served.
pub(crate) struct Open {
    edge: Rc<Edge>,
    connection: Rc<Connection>,
    _token: TaskTrackerToken,
}

impl Open {
    pub(crate) fn new(edge: &Rc<Edge>, peer: SocketAddr) -> Self {
        let connection = Connection::new(peer);
        let token = edge.enter(&connection);
        Self { edge: edge.clone(), connection, _token: token }
    }

    pub(crate) fn edge(&self) -> &Rc<Edge> {
        &self.edge
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Speaks HTTP to the connection's end.
    pub(crate) async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        match self.speak(stream).await {
            Err(error) => self.edge.log_failure(&self.connection, &error),
            Ok(()) if self.connection.cut() == Some(Cut::SlowHead) => {
                self.edge.log_head(&self.connection, 408, &Cut::SlowHead.to_string());
            }
            Ok(()) => {}
        }
    }

    async fn speak<S>(&self, stream: S) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut socket = Watched::new(stream, self.connection.clone(), self.edge.outbox().clone());
        // Who is cut off or gone before that has asked nothing.
        let Ok(Ok(is_http2)) = self.connection.unless_cut(socket.is_http2()).await else { return Ok(()) };
        let io = TokioIo::new(socket);
        let service = service_fn(|request| handle(self.edge.clone(), self.connection.clone(), request));
        if is_http2 {
            let http = pin!(self.edge.http().http2.serve_connection(io, service));
            return self.drive(http, |http| http.graceful_shutdown()).await;
        }
        let mut http = self.edge.http().http1.serve_connection(io, service);
        self.drive(Pin::new(&mut http), |http| http.graceful_shutdown()).await?;
        if let Some(tunnel) = self.connection.take_tunnel() {
            let http1::Parts { io, read_buf, .. } = http.into_parts();
            tunnel.carry(io.into_inner(), read_buf).await;
        }
        Ok(())
    }

    /// Runs HTTP until it has ended, or is cut off; `finish` has it take no more requests.
    async fn drive<F>(&self, mut http: Pin<&mut F>, finish: impl Fn(Pin<&mut F>)) -> hyper::Result<()>
    where
        F: Future<Output = hyper::Result<()>>,
    {
        let mut finishing = false;
        poll_fn(|context| {
            loop {
                let order = self.connection.poll_order(context);
                if let Some(Order::Cut(_)) = order {
                    return Poll::Ready(Ok(()));
                }
                // hyper would close a connection that has sent nothing, and lose what is on its way.
                let may_finish = || order == Some(Order::Finish) && self.connection.was_asked();
                if !finishing && may_finish() {
                    finishing = true;
                    finish(http.as_mut());
                }
                let polled = http.as_mut().poll(context);
                if finishing || polled.is_ready() || !may_finish() {
                    return polled;
                }
            }
        })
        .await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // What it was to carry holds the connection, which holds that.
        drop(self.connection.take_tunnel());
        self.edge.leave(&self.connection);
    }
}

/// Runs the streams of an HTTP/2 connection on this thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
