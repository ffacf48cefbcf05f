//! Internal listeners: what tasks open to the load balancer within the virtual network, served like any other connection.
//!
//! A task comes to the load balancer of the worker that its guest runs in, so nothing is handed to another worker. Where there
//! is no room, a connection waits for it, as one would that a kernel has not given out yet. It deliberately does not know
//! whether a task may: that is asked before it comes here (`net`).
//!
//! What always holds: what comes from outside never comes to an internal listener ([`crate::listening`]), nor what comes from
//! here to a public one; who is refused sees a connection that was broken off.

use crate::edge::Edge;
use crate::listener::Listener;
use crate::serving::{Open, Spoken};
use crate::tcp::{self, Leads};
use crate::tls;
use skiff_ports::connect::Connection;
use skiff_types::{ListenerProtocol, Name};
use std::net::SocketAddr;
use std::rc::Rc;

impl Edge {
    /// The internal listener at this port, if there is one.
    pub fn internal_listener_at(&self, port: u16) -> Option<Name> {
        self.listeners().internal_at_port(port).map(|listener| listener.name().clone())
    }

    /// Whether there is an internal listener of this name.
    pub fn has_internal_listener(&self, name: &Name) -> bool {
        self.internal(name).is_some()
    }

    /// Serves a connection that a task has opened to the internal listener of this name to its end, once there is room;
    /// `peer` is the task's own address and port. Must be called and run in a `LocalSet`.
    pub fn serve_internal(
        self: &Rc<Self>,
        mut connection: Box<dyn Connection>,
        peer: SocketAddr,
        name: &Name,
    ) -> impl Future<Output = ()> + use<> {
        let (edge, name) = (self.clone(), name.clone());
        async move {
            match edge.admit_internal(peer, &name).await {
                Some((open, listener)) => serve(&open, connection, listener).await,
                None => connection.break_off(),
            }
        }
    }

    /// Waits for room; `None` if there is no such listener, or no longer.
    async fn admit_internal(self: &Rc<Self>, peer: SocketAddr, name: &Name) -> Option<(Open, Rc<Listener>)> {
        loop {
            let listener = self.internal(name)?;
            // Who will be refused needs no room, and nobody is to go for it.
            let is_refused = listener.protocol() == ListenerProtocol::Tcp && self.share().is_full();
            if self.has_room() || is_refused {
                return Some((Open::new(self, peer, listener.clone()), listener));
            }
            if !self.is_crowded() {
                self.make_room();
            }
            self.room().await;
        }
    }

    fn internal(&self, name: &Name) -> Option<Rc<Listener>> {
        self.listeners().get(name).filter(|listener| listener.is_internal())
    }
}

async fn serve(open: &Open, connection: Box<dyn Connection>, listener: Rc<Listener>) {
    match (listener.protocol(), listener.tls()) {
        (ListenerProtocol::Tcp, _) => tcp::serve(open, connection, Leads::As(listener)).await,
        (ListenerProtocol::Http | ListenerProtocol::Https, None) => {
            open.serve(connection, Spoken::Untold).await;
        }
        (ListenerProtocol::Http | ListenerProtocol::Https, Some(config)) => {
            // In a box, so that connections in clear stay small.
            Box::pin(tls::serve(open, connection, config)).await;
        }
    }
}
