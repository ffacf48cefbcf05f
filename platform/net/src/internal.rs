//! Connections of tasks to the platform's own address in the node's subnet: to the load balancer's internal listeners.
//!
//! A task connects to its own worker's load balancer, through memory. It is a flow of the task's, and of nobody else: rules
//! ask whether the task may reach the platform's own services, and what the load balancer does then is asked about where it
//! connects to a target (`platform`).
//!
//! It deliberately does not know what a listener does with a connection, and keeps no list of them: who has them is asked
//! ([`InternalListeners`]).
//!
//! What always holds: the rules are asked before it is said whether anybody takes connections at a port; the task pays for
//! both ends, in sockets and in bytes that wait, for as long as either is there; the load balancer is told the task's own
//! address, which the task can't choose.

use crate::duplex::Duplex;
use crate::error::NetError;
use crate::flow::{Ends, Flow, Remote};
use crate::interface::{Interface, Port};
use crate::network::Network;
use crate::stream::{Carrier, Stream};
use skiff_ports::internal::InternalListeners;
use skiff_types::{Direction, Name, Transport};
use std::net::SocketAddr;
use std::rc::Rc;

impl Network {
    /// Says who has the internal listeners. To be said once; until then there are none.
    pub fn lead_to(&self, listeners: Rc<dyn InternalListeners>) {
        let _ = self.internal_listeners().set(listeners);
    }

    /// Whether there is an internal listener of this name.
    pub(crate) fn has_internal_listener(&self, name: &Name) -> bool {
        self.internal_listeners().get().is_some_and(|listeners| listeners.is_there(name))
    }

    /// The internal listener that takes connections at a port.
    fn internal_listener_at(&self, port: u16) -> Option<Name> {
        self.internal_listeners().get()?.at_port(port)
    }
}

impl Interface {
    /// Who is there as rules see it, if that is the platform's own address.
    pub(crate) fn platform_at(&self, remote: SocketAddr) -> Option<Remote> {
        let network = self.network();
        let is_there = network.platform_address().has(remote.ip());
        is_there.then(|| Remote::Platform(network.internal_listener_at(remote.port())))
    }

    /// Opens a connection to an internal listener that the rules let the task reach.
    ///
    /// # Errors
    /// `Refused` if there is none at that port, or no longer; `TooManySockets`; `OutOfMemory`.
    pub(crate) fn open_to_platform(&self, ends: Ends, port: Port) -> Result<Stream, NetError> {
        let Remote::Platform(Some(listener)) = &ends.who else { return Err(NetError::Refused) };
        let listener = listener.clone();
        // The attempt may have waited for its turn since that was found.
        if self.network().internal_listener_at(ends.remote.port()).as_ref() != Some(&listener) {
            return Err(NetError::Refused);
        }
        let listeners = self.network().internal_listeners().get().ok_or(NetError::Refused)?;
        let (their_port, from) = (self.share_port(Transport::Tcp, ends.remote)?, ends.local);
        let their_ends = Ends {
            direction: Direction::Ingress,
            transport: Transport::Tcp,
            local: ends.remote,
            remote: ends.local,
            who: Remote::Task(self.member().clone()),
        };
        let (theirs, ours) = self.pipe_of_platform();
        let target = Rc::downgrade(ours.pipe());
        let theirs = Stream::new(Carrier::Pipe(theirs), Flow::unseen(self, their_ends), their_port);
        let ours = self.stream(Carrier::Pipe(ours), target, ends, port);
        listeners.serve(&listener, Box::new(Duplex::new(theirs)), from);
        Ok(ours)
    }
}
