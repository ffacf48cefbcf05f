//! Every form of a request that is read in two ways, and that it makes no difference where the bytes are cut.

use super::*;
use proptest::prelude::*;

const LIMIT_BYTES: usize = 200;

/// What became of bytes: how many passed, in how many requests, and what is wrong with the next one.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    passed: usize,
    requests: u64,
    fault: Option<Fault>,
}

/// Shows these pieces one after the other. Nobody agrees to another protocol.
fn show<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut blocks = Blocks::new(LIMIT_BYTES);
    let (mut waiting, mut passed) = (Vec::new(), 0);
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            let bytes = blocks.pass(&waiting);
            waiting.drain(..bytes);
            passed += bytes;
            if !blocks.is_undecided() {
                break;
            }
            blocks.http_goes_on();
        }
    }
    Seen { passed, requests: blocks.requests(), fault: blocks.fault() }
}

/// Checks what becomes of these bytes, cut into two anywhere, and into single ones.
#[track_caller]
fn check(text: &str, expected: &Seen) {
    let bytes = text.as_bytes();
    assert_eq!(&show([bytes]), expected, "{text:?}");
    assert_eq!(&show(bytes.chunks(1)), expected, "{text:?}, byte by byte");
    for cut in 1..bytes.len() {
        assert_eq!(&show([&bytes[..cut], &bytes[cut..]]), expected, "{text:?}, cut at {cut}");
    }
}

/// All of it passes.
#[track_caller]
fn sound(text: &str, requests: u64) {
    check(text, &Seen { passed: text.len(), requests, fault: None });
}

/// None of a head passes, with a request before it and one that it hides after it.
#[track_caller]
fn unsound(head: &str, fault: Fault) {
    const BEFORE: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    check(head, &Seen { passed: 0, requests: 0, fault: Some(fault) });
    let text = format!("{BEFORE}{head}0\r\n\r\n{BEFORE}");
    check(&text, &Seen { passed: BEFORE.len(), requests: 1, fault: Some(fault) });
}

/// The same of a head with these lines beside its `Host`.
#[track_caller]
fn unsound_lines(lines: &str, fault: Fault) {
    unsound(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), fault);
}

/// A body in chunks of which this much is sound, and no more.
#[track_caller]
fn unsound_chunks(body: &str, sound_bytes: usize, fault: Fault) {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let expected = Seen { passed: head.len() + sound_bytes, requests: 1, fault: Some(fault) };
    check(&format!("{head}{body}"), &expected);
}

#[test]
fn requests_pass_one_after_the_other() {
    let get = "GET /a?b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Empty:\r\nX-Tab:\ta\tb \r\n\r\n";
    let length = "PUT /\u{e9} HTTP/1.1\r\nhOST: a\r\nContent-length: \t005 \r\n\r\nhe\r\no";
    let chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:  Chunked\r\n\r\n\
                  5\r\nhello\r\n00a ;x=\"y\";\t\u{e9}\r\n0123456789\r\n0\r\nx: y\r\n\r\n";
    sound(get, 1);
    sound(length, 1);
    sound(chunks, 1);
    sound(&[get, length, chunks, "\r\n\r\n", get].concat(), 4);
    sound("GET / HTTP/1.0\r\n\r\n", 1);
    sound("!#$%&'*+-.^_`|~09azAZ * HTTP/1.1\r\nHost:\r\n!#$%&'*+-.^_`|~09azAZ: \u{ff}~ !\r\n\r\n", 1);
}

#[test]
fn no_method_changes_where_a_request_ends() {
    for method in ["GET", "HEAD", "OPTIONS", "CONNECT", "DELETE", "TRACE"] {
        let request = format!("{method} a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ");
        sound(&request.repeat(2), 2);
    }
    let expecting = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab";
    sound(&expecting.repeat(2), 2);
}

#[test]
fn what_is_not_whole_waits() {
    for part in ["\r\n", "GET", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        check(part, &Seen { passed: 0, requests: 0, fault: None });
    }
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    check(&format!("{head}x: y\r\n"), &Seen { passed: head.len(), requests: 1, fault: None });
}

#[test]
fn line_ends_other_than_cr_lf() {
    unsound("GET / HTTP/1.1\nHost: a\r\n\r\n", Fault::BareLf);
    unsound("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareLf);
    unsound_lines("X: y\n", Fault::BareLf);
    unsound_lines("X: y\nTransfer-Encoding: chunked\r\n", Fault::BareLf);
    unsound("GET / HTTP/1.1\r\nHost: a\r\n\n", Fault::BareLf);
    unsound_lines("X: y\rTransfer-Encoding: chunked\r\n", Fault::BareCr);
    unsound_lines("X: y\r\r\n", Fault::BareCr);
    unsound_lines("\rX: y\r\n", Fault::BareCr);
    unsound_lines("X\r: y\r\n", Fault::BareCr);
    unsound("GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareCr);
}

#[test]
fn headers_over_two_lines() {
    unsound_lines("X: y\r\n z\r\n", Fault::Folding);
    // The first line is none of its own already.
    unsound_lines("Transfer-Encoding:\r\n\tchunked\r\n", Fault::Encoding);
    unsound("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Fault::Folding);
}

#[test]
fn names_and_values_that_are_none() {
    unsound_lines("X: a\0b\r\n", Fault::Control);
    unsound_lines("X: \u{7f}\r\n", Fault::Control);
    unsound_lines("X\u{1}: y\r\n", Fault::Control);
    unsound_lines("Transfer-Encoding: \u{b}chunked\r\n", Fault::Control);
    unsound_lines("Transfer-Encoding : chunked\r\n", Fault::SpaceBeforeColon);
    unsound_lines("Content-Length\t: 5\r\n", Fault::SpaceBeforeColon);
    unsound_lines("bad header\r\n", Fault::NoColon);
    unsound_lines("bad header: x\r\n", Fault::HeaderName);
    unsound_lines(": x\r\n", Fault::HeaderName);
    unsound_lines("X(y): z\r\n", Fault::HeaderName);
    unsound_lines("\u{e9}: z\r\n", Fault::HeaderName);
}

#[test]
fn request_lines_that_are_none() {
    let with = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    for line in [
        "BAD",
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1 x",
        "GET /a\tb HTTP/1.1",
        "GET / a HTTP/1.1",
        "GET / HTTP/1.1\t",
    ] {
        unsound(&with(line), Fault::RequestLine);
    }
    for (line, fault) in [
        ("G(T / HTTP/1.1", Fault::Method),
        ("\u{e9} / HTTP/1.1", Fault::Method),
        ("GET / HTTP/1.2", Fault::Version),
        ("GET / HTTP/2.0", Fault::Version),
        ("GET / http/1.1", Fault::Version),
        ("GET / HTTP/1.10", Fault::Version),
        ("GET /\0 HTTP/1.1", Fault::Control),
        ("PRI * HTTP/2.0", Fault::Version),
    ] {
        unsound(&with(line), fault);
    }
    let seen = show([&b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"[..]]);
    assert_eq!(seen, Seen { passed: 0, requests: 0, fault: Some(Fault::Target) });
}

#[test]
fn cl_te_and_te_cl() {
    unsound_lines("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Fault::LengthAndEncoding);
    unsound_lines("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Fault::LengthAndEncoding);
    unsound_lines("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Fault::LengthAndEncoding);
}

#[test]
fn te_te() {
    for value in ["identity", "xchunked", "chunked, x", "x, chunked", "chunked, chunked", "", "\"chunked\""] {
        unsound_lines(&format!("Transfer-Encoding: {value}\r\n"), Fault::Encoding);
    }
    unsound_lines("Transfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n", Fault::Encoding);
    unsound_lines("Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n", Fault::Encoding);
    unsound("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::EncodingInHttp10);
}

#[test]
fn lengths_that_are_not_one_number() {
    for value in ["+5", "-5", "5, 5", "5,5", "", " ", "5 5", "0x5", "5.0", "\u{665}", "18446744073709551614"]
    {
        unsound_lines(&format!("Content-Length: {value}\r\n"), Fault::Length);
    }
    unsound_lines(&format!("Content-Length: {}\r\n", "9".repeat(60)), Fault::Length);
    unsound_lines("Content-Length: 5\r\nContent-Length: 5\r\n", Fault::Lengths);
    unsound_lines("Content-Length: 5\r\ncontent-length: 6\r\n", Fault::Lengths);
    let most = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551613\r\n\r\nabc";
    sound(most, 1);
}

#[test]
fn hosts() {
    unsound("GET / HTTP/1.1\r\n\r\n", Fault::NoHost);
    unsound("GET http://a/ HTTP/1.1\r\nX-Host: a\r\n\r\n", Fault::NoHost);
    unsound_lines("Host: b\r\n", Fault::Hosts);
    unsound("GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", Fault::Hosts);
}

#[test]
fn chunks_that_are_none() {
    unsound_chunks("g\r\n", 0, Fault::ChunkSize);
    unsound_chunks("\r\n", 0, Fault::ChunkSize);
    unsound_chunks("+5\r\nhello\r\n", 0, Fault::ChunkSize);
    unsound_chunks("-1\r\n", 0, Fault::ChunkSize);
    unsound_chunks(" 5\r\nhello\r\n", 0, Fault::ChunkSize);
    unsound_chunks("0x5\r\nhello\r\n", 1, Fault::ChunkSize);
    unsound_chunks("5 \r\nhello\r\n", 2, Fault::ChunkSize);
    unsound_chunks("5 5\r\n", 2, Fault::ChunkSize);
    unsound_chunks("00000000000000005\r\nhello\r\n", 16, Fault::ChunkSize);
    unsound_chunks("fffffffffffffffff\r\n", 16, Fault::ChunkSize);
    unsound_chunks("5\nhello\r\n", 1, Fault::BareLf);
    unsound_chunks("5;a\nhello\r\n", 3, Fault::BareLf);
    unsound_chunks("5\rhello\r\n", 2, Fault::BareCr);
    unsound_chunks("5;a\0\r\nhello\r\n", 3, Fault::Control);
    unsound_chunks("5\r\nhello\n0\r\n\r\n", 8, Fault::ChunkEnd);
    unsound_chunks("5\r\nhello!\r\n", 8, Fault::ChunkEnd);
    unsound_chunks("5\r\nhello\rx", 9, Fault::ChunkEnd);
    unsound_chunks("5\r\nhello\r\n\n0\r\n\r\n", 10, Fault::ChunkSize);
}

#[test]
fn extensions_that_are_too_long() {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let limit_bytes = 8 << 10;
    let chunks = "1;ab\r\nx\r\n".repeat(limit_bytes / 3);
    let most = [HEAD, chunks.as_bytes(), b"1;a\r\nx\r\n"].concat();
    assert_eq!(show([&most[..]]), Seen { passed: most.len(), requests: 1, fault: None });
    let more = [&most[..], b"1;"].concat();
    let fault = Some(Fault::ChunkExtensions { limit_bytes });
    assert_eq!(show([&more[..]]), Seen { passed: more.len() - 1, requests: 1, fault });
    assert_eq!(show(more.chunks(7)), Seen { passed: more.len() - 1, requests: 1, fault });
}

#[test]
fn trailers_that_are_none() {
    for name in ["Content-Length", "transfer-encoding", "Host", "Connection", "Upgrade", "TE", "Trailer"] {
        unsound_chunks(&format!("0\r\n{name}: 5\r\n\r\n"), 3, Fault::Trailer);
    }
    unsound_chunks("0\r\nx: y\nz: 1\r\n\r\n", 3, Fault::BareLf);
    unsound_chunks("0\r\n\n", 3, Fault::BareLf);
    unsound_chunks("0\r\nx : y\r\n\r\n", 3, Fault::SpaceBeforeColon);
    unsound_chunks("0\r\nGET / HTTP/1.1\r\n\r\n", 3, Fault::NoColon);
    let limit_bytes = LIMIT_BYTES;
    unsound_chunks(&format!("0\r\nx: {}", "y".repeat(LIMIT_BYTES)), 3, Fault::TooLarge { limit_bytes });
}

#[test]
fn heads_that_are_too_large() {
    let head = |bytes: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(bytes - rest))
    };
    let fault = Some(Fault::TooLarge { limit_bytes: LIMIT_BYTES });
    sound(&head(LIMIT_BYTES), 1);
    check(&head(LIMIT_BYTES + 1), &Seen { passed: 0, requests: 0, fault });
    check(&"x".repeat(LIMIT_BYTES), &Seen { passed: 0, requests: 0, fault: None });
    check(&"x".repeat(LIMIT_BYTES + 1), &Seen { passed: 0, requests: 0, fault });
    check(&"\r\n".repeat(LIMIT_BYTES), &Seen { passed: 0, requests: 0, fault });
}

#[test]
fn nothing_passes_while_another_protocol_may_come() {
    let asks = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n";
    let mut blocks = Blocks::new(LIMIT_BYTES);
    let bytes = [&asks[..], b"\0\n"].concat();
    assert_eq!((blocks.pass(&bytes), blocks.is_undecided()), (asks.len(), true));
    assert_eq!((blocks.pass(b"\0\n"), blocks.fault()), (0, None));
    blocks.http_goes_on();
    assert_eq!((blocks.pass(b"\0\n"), blocks.fault()), (0, Some(Fault::BareLf)));
    for decided in [
        "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut blocks = Blocks::new(LIMIT_BYTES);
        let passed = blocks.pass(decided.as_bytes());
        assert_eq!((passed, blocks.is_undecided()), (decided.len(), false), "{decided:?}");
    }
}

/// Bytes out of pieces of requests, sound ones and others.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n0123456",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
        b"5\r\nhello\r\n",
        b"1f;a=b\r\n",
        b"0\r\nx: y\r\n\r\n",
        b"0\r\n\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b"x",
        b": y\r\n",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn where_the_bytes_are_cut_makes_no_difference(
        bytes in requests(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(show(pieces), show([&bytes[..]]));
    }
}
