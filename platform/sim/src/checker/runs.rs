//! What holds of a task's life, whoever started it; and what is known of one-off tasks, and of messages that tasks are given.

use super::{Checker, Progress, State};
use skiff_types::{Group, Name, QualifiedName, Task, TaskDefinitionId, TaskId, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// The one-off tasks that there ever were.
#[derive(Default)]
pub(super) struct Runs {
    of_family: BTreeMap<Name, BTreeSet<TaskId>>,
    /// Families whose tasks are never started again.
    once: BTreeSet<Name>,
}

/// What is wrong with a task's record, written over another of it: a task that has ended never lives again; one of a service is
/// never started again, and a one-off task goes back only where it is, once at a time.
pub(super) fn wrong_life(before: Option<&Task>, after: &Task) -> Option<String> {
    let is_of_service = matches!(after.group, Group::Service(_));
    if is_of_service && after.restarts > 0 {
        return Some("was started again, though its service would start another".to_owned());
    }
    let before = before?;
    if before.status == TaskStatus::Stopped && after.status != TaskStatus::Stopped {
        return Some(format!("had ended, and is {} again", after.status));
    }
    if !(before.restarts..=before.restarts + 1).contains(&after.restarts) {
        return Some(format!("had {} restarts, and has {}", before.restarts, after.restarts));
    }
    let goes_back = after.restarts == before.restarts && after.status < before.status;
    // What is called is told to its workers once more by a platform that starts.
    let why = || format!("went from {} to {} in one life", before.status, after.status);
    (goes_back && !is_of_service).then(why)
}

impl Checker {
    /// Tasks of this family are never started again, whatever becomes of them.
    pub(crate) fn runs_once(&self, family: Name) {
        self.state().runs.once.insert(family);
    }

    /// How many one-off tasks of a family there ever were.
    pub(crate) fn runs_of(&self, family: &Name) -> usize {
        self.state().runs.of_family.get(family).map_or(0, BTreeSet::len)
    }

    /// A one-off task as it was written last, if it is kept still.
    pub(crate) fn run(&self, task: TaskId) -> Option<Task> {
        self.state().tasks.get(&task).cloned()
    }

    /// One-off tasks that have not ended, and how each is.
    pub(crate) fn living_runs(&self) -> Vec<String> {
        let state = self.state();
        let lives =
            |task: &&Task| matches!(task.group, Group::Family(_)) && task.status != TaskStatus::Stopped;
        state.tasks.values().filter(lives).map(|task| format!("{} is {}", task.id, task.status)).collect()
    }

    /// The revisions whose tasks serve for a service, once that has come to rest; nothing before.
    pub(crate) fn serving(&self, service: &QualifiedName) -> Option<BTreeSet<TaskDefinitionId>> {
        let state = self.state();
        let of_service = state.services.get(service)?;
        let tasks: Vec<&Task> = of_service.tasks.iter().filter_map(|task| state.tasks.get(task)).collect();
        match of_service.progress(&tasks) {
            Progress::Settled => {
                let serving = tasks.into_iter().filter(|task| task.is_ready() && task.stop.is_none());
                Some(serving.map(|task| task.definition.clone()).collect())
            }
            Progress::Unsettled(_) => None,
        }
    }

    /// A request that had waited for a task got one.
    pub(crate) fn waited(&self) {
        self.state().seen.waited += 1;
    }

    /// A scene had what it was to have, in time.
    pub(crate) fn played(&self) {
        self.state().seen.scenes += 1;
    }

    /// A task said that it is done with a message.
    pub(crate) fn worked_off(&self, message: &str) {
        self.state().worked_off.insert(message.to_owned());
    }

    /// A message was deleted.
    pub(crate) fn deleted_message(&self, message: &str) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        if !state.worked_off.contains(message) {
            state.violate(
                &self.trace,
                now_ms,
                format_args!("the message {message} was deleted, and no task said that it is done"),
            );
        }
    }

    /// The record of a one-off task was written.
    pub(super) fn wrote_run(&self, state: &mut State, task: Task, now_ms: u64) {
        let Group::Family(family) = &task.group else { return };
        self.trace.note(format_args!(
            "run {} of {family}: {} {:?} {:?}, {} restarts",
            task.id,
            task.status,
            task.stop.as_ref().map(|stop| stop.code),
            task.exit_code,
            task.restarts
        ));
        self.check_address(state, &task, now_ms);
        if task.restarts > 0 && state.runs.once.contains(family) {
            state.violate(
                &self.trace,
                now_ms,
                format_args!("{} of {family} was started again, and never was to be", task.id),
            );
        }
        let is_new = state.runs.of_family.entry(family.clone()).or_default().insert(task.id);
        let had_ended = state.tasks.get(&task.id).is_some_and(|task| task.status == TaskStatus::Stopped);
        state.seen.tasks += u64::from(is_new);
        state.seen.runs += u64::from(task.status == TaskStatus::Stopped && !had_ended);
        state.tasks.insert(task.id, task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::Namespace;

    fn task(group: &str, status: TaskStatus, restarts: u32) -> Task {
        Task {
            status,
            restarts,
            ..Task::new(
                TaskId::from_parts(1, [1; 10]),
                Namespace::default(),
                group.parse().unwrap(),
                "job:1".parse().unwrap(),
                1,
            )
        }
    }

    #[test]
    fn a_task_lives_once_and_begins_anew_only_where_it_may() {
        let (run, service) = ("family:job", "service:web");
        let is_wrong = |group: &str, before: (TaskStatus, u32), after: (TaskStatus, u32)| {
            let (before, after) = (task(group, before.0, before.1), task(group, after.0, after.1));
            wrong_life(Some(&before), &after).is_some()
        };
        let (running, stopped) = (TaskStatus::Running, TaskStatus::Stopped);
        assert!(!is_wrong(run, (running, 0), (stopped, 0)));
        assert!(!is_wrong(run, (TaskStatus::Deprovisioning, 0), (TaskStatus::Provisioning, 1)));
        assert!(!is_wrong(service, (running, 0), (TaskStatus::Activating, 0)), "a platform starts");
        assert!(is_wrong(run, (running, 0), (TaskStatus::Activating, 0)));
        assert!(is_wrong(run, (stopped, 0), (TaskStatus::Provisioning, 1)));
        assert!(is_wrong(run, (running, 0), (TaskStatus::Provisioning, 2)));
        assert!(is_wrong(run, (running, 1), (running, 0)));
        assert!(is_wrong(service, (running, 0), (TaskStatus::Provisioning, 1)));
    }
}
