//! An instance of a component that answers requests, of either generation.

use super::{GuestRequest, Head, p2, p3};
use crate::code::{Code, Entry};
use crate::state::SandboxState;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p3::bindings::Service;

/// What a request is handed to.
pub(crate) enum Instance {
    P2(Proxy),
    P3(Service),
}

impl Instance {
    /// Makes one in a store.
    pub(crate) async fn new(code: &Code, store: &mut Store<SandboxState>) -> wasmtime::Result<Self> {
        Ok(match &code.entry {
            Entry::HttpP2(pre) => Self::P2(pre.instantiate_async(store).await?),
            Entry::HttpP3(pre) => Self::P3(pre.instantiate_async(store).await?),
            Entry::CommandP2(_) | Entry::CommandP3(_) => wasmtime::bail!("a command takes no requests"),
        })
    }

    /// One call, to the end of all that the guest does for it; its answer is left in `head` as soon as it is there.
    pub(crate) async fn call(
        &self,
        store: &mut Store<SandboxState>,
        request: GuestRequest,
        head: Arc<Head>,
    ) -> wasmtime::Result<()> {
        match self {
            Self::P2(proxy) => p2::call(store, proxy, request, head).await,
            Self::P3(service) => p3::call(store, service, request, head).await,
        }
    }
}
