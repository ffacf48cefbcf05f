//! Calls of `wasi:http/incoming-handler` 0.2.

use super::{Answer, GuestRequest, Head};
use crate::failure::Failure;
use crate::state::SandboxState;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

/// One call; a sandbox takes one after the other.
pub(super) async fn call(
    store: &mut Store<SandboxState>,
    proxy: &Proxy,
    request: GuestRequest,
    head: Arc<Head>,
) -> wasmtime::Result<()> {
    store.data_mut().note_hops(request.headers());
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let answer = http.new_response_outparam_from_callback(move |answer| {
        head.set(match answer {
            Ok(response) => Answer::Response(response),
            Err(code) => Answer::Failure(Failure::error_code(&code)),
        });
    })?;
    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, answer).await
}
