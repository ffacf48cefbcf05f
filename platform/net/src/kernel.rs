//! The kernel's sockets that tasks take: the ends of lines to other workers, and what leads to the outside.
//!
//! Each has a descriptor, of which `plan::capacity` gives a worker so many, and memory of the kernel's that waits to be
//! read or sent. So they are counted, in all and for each task, the buffers of each are bounded, and each is charged.
//!
//! What a task is charged with is a part of what its buffers may hold. The kernel takes memory only for bytes that
//! wait, and tells what it took only socket by socket; hardly any of a task's sockets is full at a time. Charged whole,
//! a daemon of 64 MiB could have 256 clients in other workers, and all of them idle.
//!
//! What always holds: a place is kept as long as its socket, also while what was written is still being sent; the last
//! places are the platform's, so that tasks that take all they can keep no client from a daemon.

use crate::error::NetError;
use crate::interface::Interface;

/// What a line's end asks of the kernel for bytes that it has sent and nobody has read. The kernel takes as much again
/// for its own structures (socket(7)): 256 KiB, somewhat more than Linux gives unasked (`net.core.wmem_default`), so
/// that some whole frames are on their way before a writer must wait for its reader. It is granted without privileges
/// (`net.core.wmem_max`).
pub(crate) const LINE_BUFFER_BYTES: usize = 128 << 10;
/// The same of a stream to the outside, each way; where less is granted, it is that. By itself the kernel would let it
/// grow to many MiB. What may be on its way at once bounds a stream's rate: over a round trip of 20 ms to some 10 MiB a
/// second.
pub(crate) const OUTSIDE_BUFFER_BYTES: usize = 256 << 10;
/// The same of a socket for datagrams to the outside, each way: several of the longest.
pub(crate) const DATAGRAM_BUFFER_BYTES: usize = 128 << 10;

/// The part of a worker's places that is kept for the platform's connections to daemons: one in so many.
const PLATFORM_SHARE: usize = 4;
/// The part of all places that one task may have for itself: one in so many.
const TASK_SHARE: usize = 2;

/// What a socket of the kernel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A line between two tasks, or one that waits to be one.
    Line,
    /// A line on which the platform connects to a task.
    PlatformLine,
    /// A stream or datagrams to the outside.
    Outside,
}

impl Purpose {
    /// What a task is charged with for it.
    fn charged_bytes(self) -> u64 {
        match self {
            Self::Line => 32 << 10,
            // The task that is called is charged with both ends.
            Self::PlatformLine => 16 << 10,
            Self::Outside => 64 << 10,
        }
    }
}

/// A place for a socket of the kernel, charged to a task; given back when dropped.
pub(crate) struct KernelPlace {
    interface: Interface,
    purpose: Purpose,
}

impl KernelPlace {
    /// # Errors
    /// `TooManySockets`; `OutOfMemory` if the task's memory limit leaves no room for it; `Closed`.
    pub(crate) fn take(interface: &Interface, purpose: Purpose) -> Result<Self, NetError> {
        let (sockets, all) = (interface.sockets(), interface.network().kernel_sockets());
        let places = interface.limits().kernel_sockets_max;
        match purpose {
            Purpose::Line | Purpose::Outside => {
                if sockets.in_kernel.get() >= places.div_ceil(TASK_SHARE) {
                    return Err(NetError::TooManySockets("sockets of one task that lead out of its worker"));
                }
                if all.get() >= places - places / PLATFORM_SHARE {
                    return Err(NetError::TooManySockets("sockets of all tasks that lead out of one worker"));
                }
                sockets.charge.take(purpose.charged_bytes())?;
                sockets.in_kernel.set(sockets.in_kernel.get() + 1);
            }
            Purpose::PlatformLine => {
                if all.get() >= places {
                    return Err(NetError::TooManySockets("connections that lead out of one worker"));
                }
                sockets.charge.take(purpose.charged_bytes())?;
            }
        }
        all.set(all.get() + 1);
        Ok(Self { interface: interface.clone(), purpose })
    }
}

impl Drop for KernelPlace {
    fn drop(&mut self) {
        let (sockets, all) = (self.interface.sockets(), self.interface.network().kernel_sockets());
        all.set(all.get() - 1);
        match self.purpose {
            Purpose::Line | Purpose::Outside => sockets.in_kernel.set(sockets.in_kernel.get() - 1),
            Purpose::PlatformLine => {}
        }
        sockets.charge.give_back(self.purpose.charged_bytes());
    }
}
