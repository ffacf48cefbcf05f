//! The way of this worker's tasks to its load balancer: the internal listeners, as the network asks for them.
//!
//! It keeps no list of its own: what the load balancer was told of last is what there is. Whether a task may is the network's
//! to say.

use skiff_edge::Edge;
use skiff_ports::connect::Connection;
use skiff_ports::internal::InternalListeners;
use skiff_types::Name;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use tokio::task::spawn_local;

/// Leads to the load balancer, which itself leads to the network, and so is not kept by it.
pub(crate) struct Inward(Weak<Edge>);

impl Inward {
    pub(crate) fn to(edge: &Rc<Edge>) -> Self {
        Self(Rc::downgrade(edge))
    }
}

impl InternalListeners for Inward {
    fn at_port(&self, port: u16) -> Option<Name> {
        self.0.upgrade()?.internal_listener_at(port)
    }

    fn is_there(&self, name: &Name) -> bool {
        self.0.upgrade().is_some_and(|edge| edge.has_internal_listener(name))
    }

    fn serve(&self, name: &Name, mut connection: Box<dyn Connection>, from: SocketAddr) {
        match self.0.upgrade() {
            Some(edge) => drop(spawn_local(edge.serve_internal(connection, from, name))),
            None => connection.break_off(),
        }
    }
}
