//! What the types of `wasi:sockets/types` 0.3 mean: errors, families, addresses.

use super::bindings::types::{
    ErrorCode, Host, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use super::{SocketError, View};
use crate::address::addresses_in_wit;

impl Host for View<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        match error {
            SocketError::Code(code) => Ok(code),
            SocketError::Trap(error) => Err(error),
        }
    }
}

addresses_in_wit!();
