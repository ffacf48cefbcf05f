//! The listeners beside the built-in one, as this worker has them: what the supervisor bound, handed to the load balancer.
//!
//! It binds nothing, and what becomes of a connection is `edge`'s. Every worker of the node has the same listeners, and
//! accepts from them whenever it is its turn.

use anyhow::{Context, ensure};
use skiff_edge::{Edge, Listening};
use skiff_node::wire::{Leads, ListenerTold};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Where sockets are bound that were handed over.
pub(crate) fn addresses(descriptors: &[OwnedFd]) -> anyhow::Result<Vec<SocketAddr>> {
    let address = |descriptor: &OwnedFd| {
        let bound = SocketAddr::try_from(rustix::net::getsockname(descriptor)?)?;
        Ok::<_, rustix::io::Errno>(bound)
    };
    let addresses: rustix::io::Result<Vec<_>> = descriptors.iter().map(address).collect();
    addresses.context("a socket that was handed over is not bound to an address")
}

/// By port, where it leads, and what ends the accepting when it is dropped.
#[derive(Default)]
pub(crate) struct Listeners(BTreeMap<u16, (Leads, Listening)>);

impl Listeners {
    /// From now on there are these and no others; what was accepted goes on in any case.
    ///
    /// One that was there and leads to the same stays as it is: the supervisor can't have bound its port anew as
    /// long as anybody listens there.
    pub(crate) fn set(
        &mut self,
        edge: &Rc<Edge>,
        told: Vec<ListenerTold>,
        descriptors: Vec<OwnedFd>,
    ) -> anyhow::Result<()> {
        ensure!(told.len() == descriptors.len(), "listeners came without their descriptors");
        let mut before = std::mem::take(&mut self.0);
        for (ListenerTold { port, leads }, descriptor) in told.into_iter().zip(descriptors) {
            let kept = before.remove(&port).filter(|(led, _)| *led == leads);
            let listening = kept.unwrap_or_else(|| {
                let socket = TcpListener::from(descriptor);
                let listening = match &leads {
                    Leads::Service(service) => edge.listen_tcp(socket, service.clone()),
                    Leads::Listener(listener) => edge.listen(socket, listener.clone()),
                };
                (leads, listening)
            });
            self.0.insert(port, listening);
        }
        Ok(())
    }

    /// Accepts no more.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }
}
