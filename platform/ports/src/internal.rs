//! Internal listeners of the load balancer, as the virtual network knows them: where tasks connect to it without a socket of
//! the kernel.
//!
//! Whether a task may is the network's to say, before it asks here; what becomes of a connection is the load balancer's.

use crate::connect::Connection;
use skiff_types::Name;
use std::net::SocketAddr;

/// The internal listeners that there are at present in this worker. No two have the same port.
pub trait InternalListeners {
    /// Which one takes connections at a port.
    fn at_port(&self, port: u16) -> Option<Name>;

    /// Whether there is one of this name.
    fn is_there(&self, name: &Name) -> bool;

    /// Takes a connection that a task has opened to one of them; `from` is the task's own address and port. Where there is
    /// no such listener any more, the connection is broken off.
    fn serve(&self, name: &Name, connection: Box<dyn Connection>, from: SocketAddr);
}
