//! What of a pool is in use, and whose turn it is when all of it is.
//!
//! Tasks that need more than is left line up, and each has one sandbox at its turn before it lines up again. Within a task,
//! requests go first come, first served ([`crate::admission`]). Nobody overtakes: a task that is first and needs much keeps
//! those behind it waiting until enough is there, which they, too, will be glad of one day.

use crate::engine::PoolSize;
use crate::kept::Kept;
use crate::task::Task;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// What of a pool is in use, by all or by one task.
#[derive(Default)]
pub(crate) struct InUse(Cell<PoolSize>);

impl InUse {
    pub(crate) fn has_room(&self, demand: PoolSize, most: PoolSize) -> bool {
        self.0.get().plus(demand).is_within(most)
    }

    pub(crate) fn take(&self, demand: PoolSize) {
        self.0.set(self.0.get().plus(demand));
    }

    pub(crate) fn give_back(&self, demand: PoolSize) {
        self.0.set(self.0.get().minus(demand));
    }
}

/// A pool's room, as admission counts it.
pub(crate) struct Room {
    size: PoolSize,
    in_use: InUse,
    /// Tasks with a request that waits for room, each once; the first is next.
    line: RefCell<VecDeque<Rc<Task>>>,
    /// Tasks whose sandboxes here wait for a request.
    pub(crate) kept: Kept,
}

impl Room {
    pub(crate) fn new(size: PoolSize) -> Self {
        Self { size, in_use: InUse::default(), line: RefCell::default(), kept: Kept::default() }
    }

    pub(crate) fn size(&self) -> PoolSize {
        self.size
    }

    /// Whether a task may have that much more: no task gets so much that its neighbours find nothing.
    pub(crate) fn is_fair_share(&self, task: &Task, demand: PoolSize) -> bool {
        task.in_use.has_room(demand, self.size.for_one_task())
    }

    /// Whether that much is left, and nobody else is to have it first.
    pub(crate) fn is_free_for(&self, task: &Rc<Task>, demand: PoolSize) -> bool {
        !self.is_wanted_by_others(task) && self.in_use.has_room(demand, self.size)
    }

    /// Whether it is another task's turn.
    pub(crate) fn is_wanted_by_others(&self, task: &Rc<Task>) -> bool {
        self.line.borrow().front().is_some_and(|first| !Rc::ptr_eq(first, task))
    }

    /// Counts a sandbox of the task, which lines up anew for the next.
    pub(crate) fn take(&self, task: &Rc<Task>, demand: PoolSize) {
        self.in_use.take(demand);
        task.in_use.take(demand);
        self.leave(task);
    }

    /// Counts it no more, and lets whoever is next look.
    pub(crate) fn give_back(&self, task: &Task, demand: PoolSize) {
        self.in_use.give_back(demand);
        task.in_use.give_back(demand);
        self.wake_next();
    }

    /// Lines up behind the tasks that wait already.
    pub(crate) fn line_up(&self, task: &Rc<Task>) {
        let mut line = self.line.borrow_mut();
        if !line.iter().any(|other| Rc::ptr_eq(other, task)) {
            line.push_back(task.clone());
        }
    }

    /// Gives up the task's turn, and lets the next one look.
    pub(crate) fn leave(&self, task: &Rc<Task>) {
        let mut line = self.line.borrow_mut();
        let before = line.len();
        line.retain(|other| !Rc::ptr_eq(other, task));
        let has_left = line.len() < before;
        drop(line);
        if has_left {
            self.wake_next();
        }
    }

    fn wake_next(&self) {
        if let Some(next) = self.line.borrow().front() {
            next.wake_first();
        }
    }
}
