//! How the platform itself connects to a daemon: the load balancer for its clients, and `skiff forward` for an operator.
//!
//! No kernel socket is opened for it where the task lives in the same worker. Connections between tasks don't come by here.

use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use skiff_types::TaskId;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// On whose behalf the platform itself connects to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// The load balancer: let in where the task's rules say so.
    LoadBalancer,
    /// An operator who may reach the task whatever its rules say; written down in the flow log all the same.
    Forward,
}

/// An open connection. Shutting it down ends what this side writes, and the other side may go on; dropping it ends it, by a
/// reset where bytes were left unread.
pub trait Connection: AsyncRead + AsyncWrite + Unpin {
    /// Breaks it off: when it is dropped after this, the task sees a reset, and not that what it was sent has ended.
    fn break_off(&mut self);
}

/// A socket of the kernel, which tests have in place of a task's.
impl Connection for TcpStream {
    fn break_off(&mut self) {
        // Fails only if it is gone already.
        let _ = self.set_zero_linger();
    }
}

/// A pipe in memory, likewise. It has no resets: its other side reads the end, and can't write.
impl Connection for DuplexStream {
    fn break_off(&mut self) {}
}

/// Connects to tasks.
pub trait Connect {
    /// Opens a connection to a task of this node, whichever worker it lives in. Who drops the future has given up.
    ///
    /// It is open once the task's listener has a place for it, which may be before its program has taken it.
    fn connect(
        &self,
        task: TaskId,
        port: u16,
        origin: Origin,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, ConnectError>>;
}

/// Why there is no connection. Each prints as a sentence for the client; none names a task or a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The task is not on this node, or no longer: another target may be tried.
    #[error("the task is not running here")]
    Gone,
    /// Its rules do not let the platform in. The text says which rule is missing, and is for logs alone.
    #[error("the task's security groups do not let the load balancer in")]
    Denied(String),
    /// Nobody listens at the port, or who does has no room: another target may be tried.
    #[error("the task does not take connections at present")]
    Refused,
    /// The task's listener had no room, or its worker gave no answer, for as long as an attempt may take.
    #[error("the connection to the task timed out")]
    TimedOut,
    /// A bound of the platform was met, or the connection broke at its beginning.
    #[error("the task could not be connected to: {0}")]
    Failed(String),
}
