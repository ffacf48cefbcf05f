//! Events and messages on their way to a guest: which worker takes one, and who waits for what comes of it.
//!
//! It deliberately keeps no time: a worker ends a guest whose time is up, and a worker whose event loop hangs is killed, which
//! ends what it had. Nothing is tried a second time here. What always holds: what a worker was given and has not answered, which
//! it keeps beside its guests' memory, is within [`ALL_MAX`], and of one namespace within half of that: whatever its guests do,
//! those of others are given something.

use crate::node::Shared;
use crate::seat::{DELIVERIES_MAX, Delivered, Reply, SeatState};
use crate::wire::RequestId;
use skiff_ports::guest_deliveries::{DeliverError, GuestDelivery};
use skiff_types::{Namespace, TaskId};
use std::collections::HashMap;
use std::sync::Mutex;

/// The most deliveries that a worker has at once, and their bytes.
const ALL_MAX: Load = Load { count: DELIVERIES_MAX, bytes: 256 << 20 };
/// The same for guests of one namespace.
const OF_ONE_MAX: Load = Load { count: ALL_MAX.count / 2, bytes: ALL_MAX.bytes / 2 };

/// Deliveries, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    count: usize,
    bytes: usize,
}

impl Load {
    fn has_room(self, bytes: usize, most: Self) -> bool {
        self.count < most.count && self.bytes.saturating_add(bytes) <= most.bytes
    }

    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn take_off(&mut self, bytes: usize) {
        self.count -= 1;
        self.bytes -= bytes;
    }
}

/// What a worker was given and has not answered.
#[derive(Debug, Default)]
pub(crate) struct Given {
    open: HashMap<RequestId, (Namespace, usize)>,
    of: HashMap<Namespace, Load>,
    all: Load,
}

impl Given {
    /// Whether there is room for one more, of so many bytes.
    pub(crate) fn has_room(&self, namespace: &Namespace, bytes: usize) -> bool {
        let of_one = self.of.get(namespace).copied().unwrap_or_default();
        of_one.has_room(bytes, OF_ONE_MAX) && self.all.has_room(bytes, ALL_MAX)
    }

    pub(crate) fn begin(&mut self, request: RequestId, namespace: &Namespace, bytes: usize) {
        self.all.add(bytes);
        self.of.entry(namespace.clone()).or_default().add(bytes);
        self.open.insert(request, (namespace.clone(), bytes));
    }

    pub(crate) fn end(&mut self, request: RequestId) {
        let Some((namespace, bytes)) = self.open.remove(&request) else { return };
        self.all.take_off(bytes);
        if let Some(load) = self.of.get_mut(&namespace) {
            load.take_off(bytes);
            if load.count == 0 {
                self.of.remove(&namespace);
            }
        }
    }
}

/// What a delivery has, in bytes.
pub(crate) fn bytes_of(delivery: &GuestDelivery) -> usize {
    let texts = |pairs: &[(String, String)]| -> usize {
        pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    match delivery {
        GuestDelivery::Event(event) => event.len(),
        GuestDelivery::Batch(batch) => {
            batch.messages.iter().map(|message| message.body.len() + texts(&message.attributes)).sum()
        }
        GuestDelivery::Http { headers, body, .. } => body.len() + texts(headers),
    }
}

impl Shared {
    /// Has a worker give it to the task's guest: the one that a `command` lives in, of others the one that has the fewest
    /// deliveries.
    pub(crate) async fn deliver(&self, task: TaskId, delivery: GuestDelivery) -> Delivered {
        let answer = self.hand_on(task, delivery)?;
        let died = |_| Err(DeliverError::Failed("the worker that had it died before it was done".to_owned()));
        answer.await.unwrap_or_else(died)
    }

    fn hand_on(&self, task: TaskId, delivery: GuestDelivery) -> Result<Reply<Delivered>, DeliverError> {
        let busy = |message: &str| DeliverError::Busy(message.to_owned());
        let here = {
            let world = self.world.lock().expect("no holder panics");
            world.namespace(task).cloned().map(|namespace| (namespace, world.home(task)))
        };
        let (namespace, home) = here.ok_or_else(|| busy("the task does not run here, or not any more"))?;
        let bytes = bytes_of(&delivery);
        let load = |(worker, seat): (usize, &Mutex<SeatState>)| {
            let count = seat.lock().expect("no holder panics").room_for(&namespace, bytes)?;
            Some((count, worker))
        };
        let seats = self.seats.iter().enumerate();
        let seats = seats.filter(|(worker, _)| home.is_none_or(|home| home == *worker));
        let no_room = || {
            busy("no worker serves the task at present, or all have as many deliveries as they take at once")
        };
        let (_, worker) = seats.filter_map(load).min().ok_or_else(no_room)?;
        let asked =
            self.seats[worker].lock().expect("no holder panics").deliver((task, &namespace), delivery);
        asked.ok_or_else(no_room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        name.parse().unwrap()
    }

    #[test]
    fn one_namespace_has_half_of_the_room_and_gets_it_back() {
        let mut given = Given::default();
        let (one, other) = (namespace("one"), namespace("other"));
        for request in 0..OF_ONE_MAX.count as RequestId {
            assert!(given.has_room(&one, 10));
            given.begin(request, &one, 10);
        }
        assert!(!given.has_room(&one, 10) && given.has_room(&other, 10));
        given.end(0);
        given.end(0);
        assert!(given.has_room(&one, 10));
        for request in 1..OF_ONE_MAX.count as RequestId {
            given.end(request);
        }
        assert!(given.of.is_empty() && given.open.is_empty() && given.all.bytes == 0);

        given.begin(1, &one, OF_ONE_MAX.bytes - 5);
        assert!(given.has_room(&one, 5) && !given.has_room(&one, 6), "its bytes count, too");
        given.begin(2, &other, OF_ONE_MAX.bytes);
        assert!(!given.has_room(&namespace("third"), 6), "and those of all");
    }
}
