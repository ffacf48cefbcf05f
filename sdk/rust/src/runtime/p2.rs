//! WASI 0.2: `wasi:http/incoming-handler` and `wasi:cli/run` are plain calls; what is async inside of one waits in
//! `wasi:io/poll`. One future at a time, no spawning: when the call returns, its work is over.

use super::convert::{Head, entries, headers};
use crate::{Body, Request, Response, Result, Writer, logging};
use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{OutputStream, StreamError};

/// The most bytes read from a request's body at once.
const CHUNK_BYTES: u64 = 64 << 10;
/// The most bytes that WASI lets one blocking write take.
const BLOCKING_WRITE_BYTES: usize = 4096;

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        if !woken.0.swap(false, Ordering::Relaxed) {
            wait();
        }
    }
}

pub(crate) async fn sleep(duration: Duration) {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    ready(monotonic_clock::subscribe_duration(nanoseconds)).await;
}

pub(crate) fn exit(code: u8) -> ! {
    wasip2::cli::exit::exit_with_code(code);
    unreachable!("the host does not return from exit-with-code")
}

/// Whether the future was woken while it was polled.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

thread_local! {
    /// What the future waits for. Weak, since a pollable must be gone before the stream it belongs to.
    static WAITING: RefCell<Vec<(Weak<Pollable>, Waker)>> = const { RefCell::new(Vec::new()) };
}

/// Blocks until one of the pollables is ready, then wakes all that wait: each looks for itself.
fn wait() {
    let waiting = WAITING.take();
    let pollables: Vec<Rc<Pollable>> =
        waiting.iter().filter_map(|(pollable, _)| pollable.upgrade()).collect();
    assert!(!pollables.is_empty(), "the component waits for something that nothing in it will ever do");
    poll(&pollables.iter().map(Rc::as_ref).collect::<Vec<_>>());
    for (_, waker) in waiting {
        waker.wake();
    }
}

async fn ready(pollable: Pollable) {
    Ready(Rc::new(pollable)).await;
}

struct Ready(Rc<Pollable>);

impl Future for Ready {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.ready() {
            return Poll::Ready(());
        }
        let pollable = Rc::downgrade(&self.0);
        WAITING.with_borrow_mut(|waiting| {
            waiting.retain(|(other, _)| other.strong_count() > 0 && !other.ptr_eq(&pollable));
            waiting.push((pollable, context.waker().clone()));
        });
        Poll::Pending
    }
}

fn convert(request: IncomingRequest) -> http::Result<Request> {
    let head = Head {
        method: match request.method() {
            Method::Get => "GET".into(),
            Method::Head => "HEAD".into(),
            Method::Post => "POST".into(),
            Method::Put => "PUT".into(),
            Method::Delete => "DELETE".into(),
            Method::Connect => "CONNECT".into(),
            Method::Options => "OPTIONS".into(),
            Method::Trace => "TRACE".into(),
            Method::Patch => "PATCH".into(),
            Method::Other(method) => method,
        },
        https: matches!(request.scheme(), Some(Scheme::Https)),
        authority: request.authority(),
        path: request.path_with_query(),
        headers: request.headers().entries(),
    };
    head.into_request()?.body(Body::stream(async move |writer| receive(request, writer).await))
}

/// Passes the request's body on, as it comes.
async fn receive(request: IncomingRequest, mut writer: Writer) -> Result<()> {
    let body = request.consume().map_err(|()| "the request has no body")?;
    let stream = body.stream().map_err(|()| "the request's body has no stream")?;
    loop {
        match stream.read(CHUNK_BYTES) {
            Ok(chunk) if chunk.is_empty() => ready(stream.subscribe()).await,
            Ok(chunk) => writer.write(chunk).await,
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                // The first line says it; a host may go on with a backtrace of its own.
                return Err(error.to_debug_string().lines().next().unwrap_or("unknown").into());
            }
        }
    }
    drop(stream);
    let trailers = IncomingBody::finish(body);
    ready(trailers.subscribe()).await;
    match trailers.get() {
        Some(Ok(Ok(Some(fields)))) => writer.trailers(headers(fields.entries())?).await,
        Some(Ok(Err(error))) => return Err(error.into()),
        Some(Ok(Ok(None))) | Some(Err(())) | None => {}
    }
    Ok(())
}

async fn send(response: Response, out: ResponseOutparam) {
    let (head, mut body) = response.into_parts();
    let mut status = head.status.as_u16();
    let length = body.whole().map(|bytes| bytes.len());
    let fields = Fields::from_list(&entries(&head.headers, length)).unwrap_or_else(|error| {
        logging::error(format_args!("the response's headers are refused: {error}"));
        (status, body) = (500, Body::empty());
        Fields::new()
    });
    let outgoing = OutgoingResponse::new(fields);
    if outgoing.set_status_code(status).is_err() {
        logging::error(format_args!("the response's status is refused: {status}"));
    }
    if body.whole().is_some_and(|bytes| bytes.is_empty()) {
        return ResponseOutparam::set(out, Ok(outgoing));
    }
    let to = outgoing.body().expect("a response has its body until it is taken");
    ResponseOutparam::set(out, Ok(outgoing));
    if let Err(error) = write_body(body, to).await {
        logging::error(format_args!("the response's body ends early: {error}"));
    }
}

/// Writes the body to its end. Where it fails, the host's body is dropped unfinished, which tells the client.
async fn write_body(mut body: Body, to: OutgoingBody) -> Result<()> {
    let stream = to.write().expect("a body has its stream until it is taken");
    let mut trailers = None;
    if let Some(bytes) = body.whole().filter(|bytes| bytes.len() <= BLOCKING_WRITE_BYTES) {
        // One call instead of five, for the body that most responses have.
        if stream.blocking_write_and_flush(bytes).is_err() {
            return Ok(());
        }
    } else {
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) if write(&stream, &data).await.is_err() => return Ok(()),
                Ok(_) => {}
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        if flush(&stream).await.is_err() {
            return Ok(());
        }
    }
    drop(stream);
    let trailers = trailers.map(|trailers| Fields::from_list(&entries(&trailers, None))).transpose()?;
    Ok(OutgoingBody::finish(to, trailers)?)
}

/// Writes as much at a time as the host takes. It only fails if the client is gone.
async fn write(stream: &OutputStream, mut data: &[u8]) -> Result<(), StreamError> {
    while !data.is_empty() {
        let permitted = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if permitted == 0 {
            ready(stream.subscribe()).await;
            continue;
        }
        let (now, later) = data.split_at(permitted.min(data.len()));
        stream.write(now)?;
        data = later;
    }
    Ok(())
}

async fn flush(stream: &OutputStream) -> Result<(), StreamError> {
    stream.flush()?;
    ready(stream.subscribe()).await;
    stream.check_write().map(drop)
}

pub(crate) mod private {
    pub use crate::runtime::events::{EVENT_WORLD, Handled, event_handled, handle_event};
    pub use crate::runtime::queues::{Consumed, QUEUE_WORLD, batch_consumed, consume_batch};
    pub use crate::runtime::snapshot::{WORLD, draw_seeds, initialize, prepare_seeds};
    pub use wasip2;
    pub use wasip2::exports::http::incoming_handler::Guest;
    pub use wasip2::http::types::{IncomingRequest, ResponseOutparam};

    use crate::handler::Handler;
    use std::process::Termination;
    pub(crate) use wit_bindgen::rt::run_ctors_once;

    /// Answers one request.
    pub fn serve<Arguments>(
        request: IncomingRequest,
        out: ResponseOutparam,
        handler: impl Handler<Arguments>,
    ) {
        crate::logging::install();
        super::block_on(async {
            let response = handler.call(|| super::convert(request)).await;
            super::send(response, out).await;
        });
    }

    /// Runs a job's `main`.
    pub fn run(main: impl Future<Output: Termination>) {
        crate::logging::install();
        let code = super::super::exit_code(super::block_on(main));
        if code != 0 {
            crate::exit(code);
        }
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __http {
    ($handler:ident) => {
        const _: () = {
            struct Component;

            impl $crate::__private::Guest for Component {
                fn handle(
                    request: $crate::__private::IncomingRequest,
                    out: $crate::__private::ResponseOutparam,
                ) {
                    $crate::__private::serve(request, out, $handler)
                }
            }

            $crate::__private::wasip2::http::proxy::export!(Component with_types_in $crate::__private::wasip2);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __main {
    ($main:ident) => {
        fn main() {
            $crate::__private::run($main())
        }
    };
}
