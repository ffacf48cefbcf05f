//! WASI 0.3: `wasi:http/handler` and `wasi:cli/run` are async functions of the component model, run by the executor of
//! `wit-bindgen`. A response's body goes on after the handler has returned.

use super::convert::{Head, entries, headers};
use crate::{Body, Bytes, Request, Response, Result, Writer, logging};
use std::time::Duration;
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Fields, Method, Request as Incoming, Response as Outgoing, Scheme};
use wasip3::wit_bindgen::{self, FutureWriter, StreamResult, StreamWriter};
use wasip3::{wit_future, wit_stream};

/// The most bytes read from a request's body at once.
const CHUNK_BYTES: usize = 64 << 10;

type Trailers = Result<Option<Fields>, ErrorCode>;

pub(crate) fn block_on<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
    wit_bindgen::block_on(future)
}

pub(crate) async fn sleep(duration: Duration) {
    monotonic_clock::wait_for(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).await;
}

pub(crate) fn exit(code: u8) -> ! {
    wasip3::cli::exit::exit_with_code(code);
    unreachable!("the host does not return from exit-with-code")
}

fn convert(request: Incoming) -> http::Result<Request> {
    let head = Head {
        method: match request.get_method() {
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
        https: matches!(request.get_scheme(), Some(Scheme::Https)),
        authority: request.get_authority(),
        path: request.get_path_with_query(),
        headers: request.get_headers().copy_all(),
    };
    head.into_request()?.body(Body::stream(async move |writer| receive(request, writer).await))
}

/// Passes the request's body on, as it comes.
async fn receive(request: Incoming, mut writer: Writer) -> Result<()> {
    let (_result, result) = wit_future::new(|| Ok(()));
    let (mut stream, trailers) = Incoming::consume_body(request, result);
    loop {
        let (result, chunk) = stream.read(Vec::with_capacity(CHUNK_BYTES)).await;
        writer.write(chunk).await;
        match result {
            StreamResult::Complete(_) => {}
            StreamResult::Dropped | StreamResult::Cancelled => break,
        }
    }
    drop(stream);
    if let Some(fields) = trailers.await? {
        writer.trailers(headers(fields.copy_all())?).await;
    }
    Ok(())
}

/// Makes the host's response; its body, if it has one, is written by a task that goes on after the handler.
fn send(response: Response) -> Outgoing {
    let (head, mut body) = response.into_parts();
    let mut status = head.status.as_u16();
    let length = body.whole().map(Bytes::len);
    let fields = Fields::from_list(&entries(&head.headers, length)).unwrap_or_else(|error| {
        logging::error(format_args!("the response's headers are refused: {error}"));
        (status, body) = (500, Body::empty());
        Fields::new()
    });
    let (end, trailers) = wit_future::new(|| Ok(None));
    let contents = if body.whole().is_some_and(Bytes::is_empty) {
        None
    } else {
        let (to, contents) = wit_stream::new();
        wit_bindgen::spawn_local(write_body(body, to, end));
        Some(contents)
    };
    let (outgoing, _sent) = Outgoing::new(fields, contents, trailers);
    if outgoing.set_status_code(status).is_err() {
        logging::error(format_args!("the response's status is refused: {status}"));
    }
    outgoing
}

/// Writes the body to its end; an error of it goes to the host, which cuts the response off and so tells the client.
async fn write_body(mut body: Body, mut to: StreamWriter<u8>, end: FutureWriter<Trailers>) {
    let mut trailers = Ok(None);
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => {
                let unsent = to.write_all(data.into()).await;
                if !unsent.is_empty() {
                    // The client is gone.
                    return;
                }
            }
            Ok(Err(frame)) => trailers = trailer_fields(frame),
            Err(error) => {
                logging::error(format_args!("the response's body ends early: {error}"));
                trailers = Err(ErrorCode::InternalError(None));
                break;
            }
        }
    }
    drop(to);
    // The host may not wait for the trailers; then they are of no use to anyone.
    let _ = end.write(trailers).await;
}

fn trailer_fields(frame: http_body::Frame<Bytes>) -> Trailers {
    let Ok(trailers) = frame.into_trailers() else { return Ok(None) };
    Fields::from_list(&entries(&trailers, None)).map(Some).map_err(|error| {
        logging::error(format_args!("the response's trailers are refused: {error}"));
        ErrorCode::InternalError(None)
    })
}

pub(crate) mod private {
    pub use crate::runtime::events::{EVENT_WORLD, Handled, event_handled, handle_event};
    pub use crate::runtime::queues::{Consumed, QUEUE_WORLD, batch_consumed, consume_batch};
    pub use crate::runtime::snapshot::{WORLD, draw_seeds, initialize, prepare_seeds};
    pub use wasip3;
    pub use wasip3::exports::cli::run::Guest as Program;
    pub use wasip3::exports::http::handler::Guest;
    pub use wasip3::http::types::{ErrorCode, Request, Response};

    use crate::handler::Handler;
    use std::io::Write;
    use std::process::Termination;
    pub(crate) use wasip3::wit_bindgen::rt::run_ctors_once;

    /// Answers one request.
    pub async fn serve<Arguments>(request: Request, handler: impl Handler<Arguments>) -> Response {
        crate::logging::install();
        super::send(handler.call(|| super::convert(request)).await)
    }

    /// Runs a job's `main`.
    pub async fn run(main: impl Future<Output: Termination>) -> Result<(), ()> {
        crate::logging::install();
        let code = super::super::exit_code(main.await);
        if code != 0 {
            crate::exit(code);
        }
        // A library has no end at which the standard library would do it.
        std::io::stdout().flush().map_err(drop)
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __http {
    ($handler:ident) => {
        const _: () = {
            struct Component;

            impl $crate::__private::Guest for Component {
                async fn handle(
                    request: $crate::__private::Request,
                ) -> Result<$crate::__private::Response, $crate::__private::ErrorCode> {
                    Ok($crate::__private::serve(request, $handler).await)
                }
            }

            $crate::__private::wasip3::http::service::export!(Component with_types_in $crate::__private::wasip3);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __main {
    ($main:ident) => {
        const _: () = {
            struct Component;

            impl $crate::__private::Program for Component {
                async fn run() -> Result<(), ()> {
                    $crate::__private::run($main()).await
                }
            }

            $crate::__private::wasip3::cli::command::export!(Component with_types_in $crate::__private::wasip3);
        };
    };
}
