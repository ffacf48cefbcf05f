//! `wasi:sockets/network` and `instance-network` 0.2: the handle to the network, error codes, and addresses.
//!
//! There is one network, the task's own. The handle stands for nothing: what a guest may do follows from its identity.

use super::bindings::instance_network;
use super::bindings::network::{
    Error, ErrorCode, Host, HostNetwork, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress,
    Ipv6SocketAddress,
};
use super::{SocketError, View};
use crate::address::addresses_in_wit;
use crate::errors::p2_code;
use skiff_net::NetError;
use wasmtime::component::Resource;

/// A handle to the network.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct Network;

impl Host for View<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        match error {
            SocketError::Code(code) => Ok(code),
            SocketError::Trap(error) => Err(error),
        }
    }

    fn network_error_code(&mut self, error: Resource<Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<NetError>().map(p2_code))
    }
}

impl HostNetwork for View<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl instance_network::Host for View<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        Ok(self.table.push(Network)?)
    }
}

impl View<'_> {
    /// The handle must be one; that is all that it is good for.
    pub(super) fn check(&self, network: &Resource<Network>) -> Result<(), SocketError> {
        self.table.get(network)?;
        Ok(())
    }
}

addresses_in_wit!();
