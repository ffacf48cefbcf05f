//! `wasi:sockets/ip-name-lookup` 0.3.
//!
//! What a name means is asked of `net`. An address needs nobody to be asked.

use super::bindings::ip_name_lookup::{ErrorCode, Host, HostWithStore};
use super::bindings::types::IpAddress;
use super::{Sockets, View};
use crate::errors::p3_lookup_code;
use crate::local::Local;
use crate::name::{Asked, asked};
use futures::future::LocalBoxFuture;
use skiff_net::NetError;
use skiff_sandbox::SandboxState;
use std::net::IpAddr;
use wasmtime::component::Accessor;

/// An answer that is to come.
type Question = Local<LocalBoxFuture<'static, Result<Vec<IpAddr>, NetError>>>;

impl Host for View<'_> {}

impl HostWithStore<SandboxState> for Sockets {
    async fn resolve_addresses(
        accessor: &Accessor<SandboxState, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<IpAddress>, ErrorCode>> {
        let name = match asked(&name) {
            Ok(Asked::Address(address)) => return Ok(Ok(vec![address.to_canonical().into()])),
            Ok(Asked::Name(name)) => Ok(name),
            Err(error) => Err(error),
        };
        let question: Result<Question, NetError> = accessor.with(|mut access| {
            let (View { context, .. }, name) = (access.get(), name?);
            let interface = context.interface()?;
            Ok(Local::new(interface.with(|interface| interface.resolve(&name))))
        });
        let answer = match question {
            Ok(question) => question.await,
            Err(error) => Err(error),
        };
        Ok(match answer {
            Ok(addresses) => {
                let addresses = Local::new(addresses);
                Ok(addresses.get().iter().map(|address| address.to_canonical().into()).collect())
            }
            Err(error) => Err(accessor.with(|mut access| access.get().context.told(error, p3_lookup_code))),
        })
    }
}
