//! What goes wrong in the network, as the error codes of both generations of `wasi:sockets`.
//!
//! A code says less than the error: what else there is to say is said in the task's logs ([`crate::context`]).

use crate::p2::bindings::network::ErrorCode as P2;
use crate::p3::bindings::ip_name_lookup::ErrorCode as P3Lookup;
use crate::p3::bindings::types::ErrorCode as P3;
use skiff_net::NetError;

/// The code of `wasi:sockets/network` 0.2.
pub(crate) fn p2_code(error: &NetError) -> P2 {
    match error {
        NetError::Denied(_) => P2::AccessDenied,
        NetError::Refused => P2::ConnectionRefused,
        NetError::Reset => P2::ConnectionReset,
        NetError::TimedOut => P2::Timeout,
        NetError::AddressInUse => P2::AddressInUse,
        NetError::AddressNotBindable => P2::AddressNotBindable,
        NetError::InvalidArgument => P2::InvalidArgument,
        NetError::InvalidState | NetError::Closed => P2::InvalidState,
        NetError::NotSupported => P2::NotSupported,
        NetError::Unreachable => P2::RemoteUnreachable,
        NetError::TooManySockets(_) => P2::NewSocketLimit,
        NetError::OutOfMemory => P2::OutOfMemory,
        NetError::NameUnresolvable => P2::NameUnresolvable,
        NetError::TemporaryResolverFailure => P2::TemporaryResolverFailure,
        NetError::DatagramTooLarge => P2::DatagramTooLarge,
    }
}

/// The code of `wasi:sockets/types` 0.3.
pub(crate) fn p3_code(error: &NetError) -> P3 {
    match error {
        NetError::Denied(_) => P3::AccessDenied,
        NetError::Refused => P3::ConnectionRefused,
        NetError::Reset => P3::ConnectionReset,
        NetError::TimedOut => P3::Timeout,
        NetError::AddressInUse => P3::AddressInUse,
        NetError::AddressNotBindable => P3::AddressNotBindable,
        NetError::InvalidArgument => P3::InvalidArgument,
        NetError::InvalidState => P3::InvalidState,
        NetError::Closed => P3::ConnectionBroken,
        NetError::NotSupported => P3::NotSupported,
        NetError::Unreachable => P3::RemoteUnreachable,
        NetError::OutOfMemory => P3::OutOfMemory,
        NetError::DatagramTooLarge => P3::DatagramTooLarge,
        NetError::TooManySockets(_) | NetError::NameUnresolvable | NetError::TemporaryResolverFailure => {
            P3::Other(Some(error.to_string()))
        }
    }
}

/// The code of `wasi:sockets/ip-name-lookup` 0.3.
pub(crate) fn p3_lookup_code(error: &NetError) -> P3Lookup {
    match error {
        NetError::Denied(_) => P3Lookup::AccessDenied,
        NetError::InvalidArgument => P3Lookup::InvalidArgument,
        NetError::NameUnresolvable => P3Lookup::NameUnresolvable,
        NetError::TemporaryResolverFailure | NetError::TimedOut | NetError::TooManySockets(_) => {
            P3Lookup::TemporaryResolverFailure
        }
        NetError::Refused
        | NetError::Reset
        | NetError::AddressInUse
        | NetError::AddressNotBindable
        | NetError::InvalidState
        | NetError::NotSupported
        | NetError::Unreachable
        | NetError::OutOfMemory
        | NetError::DatagramTooLarge
        | NetError::Closed => P3Lookup::Other(Some(error.to_string())),
    }
}
