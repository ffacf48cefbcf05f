//! The addresses of the host itself.

use std::io;
use std::net::IpAddr;

/// Every address that an interface of this host has at present, loopback included, each once and sorted.
///
/// # Errors
/// What the operating system says.
pub fn host_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> =
        if_addrs::get_if_addrs()?.iter().map(|interface| interface.ip().to_canonical()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn an_address_that_can_be_bound_is_one_of_the_hosts() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(host_addresses().unwrap().contains(&socket.local_addr().unwrap().ip()));
    }
}
