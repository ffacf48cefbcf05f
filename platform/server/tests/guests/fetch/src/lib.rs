//! An HTTP task on WASI 0.2 that sends requests, and says what came of them.
//!
//! `/fetch` sends one for each header `x-url`, one after the other. Headers `x-send` hold what to send as headers; the query
//! says the rest: `method`, `body` (how many bytes), `connect_ms`, `first_ms`, `between_ms`, `take` (`bytes`: only count the
//! answer's; `head`: leave with its head), `relay` (the other is told to do the same). It answers what `fetch-p3` does.
//!
//! `/again` sends one to `url` so many `times`, and says only how many bytes came.

mod again;

use guest_common::{Target, Url, header};
use std::io::Write;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

/// Bytes read or written at once.
const CHUNK_BYTES: usize = 64 << 10;

struct Fetch;

wasip2::http::proxy::export!(Fetch);

impl Guest for Fetch {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = Target::new(request.path_with_query().as_deref());
        let urls = request.headers().get("x-url");
        let told: Vec<String> = match target.path() {
            "/again" => vec![again::again(&target)],
            _ => urls.iter().map(|url| fetch(&String::from_utf8_lossy(url), &target, &request)).collect(),
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("its first body");
        ResponseOutparam::set(out, Ok(response));
        let mut stream = body.write().expect("its first stream");
        if stream.write_all(told.join("\n").as_bytes()).and_then(|()| Write::flush(&mut stream)).is_ok() {
            drop(stream);
            OutgoingBody::finish(body, None).expect("no length was promised");
        }
    }
}

fn fetch(url: &str, target: &Target, asked: &IncomingRequest) -> String {
    let outgoing = outgoing_request(url, target, asked);
    let body = target.number("body").map(|bytes| (outgoing.body().expect("its first body"), bytes));
    let pending = match outgoing_handler::handle(outgoing, Some(options(target))) {
        Ok(pending) => pending,
        Err(error) => return format!("error: {error:?}"),
    };
    if let Some((body, bytes)) = body {
        write(body, bytes);
    }
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => answer(response, target),
        Some(Ok(Err(error))) => format!("error: {error:?}"),
        Some(Err(())) | None => "ready without a result".into(),
    }
}

fn outgoing_request(url: &str, target: &Target, asked: &IncomingRequest) -> OutgoingRequest {
    let headers = Fields::new();
    for line in asked.headers().get("x-send") {
        let line = String::from_utf8_lossy(&line);
        let (name, value) = header(&line);
        headers.append(name, value.as_bytes()).expect("a sound header");
    }
    if target.text("relay").is_some() {
        headers.append("x-url", url.as_bytes()).expect("a sound header");
    }
    let url = Url::new(url);
    let scheme = if url.is_https { Scheme::Https } else { Scheme::Http };
    let outgoing = OutgoingRequest::new(headers);
    outgoing.set_method(&method(target)).expect("a method of letters");
    outgoing.set_scheme(Some(&scheme)).expect("a valid scheme");
    outgoing.set_authority(Some(url.authority)).expect("a valid authority");
    outgoing.set_path_with_query(Some(url.path)).expect("a valid path");
    outgoing
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

/// Writes a body of so many bytes, as far as somebody takes it.
fn write(body: OutgoingBody, bytes: u64) {
    let mut stream = body.write().expect("its first stream");
    let mut left = usize::try_from(bytes).expect("it fits");
    while left > 0 {
        let chunk = left.min(CHUNK_BYTES);
        if stream.write_all(&vec![b'x'; chunk]).is_err() {
            return;
        }
        left -= chunk;
    }
    drop(stream);
    // Nobody hears it who is gone.
    let _ = OutgoingBody::finish(body, None);
}

fn answer(response: IncomingResponse, target: &Target) -> String {
    let mut told = format!("status {}\n", response.status());
    for (name, value) in response.headers().entries() {
        told += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
    }
    if target.text("take") == Some("head") {
        return told;
    }
    let body = response.consume().expect("its first body");
    let stream = body.stream().expect("its first stream");
    let mut read = Vec::new();
    let mut bytes = 0;
    let broke_off = loop {
        match stream.blocking_read(CHUNK_BYTES as u64) {
            Ok(chunk) => {
                bytes += chunk.len();
                if target.text("take") != Some("bytes") {
                    read.extend(chunk);
                }
            }
            Err(StreamError::Closed) => break None,
            Err(StreamError::LastOperationFailed(error)) => {
                break Some(format!("\nbroke off: {:?}", http_error_code(&error)));
            }
        }
    };
    drop(stream);
    told += &match target.text("take") {
        Some("bytes") => format!("\n{bytes} bytes"),
        _ => format!("\n{}", String::from_utf8_lossy(&read)),
    };
    match broke_off {
        Some(broke_off) => told + &broke_off,
        None => told + &trailers(body),
    }
}

/// What comes after the last byte.
fn trailers(body: IncomingBody) -> String {
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    match trailers.get() {
        Some(Ok(Ok(Some(trailers)))) => {
            let lines = trailers.entries().into_iter();
            lines.map(|(name, value)| format!("\nthen {name}: {}", String::from_utf8_lossy(&value))).collect()
        }
        Some(Ok(Ok(None))) => String::new(),
        Some(Ok(Err(error))) => format!("\nbroke off: {error:?}"),
        Some(Err(())) | None => "\nready without a result".into(),
    }
}
