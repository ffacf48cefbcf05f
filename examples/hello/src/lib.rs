//! The smallest HTTP task, on WASI 0.2 directly: what the benchmarks measure.
//!
//! It does not use the SDK, nor anything of the standard library that can panic or print: so it imports three
//! interfaces instead of fourteen, is a fifth in size, and a host starts a fresh sandbox of it for less.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        if let Ok(stream) = body.write()
            && stream.blocking_write_and_flush(b"Hello from Skiff!\n").is_err()
        {
            // The client is gone.
            return;
        }
        // Fails only if the body were longer than it said, and it says nothing.
        let _ = OutgoingBody::finish(body, None);
    }
}

wasip2::http::proxy::export!(Hello);
