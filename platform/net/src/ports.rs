//! Which ports of a task are taken, by what, and which one is free.
//!
//! The ports of the two protocols and of the two families are apart, as with sockets of IPv6 alone (RFC 3493, 5.3). A task
//! has one address of each family, so that a port of all addresses and one of that address are the same.
//!
//! It deliberately holds nothing of who has a port alive, and keeps no port back after its end: nothing of an old
//! connection can arrive late.

use crate::listener::Backlog;
use crate::udp::Mailbox;
use skiff_types::Transport;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

/// The first of the ports that are given out to who asks for any (RFC 6335, section 6); the last is the last of all.
pub(crate) const EPHEMERAL_FIRST: u16 = 49_152;

/// A port of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    transport: Transport,
    is_v6: bool,
    port: u16,
}

impl Key {
    pub(crate) fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, is_v6: address.is_ipv6(), port: address.port() }
    }
}

/// What a port is taken by.
enum Taken {
    /// It is bound, and no more.
    Bound,
    /// It takes connections.
    Listening(Weak<Backlog>),
    /// It takes datagrams.
    Datagrams(Weak<Mailbox>),
}

/// Which of the ports that are given out are this worker's to give: those that leave `remainder` when divided by `of`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) remainder: u16,
    pub(crate) of: u16,
}

/// The ports of one task in one worker.
pub(crate) struct Ports {
    taken: RefCell<HashMap<Key, Taken>>,
    /// Where to look for a free one next.
    next: Cell<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { taken: RefCell::default(), next: Cell::new(fastrand::u16(..)) }
    }
}

impl Ports {
    /// Takes a port; false if it is taken.
    pub(crate) fn take(&self, key: Key) -> bool {
        let mut taken = self.taken.borrow_mut();
        let is_free = !taken.contains_key(&key);
        if is_free {
            taken.insert(key, Taken::Bound);
        }
        is_free
    }

    /// Takes any port of a share for the address; `None` if none is free.
    pub(crate) fn take_any(
        &self,
        transport: Transport,
        mut address: SocketAddr,
        share: Share,
    ) -> Option<SocketAddr> {
        let of = share.of.max(1);
        let first = EPHEMERAL_FIRST + (share.remainder + of - EPHEMERAL_FIRST % of) % of;
        let count = (u16::MAX - first) / of + 1;
        let start = self.next.get() % count;
        for step in 0..count {
            let index = if step < count - start { start + step } else { step - (count - start) };
            address.set_port(first + index * of);
            if self.take(Key::new(transport, address)) {
                self.next.set(index.wrapping_add(1));
                return Some(address);
            }
        }
        None
    }

    /// Gives a port back.
    pub(crate) fn release(&self, key: Key) {
        self.taken.borrow_mut().remove(&key);
    }

    /// Lets a port that is taken take connections.
    pub(crate) fn listen(&self, key: Key, backlog: &Rc<Backlog>) {
        self.taken.borrow_mut().insert(key, Taken::Listening(Rc::downgrade(backlog)));
    }

    /// Lets a port that is taken take datagrams.
    pub(crate) fn receive(&self, key: Key, mailbox: &Rc<Mailbox>) {
        self.taken.borrow_mut().insert(key, Taken::Datagrams(Rc::downgrade(mailbox)));
    }

    /// What takes connections at a port.
    pub(crate) fn backlog(&self, address: SocketAddr) -> Option<Rc<Backlog>> {
        match self.taken.borrow().get(&Key::new(Transport::Tcp, address))? {
            Taken::Listening(backlog) => backlog.upgrade(),
            Taken::Bound | Taken::Datagrams(_) => None,
        }
    }

    /// What takes datagrams at a port.
    pub(crate) fn mailbox(&self, address: SocketAddr) -> Option<Rc<Mailbox>> {
        match self.taken.borrow().get(&Key::new(Transport::Udp, address))? {
            Taken::Datagrams(mailbox) => mailbox.upgrade(),
            Taken::Bound | Taken::Listening(_) => None,
        }
    }

    /// All that take connections.
    pub(crate) fn backlogs(&self) -> Vec<Rc<Backlog>> {
        let backlog = |taken: &Taken| match taken {
            Taken::Listening(backlog) => backlog.upgrade(),
            Taken::Bound | Taken::Datagrams(_) => None,
        };
        self.taken.borrow().values().filter_map(backlog).collect()
    }

    /// All that take datagrams.
    pub(crate) fn mailboxes(&self) -> Vec<Rc<Mailbox>> {
        let mailbox = |taken: &Taken| match taken {
            Taken::Datagrams(mailbox) => mailbox.upgrade(),
            Taken::Bound | Taken::Listening(_) => None,
        };
        self.taken.borrow().values().filter_map(mailbox).collect()
    }

    /// The ports that take something from others, in order.
    pub(crate) fn listening(&self) -> Vec<(Transport, u16)> {
        let listens = |taken: &Taken| match taken {
            Taken::Listening(_) | Taken::Datagrams(_) => true,
            Taken::Bound => false,
        };
        let taken = self.taken.borrow();
        let ports =
            taken.iter().filter(|(_, taken)| listens(taken)).map(|(key, _)| (key.transport, key.port));
        ports.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Share = Share { remainder: 0, of: 1 };

    fn any(ports: &Ports, share: Share) -> Option<u16> {
        let address = "0.0.0.0:0".parse().unwrap();
        ports.take_any(Transport::Tcp, address, share).map(|address| address.port())
    }

    #[test]
    fn every_port_is_given_out_once() {
        let ports = Ports::default();
        let mut given: Vec<u16> = std::iter::from_fn(|| any(&ports, ALL)).collect();
        given.sort_unstable();
        assert_eq!(given, (EPHEMERAL_FIRST..=u16::MAX).collect::<Vec<_>>());
        ports.release(Key::new(Transport::Tcp, "0.0.0.0:50000".parse().unwrap()));
        assert_eq!((any(&ports, ALL), any(&ports, ALL)), (Some(50_000), None));
    }

    #[test]
    fn workers_give_out_ports_of_their_own() {
        for of in [1, 2, 3, 7, 64] {
            for remainder in 0..of {
                let ports = Ports::default();
                let given: Vec<u16> = std::iter::from_fn(|| any(&ports, Share { remainder, of })).collect();
                let own = (EPHEMERAL_FIRST..=u16::MAX).filter(|port| port % of == remainder).count();
                assert!(given.iter().all(|port| *port >= EPHEMERAL_FIRST && port % of == remainder));
                assert_eq!(given.len(), own, "of {of}, {remainder}");
            }
        }
    }

    #[test]
    fn a_port_of_another_protocol_or_family_is_another() {
        let ports = Ports::default();
        let key = |transport, address: &str| Key::new(transport, address.parse().unwrap());
        assert!(ports.take(key(Transport::Tcp, "0.0.0.0:80")));
        assert!(!ports.take(key(Transport::Tcp, "10.64.0.16:80")));
        assert!(ports.take(key(Transport::Tcp, "[::]:80")) && ports.take(key(Transport::Udp, "0.0.0.0:80")));
        ports.release(key(Transport::Tcp, "0.0.0.0:80"));
        assert!(ports.take(key(Transport::Tcp, "10.64.0.16:80")));
    }
}
