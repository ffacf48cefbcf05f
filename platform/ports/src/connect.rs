//! How the platform itself connects: the load balancer to daemons and to hosts outside for its clients, and `skiff forward`
//! to a task for an operator.
//!
//! No kernel socket is opened for it where a task lives in the same worker. Connections between tasks don't come by here.

use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use skiff_types::{Outside, TaskId, Unresolved};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A task of this node, whichever worker it lives in.
    Task {
        /// Which task.
        task: TaskId,
        /// Which port of it.
        port: u16,
    },
    /// Whichever task has this address in the virtual network.
    Virtual(SocketAddr),
    /// A host outside. No rules are asked: they are tasks'.
    Outside(Outside),
}

/// On whose behalf the platform itself connects.
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
    /// Breaks it off: when it is dropped after this, the other side sees a reset, and not that what it was sent has ended.
    fn break_off(&mut self);
}

/// One whose kind only its maker knows.
impl Connection for Box<dyn Connection> {
    fn break_off(&mut self) {
        (**self).break_off();
    }
}

/// A socket of the kernel: a client's, and in tests a task's.
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

/// Connects to tasks, and to the outside.
pub trait Connect {
    /// Opens a connection. Who drops the future has given up.
    ///
    /// It is open once the listener at the other side has a place for it, which may be before its program has taken it.
    fn connect(
        &self,
        to: &Destination,
        origin: Origin,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, ConnectError>>;
}

/// Why there is no connection. Each prints as a sentence for the client; none names a task, a host or a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The task is not on this node, or no longer, or no task has the address: another target may be tried.
    #[error("the task is not running here")]
    Gone,
    /// Its rules do not let the platform in. The text says which rule is missing, and is for logs alone.
    #[error("the task's security groups do not let the load balancer in")]
    Denied(String),
    /// Nobody listens at the port, or who does has no room: another target may be tried.
    #[error("the target does not take connections at present")]
    Refused,
    /// The listener had no room, or there was no answer, for as long as an attempt may take.
    #[error("the connection to the target timed out")]
    TimedOut,
    /// It shows no certificate of TLS that is trusted: another target may be tried. The text says why not, and is for logs
    /// alone.
    #[error("the target's certificate is not trusted")]
    Untrusted(String),
    /// The target's name leads to no address: another target may be tried.
    #[error("the target's name can't be resolved: {0}")]
    Unresolved(Unresolved),
    /// A bound of the platform was met, or the connection broke at its beginning.
    #[error("the target could not be connected to: {0}")]
    Failed(String),
}
