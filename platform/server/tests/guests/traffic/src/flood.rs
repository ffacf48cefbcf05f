//! Everything that costs a network much and its caller little, in turn and without end: connections that no rule allows,
//! connections that are left before they are open, names that nobody has, datagrams.

use guest_common::Script;
use std::io::{Error, ErrorKind};
use std::net::Ipv4Addr;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Network};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::OutgoingDatagram;
use wasip2::sockets::udp_create_socket::create_udp_socket;

/// Connections that are begun and not looked at again, before the first of them are dropped: as many as a task may have
/// half open, and some.
const HALF_OPEN: usize = 200;
/// Datagrams that are sent at once.
const DATAGRAMS: usize = 16;
/// Bytes of each.
const DATAGRAM_BYTES: usize = 1_024;

pub(crate) fn flood(script: &Script) -> Result<(), Error> {
    let (host, port) = script.target();
    let host: Ipv4Addr = host.parse().map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
    let neighbour = address(host, port);
    // A port that nobody listens at; the host's loopback; the clouds' metadata; a private network; the outside.
    let targets = [
        neighbour,
        address(host, port.wrapping_add(1)),
        address(Ipv4Addr::LOCALHOST, 8_081),
        address(Ipv4Addr::new(169, 254, 169, 254), 80),
        address(Ipv4Addr::new(10, 0, 0, 1), 22),
        address(Ipv4Addr::new(192, 0, 2, 1), 443),
    ];
    println!("flooding");
    let network = instance_network();
    let mut half_open = Vec::new();
    let mut number: u64 = 0;
    loop {
        number += 1;
        half_open.extend(targets.into_iter().filter_map(|target| begin(&network, target)));
        if half_open.len() > HALF_OPEN {
            half_open.clear();
        }
        for name in ["default.internal", "task.internal", "example.com"] {
            // Whoever asks for a name and leaves has cost a question.
            drop(resolve_addresses(&network, &format!("x{number}.{name}")));
        }
        send(&network, neighbour);
    }
}

/// A connection that is begun.
fn begin(network: &Network, target: IpSocketAddress) -> Option<TcpSocket> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).ok()?;
    socket.start_connect(network, target).ok()?;
    Some(socket)
}

/// Some datagrams from a new socket, as far as they are taken.
fn send(network: &Network, target: IpSocketAddress) {
    let Ok(socket) = create_udp_socket(IpAddressFamily::Ipv4) else { return };
    if socket.start_bind(network, address(Ipv4Addr::UNSPECIFIED, 0)).is_err() || socket.finish_bind().is_err()
    {
        return;
    }
    let Ok((_incoming, outgoing)) = socket.stream(None) else { return };
    let room = outgoing.check_send().unwrap_or(0);
    let count = usize::try_from(room).unwrap_or(usize::MAX).min(DATAGRAMS);
    let datagram = || OutgoingDatagram { data: vec![b'x'; DATAGRAM_BYTES], remote_address: Some(target) };
    let _ = outgoing.send(&(0..count).map(|_| datagram()).collect::<Vec<_>>());
}

fn address(host: Ipv4Addr, port: u16) -> IpSocketAddress {
    let [a, b, c, d] = host.octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) })
}
