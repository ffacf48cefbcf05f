//! What the stream of events tells of tasks: what they became, in that order, and at last what they are; whatever ends in between.
//!
//! It deliberately lets states be passed over that a control plane did not come to tell before it died, but for the last.
//! What always holds: a task's object is deleted only once its last state is on the stream.

use super::{Checker, State, task_of};
use skiff_control::Recorded;
use skiff_ports::store::Key;
use skiff_types::{Event, EventDetail, Health, StoppedReason, Task, TaskId, TaskStateChange, TaskStatus};
use std::collections::{BTreeMap, VecDeque};

/// The tasks that there are.
#[derive(Default)]
pub(super) struct Stream {
    tasks: BTreeMap<TaskId, OfTask>,
}

#[derive(Default)]
struct OfTask {
    told: Option<Told>,
    /// What it became since, oldest first.
    untold: VecDeque<Told>,
}

/// What a task is, as far as each of its changes is told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    status: TaskStatus,
    health: Health,
    stop: Option<StoppedReason>,
    exit_code: Option<i32>,
}

impl Told {
    fn of(change: TaskStateChange) -> Self {
        let TaskStateChange { status, health, stop, exit_code, .. } = change;
        Self { status, health, stop, exit_code }
    }
}

impl OfTask {
    fn wrote(&mut self, task: &Task) {
        let is = Told::of(task.into());
        if self.untold.back().or(self.told.as_ref()) != Some(&is) {
            self.untold.push_back(is);
        }
    }

    /// Whether it was told to be what it is not, or was before.
    fn told(&mut self, told: Told) -> bool {
        let Some(place) = self.untold.iter().position(|untold| *untold == told) else {
            // It may have changed in something that is not looked at here. What had effect before it was written is told as it began,
            // also where it was written as what became of it.
            let began =
                self.told.is_none() && self.untold.front().is_some_and(|first| told.status < first.status);
            return !began && self.told != Some(told);
        };
        drop(self.untold.drain(..=place));
        self.told = Some(told);
        false
    }

    /// What it is, if that was not told.
    fn last_untold(&self) -> Option<&Told> {
        self.untold.back().filter(|last| self.told.as_ref() != Some(*last))
    }
}

impl Stream {
    /// Tasks that nobody was told the last state of.
    pub(super) fn untold(&self) -> impl Iterator<Item = String> {
        self.tasks.iter().filter_map(|(id, task)| {
            let last = task.last_untold()?;
            Some(format!("nobody was told that the task {id} is {last:?}"))
        })
    }
}

impl Checker {
    /// A key was written, or deleted.
    pub(super) fn wrote_what_is_told(
        &self,
        state: &mut State,
        key: &Key,
        object: Option<&Option<Recorded>>,
        now_ms: u64,
    ) {
        match object {
            Some(Some(Recorded::Task(task))) => state.stream.tasks.entry(task.id).or_default().wrote(task),
            Some(_) => {}
            None => {
                let Some(id) = task_of(key) else { return };
                let Some(task) = state.stream.tasks.remove(&id) else { return };
                if let Some(last) = task.last_untold() {
                    state.violate(
                        &self.trace,
                        now_ms,
                        format_args!("the task {id} is gone, and nobody was told that it is {last:?}"),
                    );
                }
            }
        }
    }

    /// Events came onto the stream.
    pub(crate) fn told(&self, events: &[Event]) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        for event in events {
            let EventDetail::TaskStateChange(change) = &event.detail else { continue };
            // Where nobody says what is written, as in a run that measures, nothing is known of it.
            let Some(task) = state.stream.tasks.get_mut(&change.task) else { continue };
            if task.told(Told::of(change.clone())) {
                state.violate(
                    &self.trace,
                    now_ms,
                    format_args!("the task {} is told to be {}, out of order", change.task, change.status),
                );
            }
        }
    }
}
