//! Addresses outside the virtual network: which are special, and what a rule must say to name one of those.
//!
//! A rule for `0.0.0.0/0` means the Internet: not the host's own services, not the machines beside it, not the cloud's
//! metadata. So an address in a special range is only named by a rule for a network that lies within that range; an
//! address of the host by one for that single address; and a door of the platform by one for that single address and
//! that single port.
//!
//! An IPv6 address that stands for an IPv4 one is all that the latter is, too: the rule must lie within the IPv6 form of
//! that range. Since a rule that contains the address and is no shorter than the range lies within it, everything
//! comes down to one number, the shortest prefix that names an address.
//!
//! It deliberately does not know rules or names (`policy` does), nor translators (NAT64) with a prefix of their own
//! network: those look like any other address.
//!
//! What always holds: an address of the virtual network is never outside, in whatever form; what is neither in a range
//! listed here nor in what IANA has given out for global unicast is special.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use skiff_ports::network::NetworkSetup;
use skiff_types::{NetworkSpec, PortRange};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Special ranges of IPv4: those of the IANA IPv4 Special-Purpose Address Registry that are not reachable globally,
/// multicast, and one public address behind which a cloud keeps what is not public.
const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), "\"this network\" (RFC 791)"),
    (v4([10, 0, 0, 0], 8), "a private network (RFC 1918)"),
    (v4([100, 64, 0, 0], 10), "shared address space (RFC 6598)"),
    (v4([127, 0, 0, 0], 8), "the host's loopback (RFC 1122)"),
    (v4([168, 63, 129, 16], 32), "Azure's platform services"),
    (v4([169, 254, 0, 0], 16), "link-local, where clouds keep their metadata (RFC 3927)"),
    (v4([172, 16, 0, 0], 12), "a private network (RFC 1918)"),
    (v4([192, 0, 0, 0], 24), "IETF protocol assignments (RFC 6890)"),
    (v4([192, 0, 2, 0], 24), "for documentation (RFC 5737)"),
    (v4([192, 88, 99, 0], 24), "6to4 relays, given up (RFC 7526)"),
    (v4([192, 168, 0, 0], 16), "a private network (RFC 1918)"),
    (v4([198, 18, 0, 0], 15), "for benchmarks (RFC 2544)"),
    (v4([198, 51, 100, 0], 24), "for documentation (RFC 5737)"),
    (v4([203, 0, 113, 0], 24), "for documentation (RFC 5737)"),
    (v4([224, 0, 0, 0], 4), "multicast (RFC 5771)"),
    (v4([240, 0, 0, 0], 4), "reserved (RFC 1112)"),
    (v4([255, 255, 255, 255], 32), "the broadcast address (RFC 919)"),
];

/// Special ranges of IPv6: those of the IANA IPv6 Special-Purpose Address Registry that are not reachable globally,
/// multicast, and all that is not global unicast (2000::/3).
const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    (v6(0, 3), NOT_GIVEN_OUT),
    (v6(0x4000 << 112, 2), NOT_GIVEN_OUT),
    (v6(0x8000 << 112, 1), NOT_GIVEN_OUT),
    (v6(0, 96), "IPv4-compatible, given up (RFC 4291)"),
    (v6(0, 128), "the unspecified address (RFC 4291)"),
    (v6(1, 128), "the host's loopback (RFC 4291)"),
    (v6(0xffff_0000 << 32, 96), "IPv4-translated (RFC 2765)"),
    (v6(0x64_ff9b_0001 << 80, 48), "IPv4 by a local translator (RFC 8215)"),
    (v6(0x100 << 112, 64), "the discard prefix (RFC 6666)"),
    (v6(0x2001 << 112, 23), "IETF protocol assignments (RFC 2928)"),
    (v6(0x2001 << 112, 32), "Teredo (RFC 4380)"),
    (v6(0x2001_0db8 << 96, 32), "for documentation (RFC 3849)"),
    (v6(0x2002 << 112, 16), "6to4 (RFC 3056)"),
    (v6(0x3fff << 112, 20), "for documentation (RFC 9637)"),
    (v6(0x5f00 << 112, 16), "segment identifiers (RFC 9602)"),
    (v6(0xfc00 << 112, 7), "a private network (RFC 4193)"),
    (v6(0xfe80 << 112, 10), "link-local (RFC 4291)"),
    (v6(0xfec0 << 112, 10), "site-local, given up (RFC 3879)"),
    (v6(0xff00 << 112, 8), "multicast (RFC 4291)"),
];
const NOT_GIVEN_OUT: &str = "not global unicast (RFC 4291)";
/// IPv4 by a translator (RFC 6052, section 2.1): its addresses are as special as those they stand for, and no more.
const TRANSLATED: Ipv6Net = v6(0x64_ff9b << 96, 96);

const fn v4(octets: [u8; 4], prefix_length: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_length)
}

const fn v6(bits: u128, prefix_length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), prefix_length)
}

/// Knows which addresses are the virtual network's, the host's and the platform's.
#[derive(Debug, Clone)]
pub struct Guard {
    spec: NetworkSpec,
    /// In canonical form; unspecified where it stands for every address of the host.
    doors: Box<[SocketAddr]>,
    /// Doors that come and go with services: their TCP listeners. Likewise.
    listeners: Box<[SocketAddr]>,
    /// In canonical form.
    host_addresses: Box<[IpAddr]>,
}

/// What an address outside is, with a port there, to a rule that would name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// In the virtual network, and so not outside: no rule for addresses or names means it.
    Inside,
    /// Anybody's: named by each rule that contains it, or by a name that led to it.
    Public,
    /// In a special range: named by a rule for a network within it.
    Special {
        /// The range. Where several contain the address, the smallest.
        range: IpNet,
        /// What it is for, to stand after "is in RANGE, which is".
        what: &'static str,
    },
    /// An address of the host itself: named by a rule for that address alone.
    Host,
    /// Where the platform itself listens, for itself or for a service: named by a rule for that address and that port
    /// alone.
    Door,
}

impl Guard {
    /// Of a network, the doors that the platform opened, and all addresses of the host.
    pub fn new(setup: &NetworkSetup, host_addresses: &[IpAddr]) -> Self {
        Self {
            spec: setup.spec,
            doors: setup.own_doors.iter().map(canonical).collect(),
            listeners: Box::default(),
            host_addresses: host_addresses.iter().map(IpAddr::to_canonical).collect(),
        }
    }

    /// Takes in all addresses of the host anew; says whether they are otherwise than before.
    pub fn set_host_addresses(&mut self, addresses: &[IpAddr]) -> bool {
        let addresses: Box<[IpAddr]> = addresses.iter().map(IpAddr::to_canonical).collect();
        let is_new = self.host_addresses != addresses;
        self.host_addresses = addresses;
        is_new
    }

    /// Takes in anew where services have TCP listeners; says whether that is otherwise than before.
    pub fn set_listeners(&mut self, listeners: &[SocketAddr]) -> bool {
        let listeners: Box<[SocketAddr]> = listeners.iter().map(canonical).collect();
        let is_new = self.listeners != listeners;
        self.listeners = listeners;
        is_new
    }

    /// Whether an address is of the virtual network: where it is nobody's, no way leads to it.
    pub fn is_inside(&self, address: IpAddr) -> bool {
        self.spec.contains(address) || embedded(address).any(|inner| self.spec.contains(inner.address.into()))
    }

    /// What an address is to rules, with a port there.
    pub fn class(&self, address: IpAddr, port: u16) -> Class {
        let address = address.to_canonical();
        if self.is_inside(address) {
            return Class::Inside;
        }
        let stands_for =
            || std::iter::once(address).chain(embedded(address).map(|inner| IpAddr::V4(inner.address)));
        if stands_for().any(|address| self.is_door(address, port)) {
            return Class::Door;
        }
        if stands_for().any(|address| self.host_addresses.contains(&address) && !address.is_loopback()) {
            return Class::Host;
        }
        match special(address) {
            None => Class::Public,
            Some((prefix_length, what)) => {
                let range = IpNet::new(address, prefix_length).expect("no longer than the address").trunc();
                Class::Special { range, what }
            }
        }
    }

    /// Whether who connects there comes to a door. The kernel takes the unspecified address for the host itself, where any
    /// door may be that has the port.
    fn is_door(&self, address: IpAddr, port: u16) -> bool {
        let doors = self.doors.iter().chain(self.listeners.iter());
        doors.filter(|door| door.port() == port).any(|door| {
            door.ip() == address
                || address.is_unspecified()
                || (door.ip().is_unspecified()
                    && (address.is_loopback() || self.host_addresses.contains(&address)))
        })
    }
}

impl Class {
    /// Whether a rule for a network that contains the address, and for ports that contain the port, names them.
    pub fn is_named_by(&self, network: &IpNet, ports: PortRange) -> bool {
        let single = network.prefix_len() == network.max_prefix_len();
        match self {
            Self::Inside => false,
            Self::Public => true,
            Self::Special { range, .. } => network.prefix_len() >= range.prefix_len(),
            Self::Host => single,
            Self::Door => single && ports.from == ports.to,
        }
    }

    /// Whether a rule for a name that led to the address names it.
    pub fn is_named_by_host(&self) -> bool {
        match self {
            Self::Public => true,
            Self::Inside | Self::Special { .. } | Self::Host | Self::Door => false,
        }
    }
}

fn canonical(door: &SocketAddr) -> SocketAddr {
    SocketAddr::new(door.ip().to_canonical(), door.port())
}

/// The length and the use of the smallest special range that an address lies in, by itself or by what it stands for.
fn special(address: IpAddr) -> Option<(u8, &'static str)> {
    let own = match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) if TRANSLATED.contains(&address) => None,
        IpAddr::V6(address) => {
            let ranges = SPECIAL_V6.iter().filter(|(range, _)| range.contains(&address));
            ranges.map(|(range, what)| (range.prefix_len(), *what)).max_by_key(|(length, _)| *length)
        }
    };
    let inner = embedded(address).filter_map(|inner| {
        let (length, what) = special_v4(inner.address)?;
        Some((inner.prefix_length(length), what))
    });
    own.into_iter().chain(inner).max_by_key(|(length, _)| *length)
}

fn special_v4(address: Ipv4Addr) -> Option<(u8, &'static str)> {
    let ranges = SPECIAL_V4.iter().filter(|(range, _)| range.contains(&address));
    ranges.map(|(range, what)| (range.prefix_len(), *what)).max_by_key(|(length, _)| *length)
}

/// An IPv4 address that an IPv6 address stands for.
#[derive(Debug, Clone, Copy)]
struct Embedded {
    address: Ipv4Addr,
    /// Where it begins.
    first_bit: u8,
}

impl Embedded {
    /// Bits of the IPv6 address that no address has a part in (RFC 6052, section 2.2).
    const SKIPPED: std::ops::Range<u8> = 64..72;

    fn new(bits: u128, first_bit: u8) -> Self {
        let from = |bit: u8, length: u8| (bits << bit >> (128 - length)) as u32;
        let before = Self::SKIPPED.start.saturating_sub(first_bit).min(32);
        let address = match before {
            0 | 32 => from(first_bit, 32),
            before => from(first_bit, before) << (32 - before) | from(Self::SKIPPED.end, 32 - before),
        };
        Self { address: address.into(), first_bit }
    }

    /// Which of the whole address' bits are the first so many of this one, and all before them.
    fn prefix_length(&self, length: u8) -> u8 {
        let end = self.first_bit + length;
        let skips = self.first_bit < Self::SKIPPED.start && end > Self::SKIPPED.start;
        if skips { end + (Self::SKIPPED.end - Self::SKIPPED.start) } else { end }
    }
}

/// The IPv4 addresses that an address stands for. A local translator's is written in one of four ways, and which one only
/// its owner knows: it stands for what any of them says.
fn embedded(address: IpAddr) -> impl Iterator<Item = Embedded> {
    let found = match address {
        IpAddr::V4(_) => [None; 4],
        IpAddr::V6(address) => embedded_v6(address),
    };
    found.into_iter().flatten()
}

fn embedded_v6(address: Ipv6Addr) -> [Option<Embedded>; 4] {
    let bits = address.to_bits();
    let at = |first_bit: u8| Some(Embedded::new(bits, first_bit));
    match address.segments() {
        // IPv4-compatible; the unspecified address and loopback are none.
        [0, 0, 0, 0, 0, 0, ..] if bits > 1 => [at(96), None, None, None],
        // Mapped (RFC 4291) and translated (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => [at(96), None, None, None],
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => [at(96), None, None, None],
        [0x64, 0xff9b, 1, ..] => [at(48), at(56), at(72), at(96)],
        // Teredo: its server, and its client with all bits turned over (RFC 4380, section 4).
        [0x2001, 0, ..] => [at(32), Some(Embedded::new(!bits, 96)), None, None],
        // 6to4: the router (RFC 3056, section 2).
        [0x2002, ..] => [at(16), None, None, None],
        _ => [None; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guard(doors: &[&str]) -> Guard {
        let own_doors = doors.iter().map(|door| door.parse().unwrap()).collect();
        let host = ["127.0.0.1", "192.168.1.5", "198.41.0.4", "::1", "2a00::5"]
            .map(|host| host.parse::<IpAddr>().unwrap());
        Guard::new(&NetworkSetup { spec: NetworkSpec::default(), node_index: 0, own_doors }, &host)
    }

    fn class(guard: &Guard, address: &str, port: u16) -> Class {
        guard.class(address.parse().unwrap(), port)
    }

    #[test]
    fn a_special_address_is_named_from_its_range_on() {
        for (address, range) in [
            ("0.0.0.0", "0.0.0.0/8"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("100.100.100.200", "100.64.0.0/10"),
            ("127.0.0.1", "127.0.0.0/8"),
            ("127.9.9.9", "127.0.0.0/8"),
            ("168.63.129.16", "168.63.129.16/32"),
            ("169.254.169.254", "169.254.0.0/16"),
            ("172.31.0.1", "172.16.0.0/12"),
            ("192.0.0.192", "192.0.0.0/24"),
            ("192.168.1.6", "192.168.0.0/16"),
            ("224.0.0.1", "224.0.0.0/4"),
            ("240.0.0.1", "240.0.0.0/4"),
            ("255.255.255.255", "255.255.255.255/32"),
            ("::", "::/128"),
            ("::1", "::1/128"),
            ("::ffff:10.1.2.3", "10.0.0.0/8"),
            ("::ffff:127.0.0.1", "127.0.0.0/8"),
            ("::10.1.2.3", "::10.0.0.0/104"),
            ("::8.8.8.8", "::/96"),
            ("::ffff:0:10.1.2.3", "::ffff:0:10.0.0.0/104"),
            ("64:ff9b::10.1.2.3", "64:ff9b::10.0.0.0/104"),
            ("64:ff9b::169.254.169.254", "64:ff9b::169.254.0.0/112"),
            ("64:ff9b:1::10.1.2.3", "64:ff9b:1::10.0.0.0/104"),
            ("64:ff9b:1:a01:2:300::", "64:ff9b:1:a01:2:300::/104"),
            ("64:ff9b:1:fffe::8.8.8.8", "64:ff9b:1:fffe::/80"),
            ("100::1", "100::/64"),
            ("100:0:0:1::1", "::/3"),
            ("2001:0:4136:e378:8000:63bf:f5fe:fdfc", "2001:0:4136:e378:8000:63bf:f500:0/104"),
            ("2001:0:a01:203:8000:63bf:f7f7:f7f7", "2001:0:a00::/40"),
            ("2001:2::1", "2001::/23"),
            ("2001:db8::1", "2001:db8::/32"),
            ("2002:a01:203::1", "2002:a00::/24"),
            ("2002:808:808::1", "2002::/16"),
            ("3fff::1", "3fff::/20"),
            ("5f00::1", "5f00::/16"),
            ("7000::1", "4000::/2"),
            ("9000::1", "8000::/1"),
            ("fd00:ec2::254", "fc00::/7"),
            ("fe80::a9fe:a9fe", "fe80::/10"),
            ("fec0::1", "fec0::/10"),
            ("ff02::1", "ff00::/8"),
        ] {
            let Class::Special { range: found, .. } = class(&guard(&[]), address, 80) else {
                panic!("{address} is {:?}", class(&guard(&[]), address, 80));
            };
            assert_eq!(found, range.parse().unwrap(), "{address}");
        }
    }

    #[test]
    fn anybodys_address_is_public_and_the_virtual_network_never_outside() {
        for address in [
            "8.8.8.8",
            "192.31.196.1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2606:4700::1111",
            "2620:4f:8000::1",
        ] {
            assert_eq!(class(&guard(&[]), address, 80), Class::Public, "{address}");
        }
        for address in
            ["10.64.0.1", "::ffff:10.64.0.1", "64:ff9b::10.64.0.1", "2002:a40:1::1", "fd73:6b69:6666::1"]
        {
            assert_eq!(class(&guard(&["0.0.0.0:80"]), address, 80), Class::Inside, "{address}");
        }
    }

    #[test]
    fn an_address_of_the_host_is_named_by_itself_alone() {
        for address in ["192.168.1.5", "198.41.0.4", "::ffff:198.41.0.4", "64:ff9b::198.41.0.4", "2a00::5"] {
            assert_eq!(class(&guard(&[]), address, 80), Class::Host, "{address}");
        }
        let named = |network: &str| Class::Host.is_named_by(&network.parse().unwrap(), PortRange::ALL);
        assert!(named("192.168.1.5/32") && named("2a00::5/128"));
        assert!(!named("192.168.1.4/31") && !named("2a00::4/127") && !Class::Host.is_named_by_host());
    }

    #[test]
    fn a_door_is_where_the_platform_listens_and_nowhere_else() {
        let is_door = |doors: &[&str], address, port| class(&guard(doors), address, port) == Class::Door;
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "0.0.0.0", "::"] {
            assert!(is_door(&["127.0.0.1:8081"], address, 8081), "{address}");
            assert!(!is_door(&["127.0.0.1:8081"], address, 8082), "{address}");
        }
        for address in ["127.0.0.2", "192.168.1.5", "::1", "8.8.8.8"] {
            assert!(!is_door(&["127.0.0.1:8081"], address, 8081), "{address}");
        }
        assert!(is_door(&["8.8.8.8:8081"], "8.8.8.8", 8081), "one that stands before the host");
        for door in ["0.0.0.0:8081", "[::]:8081"] {
            let of_the_host =
                ["127.0.0.1", "127.3.2.1", "192.168.1.5", "198.41.0.4", "::1", "2a00::5", "0.0.0.0", "::"];
            for address in of_the_host.into_iter().chain(["::ffff:192.168.1.5", "2002:c0a8:105::1"]) {
                assert!(is_door(&[door], address, 8081), "{door} {address}");
                assert!(!is_door(&[door], address, 80), "{door} {address}");
            }
            assert!(!is_door(&[door], "192.168.1.6", 8081) && !is_door(&[door], "8.8.8.8", 8081));
        }
    }

    #[test]
    fn a_listener_of_a_service_is_a_door_as_long_as_it_is_there() {
        let mut guard = guard(&["127.0.0.1:8081"]);
        let class = |guard: &Guard, address| class(guard, address, 6379);
        assert_eq!(class(&guard, "192.168.1.5"), Class::Host);
        assert!(guard.set_listeners(&["[::]:6379".parse().unwrap()]));
        for address in ["127.0.0.1", "192.168.1.5", "2a00::5", "::1", "::ffff:192.168.1.5"] {
            assert_eq!(class(&guard, address), Class::Door, "{address}");
        }
        assert!(!guard.set_listeners(&["[::]:6379".parse().unwrap()]), "nothing is new");
        assert!(guard.set_listeners(&[]));
        assert_eq!(class(&guard, "192.168.1.5"), Class::Host);
    }

    #[test]
    fn a_door_is_named_by_one_address_and_one_port() {
        let named = |network: &str, from, to| {
            Class::Door.is_named_by(&network.parse().unwrap(), PortRange { from, to })
        };
        assert!(named("127.0.0.1/32", 8081, 8081) && named("::1/128", 8081, 8081));
        assert!(!named("127.0.0.1/32", 8081, 8082) && !named("127.0.0.0/31", 8081, 8081));
        assert!(!Class::Door.is_named_by_host());
    }

    fn wrapped(address: Ipv4Addr) -> [(Ipv6Addr, u8); 6] {
        let bits = u128::from(address.to_bits());
        [
            (0, 96, bits),
            (0xffff_0000 << 32, 96, bits),
            (0x64_ff9b << 96, 96, bits),
            (0x64_ff9b_0001 << 80, 96, bits),
            (0x2001 << 112, 96, u128::from(!address.to_bits())),
            (0x2002 << 112, 16, bits << 80),
        ]
        .map(|(prefix, first_bit, inner): (u128, u8, u128)| (Ipv6Addr::from_bits(prefix | inner), first_bit))
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        // Half of them at the edges of special ranges.
        let edges_v4 = prop::sample::select(SPECIAL_V4).prop_flat_map(|(range, _)| {
            prop::sample::select(vec![range.network(), range.broadcast()]).prop_map(Ipv4Addr::to_bits)
        });
        let edges_v6 = prop::sample::select(SPECIAL_V6).prop_flat_map(|(range, _)| {
            prop::sample::select(vec![range.network(), range.broadcast()]).prop_map(Ipv6Addr::to_bits)
        });
        let near = 0..3_u8;
        prop_oneof![
            (prop_oneof![edges_v4, any::<u32>()], near.clone()).prop_map(|(bits, by)| IpAddr::V4(
                Ipv4Addr::from_bits(bits.wrapping_add(by.into()).wrapping_sub(1))
            )),
            (prop_oneof![edges_v6, any::<u128>()], near).prop_map(|(bits, by)| IpAddr::V6(
                Ipv6Addr::from_bits(bits.wrapping_add(by.into()).wrapping_sub(1))
            )),
        ]
    }

    proptest! {
        #[test]
        fn a_rule_that_names_what_is_special_contains_nothing_public(address in address(), length in 0..=128_u8) {
            let guard = guard(&["0.0.0.0:8081"]);
            let address = address.to_canonical();
            let network = IpNet::new(address, length.min(if address.is_ipv4() { 32 } else { 128 })).unwrap();
            let class = guard.class(address, 80);
            if class != Class::Public && class.is_named_by(&network, PortRange::ALL) {
                for other in [network.network(), network.broadcast()] {
                    prop_assert_ne!(guard.class(other, 80), Class::Public, "{} opens {}", network, other);
                }
            }
        }

        #[test]
        fn what_an_address_stands_for_is_no_more_open_than_itself(bits in any::<u32>(), special in 0..SPECIAL_V4.len()) {
            let guard = guard(&["0.0.0.0:8081", "9.9.9.9:80"]);
            let (range, _) = SPECIAL_V4[special];
            let special = range.network().to_bits() | bits & range.hostmask().to_bits();
            for inner in [bits, special].map(Ipv4Addr::from_bits) {
                let plain = guard.class(inner.into(), 80);
                prop_assert_eq!(guard.class(inner.to_ipv6_mapped().into(), 80), plain);
                for (outer, first_bit) in wrapped(inner) {
                    let class = guard.class(outer.into(), 80);
                    // As long as a rule that reaches into the inner address as far.
                    for length in 0..=32 {
                        let network = IpNet::new(inner.into(), length).unwrap();
                        let around = IpNet::new(outer.into(), first_bit + length).unwrap();
                        let open = class.is_named_by(&around, PortRange::ALL);
                        prop_assert!(!open || plain.is_named_by(&network, PortRange::ALL), "{} opens {}", around, inner);
                    }
                }
            }
        }
    }
}
