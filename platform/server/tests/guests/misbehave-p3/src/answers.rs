//! Answers that break a rule: bodies and trailers without an end, or that say one length and have another; headers and
//! trailers without bound.

use crate::{reply, sleep, stream};
use wasip3::http::types::{ErrorCode, Fields, Response};
use wasip3::wit_bindgen::{StreamWriter, spawn_local};
use wasip3::{wit_future, wit_stream};

/// Answers in one of these ways.
pub(crate) fn answer(how: &str) -> Response {
    match how {
        // Bytes come as long as somebody takes them.
        "endless" => stream(async |mut to| while to.write_all(vec![b'x'; 64 << 10]).await.is_empty() {}),
        // The first bytes, then nothing more, ever.
        "unfinished" => stream(async |mut to| {
            write(&mut to, "the first bytes\n").await;
            sleep(u64::MAX).await;
        }),
        // The first bytes, then the word that no more will come.
        "dropped" => {
            let (mut to, contents) = wit_stream::new();
            let (end, trailers) = wit_future::new(|| Ok(None));
            spawn_local(async move {
                write(&mut to, "the first bytes\n").await;
                drop(to);
                // Nobody hears it who is gone.
                let _ = end.write(Err(ErrorCode::InternalError(None))).await;
            });
            Response::new(Fields::new(), Some(contents), trailers).0
        }
        // The first bytes, then a trap.
        "trapped" => stream(async |mut to| {
            write(&mut to, "the first bytes\n").await;
            sleep(50).await;
            guest_common::trap();
        }),
        // The first bytes, then an endless loop.
        "spinning" => stream(async |mut to| {
            write(&mut to, "the first bytes\n").await;
            sleep(50).await;
            guest_common::spin(None);
        }),
        // The body ends, but what comes after it is neither there nor given up.
        "no-trailers" => {
            let (mut to, contents) = wit_stream::new();
            let (end, trailers) = wit_future::new(|| Ok(None));
            spawn_local(async move {
                write(&mut to, "all there is\n").await;
                drop(to);
                sleep(u64::MAX).await;
                drop(end);
            });
            Response::new(Fields::new(), Some(contents), trailers).0
        }
        // All that was promised is there long before it is finished.
        "late" => with_length("4", async |mut to| {
            write(&mut to, "late").await;
            sleep(300).await;
        }),
        // After the last byte it goes on, for ever.
        "and-spin" => with_length("4", async |mut to| {
            write(&mut to, "spin").await;
            drop(to);
            guest_common::spin(None);
        }),
        // The same without a word on how many bytes there are.
        "end-and-spin" => ended_before(async || guest_common::spin(None)),
        // After the last byte it goes on for a while, and says so.
        "end-and-log" => ended_before(async || {
            sleep(100).await;
            println!("went on");
        }),
        "shorter" => with_length("100", async |mut to| write(&mut to, "four").await),
        "longer" => with_length("2", async |mut to| write(&mut to, "four").await),
        // Sound, with a head of 20,000 bytes.
        "large-head" => {
            let headers = Fields::new();
            headers.append("x-large", &[b'x'; 20_000]).expect("a sound header");
            with_headers(headers, async |_| {})
        }
        "headers" => {
            let (headers, refusal) = as_many_as_may_be();
            reply(200, format!("{} headers, then {refusal}\n", headers.copy_all().len()))
        }
        "trailers" => {
            let (fields, refusal) = as_many_as_may_be();
            let text = format!("{} trailers follow, then {refusal}\n", fields.copy_all().len());
            let (mut to, contents) = wit_stream::new();
            let (end, trailers) = wit_future::new(|| Ok(None));
            spawn_local(async move {
                write(&mut to, &text).await;
                drop(to);
                // Nobody takes them from a client that is gone.
                let _ = end.write(Ok(Some(fields))).await;
            });
            Response::new(Fields::new(), Some(contents), trailers).0
        }
        other => panic!("no such answer: {other}"),
    }
}

/// A response that is whole before `rest` begins.
fn ended_before<T>(rest: impl AsyncFnOnce() -> T + 'static) -> Response {
    let (mut to, contents) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    spawn_local(async move {
        write(&mut to, "spin").await;
        drop((to, end));
        // Lets the host see that.
        sleep(1).await;
        rest().await;
    });
    Response::new(Fields::new(), Some(contents), trailers).0
}

/// A response that promises so many bytes.
fn with_length(length: &str, write: impl AsyncFnOnce(StreamWriter<u8>) + 'static) -> Response {
    let headers = Fields::new();
    headers.append("content-length", length.as_bytes()).expect("a sound header");
    with_headers(headers, write)
}

fn with_headers(headers: Fields, write: impl AsyncFnOnce(StreamWriter<u8>) + 'static) -> Response {
    let (to, contents) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    spawn_local(async move {
        write(to).await;
        drop(end);
    });
    Response::new(headers, Some(contents), trailers).0
}

async fn write(to: &mut StreamWriter<u8>, text: &str) {
    // What is left over was for a client that is gone.
    to.write_all(text.into()).await;
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
