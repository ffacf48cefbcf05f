//! Whose sandbox of a pool has waited longest for a request.
//!
//! A task stands here once, under a time since when at least one of its sandboxes may wait. Whoever draws one or puts one
//! aside leaves that as it is; it is set right when somebody looks for the oldest. So a request pays nothing for the order.

use crate::task::Task;
use skiff_kit::clock;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// The tasks with sandboxes of one pool that wait for requests.
#[derive(Default)]
pub(crate) struct Kept(RefCell<BinaryHeap<Entry>>);

/// The one with the earliest time is the greatest.
struct Entry {
    since_ns: u64,
    task: Rc<Task>,
}

impl Kept {
    /// Notes that a sandbox of the task waits from `now_ns` on.
    pub(crate) fn note(&self, task: &Rc<Task>, now_ns: u64) {
        if !task.keep.is_noted.replace(true) {
            self.0.borrow_mut().push(Entry { since_ns: now_ns, task: task.clone() });
        }
    }

    /// Gives back the sandbox that has waited longest; false if none waits.
    pub(crate) fn retire_oldest(&self) -> bool {
        self.oldest_before(u64::MAX).is_some_and(|task| task.keep.retire_oldest())
    }

    /// The task with the sandbox that has waited longest, if that waits since before `before_ns`.
    pub(crate) fn oldest_before(&self, before_ns: u64) -> Option<Rc<Task>> {
        let mut entries = self.0.borrow_mut();
        // Whose sandboxes all work now has none that waits before that.
        let later_ns = clock::monotonic_ns() + 1;
        while entries.peek()?.since_ns < before_ns.min(later_ns) {
            let mut entry = entries.pop()?;
            let keep = &entry.task.keep;
            match keep.oldest_ns() {
                Some(since_ns) if since_ns <= entry.since_ns => {
                    let task = entry.task.clone();
                    entries.push(entry);
                    return Some(task);
                }
                Some(since_ns) => entry.since_ns = since_ns,
                None if keep.holds_any() => entry.since_ns = later_ns,
                None => {
                    keep.is_noted.set(false);
                    continue;
                }
            }
            entries.push(entry);
        }
        None
    }

    /// All of them, and those that have had some lately.
    pub(crate) fn tasks(&self) -> Vec<Rc<Task>> {
        self.0.borrow().iter().map(|entry| entry.task.clone()).collect()
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.since_ns.cmp(&self.since_ns)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.since_ns == other.since_ns
    }
}

impl Eq for Entry {}
