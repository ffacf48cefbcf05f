//! What the node is to run, worked out for each of its workers.
//!
//! Pure bookkeeping: no process, no socket.

use skiff_ports::snapshot::{Assignment, Route, Snapshot, Version};
use skiff_types::{Kind, TaskId};
use std::collections::{HashMap, HashSet};

/// One version of what the node is to run.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) version: Version,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) routes: Vec<Route>,
    /// The worker that each `command` task lives in.
    pub(crate) homes: HashMap<TaskId, usize>,
    /// `command` tasks that have ended by themselves: they are never started again.
    pub(crate) ended: HashSet<TaskId>,
}

impl World {
    /// What one worker must know of it.
    pub(crate) fn snapshot(&self, worker: usize) -> Snapshot {
        let concerns = |assignment: &&Assignment| match assignment.task.kind {
            Kind::Http => true,
            Kind::Command => {
                let task = assignment.task.id;
                self.homes.get(&task) == Some(&worker) && !self.ended.contains(&task)
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
        let here = |(task, home): (&TaskId, &usize)| {
            (*home == worker && !self.ended.contains(task)).then_some(*task)
        };
        self.homes.iter().filter_map(here).collect()
    }

    /// The worker with the fewest `command` tasks.
    pub(crate) fn emptiest(&self, workers: usize) -> usize {
        let count = |worker: &usize| self.homes.values().filter(|home| *home == worker).count();
        (0..workers).min_by_key(count).unwrap_or(0)
    }
}
