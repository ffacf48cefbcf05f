//! How the platform itself connects to a daemon from this worker: through the virtual network.

use futures::future::LocalBoxFuture;
use skiff_net::{Duplex, NetError, Network};
use skiff_ports::connect::{Connect, ConnectError, Connection, Origin};
use skiff_types::TaskId;

/// The way of the load balancer and of operators to the daemons of the node.
pub(crate) struct Connector {
    pub(crate) network: Network,
}

impl Connect for Connector {
    fn connect(
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
