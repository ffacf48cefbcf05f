//! Which core runs what.
//!
//! What is started while this thread is pinned to a core stays on it, with every thread and process that it starts in
//! turn, so servers need not know.

use anyhow::{Context, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may run on.
pub(crate) struct Cores {
    all: CpuSet,
    /// For the server under test.
    pub(crate) server: usize,
    /// For the driver.
    pub(crate) driver: usize,
    pub(crate) count: usize,
}

impl Cores {
    /// Finds them.
    ///
    /// # Errors
    /// If there are fewer than two: a driver on the server's core would measure itself.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let all = sched_getaffinity(None).context("the cores that this process may run on can't be read")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let [server, driver, ..] = cores[..] else {
            bail!("a measurement needs two cores, one for the server and one for the driver");
        };
        Ok(Self { all, server, driver, count: cores.len() })
    }

    /// Does something, pinned to a core if one is given: what it starts stays there.
    pub(crate) fn on<T>(
        &self,
        core: Option<usize>,
        action: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let Some(core) = core else { return action() };
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one).with_context(|| format!("can't be pinned to core {core}"))?;
        let done = action();
        sched_setaffinity(None, &self.all).context("the pinning to a core can't be undone")?;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_on_a_core_stays_there_and_the_rest_does_not() {
        // A machine with one core has nothing to pin to.
        let Ok(cores) = Cores::find() else { return };
        let allowed = || {
            let text = std::process::Command::new("cat").arg("/proc/self/status").output()?.stdout;
            let text = String::from_utf8(text)?;
            let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            Ok(line.context("a line on cores")?.trim().to_owned())
        };
        let before = cores.on(None, allowed).unwrap();
        assert_eq!(cores.on(Some(cores.driver), allowed).unwrap(), cores.driver.to_string());
        assert_eq!(cores.on(None, allowed).unwrap(), before);
    }
}
