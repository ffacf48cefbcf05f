//! The guard of HTTP/1: of what it lets through, httparse finds the same heads, and hyper's rules for bodies find the same
//! ends of requests; and it makes no difference where the bytes are cut.
//!
//! The first byte of an input says where they are cut. What hyper does is written down here a second time, from its
//! `proto/h1/role.rs` and `proto/h1/decode.rs`, with all that it forgives.

use httparse::{EMPTY_HEADER, Header, Request, Status};
use skiff_edge::guard::{Blocks, Fault};

const HEAD_BYTES_MAX: usize = 4 << 10;

/// What became of the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    passed: Vec<u8>,
    requests: u64,
    fault: Option<Fault>,
}

/// Shows the input to the guard.
pub(crate) fn run(input: &[u8]) {
    let Some((&cut, bytes)) = input.split_first() else { return };
    let cut = usize::from(cut).min(bytes.len());
    let seen = show([bytes]);
    assert_eq!(show([&bytes[..cut], &bytes[cut..]]), seen, "it matters where the bytes are cut");
    assert_eq!(show(bytes.chunks(1)), seen, "it matters that the bytes come one by one");
    assert!(bytes.starts_with(&seen.passed), "something else passed than what was shown");
    assert_eq!(requests(&seen.passed), seen.requests, "hyper finds other requests");
}

/// Shows these pieces one after the other. Nobody agrees to another protocol.
fn show<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut blocks = Blocks::new(HEAD_BYTES_MAX);
    let (mut waiting, mut passed) = (Vec::new(), Vec::new());
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            let bytes = blocks.pass(&waiting);
            passed.extend(waiting.drain(..bytes));
            if !blocks.is_undecided() {
                break;
            }
            blocks.http_goes_on();
        }
    }
    Seen { passed, requests: blocks.requests(), fault: blocks.fault() }
}

/// How many requests hyper finds in bytes that are sound as far as they go.
fn requests(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while !bytes.is_empty() {
        let mut headers = vec![EMPTY_HEADER; bytes.len() / 4 + 1];
        let mut request = Request::new(&mut headers);
        let Ok(Status::Complete(head)) = request.parse(bytes) else {
            panic!("a head passed that does not parse: {:?}", String::from_utf8_lossy(bytes));
        };
        count += 1;
        let rest = &bytes[head..];
        bytes = match body(request.headers, request.version == Some(1)) {
            Body::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                rest.get(length..).unwrap_or_default()
            }
            Body::Chunks => after_chunks(rest),
        };
    }
    count
}

enum Body {
    Length(u64),
    Chunks,
}

/// What hyper takes to follow a head.
fn body(headers: &[Header<'_>], is_http11: bool) -> Body {
    let (mut length, mut has_encoding, mut is_chunked) = (None, false, false);
    for header in headers {
        let value = str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            assert!(is_http11, "an encoding passed in HTTP/1.0");
            has_encoding = true;
            let last = value.rsplit(',').next().unwrap_or_default();
            is_chunked = last.trim().eq_ignore_ascii_case("chunked");
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            assert!(is_number, "the length {value:?} passed");
            let number: u64 = value.parse().expect("it has not too many digits");
            assert!(length.replace(number).is_none(), "two lengths passed");
        }
    }
    assert!(!has_encoding || is_chunked, "another encoding than chunked passed");
    assert!(!has_encoding || length.is_none(), "both a length and an encoding passed");
    if is_chunked { Body::Chunks } else { Body::Length(length.unwrap_or(0)) }
}

/// What follows a body in chunks, as hyper decodes it; nothing, if it is not whole.
fn after_chunks(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    loop {
        let Some(end) = rest.iter().position(|&byte| byte == b'\r') else { return &[] };
        let line = &rest[..end];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = str::from_utf8(&line[..digits]).expect("digits are text");
        let size = u64::from_str_radix(size, 16).expect("a size that is no number passed");
        let extension = line[digits..].trim_ascii_start();
        assert!(extension.is_empty() || extension.starts_with(b";"), "a size passed with something after it");
        assert!(!line.contains(&b'\n'), "a bare LF passed after a size");
        let Some(after) = after_line_end(&rest[end..]) else { return &[] };
        if size == 0 {
            return after_trailers(after);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(end) = after.get(size..) else { return &[] };
        let Some(next) = after_line_end(end) else { return &[] };
        rest = next;
    }
}

/// What follows CR LF; nothing, if it is not whole.
fn after_line_end(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [b'\r', b'\n', rest @ ..] => Some(rest),
        [] | [b'\r'] => None,
        _ => panic!("something else passed where CR LF belongs: {:?}", String::from_utf8_lossy(bytes)),
    }
}

/// What follows trailers. They pass whole or not at all.
fn after_trailers(bytes: &[u8]) -> &[u8] {
    if bytes.is_empty() {
        return bytes;
    }
    if let Some(rest) = bytes.strip_prefix(b"\r\n") {
        return rest;
    }
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("trailers passed in part") + 4;
    let mut headers = vec![EMPTY_HEADER; end / 4 + 1];
    let parsed = httparse::parse_headers(&bytes[..end], &mut headers);
    let is_whole = matches!(parsed, Ok(Status::Complete((length, _))) if length == end);
    assert!(is_whole, "trailers passed that do not parse: {:?}", String::from_utf8_lossy(bytes));
    &bytes[end..]
}
