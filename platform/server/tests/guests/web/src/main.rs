//! A daemon on WASI 0.2 that serves HTTP, and keeps a connection to a database (`DB`, which speaks RESP), as services do.
//!
//! It uses the connection all the time, and opens another when it breaks. Whenever its state is another, it prints that; and it
//! answers every request with it:
//!
//! ```text
//! reached ADDRESS:PORT
//! broke: KIND
//! kept out: KIND
//! ```

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long it rests before it uses the connection again.
const REST: Duration = Duration::from_millis(50);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

fn main() -> Result<(), Error> {
    let port = variable("PORT").parse().map_err(|_| Error::other("PORT is no port"))?;
    let mut database = Database { name: variable("DB"), connection: None, state: String::new() };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    listener.set_nonblocking(true)?;
    loop {
        database.use_it();
        loop {
            match listener.accept() {
                // Who asks may leave before the answer.
                Ok((stream, _)) => drop(answer(stream, &database.state)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        std::thread::sleep(REST);
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// The database, and how it is reached at present.
struct Database {
    name: String,
    connection: Option<TcpStream>,
    state: String,
}

impl Database {
    fn use_it(&mut self) {
        let state = match self.connection.take() {
            Some(connection) => match ping(&connection) {
                Ok(()) => {
                    self.connection = Some(connection);
                    return;
                }
                Err(error) => format!("broke: {:?}", error.kind()),
            },
            None => match self.connect() {
                Ok((address, connection)) => {
                    self.connection = Some(connection);
                    format!("reached {address}")
                }
                Err(error) => format!("kept out: {:?}", error.kind()),
            },
        };
        if state != self.state {
            println!("{state}");
            self.state = state;
        }
    }

    /// Connects to one of the addresses that its name leads to.
    fn connect(&self) -> Result<(SocketAddr, TcpStream), Error> {
        let mut addresses = self.name.to_socket_addrs()?;
        let address = addresses.find(SocketAddr::is_ipv4).ok_or(ErrorKind::NotFound)?;
        let connection = TcpStream::connect(address)?;
        ping(&connection)?;
        Ok((address, connection))
    }
}

fn ping(mut connection: &TcpStream) -> Result<(), Error> {
    const ANSWER: &[u8] = b"+PONG\r\n";
    connection.write_all(b"PING\r\n")?;
    let mut answer = [0; ANSWER.len()];
    connection.read_exact(&mut answer)?;
    if answer == ANSWER { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Answers one request, if there is one: who only looks whether anybody listens sends none.
fn answer(mut stream: TcpStream, text: &str) -> Result<(), Error> {
    let mut head = Vec::new();
    let mut bytes = [0; 1 << 10];
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&bytes[..count]),
        }
    }
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len())
}
