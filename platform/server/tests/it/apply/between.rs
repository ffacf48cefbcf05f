//! A stand-in for the API: hands calls on, but for those that write, whose fate a test decides.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is handed on, and so is its answer.
    Passes,
    /// It does not arrive: its connection ends.
    IsLost,
    /// It arrives, and its connection ends before the answer.
    AnswerIsLost,
}

/// The address of one that stands before `api`; `decide` is told of each call that writes which one it is, from 0.
pub(super) fn between(api: &str, decide: impl FnMut(usize) -> Fate + Send + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let api = api.to_owned();
    let calls = Arc::new(Mutex::new((0, decide)));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, api, calls) = (client.unwrap(), api.clone(), calls.clone());
            std::thread::spawn(move || {
                let decide = || {
                    let mut calls = calls.lock().unwrap();
                    let (count, decide) = &mut *calls;
                    *count += 1;
                    decide(*count - 1)
                };
                // Who calls may be gone by then.
                let _ = hand_on(client, &api, decide);
            });
        }
    });
    address
}

/// Hands one call on, after which the connection ends.
fn hand_on(client: TcpStream, api: &str, decide: impl FnOnce() -> Fate) -> Result<()> {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let writes = head.starts_with("PUT ") || head.starts_with("POST ");
    let fate = if writes { decide() } else { Fate::Passes };
    if fate == Fate::IsLost {
        return Ok(());
    }
    let mut server = TcpStream::connect(api)?;
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    match fate {
        Fate::Passes => reader.get_mut().write_all(&answer),
        Fate::IsLost | Fate::AnswerIsLost => Ok(()),
    }
}
