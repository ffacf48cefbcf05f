//! A command on WASI 0.3 that talks over the network as its script says, and prints a line for each thing that happened.
//!
//! It knows the scripts of `sockets`, and prints what that prints, so that a test reads both alike. Streams and futures
//! are those of WASI 0.3; a server's connections are tasks of this one program.

mod address;
mod client;
mod connection;
mod datagrams;
mod server;

use guest_common::{KNOWN_SCRIPTS, Script};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use wasip3::cli::{environment, exit};
use wasip3::clocks::monotonic_clock;
use wasip3::exports::cli::run::Guest;
use wasip3::sockets::types::ErrorCode;

/// What became of a script: the line that says why it could not go on.
type Outcome = Result<(), String>;

const NS_PER_MS: u64 = 1_000_000;

struct Sockets;

wasip3::cli::command::export!(Sockets);

impl Guest for Sockets {
    async fn run() -> Result<(), ()> {
        let arguments = environment::get_arguments().into_iter().skip(1).collect();
        let variable = environment::get_environment().into_iter().find(|(name, _)| name == "SCRIPT");
        let script = Script::new(arguments, variable.map(|(_, value)| value));
        if let Err(line) = run(&script).await {
            println!("{line}");
        }
        Ok(())
    }
}

async fn run(script: &Script) -> Outcome {
    let number = |index| script.number(index).unwrap_or(1);
    match script.name() {
        "echo" => server::echo(script.port(), script.number(1)).await,
        "mute" => server::mute(script.port(), number(1)).await,
        "glance" => server::glance(script.port()).await,
        "reject" => server::reject(script.port()).await,
        "sink" => server::sink(script.port()).await,
        "source" => server::source(script.port(), number(1)).await,
        "connect" => client::connect(script).await.map(drop),
        "send" => client::send(script).await,
        "stay" => client::stay(script).await,
        "wait" => client::wait(script, number(1)).await,
        "many" => client::many(script, number(1)).await,
        "pour" => client::pour(script, number(1)).await,
        "drain" => client::drain(script).await,
        "loop" => server::to_itself(script).await,
        "bind" => server::bind(script.words()),
        "options" => server::options(),
        "udp-echo" => datagrams::echo(script.port()).await,
        "udp" => datagrams::ask(script, number(2)).await,
        "resolve" => address::resolve(script.text(0)).await,
        other => {
            eprintln!("no such script: {other:?}; these are known:\n{KNOWN_SCRIPTS}");
            exit::exit_with_code(2);
            Ok(())
        }
    }
}

/// What could not be begun.
fn failed(error: ErrorCode) -> String {
    format!("failed: {}", why(&error))
}

/// What broke off.
fn broke(error: ErrorCode) -> String {
    format!("broke: {}", why(&error))
}

/// An error by the name that WASI gives it.
fn why(error: &ErrorCode) -> String {
    let name = match error {
        ErrorCode::AccessDenied => "access-denied",
        ErrorCode::NotSupported => "not-supported",
        ErrorCode::InvalidArgument => "invalid-argument",
        ErrorCode::OutOfMemory => "out-of-memory",
        ErrorCode::Timeout => "timeout",
        ErrorCode::InvalidState => "invalid-state",
        ErrorCode::AddressNotBindable => "address-not-bindable",
        ErrorCode::AddressInUse => "address-in-use",
        ErrorCode::RemoteUnreachable => "remote-unreachable",
        ErrorCode::ConnectionRefused => "connection-refused",
        ErrorCode::ConnectionBroken => "connection-broken",
        ErrorCode::ConnectionReset => "connection-reset",
        ErrorCode::ConnectionAborted => "connection-aborted",
        ErrorCode::DatagramTooLarge => "datagram-too-large",
        ErrorCode::Other(text) => return format!("other: {}", text.as_deref().unwrap_or_default()),
    };
    name.to_owned()
}

/// What comes of a call within so long; `None` if nothing does.
async fn within<T>(ms: u64, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let mut timer = pin!(monotonic_clock::wait_for(ms * NS_PER_MS));
    poll_fn(|cx| match (call.as_mut().poll(cx), timer.as_mut().poll(cx)) {
        (Poll::Ready(value), _) => Poll::Ready(Some(value)),
        (Poll::Pending, Poll::Ready(())) => Poll::Ready(None),
        (Poll::Pending, Poll::Pending) => Poll::Pending,
    })
    .await
}

/// Milliseconds since then, by the host's clock.
fn ms_since(began_ns: u64) -> u64 {
    (monotonic_clock::now() - began_ns) / NS_PER_MS
}
