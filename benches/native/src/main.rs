//! `skiff-native`: the answer of the `hello` example from hyper alone, without a sandbox: the limit that any server on
//! hyper has.
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
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;

/// Connections that may wait to be accepted, of each thread.
const BACKLOG: u32 = 1_024;

/// Answers every request with a greeting, natively.
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

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello from Skiff!\n"))))
}
