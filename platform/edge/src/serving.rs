//! Serving one connection of HTTP: which one it speaks, its requests, its end, and what it carries if it goes on in
//! another protocol.
//!
//! What serves HTTP/1 takes some 20 KiB for its buffers and the request's state. Most connections that are open are idle, so
//! it is there only while a client asks: a connection that has been idle for a while gives it back and waits for the next
//! byte with its socket alone ([`Limits::rest_after`]).

use crate::access_log::Line;
use crate::config::Limits;
use crate::connection::{Connection, Cut, Order};
use crate::door::Door;
use crate::edge::Edge;
use crate::guard::gate::Met;
use crate::handle::handle;
use crate::listener::Listener;
use crate::meters::OpenConnection;
use crate::refusal::Refusal;
use crate::watched::Watched;
use http::HeaderMap;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// hyper's own least bound on what it reads of a head.
const BUFFER_BYTES_MIN: usize = 8 << 10;
/// Largest frame that an HTTP/2 client may send: the least that there may be. A head may have as many CONTINUATION frames
/// as its bound has such frames, and few more, however small they are.
const HTTP2_FRAME_BYTES_MAX: u32 = 16 << 10;
/// Streams that an HTTP/2 client may have opened and reset before they were looked at ("rapid reset").
const HTTP2_RESETS_WAITING_MAX: usize = 20;
/// Streams of one HTTP/2 connection that are reset since its client did what it may not, after which it is closed.
const HTTP2_RESETS_MAX: usize = 128;

/// How clients are spoken to.
pub(crate) struct Http {
    http1: http1::Builder,
    http2: http2::Builder<LocalExecutor>,
}

impl Http {
    pub(crate) fn new(limits: &Limits) -> Self {
        /// Headers that hyper parses without allocating; its bound where none is set.
        const HEADERS_ON_STACK: usize = 100;
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(buffer_bytes_max(limits)).header_read_timeout(None);
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
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .max_pending_accept_reset_streams(HTTP2_RESETS_WAITING_MAX)
            .max_local_error_reset_streams(HTTP2_RESETS_MAX)
            .initial_stream_window_size(limits.http2_stream_window_bytes)
            .initial_connection_window_size(limits.http2_connection_window_bytes)
            .max_send_buf_size(limits.buffer_bytes_max)
            .keep_alive_interval(limits.http2_ping_interval)
            .keep_alive_timeout(limits.write_timeout);
        Self { http1, http2 }
    }
}

/// The most that hyper reads of an HTTP/1 head.
fn buffer_bytes_max(limits: &Limits) -> usize {
    limits.buffer_bytes_max.max(BUFFER_BYTES_MIN)
}

/// Which HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// What it sends first will tell.
    Untold,
    Http1,
    Http2,
}

/// A connection's place among the edge's connections, for as long as it is served.
pub(crate) struct Open {
    edge: Rc<Edge>,
    connection: Rc<Connection>,
    /// At its listener.
    counted: Option<OpenConnection>,
    _token: TaskTrackerToken,
}

impl Open {
    pub(crate) fn new(edge: &Rc<Edge>, peer: SocketAddr, listener: Rc<Listener>) -> Self {
        let counted = listener.meter().as_ref().map(|meter| OpenConnection::begin(meter, edge.worker()));
        let mut open = Self::of_no_listener(edge, peer, listener);
        open.counted = counted;
        open
    }

    /// The same at a port that leads to a service; `like` says what else of listeners concerns it.
    pub(crate) fn of_no_listener(edge: &Rc<Edge>, peer: SocketAddr, like: Rc<Listener>) -> Self {
        let connection = Connection::new(peer, like);
        let token = edge.enter(&connection);
        Self { edge: edge.clone(), connection, counted: None, _token: token }
    }

    pub(crate) fn edge(&self) -> &Rc<Edge> {
        &self.edge
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Where it counts at its listener, if it does.
    pub(crate) fn counted(&self) -> Option<&OpenConnection> {
        self.counted.as_ref()
    }

    /// Speaks HTTP to the connection's end.
    pub(crate) async fn serve<S>(&self, stream: S, spoken: Spoken)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        match self.speak(stream, spoken).await {
            Err(error) => self.edge.log_failure(&self.connection, &error),
            Ok(()) if self.connection.cut() == Some(Cut::SlowHead) => {
                self.edge.log_head(&self.connection, 408, &Cut::SlowHead.to_string());
            }
            Ok(()) => {}
        }
    }

    async fn speak<S>(&self, stream: S, spoken: Spoken) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut socket = Watched::new(stream, self.connection.clone(), self.edge.outbox().clone());
        let is_http2 = match spoken {
            Spoken::Untold => match self.connection.unless_cut(socket.is_http2()).await {
                Ok(Ok(is_http2)) => is_http2,
                // Who is cut off or gone before that has asked nothing.
                Ok(Err(_)) | Err(_) => return Ok(()),
            },
            Spoken::Http1 => false,
            Spoken::Http2 => {
                self.connection.speaks_http2();
                true
            }
        };
        if is_http2 {
            return Box::pin(self.speak_http2(socket)).await;
        }
        // One byte less than is too much for hyper, so that it is the guard who says so.
        socket.guard(buffer_bytes_max(self.edge.limits()) - 1, Door::of(&self.edge));
        while self.is_asked(&mut socket).await {
            // In a box, which most connections have no need of most of the time.
            match Box::pin(self.speak_http1(socket)).await? {
                Some(rests) => socket = rests,
                None => return Ok(()),
            }
        }
        // Who does not see it is gone.
        let _ = self.connection.unless_cut(socket.shutdown()).await;
        Ok(())
    }

    /// Waits until the client sends something; false if the connection is to end.
    async fn is_asked<S>(&self, socket: &mut Watched<S>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        poll_fn(|context| match self.connection.poll_order(context) {
            Some(Order::Cut(_)) => Poll::Ready(false),
            Some(Order::Finish) if self.connection.was_asked() => Poll::Ready(false),
            Some(Order::Finish) | None => socket.poll_begun(context),
        })
        .await
    }

    async fn speak_http2<S>(&self, socket: Watched<S>) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let service = service_fn(|request| handle(self.edge.clone(), self.connection.clone(), request));
        let http = pin!(self.edge.http().http2.serve_connection(TokioIo::new(socket), service));
        self.drive(http, |http| http.graceful_shutdown()).await
    }

    /// Speaks HTTP/1 until the connection ends, or its client has been idle for long enough: then it gives the socket back.
    async fn speak_http1<S>(&self, socket: Watched<S>) -> hyper::Result<Option<Watched<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        self.connection.is_served();
        let service = service_fn(|request| handle(self.edge.clone(), self.connection.clone(), request));
        let mut http = self.edge.http().http1.serve_connection(TokioIo::new(socket), service);
        self.drive(Pin::new(&mut http), |http| http.graceful_shutdown()).await?;
        if let Some(met) = self.connection.guard.take() {
            let mut socket = http.into_parts().io.into_inner();
            let last = self.refuse(&met);
            // Whom it does not reach is gone.
            let _ = self.connection.unless_cut(socket.end_with(&last)).await;
        } else if let Some(tunnel) = self.connection.take_tunnel() {
            let http1::Parts { io, read_buf, .. } = http.into_parts();
            let mut socket = io.into_inner();
            socket.unguard();
            tunnel.carry(socket, read_buf).await;
        } else if self.connection.came_to_rest() {
            return Ok(Some(http.into_parts().io.into_inner()));
        }
        Ok(None)
    }

    /// Logs what came instead of a request; what the client is to be told, which is nothing if it was told already that no
    /// more answers come.
    fn refuse(&self, met: &Met) -> Vec<u8> {
        let last = self.turn_away(&Refusal::Unsound(met.fault));
        if met.may_be_told { last } else { Vec::new() }
    }

    /// Logs a client that sends no request that could be read; what it is to be told before its connection ends.
    pub(crate) fn turn_away(&self, refusal: &Refusal) -> Vec<u8> {
        let request_id = self.edge.request_ids().of(&HeaderMap::new());
        self.edge.count_turned_away(&self.connection, refusal.status().as_u16());
        if let Some(log) = self.edge.access_log() {
            log.write(Line {
                status: refusal.status().as_u16(),
                request_id: request_id.to_str().unwrap_or_default(),
                error: Some(&refusal.to_string()),
                fault: refusal.fault(),
                ..self.connection.line()
            });
        }
        refusal.last_answer(&request_id)
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
                let may_finish = || {
                    let is_ordered = order == Some(Order::Finish) && self.connection.was_asked();
                    is_ordered || self.connection.guard.is_met() || self.connection.begins_rest()
                };
                if !finishing && may_finish() {
                    finishing = true;
                    self.connection.guard.answers_no_more();
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
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
