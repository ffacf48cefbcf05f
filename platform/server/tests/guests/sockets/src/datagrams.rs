//! Datagrams: a server on `std::net`, and a client that waits for so long and no longer.

use crate::raw::{failed, to_std, to_wasi};
use crate::{Outcome, broke};
use guest_common::Script;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use wasip2::clocks::monotonic_clock;
use wasip2::io::poll::poll;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::udp::OutgoingDatagram;
use wasip2::sockets::udp_create_socket::create_udp_socket;

/// Bytes of the largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
const NS_PER_MS: u64 = 1_000_000;

pub(crate) fn echo(port: u16) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(crate::failed)?;
    println!("bound {}", socket.local_addr().map_err(crate::failed)?);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (count, remote) = socket.recv_from(&mut buffer).map_err(broke)?;
        println!("received {count} bytes from {remote}");
        if let Err(error) = socket.send_to(&buffer[..count], remote) {
            println!("{}", crate::failed(error));
        }
    }
}

pub(crate) fn ask(script: &Script, ms: u64) -> Outcome {
    let (host, port) = script.target();
    let host: Ipv4Addr = host.parse().unwrap_or_else(|_| panic!("{host:?} is no IPv4 address"));
    let to = SocketAddr::from((host, port));
    let socket = create_udp_socket(IpAddressFamily::Ipv4).map_err(failed)?;
    let any = to_wasi(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    socket.start_bind(&instance_network(), any).map_err(failed)?;
    socket.finish_bind().map_err(failed)?;
    println!("bound {}", to_std(socket.local_address().map_err(failed)?));
    let (incoming, outgoing) = socket.stream(None).map_err(failed)?;
    while outgoing.check_send().map_err(failed)? == 0 {
        outgoing.subscribe().block();
    }
    let data = script.text(1).as_bytes().to_vec();
    println!("sends {} bytes", data.len());
    outgoing.send(&[OutgoingDatagram { data, remote_address: Some(to_wasi(to)) }]).map_err(failed)?;
    let readable = incoming.subscribe();
    let timer = monotonic_clock::subscribe_duration(ms * NS_PER_MS);
    if poll(&[&readable, &timer]) == [1] {
        println!("nothing within {ms} ms");
    } else {
        for datagram in incoming.receive(1).map_err(failed)? {
            let text = String::from_utf8_lossy(&datagram.data).into_owned();
            println!("received {text:?} from {}", to_std(datagram.remote_address));
        }
    }
    Ok(())
}
