//! Servers on `wasi:sockets` itself: many connections at once in one thread, and one that accepts nobody.

use crate::Outcome;
use crate::raw::{failed, listen, to_std, why};
use std::time::Duration;
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::network::ErrorCode;
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};

/// Bytes that are read at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// Gives back what each connection sends, until so many have ended.
pub(crate) fn echo(port: u16, count: Option<u64>) -> Outcome {
    let listener = listen(port, None)?;
    let incoming = listener.subscribe();
    let mut connections: Vec<Connection> = Vec::new();
    let mut ended = 0;
    while count.is_none_or(|count| ended < count) {
        let waits: Vec<&Pollable> = [&incoming]
            .into_iter()
            .chain(connections.iter().map(|connection| &connection.waits_for))
            .collect();
        // From the last on, since what has ended is taken out.
        let mut ready = poll(&waits);
        ready.sort_unstable_by(|one, other| other.cmp(one));
        for ready in ready {
            let Some(index) = (ready as usize).checked_sub(1) else {
                accept(&listener, &mut connections)?;
                continue;
            };
            if let Some(end) = connections[index].go_on() {
                println!("{end}");
                connections.swap_remove(index);
                ended += 1;
            }
        }
    }
    Ok(())
}

fn accept(listener: &TcpSocket, connections: &mut Vec<Connection>) -> Outcome {
    loop {
        match listener.accept() {
            Ok((socket, input, output)) => connections.push(Connection::new(socket, input, output)?),
            Err(ErrorCode::WouldBlock) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// One connection. What is dropped first comes first: children before their parents.
struct Connection {
    waits_for: Pollable,
    input: InputStream,
    output: OutputStream,
    socket: TcpSocket,
    remote: String,
    unsent: Vec<u8>,
    bytes: usize,
}

impl Connection {
    fn new(socket: TcpSocket, input: InputStream, output: OutputStream) -> Result<Self, String> {
        let remote = to_std(socket.remote_address().map_err(failed)?).to_string();
        println!("accepted {remote} at {}", to_std(socket.local_address().map_err(failed)?));
        Ok(Self { waits_for: input.subscribe(), input, output, socket, remote, unsent: Vec::new(), bytes: 0 })
    }

    /// Does what can be done without waiting; says so if it has ended.
    fn go_on(&mut self) -> Option<String> {
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(StreamError::Closed) => {
                    let end = self.socket.shutdown(ShutdownType::Send);
                    let how = end.map_or_else(|error| error.name(), |()| "ended");
                    return Some(format!("{how} {} after {} bytes", self.remote, self.bytes));
                }
                Err(error) => {
                    return Some(format!("broke {} after {} bytes: {}", self.remote, self.bytes, why(error)));
                }
            }
        }
    }

    /// False if it has to wait now.
    fn step(&mut self) -> Result<bool, StreamError> {
        if self.unsent.is_empty() {
            self.unsent = self.input.read(CHUNK_BYTES)?;
            self.bytes += self.unsent.len();
            if self.unsent.is_empty() {
                self.waits_for = self.input.subscribe();
                return Ok(false);
            }
        }
        let room = usize::try_from(self.output.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            self.waits_for = self.output.subscribe();
            return Ok(false);
        }
        let count = room.min(self.unsent.len());
        self.output.write(&self.unsent[..count])?;
        self.unsent.drain(..count);
        Ok(true)
    }
}

/// Listens, and never accepts.
pub(crate) fn mute(port: u16, backlog: u64) -> Outcome {
    let listener = listen(port, Some(backlog))?;
    std::thread::sleep(Duration::MAX);
    drop(listener);
    Ok(())
}

/// Waits until somebody has connected, and ends without accepting.
pub(crate) fn glance(port: u16) -> Outcome {
    let listener = listen(port, None)?;
    listener.subscribe().block();
    println!("somebody has connected");
    Ok(())
}
