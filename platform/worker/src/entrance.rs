//! What the load balancer calls: the sandboxes, as far as the called task's rules let it.
//!
//! Calls between tasks are judged where they begin (`host-net`), and don't come by here.

use futures::future::{LocalBoxFuture, ready};
use http::{Request, Response};
use skiff_net::{NetError, Network};
use skiff_ports::body::Body;
use skiff_ports::invoke::{HTTP_PORT, Invoke, InvokeError};
use skiff_sandbox::Sandboxes;
use skiff_types::TaskId;
use std::rc::Rc;

/// The way of the load balancer to the tasks of this worker.
pub(crate) struct Entrance {
    pub(crate) sandboxes: Rc<Sandboxes>,
    pub(crate) network: Network,
}

impl Invoke for Entrance {
    fn invoke(
        &self,
        task: TaskId,
        request: Request<Body>,
    ) -> LocalBoxFuture<'_, Result<Response<Body>, InvokeError>> {
        match self.network.admit_balancer(task, HTTP_PORT) {
            Ok(()) => self.sandboxes.invoke(task, request),
            Err(error) => Box::pin(ready(Err(refused(&error)))),
        }
    }
}

/// What the client is told. Which rule is missing is not for its eyes, but in the flow log.
fn refused(error: &NetError) -> InvokeError {
    match matches!(error, NetError::Denied(_)) {
        true => InvokeError::Failed("the task's security groups do not let the load balancer in".to_owned()),
        // It has left the network, or leaves at this moment.
        false => InvokeError::Gone,
    }
}
