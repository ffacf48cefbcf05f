//! Waking a service that sleeps: who calls one from within a task waits for it as a request does at the load balancer.

use futures::future::LocalBoxFuture;
use skiff_types::QualifiedName;

/// Has services woken that sleep.
pub trait Wake {
    /// Waits until the service has a task in this worker, and has one started if it sleeps; says whether it has one. False at
    /// once where there is no such service, or where it does not sleep and has none all the same; later where too many wait
    /// for it, or none came in time.
    fn wake(&self, service: &QualifiedName) -> LocalBoxFuture<'static, bool>;
}
