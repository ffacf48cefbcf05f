//! What an address must be before `net` is asked at all, for either generation of `wasi:sockets`; and addresses as both write
//! them.
//!
//! There are no dual-stack sockets: a socket of IPv6 has addresses of IPv6 alone, and an IPv4 address mapped into one
//! (RFC 4291, 2.5.5.2) is as wrong as an IPv4 address itself.

use skiff_net::NetError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IPv4 address in WIT.
pub(crate) type Octets = (u8, u8, u8, u8);
/// An IPv6 address in WIT.
pub(crate) type Segments = (u16, u16, u16, u16, u16, u16, u16, u16);

/// The family of addresses that a socket was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Any of one's own addresses, any free port.
    pub(crate) fn unspecified(self) -> SocketAddr {
        let address: IpAddr = match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(address, 0)
    }

    fn has(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4, IpAddr::V4(_)) => true,
            (Self::V6, IpAddr::V6(address)) => {
                address.to_ipv4_mapped().is_none() && !is_ipv4_compatible(address)
            }
            (Self::V4, IpAddr::V6(_)) | (Self::V6, IpAddr::V4(_)) => false,
        }
    }
}

/// Whether a stream's socket may be bound to it.
///
/// # Errors
/// `InvalidArgument` if not; whether the address is one's own is not said here.
pub(crate) fn check_stream_local(family: Family, local: SocketAddr) -> Result<(), NetError> {
    valid(family.has(local.ip()) && is_unicast(local.ip()))
}

/// Whether a stream's socket may be connected to it.
///
/// # Errors
/// `InvalidArgument` if not.
pub(crate) fn check_stream_remote(family: Family, remote: SocketAddr) -> Result<(), NetError> {
    valid(family.has(remote.ip()) && is_unicast(remote.ip()) && is_somebody(remote))
}

/// Whether a socket of datagrams may be bound to it.
///
/// # Errors
/// As of [`check_stream_local`].
pub(crate) fn check_datagram_local(family: Family, local: SocketAddr) -> Result<(), NetError> {
    valid(family.has(local.ip()))
}

/// Whether datagrams may be sent to it.
///
/// # Errors
/// `InvalidArgument` if not.
pub(crate) fn check_datagram_remote(family: Family, remote: SocketAddr) -> Result<(), NetError> {
    valid(family.has(remote.ip()) && is_somebody(remote))
}

fn valid(is_valid: bool) -> Result<(), NetError> {
    if is_valid { Ok(()) } else { Err(NetError::InvalidArgument) }
}

/// Deprecated since 2006 (RFC 4291, 2.5.5.1), and read differently by different systems.
fn is_ipv4_compatible(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0, 0, 0, 0, 0, 0, _, _])
        && address != Ipv6Addr::UNSPECIFIED
        && address != Ipv6Addr::LOCALHOST
}

fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_multicast() && !address.is_broadcast(),
        IpAddr::V6(address) => !address.is_multicast(),
    }
}

fn is_somebody(remote: SocketAddr) -> bool {
    !remote.ip().is_unspecified() && remote.port() != 0
}

/// What the addresses and families in the bindings of a generation mean: the same for both, which have types of their own.
/// They are to be imported where this is called.
macro_rules! addresses_in_wit {
    () => {
        impl From<IpAddressFamily> for $crate::address::Family {
            fn from(family: IpAddressFamily) -> Self {
                match family {
                    IpAddressFamily::Ipv4 => Self::V4,
                    IpAddressFamily::Ipv6 => Self::V6,
                }
            }
        }

        impl From<$crate::address::Family> for IpAddressFamily {
            fn from(family: $crate::address::Family) -> Self {
                match family {
                    $crate::address::Family::V4 => Self::Ipv4,
                    $crate::address::Family::V6 => Self::Ipv6,
                }
            }
        }

        impl From<std::net::IpAddr> for IpAddress {
            fn from(address: std::net::IpAddr) -> Self {
                match address {
                    std::net::IpAddr::V4(address) => Self::Ipv4($crate::address::octets(address)),
                    std::net::IpAddr::V6(address) => Self::Ipv6($crate::address::segments(address)),
                }
            }
        }

        impl From<IpSocketAddress> for std::net::SocketAddr {
            fn from(address: IpSocketAddress) -> Self {
                match address {
                    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }) => {
                        std::net::SocketAddrV4::new($crate::address::from_octets(address), port).into()
                    }
                    IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info, address, scope_id }) => {
                        let address = $crate::address::from_segments(address);
                        std::net::SocketAddrV6::new(address, port, flow_info, scope_id).into()
                    }
                }
            }
        }

        impl From<std::net::SocketAddr> for IpSocketAddress {
            fn from(address: std::net::SocketAddr) -> Self {
                match address {
                    std::net::SocketAddr::V4(address) => Self::Ipv4(Ipv4SocketAddress {
                        port: address.port(),
                        address: $crate::address::octets(*address.ip()),
                    }),
                    std::net::SocketAddr::V6(address) => Self::Ipv6(Ipv6SocketAddress {
                        port: address.port(),
                        flow_info: address.flowinfo(),
                        address: $crate::address::segments(*address.ip()),
                        scope_id: address.scope_id(),
                    }),
                }
            }
        }
    };
}
pub(crate) use addresses_in_wit;

pub(crate) fn from_octets((a, b, c, d): Octets) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

pub(crate) fn octets(address: Ipv4Addr) -> Octets {
    address.octets().into()
}

pub(crate) fn from_segments((a, b, c, d, e, f, g, h): Segments) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, e, f, g, h)
}

pub(crate) fn segments(address: Ipv6Addr) -> Segments {
    address.segments().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_family_has_no_addresses_of_the_other() {
        for (family, local, is_valid) in [
            (Family::V4, "10.64.0.20:80", true),
            (Family::V4, "0.0.0.0:0", true),
            (Family::V4, "[::]:0", false),
            (Family::V6, "[::]:0", true),
            (Family::V6, "[fd73::1]:80", true),
            (Family::V6, "0.0.0.0:0", false),
            (Family::V6, "[::ffff:10.64.0.20]:80", false),
            (Family::V6, "[::10.64.0.20]:80", false),
        ] {
            assert_eq!(check_stream_local(family, at(local)).is_ok(), is_valid, "{family:?} {local}");
            assert_eq!(check_datagram_local(family, at(local)).is_ok(), is_valid, "{family:?} {local}");
        }
    }

    #[test]
    fn a_stream_has_one_other_side() {
        for (remote, of_stream, of_datagrams) in [
            ("10.64.0.20:80", true, true),
            ("10.64.0.20:0", false, false),
            ("0.0.0.0:80", false, false),
            ("224.0.0.1:80", false, true),
            ("255.255.255.255:80", false, true),
        ] {
            assert_eq!(check_stream_remote(Family::V4, at(remote)).is_ok(), of_stream, "{remote}");
            assert_eq!(check_datagram_remote(Family::V4, at(remote)).is_ok(), of_datagrams, "{remote}");
        }
        assert!(check_stream_remote(Family::V6, at("[ff02::1]:80")).is_err());
        assert!(check_stream_remote(Family::V6, at("[::]:80")).is_err());
    }

    #[test]
    fn addresses_are_the_same_in_wit() {
        let (v4, v6) = (Ipv4Addr::new(10, 64, 0, 20), "fd73:6b69::14".parse().unwrap());
        assert_eq!(from_octets(octets(v4)), v4);
        assert_eq!(octets(v4), (10, 64, 0, 20));
        assert_eq!(from_segments(segments(v6)), v6);
    }
}
