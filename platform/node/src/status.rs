//! What the operating system says of the supervisor and its workers.

use procfs::process::Process;
use std::time::Duration;

/// What one process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessStatus {
    /// Its id.
    pub pid: u32,
    /// CPU time of all its threads.
    pub cpu: Duration,
    /// Its proportional share of memory, in bytes: what it shares with others is divided among them.
    pub memory_bytes: u64,
}

impl ProcessStatus {
    /// Reads a process; what can't be read is 0.
    pub fn read(pid: u32) -> Self {
        let Ok(process) = Process::new(pid as i32) else {
            return Self { pid, ..Self::default() };
        };
        let ticks = process.stat().map_or(0, |stat| stat.utime + stat.stime);
        let cpu = Duration::from_millis(ticks * 1_000 / procfs::ticks_per_second());
        let rollup = process.smaps_rollup().ok();
        let memory_bytes = rollup
            .and_then(|rollup| rollup.memory_map_rollup.into_iter().next())
            .and_then(|map| map.extension.map.get("Pss").copied())
            .unwrap_or(0);
        Self { pid, cpu, memory_bytes }
    }
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkerState {
    /// It has not acknowledged a version yet.
    #[default]
    Starting,
    /// It serves.
    Running,
    /// It finishes what is in flight.
    Draining,
    /// It is gone; the next one is being started, unless the node stops.
    Dead,
}

/// A worker as its supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkerStatus {
    /// Its seat.
    pub worker: usize,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Its process; none while it is dead.
    pub process: Option<ProcessStatus>,
    /// Since its process started.
    pub uptime: Option<Duration>,
    /// How often a worker in this seat was replaced.
    pub restarts: u64,
    /// Connections it holds.
    pub connections: u64,
    /// Requests taken in this seat.
    pub requests: u64,
    /// CPU time in this seat that no task was charged with.
    pub platform_cpu: Duration,
    /// Components whose native code it has mapped.
    pub mapped_components: u64,
    /// That code, in bytes.
    pub mapped_code_bytes: u64,
    /// Memory that idle slots of its pool keep at most, in bytes.
    pub pool_kept_bytes: u64,
}
