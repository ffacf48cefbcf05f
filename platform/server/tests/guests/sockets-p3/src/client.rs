//! Scripts that connect.

use crate::address::{family, lookup, to_wasi};
use crate::connection::{CHUNK_BYTES, Connection};
use crate::{Outcome, broke, failed, ms_since, why, within};
use guest_common::Script;
use std::net::SocketAddr;
use wasip3::clocks::monotonic_clock;
use wasip3::sockets::types::{ErrorCode, TcpSocket};

async fn target(script: &Script) -> Result<SocketAddr, String> {
    let (host, port) = script.target();
    let addresses = lookup(&host).await?;
    // Who listens does so in IPv4.
    let address = addresses.iter().find(|address| address.is_ipv4()).unwrap_or(&addresses[0]);
    Ok(SocketAddr::new(*address, port))
}

pub(crate) async fn open(to: SocketAddr) -> Result<Connection, ErrorCode> {
    let socket = TcpSocket::create(family(to))?;
    socket.connect(to_wasi(to)).await?;
    Ok(Connection::new(socket))
}

pub(crate) async fn connect(script: &Script) -> Result<Connection, String> {
    let connection = open(target(script).await?).await.map_err(failed)?;
    let local = connection.local().map_err(failed)?;
    println!("connected {local} to {}", connection.remote().map_err(failed)?);
    Ok(connection)
}

pub(crate) async fn send(script: &Script) -> Outcome {
    let mut connection = connect(script).await?;
    let text = script.text(1);
    connection.write(text.as_bytes().to_vec()).await.map_err(broke)?;
    println!("sent {} bytes", text.len());
    connection.finish().await.map_err(broke)?;
    let answer = connection.read_to_end().await.map_err(broke)?;
    println!("received {:?}", String::from_utf8_lossy(&answer));
    println!("ended");
    Ok(())
}

pub(crate) async fn stay(script: &Script) -> Outcome {
    let mut connection = connect(script).await?;
    let text = script.text(1);
    connection.write(text.as_bytes().to_vec()).await.map_err(broke)?;
    let answer = connection.read_exact(text.len()).await.map_err(broke)?;
    println!("answered {:?}", String::from_utf8_lossy(&answer));
    let more = connection.read(1).await.map_err(broke)?;
    println!("{}", if more.is_empty() { "ended" } else { "went on" });
    Ok(())
}

pub(crate) async fn wait(script: &Script, ms: u64) -> Outcome {
    let mut connection = connect(script).await?;
    match within(ms, connection.read(CHUNK_BYTES)).await {
        None => println!("nothing within {ms} ms"),
        Some(Ok(bytes)) if bytes.is_empty() => println!("ended"),
        Some(Ok(bytes)) => println!("received {} bytes", bytes.len()),
        Some(Err(error)) => println!("{}", broke(error)),
    }
    Ok(())
}

pub(crate) async fn many(script: &Script, count: u64) -> Outcome {
    let to = target(script).await?;
    let mut connections = Vec::new();
    for number in 0..count {
        match open(to).await {
            Ok(connection) => connections.push(connection),
            Err(error) => return Err(format!("failed after {number}: {}", why(&error))),
        }
    }
    println!("{} open", connections.len());
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.write((number as u64).to_le_bytes().to_vec()).await.map_err(broke)?;
    }
    let mut answered = 0;
    for (number, connection) in connections.iter_mut().enumerate() {
        let answer = connection.read_exact(size_of::<u64>()).await.map_err(broke)?;
        answered += u64::from(answer == (number as u64).to_le_bytes());
    }
    println!("{answered} answered");
    Ok(())
}

pub(crate) async fn pour(script: &Script, bytes: u64) -> Outcome {
    let mut connection = connect(script).await?;
    let began_ns = monotonic_clock::now();
    connection.write_count(bytes).await.map_err(broke)?;
    // Who received them all ends its half.
    connection.count_to_end().await.map_err(broke)?;
    println!("sent {bytes} bytes in {} ms", ms_since(began_ns));
    Ok(())
}

pub(crate) async fn drain(script: &Script) -> Outcome {
    let mut connection = connect(script).await?;
    let began_ns = monotonic_clock::now();
    let bytes = connection.count_to_end().await.map_err(broke)?;
    println!("received {bytes} bytes in {} ms", ms_since(began_ns));
    Ok(())
}
