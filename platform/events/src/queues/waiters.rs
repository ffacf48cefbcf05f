//! Those who wait for messages of a queue, in the order in which they came.
//!
//! What always holds: only the first may take, and the first that leaves wakes the next. So nobody who waits is passed by, and
//! one that goes away holds up nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;

/// The line of a queue.
#[derive(Default)]
pub(super) struct Waiters {
    line: VecDeque<(u64, Arc<Notify>)>,
    next: u64,
}

impl Waiters {
    /// Joins at the end: a ticket, and by what it is woken.
    pub(super) fn join(&mut self) -> (u64, Arc<Notify>) {
        let (ticket, notify) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.line.push_back((ticket, notify.clone()));
        (ticket, notify)
    }

    /// Whether one with this ticket, or with none, may take.
    pub(super) fn may_take(&self, ticket: Option<u64>) -> bool {
        self.line.front().is_none_or(|(first, _)| Some(*first) == ticket)
    }

    /// Leaves the line.
    pub(super) fn leave(&mut self, ticket: u64) {
        let was_first = self.may_take(Some(ticket));
        self.line.retain(|(other, _)| *other != ticket);
        if was_first {
            self.wake_first();
        }
    }

    /// Has the first look again.
    pub(super) fn wake_first(&self) {
        if let Some((_, notify)) = self.line.front() {
            notify.notify_one();
        }
    }

    /// Has all look again.
    pub(super) fn wake_all(&self) {
        self.line.iter().for_each(|(_, notify)| notify.notify_one());
    }
}
