//! `wasi:sockets/network` and `instance-network` 0.2: the handle to the network, error codes, and addresses.
//!
//! There is one network, the task's own. The handle stands for nothing: what a guest may do follows from its identity.

use super::bindings::instance_network;
use super::bindings::network::{
    Error, ErrorCode, Host, HostNetwork, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress,
    Ipv6SocketAddress,
};
use super::{SocketError, View};
use crate::address::{Family, from_octets, from_segments, octets, segments};
use crate::errors::p2_code;
use skiff_net::NetError;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
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

impl From<IpAddressFamily> for Family {
    fn from(family: IpAddressFamily) -> Self {
        match family {
            IpAddressFamily::Ipv4 => Self::V4,
            IpAddressFamily::Ipv6 => Self::V6,
        }
    }
}

impl From<Family> for IpAddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4,
            Family::V6 => Self::Ipv6,
        }
    }
}

impl From<IpAddr> for IpAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(octets(address)),
            IpAddr::V6(address) => Self::Ipv6(segments(address)),
        }
    }
}

impl From<IpSocketAddress> for SocketAddr {
    fn from(address: IpSocketAddress) -> Self {
        match address {
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }) => {
                SocketAddrV4::new(from_octets(address), port).into()
            }
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info, address, scope_id }) => {
                SocketAddrV6::new(from_segments(address), port, flow_info, scope_id).into()
            }
        }
    }
}

impl From<SocketAddr> for IpSocketAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => {
                Self::Ipv4(Ipv4SocketAddress { port: address.port(), address: octets(*address.ip()) })
            }
            SocketAddr::V6(address) => Self::Ipv6(Ipv6SocketAddress {
                port: address.port(),
                flow_info: address.flowinfo(),
                address: segments(*address.ip()),
                scope_id: address.scope_id(),
            }),
        }
    }
}
