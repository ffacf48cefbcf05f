//! What a node used that no task is charged with.
//!
//! The kernel says how much CPU time the node's processes took: this one, its children, and the children that have
//! ended. What of it no task was charged with is the platform's: so all charges together are the kernel's figure, but
//! for its grain of 10 ms a process, which the next reading evens out.

use crate::spawner::Spawner;
use procfs::process::{Process, Stat};
use skiff_kit::clock;
use skiff_ledger::Ledger;
use skiff_types::{Account, Charge, Usage};

/// What was charged so far, since the supervisor started.
#[derive(Debug, Default)]
pub(crate) struct Books {
    tasks_cpu_ns: u64,
    platform: Usage,
}

impl Books {
    /// What the platform used since the call before, given what the tasks were charged with since then.
    ///
    /// To be called after the tasks' accounts were read, so that what they used is in what the kernel says.
    pub(crate) fn charge(&mut self, ledger: &Ledger, spawner: &Spawner, tasks: &[Charge]) -> Charge {
        let node_cpu_ns = node_cpu_ns(spawner);
        self.tasks_cpu_ns += tasks.iter().map(|charge| charge.used.cpu_ns).sum::<u64>();
        let rows = || (0..ledger.workers()).map(|worker| ledger.worker(worker));
        let used = Usage {
            requests: rows().map(|row| row.platform_requests.get()).sum(),
            cpu_ns: node_cpu_ns.saturating_sub(self.tasks_cpu_ns),
            sent_bytes: rows().map(|row| row.platform_sent_bytes.get()).sum(),
            ..Usage::default()
        };
        let more = used.since(&self.platform);
        self.platform = used.max(&self.platform);
        Charge { account: Account::Platform, used: more }
    }
}

/// CPU time of all processes of the node since this one started, in nanoseconds.
///
/// A child that is reaped between the readings is missed until the next one, never counted twice.
fn node_cpu_ns(spawner: &Spawner) -> u64 {
    let ns = |ticks: u64| ticks * (1_000_000_000 / procfs::ticks_per_second());
    let reaped = stat(std::process::id()).map_or(0, |stat| (stat.cutime + stat.cstime).unsigned_abs());
    let children =
        spawner.children(|pid| stat(pid).is_some_and(|stat| stat.ppid == std::process::id() as i32));
    let living = children.into_iter().filter_map(stat).map(|stat| stat.utime + stat.stime).sum::<u64>();
    clock::process_cpu_ns() + ns(reaped + living)
}

fn stat(pid: u32) -> Option<Stat> {
    Process::new(pid as i32).ok()?.stat().ok()
}
