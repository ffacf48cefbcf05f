//! `skiff-native`: the answer of the `hello` example from hyper alone, without a sandbox: the limit that any server on
//! hyper has. It is the target behind load balancers too: it answers with as many bytes as a path asks for, and well,
//! slowly or badly, as it is told.
//!
//! Each thread has an event loop and a listening socket of its own (`SO_REUSEPORT`), and shares nothing with the others.
//! The kernel spreads connections over the sockets by hash, not evenly.

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;

/// Connections that may wait to be accepted, of each thread.
const BACKLOG: u32 = 1_024;

/// The longest body that it answers with, in bytes.
const BODY_BYTES_MAX: usize = 16 << 20;
/// How long an answer takes while it is slow.
const SLOW: Duration = Duration::from_millis(400);

/// How it answers: one of the three below.
static BEHAVIOUR: AtomicU8 = AtomicU8::new(WELL);
const WELL: u8 = 0;
const SLOWLY: u8 = 1;
const BADLY: u8 = 2;
/// Requests that it had, but for those that tell or ask it something.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Answers every request with a greeting, natively; `/bytes/N` with N bytes.
///
/// `/behave/well`, `/behave/slowly` (400 ms each) and `/behave/badly` (503) say how it answers from then on, `/count` how many
/// requests it had.
#[derive(Parser)]
struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Threads, each with an event loop of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let others: Vec<_> = (1..args.threads).map(|_| std::thread::spawn(move || serve(args.listen))).collect();
    serve(args.listen)?;
    others.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
}

fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = listen(address).with_context(|| format!("can't listen on {address}"))?;
        loop {
            let (stream, _) = listener.accept().await.context("no connection can be accepted")?;
            tokio::task::spawn_local(converse(stream));
        }
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn converse(stream: TcpStream) {
    // What a client breaks off is its own affair.
    let _ = stream.set_nodelay(true);
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(hello)).await;
}

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if let Some(answer) = told(path) {
        return Ok(Response::new(Full::new(answer)));
    }
    REQUESTS.fetch_add(1, Relaxed);
    let mut response = Response::new(Full::new(body(path)));
    match BEHAVIOUR.load(Relaxed) {
        SLOWLY => tokio::time::sleep(SLOW).await,
        BADLY => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        _ => {}
    }
    Ok(response)
}

/// The answer to who tells or asks the server itself something.
fn told(path: &str) -> Option<Bytes> {
    let behaviour = match path {
        "/behave/well" => WELL,
        "/behave/slowly" => SLOWLY,
        "/behave/badly" => BADLY,
        "/count" => return Some(REQUESTS.load(Relaxed).to_string().into()),
        _ => return None,
    };
    BEHAVIOUR.store(behaviour, Relaxed);
    Some(Bytes::from_static(b"so it is\n"))
}

fn body(path: &str) -> Bytes {
    match path.strip_prefix("/bytes/").and_then(|count| count.parse::<usize>().ok()) {
        Some(count) => vec![b'x'; count.min(BODY_BYTES_MAX)].into(),
        None => Bytes::from_static(b"Hello from Skiff!\n"),
    }
}
