//! Attempts by names, and by addresses in other spellings: what they lead to is connected to.

use crate::world::{World, look_up};
use crate::{Outcome, sockets};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::{ResolveAddressStream, resolve_addresses};
use wasip2::sockets::network::{ErrorCode, IpAddress};

pub(crate) fn tcp(name: &str, port: u16) -> Outcome {
    match addresses(name) {
        Ok(addresses) => first_that_gets_out(&addresses, port),
        Err(error) => not_found(error),
    }
}

/// Connects to what a name leads to when it is asked for again, after it was found to lead to what is allowed.
pub(crate) fn changing(world: &World) -> Outcome {
    let name = world.name("changing");
    match addresses(&name).and_then(|_| addresses(&name)) {
        Ok(addresses) => first_that_gets_out(&addresses, world.redirector),
        Err(error) => not_found(error),
    }
}

fn first_that_gets_out(addresses: &[IpAddr], port: u16) -> Outcome {
    let mut outcomes = addresses.iter().map(|address| sockets::connect(SocketAddr::new(*address, port)));
    let first = outcomes.next().expect("a name that is found has an address");
    outcomes.find(|outcome| matches!(outcome, Outcome::GotOut(_))).unwrap_or(first)
}

fn not_found(error: ErrorCode) -> Outcome {
    match error {
        ErrorCode::AccessDenied => Outcome::held(error.name(), &[look_up()]),
        _ => Outcome::held(error.name(), &[]),
    }
}

/// What a name leads to: at least one address.
pub(crate) fn addresses(name: &str) -> Result<Vec<IpAddr>, ErrorCode> {
    answer(&resolve_addresses(&instance_network(), name)?)
}

/// Waits for what was asked.
pub(crate) fn answer(stream: &ResolveAddressStream) -> Result<Vec<IpAddr>, ErrorCode> {
    let mut addresses = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(address)) => addresses.push(to_std(address)),
            Ok(None) if addresses.is_empty() => return Err(ErrorCode::NameUnresolvable),
            Ok(None) => return Ok(addresses),
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            Err(error) => return Err(error),
        }
    }
}

fn to_std(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}
