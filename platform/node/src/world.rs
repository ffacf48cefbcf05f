//! What the node is to run, worked out for each of its workers.
//!
//! Pure bookkeeping: no process, no socket.

use skiff_ports::snapshot::{Assignment, Route, Snapshot, Version};
use skiff_types::{CpuUnits, Kind, TaskId};
use std::collections::{HashMap, HashSet};

/// One version of what the node is to run.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) version: Version,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) routes: Vec<Route>,
    /// Where each `command` task lives.
    pub(crate) homes: HashMap<TaskId, Home>,
    /// `command` tasks that have ended by themselves: they are never started again.
    pub(crate) ended: HashSet<TaskId>,
}

/// The one worker that a `command` task lives in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home {
    pub(crate) worker: usize,
    pub(crate) cpu: CpuUnits,
}

impl World {
    /// What one worker must know of it.
    pub(crate) fn snapshot(&self, worker: usize) -> Snapshot {
        let concerns = |assignment: &&Assignment| match assignment.task.kind {
            Kind::Http => true,
            Kind::Command => {
                let task = assignment.task.id;
                self.homes.get(&task).is_some_and(|home| home.worker == worker) && !self.ended.contains(&task)
            }
        };
        Snapshot {
            version: self.version,
            assignments: self.assignments.iter().filter(concerns).cloned().collect(),
            routes: self.routes.clone(),
        }
    }

    /// The `command` tasks that live in a worker and have not ended.
    pub(crate) fn residents(&self, worker: usize) -> Vec<TaskId> {
        let here = |(task, home): (&TaskId, &Home)| {
            (home.worker == worker && !self.ended.contains(task)).then_some(*task)
        };
        self.homes.iter().filter_map(here).collect()
    }

    /// The worker whose `command` tasks have the fewest CPU units.
    pub(crate) fn emptiest(&self, workers: usize) -> usize {
        let running = |worker: usize| {
            self.homes.iter().filter(move |(task, home)| home.worker == worker && !self.ended.contains(task))
        };
        let units = |&worker: &usize| running(worker).map(|(_, home)| u64::from(home.cpu.get())).sum::<u64>();
        (0..workers).min_by_key(units).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_spread_by_their_cpu_units() {
        let mut world = World::default();
        let settle = |world: &mut World, number: u8, units: &str| {
            let home = Home { worker: world.emptiest(2), cpu: units.parse().unwrap() };
            world.homes.insert(TaskId::from_parts(0, [number; 10]), home);
            home.worker
        };
        assert_eq!(settle(&mut world, 1, "1024"), 0);
        assert_eq!(
            [(2, "256"), (3, "512"), (4, "128")].map(|(number, units)| settle(&mut world, number, units)),
            [1; 3]
        );
        assert_eq!(settle(&mut world, 5, "512"), 1);
        assert_eq!(settle(&mut world, 6, "512"), 0);
        // One that has ended takes nothing any more.
        world.ended.insert(TaskId::from_parts(0, [1; 10]));
        assert_eq!(settle(&mut world, 7, "1024"), 0);
    }
}
