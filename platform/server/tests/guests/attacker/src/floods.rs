//! Attempts by numbers.

use crate::world::{World, look_up, tcp_to};
use crate::{Outcome, names, sockets};
use std::net::{Ipv4Addr, SocketAddr};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

/// Connections that are tried, one after the other; the test that counts them in the flow log knows how many.
const CONNECTIONS: usize = 2_000;
/// The neighbour's port that they are for, and nothing else is.
const FLOODED_PORT: u16 = 81;
/// Connections that are begun at once, and never finished: more than a task may have.
const HALF_OPEN: usize = 500;
/// Names that are asked for at once: more than are answered in the time that one has.
const LOOK_UPS: usize = 1_000;

pub(crate) fn connections(world: &World) -> Outcome {
    let to = SocketAddr::from((world.victim, FLOODED_PORT));
    let mut outcomes = (0..CONNECTIONS).map(|_| sockets::connect(to));
    let first = outcomes.next().expect("there is one");
    outcomes.find(|outcome| matches!(outcome, Outcome::GotOut(_))).unwrap_or(first)
}

pub(crate) fn half_open(world: &World) -> Outcome {
    let to = Ipv4SocketAddress { port: world.redirector, address: Ipv4Addr::LOCALHOST.octets().into() };
    let mut begun = Vec::new();
    for _ in 0..HALF_OPEN {
        let socket = match create_tcp_socket(IpAddressFamily::Ipv4) {
            Ok(socket) => socket,
            Err(error) => return Outcome::held(format!("{} after {}", error.name(), begun.len()), &[]),
        };
        let connected = socket
            .start_connect(&instance_network(), IpSocketAddress::Ipv4(to))
            .and_then(|()| socket.finish_connect().map(drop));
        match connected {
            Err(ErrorCode::WouldBlock) => begun.push(socket),
            Err(ErrorCode::AccessDenied) => {
                let target = tcp_to(SocketAddr::from((Ipv4Addr::LOCALHOST, world.redirector)));
                return Outcome::held(ErrorCode::AccessDenied.name(), &[target]);
            }
            Err(error) => return Outcome::held(format!("{} after {}", error.name(), begun.len()), &[]),
            // It is open, and not half-open any more.
            Ok(()) => {}
        }
    }
    Outcome::GotOut(format!("{} connections are half open", begun.len()))
}

pub(crate) fn look_ups(world: &World) -> Outcome {
    let network = instance_network();
    let ask = |number| resolve_addresses(&network, &world.name(&format!("name-{number}.flood")));
    let asked: Vec<_> = (0..LOOK_UPS).map(ask).collect();
    let answers = asked.into_iter().map(|asked| asked.and_then(|asked| names::answer(&asked)));
    // That there is no such name is an answer of a name server.
    let mut kept = answers.filter_map(Result::err).filter(|error| *error != ErrorCode::NameUnresolvable);
    match kept.next() {
        Some(ErrorCode::AccessDenied) => Outcome::held(ErrorCode::AccessDenied.name(), &[look_up()]),
        Some(error) => Outcome::held(error.name(), &[]),
        None => Outcome::GotOut(format!("{LOOK_UPS} names were asked for at once")),
    }
}
