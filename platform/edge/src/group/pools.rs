//! The connections to a group's targets as they go over from one group to the next: by where they lead and what is spoken
//! there.
//!
//! What always holds: what is not taken over is closed in the end.

use super::{Group, Target};
use crate::daemon::{Pool, Speaks};
use skiff_ledger::TaskSlot;
use skiff_ports::connect::Destination;
use skiff_types::Span;
use std::collections::HashMap;
use std::rc::Rc;

/// Connections to targets that nobody has taken over yet.
pub(super) struct Pools {
    left: HashMap<(Destination, Speaks), Rc<Pool>>,
    worker: usize,
}

impl Pools {
    /// Those of a group, in whichever way its targets are spoken to.
    pub(super) fn of(group: Option<&Group>, worker: usize) -> Self {
        let mut left = HashMap::new();
        let mut add = |group: &Group| {
            let pools = group.targets.iter().filter_map(Target::pool);
            left.extend(pools.map(|pool| ((pool.destination().clone(), pool.speaks()), pool.clone())));
        };
        if let Some(group) = group {
            add(group);
            group.others.borrow().iter().for_each(|other| add(other));
        }
        Self { left, worker }
    }

    /// Whose connections they are.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    /// The connections that there are, or new ones. Requests to a task count in its slot.
    pub(super) fn take(
        &mut self,
        destination: &Destination,
        speaks: Speaks,
        slot: Option<&TaskSlot>,
    ) -> Rc<Pool> {
        let pool = self.left.remove(&(destination.clone(), speaks));
        let pool = pool.unwrap_or_else(|| Rc::new(Pool::new(destination.clone(), speaks)));
        if let Some(slot) = slot {
            pool.count_at(slot, self.worker);
        }
        pool
    }

    /// What is left leads to targets that have left; what these have goes on for as long as they want.
    pub(super) fn close(self) {
        self.left.values().for_each(|pool| pool.close());
    }

    /// The same; but what they have is cut after this time.
    pub(super) fn deregister(self, delay: Span) {
        self.left.values().for_each(|pool| pool.deregister(delay.duration()));
    }
}
