//! Addresses of the standard library and those of WASI, and names that mean some.

use crate::Outcome;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wasip3::sockets::ip_name_lookup::{ErrorCode, resolve_addresses};
use wasip3::sockets::types::{
    IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};

/// The port on every address of the task, in IPv4.
pub(crate) fn any(port: u16) -> IpSocketAddress {
    to_wasi((Ipv4Addr::UNSPECIFIED, port).into())
}

pub(crate) fn family(address: SocketAddr) -> IpAddressFamily {
    if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }
}

pub(crate) async fn resolve(name: &str) -> Outcome {
    let mut addresses = lookup(name).await?;
    addresses.sort();
    let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    println!("resolved {}", texts.join(" "));
    Ok(())
}

/// At least one address.
pub(crate) async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    let failed = |error: ErrorCode| {
        let name = match error {
            ErrorCode::AccessDenied => "access-denied",
            ErrorCode::InvalidArgument => "invalid-argument",
            ErrorCode::NameUnresolvable => "name-unresolvable",
            ErrorCode::TemporaryResolverFailure => "temporary-resolver-failure",
            ErrorCode::PermanentResolverFailure => "permanent-resolver-failure",
            ErrorCode::Other(_) => "other",
        };
        format!("failed: {name}")
    };
    let addresses = resolve_addresses(name.to_owned()).await.map_err(failed)?;
    let address = |address: IpAddress| match address {
        IpAddress::Ipv4(address) => v4(address).into(),
        IpAddress::Ipv6(address) => v6(address).into(),
    };
    Ok(addresses.into_iter().map(address).collect())
}

pub(crate) fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(address) => {
            let [a, b, c, d] = address.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.ip().segments();
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port: address.port(),
                flow_info: address.flowinfo(),
                address: (a, b, c, d, e, f, g, h),
                scope_id: address.scope_id(),
            })
        }
    }
}

pub(crate) fn to_std(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(address) => (v4(address.address), address.port).into(),
        IpSocketAddress::Ipv6(address) => (v6(address.address), address.port).into(),
    }
}

fn v4((a, b, c, d): (u8, u8, u8, u8)) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

fn v6((a, b, c, d, e, f, g, h): (u16, u16, u16, u16, u16, u16, u16, u16)) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, e, f, g, h)
}
