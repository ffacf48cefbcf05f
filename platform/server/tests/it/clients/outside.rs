//! A server outside the platform, of HTTP/1.1: it takes uploads, sends trailers, and sends events one by one, as its test lets
//! it. It looks at no more of a request than that takes.

use crate::harness::PATIENCE;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// Events that it sends on a path of its own.
pub(super) const EVENTS: usize = 5;

/// A running one; its connections end with their clients.
pub(super) struct Outside {
    port: u16,
    go: Sender<()>,
}

impl Outside {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (go, told) = channel();
        let told = Arc::new(Mutex::new(told));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, told) = (stream.unwrap(), told.clone());
                std::thread::spawn(move || serve(&stream, &told));
            }
        });
        Self { port, go }
    }

    pub(super) fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lets it send one more event.
    pub(super) fn goes_on(&self) {
        self.go.send(()).expect("it is there");
    }
}

/// A request's head.
struct Head {
    path: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The next one, if there is one.
    fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let request = line(reader)?;
        let Some(path) = request.split(' ').nth(1) else { return Ok(None) };
        let mut headers = Vec::new();
        loop {
            let line = line(reader)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Some(Self { path: path.to_owned(), headers }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The body that follows it.
    fn body(&self, reader: &mut impl BufRead) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.header("transfer-encoding") != Some("chunked") {
            let length = self.header("content-length").map_or(Ok(0), str::parse).map_err(Error::other)?;
            reader.take(length).read_to_end(&mut body)?;
            return Ok(body);
        }
        loop {
            let length = u64::from_str_radix(&line(reader)?, 16).map_err(Error::other)?;
            reader.take(length).read_to_end(&mut body)?;
            // What ends a chunk, or all of them: nobody sends trailers here.
            line(reader)?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

/// A line, without what ends it.
fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Answers one request after the other, until the client closes or breaks off.
fn serve(mut stream: &TcpStream, told: &Mutex<Receiver<()>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(head) = Head::read(&mut reader)? {
        match head.path.as_str() {
            "/upload" => echo(stream, &head, &mut reader)?,
            "/trailers" => stream.write_all(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, x-end\r\n\r\n\
                  6\r\nHello\n\r\n0\r\nx-sum: 7\r\nx-end: yes\r\n\r\n",
            )?,
            "/events" => events(stream, &told.lock().unwrap())?,
            _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?,
        }
    }
    Ok(())
}

/// Gives a body back once all of it has come, and says how it came.
fn echo(mut stream: &TcpStream, head: &Head, reader: &mut impl BufRead) -> Result<()> {
    let body = head.body(reader)?;
    let said = |name: &str| head.header(name).unwrap_or("none").to_owned();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-coding: {}\r\nx-length: {}\r\nx-expect: {}\r\n\r\n",
        body.len(),
        said("transfer-encoding"),
        said("content-length"),
        said("expect"),
    );
    stream.write_all(answer.as_bytes())?;
    stream.write_all(&body)
}

/// Sends events, each of them but the first once it is told to.
fn events(mut stream: &TcpStream, told: &Receiver<()>) -> Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    for number in 0..EVENTS {
        if number > 0 {
            told.recv_timeout(PATIENCE).map_err(|_| Error::from(ErrorKind::TimedOut))?;
        }
        let event = format!("data: {number}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
    }
    stream.write_all(b"0\r\n\r\n")
}
