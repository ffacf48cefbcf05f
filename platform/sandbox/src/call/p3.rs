//! Calls of `wasi:http/handler` 0.3.

use super::{Answer, GuestRequest, Head, Sandbox, made};
use crate::failure::Failure;
use crate::state::SandboxState;
use http::uri::{Authority, Scheme};
use skiff_kit::clock;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

/// Makes a sandbox, lets it answer one request, and drops it once nothing of the guest runs any more.
pub(crate) async fn serve(
    pre: ServicePre<SandboxState>,
    sandbox: Sandbox,
    request: GuestRequest,
    head: Arc<Head>,
) -> Result<(), Failure> {
    let (task, code) = (sandbox.task.clone(), sandbox.code.clone());
    let began_ns = clock::monotonic_ns();
    let mut store = sandbox.store();
    let result = async {
        let service = pre.instantiate_async(&mut store).await?;
        head.sandbox_is_ready(made(&task, &code, &store, began_ns));
        call(&mut store, &service, request, head).await
    };
    let result: wasmtime::Result<()> = result.await;
    result.map_err(|error| Failure::from_error(&error, &task.account, store.data().out_of_memory()))
}

/// One call, with what the guest does after its answer.
pub(crate) async fn call(
    store: &mut Store<SandboxState>,
    service: &Service,
    request: GuestRequest,
    head: Arc<Head>,
) -> wasmtime::Result<()> {
    let host = request.headers().get(http::header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let (mut request, request_end) = Request::from_http(store.data_mut().http().hooks, request);
    request.scheme.get_or_insert(Scheme::HTTP);
    if request.authority.is_none() {
        request.authority = authority;
    }
    let answered = store.run_concurrent(async move |accessor| {
        let answer = match service.handle(accessor, request).await? {
            Ok(response) => Answer::Response(accessor.with(|store| response.into_http(store, request_end))?),
            Err(code) => Answer::Failure(Failure::error_code(&code)),
        };
        head.set(answer);
        std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        Ok(())
    });
    answered.await?
}
