//! An instance of a component that is called, of either generation and of any kind.

use super::{GuestRequest, Head, p2, p3};
use crate::code::{Code, Entry};
use crate::state::SandboxState;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p3::bindings::Service;

/// What a request, an event or messages are handed to.
pub(crate) struct Instance {
    /// The instance itself, by which exports are found that not every component has.
    pub(super) raw: component::Instance,
    http: Http,
}

/// What takes requests.
enum Http {
    P2(Proxy),
    P3(Service),
    /// The component exports nothing that does.
    Nothing,
}

impl Instance {
    /// Makes one in a store.
    pub(crate) async fn new(code: &Code, store: &mut Store<SandboxState>) -> wasmtime::Result<Self> {
        let raw = code.pre.instantiate_async(&mut *store).await?;
        let http = match &code.entry {
            Entry::HttpP2(indices) => Http::P2(indices.load(&mut *store, &raw)?),
            Entry::HttpP3(indices) => Http::P3(indices.load(&mut *store, &raw)?),
            Entry::CommandP2(_) | Entry::CommandP3(_) | Entry::Event => Http::Nothing,
        };
        Ok(Self { raw, http })
    }

    /// What takes several requests at once, if it is of WASI 0.3 and takes any.
    pub(super) fn service(&self) -> Option<&Service> {
        match &self.http {
            Http::P3(service) => Some(service),
            Http::P2(_) | Http::Nothing => None,
        }
    }

    /// One call, to the end of all that the guest does for it; its answer is left in `head` as soon as it is there.
    pub(crate) async fn call(
        &self,
        store: &mut Store<SandboxState>,
        request: GuestRequest,
        head: Arc<Head>,
    ) -> wasmtime::Result<()> {
        match &self.http {
            Http::P2(proxy) => p2::call(store, proxy, request, head).await,
            Http::P3(service) => p3::call(store, service, request, head).await,
            Http::Nothing => wasmtime::bail!("the component takes no requests"),
        }
    }
}
