//! An HTTP task on WASI 0.3 that does whatever the path asks for.

mod answers;
mod hoards;
mod raw;

use guest_common::Target;
use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use wasip3::wit_bindgen::{StreamReader, StreamResult, StreamWriter, spawn_local, yield_async};
use wasip3::{wit_future, wit_stream};

/// Bytes read or written at once.
const CHUNK_BYTES: usize = 64 << 10;

struct Misbehave;

wasip3::http::service::export!(Misbehave);

impl Guest for Misbehave {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = Target::new(request.get_path_with_query().as_deref());
        Ok(match target.path() {
            "/" => reply(200, "misbehave\n"),
            "/count" => reply(200, guest_common::count().to_string()),
            "/spin" => reply(200, format!("{} rounds", guest_common::spin(target.number("ms")))),
            // The shortest sleep there is.
            "/spin-and-pause" => loop {
                guest_common::spin_briefly(target.number_or("us", 900));
                monotonic_clock::wait_for(1).await;
            },
            "/allocate" => {
                let memory = guest_common::allocate(target.number_or("mib", 16));
                sleep(target.number_or("hold_ms", 0)).await;
                reply(200, format!("{} MiB", memory.len() >> 20))
            }
            "/grow-forever" => guest_common::grow_forever(),
            "/copy-forever" => guest_common::copy_forever(target.number_or("mib", 16)),
            "/trap" => guest_common::trap(),
            "/panic" => panic!("asked to panic"),
            "/exit" => {
                wasip3::cli::exit::exit_with_code(target.number_or("code", 0) as u8);
                reply(200, "still here")
            }
            "/error" => return Err(ErrorCode::InternalError(Some("asked to fail".into()))),
            "/sleep" => {
                sleep(target.number("ms").unwrap_or(u64::MAX)).await;
                reply(200, "slept")
            }
            "/echo" => echo(request),
            "/pass" => pass(request),
            "/read" => reply(200, format!("{} bytes", read(request).await)),
            "/large" => stream(async move |mut to| {
                for _ in 0..target.number_or("mib", 1) * 16 {
                    if !to.write_all(vec![b'x'; CHUNK_BYTES]).await.is_empty() {
                        return;
                    }
                }
            }),
            // Nothing can ever wake it: the executor in the guest sees that, and traps.
            "/never" => std::future::pending().await,
            "/twice" => {
                raw::answer_at_once(reply(200, "once"));
                reply(200, "twice")
            }
            "/drop-twice" => drop_twice(request),
            "/spin-in-host-calls" => guest_common::spin_in_host_calls(),
            "/drop-parent" => raw::drop_set_with_members(),
            "/flood" => {
                guest_common::flood(target.number_or("mib", 1 << 10));
                reply(200, "flooded")
            }
            "/outgoing-many" => reply(200, outgoing_many(target.number_or("requests", 10_000)).await),
            "/stack" => reply(200, guest_common::recurse(0).to_string()),
            "/log" => {
                guest_common::log(target.number_or("lines", 1), target.number_or("bytes", 80));
                reply(200, "logged")
            }
            "/headers" => reply(200, header_lines(&request)),
            "/env" => reply(200, guest_common::environment(target.text("name").unwrap_or_default())),
            "/status" => reply(target.number_or("code", 200) as u16, "as asked"),
            "/outgoing" => reply(200, outgoing(target.number_or("port", 9) as u16).await),
            "/socket" => reply(200, socket(target.number_or("port", 9) as u16).await),
            "/drip" => stream(async move |mut to| {
                for number in 0..target.number_or("chunks", 3) {
                    if !to.write_all(format!("chunk {number}\n").into_bytes()).await.is_empty() {
                        return;
                    }
                    sleep(target.number_or("ms", 100)).await;
                }
            }),
            "/trap-after-head" => stream(async |mut to| {
                to.write_all(b"the first bytes\n".to_vec()).await;
                guest_common::trap()
            }),
            path => {
                if let Some(what) = path.strip_prefix("/destructor/") {
                    guest_destructor::drop_with(what);
                    reply(200, "dropped")
                } else if let Some(what) = path.strip_prefix("/hoard/") {
                    hoards::without_end(what)
                } else if let Some(what) = path.strip_prefix("/outlive/") {
                    hoards::beyond_the_answer(what)
                } else if let Some(how) = path.strip_prefix("/answer/") {
                    answers::answer(how)
                } else {
                    reply(404, "no such misbehaviour")
                }
            }
        })
    }
}

fn reply(status: u16, text: impl Into<String>) -> Response {
    let text = text.into().into_bytes();
    let response = stream(async move |mut to| {
        // What is left over was for a client that is gone.
        to.write_all(text).await;
    });
    response.set_status_code(status).expect("a valid status");
    response
}

/// A response whose body is written after the handler has returned; only then does it say that this was all.
fn stream(write: impl AsyncFnOnce(StreamWriter<u8>) + 'static) -> Response {
    let (to, contents) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    spawn_local(async move {
        write(to).await;
        drop(end);
    });
    Response::new(Fields::new(), Some(contents), trailers).0
}

async fn sleep(ms: u64) {
    monotonic_clock::wait_for(ms.saturating_mul(1_000_000)).await;
}

/// The request's body.
fn contents(request: Request) -> StreamReader<u8> {
    let (_, result) = wit_future::new(|| Ok(()));
    Request::consume_body(request, result).0
}

/// Hands every chunk of a body to `take`, until it says that this is enough.
async fn chunks(mut body: StreamReader<u8>, mut take: impl AsyncFnMut(Vec<u8>) -> bool) {
    loop {
        let (result, chunk) = body.read(Vec::with_capacity(CHUNK_BYTES)).await;
        if !take(chunk).await || !matches!(result, StreamResult::Complete(_)) {
            return;
        }
    }
}

fn echo(request: Request) -> Response {
    stream(async move |mut to| {
        chunks(contents(request), async |chunk| to.write_all(chunk).await.is_empty()).await;
    })
}

/// Makes the request's body the answer's, which the host then passes on without the guest.
fn pass(request: Request) -> Response {
    let (_, result) = wit_future::new(|| Ok(()));
    let (contents, trailers) = Request::consume_body(request, result);
    Response::new(Fields::new(), Some(contents), trailers).0
}

async fn read(request: Request) -> usize {
    let mut bytes = 0;
    chunks(contents(request), async |chunk| {
        bytes += chunk.len();
        true
    })
    .await;
    bytes
}

/// Gives the request back to the host twice, with the same handle.
fn drop_twice(request: Request) -> Response {
    // SAFETY: the handle is an index that the host checks; a stale one is what is tested here.
    let again = unsafe { Request::from_handle(request.handle()) };
    drop(request);
    drop(again);
    reply(200, "twice")
}

fn header_lines(request: &Request) -> String {
    let mut lines = format!(
        "{:?} {:?} {:?} {:?}\n",
        request.get_method(),
        request.get_scheme(),
        request.get_authority(),
        request.get_path_with_query()
    );
    for (name, value) in request.get_headers().copy_all() {
        lines += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
    }
    lines
}

/// Sends request after request, and counts those that were refused.
/// Asks at a port that nothing else here asks at, so that what is said of it once a minute is said of this.
async fn outgoing_many(requests: u64) -> String {
    let mut refused = 0;
    for _ in 0..requests {
        refused += u64::from(outgoing(10).await.contains("refused"));
        // What the last one left is tidied away between a guest's steps, and a refusal at once is none.
        yield_async().await;
    }
    format!("{refused} of {requests} refused")
}

/// Asks whoever listens on a port of the host.
async fn outgoing(port: u16) -> String {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).expect("a valid scheme");
    request.set_path_with_query(Some("/")).expect("a valid path");
    request.set_authority(Some(&format!("127.0.0.1:{port}"))).expect("a valid authority");
    match client::send(request).await {
        Ok(response) => format!("status {}", response.get_status_code()),
        Err(error) => format!("refused: {error:?}"),
    }
}

/// Connects to a port of the host.
async fn socket(port: u16) -> String {
    let socket = match TcpSocket::create(IpAddressFamily::Ipv4) {
        Ok(socket) => socket,
        Err(error) => return format!("refused at once: {error:?}"),
    };
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    match socket.connect(address).await {
        Ok(()) => "connected".into(),
        Err(error) => format!("refused: {error:?}"),
    }
}
