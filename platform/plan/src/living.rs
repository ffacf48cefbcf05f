//! What becomes of tasks in the models of services that the tests play.

use skiff_types::{Task, TaskStatus};

/// Lets every task take the step that is due.
pub(crate) fn live(tasks: &mut [Task], now_ms: u64) {
    for task in tasks {
        if task.stop.is_some() {
            task.status = TaskStatus::Stopped;
            task.stopped_at_ms.get_or_insert(now_ms);
        } else if task.start_after_ms <= now_ms {
            task.status = TaskStatus::Running;
            task.started_at_ms.get_or_insert(now_ms);
            task.ready_at_ms.get_or_insert(now_ms);
        }
    }
}
