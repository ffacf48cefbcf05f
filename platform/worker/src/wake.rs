//! The way of this worker's tasks to services that sleep: they wait where the load balancer's requests do.
//!
//! Whether a task may call the service is judged when it does, once that is awake; who may call nobody in its namespace does
//! not come here (`host-net`).

use futures::future::LocalBoxFuture;
use skiff_edge::Edge;
use skiff_ports::wake::Wake;
use skiff_types::QualifiedName;
use std::rc::{Rc, Weak};

/// Leads to the load balancer, which itself leads to the sandboxes, and so is not kept by their capabilities.
pub(crate) struct Wakes(Weak<Edge>);

impl Wakes {
    pub(crate) fn by(edge: &Rc<Edge>) -> Self {
        Self(Rc::downgrade(edge))
    }
}

impl Wake for Wakes {
    fn wake(&self, service: &QualifiedName) -> LocalBoxFuture<'static, bool> {
        let (edge, service) = (self.0.upgrade(), service.clone());
        Box::pin(async move {
            match edge {
                Some(edge) => edge.wake(&service).await,
                None => false,
            }
        })
    }
}
