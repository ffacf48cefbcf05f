//! `wasi:http/outgoing-handler` of WASI 0.2: as WASI's own crate has it, but for what becomes of a request's options.
//!
//! There they stay in the guest's table for good (wasmtime-wasi-http 48, `p2/http_impl.rs`), though the call takes them: a
//! guest that sends requests for long would have all the resources that it may, and hold none of them.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest, RequestOptions,
};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

/// The interface, of the version that WASI's own crate has.
const NAME: &str = "wasi:http/outgoing-handler@0.2.12";

/// Links the interface.
pub(crate) fn add_to_linker<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.instance(NAME)?.func_wrap("handle", |mut store, (request, options)| {
        handle(store.data_mut().http(), request, options).map(|answer| (answer,))
    })
}

fn handle(
    mut guest: WasiHttpCtxView<'_>,
    request: Resource<OutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> wasmtime::Result<Result<Resource<FutureIncomingResponse>, ErrorCode>> {
    let taken = options.as_ref().map(|options| Resource::<RequestOptions>::new_own(options.rep()));
    let sent = guest.handle(request, options);
    if let Some(taken) = taken {
        guest.table.delete(taken)?;
    }
    match sent {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) => error.downcast().map(Err),
    }
}
