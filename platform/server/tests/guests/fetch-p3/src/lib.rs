//! An HTTP task on WASI 0.3 that sends requests, and says what came of them.
//!
//! `/fetch` does what that of `fetch` does; with `trailer` in the query, the body has a trailer. `/trailers` reads a body with
//! its trailers, and answers what these were, with a trailer of its own. `/again` does what that of `fetch` does.

mod again;

use guest_common::{Target, Url, header};
use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, RequestOptions, Response, Scheme, Trailers};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, spawn_local};
use wasip3::{wit_future, wit_stream};

/// Bytes read or written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What follows the last byte of a body.
type End = Result<Option<Trailers>, ErrorCode>;

struct Fetch;

wasip3::http::service::export!(Fetch);

impl Guest for Fetch {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = Target::new(request.get_path_with_query().as_deref());
        if target.path() == "/trailers" {
            let (_, result) = wit_future::new(|| Ok(()));
            let (contents, end) = Request::consume_body(request, result);
            let (bytes, _) = read(contents, false).await;
            return Ok(reply(format!("{bytes} bytes{}", told_of(end).await), true));
        }
        if target.path() == "/again" {
            return Ok(reply(again::again(&target).await, false));
        }
        let headers = request.get_headers();
        let mut told = Vec::new();
        for url in headers.get("x-url") {
            told.push(fetch(&String::from_utf8_lossy(&url), &target, &headers).await);
        }
        Ok(reply(told.join("\n"), false))
    }
}

async fn fetch(url: &str, target: &Target, asked: &Fields) -> String {
    let (bytes, has_trailer) = (target.number("body"), target.text("trailer").is_some());
    let (contents, end) = body(bytes.map(|bytes| vec![b'x'; bytes as usize]), has_trailer);
    let (request, _sent) = Request::new(headers(url, target, asked), contents, end, Some(options(target)));
    let url = Url::new(url);
    let scheme = if url.is_https { Scheme::Https } else { Scheme::Http };
    request.set_method(&method(target)).expect("a method of letters");
    request.set_scheme(Some(&scheme)).expect("a valid scheme");
    request.set_authority(Some(url.authority)).expect("a valid authority");
    request.set_path_with_query(Some(url.path)).expect("a valid path");
    match client::send(request).await {
        Ok(response) => answer(response, target).await,
        Err(error) => format!("error: {error:?}"),
    }
}

fn headers(url: &str, target: &Target, asked: &Fields) -> Fields {
    let headers = Fields::new();
    for line in asked.get("x-send") {
        let line = String::from_utf8_lossy(&line);
        let (name, value) = header(&line);
        headers.append(name, value.as_bytes()).expect("a sound header");
    }
    if target.text("relay").is_some() {
        headers.append("x-url", url.as_bytes()).expect("a sound header");
    }
    headers
}

fn method(target: &Target) -> Method {
    match target.text("method") {
        None | Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        Some("CONNECT") => Method::Connect,
        Some(other) => Method::Other(other.to_owned()),
    }
}

fn options(target: &Target) -> RequestOptions {
    let options = RequestOptions::new();
    let ns = |name: &str| target.number(name).map(|ms| ms * 1_000_000);
    options.set_connect_timeout(ns("connect_ms")).expect("an option of ours");
    options.set_first_byte_timeout(ns("first_ms")).expect("an option of ours");
    options.set_between_bytes_timeout(ns("between_ms")).expect("an option of ours");
    options
}

/// A body that is written as it is read, and what follows it.
fn body(bytes: Option<Vec<u8>>, has_trailer: bool) -> (Option<StreamReader<u8>>, FutureReader<End>) {
    let (end, trailers) = wit_future::new(|| Ok(None));
    let Some(bytes) = bytes else { return (None, trailers) };
    let (mut to, contents) = wit_stream::new();
    spawn_local(async move {
        // What is left over was for somebody who is gone.
        to.write_all(bytes).await;
        drop(to);
        if has_trailer {
            let trailers = Fields::from_list(&[("x-end".to_owned(), b"all of it".to_vec())]);
            let _ = end.write(Ok(Some(trailers.expect("a sound trailer")))).await;
        }
    });
    (Some(contents), trailers)
}

fn reply(text: String, has_trailer: bool) -> Response {
    let (contents, end) = body(Some(text.into_bytes()), has_trailer);
    Response::new(Fields::new(), contents, end).0
}

async fn answer(response: Response, target: &Target) -> String {
    let mut told = format!("status {}\n", response.get_status_code());
    for (name, value) in response.get_headers().copy_all() {
        told += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
    }
    if target.text("take") == Some("head") {
        return told;
    }
    let (_, result) = wit_future::new(|| Ok(()));
    let (contents, end) = Response::consume_body(response, result);
    let (bytes, text) = read(contents, target.text("take") != Some("bytes")).await;
    told += &match target.text("take") {
        Some("bytes") => format!("\n{bytes} bytes"),
        _ => format!("\n{text}"),
    };
    told + &told_of(end).await
}

/// Reads a body to its end: how many bytes there were, and, if they are to be kept, which.
async fn read(mut body: StreamReader<u8>, keep: bool) -> (usize, String) {
    let (mut bytes, mut kept) = (0, Vec::new());
    loop {
        let (result, chunk) = body.read(Vec::with_capacity(CHUNK_BYTES)).await;
        bytes += chunk.len();
        if keep {
            kept.extend(chunk);
        }
        if !matches!(result, StreamResult::Complete(_)) {
            return (bytes, String::from_utf8_lossy(&kept).into_owned());
        }
    }
}

/// What comes after the last byte.
async fn told_of(end: FutureReader<End>) -> String {
    match end.await {
        Ok(Some(trailers)) => {
            let lines = trailers.copy_all().into_iter();
            lines.map(|(name, value)| format!("\nthen {name}: {}", String::from_utf8_lossy(&value))).collect()
        }
        Ok(None) => String::new(),
        Err(error) => format!("\nbroke off: {error:?}"),
    }
}
