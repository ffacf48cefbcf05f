//! Addresses given, taken back, and lost in crashes, against what tasks had.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn subnet(ipv4: &str) -> Subnet {
    let spec = NetworkSpec { ipv4: ipv4.parse().unwrap(), ..NetworkSpec::default() };
    Subnet::of_node(&spec, 0).unwrap()
}

fn fresh(ipv4: &str) -> Allocator {
    Allocator::resume(subnet(ipv4), 0, 0, std::iter::empty())
}

/// What outlives a crash, and what tasks had.
struct World {
    allocator: Allocator,
    subnet: Subnet,
    now_ms: u64,
    cursor: u32,
    living: Vec<TaskAddress>,
    /// Every task that ever stopped.
    stopped: Vec<(TaskAddress, u64)>,
}

impl World {
    /// 15 places, so that they go round.
    fn new() -> Self {
        let (allocator, subnet) = (fresh("10.0.0.0/27"), subnet("10.0.0.0/27"));
        Self { allocator, subnet, now_ms: 0, cursor: 0, living: vec![], stopped: vec![] }
    }

    fn crash(&mut self) {
        let in_use = self.living.iter().copied();
        self.allocator = Allocator::resume(self.subnet, self.cursor, self.now_ms, in_use);
        for (address, at_ms) in &self.stopped {
            self.allocator.remember_release(*address, *at_ms);
        }
    }

    /// Allocates, and checks all that was promised.
    fn allocate(&mut self) -> Option<Allocated> {
        let allocated = match self.allocator.allocate(self.now_ms) {
            Ok(allocated) => allocated,
            Err(AddressError::Exhausted { in_use, in_quarantine, wait_ms, .. }) => {
                assert_eq!((in_use as usize, in_use + in_quarantine), (self.living.len(), 15));
                assert!((in_quarantine == 0) == (wait_ms == 0) && wait_ms <= QUARANTINE_MS);
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let TaskAddress { v4, v6 } = allocated.address;
        let place = v4.octets()[3];
        assert!((16..31).contains(&place) && u16::from(place) == v6.segments()[7], "{v4} {v6}");
        assert!(self.subnet.ipv4.contains(&v4) && self.subnet.ipv6.contains(&v6), "{v4} {v6}");
        assert!(!self.living.contains(&allocated.address), "{v4} is given twice");
        for (_, at_ms) in self.stopped.iter().filter(|(address, _)| *address == allocated.address) {
            assert!(self.now_ms >= at_ms + QUARANTINE_MS, "{v4} is given again too early");
        }
        Some(allocated)
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// A task starts.
    Start,
    /// The process dies before the cursor, or before the task, is written down.
    StartAndCrash {
        cursor_written: bool,
    },
    Stop(prop::sample::Index),
    Wait(u64),
    Crash,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => Just(Event::Start),
        1 => any::<bool>().prop_map(|cursor_written| Event::StartAndCrash { cursor_written }),
        6 => any::<prop::sample::Index>().prop_map(Event::Stop),
        4 => (0..QUARANTINE_MS).prop_map(Event::Wait),
        1 => Just(Event::Crash),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    #[test]
    fn no_address_is_given_twice_nor_within_its_quarantine_whatever_crashes(events in events()) {
        let mut world = World::new();
        for event in events {
            match event {
                Event::Start => {
                    if let Some(Allocated { address, reserve }) = world.allocate() {
                        world.cursor = reserve.unwrap_or(world.cursor);
                        world.living.push(address);
                    }
                }
                Event::StartAndCrash { cursor_written } => {
                    let reserve = world.allocate().and_then(|allocated| allocated.reserve);
                    world.cursor = reserve.filter(|_| cursor_written).unwrap_or(world.cursor);
                    world.crash();
                }
                Event::Stop(_) if world.living.is_empty() => {}
                Event::Stop(index) => {
                    let address = world.living.swap_remove(index.index(world.living.len()));
                    world.allocator.release(address, world.now_ms);
                    world.stopped.push((address, world.now_ms));
                }
                Event::Wait(ms) => world.now_ms += ms,
                Event::Crash => world.crash(),
            }
        }
        // Whatever happened, all of them come back.
        world.now_ms += QUARANTINE_MS;
        while let Some(Allocated { address, .. }) = world.allocate() {
            world.living.push(address);
        }
        prop_assert_eq!(world.living.len(), 15);
    }

    /// The store forgets stopped tasks, those of a service with many of them soon.
    #[test]
    fn what_was_given_last_is_not_given_soon_after_a_crash_of_which_nobody_knows(given in 1..1_000_usize) {
        let mut allocator = fresh("10.0.0.0/24");
        let (mut now_ms, mut cursor, mut stopped) = (0, 0, vec![]);
        for _ in 0..given {
            let allocated = allocator.allocate(now_ms).unwrap();
            cursor = allocated.reserve.unwrap_or(cursor);
            allocator.release(allocated.address, now_ms);
            stopped.push((allocated.address, now_ms));
            now_ms += QUARANTINE_MS / 50;
        }
        let mut allocator = Allocator::resume(subnet("10.0.0.0/24"), cursor, now_ms, std::iter::empty());
        let mut room = 0;
        while let Ok(Allocated { address, .. }) = allocator.allocate(now_ms) {
            let mut had = stopped.iter().filter(|(stopped, _)| *stopped == address);
            prop_assert!(had.all(|(_, at_ms)| now_ms >= at_ms + QUARANTINE_MS));
            room += 1;
        }
        prop_assert!(room >= 239 / 2, "there is room for {} tasks", room);
    }

    #[test]
    fn the_cursor_that_is_written_down_is_ahead_of_all_that_was_given_since_it_went_round(given in 1..600_usize) {
        let mut allocator = fresh("10.0.0.0/24");
        let (mut written, mut last, mut writes) = (0, 0, 0);
        for round in 0..given as u64 {
            let Allocated { address, reserve } = allocator.allocate(round * QUARANTINE_MS).unwrap();
            allocator.release(address, round * QUARANTINE_MS);
            let place = u32::from(address.v4.octets()[3]);
            prop_assert!(place == last + 1 || place == PLATFORM_PLACES);
            prop_assert!(reserve.is_some() || place != PLATFORM_PLACES, "going round is written down");
            (written, last) = (reserve.unwrap_or(written), place);
            writes += usize::from(reserve.is_some());
            prop_assert!(place < written && written <= 255);
        }
        prop_assert!(writes <= given.div_ceil(239 / 16) + given / 239 + 1, "{} writes", writes);
    }
}

#[test]
fn each_node_has_a_subnet_of_its_own() {
    let spec = NetworkSpec::default();
    for (node, ipv4, ipv6) in [
        (0, "10.64.0.0/16", "fd73:6b69:6666::/64"),
        (1, "10.65.0.0/16", "fd73:6b69:6666:1::/64"),
        (63, "10.127.0.0/16", "fd73:6b69:6666:3f::/64"),
    ] {
        let subnet = Subnet { ipv4: ipv4.parse().unwrap(), ipv6: ipv6.parse().unwrap() };
        assert_eq!(Subnet::of_node(&spec, node), Ok(subnet));
    }
    assert_eq!(
        Subnet::of_node(&spec, 64).unwrap_err().to_string(),
        "the network 10.64.0.0/10 has room for 64 nodes, and none for node 64; a node takes an IPv4 /16, or all of a \
         smaller network"
    );
    assert_eq!(subnet("10.9.8.7/24").ipv4, "10.9.8.0/24".parse().unwrap());
    let everything =
        NetworkSpec { ipv4: "0.0.0.0/0".parse().unwrap(), ipv6: "::/0".parse().unwrap(), ..spec };
    assert!(Subnet::of_node(&everything, 65_535).is_ok());
    let one = NetworkSpec { ipv4: "10.0.0.0/27".parse().unwrap(), ..spec };
    assert!(matches!(Subnet::of_node(&one, 1), Err(AddressError::NoSubnet { nodes: 1, .. })));
    let one = NetworkSpec { ipv6: "fd00::/96".parse().unwrap(), ..spec };
    assert!(matches!(Subnet::of_node(&one, 1), Err(AddressError::NoSubnet { nodes: 1, .. })));
}

#[test]
fn thousands_of_nodes_fit_where_each_has_fewer_addresses() {
    let spec = NetworkSpec { node_prefix: 22, ..NetworkSpec::default() };
    for (node, ipv4, ipv6) in
        [(1, "10.64.4.0/22", "fd73:6b69:6666:1::/64"), (4_095, "10.127.252.0/22", "fd73:6b69:6666:fff::/64")]
    {
        let subnet = Subnet { ipv4: ipv4.parse().unwrap(), ipv6: ipv6.parse().unwrap() };
        assert_eq!(Subnet::of_node(&spec, node), Ok(subnet));
        let address = subnet.address(subnet.places_of_tasks().end - 1);
        assert_eq!(Subnet::index_of(&spec, address.v4.into()), Some(node));
        assert_eq!(Subnet::index_of(&spec, address.v6.into()), Some(node));
    }
    assert!(matches!(Subnet::of_node(&spec, 4_096), Err(AddressError::NoSubnet { nodes: 4_096, .. })));
    let too_long = NetworkSpec { node_prefix: 30, ..NetworkSpec::default() };
    assert!(matches!(Subnet::of_node(&too_long, 0), Err(AddressError::TooSmall { .. })));
}

#[test]
fn whose_an_address_is_follows_from_it() {
    let spec = NetworkSpec::default();
    for (address, node) in [
        ("10.64.0.16", Some(0)),
        ("10.127.0.1", Some(63)),
        ("::ffff:10.65.0.1", Some(1)),
        ("fd73:6b69:6666:3f::10", Some(63)),
        ("10.128.0.1", None),
        ("fd73:6b69:6667::1", None),
    ] {
        assert_eq!(Subnet::index_of(&spec, address.parse().unwrap()), node, "{address}");
    }
    let everything =
        NetworkSpec { ipv4: "0.0.0.0/0".parse().unwrap(), ipv6: "::/0".parse().unwrap(), ..spec };
    assert_eq!(Subnet::index_of(&everything, "1.2.3.4".parse().unwrap()), Some(0x0102));
    assert_eq!(Subnet::index_of(&everything, "ffff::1".parse().unwrap()), None, "more than can be counted");
    let one = NetworkSpec { ipv4: "10.0.0.0/27".parse().unwrap(), ..spec };
    assert_eq!(Subnet::index_of(&one, "10.0.0.31".parse().unwrap()), Some(0));
}

#[test]
fn a_subnet_is_unused_once_all_came_back() {
    let mut allocator = fresh("10.0.0.0/27");
    assert!(allocator.is_unused());
    let given = allocator.allocate(0).unwrap().address;
    assert!(!allocator.is_unused());
    allocator.release(given, 1);
    assert!(allocator.is_unused());
}

#[test]
fn a_network_that_is_too_small_is_refused() {
    for (ipv4, ipv6) in
        [("10.0.0.0/28", "fd00::/64"), ("10.0.0.0/32", "fd00::/64"), ("10.0.0.0/16", "fd00::/124")]
    {
        let (ipv4, ipv6) = (ipv4.parse().unwrap(), ipv6.parse().unwrap());
        let spec = NetworkSpec { ipv4, ipv6, ..NetworkSpec::default() };
        assert!(matches!(Subnet::of_node(&spec, 0), Err(AddressError::TooSmall { .. })), "{ipv4} {ipv6}");
    }
}

#[test]
fn all_addresses_of_a_subnet_are_given_before_any_is_given_again() {
    let mut allocator = fresh("10.64.0.0/10");
    let given: BTreeSet<TaskAddress> =
        std::iter::from_fn(|| allocator.allocate(0).ok()).map(|allocated| allocated.address).collect();
    assert_eq!(given.len(), 65_536 - 16 - 1);
    let (first, last) = (given.first().unwrap(), given.last().unwrap());
    assert_eq!(
        (first.v4.to_string(), first.v6.to_string()),
        ("10.64.0.16".into(), "fd73:6b69:6666::10".into())
    );
    assert_eq!(
        (last.v4.to_string(), last.v6.to_string()),
        ("10.64.255.254".into(), "fd73:6b69:6666::fffe".into())
    );
    allocator.release(*first, 1_000);
    assert_eq!(
        allocator.allocate(1_500).unwrap_err().to_string(),
        "no address is free in 10.64.0.0/16: 65518 are in use, and 1 were until less than 10 minutes ago, the first of \
         which is free again in 600 s"
    );
    assert_eq!(allocator.allocate(1_000 + QUARANTINE_MS).unwrap().address, *first);
}

#[test]
fn an_address_of_another_node_is_none_of_ours() {
    let other = Subnet::of_node(&NetworkSpec::default(), 1).unwrap();
    let theirs = Allocator::resume(other, 0, 0, std::iter::empty()).allocate(0).unwrap().address;
    let mine = subnet("10.64.0.0/10");
    let mut allocator = Allocator::resume(mine, 0, 0, std::iter::once(theirs));
    allocator.release(theirs, 0);
    allocator.remember_release(theirs, 0);
    assert!(allocator.free_at_ms.iter().all(|free_at_ms| *free_at_ms == 0));
}

#[test]
fn the_platforms_own_address_is_of_the_subnet_and_no_tasks() {
    let platform = subnet("10.0.0.0/27").platform();
    assert_eq!(platform.v4.to_string(), "10.0.0.1");
    assert_eq!(platform.v6.segments()[7], 1);
    let mut allocator = fresh("10.0.0.0/27");
    let given = std::iter::from_fn(|| allocator.allocate(0).ok());
    assert!(given.map(|allocated| allocated.address).all(|address| address != platform));
}

#[test]
fn what_a_task_had_before_does_not_free_what_another_has_now() {
    let mut allocator = fresh("10.0.0.0/24");
    let address = allocator.allocate(0).unwrap().address;
    let mut allocator = Allocator::resume(subnet("10.0.0.0/24"), 30, QUARANTINE_MS, std::iter::once(address));
    allocator.remember_release(address, 5);
    let given = std::iter::from_fn(|| allocator.allocate(10 * QUARANTINE_MS).ok());
    assert!(given.map(|allocated| allocated.address).all(|other| other != address));
}
