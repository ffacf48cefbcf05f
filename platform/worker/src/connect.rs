//! How the platform itself connects from this worker: to tasks through the virtual network, to hosts outside past it.

use crate::outside::Outward;
use futures::future::{LocalBoxFuture, ready};
use skiff_net::{Duplex, NetError, Network};
use skiff_ports::connect::{Connect, ConnectError, Connection, Destination, Origin};
use skiff_types::TaskId;

/// The way of the load balancer and of operators to the daemons of the node, and of the load balancer to hosts outside.
pub(crate) struct Connector {
    pub(crate) network: Network,
    pub(crate) outward: Outward,
}

impl Connector {
    fn connect_to_task(
        &self,
        task: TaskId,
        port: u16,
        origin: Origin,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, ConnectError>> {
        let opening = self.network.connect_from(origin, task, port);
        Box::pin(async move {
            let stream = opening.await.map_err(connect_error)?;
            Ok(Box::new(Duplex::new(stream)) as Box<dyn Connection>)
        })
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        to: &Destination,
        origin: Origin,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, ConnectError>> {
        match to {
            Destination::Task { task, port } => self.connect_to_task(*task, *port, origin),
            Destination::Virtual(address) => match self.network.task_at(address.ip()) {
                Some(task) => self.connect_to_task(task, address.port(), origin),
                None => Box::pin(ready(Err(ConnectError::Gone))),
            },
            Destination::Outside(outside) => self.outward.connect(outside),
        }
    }
}

/// What whoever connects is told.
fn connect_error(error: NetError) -> ConnectError {
    match error {
        NetError::Denied(sentence) => ConnectError::Denied(sentence),
        // It has left the network, or leaves at this moment.
        NetError::Unreachable | NetError::Closed => ConnectError::Gone,
        // A bound of this task was met; another may have room.
        NetError::Refused | NetError::TooManySockets(_) | NetError::OutOfMemory => ConnectError::Refused,
        NetError::TimedOut => ConnectError::TimedOut,
        error => ConnectError::Failed(error.to_string()),
    }
}
