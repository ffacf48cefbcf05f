//! An HTTP task on WASI 0.2 that does whatever the path asks for.

mod answers;
mod hoards;

use guest_common::Target;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::{InputStream, StreamError};

/// Bytes read or written at once.
const CHUNK_BYTES: u64 = 64 << 10;

struct Misbehave;

wasip2::http::proxy::export!(Misbehave);

impl Guest for Misbehave {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = Target::new(request.path_with_query().as_deref());
        match target.path() {
            "/" => reply(out, 200, "misbehave\n"),
            "/count" => reply(out, 200, &guest_common::count().to_string()),
            "/spin" => {
                let rounds = guest_common::spin(target.number("ms"));
                reply(out, 200, &format!("{rounds} rounds"));
            }
            "/spin-briefly" => {
                guest_common::spin_briefly(target.number_or("us", 500));
                reply(out, 200, "spun");
            }
            // The shortest sleep there is.
            "/spin-and-pause" => loop {
                guest_common::spin_briefly(target.number_or("us", 900));
                monotonic_clock::subscribe_duration(1).block();
            },
            "/allocate" => {
                let memory = guest_common::allocate(target.number_or("mib", 16));
                sleep(target.number_or("hold_ms", 0));
                reply(out, 200, &format!("{} MiB", memory.len() >> 20));
            }
            "/grow-forever" => guest_common::grow_forever(),
            "/copy-forever" => guest_common::copy_forever(target.number_or("mib", 16)),
            "/trap" => guest_common::trap(),
            "/panic" => panic!("asked to panic"),
            "/exit" => {
                wasip2::cli::exit::exit_with_code(target.number_or("code", 0) as u8);
                reply(out, 200, "still here");
            }
            "/sleep" => {
                sleep(target.number("ms").unwrap_or(u64::MAX));
                reply(out, 200, "slept");
            }
            "/echo" => echo(&request, out),
            "/read" => reply(out, 200, &format!("{} bytes", read(&request))),
            "/large" => stream(out, |stream| {
                for _ in 0..target.number_or("mib", 1) * 16 {
                    stream.write_all(&[b'x'; CHUNK_BYTES as usize])?;
                }
                Ok(())
            }),
            "/hoard" => {
                let hoard = hoard(target.number_or("requests", 1), target.number_or("bytes", 1) as usize);
                sleep(target.number_or("hold_ms", 0));
                reply(out, 200, &format!("{} requests", hoard.len()));
            }
            "/never" => drop(out),
            "/twice" => twice(out),
            "/stack" => reply(out, 200, &guest_common::recurse(0).to_string()),
            "/spin-in-host-calls" => guest_common::spin_in_host_calls(),
            "/drop-parent" => drop_parent(),
            "/flood" => {
                guest_common::flood(target.number_or("mib", 1 << 10));
                reply(out, 200, "flooded");
            }
            "/outgoing-many" => reply(out, 200, &outgoing_many(target.number_or("requests", 10_000))),
            "/log" => {
                guest_common::log(target.number_or("lines", 1), target.number_or("bytes", 80));
                reply(out, 200, "logged");
            }
            "/headers" => reply(out, 200, &header_lines(&request)),
            "/env" => reply(out, 200, &guest_common::environment(target.text("name").unwrap_or_default())),
            "/status" => reply(out, target.number_or("code", 200) as u16, "as asked"),
            "/outgoing" => reply(out, 200, &outgoing(target.number_or("port", 9) as u16)),
            "/socket" => reply(out, 200, &socket(target.number_or("port", 9) as u16)),
            "/drip" => stream(out, |stream| {
                for number in 0..target.number_or("chunks", 3) {
                    writeln!(stream, "chunk {number}")?;
                    stream.flush()?;
                    sleep(target.number_or("ms", 100));
                }
                Ok(())
            }),
            "/trap-after-head" => stream(out, |stream| {
                stream.write_all(b"the first bytes\n")?;
                stream.flush()?;
                guest_common::trap()
            }),
            path => {
                if let Some(what) = path.strip_prefix("/destructor/") {
                    guest_destructor::drop_with(what);
                    reply(out, 200, "dropped");
                } else if let Some(what) = path.strip_prefix("/hoard/") {
                    hoards::without_end(what);
                } else if let Some(how) = path.strip_prefix("/answer/") {
                    answers::answer(how, out);
                } else {
                    reply(out, 404, "no such misbehaviour");
                }
            }
        }
    }
}

fn reply(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a valid status");
    respond(out, response, |stream| stream.write_all(text.as_bytes()));
}

fn stream(out: ResponseOutparam, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
    respond(out, OutgoingResponse::new(Fields::new()), write);
}

/// Sends the response; if the client goes away while its body is written, that is the end of it.
fn respond(
    out: ResponseOutparam,
    response: OutgoingResponse,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) {
    let body = response.body().expect("its first body");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("its first stream");
    if write(&mut stream).and_then(|()| Write::flush(&mut stream)).is_ok() {
        drop(stream);
        OutgoingBody::finish(body, None).expect("no length was promised");
    }
}

/// Drops a body whose stream is still there, which the host forbids: it traps in the middle of the drop.
fn drop_parent() -> ! {
    let body = OutgoingResponse::new(Fields::new()).body().expect("its first body");
    let stream = body.write().expect("its first stream");
    drop(body);
    drop(stream);
    panic!("the host let a parent go before its child");
}

/// Requests that are never sent, with a method of so many letters each: all of it lies in the host.
fn hoard(requests: u64, method_bytes: usize) -> Vec<OutgoingRequest> {
    let method = Method::Other("X".repeat(method_bytes));
    let hoarded = (0..requests).map(|_| {
        let request = OutgoingRequest::new(Fields::new());
        request.set_method(&method).expect("a method of letters");
        request
    });
    hoarded.collect()
}

fn sleep(ms: u64) {
    if ms > 0 {
        monotonic_clock::subscribe_duration(ms.saturating_mul(1_000_000)).block();
    }
}

/// Hands every chunk of the request's body to `take`, until it says that this is enough.
fn chunks(request: &IncomingRequest, mut take: impl FnMut(Vec<u8>) -> bool) {
    let body: IncomingBody = request.consume().expect("its first body");
    let stream: InputStream = body.stream().expect("its first stream");
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(chunk) => {
                if !take(chunk) {
                    return;
                }
            }
            Err(StreamError::Closed) => return,
            Err(StreamError::LastOperationFailed(error)) => {
                eprintln!("the request's body broke off: {}", error.to_debug_string());
                return;
            }
        }
    }
}

fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    stream(out, |stream| {
        let mut result = Ok(());
        chunks(request, |chunk| {
            result = stream.write_all(&chunk);
            result.is_ok()
        });
        result
    });
}

fn read(request: &IncomingRequest) -> usize {
    let mut bytes = 0;
    chunks(request, |chunk| {
        bytes += chunk.len();
        true
    });
    bytes
}

/// Sets the response, then sets it again with the same handle, which is no longer the guest's.
fn twice(out: ResponseOutparam) {
    // SAFETY: the handle is an index that the host checks; a stale one is what is tested here.
    let again = unsafe { ResponseOutparam::from_handle(out.handle()) };
    reply(out, 200, "once");
    reply(again, 200, "twice");
}

fn header_lines(request: &IncomingRequest) -> String {
    let mut lines = format!(
        "{:?} {:?} {:?} {:?}\n",
        request.method(),
        request.scheme(),
        request.authority(),
        request.path_with_query()
    );
    for (name, value) in request.headers().entries() {
        lines += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
    }
    lines
}

/// A request to whoever listens on a port of the host.
fn outgoing_request(port: u16) -> OutgoingRequest {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a valid scheme");
    request.set_path_with_query(Some("/")).expect("a valid path");
    request.set_authority(Some(&format!("127.0.0.1:{port}"))).expect("a valid authority");
    request
}

/// Sends request after request, and counts those that were refused.
/// Asks at a port that nothing else here asks at, so that what is said of it once a minute is said of this.
fn outgoing_many(requests: u64) -> String {
    let refused = (0..requests).filter(|_| outgoing(10).contains("refused")).count();
    format!("{refused} of {requests} refused")
}

/// Asks whoever listens on a port of the host.
fn outgoing(port: u16) -> String {
    let request = outgoing_request(port);
    let response = match outgoing_handler::handle(request, None) {
        Ok(response) => response,
        Err(error) => return format!("refused at once: {error:?}"),
    };
    response.subscribe().block();
    match response.get() {
        Some(Ok(Ok(response))) => format!("status {}", response.status()),
        Some(Ok(Err(error))) => format!("refused: {error:?}"),
        Some(Err(())) | None => "ready without a result".into(),
    }
}

/// Connects to a port of the host.
fn socket(port: u16) -> String {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => "connected".into(),
        Err(error) => format!("refused: {:?}: {error}", error.kind()),
    }
}
