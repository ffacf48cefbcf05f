//! An HTTP server like any other: axum on tokio, built for `wasm32-wasip2`, with no line for Skiff.
//!
//! It listens on its own address, and one program serves all requests for as long as its task lives: so it can count
//! visits in memory, and keep connections open, which an `http` task can't.

mod listener;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Router, extract::Request};
use listener::Listener;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Where it listens, unless `PORT` says otherwise.
const PORT: u16 = 8_080;
/// The longest that somebody may have it wait, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;
/// Bytes of one message of a WebSocket.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

#[derive(Default)]
struct Visits(AtomicU64);

// One thread: there are no others in WASI.
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(PORT);
    let app = Router::new()
        .route("/", get(visit))
        .route("/headers", get(headers))
        .route("/echo", post(echo))
        .route("/wait/{ms}", get(wait))
        .route("/chat", any(chat))
        .with_state(Arc::new(Visits::default()));
    let listener = Listener::bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    println!("listening on port {port}");
    axum::serve(listener, app).await
}

async fn visit(State(visits): State<Arc<Visits>>) -> String {
    let number = visits.0.fetch_add(1, Relaxed) + 1;
    format!("Hello from a daemon, visitor {number}!\n")
}

/// What arrives of a request's head.
async fn headers(headers: HeaderMap) -> String {
    let line = |(name, value): (_, &axum::http::HeaderValue)| {
        format!("{name}: {}\n", value.as_bytes().escape_ascii())
    };
    headers.iter().map(line).collect()
}

/// Gives a body back, as it comes.
async fn echo(request: Request) -> Body {
    request.into_body()
}

/// Answers after a while.
async fn wait(Path(ms): Path<u64>) -> String {
    let ms = ms.min(WAIT_MS_MAX);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("waited {ms} ms\n")
}

async fn chat(upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(repeat)
}

/// Gives each message back, until the client leaves.
async fn repeat(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let answer = match message {
            Message::Text(text) => Message::Text(text),
            Message::Binary(bytes) => Message::Binary(bytes),
            // axum answers these by itself.
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
}
