//! Calls of `wasi:http/incoming-handler` 0.2.

use super::{Answer, GuestRequest, Head, Sandbox, made};
use crate::failure::Failure;
use crate::state::SandboxState;
use skiff_kit::clock;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

/// Makes a sandbox, lets it answer one request, and drops it.
pub(crate) async fn serve(
    pre: ProxyPre<SandboxState>,
    sandbox: Sandbox,
    request: GuestRequest,
    head: Arc<Head>,
) -> Result<(), Failure> {
    let (task, code) = (sandbox.task.clone(), sandbox.code.clone());
    let began_ns = clock::monotonic_ns();
    let mut store = sandbox.store();
    let result = async {
        let proxy = pre.instantiate_async(&mut store).await?;
        head.sandbox_is_ready(made(&task, &code, &store, began_ns));
        call(&mut store, &proxy, request, head).await
    };
    let result: wasmtime::Result<()> = result.await;
    result.map_err(|error| Failure::from_error(&error, &task.account, store.data().out_of_memory()))
}

/// One call; a sandbox takes one after the other.
pub(crate) async fn call(
    store: &mut Store<SandboxState>,
    proxy: &Proxy,
    request: GuestRequest,
    head: Arc<Head>,
) -> wasmtime::Result<()> {
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
