//! One connection: sends a request, reads its answer, opens itself again where the server closed it.
//!
//! What always holds: at most one request is under way on a connection.

use crate::answer::{Answer, AnswerReader, Malformed};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long opening a connection may take; the driver does nothing else meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    reader: AnswerReader,
    /// What came of an answer and could not be read yet.
    pending: Vec<u8>,
    /// When the request that is under way was due, in nanoseconds since the start.
    pub(crate) due_ns: Option<u64>,
    /// Since when nothing is under way, in nanoseconds since the start.
    pub(crate) idle_since_ns: u64,
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The rest is yet to come.
    Waiting,
    /// The answer is whole.
    Answered(Answer),
    /// The server closed the connection.
    Closed,
    /// The server sent what is not an answer to what was asked.
    Malformed,
}

impl Connection {
    pub(crate) fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, reader: AnswerReader::new(), pending: Vec::new(), due_ns: None, idle_since_ns: 0 })
    }

    /// Sends a request. It is a few hundred bytes, for which a socket without anything under way has room.
    pub(crate) fn send(&mut self, request: &[u8], due_ns: u64) -> io::Result<()> {
        assert!(self.due_ns.is_none(), "one request at a time");
        self.reader = AnswerReader::new();
        self.due_ns = Some(due_ns);
        self.stream.write_all(request)
    }

    /// Reads what has come, by way of `scratch`.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Progress {
        let count = match self.stream.read(scratch) {
            Ok(0) => return self.reader.end().map_or(Progress::Closed, Progress::Answered),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Progress::Waiting;
            }
            Err(_) => return Progress::Closed,
        };
        if self.due_ns.is_none() {
            return Progress::Malformed;
        }
        self.take(&scratch[..count])
    }

    fn take(&mut self, came: &[u8]) -> Progress {
        let joined;
        let bytes = if self.pending.is_empty() {
            came
        } else {
            self.pending.extend_from_slice(came);
            joined = std::mem::take(&mut self.pending);
            &joined
        };
        match self.reader.read(bytes) {
            Err(Malformed) => Progress::Malformed,
            Ok((used, Some(answer))) if used == bytes.len() => Progress::Answered(answer),
            Ok((_, Some(_))) => Progress::Malformed,
            Ok((used, None)) => {
                self.pending = bytes[used..].to_vec();
                Progress::Waiting
            }
        }
    }
}
