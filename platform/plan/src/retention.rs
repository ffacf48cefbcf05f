//! How long things are kept: stopped tasks, and what images and task definitions need on disk.
//!
//! It deliberately never drops a task definition or an image that a user can still name.

use skiff_types::{Digest, Namespace, Program, Task, TaskId, TaskStatus};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Stopped tasks kept of each service and of each family of one-off tasks.
pub const STOPPED_KEPT: usize = 20;
/// Stopped tasks kept even of those that stopped within [`STOPPED_KEPT_LEAST_MS`].
pub const STOPPED_KEPT_MOST: usize = 1_000;
/// A stopped task is kept this long, so that whoever waits for it can read how it ended; in milliseconds.
pub const STOPPED_KEPT_LEAST_MS: u64 = 60_000;
/// No stopped task is kept longer, in milliseconds.
pub const STOPPED_KEPT_MOST_MS: u64 = 3_600_000;

/// Which stopped tasks are no longer kept.
pub fn stopped_to_forget<'a>(tasks: impl IntoIterator<Item = &'a Task>, now_ms: u64) -> Vec<TaskId> {
    type NewestFirst = Vec<(Reverse<u64>, TaskId)>;
    let mut groups: BTreeMap<(&Namespace, String), NewestFirst> = BTreeMap::new();
    for task in tasks.into_iter().filter(|task| task.status == TaskStatus::Stopped) {
        let owner = (&task.namespace, task.group.to_string());
        groups.entry(owner).or_default().push((Reverse(task.stopped_at_ms.unwrap_or(0)), task.id));
    }
    let mut forgotten = Vec::new();
    for mut stopped in groups.into_values() {
        stopped.sort_unstable();
        for (newer, (Reverse(stopped_at_ms), id)) in stopped.into_iter().enumerate() {
            let age_ms = now_ms.saturating_sub(stopped_at_ms);
            let in_excess = newer >= STOPPED_KEPT && age_ms >= STOPPED_KEPT_LEAST_MS;
            if age_ms >= STOPPED_KEPT_MOST_MS || in_excess || newer >= STOPPED_KEPT_MOST {
                forgotten.push(id);
            }
        }
    }
    forgotten
}

/// What must stay on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    /// Manifests, by digest.
    pub manifests: BTreeSet<Digest>,
    /// Components, by digest.
    pub components: BTreeSet<Digest>,
    /// Native code, by its program's key.
    pub programs: BTreeSet<Digest>,
}

/// What must stay on disk for these images (manifest and component) and for what is run, or can be.
pub fn needed(
    images: impl IntoIterator<Item = (Digest, Digest)>,
    programs: impl IntoIterator<Item = Program>,
) -> Needed {
    let mut needed = Needed::default();
    for (manifest, component) in images {
        needed.manifests.insert(manifest);
        needed.components.insert(component);
        needed.programs.insert(component);
    }
    for program in programs {
        needed.components.insert(program.component);
        needed.programs.insert(program.key());
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skiff_types::{Group, StopCode, StoppedReason};

    fn stopped(number: usize, stopped_at_ms: u64) -> Task {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&(number as u64).to_be_bytes());
        Task {
            status: TaskStatus::Stopped,
            stop: Some(StoppedReason { code: StopCode::Exited, message: String::new() }),
            exit_code: Some(0),
            stopped_at_ms: Some(stopped_at_ms),
            ..Task::new(
                TaskId::from_parts(stopped_at_ms, random),
                Namespace::default(),
                Group::Service("hello".parse().unwrap()),
                "hello:1".parse().unwrap(),
                0,
            )
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_bounded_and_the_newest(
            ages_ms in prop::collection::vec(0..2 * STOPPED_KEPT_MOST_MS, 0..60),
        ) {
            let now_ms = 10 * STOPPED_KEPT_MOST_MS;
            let tasks: Vec<_> =
                ages_ms.iter().enumerate().map(|(number, age)| stopped(number, now_ms - age)).collect();
            let forgotten = stopped_to_forget(&tasks, now_ms);
            let (gone, kept): (Vec<_>, Vec<_>) = tasks.iter().partition(|task| forgotten.contains(&task.id));
            let age_ms = |task: &Task| now_ms - task.stopped_at_ms.unwrap();
            let older = kept.iter().filter(|task| age_ms(task) >= STOPPED_KEPT_LEAST_MS).count();
            prop_assert!(older <= STOPPED_KEPT);
            prop_assert!(kept.iter().all(|task| age_ms(task) < STOPPED_KEPT_MOST_MS));
            let oldest_kept = kept.iter().map(|task| age_ms(task)).max().unwrap_or(0);
            prop_assert!(gone.iter().all(|task| age_ms(task) >= oldest_kept));
        }
    }

    #[test]
    fn a_flood_of_ended_tasks_is_cut_at_once() {
        let tasks: Vec<_> = (0..STOPPED_KEPT_MOST + 5).map(|number| stopped(number, 1_000)).collect();
        assert_eq!(stopped_to_forget(&tasks, 1_000).len(), 5);
    }

    #[test]
    fn a_component_stays_while_an_image_or_a_definition_names_it() {
        let [manifest, tagged, defined, other] = [1, 2, 3, 4].map(|byte| Digest::from_bytes([byte; 32]));
        let snapshot = Program::snapshot(other, [("A".to_owned(), "1".to_owned())].into());
        let needed = needed([(manifest, tagged)], [Program::as_pushed(defined), snapshot.clone()]);
        assert_eq!(needed.manifests, [manifest].into());
        assert_eq!(needed.components, [tagged, defined, other].into());
        assert_eq!(needed.programs, [tagged, defined, snapshot.key()].into());
    }
}
