//! The port of native code: what the compiler made, kept on this machine. Who keeps a node's books need not know what engine
//! it is for.

use skiff_types::Digest;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

/// Keeps native code by its program's key ([`skiff_types::Program::key`]). Its calls wait for the disk.
pub trait NativeCode: Send + Sync {
    /// Whether there is native code of this program. Whether it is sound shows when it is loaded.
    fn contains(&self, program: &Digest) -> bool;

    /// Keeps native code: whole, and on the disk, once this returns.
    ///
    /// # Errors
    /// The disk's; nothing is kept then.
    fn store(&self, program: &Digest, native: &[u8]) -> io::Result<()>;

    /// The native code of a program, checked, in memory that nobody can change; `None` if there is none that is sound.
    ///
    /// # Errors
    /// The disk's.
    fn load(&self, program: &Digest) -> io::Result<Option<OwnedFd>>;

    /// Removes everything but these programs' code; says how many files went.
    fn keep(&self, programs: &BTreeSet<Digest>) -> usize;
}
