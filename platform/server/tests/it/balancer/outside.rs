//! Servers outside the platform, which are targets of its groups: each answers every request with its name and the request's
//! head, keeps its connections, and answers worse for as long as its test has it do so.

use super::Answer;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// A running one.
pub(super) struct Outside {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many connections it has accepted, and how many requests were sent to it.
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// Whether it answers every other request with 503.
    errs: AtomicBool,
    /// How long it takes for an answer.
    delay_ms: AtomicU64,
}

impl Outside {
    pub(super) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let outside = Self { port: listener.local_addr().unwrap().port(), shared: Arc::default() };
        let shared = outside.shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                shared.connections.fetch_add(1, Relaxed);
                let (stream, shared) = (stream.unwrap(), shared.clone());
                std::thread::spawn(move || shared.serve(&stream, name));
            }
        });
        outside
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Relaxed)
    }

    /// Whether it answers every other request with 503 from now on.
    pub(super) fn errs(&self, errs: bool) {
        self.shared.errs.store(errs, Relaxed);
    }

    /// It takes so long for each answer from now on.
    pub(super) fn takes(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, Relaxed);
    }
}

impl Shared {
    /// Answers until the client closes, or breaks off.
    fn serve(&self, mut stream: &TcpStream, name: &str) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let number = self.requests.fetch_add(1, Relaxed);
            std::thread::sleep(Duration::from_millis(self.delay_ms.load(Relaxed)));
            let status = match self.errs.load(Relaxed) && number.is_multiple_of(2) {
                true => "503 Service Unavailable",
                false => "200 OK",
            };
            let body = format!("{name}\n{head}");
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nx-from: {name}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes())?;
        }
    }
}

/// Whether the server of this name has answered it, and well.
pub(super) fn is_from(answer: &Answer, name: &str) -> bool {
    answer.status == 200 && answer.header("x-from") == name
}
