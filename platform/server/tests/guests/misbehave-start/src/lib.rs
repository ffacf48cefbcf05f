//! An HTTP task on WASI 0.2 that misbehaves before anybody asks it: while its instance is made. What it does is said by the
//! environment's variable `AT_START`.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// The linker has `_initialize` call what this section lists, and that is called when the component is instantiated.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = guest_common::misbehave_at_start;

struct Start;

wasip2::http::proxy::export!(Start);

impl Guest for Start {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("its first body");
        ResponseOutparam::set(out, Ok(response));
        OutgoingBody::finish(body, None).expect("no length was promised");
    }
}
