//! What was denied to guests: counted each time, and said in the platform's log once for each task, grant and minute.
//!
//! The task's own log has it too: the worker writes it there, where the guest is.

use skiff_kit::Lately;
use skiff_ports::access::Denied;
use skiff_types::TaskId;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// What was denied since the platform started.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    count: AtomicU64,
    said: Mutex<Lately<TaskId>>,
}

impl Denials {
    /// Takes one in.
    pub(crate) fn note(&self, task: TaskId, denied: &Denied, now_ms: u64) {
        self.count.fetch_add(1, Relaxed);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_new(task, &denied.grant, now_ms) {
            tracing::warn!(%task, grant = %denied.grant, "a call of a guest was denied: {denied}");
        }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
}
