//! Ten thousand connections of malformed HTTP, seeded: nothing panics, every connection ends, the edge goes on.

use crate::support::*;
use skiff_edge::{Edge, Limits};
use skiff_ledger::Ledger;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CASES: u64 = 10_000;
/// Turns that a client waits for an answer before it leaves.
const PATIENCE: usize = 20;

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

const HTTP1: [&[u8]; 5] = [
    b"GET /a?b HTTP/1.1\r\nHost: hello.localhost\r\nAccept: */*\r\nX-Request-Id: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: hello.localhost:80\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
    b"HEAD http://pair.localhost/x HTTP/1.0\r\nConnection: keep-alive, x-y\r\nX-Y: 1\r\nCookie: a\r\nCookie: b\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: upgrade\r\nUpgrade: h2c\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n",
];

/// A preface, SETTINGS, and two requests whose headers HPACK names by its static table.
fn http2() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        bytes.extend([0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream]);
        bytes.extend(payload);
    };
    frame(4, 0, 0, &[]);
    let mut headers = vec![0x83, 0x86, 0x84, 0x41, 15];
    headers.extend(b"hello.localhost");
    frame(1, 4, 1, &headers);
    frame(0, 1, 1, b"hello");
    headers[0] = 0x82;
    frame(1, 5, 3, &headers);
    frame(8, 0, 0, &[0, 0, 1, 0]);
    frame(6, 0, 0, &[0; 8]);
    frame(3, 0, 3, &[0, 0, 0, 8]);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    const PIECES: [&[u8]; 12] = [
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b": ",
        b"Host: x\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b" ",
        b"Transfer-Encoding: chunked\r\n",
        b"\xff\xfe",
        b"ffffffffffffffff\r\n",
        b"HTTP/9.9",
        b"-1",
    ];
    for _ in 0..random.usize(1..6) {
        let place = random.usize(0..=bytes.len());
        match random.u8(0..6) {
            0 if place < bytes.len() => bytes[place] ^= 1 << random.u8(0..8),
            1 if place < bytes.len() => bytes[place] = random.u8(..),
            2 => bytes.truncate(place),
            3 => {
                let end = bytes.len().min(place + random.usize(1..20));
                drop(bytes.drain(place..end));
            }
            4 => {
                let piece = PIECES[random.usize(0..PIECES.len())];
                drop(bytes.splice(place..place, piece.iter().copied()));
            }
            _ => {
                let end = bytes.len().min(place + random.usize(1..60));
                let copy = bytes[place..end].to_vec();
                drop(bytes.splice(place..place, copy));
            }
        }
    }
}

/// One connection that sends these bytes in two parts and no more; what it was answered.
async fn exchange(edge: &Rc<Edge>, bytes: &[u8], part: usize) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(1 << 20);
    let serving = edge.serve_io(server, "10.0.0.1:1".parse().unwrap());
    let asking = async move {
        let (mut reader, mut writer) = tokio::io::split(client);
        let _ = writer.write_all(&bytes[..part]).await;
        tokio::task::yield_now().await;
        let _ = writer.write_all(&bytes[part..]).await;
        // A client that ends its side has left, for hyper; so let the answer come first.
        for _ in 0..PATIENCE {
            tokio::task::yield_now().await;
        }
        let _ = writer.shutdown().await;
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        answer
    };
    tokio::join!(serving, asking).1
}

#[test]
fn malformed_http_harms_nobody() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.with(|panics| panics.set(panics.get() + 1));
        default(info);
    }));
    run(async {
        let (ledger, _) = Ledger::create(1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            header_read_timeout: Duration::from_millis(500),
            keep_alive_timeout: Duration::from_millis(500),
            body_idle_timeout: Duration::from_millis(500),
            ..Limits::default()
        };
        let edge = edge(0, limits, Some(folder.path().join("log")), 80, echo(), &ledger);
        let mut corpus: Vec<Vec<u8>> = HTTP1.iter().map(|bytes| bytes.to_vec()).collect();
        corpus.push(http2());
        for bytes in &corpus {
            let answer = exchange(&edge, bytes, 0).await;
            assert!(!answer.is_empty(), "{:?} has no answer", String::from_utf8_lossy(bytes));
        }
        for seed in 0..CASES {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = corpus[random.usize(0..corpus.len())].clone();
            mutate(&mut bytes, &mut random);
            let part = random.usize(0..=bytes.len());
            let answer = tokio::time::timeout(DEADLINE, exchange(&edge, &bytes, part)).await;
            let answer = answer.unwrap_or_else(|_| panic!("seed {seed} never ends"));
            let is_http1 = answer.starts_with(b"HTTP/1.");
            let is_http2 = answer.get(3) == Some(&4);
            assert!(answer.is_empty() || is_http1 || is_http2, "seed {seed} is answered {answer:?}");
        }
        assert_eq!(PANICS.with(Cell::get), 0);
        let answer = exchange(&edge, HTTP1[0], 0).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
        assert_eq!(edge.connections(), 0);
        assert!(edge.drain(DEADLINE).await);
        assert_eq!(edge.access_log_lines_dropped(), 0);
    });
}
