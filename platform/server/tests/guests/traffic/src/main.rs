//! A command on WASI 0.2 for the benches of the network: very many connections at once, one that is opened again whenever
//! it is cut, and floods. It prints a line for each thing that happened.
//!
//! What tests ask of a network is in `sockets`; this is what only a measurement asks for.

mod flood;

use guest_common::Script;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

/// The scripts, each with what it takes.
const KNOWN_SCRIPTS: &str = "\
hold PORT COUNT      takes so many connections, then answers each once, in their order, and keeps them all
crowd TARGET COUNT   opens so many connections, then uses each once, in their order, and keeps them all
knock TARGET         keeps a connection open, and tries for the next whenever it is cut
flood TARGET         connects, looks up and leaves again, as fast as it can, without end";

/// Between two attempts to connect.
const KNOCK_INTERVAL: Duration = Duration::from_millis(2);
/// How often one of a crowd may be refused before it gives up.
const REFUSED_MAX: u32 = 1_000;

fn main() {
    let script = Script::new(std::env::args().skip(1).collect(), std::env::var("SCRIPT").ok());
    let count = || script.number(1).unwrap_or(1);
    let outcome = match script.name() {
        "hold" => hold(script.port(), count()),
        "crowd" => crowd(&script, count()),
        "knock" => knock(&script),
        "flood" => flood::flood(&script),
        other => {
            eprintln!("no such script: {other:?}; these are known:\n{KNOWN_SCRIPTS}");
            wasip2::cli::exit::exit_with_code(2);
            return;
        }
    };
    if let Err(error) = outcome {
        println!("failed: {error}");
        wasip2::cli::exit::exit_with_code(1);
    }
}

fn hold(port: u16, count: u64) -> Result<(), Error> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("listening on {}", listener.local_addr()?);
    let mut kept = Vec::new();
    while (kept.len() as u64) < count {
        kept.push(listener.accept()?.0);
    }
    println!("{} taken", kept.len());
    for stream in &mut kept {
        let mut number = [0; 8];
        stream.read_exact(&mut number)?;
        stream.write_all(&number)?;
    }
    std::thread::sleep(Duration::MAX);
    Ok(())
}

fn crowd(script: &Script, count: u64) -> Result<(), Error> {
    let mut streams = (0..count).map(|_| open(script)).collect::<Result<Vec<_>, _>>()?;
    println!("{} open", streams.len());
    for (number, stream) in (0_u64..).zip(&mut streams) {
        stream.write_all(&number.to_le_bytes())?;
    }
    let mut answered = 0;
    for (number, stream) in (0_u64..).zip(&mut streams) {
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        answered += u64::from(u64::from_le_bytes(answer) == number);
    }
    println!("{answered} answered");
    std::thread::sleep(Duration::MAX);
    Ok(())
}

/// A connection, also to one that is too busy to take it at once.
fn open(script: &Script) -> Result<TcpStream, Error> {
    let (host, port) = script.target();
    let mut refused = 0;
    loop {
        match TcpStream::connect((host.as_str(), port)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && refused < REFUSED_MAX => {
                refused += 1
            }
            other => return other,
        }
        std::thread::sleep(KNOCK_INTERVAL);
    }
}

fn knock(script: &Script) -> Result<(), Error> {
    let (host, port) = script.target();
    let mut last = String::new();
    let mut say = |what: String| {
        if what != last {
            println!("{what}");
            last = what;
        }
    };
    loop {
        match TcpStream::connect((host.as_str(), port)) {
            Ok(mut stream) => {
                say("open".to_owned());
                // Nobody sends anything, so what comes is the end of it.
                say(match stream.read_exact(&mut [0; 1]) {
                    Err(error) if error.kind() != ErrorKind::UnexpectedEof => "cut".to_owned(),
                    Ok(()) | Err(_) => "ended".to_owned(),
                });
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => say("denied".to_owned()),
            Err(error) => say(format!("failed: {error}")),
        }
        std::thread::sleep(KNOCK_INTERVAL);
    }
}
