//! The groups of a FIFO queue, and which of them have a message to give.
//!
//! What always holds: a group gives its first message alone, and the next once that one is gone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// A group's number, as long as it has messages; 0 is none.
pub(super) type GroupNumber = u32;

/// All groups with messages.
#[derive(Default)]
pub(super) struct Groups {
    numbers: HashMap<Arc<str>, GroupNumber>,
    groups: BTreeMap<GroupNumber, Group>,
    /// Those whose first message is in sight, and perhaps some whose is not.
    ready: VecDeque<GroupNumber>,
    newest: GroupNumber,
}

struct Group {
    name: Arc<str>,
    /// Sequences in order, those that are gone among them until they are first.
    members: VecDeque<u64>,
    is_ready: bool,
}

impl Groups {
    /// The number of a group, which is made if it has no message yet.
    pub(super) fn number(&mut self, name: &str) -> GroupNumber {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        loop {
            self.newest = self.newest.wrapping_add(1);
            if self.newest != 0 && !self.groups.contains_key(&self.newest) {
                break;
            }
        }
        let name: Arc<str> = name.into();
        self.numbers.insert(name.clone(), self.newest);
        let group = Group { name, members: VecDeque::new(), is_ready: false };
        self.groups.insert(self.newest, group);
        self.newest
    }

    /// The name of a group.
    pub(super) fn name(&self, number: GroupNumber) -> Option<Arc<str>> {
        self.groups.get(&number).map(|group| group.name.clone())
    }

    /// Adds a message where it belongs by its sequence.
    pub(super) fn add(&mut self, number: GroupNumber, sequence: u64) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        let place = group.members.partition_point(|member| *member < sequence);
        if group.members.get(place) != Some(&sequence) {
            group.members.insert(place, sequence);
        }
    }

    /// The first message of a group that is not gone. A group without any is forgotten.
    pub(super) fn first(&mut self, number: GroupNumber, is_there: impl Fn(u64) -> bool) -> Option<u64> {
        let group = self.groups.get_mut(&number)?;
        while let Some(first) = group.members.front() {
            if is_there(*first) {
                return Some(*first);
            }
            group.members.pop_front();
        }
        if let Some(group) = self.groups.remove(&number) {
            self.numbers.remove(&group.name);
        }
        None
    }

    /// Says that a group's first message is in sight.
    pub(super) fn make_ready(&mut self, number: GroupNumber) {
        if let Some(group) = self.groups.get_mut(&number)
            && !group.is_ready
        {
            group.is_ready = true;
            self.ready.push_back(number);
        }
    }

    /// The next group whose first message is in sight, or was.
    pub(super) fn pop_ready(&mut self) -> Option<GroupNumber> {
        loop {
            let number = self.ready.pop_front()?;
            if let Some(group) = self.groups.get_mut(&number) {
                group.is_ready = false;
                return Some(number);
            }
        }
    }

    /// Forgets those in line that are gone, once there are more than `most` of them beside the others.
    pub(super) fn tidy(&mut self, most: usize) {
        if self.ready.len() > self.groups.len() + most {
            let groups = &self.groups;
            self.ready.retain(|number| groups.get(number).is_some_and(|group| group.is_ready));
            self.ready.shrink_to_fit();
        }
    }

    /// Whether a group may have a message to give.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}
