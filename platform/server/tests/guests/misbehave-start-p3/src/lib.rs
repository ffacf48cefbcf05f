//! An HTTP task on WASI 0.3 that misbehaves before anybody asks it: while its instance is made. What it does is said by the
//! environment's variable `AT_START`.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_future;

/// The linker has `_initialize` call what this section lists, and that is called when the component is instantiated.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = guest_common::misbehave_at_start;

struct Start;

wasip3::http::service::export!(Start);

impl Guest for Start {
    async fn handle(_: Request) -> Result<Response, ErrorCode> {
        let (_, trailers) = wit_future::new(|| Ok(None));
        Ok(Response::new(Fields::new(), None, trailers).0)
    }
}
