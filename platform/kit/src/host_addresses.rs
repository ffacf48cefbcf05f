//! The addresses of the host itself.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// How long those that were read count: an interface may be added, or get another address.
const READ_INTERVAL: Duration = Duration::from_secs(10);

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

/// The same once those that were read count no more, after ten seconds: to be asked for again and again by who must
/// know them as they are. Within a runtime.
///
/// # Errors
/// What the operating system says; those of before are to be kept then.
pub async fn host_addresses_later() -> io::Result<Vec<IpAddr>> {
    tokio::time::sleep(READ_INTERVAL).await;
    // It takes some 0.1 ms; for every ten seconds, a thread of the runtime's would never be without work for long.
    host_addresses()
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
    #[tokio::test(start_paused = true)]
    async fn they_are_read_again_after_a_while() {
        let began = tokio::time::Instant::now();
        assert_eq!(host_addresses_later().await.unwrap(), host_addresses().unwrap());
        assert!(began.elapsed() >= READ_INTERVAL);
    }
}
