//! What can go wrong at a socket: one variant for each thing that a caller tells its guest.
//!
//! `host-net` maps these one to one to the error codes of `wasi:sockets`; which door they came through is not said here.

/// Why a call on a socket failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// No rule allows it, or none does any more; the sentence says which one is missing.
    #[error("{0}")]
    Denied(String),
    /// Nobody listens there, or who does has no room.
    #[error("the connection was refused")]
    Refused,
    /// The other side, or the platform, ended the connection before its orderly end.
    #[error("the connection was reset")]
    Reset,
    /// No answer came in time.
    #[error("the connection timed out")]
    TimedOut,
    /// Somebody has that port already, or every port is taken.
    #[error("the address is in use")]
    AddressInUse,
    /// The address is not one of this task's.
    #[error("the address is not one of this task's own")]
    AddressNotBindable,
    /// What was asked for makes no sense: a family that does not fit, port 0 of a remote side.
    #[error("the argument is invalid")]
    InvalidArgument,
    /// The socket is not in a state in which this can be asked.
    #[error("the socket is not in a state for this")]
    InvalidState,
    /// The virtual network does not do this.
    #[error("the operation is not supported")]
    NotSupported,
    /// No way leads there: an address of the virtual network that nobody has.
    #[error("the remote address can't be reached")]
    Unreachable,
    /// The task has as many as it may have; the text names the bound.
    #[error("too many: {0}")]
    TooManySockets(&'static str),
    /// The task's memory limit leaves no room for more queued bytes.
    #[error("the task is out of memory")]
    OutOfMemory,
    /// There is no such name.
    #[error("the name can't be resolved")]
    NameUnresolvable,
    /// The name servers do not answer now, or too much was asked of them.
    #[error("the name can't be resolved at the moment")]
    TemporaryResolverFailure,
    /// A message longer than a datagram may be.
    #[error("the datagram is too large")]
    DatagramTooLarge,
    /// This side has closed it: the socket, its half of the stream, or the task's whole interface.
    #[error("the socket is closed")]
    Closed,
}
