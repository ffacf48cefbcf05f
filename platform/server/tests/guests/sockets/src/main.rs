//! A command on WASI 0.2 that talks over the network as its script says, and prints a line for each thing that happened.
//!
//! It is an ordinary program on `std::net` ([`connections`]), but for what that can't say: backlogs, options, waiting
//! for several things at once ([`raw`], [`serve`]). It prints what `sockets-p3` prints, so that a test reads both alike;
//! errors have the names that WASI gives them.

mod connections;
mod datagrams;
mod raw;
mod serve;

use guest_common::{KNOWN_SCRIPTS, Script};
use std::io::{Error, ErrorKind};

/// What became of a script: the line that says why it could not go on.
type Outcome = Result<(), String>;

fn main() {
    let script = Script::new(std::env::args().skip(1).collect(), std::env::var("SCRIPT").ok());
    let number = |index| script.number(index).unwrap_or(1);
    let outcome = match script.name() {
        "echo" => serve::echo(script.port(), script.number(1)),
        "mute" => serve::mute(script.port(), number(1)),
        "glance" => serve::glance(script.port()),
        "reject" => connections::reject(script.port()),
        "sink" => connections::sink(script.port()),
        "source" => connections::source(script.port(), number(1)),
        "connect" => connections::connect(&script).map(drop),
        "send" => connections::send(&script),
        "stay" => connections::stay(&script),
        "wait" => raw::wait(&script, number(1)),
        "many" => connections::many(&script, number(1)),
        "pour" => connections::pour(&script, number(1)),
        "drain" => connections::drain(&script),
        "loop" => connections::to_itself(&script),
        "bind" => connections::bind(script.words()),
        "options" => raw::options(),
        "udp-echo" => datagrams::echo(script.port()),
        "udp" => datagrams::ask(&script, number(2)),
        "resolve" => raw::resolve(script.text(0)),
        other => {
            eprintln!("no such script: {other:?}; these are known:\n{KNOWN_SCRIPTS}");
            wasip2::cli::exit::exit_with_code(2);
            Ok(())
        }
    };
    if let Err(line) = outcome {
        println!("{line}");
    }
}

/// What could not be begun.
fn failed(error: Error) -> String {
    format!("failed: {}", why(&error))
}

/// What broke off.
fn broke(error: Error) -> String {
    format!("broke: {}", why(&error))
}

/// An error by the name that WASI gives it.
fn why(error: &Error) -> String {
    let name = match error.kind() {
        ErrorKind::PermissionDenied => "access-denied",
        ErrorKind::Unsupported => "not-supported",
        ErrorKind::InvalidInput => "invalid-argument",
        ErrorKind::OutOfMemory => "out-of-memory",
        ErrorKind::TimedOut => "timeout",
        ErrorKind::AddrInUse => "address-in-use",
        ErrorKind::AddrNotAvailable => "address-not-bindable",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "remote-unreachable",
        ErrorKind::ConnectionRefused => "connection-refused",
        ErrorKind::ConnectionReset => "connection-reset",
        ErrorKind::ConnectionAborted => "connection-aborted",
        ErrorKind::BrokenPipe => "connection-broken",
        _ => return error.to_string(),
    };
    name.to_owned()
}
