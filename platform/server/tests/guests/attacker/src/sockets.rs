//! Attempts by `std::net`, at addresses and ports.

use crate::Outcome;
use crate::world::{tcp_to, udp_to};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

pub(crate) fn tcp(address: &str, port: u16) -> Outcome {
    connect(at(address, port))
}

pub(crate) fn connect(to: SocketAddr) -> Outcome {
    match TcpStream::connect(to) {
        Ok(_) => Outcome::GotOut(format!("connected to {to}")),
        Err(error) => Outcome::held(error.kind(), &[tcp_to(to)]),
    }
}

pub(crate) fn udp(address: &str, port: u16) -> Outcome {
    let to = at(address, port);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port of its own");
    match socket.send_to(b"is anybody there?", to) {
        Ok(_) => Outcome::GotOut(format!("sent to {to}")),
        Err(error) => Outcome::held(error.kind(), &[udp_to(to)]),
    }
}

/// Takes an address that is another's.
pub(crate) fn bind(address: &str) -> Outcome {
    let address: IpAddr = address.parse().expect("an address");
    match TcpListener::bind((address, 0)) {
        Ok(_) => Outcome::GotOut(format!("has the address {address}")),
        Err(error) => Outcome::held(error.kind(), &[tcp_to("0.0.0.0:0")]),
    }
}
