//! Connections by `std::net`, one at a time, or many that wait.

use crate::{Outcome, broke, failed, why};
use guest_common::Script;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Instant;

/// Bytes that are read or written at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Listens on every address of the task.
fn listen(port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(failed)?;
    println!("listening on {}", listener.local_addr().map_err(failed)?);
    Ok(listener)
}

fn accept(listener: &TcpListener) -> Result<TcpStream, String> {
    let (stream, remote) = listener.accept().map_err(failed)?;
    println!("accepted {remote} at {}", stream.local_addr().map_err(failed)?);
    Ok(stream)
}

pub(crate) fn connect(script: &Script) -> Result<TcpStream, String> {
    let (host, port) = script.target();
    let stream = TcpStream::connect((host.as_str(), port)).map_err(failed)?;
    println!("connected {} to {}", stream.local_addr().map_err(failed)?, stream.peer_addr().map_err(failed)?);
    Ok(stream)
}

pub(crate) fn send(script: &Script) -> Outcome {
    let mut stream = connect(script)?;
    let text = script.text(1);
    stream.write_all(text.as_bytes()).map_err(broke)?;
    println!("sent {} bytes", text.len());
    stream.shutdown(Shutdown::Write).map_err(broke)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(broke)?;
    println!("received {answer:?}");
    println!("ended");
    Ok(())
}

pub(crate) fn stay(script: &Script) -> Outcome {
    let mut stream = connect(script)?;
    let text = script.text(1);
    stream.write_all(text.as_bytes()).map_err(broke)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).map_err(broke)?;
    println!("answered {:?}", String::from_utf8_lossy(&answer));
    let more = stream.read(&mut [0; 1]).map_err(broke)?;
    println!("{}", if more == 0 { "ended" } else { "went on" });
    Ok(())
}

pub(crate) fn many(script: &Script, count: u64) -> Outcome {
    let (host, port) = script.target();
    let mut streams = Vec::new();
    for number in 0..count {
        match TcpStream::connect((host.as_str(), port)) {
            Ok(stream) => streams.push(stream),
            Err(error) => return Err(format!("failed after {number}: {}", why(&error))),
        }
    }
    println!("{} open", streams.len());
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&(number as u64).to_le_bytes()).map_err(broke)?;
    }
    let mut answered = 0;
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).map_err(broke)?;
        answered += u64::from(u64::from_le_bytes(answer) == number as u64);
    }
    println!("{answered} answered");
    Ok(())
}

pub(crate) fn pour(script: &Script, bytes: u64) -> Outcome {
    let mut stream = connect(script)?;
    let began = Instant::now();
    write_bytes(&mut stream, bytes)?;
    // Who received them all ends its half.
    stream.read_to_end(&mut Vec::new()).map_err(broke)?;
    println!("sent {bytes} bytes in {} ms", began.elapsed().as_millis());
    Ok(())
}

/// Writes so much, and closes this half.
fn write_bytes(stream: &mut TcpStream, bytes: u64) -> Outcome {
    let chunk = vec![b'x'; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(CHUNK_BYTES as u64);
        stream.write_all(&chunk[..count as usize]).map_err(broke)?;
        left -= count;
    }
    stream.shutdown(Shutdown::Write).map_err(broke)
}

/// Reads to the end, and says how many bytes came.
fn read_bytes(stream: &mut TcpStream) -> Result<u64, String> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        match stream.read(&mut chunk).map_err(broke)? {
            0 => return Ok(bytes),
            count => bytes += count as u64,
        }
    }
}

pub(crate) fn drain(script: &Script) -> Outcome {
    let mut stream = connect(script)?;
    let began = Instant::now();
    let bytes = read_bytes(&mut stream)?;
    println!("received {bytes} bytes in {} ms", began.elapsed().as_millis());
    Ok(())
}

pub(crate) fn sink(port: u16) -> Outcome {
    let listener = listen(port)?;
    loop {
        let mut stream = accept(&listener)?;
        let began = Instant::now();
        match read_bytes(&mut stream) {
            Ok(bytes) => println!("received {bytes} bytes in {} ms", began.elapsed().as_millis()),
            Err(line) => println!("{line}"),
        }
    }
}

pub(crate) fn source(port: u16, bytes: u64) -> Outcome {
    let listener = listen(port)?;
    loop {
        let mut stream = accept(&listener)?;
        match write_bytes(&mut stream, bytes) {
            Ok(()) => println!("sent {bytes} bytes"),
            Err(line) => println!("{line}"),
        }
    }
}

pub(crate) fn reject(port: u16) -> Outcome {
    let listener = listen(port)?;
    loop {
        let mut stream = accept(&listener)?;
        match stream.read_exact(&mut [0; 1]) {
            Ok(()) => println!("dropped"),
            Err(error) => println!("{}", broke(error)),
        }
    }
}

pub(crate) fn to_itself(script: &Script) -> Outcome {
    let own = connect(script)?.local_addr().map_err(failed)?.ip();
    let listener = TcpListener::bind((own, 0)).map_err(failed)?;
    let own = listener.local_addr().map_err(failed)?;
    println!("listening on {own}");
    let mut there = TcpStream::connect(own).map_err(failed)?;
    let mut here = accept(&listener)?;
    there.write_all(b"hello").map_err(broke)?;
    let mut text = [0; 5];
    here.read_exact(&mut text).map_err(broke)?;
    println!("received {:?}", String::from_utf8_lossy(&text));
    Ok(())
}

pub(crate) fn bind(addresses: &[String]) -> Outcome {
    let mut kept = Vec::new();
    for address in addresses {
        let bound = TcpListener::bind(address.as_str());
        match bound.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((local, listener)) => {
                println!("listening on {local}");
                kept.push(listener);
            }
            Err(error) => println!("{}", failed(error)),
        }
    }
    Ok(())
}
