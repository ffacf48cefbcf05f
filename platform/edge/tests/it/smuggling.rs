//! Requests that two programs could read in two ways, over real sockets: the client is told, the connection ends, and no
//! task sees anything of it, nor of what hides behind it.

use crate::h2spec::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, GO_AWAY, HEADERS, RESET, block, frame, preface,
    read_frame, reset,
};
use crate::support::*;
use http_body_util::BodyExt;
use skiff_edge::Limits;
use skiff_ports::body;
use skiff_ports::invoke::{Invoke, InvokeError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What an attacker wants somebody to take for a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n";
/// As many as a chunk that hides it has.
const HIDDEN_BYTES: usize = HIDDEN.len();

/// A task that answers once it has read the request's body, and the paths that it was asked for with whole bodies.
fn recorder() -> (Rc<dyn Invoke>, Rc<RefCell<Vec<String>>>) {
    let paths = Rc::new(RefCell::new(Vec::new()));
    let seen = paths.clone();
    let invoke = task(move |_, request| {
        let seen = seen.clone();
        async move {
            let path = request.uri().path().to_owned();
            let collected = request.into_body().collect().await;
            collected.map_err(|error| InvokeError::Failed(error.to_string()))?;
            seen.borrow_mut().push(path);
            Ok(http::Response::new(body::full("hi")))
        }
    });
    (invoke, paths)
}

/// Sends a head that is refused with 400 and this sentence.
async fn check(lines: &str, sentence: &str) {
    check_request(&format!("POST /seen HTTP/1.1\r\nHost: hello.localhost\r\n{lines}\r\n"), sentence).await;
}

/// Sends a request that is refused with 400 and this sentence, at once and in two parts.
async fn check_request(request: &str, sentence: &str) {
    let (invoke, paths) = recorder();
    let bench = Bench::new(invoke);
    let bytes = format!("{request}{HIDDEN}");
    for pauses in [false, true] {
        let mut stream = bench.connect().await;
        let (first, second) = bytes.as_bytes().split_at(if pauses { request.len() / 2 } else { bytes.len() });
        stream.write_all(first).await.unwrap();
        if pauses {
            eventually("the first part has arrived", || bench.edge.connections() == 1).await;
            tokio::task::yield_now().await;
        }
        stream.write_all(second).await.unwrap();
        let raw = read_to_end(&mut stream).await;
        drop(stream);
        assert_eq!(raw.matches("HTTP/1.1 ").count(), 1, "{request:?} is answered {raw:?}");
        let (status, code, message) = refusal(&raw);
        assert_eq!((status, code.as_str()), (400, "bad_request"), "{request:?}");
        assert_eq!(message, format!("the request is malformed: {sentence}"), "{request:?}");
        assert_eq!(*paths.borrow(), [""; 0], "{request:?}");
        eventually("the connection is gone", || bench.edge.connections() == 0).await;
    }
    for line in bench.wait_for_lines(2).await {
        let error = line["error"].as_str().unwrap();
        assert!(line["status"] == 400 && error.ends_with(sentence), "{request:?} is logged {line}");
        assert!(!line["request_id"].as_str().unwrap().is_empty(), "{line}");
    }
}

#[test]
fn cl_te_and_te_cl() {
    run(async {
        let both = "it has both a Content-Length and a Transfer-Encoding";
        check("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", both).await;
        check("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", both).await;
    });
}

#[test]
fn te_te() {
    run(async {
        let once = "its Transfer-Encoding is not chunked, said once";
        for lines in [
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        ] {
            check(lines, once).await;
        }
        check("Transfer-Encoding : chunked\r\n", "a header of it has a space before its colon").await;
        check("Transfer-Encoding: \x0bchunked\r\n", "it has a NUL or another control character in it").await;
        let old = "POST / HTTP/1.0\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        check_request(old, "it has a Transfer-Encoding, which HTTP/1.0 does not know").await;
    });
}

#[test]
fn lengths() {
    run(async {
        let twice = "it has more than one Content-Length header";
        check("Content-Length: 5\r\nContent-Length: 5\r\n", twice).await;
        check("Content-Length: 0\r\nContent-Length: 50\r\n", twice).await;
        for value in ["+5", "5, 5", "", "0x5", "99999999999999999999"] {
            check(&format!("Content-Length: {value}\r\n"), "its Content-Length is not one number").await;
        }
    });
}

#[test]
fn lines() {
    run(async {
        let bare_lf = "a line of it ends in LF without CR before it";
        check("X: y\nTransfer-Encoding: chunked\r\n", bare_lf).await;
        check_request("GET / HTTP/1.1\nHost: hello.localhost\n\n", bare_lf).await;
        check("X: y\rTransfer-Encoding: chunked\r\n", "it has a CR that no LF follows").await;
        check("X: y\r\n Content-Length: 5\r\n", "a header of it goes on in a second line").await;
        check("X: y\0z\r\n", "it has a NUL or another control character in it").await;
        check("Host: pair.localhost\r\n", "it has more than one Host header").await;
        check_request("GET / HTTP/1.1\r\n\r\n", "it has no Host header").await;
        let first = "its first line is not a method, a target and a version, with single spaces between them";
        for line in ["GET  / HTTP/1.1", "GET /\tx HTTP/1.1", "GET / x HTTP/1.1"] {
            check_request(&format!("{line}\r\nHost: hello.localhost\r\n\r\n"), first).await;
        }
    });
}

#[test]
fn chunks() {
    run(async {
        let size = "the size of a chunk of its body is not a number";
        let whole = |body: &str| {
            format!(
                "POST /seen HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
            )
        };
        check_request(&whole("0x5\r\nhello\r\n0\r\n\r\n"), size).await;
        check_request(&whole("-1\r\nhello\r\n0\r\n\r\n"), size).await;
        check_request(&whole("10000000000000000\r\nhello\r\n0\r\n\r\n"), size).await;
        let bare_lf = "a line of it ends in LF without CR before it";
        check_request(&whole("5\nhello\r\n0\r\n\r\n"), bare_lf).await;
        check_request(&whole(&format!("5;\n{HIDDEN_BYTES:x}\r\n")), bare_lf).await;
        let end = "a chunk of its body does not end where its size says";
        check_request(&whole("5\r\nhello!\r\n0\r\n\r\n"), end).await;
        check_request(&whole("5\r\nhello\n0\r\n\r\n"), end).await;
        let trailer = "it has a trailer that may only be a header";
        check_request(&whole("0\r\nContent-Length: 5\r\n\r\n"), trailer).await;
        check_request(&whole("0\r\nTransfer-Encoding: chunked\r\n\r\n"), trailer).await;
        let long = whole(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(9_000)));
        check_request(&long, "the chunks of its body have extensions of more than 8192 bytes").await;
    });
}

#[test]
fn a_head_without_end_is_too_large() {
    run(async {
        let limits = Limits { buffer_bytes_max: 8 << 10, ..Limits::default() };
        let bench = Bench::with(limits, says("hi"));
        let raw = bench.raw(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1 << 20))).await;
        let (status, code, message) = refusal(&raw);
        assert_eq!((status, code.as_str()), (431, "headers_too_large"));
        assert!(raw.contains("connection: close\r\n") && raw.contains("date: "), "{raw}");
        assert_eq!(message, "the request is malformed: its headers are larger than 8191 bytes");
    });
}

#[test]
fn sound_requests_before_an_unsound_one_are_answered() {
    run(async {
        let (invoke, paths) = recorder();
        let bench = Bench::new(invoke);
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: hello.localhost\r\n\r\n");
        let raw = bench.raw(&format!("{}{}GET / HTTP/1.1\n\n{HIDDEN}", get("/1"), get("/2"))).await;
        assert_eq!(*paths.borrow(), ["/1", "/2"]);
        assert_eq!(raw.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{raw}");
        assert!(raw.matches("HTTP/1.1 ").count() <= 3, "{raw}");

        // One whose answer has not begun yet says that it is the last.
        let gate = Rc::new(tokio::sync::Notify::new());
        let (door, asked) = (gate.clone(), Rc::new(Cell::new(false)));
        let flag = asked.clone();
        let bench = Bench::new(task(move |_, _| {
            flag.set(true);
            let door = door.clone();
            async move {
                door.notified().await;
                Ok(http::Response::new(body::full("late")))
            }
        }));
        let mut stream = bench.connect().await;
        stream.write_all(format!("{}GET / HTTP/1.1\n\n", get("/1")).as_bytes()).await.unwrap();
        // By then, what follows it was looked at.
        eventually("it is asked", || asked.get()).await;
        gate.notify_one();
        let raw = read_to_end(&mut stream).await;
        assert_eq!(raw.matches("HTTP/1.1 ").count(), 1, "{raw}");
        assert!(raw.contains("connection: close\r\n") && raw.ends_with("late"), "{raw}");
        let lines = bench.wait_for_lines(2).await;
        assert!(lines.iter().any(|line| line["status"] == 400), "{lines:?}");
    });
}

#[test]
fn what_follows_a_wish_for_another_protocol_is_looked_at_if_it_is_not_granted() {
    run(async {
        let (invoke, paths) = recorder();
        let bench = Bench::new(invoke);
        let wish = "GET /wish HTTP/1.1\r\nHost: hello.localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let raw = bench.raw(&format!("{wish}{HIDDEN}")).await;
        assert!(raw.starts_with("HTTP/1.1 501 ") && raw.contains("HTTP/1.1 200 OK\r\n"), "{raw}");
        assert_eq!(*paths.borrow(), ["/hidden"]);
        let raw = bench.raw(&format!("{wish}GET / HTTP/1.1\n\n{HIDDEN}")).await;
        assert!(raw.starts_with("HTTP/1.1 501 ") && !raw.contains("200 OK"), "{raw}");
        assert!(raw.contains("a line of it ends in LF"), "{raw}");
        assert_eq!(*paths.borrow(), ["/hidden"]);
        let connect = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nContent-Length: 4\r\n\r\nGET ";
        let raw = bench.raw(&format!("{connect}{HIDDEN}")).await;
        assert!(raw.starts_with("HTTP/1.1 501 "), "{raw}");
        assert!(!raw.contains(" 400 "), "{raw}");
    });
}

#[test]
fn what_tells_the_protocol_has_its_time() {
    run(async {
        let limits = Limits { header_read_timeout: Duration::from_millis(150), ..Limits::default() };
        let bench = Bench::with(limits, says("hi"));
        let mut stream = bench.connect().await;
        stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "");
        let lines = bench.wait_for_lines(1).await;
        assert_eq!(lines[0]["status"], 408, "{lines:?}");
    });
}

/// A request's headers as HPACK has them.
fn headers(more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo =
        [(":method", "POST"), (":scheme", "http"), (":path", "/seen"), (":authority", "hello.localhost")];
    block(pseudo.iter().chain(more))
}

/// Reads frames up to one of these kinds.
async fn read_kind(stream: &mut TcpStream, kinds: &[u8]) -> u8 {
    loop {
        let read = tokio::time::timeout(DEADLINE, read_frame(stream)).await.expect("a frame comes");
        let kind = read.expect("the connection goes on").kind;
        if kinds.contains(&kind) {
            return kind;
        }
    }
}

/// Sends an HTTP/2 request with these headers and this body: it has no answer but its end, and no task reads it whole.
async fn check_http2(more: &[(&str, &str)], body: &str) {
    let (invoke, paths) = recorder();
    let bench = Bench::new(invoke);
    let mut stream = bench.connect().await;
    let mut bytes = preface();
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &headers(more)));
    bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    stream.write_all(&bytes).await.unwrap();
    let kind = read_kind(&mut stream, &[HEADERS, RESET, GO_AWAY]).await;
    assert_ne!(kind, HEADERS, "{more:?} is answered");
    assert_eq!(*paths.borrow(), [""; 0], "{more:?}");
}

#[test]
fn http2_has_no_other_framing_than_its_own() {
    run(async {
        check_http2(&[("content-length", "3")], "hello").await;
        check_http2(&[("content-length", "50")], "hello").await;
        check_http2(&[("content-length", "5"), ("content-length", "6")], "hello").await;
        check_http2(&[("content-length", "+5")], "hello").await;
        check_http2(&[("transfer-encoding", "chunked")], "0\r\n\r\n").await;
        check_http2(&[("connection", "x-y")], "").await;
        check_http2(&[("upgrade", "x")], "").await;
        check_http2(&[("x-y", "a\r\nTransfer-Encoding: chunked")], "").await;
        check_http2(&[("x-y", "a\nb")], "").await;
        check_http2(&[("x-y", "a\0b")], "").await;
        check_http2(&[("x y", "a")], "").await;
        check_http2(&[("x-y:", "a")], "").await;
        check_http2(&[("X-Y", "a")], "").await;
    });
}

#[test]
fn a_sound_http2_request_is_answered() {
    run(async {
        let (invoke, paths) = recorder();
        let bench = Bench::new(invoke);
        let mut stream = bench.connect().await;
        let mut bytes = preface();
        bytes.extend(frame(
            HEADERS,
            END_HEADERS,
            1,
            &headers(&[("content-length", "5"), ("te", "trailers")]),
        ));
        bytes.extend(frame(DATA, END_STREAM, 1, b"hello"));
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(read_kind(&mut stream, &[HEADERS, RESET, GO_AWAY]).await, HEADERS);
        assert_eq!(*paths.borrow(), ["/seen"]);
    });
}

#[test]
fn floods_of_http2_frames_end_the_connection() {
    run(async {
        let bench = Bench::new(says("hi"));
        // Rapid reset: streams that are opened and given up at once.
        let mut resets = preface();
        for stream in (1..400).step_by(2) {
            resets.extend(frame(HEADERS, END_HEADERS, stream, &headers(&[])));
            resets.extend(reset(stream, CANCEL));
        }
        // A head that never ends.
        let mut continued = preface();
        continued.extend(frame(HEADERS, 0, 1, &headers(&[])));
        (0..1_000).for_each(|_| continued.extend(frame(CONTINUATION, 0, 1, &[])));
        for bytes in [resets, continued] {
            let mut stream = bench.connect().await;
            stream.write_all(&bytes).await.unwrap();
            assert_eq!(read_kind(&mut stream, &[GO_AWAY]).await, GO_AWAY);
        }
        assert!(bench.raw(HIDDEN).await.ends_with("hi"));
    });
}
