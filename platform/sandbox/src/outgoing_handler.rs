//! `wasi:http/outgoing-handler` of WASI 0.2, at the price of one task of the runtime for a request.
//!
//! What WASI's own crate has (wasmtime-wasi-http 48, `p2/http_impl.rs`) costs two more, each with its round through the
//! scheduler: one that awaits the one that carries out the request, and one for what there is to await of an exchange beside
//! its answer, which is nothing here. And it leaves a request's options in the guest's table for good, though the call takes
//! them: a guest that sends requests for long would have all the resources that it may, and hold none of them.
//!
//! It deliberately carries out nothing itself: [`crate::outgoing`] does.
//!
//! What always holds: what lies in the guest's table is the handle of the one task; and a request that is refused at once
//! has none.

mod conversion;

use crate::state::SandboxState;
use conversion::converted;
use std::any::Any;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest, RequestOptions,
};
use wasmtime_wasi_http::{Error, WasiHttpCtxView, WasiHttpView};

/// The interface, of the version that WASI's own crate has.
const NAME: &str = "wasi:http/outgoing-handler@0.2.12";

/// Links the interface.
pub(crate) fn add_to_linker<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.instance(NAME)?.func_wrap("handle", |mut store, (request, options)| {
        handle(store.data_mut(), request, options).map(|answer| (answer,))
    })
}

fn handle<T: WasiHttpView + 'static>(
    guest: &mut T,
    request: Resource<OutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> wasmtime::Result<Result<Resource<FutureIncomingResponse>, ErrorCode>> {
    let WasiHttpCtxView { table, hooks, .. } = guest.http();
    let options = options.map(|options| table.delete(options)).transpose()?;
    let request = match converted(table.delete(request)?, hooks) {
        Ok(request) => request,
        Err(code) => return Ok(Err(code)),
    };
    let state: &mut dyn Any = guest;
    let sent = match state.downcast_mut::<SandboxState>() {
        Some(sandbox) => sandbox.send(request, options),
        // What is only being initialised reaches nobody, and has no thread whose tasks could carry anything out.
        None => Err(Error::HttpRequestDenied),
    };
    let answer = match sent {
        Ok(answer) => FutureIncomingResponse::Pending(answer),
        Err(error) => FutureIncomingResponse::Ready(Err(error)),
    };
    Ok(Ok(guest.http().table.push(answer)?))
}
