//! A server with a thread for each connection that does one thing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server does with each request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Answers.
    Answer,
    /// Answers the first request after this time, the others at once.
    StallOnce(Duration),
    /// Answers nothing.
    Silent,
    /// Answers with a status.
    Status(u16),
    /// Sends what is no answer.
    Garbage,
    /// Closes the connection instead.
    CloseWithoutAnswer,
    /// Answers and closes the connection.
    AnswerAndClose,
}

/// A running server; its threads end with the test's process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Behaviour,
    stalled: AtomicBool,
    by_host: Mutex<BTreeMap<String, usize>>,
}

impl Server {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { behaviour, stalled: AtomicBool::new(false), by_host: Mutex::default() });
        let for_threads = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = for_threads.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn requests_by_host(&self) -> BTreeMap<String, usize> {
        self.shared.by_host.lock().unwrap().clone()
    }
}

impl Shared {
    /// Until the client has gone or the behaviour ends the connection.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        loop {
            let head: Vec<String> =
                lines.by_ref().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
            let host = head.iter().find_map(|line| line.strip_prefix("host: "))?;
            *self.by_host.lock().ok()?.entry(host.to_owned()).or_default() += 1;
            self.answer(&stream)?;
        }
    }

    fn answer(&self, mut stream: &TcpStream) -> Option<()> {
        const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let text = match self.behaviour {
            Behaviour::Answer => OK.to_owned(),
            Behaviour::StallOnce(time) => {
                if !self.stalled.swap(true, Ordering::SeqCst) {
                    std::thread::sleep(time);
                }
                OK.to_owned()
            }
            Behaviour::Silent => return Some(()),
            Behaviour::Status(status) => format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"),
            Behaviour::Garbage => "what?\r\n\r\n".to_owned(),
            Behaviour::CloseWithoutAnswer => return None,
            Behaviour::AnswerAndClose => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                    .ok()?;
                return None;
            }
        };
        stream.write_all(text.as_bytes()).ok()
    }
}
