//! What a server's processes use, all of them together: CPU time and memory, as the kernel counts them.

use procfs::process::{Process, all_processes};
use std::collections::HashSet;
use std::process::Child;
use std::time::Duration;

/// A process that is killed when this is dropped.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process and all that descend from it.
fn tree(root: u32) -> anyhow::Result<Vec<Process>> {
    let root = root as i32;
    let mut found = vec![Process::new(root)?];
    let all: Vec<(Process, i32)> = all_processes()?
        .filter_map(Result::ok)
        .filter_map(|process| process.stat().ok().map(|stat| (process, stat.ppid)))
        .collect();
    let mut family: HashSet<i32> = [root].into();
    let mut rest = all;
    loop {
        let (children, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(process, parent)| family.contains(parent) && process.pid != root);
        if children.is_empty() {
            return Ok(found);
        }
        family.extend(children.iter().map(|(process, _)| process.pid));
        found.extend(children.into_iter().map(|(process, _)| process));
        rest = others;
    }
}

/// CPU time that a process and its descendants have used, user and system.
pub(crate) fn cpu(root: u32) -> anyhow::Result<Duration> {
    let stats = tree(root)?.into_iter().filter_map(|process| process.stat().ok());
    let ticks: u64 = stats.map(|stat| stat.utime + stat.stime).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64))
}

/// Memory of a process and its descendants, in MiB: the sum of their proportional set sizes, so that what they share
/// counts once.
pub(crate) fn memory_mib(root: u32) -> anyhow::Result<f64> {
    let pss = |process: Process| {
        let rollup = process.smaps_rollup().ok()?;
        rollup.memory_map_rollup.into_iter().next()?.extension.map.get("Pss").copied()
    };
    Ok(tree(root)?.into_iter().filter_map(pss).sum::<u64>() as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    #[test]
    fn grandchildren_count() {
        let child = Command::new("sh").args(["-c", "sh -c 'sleep 60; true' & wait"]).spawn().unwrap();
        let shell = Guard(child);
        let started = Instant::now();
        let found = || tree(shell.0.id()).unwrap();
        while found().len() < 3 {
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", found());
        }
        for process in found().into_iter().skip(1) {
            let _ = Command::new("kill").arg(process.pid.to_string()).status();
        }
    }

    #[test]
    fn this_process_has_used_cpu_and_memory() {
        let me = std::process::id();
        let (before, started) = (cpu(me).unwrap(), Instant::now());
        while cpu(me).unwrap() <= before {
            assert!(started.elapsed() < Duration::from_secs(30), "a process that computes uses no CPU");
        }
        assert!(memory_mib(me).unwrap() > 0.1);
    }
}
