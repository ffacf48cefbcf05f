//! Which denials were said lately, so that a guest that tries again and again does not fill its logs.
//!
//! Only what a developer reads in the task's logs goes by this. That each attempt is counted, and written down in the flow
//! log, is `net`'s business.

use skiff_types::TaskId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Denials of all tasks that are remembered; those beyond are not said.
const REMEMBERED_MAX: usize = 1_024;
/// The same of one task, so that none keeps others from being told.
const REMEMBERED_OF_TASK_MAX: usize = 32;
/// How long one that was said is not said again.
const INTERVAL: Duration = Duration::from_secs(60);

/// What was said, and when.
#[derive(Default)]
pub(crate) struct Denials(RefCell<HashMap<TaskId, HashMap<Box<str>, Instant>>>);

impl Denials {
    /// Whether this, which names the target, is to be said to the task now; then it counts as said.
    pub(crate) fn is_new(&self, task: TaskId, reason: &str) -> bool {
        let now = Instant::now();
        let mut all = self.0.borrow_mut();
        let is_recent = |said: &Instant| now.duration_since(*said) < INTERVAL;
        if all.get(&task).and_then(|of_task| of_task.get(reason)).is_some_and(is_recent) {
            return false;
        }
        if all.values().map(HashMap::len).sum::<usize>() >= REMEMBERED_MAX {
            all.retain(|_, of_task| {
                of_task.retain(|_, said| is_recent(said));
                !of_task.is_empty()
            });
        }
        let remembered: usize = all.values().map(HashMap::len).sum();
        let of_task = all.entry(task).or_default();
        if of_task.len() >= REMEMBERED_OF_TASK_MAX {
            of_task.retain(|_, said| is_recent(said));
        }
        let has_room = remembered < REMEMBERED_MAX && of_task.len() < REMEMBERED_OF_TASK_MAX;
        if has_room || of_task.contains_key(reason) {
            of_task.insert(reason.into(), now);
            return true;
        }
        false
    }

    /// Forgets what was said to a task.
    pub(crate) fn forget(&self, task: TaskId) {
        self.0.borrow_mut().remove(&task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u8) -> TaskId {
        TaskId::from_parts(1, [number; 10])
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_said_once_a_minute() {
        let denials = Denials::default();
        assert!(denials.is_new(task(1), "no rule allows a"));
        assert!(!denials.is_new(task(1), "no rule allows a"));
        assert!(denials.is_new(task(1), "no rule allows b"));
        assert!(denials.is_new(task(2), "no rule allows a"));
        tokio::time::advance(INTERVAL).await;
        assert!(denials.is_new(task(1), "no rule allows a"));
        assert!(!denials.is_new(task(1), "no rule allows a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_tries_everything_keeps_no_other_from_being_told() {
        let denials = Denials::default();
        let said = (0..1_000).filter(|number| denials.is_new(task(1), &number.to_string())).count();
        assert_eq!(said, REMEMBERED_OF_TASK_MAX);
        assert!(denials.is_new(task(2), "no rule allows a"));
        tokio::time::advance(INTERVAL).await;
        assert!(denials.is_new(task(1), "another"), "what is old makes room");
        denials.forget(task(1));
        assert!(denials.is_new(task(1), "another"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_remembered_than_the_bound() {
        let denials = Denials::default();
        let tasks = (REMEMBERED_MAX / REMEMBERED_OF_TASK_MAX + 1) as u8;
        for number in 0..tasks {
            (0..REMEMBERED_OF_TASK_MAX).for_each(|target| {
                denials.is_new(task(number), &target.to_string());
            });
        }
        let remembered = |denials: &Denials| denials.0.borrow().values().map(HashMap::len).sum::<usize>();
        assert_eq!(remembered(&denials), REMEMBERED_MAX);
        tokio::time::advance(INTERVAL).await;
        assert!(denials.is_new(task(tasks), "a"));
        assert_eq!(remembered(&denials), 1);
    }
}
