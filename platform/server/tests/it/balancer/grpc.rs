//! A target group that speaks gRPC, to a server outside that speaks HTTP/2 with prior knowledge. Its frames are put together
//! by hand; the client is the system's curl, which shows trailers as it does headers.

use super::rule;
use crate::harness::{Platform, eventually};
use std::io::{Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

const HOST: &str = "echo.example.com";
const PREFACE_BYTES: usize = 24;

// Kinds and flags of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as HPACK has them: literals that are not indexed, with new names.
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// A server of gRPC that gives back each request's messages; the address.
fn start() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Answers one request after the other, until the client closes or breaks off.
fn serve(mut stream: TcpStream) -> Result<()> {
    stream.read_exact(&mut [0; PREFACE_BYTES])?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload)?;
        let id = u32::from_be_bytes(id);
        if kind == HEADERS {
            let headers = block(&[(":status", "200"), ("content-type", "application/grpc+proto")]);
            stream.write_all(&frame(HEADERS, END_HEADERS, id, &headers))?;
        }
        if kind == DATA {
            stream.write_all(&frame(DATA, 0, id, &payload))?;
        }
        if [HEADERS, DATA].contains(&kind) && flags & END_STREAM != 0 {
            let trailers = block(&[("grpc-status", "0"), ("x-from", "target")]);
            stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &trailers))?;
        }
    }
}

/// What curl shows of a call of gRPC: the head, the body and the trailers. Nothing where it gave up on the stream: the curl of
/// some systems takes an answer for broken that ended before all of its request was read (RFC 9113, section 8.1).
fn call(platform: &Platform, arguments: &[&str]) -> Option<String> {
    const STREAM_ERROR: i32 = 92;
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*", "--include"]);
    command.args(["--header", &format!("host: {HOST}"), "--header", "content-type: application/grpc+proto"]);
    command.args(["--header", "te: trailers", "--data-binary", "message"]).args(arguments);
    let output =
        command.arg(format!("http://{}/test.Echo/Say", platform.http)).output().expect("curl is there");
    let gave_up = output.status.code() == Some(STREAM_ERROR);
    assert!(output.status.success() || gave_up, "{}", String::from_utf8_lossy(&output.stderr));
    (!gave_up).then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_call_of_grpc_crosses_with_its_trailers_and_is_told_by_its_own_means_why_it_does_not() {
    let platform = Platform::start(&["--workers", "1"]);
    platform.ok(&["target-group", "create", "echo", "--outside", &start(), "--protocol", "grpc"]);
    rule(&platform, "echo", "10", &format!("host={HOST}"), &["--forward", "echo"]);
    let by_http2 = &["--http2-prior-knowledge"];
    let answer = eventually("the call is answered", || {
        call(&platform, by_http2).filter(|answer| answer.contains("message"))
    });
    assert!(answer.starts_with("HTTP/2 200"), "{answer}");
    for line in ["content-type: application/grpc+proto", "grpc-status: 0", "x-from: target"] {
        assert!(answer.contains(line), "{line:?} is not in {answer}");
    }
    let answer = call(&platform, &["--http1.1"]).expect("HTTP/1.1 has no streams");
    assert!(answer.starts_with("HTTP/1.1 464 Incompatible Protocol Versions"), "gRPC needs HTTP/2: {answer}");

    let away = format!("127.0.0.1:{}", super::free_port());
    platform.ok(&["target-group", "create", "echo", "--outside", &away]);
    let refused = eventually("nobody answers", || {
        call(&platform, by_http2).filter(|answer| answer.contains("grpc-status: 14"))
    });
    assert!(refused.starts_with("HTTP/2 200") && refused.contains("grpc-message: "), "{refused}");
}
