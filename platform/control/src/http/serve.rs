//! Accepts the API's connections and serves them until the drain begins, then lets what is under way finish.
//!
//! HTTP/1.1 alone: its callers are people's tools, and every wait of it has a bound. A connection that is upgraded is no
//! longer served here, and does not count among those that are.

use super::{Calls, Connection};
use axum::body::Body;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_kit::Drain;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;
/// The longest that a request's head may take to come, and a connection may stay idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The wait after the operating system could not accept a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until the drain begins. Each connection holds a token of the drain.
pub(crate) async fn serve(listener: TcpListener, calls: Calls, drain: Drain) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accept = async {
            let permit = connections.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = drain.begun() => return,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = serve_connection(stream, peer, calls.clone(), drain.clone());
                let token = drain.token();
                tokio::spawn(async move {
                    connection.await;
                    drop((permit, token));
                });
            }
            Err(error) => {
                warn!(%error, "the API could not accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, calls: Calls, drain: Drain) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, %peer, "a connection was gone before it was served");
        return;
    }
    let here = Connection { peer: Some(peer), ..Connection::default() };
    let timer = here.timer.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (calls, here) = (calls.clone(), here.clone());
        async move { Ok::<_, Infallible>(calls.answer(here, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // Looked at once it wakes us, and not whenever the connection does: all connections share the drain, and its lock.
    let mut end: FuturesUnordered<_> = std::iter::once(drain.begun()).collect();
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        _ = end.next() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, %peer, "a connection of the API ended");
    }
}
