//! Answers that break a rule: bodies without an end, or that say one length and have another; headers and trailers without
//! bound.

use std::io::Write;
use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;

/// Answers in one of these ways. What was written is dropped at the end, unless it was forgotten.
pub(crate) fn answer(how: &str, out: ResponseOutparam) {
    match how {
        // Bytes come as long as somebody takes them.
        "endless" => {
            let (_body, mut stream) = begin(out, &[]);
            while stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
        }
        // The first bytes, then nothing more, ever.
        "unfinished" => {
            let (_body, mut stream) = begin(out, &[]);
            write(&mut stream, "the first bytes\n");
            crate::sleep(u64::MAX);
        }
        // The handler returns, and its body is dropped without being finished.
        "dropped" => {
            let (body, mut stream) = begin(out, &[]);
            write(&mut stream, "the first bytes\n");
            drop((stream, body));
        }
        // The first bytes, then a trap.
        "trapped" => {
            let (_body, mut stream) = begin(out, &[]);
            write(&mut stream, "the first bytes\n");
            crate::sleep(50);
            guest_common::trap();
        }
        // The first bytes, then an endless loop.
        "spinning" => {
            let (_body, mut stream) = begin(out, &[]);
            write(&mut stream, "the first bytes\n");
            crate::sleep(50);
            guest_common::spin(None);
        }
        // All that was promised is there long before it is finished.
        "late" => {
            let (body, mut stream) = begin(out, &[("content-length", "4")]);
            write(&mut stream, "late");
            crate::sleep(300);
            finish(body, stream, None);
        }
        // After the last byte the handler goes on, for ever.
        "and-spin" => {
            let (body, mut stream) = begin(out, &[("content-length", "4")]);
            write(&mut stream, "spin");
            finish(body, stream, None);
            guest_common::spin(None);
        }
        // The same without a word on how many bytes there are.
        "end-and-spin" => {
            let (body, mut stream) = begin(out, &[]);
            write(&mut stream, "spin");
            finish(body, stream, None);
            guest_common::spin(None);
        }
        // After the last byte the handler goes on for a while, and says so.
        "end-and-log" => {
            let (body, mut stream) = begin(out, &[]);
            write(&mut stream, "log");
            finish(body, stream, None);
            crate::sleep(100);
            println!("went on");
        }
        "shorter" | "longer" => {
            let promised = if how == "shorter" { "100" } else { "2" };
            let (body, mut stream) = begin(out, &[("content-length", promised)]);
            // A host may refuse what is too much at once; the answer is broken either way.
            let _ = stream.write_all(b"four").and_then(|()| Write::flush(&mut stream));
            drop(stream);
            let _ = OutgoingBody::finish(body, None);
        }
        // Sound, with a head of 20,000 bytes.
        "large-head" => {
            let (body, stream) = begin(out, &[("x-large", &"x".repeat(20_000))]);
            finish(body, stream, None);
        }
        "headers" => {
            let (headers, refusal) = as_many_as_may_be();
            let (body, mut stream) = begin(out, &[]);
            write(&mut stream, &format!("{} headers, then {refusal}\n", headers.entries().len()));
            finish(body, stream, None);
        }
        "trailers" => {
            let (trailers, refusal) = as_many_as_may_be();
            let (body, mut stream) = begin(out, &[]);
            write(&mut stream, &format!("{} trailers follow, then {refusal}\n", trailers.entries().len()));
            finish(body, stream, Some(trailers));
        }
        other => panic!("no such answer: {other}"),
    }
}

fn begin(out: ResponseOutparam, headers: &[(&str, &str)]) -> (OutgoingBody, OutputStream) {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let response = OutgoingResponse::new(Fields::from_list(&headers).expect("sound headers"));
    let body = response.body().expect("its first body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("its first stream");
    (body, stream)
}

fn write(stream: &mut OutputStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("somebody reads");
    Write::flush(stream).expect("somebody reads");
}

fn finish(body: OutgoingBody, stream: OutputStream, trailers: Option<Fields>) {
    drop(stream);
    OutgoingBody::finish(body, trailers).expect("what was promised was written");
}

/// Fields, one more and one more, until the host refuses; and what it said.
fn as_many_as_may_be() -> (Fields, String) {
    let fields = Fields::new();
    let mut number = 0_u64;
    loop {
        if let Err(error) = fields.append(&format!("x-{number}"), &[b'v'; 100]) {
            return (fields, format!("{error:?}"));
        }
        number += 1;
    }
}
