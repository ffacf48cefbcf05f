//! The virtual network in words: what it spans, and the addresses that one task has in it.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the virtual network spans; fixed when a platform starts for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// All IPv4 addresses; each node has a subnet of it.
    pub ipv4: Ipv4Net,
    /// All IPv6 addresses, unique-local (RFC 4193); each node has a subnet of it.
    pub ipv6: Ipv6Net,
    /// The prefix length of a node's IPv4 subnet: the longer, the more nodes there can be, and the fewer tasks on each. A node of
    /// a network that is smaller has all of it.
    pub node_prefix: u8,
}

impl NetworkSpec {
    /// The prefix length of a node's IPv4 subnet where nothing is said: 65,536 addresses.
    pub const NODE_PREFIX_DEFAULT: u8 = 16;

    /// Whether an address lies in it, as itself or written as an IPv4 address mapped into IPv6 (RFC 4291, 2.5.5.2).
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.ipv4.contains(&address),
            IpAddr::V6(address) => self.ipv6.contains(&address),
        }
    }
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            ipv4: "10.64.0.0/10".parse().expect("a network"),
            ipv6: "fd73:6b69:6666::/48".parse().expect("a network"),
            node_prefix: Self::NODE_PREFIX_DEFAULT,
        }
    }
}

/// The addresses of one task for its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskAddress {
    /// In IPv4.
    pub v4: Ipv4Addr,
    /// In IPv6.
    pub v6: Ipv6Addr,
}

impl TaskAddress {
    /// Whether this is one of the two.
    pub fn has(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => address == self.v4,
            IpAddr::V6(address) => address == self.v6,
        }
    }

    /// The one of the family that `like` is of.
    pub fn of_family(&self, like: IpAddr) -> IpAddr {
        match like {
            IpAddr::V4(_) => self.v4.into(),
            IpAddr::V6(_) => self.v6.into(),
        }
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Transmission Control Protocol: a stream each way.
    Tcp,
    /// User Datagram Protocol: messages.
    Udp,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
