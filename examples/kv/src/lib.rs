//! A key-value daemon that speaks RESP2, the protocol of Redis: `redis-cli` and every Redis client talk to it.
//!
//! Strings, lists, sets and hashes, in the memory of one task. It is a command on WASI 0.3: each connection is a task of
//! this one program, so thousands of them wait without costing anything.
//!
//! It deliberately keeps nothing on a disk, and has no expiry, transactions, scripts or replicas: a task that starts again
//! starts empty.
//!
//! What always holds: what it stores and what connections hold is bounded (`MAXMEMORY`, and the constants of each file);
//! whoever asks for more gets an error, and all others are served.

mod commands;
mod connection;
mod database;
mod reply;
mod request;

use database::Database;
use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use wasip3::cli::environment;
use wasip3::exports::cli::run::Guest;
use wasip3::sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use wasip3::wit_bindgen::{StreamReader, spawn_local};

/// Where it listens, unless `PORT` says otherwise: the port of Redis.
const PORT: u16 = 6_379;
/// What is stored at most, in bytes, unless `MAXMEMORY` says otherwise.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Clients at once; one more is told so, and let go.
const CLIENTS_MAX: usize = 10_000;
/// Bytes of requests that are not whole yet and of answers that are not sent yet, over all clients.
const BUFFERED_BYTES_MAX: usize = 16 << 20;

struct Kv;

wasip3::cli::command::export!(Kv);

impl Guest for Kv {
    async fn run() -> Result<(), ()> {
        serve().await.map_err(|error| eprintln!("error: {error}"))
    }
}

/// What all connections share.
pub(crate) struct Server {
    database: RefCell<Database>,
    port: u16,
    clients: Cell<usize>,
    clients_ever: Cell<u64>,
    commands: Cell<u64>,
    buffered_bytes: Cell<usize>,
}

async fn serve() -> Result<(), String> {
    let variables = environment::get_environment();
    let variable = |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
    let port = match variable("PORT") {
        Some(text) => text.parse().map_err(|_| format!("PORT is {text:?}, which is no port, like 6379"))?,
        None => PORT,
    };
    let memory_bytes_max = match variable("MAXMEMORY") {
        Some(text) => {
            bytes(text).ok_or_else(|| format!("MAXMEMORY is {text:?}, which is no size, like 64mb"))?
        }
        None => MEMORY_BYTES_MAX,
    };
    let server = Rc::new(Server {
        database: RefCell::new(Database::new(memory_bytes_max)),
        port,
        clients: Cell::new(0),
        clients_ever: Cell::new(0),
        commands: Cell::new(0),
        buffered_bytes: Cell::new(0),
    });
    let (_socket, mut accepted) =
        listen(port).map_err(|error| format!("it can't listen on port {port}: {error:?}"))?;
    println!("listening on port {port}, with room for {memory_bytes_max} bytes");
    while let Some(socket) = accepted.next().await {
        let id = server.clients_ever.get() + 1;
        server.clients_ever.set(id);
        spawn_local(connection::serve(server.clone(), socket, id));
    }
    Err("no more connections come".to_owned())
}

/// Listens on all addresses of the task, for as long as the socket is kept.
fn listen(port: u16) -> Result<(TcpSocket, StreamReader<TcpSocket>), ErrorCode> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    let address = Ipv4Addr::UNSPECIFIED.octets().into();
    socket.bind(IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))?;
    let accepted = socket.listen()?;
    Ok((socket, accepted))
}

/// A size as Redis writes it: bytes, or `k`, `kb`, `m`, `mb`, `g`, `gb`, where a `b` means powers of 1024.
fn bytes(text: &str) -> Option<usize> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit: usize = match &text[digits.len()..] {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}
