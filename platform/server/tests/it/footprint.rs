//! What a process holds of the machine: memory, descriptors, threads.

use procfs::process::Process;

/// What was seen of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) pid: u32,
    /// Resident memory in bytes, each shared page counted in parts (PSS).
    pub(crate) memory_bytes: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
}

impl Footprint {
    /// Looks at a process; none if it is gone.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let process = Process::new(pid as i32).ok()?;
        let rollup = process.smaps_rollup().ok()?.memory_map_rollup.into_iter().next()?;
        Some(Self {
            pid,
            memory_bytes: rollup.extension.map.get("Pss").copied()?,
            descriptors: process.fd_count().ok()?,
            threads: process.stat().ok()?.num_threads.try_into().ok()?,
        })
    }
}
