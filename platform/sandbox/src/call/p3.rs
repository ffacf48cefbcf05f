//! Calls of `wasi:http/handler` 0.3.

use super::{Answer, GuestRequest, Head};
use crate::failure::Failure;
use crate::state::SandboxState;
use http::uri::{Authority, Scheme};
use std::pin::Pin;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error, WasiHttpView};

/// Ends when the guest has done with the request's body.
type RequestEnd = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// One call, with what the guest does after its answer.
pub(super) async fn call(
    store: &mut Store<SandboxState>,
    service: &Service,
    request: GuestRequest,
    head: Arc<Head>,
) -> wasmtime::Result<()> {
    let answered = store.run_concurrent(async move |accessor| {
        answer(accessor, service, request, head).await?;
        std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        Ok(())
    });
    answered.await?
}

/// One call, to its answer; others may go on in the same instance.
pub(super) async fn answer(
    accessor: &Accessor<SandboxState>,
    service: &Service,
    request: GuestRequest,
    head: Arc<Head>,
) -> wasmtime::Result<()> {
    let host = request.headers().get(http::header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let (mut request, request_end) = accessor.with(|mut access| {
        access.get().note_hops(request.headers());
        let (request, end) = Request::from_http(access.get().http().hooks, request);
        // Its type names the lifetime of the hooks, though it does not borrow them.
        (request, Box::pin(end) as RequestEnd)
    });
    request.scheme.get_or_insert(Scheme::HTTP);
    if request.authority.is_none() {
        request.authority = authority;
    }
    let answer = match service.handle(accessor, request).await? {
        Ok(response) => Answer::Response(accessor.with(|store| response.into_http(store, request_end))?),
        Err(code) => Answer::Failure(Failure::error_code(&code)),
    };
    head.set(answer);
    Ok(())
}
