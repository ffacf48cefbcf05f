//! A node's part of the virtual network, and which task gets which address of it.
//!
//! A place in the subnet is one IPv4 and one IPv6 address. Places are given going round the subnet, and one that came back
//! not again for [`QUARANTINE_MS`], so that who still has a task's address does not reach another with it.
//!
//! What must outlive the process is one number, the cursor: written down before a block of places is begun, not for each
//! of them. A process that goes on from it begins behind that block. What it is not told of, it assumes: a place in the
//! half of the subnet before the cursor, which were the last to be given, may have come back a moment ago; one in the half
//! after it was last given half a round ago or more, and if it came back late, its caller knows
//! ([`Allocator::remember_release`]). So there is room after each start, however many places were given before.
//!
//! It deliberately knows no tasks, no clock and no store: who calls says when, and keeps the cursor.
//!
//! What always holds: a place that is in use is not given, whatever the cursor says; the first
//! [`PLATFORM_PLACES`] of a subnet are the platform's, and its last, which looks like a broadcast address, is nobody's.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use skiff_types::{NetworkSpec, TaskAddress};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// How long an address that came back is given to nobody, in milliseconds.
pub const QUARANTINE_MS: u64 = 600_000;
/// The first places of each subnet: the platform's own.
pub const PLATFORM_PLACES: u32 = 16;
/// The one of them that it connects to tasks from, and is connected to.
const PLATFORM_PLACE: u32 = 1;
/// The shortest prefix of a node's IPv4 subnet.
const PREFIX_V4_MIN: u8 = 16;
/// The prefix of a node's IPv6 subnet.
const PREFIX_V6: u8 = 64;
/// Places in a subnet at most.
const PLACES_MAX: u32 = 1 << (32 - PREFIX_V4_MIN);
/// Places in a subnet at least.
const PLACES_MIN: u32 = 32;
/// Places that one write of the cursor is good for, at most.
const BLOCK_MAX: u32 = 256;
/// One such block is at most this part of a subnet.
const BLOCKS_MIN: u32 = 16;
/// Of a place that a task has: when it may be given again.
const IN_USE: u64 = u64::MAX;

/// Why there is no subnet, or no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The network is too small to be of use.
    #[error("the network {network} is too small: {PLACES_MIN} addresses are the least, like an IPv4 /27")]
    TooSmall {
        /// Which of the two.
        network: IpNet,
    },
    /// There are fewer subnets than nodes.
    #[error(
        "the network {network} has room for {nodes} nodes, and none for node {node}; a node takes {each}"
    )]
    NoSubnet {
        /// Which of the two.
        network: IpNet,
        /// The node, counted from 0.
        node: u32,
        /// How many there can be.
        nodes: u64,
        /// What each takes.
        each: String,
    },
    /// Every address is taken.
    #[error(
        "no address is free in {subnet}: {in_use} are in use, and {in_quarantine} were until less than {} minutes ago, \
         the first of which is free again in {} s",
        QUARANTINE_MS / 60_000,
        .wait_ms.div_ceil(1_000)
    )]
    Exhausted {
        /// Where.
        subnet: Ipv4Net,
        /// Addresses of tasks.
        in_use: u32,
        /// Addresses that came back, or may have, and can't be given yet.
        in_quarantine: u32,
        /// Until the first of them can be, in milliseconds; 0 if there is none.
        wait_ms: u64,
    },
}

/// A node's part of the virtual network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// Its IPv4 addresses: a /16 unless the network says otherwise, or all there are if those are fewer.
    pub ipv4: Ipv4Net,
    /// Its IPv6 addresses: a /64, or all there are if those are fewer.
    pub ipv6: Ipv6Net,
}

/// Gives the addresses of one subnet.
#[derive(Debug)]
pub struct Allocator {
    subnet: Subnet,
    /// By place: from when it may be given, in milliseconds; [`IN_USE`] if it is not free.
    free_at_ms: Box<[u64]>,
    /// Where to look first.
    next: u32,
    /// What the cursor says that was written down last.
    reserved_until: u32,
}

/// An address that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Allocated {
    /// The address.
    pub address: TaskAddress,
    /// The cursor to write down before the address is used; `None` if the one that was written down last is good for it.
    pub reserve: Option<u32>,
}

impl Subnet {
    /// The part of a node, counted from 0.
    ///
    /// # Errors
    /// If the network has no such part, or is too small.
    pub fn of_node(spec: &NetworkSpec, node_index: u32) -> Result<Self, AddressError> {
        let (node, ipv4, ipv6) = (u64::from(node_index), spec.ipv4, spec.ipv6);
        let no_subnet = |network: IpNet, nodes: u64, each: String| {
            Err(AddressError::NoSubnet { network, node: node_index, nodes, each })
        };
        let length_v4 = length_v4(spec);
        let nodes = 1_u64 << (length_v4 - ipv4.prefix_len());
        if node >= nodes {
            let each = format!("an IPv4 /{length_v4}, or all of a smaller network");
            return no_subnet(ipv4.into(), nodes, each);
        }
        let length_v6 = ipv6.prefix_len().max(PREFIX_V6);
        let nodes = 1_u64.checked_shl(u32::from(length_v6 - ipv6.prefix_len())).unwrap_or(u64::MAX);
        if node >= nodes {
            let each = format!("an IPv6 /{PREFIX_V6}, or all of a smaller network");
            return no_subnet(ipv6.into(), nodes, each);
        }
        if places(32 - length_v4) < PLACES_MIN {
            return Err(AddressError::TooSmall { network: ipv4.into() });
        }
        if places(128 - length_v6) < PLACES_MIN {
            return Err(AddressError::TooSmall { network: ipv6.into() });
        }
        let v4 = ipv4.network().to_bits() | node_index << (32 - length_v4);
        let v6 = ipv6.network().to_bits() | u128::from(node) << (128 - length_v6);
        Ok(Self {
            ipv4: Ipv4Net::new(Ipv4Addr::from_bits(v4), length_v4).expect("as long as IPv4 allows"),
            ipv6: Ipv6Net::new(Ipv6Addr::from_bits(v6), length_v6).expect("as long as IPv6 allows"),
        })
    }

    /// The node, counted from 0, whose part of the network has this address, whether or not there is one; `None` of an address
    /// that is none of the network's.
    pub fn index_of(spec: &NetworkSpec, address: IpAddr) -> Option<u32> {
        match address.to_canonical() {
            IpAddr::V4(address) if spec.ipv4.contains(&address) => {
                Some((address.to_bits() - spec.ipv4.network().to_bits()) >> (32 - length_v4(spec)))
            }
            IpAddr::V6(address) if spec.ipv6.contains(&address) => {
                let length_v6 = spec.ipv6.prefix_len().max(PREFIX_V6);
                let index = (address.to_bits() - spec.ipv6.network().to_bits()) >> (128 - length_v6);
                u32::try_from(index).ok()
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// The address that the platform itself connects to tasks from, and where they reach its internal listeners.
    pub fn platform(&self) -> TaskAddress {
        self.address(PLATFORM_PLACE)
    }

    /// The places that tasks can have.
    fn places_of_tasks(&self) -> Range<u32> {
        let places = places(32 - self.ipv4.prefix_len()).min(places(128 - self.ipv6.prefix_len()));
        PLATFORM_PLACES..places.saturating_sub(1).max(PLATFORM_PLACES)
    }

    /// The addresses of a place.
    fn address(&self, place: u32) -> TaskAddress {
        TaskAddress {
            v4: Ipv4Addr::from_bits(self.ipv4.network().to_bits() | place),
            v6: Ipv6Addr::from_bits(self.ipv6.network().to_bits() | u128::from(place)),
        }
    }

    /// The place of a task's address; `None` if it is of another node's subnet.
    fn place(&self, address: TaskAddress) -> Option<u32> {
        let place = address.v4.to_bits().wrapping_sub(self.ipv4.network().to_bits());
        self.places_of_tasks().contains(&place).then_some(place)
    }
}

/// The prefix length of each node's IPv4 subnet.
fn length_v4(spec: &NetworkSpec) -> u8 {
    spec.ipv4.prefix_len().max(spec.node_prefix.clamp(PREFIX_V4_MIN, 32))
}

/// How many places so many bits can tell apart.
fn places(bits: u8) -> u32 {
    1_u32.checked_shl(bits.into()).unwrap_or(PLACES_MAX).min(PLACES_MAX)
}

impl Allocator {
    /// Goes on where another process stopped, at any instant. `reserved_until` is the cursor that was written down last, 0
    /// if none ever was; `in_use` are the addresses that tasks have now.
    pub fn resume(
        subnet: Subnet,
        reserved_until: u32,
        now_ms: u64,
        in_use: impl Iterator<Item = TaskAddress>,
    ) -> Self {
        let places = subnet.places_of_tasks();
        let next = reserved_until.clamp(places.start, places.end);
        // From all zeros, so that the kernel finds memory only for the part that is used.
        let free_at_ms = vec![0; places.end as usize].into_boxed_slice();
        let mut allocator = Self { subnet, free_at_ms, next, reserved_until: next };
        if reserved_until > 0 {
            let half = places.len() / 2;
            let before = (places.start..next).rev().chain((next..places.end).rev());
            let free_at_ms = now_ms.saturating_add(QUARANTINE_MS);
            before.take(half).for_each(|place| allocator.free_at_ms[place as usize] = free_at_ms);
        }
        for place in in_use.filter_map(|address| subnet.place(address)) {
            allocator.free_at_ms[place as usize] = IN_USE;
        }
        allocator
    }

    /// Takes in that a task had an address until then, whether or not others had it since. One that is in use stays so.
    pub fn remember_release(&mut self, address: TaskAddress, released_at_ms: u64) {
        if let Some(place) = self.subnet.place(address) {
            let free_at_ms = &mut self.free_at_ms[place as usize];
            // One that is in use is free at the end of all time.
            *free_at_ms = released_at_ms.saturating_add(QUARANTINE_MS).max(*free_at_ms);
        }
    }

    /// Gives an address that nobody has, nor had in the last [`QUARANTINE_MS`].
    ///
    /// # Errors
    /// If there is none.
    pub fn allocate(&mut self, now_ms: u64) -> Result<Allocated, AddressError> {
        let places = self.subnet.places_of_tasks();
        let mut from_here_on = (self.next..places.end).chain(places.start..self.next);
        let place = from_here_on
            .find(|place| self.free_at_ms[*place as usize] <= now_ms)
            .ok_or_else(|| self.exhausted(now_ms))?;
        let goes_round = place < self.next;
        self.free_at_ms[place as usize] = IN_USE;
        self.next = place + 1;
        let reserve = (goes_round || place >= self.reserved_until).then(|| {
            let block = (places.len() as u32 / BLOCKS_MIN).clamp(1, BLOCK_MAX);
            places.end.min(place + block)
        });
        self.reserved_until = reserve.unwrap_or(self.reserved_until);
        Ok(Allocated { address: self.subnet.address(place), reserve })
    }

    /// Whether no task has any of its addresses.
    pub fn is_unused(&self) -> bool {
        !self.free_at_ms.contains(&IN_USE)
    }

    /// Takes back the address of a task that has it no more; once for each task.
    pub fn release(&mut self, address: TaskAddress, now_ms: u64) {
        if let Some(place) = self.subnet.place(address) {
            self.free_at_ms[place as usize] = now_ms.saturating_add(QUARANTINE_MS);
        }
    }

    fn exhausted(&self, now_ms: u64) -> AddressError {
        let of_tasks = &self.free_at_ms[PLATFORM_PLACES as usize..];
        let in_quarantine = of_tasks.iter().filter(|free_at_ms| **free_at_ms != IN_USE);
        let first_ms = in_quarantine.clone().min().copied();
        let in_quarantine = in_quarantine.count() as u32;
        AddressError::Exhausted {
            subnet: self.subnet.ipv4,
            in_use: of_tasks.len() as u32 - in_quarantine,
            in_quarantine,
            wait_ms: first_ms.map_or(0, |first_ms| first_ms.saturating_sub(now_ms)),
        }
    }
}

#[cfg(test)]
mod tests;
