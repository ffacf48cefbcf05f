//! A client of RESP2, as far as the tests need one: it says what `redis-cli` would.

use crate::harness::PATIENCE;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A connection to a daemon that speaks RESP.
pub(super) struct Client(BufReader<TcpStream>);

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Option<String>),
    Array(Vec<Answer>),
}

impl Client {
    /// Connects; what takes longer than any test waits is an error.
    pub(super) fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a command with its arguments, and reads the answer.
    pub(super) fn ask(&mut self, words: &[&str]) -> io::Result<Answer> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(request.as_bytes())?;
        self.answer()
    }

    /// Reads to the end, or to the error that breaks the connection off.
    pub(super) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let (kind, text) = line.split_at(1);
        let number = || text.parse::<i64>().map_err(io::Error::other);
        match kind {
            "+" => Ok(Answer::Simple(text.to_owned())),
            "-" => Ok(Answer::Error(text.to_owned())),
            ":" => Ok(Answer::Integer(number()?)),
            "$" => match usize::try_from(number()?) {
                Ok(length) => self.bulk(length),
                Err(_) => Ok(Answer::Bulk(None)),
            },
            "*" => (0..number()?).map(|_| self.answer()).collect::<io::Result<_>>().map(Answer::Array),
            _ => Err(io::Error::other(format!("{line:?} is no answer"))),
        }
    }

    fn bulk(&mut self, length: usize) -> io::Result<Answer> {
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes)?;
        bytes.truncate(length);
        String::from_utf8(bytes).map(|text| Answer::Bulk(Some(text))).map_err(io::Error::other)
    }
}

/// A bulk string.
pub(super) fn bulk(text: &str) -> Answer {
    Answer::Bulk(Some(text.to_owned()))
}

/// What is answered to what has nothing else to say.
pub(super) fn ok() -> Answer {
    Answer::Simple("OK".to_owned())
}
